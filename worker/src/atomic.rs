//! The atomics of what threads of this crate say to each other, under the one name that `models/main.rs` gives another
//! meaning: there they are loom's, and every order in which threads can take their steps is tried.

pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
