//! Requests that are nearly right: generated, then mutated. Each is sent with a plain request behind it, and what comes
//! back is held against the oracle: no wrong answer, no hang, and never a response to what is no request.

mod generator;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::date;
use super::oracle::{self, Answer, Files, Verdict};
use super::pace::{Calm, fill_caches};
use super::random::Random;
use super::response::Response;
use super::scale::{report, scaled};
use super::schedule::heavy;
use super::server::Server;
use super::tree::{Tree, pattern};

/// The seed of the first request. Each has its own, so that one that fails can be made again.
const SEED: u64 = 0x0be5_e000;
/// What a single read or write may take. Far more than any answer takes, far less than a deadline of the server.
const PATIENCE: Duration = Duration::from_secs(8);
/// Client threads.
const THREADS: usize = 2;

/// The files of the site, once as they lie there and once as paths lead to them.
pub(crate) fn site() -> (Tree, Files) {
    let long = pattern(3_000);
    let content: [(&str, &[u8]); 5] = [
        ("index.html", b"<!doctype html><title>root</title>"),
        ("a.txt", b"plain text"),
        ("marker.txt", b"the marker behind"),
        ("sub/index.html", b"<!doctype html><title>sub</title>"),
        ("long.bin", &long),
    ];
    let tree = Tree::new(&content);
    // Long settled, so that nothing is opened again because it might have changed.
    content.iter().for_each(|(name, _)| tree.modified_at(name, 1_700_000_000, 0));
    let mut files: Files =
        content.iter().map(|(name, content)| (name.as_bytes().to_vec(), content.to_vec())).collect();
    for index in ["index.html", "sub/index.html"] {
        let directory = index.strip_suffix("index.html").expect("an index");
        files.insert(directory.into(), files[index.as_bytes()].clone());
    }
    (tree, files)
}

/// Flags without which more than these paths lead to these files.
pub(crate) const FLAGS: [&str; 3] = ["-t", "2", "--clean-urls=off"];

/// Every file of the site by every name that the server keeps it under: as it is asked for, and under one name for all
/// other spellings.
pub(crate) const TARGETS: [&str; 14] = [
    "/",
    "//",
    "/index.html",
    "//index.html",
    "/a.txt",
    "//a.txt",
    "/marker.txt",
    "//marker.txt",
    "/sub/",
    "//sub/",
    "/sub/index.html",
    "//sub/index.html",
    "/long.bin",
    "//long.bin",
];

/// All that comes back for a stream of bytes, sent in one piece or cut somewhere, to the end of the connection.
///
/// # Errors
/// If the connection was reset over what was sent in one piece, or nothing more came.
pub(crate) fn converse(address: SocketAddr, stream: &[u8], cut: Option<usize>) -> Result<Vec<u8>, String> {
    let mut socket = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    socket.set_nodelay(true).expect("TCP_NODELAY");
    socket.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
    let (first, second) = stream.split_at(cut.unwrap_or(stream.len()));
    // A server that has refused what it saw need not take the rest.
    let _ = socket.write_all(first);
    if !second.is_empty() {
        std::thread::sleep(Duration::from_micros(50));
        let _ = socket.write_all(second);
    }
    let _ = socket.shutdown(Shutdown::Write);
    let mut received = Vec::new();
    match socket.read_to_end(&mut received) {
        Ok(_) => Ok(received),
        // What came only after the last answer met a closed connection.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && cut.is_some() => Ok(received),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(format!("a hang; until then: {}", received.escape_ascii()))
        }
        Err(error) => Err(format!("{error}; until then: {}", received.escape_ascii())),
    }
}

/// Holds what came back for a stream against what may come. Returns the statuses.
///
/// # Errors
/// The first difference.
pub(crate) fn compare(stream: &[u8], received: &[u8], files: &Files) -> Result<Vec<u16>, String> {
    let (mut at, mut rest, mut statuses) = (0, received, Vec::new());
    while let Some(verdict) = oracle::judge(stream, at, files) {
        if rest.is_empty() {
            let is_permitted = verdict.may_be_silent;
            return if is_permitted {
                Ok(statuses)
            } else {
                Err(format!("no response at {at}: {verdict:?}"))
            };
        }
        let head_end = rest.windows(4).position(|window| window == b"\r\n\r\n").ok_or("half a head")? + 4;
        let response = Response::parse(&rest[..head_end], date::now_s());
        rest = &rest[head_end..];
        let status = response.status;
        statuses.push(status);
        let permitted = verdict.answer.as_ref().filter(|answer| answer.statuses.contains(&status));
        // Whoever refuses what looks like a HEAD request may take it for one, or not.
        let may_be_bare = permitted.is_none() && stream[at..].trim_ascii_start().starts_with(b"HEAD ");
        let to_head = permitted.is_some_and(|answer| answer.to_head) || (may_be_bare && rest.is_empty());
        let length = usize::try_from(response.content_follows(to_head)).map_err(|error| error.to_string())?;
        let content = rest.get(..length).ok_or_else(|| format!("{status} with {length} bytes is cut off"))?;
        rest = &rest[length..];
        match permitted {
            Some(answer) => match next(answer, &response, content, rest.is_empty(), at)? {
                Some(next) => at = next,
                None => break,
            },
            None => {
                expect_refusal(&verdict, &response, at)?;
                break;
            }
        }
    }
    if rest.is_empty() {
        Ok(statuses)
    } else {
        Err(format!("more than there may be: {}", rest.escape_ascii()))
    }
}

/// Where the next request starts after a response that is permitted; none if the connection has rightly ended.
fn next(
    answer: &Answer,
    response: &Response,
    content: &[u8],
    is_last: bool,
    at: usize,
) -> Result<Option<usize>, String> {
    let status = response.status;
    let expected = answer.content.as_ref().filter(|_| status == 200 && !answer.to_head);
    if expected.is_some_and(|expected| content != expected) {
        return Err(format!("another content at {at}: {}", content.escape_ascii()));
    }
    match answer.after.next {
        None => Ok(None),
        Some(next) if !response.closes() => {
            // Content that is found malformed only behind its response ends the connection then.
            Ok(if answer.after.may_end && is_last { None } else { Some(next) })
        }
        Some(_) if answer.after.may_end => Ok(None),
        Some(_) => Err(format!("{status} at {at} closes without need")),
    }
}

fn expect_refusal(verdict: &Verdict, response: &Response, at: usize) -> Result<(), String> {
    let status = response.status;
    if !verdict.refusals.contains(&status) {
        return Err(format!("{status} at {at}, permitted are {verdict:?}"));
    }
    if response.closes() { Ok(()) } else { Err(format!("{status} at {at} does not say that it closes")) }
}

/// One mutated request with a plain one behind.
fn stream_of(seed: u64) -> (Vec<u8>, Option<usize>) {
    let mut random = Random::new(seed);
    let mut stream = generator::mutated(&mut random);
    let cut = random.once_in(4).then(|| random.below(stream.len() + 1));
    stream.extend_from_slice(b"GET /marker.txt HTTP/1.1\r\nHost: marker\r\n\r\n");
    (stream, cut)
}

pub(crate) fn attempt(address: SocketAddr, files: &Files, seed: u64) -> Result<Vec<u16>, String> {
    let (stream, cut) = stream_of(seed);
    converse(address, &stream, cut)
        .and_then(|received| {
            compare(&stream, &received, files)
                .map_err(|wrong| format!("{wrong}\nreceived {}", received.escape_ascii()))
        })
        .map_err(|wrong| format!("seed {seed:#x}, cut at {cut:?}: {}\n{wrong}", stream.escape_ascii()))
}

#[test]
fn mutated_requests_are_answered_as_the_specifications_say() {
    let count = scaled(20_000, 1_000_000);
    let _heavy = heavy();
    let (tree, files) = site();
    let server = Server::start(&FLAGS, tree.root());
    let calm = Calm::of(&server, &TARGETS);
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    let work = || {
        let (mut by_class, mut kept) = ([0_usize; 6], 0_usize);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return (by_class, kept);
            }
            let statuses = attempt(server.address(), &files, SEED + number as u64)
                .unwrap_or_else(|wrong| panic!("{wrong}"));
            by_class[usize::from(statuses.first().map_or(0, |status| status / 100))] += 1;
            kept += usize::from(statuses.len() > 1);
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no difference")).collect()
    });
    let took = start.elapsed();
    let sum = |class: usize| results.iter().map(|(by_class, _)| by_class[class]).sum::<usize>();
    let kept: usize = results.iter().map(|(_, kept)| kept).sum();
    // What was asked for in vain may have taken the place of files in the caches.
    fill_caches(&server, &TARGETS);
    let back = calm.expect_back(&server, Duration::from_secs(10));
    assert!(sum(2) > count / 20 && sum(4) > count / 20 && kept > count / 20, "requests that say something");
    report(
        "mutated requests",
        &format!(
            "{count} in {took:.1?}: {} × 2xx, {} × 3xx, {} × 4xx, {} × 5xx, {} without a word; the connection was kept after \
             {kept}; none wrong; all descriptors back after {back:.1?}",
            sum(2),
            sum(3),
            sum(4),
            sum(5),
            sum(0)
        ),
    );
}

#[test]
fn the_oracle_tells_right_from_wrong() {
    let (_tree, files) = site();
    let stream = b"POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n";
    let verdict = oracle::judge(stream, 0, &files).expect("a request");
    let answer = verdict.answer.expect("an answer");
    assert_eq!((answer.statuses, answer.after.next), (vec![405], Some(55)));
    let second = oracle::judge(stream, 55, &files).expect("another").answer.expect("an answer");
    assert_eq!((second.statuses, second.content), (vec![200], Some(b"plain text".to_vec())));
    assert!(oracle::judge(stream, stream.len(), &files).is_none());
    let refused: [(&[u8], u16); 8] = [
        (b"GET /a.txt HTTP/1.1\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\nHost: a\r\n\r\n", 400),
        (b"GET /a.txt HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /a.txt HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
    ];
    for (request, status) in refused {
        let verdict = oracle::judge(request, 0, &files).expect("a request");
        assert!(verdict.answer.is_none(), "{}", request.escape_ascii());
        assert!(verdict.refusals.contains(&status), "{}", request.escape_ascii());
    }
}
