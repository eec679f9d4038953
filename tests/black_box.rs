//! Black-box tests: the built binary, real sockets, real files, one module per topic.
//!
//! Each test starts its own server on a free port of 127.0.0.1 over its own temporary directory, so that tests
//! may run side by side. Every response, whatever it is about, passes the checks of [`black_box::response`].
//! What a test needs that a machine may not have (a browser, curl, the superuser) is skipped with a line on
//! standard error that is shown even without `--nocapture`.
#![allow(
    clippy::disallowed_types,
    reason = "tests share one lock so that load and stopwatches do not meet; no loop thread is near"
)]

#[cfg(test)]
mod black_box {
    // The harness.
    mod client;
    mod date;
    mod process;
    mod response;
    mod schedule;
    mod server;
    mod slow_fs;
    mod slow_root;
    mod tree;

    // What is said on a connection.
    mod conditional;
    mod content;
    mod cors;
    mod directories;
    mod exact;
    mod fields;
    mod framing;
    mod host;
    mod limits;
    mod listing;
    mod making;
    mod manifest;
    mod methods;
    mod negotiation;
    mod newcomer;
    mod paths;
    mod proxied;
    mod ranges;
    mod recipes;
    mod routing;
    mod rules;
    mod several_ranges;
    mod syntax;
    mod vhosts;

    // How connections, files and the process behave over time.
    mod access;
    mod access_log;
    mod changing_files;
    mod cold_files;
    mod command_line;
    mod commands;
    mod connections;
    mod deadlines;
    mod descriptors;
    mod downloads;
    mod explaining;
    mod fair;
    mod fairness;
    mod identity;
    mod idle;
    mod listing_work;
    mod memory;
    mod overload;
    mod pacing;
    mod panic;
    mod release;
    mod repeated;
    mod room;
    mod sandbox;
    mod sharded;
    mod signals;
    mod slow_block_device;
    mod slow_disk;
    mod startup;
    mod syscalls;

    // Programs that people use.
    mod browser;

    // What others get wrong, bugs, each by what went wrong, and what a review found.
    mod peers;
    mod regression;
    mod reviewed;
}
