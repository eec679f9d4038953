//! The bytes of a whole connection, perhaps behind a proxy, in one piece and in many. What follows the first head is also
//! read as chunked content by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use oneloop_fuzz::invariants::{self, client, machine};
use oneloop_protocol::proxy_protocol;

fuzz_target!(|input: &[u8]| {
    client::proxy_protocol(input);
    let header = proxy_protocol::parse(input).ok().flatten();
    let connection = &input[header.map_or(0, |header| header.consumed)..];
    machine::split(connection);
    if let Some(end) = memmem::find(connection, b"\r\n\r\n") {
        invariants::chunked(&connection[end + 4..]);
    }
});
