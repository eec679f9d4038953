//! What an intruder would try, on demand, so that tests can watch it fail. Only in debug builds is there anything here.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::process::Command;

use rustix::process::{Pid, test_kill_process};

/// Where the variable says that somebody listens, the calling thread tries what no thread of the server needs, and
/// says what came of it, on one line of standard error.
pub(super) fn report() {
    let Ok(address) = std::env::var("ONELOOP_FAULT_SANDBOX") else { return };
    let thread = std::thread::current();
    let scratch = std::env::temp_dir().join(format!("probe-{}", thread.name().unwrap_or_default()));
    let told = [
        ("read", outcome(File::open("/etc/passwd"))),
        ("write", outcome(File::create_new(&scratch))),
        ("connect", outcome(TcpStream::connect(address))),
        ("execute", outcome(Command::new("/bin/true").status())),
        ("signal", outcome(test_kill_process(Pid::INIT).map_err(Into::into))),
    ];
    // Where it could be made.
    let _ = std::fs::remove_file(scratch);
    let told = told.map(|(what, came)| format!("{what}={came}")).join(" ");
    eprintln!("probe thread={} {told}", thread.name().unwrap_or("unnamed"));
}

fn outcome<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "done".into(),
        Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), |errno| errno.to_string()),
    }
}
