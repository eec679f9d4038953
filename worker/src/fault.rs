//! Faults on demand, so that tests can watch the server survive them. Only in debug builds is there anything here.

/// A path that makes the worker panic when it is asked for.
#[derive(Debug)]
pub struct Fault {
    #[cfg(debug_assertions)]
    path: Option<Box<[u8]>>,
}

impl Fault {
    /// The fault that the environment variable `ONELOOP_FAULT_PANIC` asks for, in a debug build.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            #[cfg(debug_assertions)]
            path: std::env::var("ONELOOP_FAULT_PANIC").ok().map(|path| path.into_bytes().into()),
        }
    }

    /// Does nothing, and costs nothing, in a release build.
    ///
    /// # Panics
    /// If `path` is the one that was asked for, in a debug build.
    pub fn strike(&self, path: &[u8]) {
        #[cfg(debug_assertions)]
        #[expect(clippy::panic, reason = "that is what it is for")]
        if self.path.as_deref() == Some(path) {
            panic!("injected fault");
        }
        #[cfg(not(debug_assertions))]
        let _ = path;
    }
}
