//! One thread, one loop: a worker adopts the connections handed to it and owns them for life.
//!
//! This crate owns who *serves*: the hand-off's receiving end, the event loop ([`mio`]), connections, timers,
//! buffers, files. It never opens a listener, though it may be given its own to accept from, and never blocks on a
//! loop thread; what is said on a connection is decided by `protocol`.

pub mod accept;
pub mod access_log;
pub mod address_table;
mod atomic;
pub mod buffers;
pub mod clock;
pub mod close;
pub mod cold;
pub mod connection;
pub mod context;
pub mod control;
pub mod decision;
pub mod errands;
pub mod fault;
pub mod gate;
pub mod handoff;
pub mod idle;
pub mod log_writer;
pub mod memory;
pub mod metrics;
pub mod output;
pub mod overload;
pub mod pace;
pub mod parts;
pub mod rate;
pub mod reactor;
pub mod respond;
pub mod room;
pub mod roots;
pub mod settings;
pub mod shard;
pub mod site;
pub mod slab;
pub mod sys;
pub mod thread;
pub mod threads;
pub mod throttle;
pub mod transport;
pub mod users;
pub mod warming;
pub mod wheel;

pub use accept::AcceptQueue;
pub use control::{Control, Phase};
pub use handoff::{Accepted, Peer};
pub use memory::Memory;
pub use metrics::Counters;
pub use pace::Rates;
pub use room::Room;
pub use roots::{KEPT_MAX, Keeper};
pub use settings::{Deadlines, Settings, SiteSettings, Symlinks, VirtualHosts};
pub use shard::Entrance;
pub use site::digest::{Digests, TagPolicy};
pub use site::fields::{CachePolicy, FieldPolicy, FieldRule};
pub use site::plan::Plan;
pub use site::release::Releases;
pub use site::routes::{Redirect, Routes};
pub use thread::{Handle, StartError, open_roots, spawn};
pub use threads::{FirstStep, ThreadKind};
