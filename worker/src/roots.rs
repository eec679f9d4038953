//! Which tree is served: one thread opens it, watches it, and hands a new one to every worker.
//!
//! Opening a root may mean waiting for a disk or another machine, so it is done neither on a loop nor by the acceptor,
//! and once for all of them. A root that cannot be opened is handed to nobody: the old one is served on. A worker
//! changes over between two of its turns. What was begun on the old root ends on it, and the last who lets go of it
//! closes it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use crate::settings::{SiteSettings, Symlinks};
use crate::site::resolve::Root;

/// The root is looked at no more often than this.
const LOOK_MS_MIN: u64 = 250;

/// Where a worker finds the root that it is to serve from now on.
#[derive(Debug)]
pub struct Successor {
    /// Room for one: of several that were not taken yet, only the last matters.
    next: ArrayQueue<Arc<Root>>,
    waker: Arc<mio::Waker>,
}

impl Successor {
    /// None yet, for the worker that `waker` wakes.
    #[must_use]
    pub fn new(waker: Arc<mio::Waker>) -> Arc<Self> {
        Arc::new(Self { next: ArrayQueue::new(1), waker })
    }

    /// The root to change over to, if there is one. Two loads if there is none.
    pub fn take(&self) -> Option<Arc<Root>> {
        if self.next.is_empty() { None } else { self.next.pop() }
    }

    fn give(&self, root: Arc<Root>) {
        drop(self.next.force_push(root));
        // A worker that has ended needs no wake.
        let _ = self.waker.wake();
    }
}

/// The way to the thread that keeps the root.
#[derive(Debug)]
pub struct Keeper {
    thread: Thread,
    is_asked: Arc<AtomicBool>,
}

impl Keeper {
    /// Starts the thread, for workers that serve `root`. It ends with the process: if it is stuck in a dead file
    /// system, that must not keep the process from ending.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub fn start(
        settings: &SiteSettings,
        root: Arc<Root>,
        successors: Vec<Arc<Successor>>,
    ) -> io::Result<Self> {
        let is_asked = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            path: settings.root.clone(),
            symlinks: settings.symlinks,
            root,
            successors,
            is_asked: Arc::clone(&is_asked),
        };
        let interval = Duration::from_millis(settings.check_interval_ms.max(LOOK_MS_MIN));
        let thread = thread::Builder::new().name("root".to_owned()).spawn(move || watch.run(interval))?;
        Ok(Self { thread: thread.thread().clone(), is_asked })
    }

    /// Has the root opened anew, whatever it is. Returns at once; asking twice before it is done may be asking once.
    pub fn reload(&self) {
        self.is_asked.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// What the thread knows.
struct Watch {
    path: PathBuf,
    symlinks: Symlinks,
    /// The root that was handed over last.
    root: Arc<Root>,
    successors: Vec<Arc<Successor>>,
    is_asked: Arc<AtomicBool>,
}

impl Watch {
    fn run(mut self, interval: Duration) {
        loop {
            self.look();
            thread::park_timeout(interval);
        }
    }

    /// Every reason to serve another tree.
    fn look(&mut self) {
        if self.is_asked.swap(false, Ordering::Acquire) {
            match Root::open(&self.path, self.symlinks) {
                Ok(root) => self.hand_over(root),
                Err(error) => tracing::error!(%error, "cannot open the root anew; the old one is served on"),
            }
        } else if self.root.is_deleted()
            // Many a site generator deletes a directory and makes it again; then the new one is what is meant.
            // Until there is one, there is nothing to say.
            && let Ok(root) = Root::open(&self.path, self.symlinks)
        {
            tracing::info!("the root was deleted and made again; the new one is served");
            self.hand_over(root);
        }
    }

    fn hand_over(&mut self, root: Root) {
        self.root = Arc::new(root);
        for successor in &self.successors {
            successor.give(Arc::clone(&self.root));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A watch over `root` in a directory, and the successors of two workers.
    fn watch() -> (tempfile::TempDir, Watch, [Arc<Successor>; 2], mio::Poll) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root");
        fs::create_dir(&path).unwrap();
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let successors = [(); 2].map(|()| Successor::new(Arc::clone(&waker)));
        let root = Arc::new(Root::open(&path, Symlinks::Inside).unwrap());
        let watch = Watch {
            path,
            symlinks: Symlinks::Inside,
            root,
            successors: successors.to_vec(),
            is_asked: Arc::new(AtomicBool::new(false)),
        };
        (directory, watch, successors, poll)
    }

    #[test]
    fn every_worker_gets_the_last_root_once() {
        let (_directory, mut watch, successors, mut poll) = watch();
        watch.look();
        assert!(successors.iter().all(|successor| successor.take().is_none()), "nobody asked for another");
        let old = Arc::downgrade(&watch.root);
        for _ in 0..3 {
            watch.is_asked.store(true, Ordering::Release);
            watch.look();
        }
        for successor in successors {
            assert!(successor.take().is_some_and(|root| Arc::ptr_eq(&root, &watch.root)));
            assert!(successor.take().is_none());
        }
        assert_eq!((old.strong_count(), Arc::strong_count(&watch.root)), (0, 1));
        let mut events = mio::Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(!events.is_empty(), "the workers were not woken");
    }

    #[test]
    fn a_root_that_is_gone_is_replaced_when_there_is_another() {
        let (_directory, mut watch, [successor, _], _poll) = watch();
        if !watch.root.opens_from_cache() {
            return;
        }
        fs::remove_dir(&watch.path).unwrap();
        for is_asked in [false, true] {
            watch.is_asked.store(is_asked, Ordering::Release);
            watch.look();
            assert!(successor.take().is_none(), "there is none");
        }
        fs::create_dir(&watch.path).unwrap();
        watch.look();
        assert!(successor.take().is_some());
        watch.look();
        assert!(successor.take().is_none());
    }
}
