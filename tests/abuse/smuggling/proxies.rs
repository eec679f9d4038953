//! Proxies that people put in front of servers, started with the least configuration, on a Unix socket.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::super::client::eventually;
use super::{Seen, role};

/// Which one, and how strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Haproxy,
    /// The same, told to pass on what it would refuse.
    LenientHaproxy,
    Nginx,
}

/// A running proxy. Killed when dropped.
pub(super) struct Proxy {
    kind: Kind,
    child: Child,
    folder: TempDir,
}

impl Proxy {
    /// Starts a proxy in front of a server; none if it is not installed.
    pub(super) fn start(kind: Kind, server: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path();
        let program = program(kind)?;
        let configuration = path.join("configuration");
        let text = if kind == Kind::Nginx { nginx(path, server) } else { haproxy(kind, path, server) };
        fs::write(&configuration, text).expect("write");
        let mut command = Command::new(program);
        match kind {
            Kind::Nginx => command.arg("-p").arg(path).arg("-c").arg(&configuration),
            _ => command.arg("-db").arg("-f").arg(&configuration),
        };
        let file = |name| File::create(path.join(name)).expect("a file for the output");
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().expect("the proxy starts");
        let proxy = Self { kind, child, folder };
        let listens = eventually(Duration::from_secs(5), || UnixStream::connect(proxy.socket()).is_ok());
        let said = fs::read_to_string(proxy.folder.path().join("stderr")).unwrap_or_default();
        assert!(listens, "{kind:?} does not listen: {said}{}", proxy.log());
        Some(proxy)
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("front")
    }

    /// Its access log so far.
    pub(super) fn log(&self) -> String {
        let name = if self.kind == Kind::Nginx { "access.log" } else { "stdout" };
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The requests that it has passed on: those with a status of the server's, `-` or `<NOSRV>` without.
    pub(super) fn passed_on(&self) -> Seen {
        let mut seen = Seen::new();
        for line in self.log().lines() {
            let words: Vec<&str> = line.split('\t').collect();
            let [method, target, server] = words[..] else { continue };
            if server == "-" || server == "<NOSRV>" {
                continue;
            }
            let (number, role) = role(method, target).unwrap_or((usize::MAX, line.to_owned()));
            seen.entry(number).or_default().push(role);
        }
        seen
    }

    /// What it is.
    pub(super) fn version(&self) -> String {
        let output =
            Command::new(program(self.kind).expect("it was there")).arg("-v").output().expect("a version");
        let text = [output.stdout, output.stderr].concat();
        let first = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        let words: Vec<&str> = first.split(' ').take(3).collect();
        format!("{:?} ({})", self.kind, words.join(" "))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(kind: Kind) -> Option<&'static Path> {
    let path = Path::new(if kind == Kind::Nginx { "/usr/sbin/nginx" } else { "/usr/sbin/haproxy" });
    path.exists().then_some(path)
}

fn haproxy(kind: Kind, path: &Path, server: SocketAddr) -> String {
    let lenient = if kind == Kind::LenientHaproxy { "option accept-invalid-http-request" } else { "" };
    format!(
        "global\n maxconn 100\n log stdout format raw local0\n\
         defaults\n mode http\n log global\n retries 0\n option http-keep-alive\n http-reuse always\n\
         timeout connect 2s\n timeout client 5s\n timeout server 5s\n\
         log-format \"%HM\t%HU\t%s\"\n\
         frontend front\n bind unix@{}/front\n {lenient}\n default_backend back\n\
         backend back\n server one {server}\n",
        path.display()
    )
}

fn nginx(path: &Path, server: SocketAddr) -> String {
    let path = path.display();
    format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
         events {{ worker_connections 100; }}\n\
         http {{ log_format seen '$request_method\t$request_uri\t$upstream_status'; access_log {path}/access.log seen;\n\
         client_body_temp_path {path}/1; proxy_temp_path {path}/2; fastcgi_temp_path {path}/3; uwsgi_temp_path {path}/4;\n\
         scgi_temp_path {path}/5; underscores_in_headers on;\n\
         upstream back {{ server {server}; keepalive 8; }}\n\
         server {{ listen unix:{path}/front; location / {{ proxy_pass http://back; proxy_http_version 1.1;\n\
         proxy_set_header Connection ''; proxy_request_buffering off; proxy_next_upstream off; }} }} }}\n"
    )
}
