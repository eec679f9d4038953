//! Abuse: the built binary, attacked. Each scenario has an end, and says in one line what it saw.
//!
//! `cargo test` runs all of them at a small scale, `tests/abuse/run --full` at that at which they mean something;
//! see [`abuse::scale`]. The harness is that of the black-box tests. What a machine may not have (HAProxy, nginx, the
//! superuser) is skipped with a line that is shown even without `--nocapture`.
//!
//! A scenario for another flag goes into the module of what it defends against: limits for one address and for the
//! rate of requests into `floods`, least rates and budgets of memory into `slow`, the sandbox into `faults`.
#![allow(
    clippy::disallowed_types,
    reason = "tests share one lock so that load and stopwatches do not meet; no loop thread is near"
)]

#[cfg(test)]
mod abuse {
    // The harness, of which the black-box tests use more.
    #[path = "../black_box/client.rs"]
    #[allow(dead_code, reason = "shared")]
    mod client;
    #[path = "../black_box/date.rs"]
    #[allow(dead_code, reason = "shared")]
    mod date;
    #[path = "../black_box/process.rs"]
    #[allow(dead_code, reason = "shared")]
    mod process;
    #[path = "../black_box/response.rs"]
    #[allow(dead_code, reason = "shared")]
    mod response;
    #[path = "../black_box/schedule.rs"]
    #[allow(dead_code, reason = "shared")]
    mod schedule;
    #[path = "../black_box/server.rs"]
    #[allow(dead_code, reason = "shared")]
    mod server;
    #[path = "../black_box/slow_fs.rs"]
    #[allow(dead_code, reason = "shared")]
    mod slow_fs;
    #[path = "../black_box/tree.rs"]
    #[allow(dead_code, reason = "shared")]
    mod tree;

    // What only attackers need.
    mod crowd;
    mod oracle;
    mod pace;
    mod random;
    mod scale;

    // Too much of everything.
    mod exhaustion;
    mod floods;
    mod full_disk;
    mod memory;
    mod mixed;
    mod slow;
    mod slowloris;

    // What is said.
    mod dots;
    mod mutation;
    mod pipelines;
    mod smuggling;

    // What goes wrong around the server.
    mod disks;
    mod faults;
    mod half_open;
    mod swaps;
}
