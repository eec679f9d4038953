//! One life: the socket, the clock, the order of events, and the fault.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::rc::Rc;

use oneloop_worker::close::CloseReason;
use oneloop_worker::connection::{Arrival, Connection, Fate};
use oneloop_worker::context::Context;
use oneloop_worker::errands::{Done, Ticket};
use oneloop_worker::{Deadlines, Memory, Peer, Rates};

use super::client::{self, CUT_BYTES, Expected};
use super::displacing;
use super::fault::Fault;
use super::places::{self, Places};
use super::wire::{Random, Simulated, Wire};

/// A life and everything in it.
pub struct World {
    pub fault: Fault,
    pub wire: Rc<RefCell<Wire>>,
    pub steps: usize,
    random: Random,
    victim: PathBuf,
    script: VecDeque<u8>,
    /// How long the script is, and at which bytes its requests end.
    script_bytes: usize,
    ends: Vec<usize>,
    expected: Vec<Expected>,
    cx: Context,
    /// Whether there is little memory for responses that the client does not take.
    is_tight: bool,
    connection: Connection<Simulated>,
    fate: Fate,
    now_ms: u64,
    has_struck: bool,
    /// What a helper has done and the connection was not told yet.
    done: Option<Done>,
    /// The claim of another connection, which wants the same and may give up.
    other: Option<Ticket>,
    strikes_at_step: usize,
}

/// In milliseconds of the simulated clock.
pub const DEADLINES: Deadlines = Deadlines {
    header_ms: 1_000_000,
    keep_alive_ms: 1_500_000,
    content_ms: 1_200_000,
    send_ms: 900_000,
    linger_ms: 500_000,
};
const STEPS_MAX: usize = 400_000;

/// Half of the connections are paced, and of half of all a rate is demanded, though never as much as they are sent.
fn rates(random: &mut Random) -> Rates {
    let most = random.chance(2).then(|| [5_000, 100_000, 3_000_000][random.below(3)]);
    let least = random.chance(2).then(|| most.map_or(1_000, |most| most - 1));
    Rates { most: most.and_then(NonZeroU64::new), least: least.and_then(NonZeroU64::new) }
}

impl World {
    pub fn new(seed: u64, places: &Places) -> Self {
        let mut random = Random::new(seed);
        let (directory, root, prefix) = match &places.cold {
            Some(cold) if random.chance(2) => {
                (cold.path(), cold.path().parent().unwrap().parent().unwrap(), places.cold_prefix.as_str())
            }
            _ => (places.plain.path(), places.plain.path(), ""),
        };
        places::restore(directory);
        let fault = Fault::ALL[random.below(Fault::ALL.len())];
        let mut script = VecDeque::new();
        let mut expected = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..random.below(30) {
            let (request, response) = client::exchange(&mut random, fault == Fault::Truncate, prefix);
            script.extend(request);
            ends.push(script.len());
            expected.push(response);
        }
        if random.chance(2) {
            let (request, response) = client::last_exchange(&mut random, prefix);
            script.extend(request);
            ends.push(script.len());
            expected.push(response);
        }
        let capacity = [100 + random.below(2_000), 2_000 + random.below(20_000), 300_000][random.below(3)];
        let wire = Rc::new(RefCell::new(Wire::new(capacity, Random::new(seed ^ 0x5555))));
        let rates = rates(&mut random);
        let is_tight = random.chance(8);
        let kept_output_bytes_max = if is_tight { 30_000 } else { usize::MAX };
        let memory = Memory { kept_output_bytes_max, ..Memory::default() };
        let cx = places::context(root, !prefix.is_empty(), DEADLINES, rates, memory);
        let connection = Connection::new(Simulated(Rc::clone(&wire)), Peer::Unix, &cx);
        Self {
            fault,
            wire,
            steps: 0,
            strikes_at_step: random.below(400),
            random,
            victim: directory.join("victim"),
            script_bytes: script.len(),
            script,
            ends,
            expected,
            cx,
            is_tight,
            connection,
            fate: Fate::Wait,
            now_ms: 0,
            has_struck: false,
            done: None,
            other: None,
        }
    }

    /// Plays until the connection ends.
    pub fn play(&mut self) -> CloseReason {
        self.advance();
        loop {
            if self.fate == Fate::Help {
                self.ask_for_help();
                continue;
            }
            if let Fate::Close(reason) = self.fate {
                self.connection.end(&mut self.cx);
                return reason;
            }
            self.expect_pace();
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "the connection gets nowhere");
            if self.has_struck && self.fault == Fault::Displace && self.is_asked_for_room() {
                continue;
            }
            if self.fault != Fault::None && !self.has_struck && self.steps >= self.strikes_at_step {
                self.strike();
            } else if self.has_struck && self.fault == Fault::ReadSlowly && self.script.is_empty() {
                self.read_slowly();
            } else if self.is_quiet() {
                self.sleep_until_deadline();
            } else {
                self.something_happens();
            }
        }
    }

    /// Whatever happens, no more is sent than a burst and what has accrued since.
    fn expect_pace(&self) {
        let Some(most) = self.cx.rates.most else { return };
        let burst = (most.get() * 375 / 1_000).max(32 << 10);
        let sent = self.wire.borrow().outbound.len() as u64;
        assert!(sent <= burst + most.get() * self.now_ms / 1_000 + 1, "{sent} bytes in {} ms", self.now_ms);
    }

    fn advance(&mut self) {
        self.fate = self.connection.advance(&mut self.cx);
        assert!(self.cx.output.is_empty(), "responses were left in the shared buffer");
    }

    fn ask_for_help(&mut self) {
        let task = self.connection.task().unwrap();
        let errands = self.cx.errands.as_mut().unwrap();
        let [id, other] = places::ids();
        // One that comes before or behind this one with the same wish, and perhaps does not stay.
        let (comes_before, comes_behind) = (self.random.chance(4), self.random.chance(4));
        let same = (comes_before || comes_behind).then(|| task.clone());
        if comes_before {
            self.other = same.clone().and_then(|task| errands.submit(other, None, task, |_, _| true).ok());
        }
        self.connection.wait_for(errands.submit(id, None, task, |_, _| true).unwrap());
        if comes_behind {
            self.other = same.and_then(|task| errands.submit(other, None, task, |_, _| true).ok());
        }
        if self.random.chance(2) {
            self.other = None;
        }
        // The helper works at once, so that it does not depend on its pace what it finds; when the connection is
        // told, is for chance to decide.
        self.done = Some(places::what_is_done(errands, &self.connection));
        self.fate = Fate::Wait;
    }

    /// The connection is told what the helper has done, unless it has given up.
    fn take_outcome(&mut self) {
        let Some(done) = self.done.take() else { return };
        assert_eq!(done.waiting.iter().filter(|&&id| id == places::ids()[0]).count(), 1, "told once");
        let arrival = Arrival::of(done.outcome, &mut self.cx);
        if self.connection.waits_for(done.errand) {
            self.fate = self.connection.resume(&arrival, &mut self.cx);
        }
        assert!(self.cx.output.is_empty(), "responses were left in the shared buffer");
    }

    /// An event, as an edge-triggered poll gives them: only where something has changed, but sometimes for
    /// nothing.
    fn something_happens(&mut self) {
        match self.random.below(10) {
            0..=3 => self.deliver(),
            4..=7 => self.client_reads(),
            8 if self.done.is_some() => self.take_outcome(),
            8 if self.random.chance(3) => {
                self.connection.readable(false);
                self.advance();
            }
            8 => {}
            _ => self.pass_time(1),
        }
        if self.fate == Fate::Again && self.random.chance(2) {
            self.advance();
        }
    }

    fn deliver(&mut self) {
        let is_stopped = self.has_struck && self.fault == Fault::StopSending;
        if self.script.is_empty() || is_stopped {
            return;
        }
        let most = if self.random.chance(2) { 40 } else { 20_000 };
        let bytes = (1 + self.random.below(most)).min(self.script.len());
        self.wire.borrow_mut().inbound.extend(self.script.drain(..bytes));
        // Some clients close their side right behind their last request.
        let is_closed = self.script.is_empty() && self.random.chance(3);
        self.wire.borrow_mut().is_end_of_stream |= is_closed;
        self.connection.readable(is_closed);
        self.advance();
    }

    fn client_reads(&mut self) {
        if self.has_struck && self.fault == Fault::StopReading {
            return;
        }
        let most = if self.random.chance(3) { 200 } else { 200_000 };
        let bytes = 1 + self.random.below(most);
        let mut wire = self.wire.borrow_mut();
        wire.unread -= bytes.min(wire.unread);
        let becomes_writable = std::mem::take(&mut wire.is_blocked);
        drop(wire);
        if becomes_writable && self.connection.wants_write() {
            self.advance();
        }
    }

    /// Some bytes, then more time than half the send deadline: a deadline always finds that something was read.
    fn read_slowly(&mut self) {
        if self.is_quiet() {
            return self.sleep_until_deadline();
        }
        if self.done.is_some() {
            return self.take_outcome();
        }
        if self.fate == Fate::Again {
            return self.advance();
        }
        let bytes = 1 + self.random.below(3_000);
        let mut wire = self.wire.borrow_mut();
        wire.unread -= bytes.min(wire.unread);
        let becomes_writable = std::mem::take(&mut wire.is_blocked);
        drop(wire);
        if becomes_writable && self.connection.wants_write() {
            self.advance();
        }
        // Whoever is closed is never asked again.
        if !matches!(self.fate, Fate::Close(_)) {
            self.pass_time(DEADLINES.send_ms * 6 / 10);
        }
    }

    /// Whether that changed anything.
    fn is_asked_for_room(&mut self) -> bool {
        if self.random.chance(20) {
            self.pass_time(2_000);
            return true;
        }
        let before = self.fate;
        let displaced = displacing::displace(&mut self.connection, &mut self.cx, &mut self.fate);
        self.fate = displaced.map_or(self.fate, Fate::Close);
        self.fate != before
    }

    fn pass_time(&mut self, ms: u64) {
        self.now_ms += ms;
        // Somebody sets the wall clock, forth and back by up to years: nothing that waits may notice.
        let wall_s = 1_800_000_000
            + self.now_ms as i64 / 1_000 * [0, 1, -1, 40_000_000][self.random.below(4)] % 300_000_000;
        self.cx.clock.set(self.now_ms, wall_s);
        if self.now_ms >= self.connection.deadline_ms() {
            self.fate = self.connection.expire(&mut self.cx);
        }
    }

    /// Nothing will happen any more unless time passes: everything was delivered and read, as far as the client
    /// means to.
    fn is_quiet(&self) -> bool {
        let wire = self.wire.borrow();
        let stops = |fault| self.has_struck && self.fault == fault;
        let is_delivered = self.script.is_empty() || stops(Fault::StopSending);
        let is_read = stops(Fault::StopReading) || (wire.unread == 0 && !wire.is_blocked);
        is_delivered && is_read && self.done.is_none() && self.fate == Fate::Wait
    }

    fn sleep_until_deadline(&mut self) {
        // Half of the clients that have nothing more to say close their side first.
        let is_over = self.script.is_empty() && self.random.chance(2);
        if is_over && !self.wire.borrow().is_end_of_stream {
            self.wire.borrow_mut().is_end_of_stream = true;
            self.connection.readable(true);
            return self.advance();
        }
        let deadline_ms = self.connection.deadline_ms();
        assert!(deadline_ms > self.now_ms, "a wait without a deadline");
        assert!(deadline_ms <= self.now_ms + 1_500_000, "a deadline further off than any that is set");
        self.pass_time(deadline_ms - self.now_ms);
    }

    fn strike(&mut self) {
        self.has_struck = true;
        match self.fault {
            Fault::None | Fault::ReadSlowly | Fault::StopReading | Fault::StopSending | Fault::Displace => {}
            Fault::Reset => {
                self.wire.borrow_mut().is_reset_by_peer = true;
                self.connection.readable(true);
                self.advance();
            }
            Fault::Truncate => {
                fs::File::options()
                    .write(true)
                    .open(&self.victim)
                    .unwrap()
                    .set_len(CUT_BYTES as u64)
                    .unwrap();
            }
            Fault::Drain => {
                self.cx.is_draining = true;
                self.connection.readable(false);
                self.advance();
            }
        }
    }

    /// Whether the life ended as it should have.
    pub fn judge(&self, reason: CloseReason) {
        let wire = self.wire.borrow();
        let is_truncated = self.has_struck && self.fault == Fault::Truncate;
        let cut_bytes = is_truncated.then_some(CUT_BYTES);
        let (complete, is_cut) =
            client::check(&wire.outbound, &self.expected, cut_bytes, self.fault == Fault::StopSending);
        let is_all = complete == self.expected.len() && self.script.is_empty();
        let detail = format!(
            "{:?}, {reason:?}: {complete} of {} responses, cut {is_cut}, {} bytes unsent",
            self.fault,
            self.expected.len(),
            self.script.len()
        );
        assert_eq!(wire.is_reset_on_close, reason.needs_reset(), "{detail}");
        let is_end = matches!(
            reason,
            CloseReason::Finished
                | CloseReason::Peer
                | CloseReason::KeepAliveTimeout
                | CloseReason::LingerTimeout
                | CloseReason::HeaderTimeout
        );
        let is_right = match self.fault {
            _ if reason == CloseReason::NoMemory => self.is_tight,
            _ if !self.has_struck => is_all && is_end,
            Fault::None => is_all && is_end,
            // Few bytes in minutes: too few for any rate that is demanded here.
            Fault::ReadSlowly if reason == CloseReason::TooSlow => self.cx.rates.least.is_some(),
            Fault::ReadSlowly => !is_cut && reason != CloseReason::SendTimeout,
            Fault::Reset => reason == CloseReason::Peer || is_all,
            Fault::StopReading if reason == CloseReason::TooSlow => self.cx.rates.least.is_some(),
            Fault::StopReading => !is_cut || reason == CloseReason::SendTimeout,
            Fault::StopSending => !is_cut,
            Fault::Truncate => is_cut == (reason == CloseReason::TruncatedFile) && (is_cut || is_all),
            Fault::Drain => !is_cut && reason != CloseReason::KeepAliveTimeout,
            Fault::Displace => {
                let delivered = self.script_bytes - self.script.len();
                !is_cut && displacing::is_right(reason, &self.ends, delivered, complete)
            }
        };
        assert!(is_right, "{detail}");
    }
}
