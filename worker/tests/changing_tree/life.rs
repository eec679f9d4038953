//! One life: clients of one worker, a tree and releases that change, a clock, helpers that come late. Each response is
//! held against all states in which the tree was since the answer may at the earliest be from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use oneloop_worker::connection::{Arrival, Fate};
use oneloop_worker::context::Context;
use oneloop_worker::errands::Done;
use oneloop_worker::slab::Slab;
use protocol::http1::head::FieldLines;
use protocol::{Http1, Limits, Method};

use super::client::{self, Client, Pending};
use super::expected::{self, Leniency, Manner, Verdict};
use super::grounds::Grounds;
use super::past::{Exchange, Past};
use super::response::Response;
use super::states::TARGETS;
use super::surroundings;
use super::tree::Moment;
use super::wire::Random;

/// What happens in one life.
pub const STEPS: usize = 400;
const CLIENTS: usize = 3;
/// How often all that is under way is finished, and what is open is counted.
const COUNTED_STEPS: usize = 50;

/// What happened, for whoever wants to know how it came to a failure.
pub type Story = Rc<RefCell<Vec<String>>>;
/// How often something was done.
pub type Tally = BTreeMap<&'static str, usize>;

pub struct Life {
    story: Story,
    random: Random,
    manner: Manner,
    files_max: usize,
    step: usize,
    now_ms: u64,
    begun_s: i64,
    grounds: Grounds,
    past: Past,
    /// Validators that clients have seen, of each target.
    seen: Vec<Vec<(String, String)>>,
    cx: Context,
    ids: Slab<()>,
    clients: Vec<Client>,
    /// What helpers have done and nobody was told yet, and when.
    done: Vec<(Done, u64)>,
    capacity: usize,
    tally: Tally,
}

impl Life {
    pub fn new(seed: u64, story: &Story) -> Self {
        let mut random = Random::new(seed);
        let manner = Manner::new(&mut random);
        let (is_far, has_helpers) = [(false, false), (false, true), (true, true)][random.below(3)];
        // Later than any file is changed in reality.
        let begun_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + 1;
        let at = Moment { step: 0, unix_ms: begun_s * 1_000 };
        let grounds = Grounds::new(is_far, manner.keeps_releases, &mut random, at);
        let settings = surroundings::site_settings(&grounds, manner, &mut random);
        let mut life = Self {
            story: Rc::clone(story),
            manner,
            files_max: settings.open_files_max,
            step: 0,
            now_ms: 0,
            begun_s,
            past: Past::new(manner.interval_ms),
            seen: TARGETS.iter().map(|_| Vec::new()).collect(),
            cx: surroundings::context(settings, &grounds, has_helpers, begun_s),
            grounds,
            ids: Slab::with_limit(CLIENTS),
            clients: Vec::new(),
            done: Vec::new(),
            capacity: [3_000, 300_000][random.below(2)],
            random,
            tally: Tally::default(),
        };
        life.past.note(&life.grounds.trees, true, 0, 0);
        for _ in 0..CLIENTS {
            let client = life.connect();
            life.clients.push(client);
        }
        life.tell(|| format!("{manner:?}, helpers: {has_helpers}, on another file system: {is_far}"));
        life
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        let line = format!("{:3} {:6} ms: {}", self.step, self.now_ms, what());
        self.story.borrow_mut().push(line);
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn unix_s(&self) -> i64 {
        self.begun_s + (self.now_ms / 1_000) as i64
    }

    const fn moment(&self) -> Moment {
        Moment { step: self.step, unix_ms: self.begun_s * 1_000 + self.now_ms as i64 }
    }

    fn connect(&mut self) -> Client {
        let random = Random::new(self.random.below(1 << 30) as u64);
        Client::new(self.ids.insert(()).unwrap(), self.capacity, random, &self.cx)
    }

    /// Lives, and ends with nothing left open.
    pub fn live(mut self) -> Tally {
        while self.step < STEPS {
            self.step += 1;
            self.count("steps");
            match self.random.below(20) {
                0..=3 => self.change_tree(),
                4..=6 => self.pass_time(),
                7 if self.random.chance(3) => self.release(),
                8 if self.random.chance(3) => self.leave(),
                _ => self.serve(),
            }
            if self.step.is_multiple_of(COUNTED_STEPS) {
                self.finish_all();
                self.grounds.expect_open(self.files_max);
            }
        }
        let Self { grounds, mut cx, clients, done, tally, mut ids, now_ms, .. } = self;
        clients.into_iter().for_each(|mut client| client.connection.end(&mut cx));
        surroundings::expect_rest(&mut cx, &mut ids, now_ms);
        drop((done, cx));
        grounds.expect_open(0);
        tally
    }

    fn change_tree(&mut self) {
        let at = self.moment();
        let Grounds { trees, ledger, .. } = &mut self.grounds;
        // Now and then what is no longer served, or hardly.
        let number = if trees.len() > 1 && self.random.chance(6) { 1 } else { 0 };
        let what = trees[number].change(ledger, &mut self.random, at);
        self.tell(|| if number == 0 { what } else { format!("in the release before, {what}") });
        self.count("changes");
        self.past.note(&self.grounds.trees, false, self.step, self.now_ms);
    }

    fn pass_time(&mut self) {
        let interval_ms = self.manner.interval_ms;
        let before_ms = interval_ms.saturating_sub(1);
        let steps_ms = [1, 4, 30, interval_ms / 2, before_ms, interval_ms, 2_000, 3_100, 11_000, 70_000];
        self.now_ms += steps_ms[self.random.below(steps_ms.len())];
        let unix_s = self.unix_s();
        self.cx.clock.set(self.now_ms, unix_s);
        self.cx.tidy(&mut self.ids);
    }

    /// Another release takes the place of the one that is served, or the ones before are given up.
    fn release(&mut self) {
        if self.grounds.trees.len() > 1 && self.random.chance(3) {
            self.grounds.keep(0);
            self.tell(|| "the releases before are given up".into());
        } else {
            let at = self.moment();
            self.grounds.release(&mut self.random, at);
            self.tell(|| "another release".into());
        }
        self.cx.site.replace_release(0, self.grounds.served());
        self.count("releases");
        self.past.note(&self.grounds.trees, true, self.step, self.now_ms);
    }

    /// A client goes away, whatever it waits for.
    fn leave(&mut self) {
        let at = self.random.below(CLIENTS);
        self.tell(|| format!("client {at} leaves"));
        self.replace_client(at);
    }

    fn replace_client(&mut self, at: usize) {
        self.ids.remove(self.clients[at].id);
        let newcomer = self.connect();
        let mut client = std::mem::replace(&mut self.clients[at], newcomer);
        client.connection.end(&mut self.cx);
    }

    /// Somebody asks, or what is under way goes on; mostly until all is answered.
    fn serve(&mut self) {
        let at = self.random.below(CLIENTS);
        if self.clients[at].pending.is_none() {
            let target = self.random.below(TARGETS.len());
            let request = client::request(target, &self.seen[target], &mut self.random);
            self.ask(at, target, &request);
        }
        if self.random.chance(3) {
            return self.go_on(at);
        }
        self.finish(at);
        // Some go on with parts of a file, until it is held in memory.
        if self.random.chance(16) {
            let target = self.random.below(TARGETS.len());
            for _ in 0..6 {
                let request = client::part_request(target, &mut self.random);
                self.ask(at, target, &request);
                self.finish(at);
            }
        }
    }

    fn ask(&mut self, at: usize, target: usize, request: &str) {
        self.tell(|| format!("client {at}: {}", request.trim_end().replace("\r\n", " | ")));
        self.clients[at].ask(Pending {
            target,
            request: request.as_bytes().to_vec(),
            since_step: self.step,
            since_ms: self.now_ms,
            answered: None,
        });
        self.go_on(at);
    }

    /// Everybody gets an answer, and every errand is told.
    fn finish_all(&mut self) {
        for at in 0..CLIENTS {
            self.finish(at);
        }
        while !self.done.is_empty() {
            self.deliver(0);
        }
    }

    fn finish(&mut self, at: usize) {
        for _ in 0..10_000 {
            if self.clients[at].pending.is_none() {
                return;
            }
            self.go_on(at);
        }
        panic!("client {at} is never answered");
    }

    /// One step of what is under way for a client.
    fn go_on(&mut self, at: usize) {
        let client = &mut self.clients[at];
        match client.fate {
            Fate::Help => self.ask_for_help(),
            Fate::Again => client.fate = client.connection.advance(&mut self.cx),
            Fate::Wait => match self.done.iter().position(|(done, _)| client.waits_for(done.errand)) {
                Some(held) => return self.deliver(held),
                None => client.read(1 + self.random.below(20_000), &mut self.cx),
            },
            Fate::Close(_) => {}
        }
        self.look_at(at);
    }

    /// All who need a helper ask for one, so that some join others; it does all at once. When they are told is for chance
    /// to decide.
    fn ask_for_help(&mut self) {
        let errands = self.cx.errands.as_mut().unwrap();
        for client in self.clients.iter_mut().filter(|client| client.fate == Fate::Help) {
            let task = client.connection.task().unwrap();
            client.connection.wait_for(errands.submit(client.id, None, task, |_, _| true).unwrap());
            (client.fate, client.is_waiting) = (Fate::Wait, true);
        }
        let is_under_way = |client: &Client, done: &[(Done, u64)]| {
            client.is_waiting && !done.iter().any(|(done, _)| client.waits_for(done.errand))
        };
        while self.clients.iter().any(|client| is_under_way(client, &self.done)) {
            match errands.pop() {
                Some(done) => self.done.push((done, self.now_ms)),
                None => std::thread::yield_now(),
            }
        }
    }

    fn deliver(&mut self, held: usize) {
        let (done, done_ms) = self.done.swap_remove(held);
        let lag_ms = self.now_ms - done_ms;
        self.count("errands");
        if lag_ms > 0 {
            self.past.note_late(self.now_ms, lag_ms);
            self.count("errands told late");
        }
        let errand = done.errand;
        self.tell(|| format!("an errand of {lag_ms} ms ago is told"));
        let arrival = Arrival::of(done.outcome, &mut self.cx);
        for at in 0..CLIENTS {
            let client = &mut self.clients[at];
            if client.waits_for(errand) {
                client.is_waiting = false;
                client.fate = client.connection.resume(&arrival, &mut self.cx);
                self.look_at(at);
            }
        }
    }

    /// Looks at what a client has received.
    fn look_at(&mut self, at: usize) {
        let (step, unix_s) = (self.step, self.unix_s());
        let client = &mut self.clients[at];
        let Some(pending) = &mut client.pending else { return };
        let is_closed = matches!(client.fate, Fate::Close(_));
        // Its answer is given, though perhaps none of it is sent.
        if client.connection.wants_write() || !client.wire.borrow().outbound.is_empty() {
            pending.answered.get_or_insert((step, unix_s));
        }
        let Some(response) = Response::parse(&client.wire.borrow().outbound) else {
            assert!(!is_closed, "closed without an answer: {:?}", client.fate);
            return;
        };
        let method = if pending.request.starts_with(b"HEAD") { Method::Head } else { Method::Get };
        let expected = if response.has_content(method) { response.length() } else { 0 };
        let received = response.body.len();
        assert!(received <= expected, "more than was promised");
        if received < expected && !is_closed {
            return;
        }
        let pending = client.pending.take().unwrap();
        self.tell(|| format!("client {at} has {} and {received} of {expected} bytes", response.status));
        self.judge(&pending, &response, received == expected);
        if is_closed {
            self.replace_client(at);
        }
    }

    fn judge(&mut self, pending: &Pending, response: &Response, is_whole: bool) {
        let mut lines = FieldLines::new();
        let mut http = Http1::new();
        let (head, _) = http.receive_head(&pending.request, &mut lines, &Limits::default()).unwrap().unwrap();
        let (answered_step, unix_s) = pending.answered.unwrap();
        let Pending { target, since_step, since_ms, .. } = *pending;
        let exchange = Exchange { since_step, since_ms, answered_step };
        let may_be_unmade = self.manner.is_short || self.past.has_changed(exchange);
        let may_be_unavailable = self.manner.is_short || (may_be_unmade && self.cx.may_wait());
        let leniency = Leniency { may_be_unmade, may_be_unavailable, unix_s };
        let (mut verdicts, mut accepted) = (Vec::new(), None);
        for span in self.past.states(target, exchange) {
            let verdict =
                expected::judge(TARGETS[target], &span.state, &head, response, self.manner, leniency);
            let is_right = match verdict {
                Verdict::Right(_) if response.status == 404 => self.is_page(exchange, head.method, response),
                _ => verdict.is_excusable(response, is_whole, &self.grounds.ledger, answered_step),
            };
            if is_right {
                let is_stale = span.until_step <= since_step;
                let is_mixed = matches!(verdict, Verdict::WrongContent { .. });
                accepted = Some((is_stale, is_mixed));
                break;
            }
            verdicts.push((verdict, span.from_step, span.until_step));
        }
        let Some((is_stale, is_mixed)) = accepted else {
            panic!("that is no answer: {verdicts:?}\n{}", response.told());
        };
        self.accept(target, response, is_stale, is_mixed);
    }

    /// Whether the content is a page for what is not found, in some coding, and says nothing of versions.
    fn is_page(&self, exchange: Exchange, method: Method, response: &Response) -> bool {
        if ["ETag", "Last-Modified", "Accept-Ranges"].iter().any(|name| response.field(name).is_some()) {
            return false;
        }
        if method == Method::Head {
            return true;
        }
        let content = response.decoded();
        self.past.pages(exchange).any(|page| match page {
            Some(page) if self.manner.has_page => content.as_ref() == Some(&*page.content),
            _ => response.body.ends_with(b"</h1>\n"),
        })
    }

    fn accept(&mut self, target: usize, response: &Response, is_stale: bool, is_mixed: bool) {
        self.count("responses");
        self.count(match response.status {
            200 => "whole",
            206 => "parts",
            304 => "not modified",
            404 => "missing",
            412 => "not as the client means",
            _ => "other responses",
        });
        if is_stale {
            self.count("from before, within the interval");
        }
        if is_mixed {
            self.count("changed in place while it was sent");
        }
        if let (Some(tag), Some(modified)) = (response.field("ETag"), response.field("Last-Modified")) {
            self.seen[target].push((tag.to_owned(), modified.to_owned()));
        }
    }
}
