//! Users that come and go while the server runs: a thread reads their file when it is asked to.
//!
//! Reading may mean waiting for a disk, so it is done neither on a loop nor by the acceptor. A file that is wrong is
//! taken by nobody: the old users stay.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

use worker::users::Roll;

use crate::sandbox::{Kind, Sandbox};
use crate::settings::UserFile;

/// The way to the thread that reads the file.
#[derive(Debug)]
pub(super) struct Clerk {
    thread: Thread,
    is_asked: Arc<AtomicBool>,
}

impl Clerk {
    /// Starts the thread, in the sandbox, for workers that know `roll`. There is memory for passwords that take
    /// `kib_max` KiB.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub(super) fn start(file: UserFile, roll: Arc<Roll>, kib_max: u32, sandbox: Sandbox) -> io::Result<Self> {
        let is_asked = Arc::new(AtomicBool::new(false));
        let mut watch = Watch { file, roll, kib_max, is_asked: Arc::clone(&is_asked) };
        let thread = thread::Builder::new().name("users".to_owned()).spawn(move || {
            sandbox.take_in(Kind::Users);
            loop {
                thread::park();
                watch.look();
            }
        })?;
        Ok(Self { thread: thread.thread().clone(), is_asked })
    }

    /// Has the file read anew. Returns at once; asking twice before it is done may be asking once.
    pub(super) fn reload(&self) {
        self.is_asked.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

struct Watch {
    file: UserFile,
    roll: Arc<Roll>,
    kib_max: u32,
    is_asked: Arc<AtomicBool>,
}

impl Watch {
    fn look(&mut self) {
        if !self.is_asked.swap(false, Ordering::Acquire) {
            return;
        }
        match self.file.read() {
            Ok(users) if users.password_kib() > self.kib_max => tracing::error!(
                "a password of --auth-file takes {} KiB of memory, more than --memory-budget was shared out for; the \
                 old users stay until a restart",
                users.password_kib()
            ),
            Ok(users) => {
                self.roll = self.roll.succeed(users);
                tracing::info!("the users were read anew");
            }
            Err(error) => tracing::error!("{error}; the old users stay"),
        }
    }
}
