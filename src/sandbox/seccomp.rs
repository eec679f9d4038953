//! Which system calls each kind of thread makes: a list of what is allowed, compiled to a filter of the kernel's,
//! seccomp(2). Everything else fails with `EPERM`.
//!
//! A call that is not listed is refused and does not end the process. Nothing is gained by ending it: the call is not
//! made either way, whoever has code of his own in here can end the process anyhow, and a library that tries a call
//! and does without it, as malloc asks `/proc` how memory is committed, would end the server.
//!
//! Calls on the way of a request are allowed whatever their arguments, so that the kernel finds the answer in a bitmap
//! and does not run the filter.

use std::collections::BTreeMap;
use std::sync::Arc;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::Kind;

/// The number of cachestat(2), which libc does not name.
const CACHESTAT: c_long = 451;
/// Of linux/sockios.h and asm-generic/ioctls.h: what is queued on a socket, to be sent and to be read.
const SIOCOUTQ: u64 = 0x5411;
const FIONREAD: u64 = 0x541b;

/// What any thread may need: its memory, locks, clocks and end, descriptors that are open, and the way by which a
/// signal is told to the main thread.
const ALL: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

/// A loop: sockets that are there, and files below a root that is held.
const LOOP: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_preadv2,
    libc::SYS_recvfrom,
    libc::SYS_sendfile,
    libc::SYS_sendmsg,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_statx,
    CACHESTAT,
];

/// A helper: files below a root that is held, and what is made of them in memory. A loop without helpers does the same.
const HELPER: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_memfd_create,
    libc::SYS_newfstatat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_statx,
    CACHESTAT,
];

/// Who looks where a path leads and opens it.
const ROOT: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getgid,
    libc::SYS_getuid,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_readlinkat,
    libc::SYS_statx,
];

/// Who opens one file anew.
const OPENER: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_statx,
];

/// The main thread: accepts, obeys signals, and at the end removes what it made.
const MAIN: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_newfstatat,
    libc::SYS_recvfrom,
    libc::SYS_statx,
    libc::SYS_unlinkat,
];

/// Calls that the C library makes in place of others where an architecture has kept them.
#[cfg(target_arch = "x86_64")]
mod old {
    use libc::c_long;

    pub(super) const ALL: &[c_long] = &[libc::SYS_poll, libc::SYS_time];
    pub(super) const WAITING: &[c_long] = &[libc::SYS_epoll_wait];
    pub(super) const ROOT: &[c_long] =
        &[libc::SYS_access, libc::SYS_lstat, libc::SYS_open, libc::SYS_readlink, libc::SYS_stat];
    pub(super) const OPENER: &[c_long] = &[libc::SYS_open];
    pub(super) const MAIN: &[c_long] = &[libc::SYS_epoll_wait, libc::SYS_lstat, libc::SYS_unlink];
}
#[cfg(not(target_arch = "x86_64"))]
mod old {
    use libc::c_long;

    pub(super) const ALL: &[c_long] = &[];
    pub(super) const WAITING: &[c_long] = &[];
    pub(super) const ROOT: &[c_long] = &[];
    pub(super) const OPENER: &[c_long] = &[];
    pub(super) const MAIN: &[c_long] = &[];
}

/// The filters of all kinds of threads.
#[derive(Clone, Debug)]
pub(super) struct Filters(Arc<[(Kind, BpfProgram)]>);

impl Filters {
    /// Compiles them. Without helpers, loops do what helpers would.
    ///
    /// # Errors
    /// What is wrong with a list.
    pub(super) fn new(has_helpers: bool) -> Result<Self, seccompiler::Error> {
        let compile = |kind| Ok((kind, filter(kind, has_helpers)?.try_into()?));
        let filters =
            Kind::ALL.into_iter().map(compile).collect::<Result<Vec<_>, seccompiler::BackendError>>();
        Ok(Self(filters.map_err(seccompiler::Error::Backend)?.into()))
    }

    /// Puts the calling thread under the filter of its kind, for ever.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn apply(&self, kind: Kind) -> Result<(), seccompiler::Error> {
        let filter = self.0.iter().find(|(known, _)| *known == kind);
        filter.map_or(Ok(()), |(_, program)| seccompiler::apply_filter(program))
    }

    /// What this machine lacks for them, if anything, as a thread finds out that ends at once.
    pub(super) fn shortcoming(&self) -> Option<String> {
        let filters = self.clone();
        let trial = std::thread::Builder::new().spawn(move || filters.apply(Kind::Diagnostics));
        let reason = match trial.map(std::thread::JoinHandle::join) {
            Ok(Ok(Ok(()))) => return None,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "the thread that tried it panicked".into(),
            Err(error) => error.to_string(),
        };
        Some(format!(
            "seccomp cannot be had: {reason}; the kernel must have CONFIG_SECCOMP_FILTER, and what runs this container allow it"
        ))
    }
}

fn filter(kind: Kind, has_helpers: bool) -> Result<SeccompFilter, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let lists: &[&[c_long]] = match kind {
        Kind::Main => &[MAIN, old::MAIN],
        Kind::Loop if has_helpers => &[LOOP, old::WAITING],
        Kind::Loop => &[LOOP, old::WAITING, HELPER],
        Kind::Helper => &[HELPER],
        Kind::Root => &[ROOT, old::ROOT],
        Kind::AccessLog | Kind::Users => &[OPENER, old::OPENER],
        Kind::Diagnostics => &[],
    };
    for &call in [ALL, old::ALL].iter().chain(lists).copied().flatten() {
        rules.insert(call, Vec::new());
    }
    for (call, conditions) in conditional(kind, has_helpers)? {
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    }
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, refused, SeccompAction::Allow, TargetArch::try_from(std::env::consts::ARCH)?)
}

type Conditional = Vec<(i64, Vec<SeccompCondition>)>;

/// What is allowed with certain arguments alone: memory that is never executed, signals to ourselves, and of calls that
/// do many things the few that are needed.
fn conditional(kind: Kind, has_helpers: bool) -> Result<Conditional, seccompiler::BackendError> {
    let is = |argument, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let masked = |argument, bits: u64, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), value)
    };
    let lacks = |argument, bits| masked(argument, bits, 0);
    let holds = |argument, bits| masked(argument, bits, bits);
    let executable = u64::from(libc::PROT_EXEC.cast_unsigned());
    let mut calls = vec![
        (libc::SYS_mmap, vec![lacks(2, executable)?]),
        (libc::SYS_mprotect, vec![lacks(2, executable)?]),
        (libc::SYS_tgkill, vec![is(0, std::process::id().into())?]),
    ];
    let works_on_files = kind == Kind::Helper || kind == Kind::Loop && !has_helpers;
    let seals: &[i32] = if works_on_files { &[libc::F_ADD_SEALS, libc::F_GET_SEALS] } else { &[] };
    for command in [libc::F_GETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC].iter().chain(seals) {
        calls.push((libc::SYS_fcntl, vec![is(1, u64::from(command.cast_unsigned()))?]));
    }
    if works_on_files {
        // To read a directory that is open from its beginning, it is opened once more by the name `.`.
        let directory = u64::from(libc::O_DIRECTORY.cast_unsigned());
        calls.push((libc::SYS_openat, vec![holds(2, directory)?]));
    }
    if kind == Kind::Loop {
        for request in [SIOCOUTQ, FIONREAD] {
            calls.push((libc::SYS_ioctl, vec![is(1, request)?]));
        }
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(kind: Kind, has_helpers: bool) -> Vec<i64> {
        let filter = filter(kind, has_helpers).unwrap();
        // The only way to look into one.
        let shown = format!("{filter:?}");
        (0..600)
            .filter(|call| shown.contains(&format!("{{{call}: ")) || shown.contains(&format!(", {call}: ")))
            .collect()
    }

    #[test]
    fn nobody_executes_spawns_or_gets_a_socket() {
        for kind in Kind::ALL {
            for has_helpers in [true, false] {
                let allowed = allowed(kind, has_helpers);
                assert!(allowed.contains(&libc::SYS_futex), "{kind:?}: {allowed:?}");
                for never in [
                    libc::SYS_execve,
                    libc::SYS_execveat,
                    libc::SYS_clone,
                    libc::SYS_clone3,
                    libc::SYS_socket,
                    libc::SYS_connect,
                    libc::SYS_bind,
                    libc::SYS_listen,
                    libc::SYS_ptrace,
                    libc::SYS_process_vm_writev,
                    libc::SYS_kill,
                    libc::SYS_prctl,
                    libc::SYS_setresuid,
                    libc::SYS_pkey_mprotect,
                    libc::SYS_io_uring_setup,
                ] {
                    assert!(!allowed.contains(&never), "{kind:?} may make call {never}");
                }
            }
        }
        assert!(!allowed(Kind::Loop, true).contains(&libc::SYS_openat));
        assert!(!allowed(Kind::Loop, true).contains(&libc::SYS_memfd_create));
        assert!(allowed(Kind::Loop, false).contains(&libc::SYS_memfd_create));
    }

    #[test]
    fn a_thread_under_a_filter_keeps_what_it_needs_and_nothing_else() {
        let filters = Filters::new(true).unwrap();
        std::thread::spawn(move || {
            filters.apply(Kind::Helper).unwrap();
            assert_eq!(vec![1_u8; 8 << 20].iter().map(|&byte| u64::from(byte)).sum::<u64>(), 8 << 20);
            let caught = std::panic::catch_unwind(|| std::panic::panic_any(1));
            assert!(caught.is_err());
            assert!(rustix::fs::memfd_create("a", rustix::fs::MemfdFlags::CLOEXEC).is_ok());
            let error = std::net::TcpListener::bind("127.0.0.1:0").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            let error = std::process::Command::new("/bin/true").status().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        })
        .join()
        .unwrap();
    }
}
