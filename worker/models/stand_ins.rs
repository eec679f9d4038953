//! What takes the place of other crates in the models: as little as the sources need, with the same order in memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use loom::sync::atomic::AtomicUsize;

use self::atomic::Ordering;

thread_local! {
    /// What lies in rings.
    static ITEMS: Cell<usize> = const { Cell::new(0) };
    static IS_FENCELESS: Cell<bool> = const { Cell::new(false) };
}

/// From now on fences do nothing.
pub fn leave_fences_out() {
    IS_FENCELESS.set(true);
}

/// What lies in all rings.
pub fn items() -> usize {
    ITEMS.get()
}

/// What lay in rings before is not counted.
pub fn forget_items() {
    ITEMS.set(0);
}

/// What `crate::atomic` is for the sources.
pub mod atomic {
    pub use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    /// Stores are swaps here: of a store and a swap that nothing orders, loom may take either for the later one, even
    /// where the swap has not read what was stored, which no machine does.
    #[derive(Debug, Default)]
    pub struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub fn new(value: bool) -> Self {
            Self(loom::sync::atomic::AtomicBool::new(value))
        }

        pub fn load(&self, order: Ordering) -> bool {
            self.0.load(order)
        }

        pub fn store(&self, value: bool, order: Ordering) {
            self.0.swap(value, order);
        }

        pub fn swap(&self, value: bool, order: Ordering) -> bool {
            self.0.swap(value, order)
        }
    }

    /// Numbers with one order of all steps. loom takes `SeqCst` for less than it is, except in fences.
    macro_rules! sequential {
        ($($name:ident: $number:ty),*) => {$(
            #[derive(Debug)]
            pub struct $name(loom::sync::atomic::$name);

            impl $name {
                pub fn new(value: $number) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $number {
                    step(order);
                    self.0.load(order)
                }

                pub fn fetch_sub(&self, less: $number, order: Ordering) -> $number {
                    step(order);
                    self.0.fetch_sub(less, order)
                }

                pub fn fetch_update(
                    &self,
                    order: Ordering,
                    failed: Ordering,
                    update: impl FnMut($number) -> Option<$number>,
                ) -> Result<$number, $number> {
                    step(order);
                    self.0.fetch_update(order, failed, update)
                }
            }
        )*};
    }

    sequential!(AtomicU32: u32, AtomicUsize: usize);

    fn step(order: Ordering) {
        if order == Ordering::SeqCst {
            loom::sync::atomic::fence(order);
        }
    }

    pub fn fence(order: Ordering) {
        if !super::IS_FENCELESS.get() {
            loom::sync::atomic::fence(order);
        }
    }
}

/// What `crate::address_table` is for the sources: nothing that a model is about.
pub mod address_table {
    #[derive(Debug)]
    pub struct AddressTable;
}

/// What `crate::site` is for the sources.
pub mod site {
    pub mod release {
        use std::sync::Arc;

        /// A release is what it is: here a number.
        #[derive(Debug)]
        pub struct Release(usize);

        impl Release {
            pub fn model(number: usize) -> Arc<Self> {
                Arc::new(Self(number))
            }

            pub fn number(&self) -> usize {
                self.0
            }
        }
    }
}

/// An eventfd in a poll: wakes are counted, and one that comes before the sleep ends it.
#[derive(Debug)]
pub struct Waker {
    wakes: AtomicUsize,
    bell: loom::sync::Notify,
}

impl Waker {
    pub fn model() -> Arc<Self> {
        Arc::new(Self { wakes: AtomicUsize::new(0), bell: loom::sync::Notify::new() })
    }

    pub fn wake(&self) -> io::Result<()> {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.bell.notify();
        Ok(())
    }

    pub fn sleep(&self) {
        self.bell.wait();
    }

    /// As a semaphore: whether there was a wake to be used up.
    pub fn try_sleep(&self) -> bool {
        let less = |wakes: usize| wakes.checked_sub(1);
        self.wakes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

/// What both ends of a ring share. loom's threads take turns on one thread, so plain cells do for what lies in it; when it
/// may be looked at is up to the two counts, with the orders that rtrb has.
#[derive(Debug)]
struct Ring<T> {
    items: RefCell<VecDeque<T>>,
    capacity: usize,
    pushed: AtomicUsize,
    popped: AtomicUsize,
}

#[derive(Debug)]
pub struct Producer<T>(Rc<Ring<T>>);

#[derive(Debug)]
pub struct Consumer<T>(Rc<Ring<T>>);

#[derive(Debug)]
pub enum PushError<T> {
    Full(T),
}

#[derive(Debug)]
pub struct PopError;

#[derive(Debug)]
pub struct RingBuffer;

impl RingBuffer {
    #[expect(clippy::new_ret_no_self, reason = "as in rtrb")]
    pub fn new<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
        let (items, pushed, popped) = (RefCell::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let ring = Rc::new(Ring { items, capacity, pushed, popped });
        (Producer(Rc::clone(&ring)), Consumer(ring))
    }
}

impl<T> Producer<T> {
    pub fn push(&mut self, item: T) -> Result<(), PushError<T>> {
        let pushed = self.0.pushed.load(Ordering::Relaxed);
        if pushed - self.0.popped.load(Ordering::Acquire) == self.0.capacity {
            return Err(PushError::Full(item));
        }
        self.0.items.borrow_mut().push_back(item);
        ITEMS.set(ITEMS.get() + 1);
        self.0.pushed.store(pushed + 1, Ordering::Release);
        Ok(())
    }
}

impl<T> Consumer<T> {
    pub fn pop(&mut self) -> Result<T, PopError> {
        if self.is_empty() {
            return Err(PopError);
        }
        let item = self.0.items.borrow_mut().pop_front().ok_or(PopError)?;
        ITEMS.set(ITEMS.get() - 1);
        self.0.popped.store(self.0.popped.load(Ordering::Relaxed) + 1, Ordering::Release);
        Ok(item)
    }

    pub fn is_empty(&self) -> bool {
        self.0.pushed.load(Ordering::Acquire) == self.0.popped.load(Ordering::Relaxed)
    }
}

/// A bounded queue of several threads. Whether it is empty is seen by a load, which may be late, as in crossbeam's.
#[derive(Debug)]
pub struct ArrayQueue<T> {
    items: RefCell<VecDeque<T>>,
    capacity: usize,
    length: AtomicUsize,
}

impl<T> ArrayQueue<T> {
    pub fn new(capacity: usize) -> Self {
        Self { items: RefCell::default(), capacity, length: AtomicUsize::new(0) }
    }

    pub fn push(&self, item: T) -> Result<(), T> {
        let more = |length: usize| (length < self.capacity).then_some(length + 1);
        // The item is there before anybody can see that it is.
        self.items.borrow_mut().push_back(item);
        match self.length.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more) {
            Ok(_) => Ok(()),
            Err(_) => self.items.borrow_mut().pop_back().map_or(Ok(()), Err),
        }
    }

    pub fn force_push(&self, item: T) -> Option<T> {
        let old = self.pop();
        let pushed = self.push(item);
        assert!(pushed.is_ok(), "one producer");
        old
    }

    pub fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let less = |length: usize| length.checked_sub(1);
        self.length.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok()?;
        self.items.borrow_mut().pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        loom::sync::atomic::fence(Ordering::SeqCst);
        self.length.load(Ordering::Relaxed)
    }
}

loom::lazy_static! {
    /// Between what comes before a push or a pop and the thing itself, others may take their steps.
    static ref STEPS: AtomicUsize = AtomicUsize::new(0);
}

/// An unbounded queue of several threads. There may be hundreds, so they have no atomics of their own.
#[derive(Debug)]
pub struct SegQueue<T>(RefCell<VecDeque<T>>);

impl<T> SegQueue<T> {
    pub const fn new() -> Self {
        Self(RefCell::new(VecDeque::new()))
    }

    pub fn push(&self, item: T) {
        STEPS.fetch_add(1, Ordering::Relaxed);
        self.0.borrow_mut().push_back(item);
    }

    pub fn pop(&self) -> Option<T> {
        if !self.0.borrow().is_empty() {
            STEPS.fetch_add(1, Ordering::Relaxed);
        }
        self.0.borrow_mut().pop_front()
    }
}
