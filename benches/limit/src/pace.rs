//! `pace PORT TARGET CONNECTIONS REQUESTS_PER_SECOND SECONDS`: a client that asks at a fixed rate, whatever the server
//! does.
//!
//! Request i is due at i / rate and belongs to connection i mod CONNECTIONS. Its latency counts from when it was due,
//! not from when it could be sent: a server that stalls is charged for everyone who would have waited meanwhile. One
//! thread, which spins, so that no sleep of the client is taken for one of the server; it needs a core to itself.
//! Prints one line of JSON. Any answer but 200 ends it with an error.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

const INPUT_BYTES: usize = 256 * 1024;
const EVENTS: usize = 1024;
/// How long answers are waited for after the last request is due.
const PATIENCE: Duration = Duration::from_secs(2);

struct Connection {
    stream: TcpStream,
    /// The request that is sent, or is sent next.
    number: u64,
    awaits_answer: bool,
    /// Bytes of the present answer that are still to come, once its head was read.
    missing_bytes: usize,
}

struct Pace {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    request: Vec<u8>,
    start: Instant,
    requests_per_s: f64,
    requests: u64,
    latencies_ns: Vec<u64>,
    input: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, target, connections, requests_per_s, seconds] = &arguments[..] else {
        return Err("usage: pace PORT TARGET CONNECTIONS REQUESTS_PER_SECOND SECONDS".into());
    };
    let requests_per_s: f64 = requests_per_s.parse()?;
    let requests = (requests_per_s * seconds.parse::<f64>()?) as u64;
    let mut pace = Pace::connect(port.parse()?, target, connections.parse()?, requests_per_s, requests)?;
    pace.run()?;
    pace.report();
    Ok(())
}

impl Pace {
    fn connect(
        port: u16,
        target: &str,
        connections: u64,
        requests_per_s: f64,
        requests: u64,
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let connections = (0..connections)
            .map(|number| {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                epoll::add(&epoll, &stream, EventData::new_u64(number), EventFlags::IN | EventFlags::ET)?;
                Ok(Connection { stream, number, awaits_answer: false, missing_bytes: 0 })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self {
            epoll,
            connections,
            request: format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes(),
            start: Instant::now(),
            requests_per_s,
            requests,
            latencies_ns: Vec::with_capacity(requests as usize),
            input: vec![0; INPUT_BYTES],
        })
    }

    fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.requests_per_s)
    }

    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        let mut events = Vec::with_capacity(EVENTS);
        self.start = Instant::now();
        let end = self.due(self.requests) + PATIENCE;
        let mut next = 0;
        while (self.latencies_ns.len() as u64) < self.requests && Instant::now() < end {
            while next < self.requests && self.due(next) <= Instant::now() {
                let index = (next % self.connections.len() as u64) as usize;
                // A connection that still waits sends its next one as soon as it has its answer.
                if !self.connections[index].awaits_answer && self.connections[index].number == next {
                    self.ask(index)?;
                }
                next += 1;
            }
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
            for event in events.drain(..) {
                self.hear(event.data.u64() as usize)?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, index: usize) -> std::io::Result<()> {
        let connection = &mut self.connections[index];
        connection.awaits_answer = true;
        connection.stream.write_all(&self.request)
    }

    fn hear(&mut self, index: usize) -> Result<(), Box<dyn Error>> {
        loop {
            let connection = &mut self.connections[index];
            let bytes = match connection.stream.read(&mut self.input) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if connection.missing_bytes == 0 {
                connection.missing_bytes = answer_bytes(&self.input[..bytes])?;
            }
            connection.missing_bytes =
                connection.missing_bytes.checked_sub(bytes).ok_or("more bytes than announced")?;
            if connection.missing_bytes == 0 {
                self.answered(index)?;
            }
            if bytes < self.input.len() {
                return Ok(());
            }
        }
    }

    fn answered(&mut self, index: usize) -> std::io::Result<()> {
        let now = Instant::now();
        let number = self.connections[index].number;
        self.latencies_ns.push(now.duration_since(self.due(number)).as_nanos() as u64);
        let next = number + self.connections.len() as u64;
        self.connections[index].number = next;
        self.connections[index].awaits_answer = false;
        if next < self.requests && self.due(next) <= now { self.ask(index) } else { Ok(()) }
    }

    /// Requests that were never answered count with the time that they have waited so far.
    fn report(&mut self) {
        let now = Instant::now();
        let answered = self.latencies_ns.len();
        for index in 0..self.connections.len() {
            let first = self.connections[index].number;
            for number in (first..self.requests).step_by(self.connections.len()) {
                self.latencies_ns.push(now.saturating_duration_since(self.due(number)).as_nanos() as u64);
            }
        }
        self.latencies_ns.sort_unstable();
        let percentile_us = |percent: usize| {
            let index = (self.latencies_ns.len() * percent / 100).min(self.latencies_ns.len() - 1);
            self.latencies_ns[index] as f64 / 1e3
        };
        println!(
            "{{\"requests\": {}, \"answered\": {answered}, \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"max_us\": {:.1}}}",
            self.latencies_ns.len(),
            percentile_us(50),
            percentile_us(99),
            percentile_us(100),
        );
    }
}

/// How long the answer is that begins with `bytes`, which hold its whole head.
fn answer_bytes(bytes: &[u8]) -> Result<usize, Box<dyn Error>> {
    if !bytes.starts_with(b"HTTP/1.1 200") {
        return Err("an answer other than 200".into());
    }
    let head_bytes = memmem::find(bytes, b"\r\n\r\n").ok_or("a head in pieces")? + 4;
    let head = std::str::from_utf8(&bytes[..head_bytes])?.to_ascii_lowercase();
    let length =
        head.split("\r\n").find_map(|line| line.strip_prefix("content-length:")).ok_or("no length")?;
    Ok(head_bytes + length.trim().parse::<usize>()?)
}
