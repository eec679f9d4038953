//! Lists a directory as the server would: `listing ROOT [PATH [QUERY]]` writes HTML to standard output, and the
//! content security policy that goes with it to standard error.
#![allow(clippy::print_stderr, reason = "for people at a terminal")]

use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use oneloop_worker::Symlinks;
use oneloop_worker::site::listing::{self, Column, Direction, Format, Order, Settings, View};
use oneloop_worker::site::resolve::Root;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let root = PathBuf::from(arguments.next().unwrap_or_else(|| ".".into()));
    let path = arguments.next().unwrap_or_default().into_encoded_bytes();
    let query = arguments.next().unwrap_or_default().into_encoded_bytes();
    let order = Order { column: Column::Name, direction: Direction::Ascending };
    let settings = Settings { hidden: false, order, entries_max: 100_000 };
    let root = Root::open(&root, Symlinks::Inside)?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let view = View::from_query(Some(&query), order);
    let listed = listing::produce(&root, &path, &settings, view, Format::Html, now_s.cast_signed());
    let listed = listed.map_err(|status| std::io::Error::other(status.reason()))?;
    eprintln!("{}", listing::content_security_policy());
    std::io::stdout().write_all(&listed.content)
}
