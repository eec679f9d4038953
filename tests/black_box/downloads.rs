//! Large and many downloads, to the byte.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use super::client::request;
use super::schedule::{heavy, note, skip};
use super::server::Server;
use super::tree::{Tree, pattern};

const GIB: u64 = 1 << 30;

#[test]
fn a_file_of_5_gib_arrives_with_its_length_and_every_byte() {
    let _heavy = heavy();
    let length = 5 * GIB + 12_345;
    let marker = pattern(100_000);
    let tree = Tree::new(&[]);
    let mut file = tree.sparse("sparse.bin", length);
    // Around the limits of 31 and 32 bits, at both ends, and across the border of a page.
    let marks = [0, 2 * GIB - 50_000, 4 * GIB - 50_000, 4 * GIB + 200_001, length - 100_000];
    for at in marks {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&marker).unwrap();
    }
    let server = Server::start(&[], tree.root());
    let mut client = server.connect();
    client.send(&request("GET", "/sparse.bin", &[]));
    assert_eq!(client.response_head().content_length(), Some(length));
    let mut offset = 0;
    client.content(length, |bytes| {
        expect_sparse(bytes, offset, &marks, &marker);
        offset += bytes.len() as u64;
    });
    assert_eq!(client.exchange(&request("HEAD", "/sparse.bin", &[])).content_length(), Some(length));
}

/// Compares bytes that lie at `offset` with a file of zeros that has the marker at each of the marks.
fn expect_sparse(mut bytes: &[u8], mut offset: u64, marks: &[u64], marker: &[u8]) {
    static ZEROS: [u8; 256 << 10] = [0; 256 << 10];
    let clamp = |length: u64, most: usize| usize::try_from(length).map_or(most, |length| length.min(most));
    while !bytes.is_empty() {
        let inside = marks.iter().find(|&&mark| (mark..mark + marker.len() as u64).contains(&offset));
        let expected = match inside {
            Some(mark) => &marker[clamp(offset - mark, marker.len())..],
            None => {
                let next = marks.iter().filter(|&&mark| mark > offset).min().copied().unwrap_or(u64::MAX);
                &ZEROS[..clamp(next - offset, ZEROS.len())]
            }
        };
        let count = bytes.len().min(expected.len());
        assert!(bytes[..count] == expected[..count], "wrong bytes in the {count} at {offset}");
        bytes = &bytes[count..];
        offset += count as u64;
    }
}

#[test]
fn thirty_two_downloads_at_once_leave_room_for_small_requests() {
    let _heavy = heavy();
    let whole = pattern(100 << 20);
    let tree = Tree::new(&[("large.bin", &whole), ("small.txt", b"small")]);
    let server = Server::start(&[], tree.root());
    let is_done = AtomicBool::new(false);
    let latencies = std::thread::scope(|scope| {
        let small = scope.spawn(|| {
            let mut latencies = Vec::new();
            let mut client = server.connect();
            while !is_done.load(Ordering::Relaxed) {
                let start = Instant::now();
                assert_eq!(client.get("/small.txt").content, b"small");
                latencies.push(start.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            latencies
        });
        let downloads: Vec<_> =
            (0..32).map(|_| scope.spawn(|| server.connect().download("/large.bin", &whole))).collect();
        let outcomes: Vec<_> = downloads.into_iter().map(ScopedJoinHandle::join).collect();
        is_done.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok), "a download failed");
        small.join().expect("small requests")
    });
    let mut sorted = latencies;
    sorted.sort_unstable();
    let (median, worst) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    note(&format!(
        "downloads: {} small requests meanwhile, median {median:?}, worst {worst:?}",
        sorted.len()
    ));
    // Server and clients share the processors, so this tells a queue behind whole downloads, seconds long, from
    // turns taken; it is no benchmark.
    assert!(median < Duration::from_millis(250), "median {median:?}");
    assert!(worst < Duration::from_secs(2), "worst {worst:?}");
}

#[test]
fn curl_resumes_an_interrupted_download() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("downloads::curl_resumes_an_interrupted_download", "no curl here");
    }
    let whole = pattern(10 << 20);
    let tree = Tree::new(&[("a.bin", &whole)]);
    let server = Server::start(&[], tree.root());
    let target = Tree::new(&[("part.bin", &whole[..3_333_333])]);
    let part = target.path("part.bin");
    let status = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*", "-C", "-", "-o"])
        .arg(&part)
        .arg(format!("http://{}/a.bin", server.address()))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(std::fs::read(part).unwrap() == whole, "the parts do not fit together");
}
