//! Listening sockets: how they are opened, and what is set on them.
//!
//! Options that accepted sockets inherit are set here, once, instead of on every connection.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::FdFlags;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use worker::AcceptQueue;

/// Read and write for everybody, whatever the umask says: connecting to a Unix socket takes the right to write.
const SOCKET_MODE: u32 = 0o666;

/// Where to listen.
#[derive(Debug)]
pub enum Address {
    /// One TCP address. An IPv6 address takes IPv6 alone.
    Tcp(SocketAddr),
    /// Every IPv6 and IPv4 address of the machine; IPv4 alone where there is no IPv6.
    DualStack {
        /// TCP port; 0 takes a free one.
        port: u16,
    },
    /// A Unix socket at a path.
    Unix(PathBuf),
    /// A bound stream socket that another process opened for us.
    Inherited(OwnedFd),
}

impl Address {
    /// Whether several listeners may have it: see [`Listener::bind_shared`].
    #[must_use]
    pub const fn is_sharable(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::DualStack { .. })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::DualStack { port } => write!(f, "[::]:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(descriptor) => write!(f, "fd:{}", descriptor.as_raw_fd()),
        }
    }
}

/// Where a listener listens, once it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddress {
    /// A TCP address with its real port.
    Tcp(SocketAddr),
    /// A Unix socket and its path. An abstract one has `@` and its name instead, as `ss` shows it; one that was never
    /// bound has neither.
    Unix(Option<PathBuf>),
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("a Unix socket without a name"),
        }
    }
}

/// A listening socket: non-blocking, close-on-exec. Dropping it closes it, and a Unix socket that we bound also
/// loses its name.
#[derive(Debug)]
pub struct Listener {
    queue: AcceptQueue,
    local: LocalAddress,
    _name: Option<SocketFile>,
}

impl Listener {
    /// Opens a listener whose accept queue holds `backlog` connections.
    ///
    /// # Errors
    /// What the kernel says, among it `AddrInUse` when somebody listens there already, and `InvalidInput` for an
    /// inherited descriptor that is no stream socket.
    pub fn bind(address: Address, backlog: i32) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Self::adopt(bind_tcp(address, address.is_ipv6(), backlog)?, None),
            Address::DualStack { port } => Self::adopt(bind_dual_stack(port, backlog)?, None),
            Address::Unix(path) => {
                let (socket, name) = bind_unix(&path, backlog)?;
                Self::adopt(socket, Some(name))
            }
            Address::Inherited(descriptor) => Self::adopt(inherit(descriptor, backlog)?, None),
        }
    }

    /// Opens `count` listeners on one TCP address, among which the kernel spreads the connections by their
    /// addresses and ports (`SO_REUSEPORT`). With port 0 all of them get the same free one.
    ///
    /// The first listens alone before it agrees to share. If it asked to share from the beginning, so might a second
    /// server of the same user, and each of them would be handed a part of the connections, where `AddrInUse` ought
    /// to be said. To look first whether the address is free, and then to take it, would leave a moment in between.
    ///
    /// # Errors
    /// As [`Listener::bind`]; `InvalidInput` for an address that cannot be shared, because it is not one of TCP or
    /// somebody else has bound it.
    pub fn bind_shared(address: Address, backlog: i32, count: usize) -> io::Result<Vec<Self>> {
        if !address.is_sharable() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a TCP address of our own"));
        }
        let first = Self::bind(address, backlog)?;
        let LocalAddress::Tcp(local) = *first.local_address() else { return Ok(vec![first]) };
        let socket = SockRef::from(&first);
        // The wildcard stands for IPv4 too, unless the first one does not.
        let only_v6 = local.is_ipv6() && socket.only_v6()?;
        if count > 1 {
            socket.set_reuse_port(true)?;
        }
        let mut listeners = vec![first];
        for _ in 1..count {
            let socket = new_tcp(local, only_v6)?;
            socket.set_reuse_port(true)?;
            socket.bind(&local.into())?;
            socket.listen(backlog)?;
            listeners.push(Self::adopt(socket, None)?);
        }
        Ok(listeners)
    }

    /// What is queued on it, for a worker that accepts for itself.
    #[must_use]
    pub fn into_queue(self) -> AcceptQueue {
        self.queue
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub const fn local_address(&self) -> &LocalAddress {
        &self.local
    }

    fn adopt(socket: Socket, name: Option<SocketFile>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let (queue, local) = if let Some(address) = local.as_socket() {
            // Inherited by every accepted socket: saves a system call for each of them.
            socket.set_tcp_nodelay(true)?;
            (AcceptQueue::tcp(socket.into()), LocalAddress::Tcp(address))
        } else {
            (AcceptQueue::unix(socket.into()), LocalAddress::Unix(unix_name(&local)))
        };
        Ok(Self { queue, local, _name: name })
    }

    /// What is queued on it, for whoever accepts. Its name, if it has one, goes with the listener.
    pub(crate) const fn queue(&mut self) -> &mut AcceptQueue {
        &mut self.queue
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

fn unix_name(address: &SockAddr) -> Option<PathBuf> {
    let named = || address.as_pathname().map(Path::to_path_buf);
    let abstract_name = address.as_abstract_namespace();
    abstract_name.map(|name| format!("@{}", String::from_utf8_lossy(name)).into()).or_else(named)
}

fn new_tcp(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the old connections' TIME-WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    Ok(socket)
}

fn bind_tcp(address: SocketAddr, only_v6: bool, backlog: i32) -> io::Result<Socket> {
    let socket = new_tcp(address, only_v6)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn bind_dual_stack(port: u16, backlog: i32) -> io::Result<Socket> {
    match bind_tcp((Ipv6Addr::UNSPECIFIED, port).into(), false, backlog) {
        Err(error) if lacks_ipv6(&error) => bind_tcp((Ipv4Addr::UNSPECIFIED, port).into(), false, backlog),
        result => result,
    }
}

/// The kernel was built without IPv6, or booted or configured to have no IPv6 address.
fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT)
    )
}

fn bind_unix(path: &Path, backlog: i32) -> io::Result<(Socket, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &address) => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        result => result?,
    }
    let name = SocketFile::new(path)?;
    // A front proxy runs as another user: who may connect is for the folder to say.
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(backlog)?;
    Ok((socket, name))
}

/// Whether `path` is a socket that nobody listens on: left behind by a process that was killed.
fn is_stale(path: &Path, address: &SockAddr) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    // Non-blocking: a live listener with a full queue would hold us up.
    let refused = || {
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        probe.set_nonblocking(true)?;
        probe.connect(address)
    };
    is_socket && refused().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn inherit(descriptor: OwnedFd, backlog: i32) -> io::Result<Socket> {
    rustix::io::fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    let socket = Socket::from(descriptor);
    let is_known = matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6 | Domain::UNIX);
    if !is_known || socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a TCP or Unix stream socket"));
    }
    if !socket.is_listener()? {
        socket.listen(backlog)?;
    }
    Ok(socket)
}

/// The name of a Unix socket, which outlives the socket unless it is removed.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        // Absolute: the working directory may be another one by the time of the removal.
        Ok(Self { path: std::path::absolute(path)?, device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor may have put its own socket there meanwhile: that one is not ours to remove.
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use worker::Room;
    use worker::accept::{Arrival, Gate};
    use worker::handoff::{Accepted, Peer};

    use super::*;

    /// The next connection of a queue that somebody may have connected to.
    fn accept(listener: &mut Listener) -> Option<Accepted> {
        let mut gate = Gate::new(Arc::new(Room::new(1)));
        listener.queue().set_ready();
        match listener.queue().take(&mut gate).unwrap() {
            Arrival::Connection(accepted) => Some(accepted),
            Arrival::Drained => None,
            other => panic!("{other:?}"),
        }
    }

    fn tcp(address: &str) -> Address {
        Address::Tcp(address.parse().unwrap())
    }

    #[test]
    fn accepted_sockets_are_nonblocking_close_on_exec_and_without_delay() {
        let mut listener = Listener::bind(tcp("127.0.0.1:0"), 16).unwrap();
        let LocalAddress::Tcp(address) = *listener.local_address() else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
        let client = std::net::TcpStream::connect(address).unwrap();
        let accepted = accept(&mut listener).unwrap();
        let client_address = client.local_addr().unwrap();
        assert_eq!(accepted.peer, Peer::from(client_address));
        let socket = Socket::from(accepted.stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.nonblocking().unwrap());
        assert!(rustix::io::fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC));
        assert!(accept(&mut listener).is_none());
    }

    #[test]
    fn a_taken_port_is_refused() {
        let first = Listener::bind(tcp("127.0.0.1:0"), 16).unwrap();
        let again = Listener::bind(tcp(&first.local_address().to_string()), 16);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn shared_listeners_have_one_port_and_each_gets_connections() {
        for address in [tcp("127.0.0.1:0"), Address::DualStack { port: 0 }] {
            let mut listeners = Listener::bind_shared(address, 64, 3).unwrap();
            let locals: Vec<_> = listeners.iter().map(|listener| listener.local_address().clone()).collect();
            let LocalAddress::Tcp(address) = locals[0] else { panic!("not TCP") };
            assert!(locals.iter().all(|local| *local == locals[0]) && address.port() != 0, "{locals:?}");
            let _clients: Vec<_> = (0..96)
                .map(|_| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap())
                .collect();
            let taken: Vec<usize> = listeners
                .iter_mut()
                .map(|listener| std::iter::from_fn(|| accept(listener)).count())
                .collect();
            // That one of three gets none of 96 happens less than once in 10^16 times.
            assert!(taken.iter().sum::<usize>() == 96 && !taken.contains(&0), "{taken:?}");
        }
    }

    #[test]
    fn a_shared_port_is_shared_with_nobody_else() {
        for alone in [1, 3] {
            let first = Listener::bind_shared(tcp("127.0.0.1:0"), 16, alone).unwrap();
            let taken = first[0].local_address().to_string();
            let again = [
                Listener::bind(tcp(&taken), 16),
                Listener::bind_shared(tcp(&taken), 16, 2).map(|mut all| all.remove(0)),
            ];
            for refused in again {
                assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            }
        }
        // Not the other way round either.
        let first = Listener::bind(tcp("127.0.0.1:0"), 16).unwrap();
        let again = Listener::bind_shared(tcp(&first.local_address().to_string()), 16, 2);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_is_not_tcp_or_not_ours_cannot_be_shared() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        for address in [Address::Unix("socket".into()), Address::Inherited(socket.into())] {
            assert!(!address.is_sharable());
            let refused = Listener::bind_shared(address, 16, 2);
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_dual_stack_listener_shows_ipv4_peers_as_ipv4() {
        let mut listener = Listener::bind(Address::DualStack { port: 0 }, 16).unwrap();
        let LocalAddress::Tcp(address) = *listener.local_address() else { panic!("not TCP") };
        let _client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
        assert_eq!(accept(&mut listener).unwrap().peer.ip(), Some(Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn a_unix_socket_comes_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut listener = Listener::bind(Address::Unix(path.clone()), 16).unwrap();
        assert_eq!(listener.local_address().to_string(), format!("unix:{}", path.display()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let _client = UnixStream::connect(&path).unwrap();
        assert_eq!(accept(&mut listener).unwrap().peer, Peer::Unix);
        let again = Listener::bind(Address::Unix(path.clone()), 16);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse, "somebody listens there");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_but_no_other_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves the name behind
        assert!(path.exists());
        let listener = Listener::bind(Address::Unix(path.clone()), 16).unwrap();
        UnixStream::connect(&path).unwrap();
        // A successor took the name over: it stays.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "not a socket").unwrap();
        drop(listener);
        assert!(path.exists());
        let refused = Listener::bind(Address::Unix(path.clone()), 16);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"not a socket");
    }

    #[test]
    fn an_abstract_unix_socket_is_shown_by_its_name() {
        let name = format!("oneloop-test-{}", std::process::id());
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(format!("\0{name}")).unwrap()).unwrap();
        let listener = Listener::bind(Address::Inherited(socket.into()), 16).unwrap();
        assert_eq!(listener.local_address().to_string(), format!("unix:@{name}"));
    }

    #[test]
    fn a_bound_socket_is_inherited_and_anything_else_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut listener = Listener::bind(Address::Inherited(socket.into()), 16).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert!(accept(&mut listener).is_some());

        let datagram = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let refused = Listener::bind(Address::Inherited(datagram.into()), 16);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let file = tempfile::tempfile().unwrap();
        assert!(Listener::bind(Address::Inherited(file.into()), 16).is_err());
    }
}
