//! Request smuggling through real proxies: no request is seen differently by HAProxy or nginx in front and by oneloop
//! behind it. What the proxy logs as passed on and what oneloop logs as asked for have to be the same, case by case.

mod corpus;
mod proxies;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::client::eventually;
use super::scale::report;
use super::schedule::{skip, timed};
use super::server::Server;
use super::tree::Tree;
use proxies::{Kind, Proxy};

/// How long a proxy may say nothing before a case is over: it waits for content that does not come.
const QUIET: Duration = Duration::from_millis(250);

/// Requests by the number of their case, in order: the method and what role the target plays.
type Seen = BTreeMap<usize, Vec<String>>;

/// The case that a target belongs to, and its role there, as in `/marker-17`.
fn role(method: &str, target: &str) -> Option<(usize, String)> {
    let name = ["case-", "hidden-", "marker-"].iter().find(|name| target.contains(*name))?;
    let (_, rest) = target.split_once(name)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, format!("{method} {name}")))
}

/// What oneloop has logged. Whatever is not a request of some case is under a number of its own.
fn seen_by_oneloop(log: &str) -> Seen {
    let mut seen = Seen::new();
    for line in log.lines() {
        let request = line.split('"').nth(1).unwrap_or_default();
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (number, role) = role(method, target).unwrap_or((usize::MAX, request.to_owned()));
        seen.entry(number).or_default().push(role);
    }
    seen
}

/// Sends a stream through the proxy and reads what comes until it ends or nothing comes any more. Returns the number
/// of responses.
fn converse(proxy: &Proxy, stream: &[u8]) -> usize {
    let mut socket = UnixStream::connect(proxy.socket()).expect("the proxy listens");
    socket.set_read_timeout(Some(QUIET)).expect("SO_RCVTIMEO");
    let _ = socket.write_all(stream);
    let mut received = Vec::new();
    // An error is the quiet, or a reset: both end the case.
    let _ = socket.read_to_end(&mut received);
    received.windows(9).filter(|window| *window == b"HTTP/1.1 " || *window == b"HTTP/1.0 ").count()
}

fn attack(kind: Kind) {
    let test = format!("smuggling::{kind:?}");
    let _timed = timed();
    let content = b"what is behind the proxy";
    let tree = Tree::new(&[("a.txt", content)]);
    let logs = Tree::new(&[]);
    let log = logs.path("access.log");
    // Lines of one worker are in the order of its answers.
    let server =
        Server::start(&["-t", "1", "--access-log", log.to_str().expect("a path in UTF-8")], tree.root());
    let Some(proxy) = Proxy::start(kind, server.address()) else {
        return skip(&test, "the proxy is not installed");
    };
    let start = Instant::now();
    let cases = corpus::cases();
    let mut responses = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        responses.push(converse(&proxy, case));
        assert!(responses[number] <= 4, "{} responses to case {number}", responses[number]);
    }
    // A plain request at the end says that everything before it has been logged.
    let last = cases.len();
    let plain = format!("GET /marker-{last} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(converse(&proxy, plain.as_bytes()), 1, "the proxy serves on");
    let read = || fs::read_to_string(&log).expect("the log");
    let is_logged = eventually(Duration::from_secs(5), || {
        seen_by_oneloop(&read()).contains_key(&last) && proxy.passed_on().contains_key(&last)
    });
    assert!(is_logged, "oneloop:\n{}\nproxy:\n{}", read(), proxy.log());
    // Both write their lines a moment after the response.
    std::thread::sleep(Duration::from_millis(300));
    let (behind, before) = (seen_by_oneloop(&read()), proxy.passed_on());
    let mut differences = Vec::new();
    for number in behind.keys().chain(before.keys().filter(|number| !behind.contains_key(number))) {
        let (proxy_saw, oneloop_saw) = (before.get(number), behind.get(number));
        if proxy_saw != oneloop_saw {
            let case = cases.get(*number).map(|case| case.escape_ascii().to_string());
            differences.push(format!("case {number}: {proxy_saw:?} became {oneloop_saw:?}: {case:?}"));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    let passed: usize = before.values().map(Vec::len).sum();
    let hidden = behind.values().flatten().filter(|role| role.contains("hidden")).count();
    report(
        "smuggling",
        &format!(
            "{} with {} cases in {:.1?}: {passed} requests passed on, all seen alike; {} responses; {hidden} requests that \
             the proxy itself split off",
            proxy.version(),
            cases.len(),
            start.elapsed(),
            responses.iter().sum::<usize>(),
        ),
    );
}

#[test]
fn haproxy_and_oneloop_see_the_same_requests() {
    attack(Kind::Haproxy);
}

#[test]
fn a_lenient_haproxy_and_oneloop_see_the_same_requests() {
    attack(Kind::LenientHaproxy);
}

#[test]
fn nginx_and_oneloop_see_the_same_requests() {
    attack(Kind::Nginx);
}
