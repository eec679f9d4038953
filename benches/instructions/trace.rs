//! A process that is taken one instruction at a time: ptrace(2), `PTRACE_SINGLESTEP`.
//!
//! Slow, some microseconds an instruction, but exact, and it meets the real kernel: valgrind does not know all
//! the system calls that the server makes. `unsafe` lives here and nowhere else in this package.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

/// The word that tells this program, when it is started, that it is traced.
pub(crate) const WORD: &str = "--traced";
/// Stretches between marks.
pub(crate) const STRETCHES: usize = 2;
/// What a traced process sends itself; it never arrives.
const MARK: Signal = Signal::USR1;

/// The C library copies and searches by the widest vectors and the fastest string instructions that it finds,
/// and a repeated string instruction counts once a byte. So all machines get the same choice, that of AVX2.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM:glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// A stopped process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traced(Pid);

/// In the traced process: ends one stretch and begins the next.
pub(crate) fn mark() -> io::Result<()> {
    Ok(rustix::process::kill_process(rustix::process::getpid(), MARK)?)
}

/// Runs an operation in a new process, and calls `each` after every instruction between two marks, with the
/// number of the stretch.
pub(crate) fn step(name: &str, each: impl FnMut(usize, Traced) -> io::Result<()>) -> io::Result<()> {
    let mut child = spawn(name)?;
    let result = drive(Traced(Pid::from_child(&child)), each);
    if result.is_err() {
        // Gone already is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn spawn(name: &str) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([WORD, name]).env("GLIBC_TUNABLES", TUNABLES);
    // SAFETY: between fork and exec only these two system calls are made, and neither touches memory.
    unsafe {
        command.pre_exec(|| {
            // Addresses that are the same each time make alignments the same; a refusal costs only that.
            libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
            succeed(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)).map(drop)
        });
    }
    command.spawn()
}

fn drive(traced: Traced, mut each: impl FnMut(usize, Traced) -> io::Result<()>) -> io::Result<()> {
    let mut marks = 0;
    loop {
        let status = traced.wait()?;
        let Some(signal) = status.stopping_signal() else {
            return match status.exit_status() {
                Some(0) if marks == STRETCHES + 1 => Ok(()),
                _ => Err(io::Error::other(format!("the traced process ended: {status:?}"))),
            };
        };
        let passed_on = match signal {
            _ if signal == MARK.as_raw() => {
                marks += 1;
                0
            }
            libc::SIGTRAP => {
                if let Some(stretch @ 0..STRETCHES) = marks.checked_sub(1) {
                    each(stretch, traced)?;
                }
                0
            }
            other => other,
        };
        traced.resume((1..=STRETCHES).contains(&marks), passed_on)?;
    }
}

impl Traced {
    fn wait(self) -> io::Result<WaitStatus> {
        let waited = rustix::process::waitpid(Some(self.0), WaitOptions::empty())?;
        waited.map(|(_, status)| status).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// By one instruction, or until it stops by itself.
    fn resume(self, by_one: bool, signal: i32) -> io::Result<()> {
        let request = if by_one { libc::PTRACE_SINGLESTEP } else { libc::PTRACE_CONT };
        // SAFETY: neither request reads or writes memory of this process; the address is ignored.
        succeed(unsafe { libc::ptrace(request, self.0.as_raw_nonzero().get(), 0, signal) }).map(drop)
    }

    /// Where it is.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn instruction_pointer(self) -> io::Result<u64> {
        // Reading a word may well give −1, so only errno tells.
        // SAFETY: errno is this thread's; the request reads a register of the other process into the result.
        let word = unsafe {
            *libc::__errno_location() = 0;
            let place = size_of::<u64>() * libc::RIP as usize;
            libc::ptrace(libc::PTRACE_PEEKUSER, self.0.as_raw_nonzero().get(), place, 0)
        };
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(0) => Ok(word.cast_unsigned()),
            error => Err(error),
        }
    }

    /// Where it is.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn instruction_pointer(self) -> io::Result<u64> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "profiles are for x86-64"))
    }

    /// What is mapped where in it: `/proc/PID/maps`.
    pub(crate) fn maps(self) -> io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/maps", self.0.as_raw_nonzero()))
    }
}

fn succeed(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
