//! What the operating system gives and takes: signals, limits, processors, and sockets that others opened for us.
//!
//! The only file of the binary with unsafe code: each block is one system call that has no safe wrapper.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, Rlimit};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// TERM, INT, QUIT: finish, then exit.
    Stop,
    /// HUP: open everything anew.
    Reload,
    /// USR1: say what was done so far.
    Report,
}

/// The signals that were sent to the process, readable like a socket.
#[derive(Debug)]
pub(crate) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// From here on HUP and USR1 are kept for [`Signals::take`] instead of ending the process. Those to stop still
    /// end it, as they should while a start waits for a name server or a disk.
    ///
    /// # Errors
    /// When the kernel has no descriptors left.
    pub(crate) fn keep() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        SignalDelivery::with_pipe(read, write, SignalOnly, [SIGHUP, SIGUSR1]).map(Self)
    }

    /// From here on those to stop are kept too: there is something to end in order.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub(crate) fn keep_stops(&self) -> io::Result<()> {
        let handle = self.0.handle();
        [SIGTERM, SIGINT, SIGQUIT].into_iter().try_for_each(|signal| handle.add_signal(signal))
    }

    /// What was asked for since the last time.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Request> + use<> {
        self.0.pending().map(|signal| match signal {
            SIGHUP => Request::Reload,
            SIGUSR1 => Request::Report,
            _ => Request::Stop,
        })
    }

    /// Sleeps until there is a signal or the time is over.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut descriptors = [PollFd::new(self, PollFlags::IN)];
        // An error, such as EINTR, is a wait that was over early: callers look again anyway.
        let _ = rustix::event::poll(&mut descriptors, Timespec::try_from(timeout).ok().as_ref());
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

/// Makes a write beyond `RLIMIT_FSIZE` fail with `EFBIG`, instead of ending the process. SIGPIPE needs no such
/// care: Rust's runtime ignores it.
pub(crate) fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN runs no code of ours. It cannot fail: the number is a signal's, and one that may be ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Lets buffers of connections go back to the kernel as soon as they are freed: large ones are mapped each by itself, and
/// few arenas keep few others. Without it, freed memory stays with the process between what is in use. Other C libraries
/// than glibc are left as they are.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_MMAP_THRESHOLD, 16 << 10), (libc::M_TRIM_THRESHOLD, 64 << 10), (libc::M_ARENA_MAX, 2)]
    {
        // SAFETY: mallopt(3) takes two integers and changes how memory is taken from now on, not what was taken. What it
        // does not know it refuses.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// What the kernel says, without the number that the standard library appends.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

/// Raises the limit on descriptors as far as we may, and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let result = rustix::process::setrlimit(Resource::Nofile, raised);
    let effective = if result.is_ok() { limit.maximum } else { limit.current };
    effective.unwrap_or(u64::MAX)
}

/// Descriptors that the process has.
pub(crate) fn open_descriptors() -> u64 {
    // Counting takes one itself. Without /proc: the standard streams, and what signals come through.
    std::fs::read_dir("/proc/self/fd").map_or(5, |open| (open.count() as u64).saturating_sub(1))
}

/// The processors that the process may run on.
pub(crate) fn processors() -> Vec<usize> {
    let allowed = rustix::thread::sched_getaffinity(None);
    allowed.map_or_else(
        |_| Vec::new(),
        |set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect(),
    )
}

/// Lets the kernel hold connections back until the client has sent something, or for about `seconds`, so that the
/// first read finds a request (tcp(7), `TCP_DEFER_ACCEPT`).
///
/// # Errors
/// When the socket is not TCP.
pub(crate) fn defer_accept(socket: impl AsFd, seconds: c_int) -> io::Result<()> {
    const SIZE: libc::socklen_t = 4;
    const { assert!(size_of::<c_int>() == SIZE as usize) };
    // SAFETY: the descriptor is borrowed, hence open; the pointer is to a live integer of the size that is passed,
    // and the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            SIZE,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The version of Landlock's interface (landlock(7)).
///
/// # Errors
/// `NOSYS` where the kernel has none, `OPNOTSUPP` where it is switched off.
pub(crate) fn landlock_abi() -> io::Result<i64> {
    const CREATE_RULESET_VERSION: libc::c_uint = 1;
    let (attributes, bytes) = (std::ptr::null::<libc::c_void>(), 0_usize);
    // SAFETY: with this flag the kernel wants no attributes and makes no ruleset: it touches no memory of ours.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, attributes, bytes, CREATE_RULESET_VERSION)
    };
    if abi < 0 { Err(io::Error::last_os_error()) } else { Ok(abi) }
}

/// Room for an entry of the databases of users and groups; a group may have many members.
const ENTRY_BYTES: usize = 1 << 20;

/// User and group of the user of that name, if there is one. May ask a server.
///
/// # Errors
/// When nobody answers.
pub(crate) fn user_by_name(name: &CStr) -> io::Result<Option<(u32, u32)>> {
    user(|entry, buffer, found| {
        // SAFETY: the name ends with NUL; entry, buffer of the length that is passed, and pointer outlive the call.
        unsafe {
            libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), found)
        }
    })
}

/// The same for the user of that number.
///
/// # Errors
/// When nobody answers.
pub(crate) fn user_by_id(uid: u32) -> io::Result<Option<(u32, u32)>> {
    user(|entry, buffer, found| {
        // SAFETY: entry, buffer of the length that is passed, and pointer outlive the call.
        unsafe { libc::getpwuid_r(uid, entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), found) }
    })
}

/// `look_up` returns an error number, and has its last argument point at the entry, or nowhere.
fn user(
    look_up: impl FnOnce(&mut MaybeUninit<libc::passwd>, &mut [c_char], &mut *mut libc::passwd) -> c_int,
) -> io::Result<Option<(u32, u32)>> {
    let (mut entry, mut found) = (MaybeUninit::uninit(), std::ptr::null_mut());
    let error = look_up(&mut entry, &mut vec![0; ENTRY_BYTES], &mut found);
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: both callers leave it null or have the C library point it at the entry, which it has filled in then.
    Ok((!found.is_null()).then(|| unsafe { entry.assume_init() }).map(|entry| (entry.pw_uid, entry.pw_gid)))
}

/// The number of the group of that name, if there is one. May ask a server.
///
/// # Errors
/// When nobody answers.
pub(crate) fn group_by_name(name: &CStr) -> io::Result<Option<u32>> {
    let (mut entry, mut found) = (MaybeUninit::<libc::group>::uninit(), std::ptr::null_mut());
    let mut buffer: Vec<c_char> = vec![0; ENTRY_BYTES];
    // SAFETY: the name ends with NUL; entry, buffer of the length that is passed, and pointer outlive the call.
    let error = unsafe {
        libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: where the library has found one, it has filled in the entry.
    Ok((!found.is_null()).then(|| unsafe { entry.assume_init() }).map(|entry| entry.gr_gid))
}

/// Takes over a descriptor that the process was started with.
///
/// # Errors
/// `InvalidInput` for the standard streams and for a descriptor that we opened ourselves, `EBADF` for one that is
/// not open. Taking the same one twice is such an error too: the first time marks it as ours.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "descriptors below 3 are the standard streams",
        ));
    }
    // SAFETY: F_GETFD has no argument and reads a flag; a number that is not open gives EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no descriptor that was inherited"));
    }
    // SAFETY: F_SETFD changes a flag of an open descriptor and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and nobody here owns it: it did not close on exec, while everything that this
    // process opens does, and so does, since the line above, whatever was adopted before.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes over the sockets that systemd opened for this process (`sd_listen_fds(3)`).
///
/// # Errors
/// `NotFound` when systemd passed none to this process, or the error of [`adopt`].
pub(crate) fn adopt_from_systemd() -> io::Result<Vec<OwnedFd>> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    let is_for_us = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|&count| is_for_us && count > 0);
    let last = count.and_then(|count| RawFd::try_from(count).ok()?.checked_add(2));
    let Some(last) = last else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "LISTEN_FDS and LISTEN_PID name no socket for it",
        ));
    };
    (3..=last).map(adopt).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn only_inherited_descriptors_are_adopted_and_only_once() {
        assert_eq!(adopt(2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(adopt(9999).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let ours = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(adopt(ours.as_raw_fd()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        // As it would come from a parent: open across exec.
        rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).unwrap();
        let number = ours.into_raw_fd();
        let adopted = adopt(number).unwrap();
        assert_eq!(adopted.as_raw_fd(), number);
        assert_eq!(adopt(number).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn without_systemd_there_are_no_sockets() {
        assert_eq!(adopt_from_systemd().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn accepting_can_be_deferred_on_tcp_only() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        defer_accept(&tcp, 1).unwrap();
        let (unix, _) = UnixStream::pair().unwrap();
        assert!(defer_accept(&unix, 1).is_err());
    }

    #[test]
    fn there_is_a_processor_and_a_descriptor() {
        assert!(!processors().is_empty());
        let limit = raise_descriptor_limit();
        assert!(limit > 3);
        assert_eq!(raise_descriptor_limit(), limit);
    }

    #[test]
    fn users_and_groups_are_known_by_name_and_number() {
        assert_eq!(user_by_name(c"root").unwrap(), Some((0, 0)));
        assert_eq!(user_by_id(0).unwrap(), Some((0, 0)));
        assert_eq!(group_by_name(c"root").unwrap(), Some(0));
        assert_eq!(user_by_name(c"nobody at all").unwrap(), None);
        assert_eq!(user_by_id(4_000_000_000).unwrap(), None);
        assert_eq!(group_by_name(c"nobody at all").unwrap(), None);
    }

    #[test]
    fn signals_wait_to_be_taken() {
        let mut signals = Signals::keep().unwrap();
        signals.keep_stops().unwrap();
        assert_eq!(signals.take().count(), 0);
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        signals.wait(Duration::from_secs(5));
        assert_eq!(signals.take().collect::<Vec<_>>(), [Request::Report]);
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(signals.take().collect::<Vec<_>>(), [Request::Reload]);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(signals.take().collect::<Vec<_>>(), [Request::Stop]);
    }

    #[test]
    fn what_is_opened_is_counted() {
        // Other tests open and close some meanwhile, but not as many.
        let before = open_descriptors();
        let files: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let with_files = open_descriptors();
        assert!(with_files > before + 100, "{before} {with_files}");
        drop(files);
        assert!(open_descriptors() < with_files - 100);
    }
}
