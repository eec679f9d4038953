//! What the benchmarks share: operations of the server that can be repeated at will, without a network.
//!
//! It owns the peer in memory ([`link`]), the heads that clients send ([`heads`]) and the list of operations
//! ([`operation`]). How often they are run, and what is counted meanwhile, is up to the benchmarks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a benchmark fails")]

pub mod heads;
pub mod link;
pub mod operation;
