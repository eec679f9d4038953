//! HTTP/1.1 without I/O: bytes in, decisions out (RFC 9110, RFC 9112).
//!
//! This crate owns what is *said*: request heads, framing, targets, conditional and range requests, response
//! heads, and the state machine that ties a request to its answer ([`Http1`]). It never touches a socket, a
//! file, a clock or a thread: buffers belong to the caller and time is an argument. The dependency list,
//! `forbid(unsafe_code)` and the `disallowed-*` lists in `clippy.toml` keep it so, which is what lets the same
//! code be fuzzed, property-tested and driven by any model of concurrency.
//!
//! Start reading at [`http1`], then follow one request: [`http1::head`] → [`target`] → [`coding`] →
//! [`conditional`] → [`range`] → [`http1::encode`].
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod accept;
pub mod address;
pub mod authorization;
pub mod coding;
pub mod conditional;
pub mod cors;
pub mod date;
pub mod error;
pub mod field;
pub mod glob;
pub mod host;
pub mod http1;
pub mod limits;
pub mod media_type;
pub mod method;
pub mod multipart;
pub mod proxy_protocol;
pub mod range;
pub mod rule;
pub mod status;
pub mod target;
pub mod validator;
pub mod version;

pub use error::RequestError;
pub use field::{Fields, Name, RareName};
pub use http1::Http1;
pub use http1::head::RequestHead;
pub use limits::Limits;
pub use method::Method;
pub use status::Status;
pub use version::Version;
