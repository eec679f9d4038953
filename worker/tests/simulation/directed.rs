//! A life that goes as it is written down (`letters`), by a fuzzer or by hand. The world is that of the seeded lives:
//! the same wire, files and helpers. What the peer says is arbitrary here, and so are the judgements (`verdict`).

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::BytesMut;
use oneloop_worker::close::CloseReason;
use oneloop_worker::connection::{Arrival, Connection, Fate};
use oneloop_worker::context::{Context, INPUT_BYTES};
use oneloop_worker::errands::Done;
use oneloop_worker::{Memory, Peer, Rates};

use super::letters::{Letters, Step};
use super::places::{self, Places};
use super::verdict::{self, Case};
use super::versions::{Version, Versions};
use super::wire::{Random, Simulated, Wire};
use super::world::DEADLINES;

/// Connections of one life, one behind the other on the same worker.
const CONNECTIONS_MAX: usize = 4;
/// Steps that the end of a connection may take.
const STEPS_MAX: usize = 20_000;
/// Turns without a byte or a response that a connection may want in a row: one to find that there is nothing.
const IDLE_TURNS_MAX: usize = 2;

/// Plays a text and judges what came of it: panics where a promise is broken.
pub fn play(text: &[u8], places: &Places) {
    let mut letters = Letters::new(text);
    let setting = letters.number();
    let (directory, root, prefix) = match &places.cold {
        Some(cold) if setting % 2 == 1 => {
            (cold.path(), cold.path().parent().unwrap().parent().unwrap(), places.cold_prefix.as_str())
        }
        _ => (places.plain.path(), places.plain.path(), ""),
    };
    places::restore(directory);
    let mut cx = places::context(root, !prefix.is_empty(), DEADLINES, Rates::default(), Memory::default());
    cx.buffers.give(BytesMut::with_capacity(INPUT_BYTES));
    let mut world = World {
        cx,
        versions: Versions::new(directory),
        tags: HashMap::new(),
        now_ms: 0,
        is_overloaded: false,
    };
    for _ in 0..CONNECTIONS_MAX {
        let mut life = Life::new(&mut world, &mut letters, prefix, setting);
        let reason = life.play();
        life.judge(reason);
        assert_eq!(world.cx.buffers.len(), 1, "the one buffer came back, and no other");
        if letters.is_empty() {
            return;
        }
    }
}

/// What outlives a connection.
struct World {
    cx: Context,
    versions: Versions,
    tags: HashMap<String, Version>,
    now_ms: u64,
    /// Whether helpers have no time.
    is_overloaded: bool,
}

/// One connection.
struct Life<'w, 't> {
    world: &'w mut World,
    letters: &'w mut Letters<'t>,
    prefix: &'w str,
    wire: Rc<RefCell<Wire>>,
    connection: Connection<Simulated>,
    fate: Fate,
    /// What the peer wrote and has not arrived.
    written: VecDeque<u8>,
    /// What has arrived before the server had waited too long for the rest of a head, or had closed its side.
    said: Vec<u8>,
    /// Heads that were waited for too long when the connection began.
    timeouts_before: u64,
    /// What a helper has done and the connection was not told yet.
    done: Option<Done>,
    was_overloaded: bool,
    /// Turns in a row in which nothing happened.
    idle_turns: usize,
}

impl<'w, 't> Life<'w, 't> {
    fn new(world: &'w mut World, letters: &'w mut Letters<'t>, prefix: &'w str, setting: usize) -> Self {
        let capacity = [1, 300, 5_000, 300_000][setting / 2 % 4];
        let wire = Rc::new(RefCell::new(Wire::new(capacity, Random::new(setting as u64))));
        let connection = Connection::new(Simulated(Rc::clone(&wire)), Peer::Unix, &world.cx);
        let (written, said) = (VecDeque::new(), Vec::new());
        let was_overloaded = world.is_overloaded;
        let timeouts_before = world.cx.counters.header_timeouts.get();
        let (done, fate, idle_turns) = (None, Fate::Wait, 0);
        Self {
            world,
            letters,
            prefix,
            wire,
            connection,
            fate,
            written,
            said,
            timeouts_before,
            done,
            was_overloaded,
            idle_turns,
        }
    }

    /// Plays until the connection ends: what is written down, and then what remains to happen by itself.
    fn play(&mut self) -> CloseReason {
        self.advance();
        let mut steps = 0;
        loop {
            if let Fate::Close(reason) = self.fate {
                self.connection.end(&mut self.world.cx);
                return reason;
            }
            match self.letters.next(self.prefix) {
                Some(step) => self.happens(step),
                None => self.goes_on(),
            }
            steps += 1;
            assert!(steps < STEPS_MAX, "the connection gets nowhere");
        }
    }

    fn happens(&mut self, step: Step) {
        match step {
            Step::Write(bytes) => self.written.extend(bytes),
            Step::WriteTag(name) => self.write_tag(name),
            Step::Arrive(bytes) => self.arrive(bytes),
            Step::Close => self.close(),
            Step::Reset => {
                self.wire.borrow_mut().is_reset_by_peer = true;
                self.connection.readable(true);
                self.advance();
            }
            Step::Read(bytes) => self.read(bytes),
            Step::Capacity(bytes) => self.wire.borrow_mut().set_capacity(bytes),
            Step::Pass { ms } => self.pass(ms),
            Step::PassDeadline => {
                self.pass(self.connection.deadline_ms().saturating_sub(self.world.now_ms));
            }
            Step::Outcome => self.take_outcome(),
            Step::Overload => {
                self.world.is_overloaded ^= true;
                self.was_overloaded |= self.world.is_overloaded;
            }
            Step::Cut => self.world.versions.cut(),
            Step::Replace(number, bytes) => self.world.versions.replace(number, bytes),
            Step::Remove(number) => self.world.versions.remove(number),
            Step::Drain => self.drain(),
            Step::Spurious => {
                self.connection.readable(false);
                self.advance();
            }
        }
    }

    /// Nothing is written down any more: what was written arrives, all is read, helpers tell, and time passes.
    fn goes_on(&mut self) {
        let is_unread = { self.wire.borrow().unread > 0 || self.wire.borrow().is_blocked };
        self.world.is_overloaded = false;
        if self.done.is_some() {
            self.take_outcome();
        } else if self.fate == Fate::Again {
            self.run();
        } else if is_unread {
            self.wire.borrow_mut().set_capacity(300_000);
            self.read(0);
        } else if !self.written.is_empty() {
            self.arrive(0);
        } else {
            self.pass(self.connection.deadline_ms() - self.world.now_ms);
        }
    }

    fn advance(&mut self) {
        let fate = self.connection.advance(&mut self.world.cx);
        self.settle(fate);
    }

    /// What the loop does behind each call, and what holds then.
    fn settle(&mut self, fate: Fate) {
        self.fate = fate;
        while self.fate == Fate::Help {
            self.ask_for_help();
        }
        assert!(self.world.cx.output.is_empty(), "responses were left in the shared buffer");
        if self.fate != Fate::Again {
            self.idle_turns = 0;
        }
        if self.fate == Fate::Wait {
            let left_ms = self.connection.deadline_ms().checked_sub(self.world.now_ms);
            assert!(left_ms.is_some_and(|ms| ms > 0), "a wait without a deadline");
            assert!(
                left_ms.is_some_and(|ms| ms <= DEADLINES.keep_alive_ms),
                "a deadline beyond all that are set"
            );
        }
    }

    /// A turn of the run queue. One in which nothing was read and nothing said may not be followed by many.
    fn run(&mut self) {
        if self.fate != Fate::Again {
            return;
        }
        let progress = |life: &Self| {
            let wire = life.wire.borrow();
            (wire.inbound.len(), wire.outbound.len(), life.world.cx.counters.requests.get())
        };
        let before = progress(self);
        self.advance();
        self.idle_turns = if progress(self) == before { self.idle_turns + 1 } else { 0 };
        assert!(self.idle_turns <= IDLE_TURNS_MAX, "a busy loop");
    }

    /// The helper works at once, so that it does not depend on its pace what it finds; when the connection is told is
    /// written down.
    fn ask_for_help(&mut self) {
        let task = self.connection.task().expect("a wish");
        if self.world.is_overloaded {
            self.fate = self.connection.go_without(&task, &mut self.world.cx);
            return;
        }
        let errands = self.world.cx.errands.as_mut().expect("only a cold place needs help");
        self.connection.wait_for(errands.submit(places::ids()[0], None, task, |_, _| true).unwrap());
        self.done = Some(places::what_is_done(errands, &self.connection));
        self.fate = Fate::Wait;
    }

    /// The connection is told, unless it has given up.
    fn take_outcome(&mut self) {
        let Some(done) = self.done.take() else { return };
        let arrival = Arrival::of(done.outcome, &mut self.world.cx);
        if self.connection.waits_for(done.errand) {
            let fate = self.connection.resume(&arrival, &mut self.world.cx);
            self.settle(fate);
        }
    }

    fn write_tag(&mut self, name: &str) {
        let wire = self.wire.borrow();
        let Some(at) = memchr::memmem::rfind(&wire.outbound, b"\r\nETag: ") else { return };
        let tag = wire.outbound[at + 8..].split(|&byte| byte == b'\r').next().unwrap();
        self.written.extend([name.as_bytes(), b": ", tag, b"\r\n"].concat());
    }

    fn arrive(&mut self, most: usize) {
        let bytes = if most == 0 { self.written.len() } else { most.min(self.written.len()) };
        if bytes == 0 || self.wire.borrow().is_end_of_stream {
            self.written.clear();
            return;
        }
        let fresh: Vec<u8> = self.written.drain(..bytes).collect();
        let mut wire = self.wire.borrow_mut();
        if !wire.is_finished && self.world.cx.counters.header_timeouts.get() == self.timeouts_before {
            self.said.extend_from_slice(&fresh);
        }
        wire.inbound.extend(fresh);
        drop(wire);
        self.connection.readable(false);
        self.advance();
    }

    fn close(&mut self) {
        self.arrive(0);
        self.wire.borrow_mut().is_end_of_stream = true;
        self.connection.readable(true);
        self.advance();
    }

    fn read(&mut self, most: usize) {
        let mut wire = self.wire.borrow_mut();
        wire.unread -= if most == 0 { wire.unread } else { most.min(wire.unread) };
        let becomes_writable = std::mem::take(&mut wire.is_blocked);
        drop(wire);
        if becomes_writable && self.connection.wants_write() {
            self.advance();
        }
    }

    /// As the loop does: who could go on does before any deadline.
    fn pass(&mut self, ms: u64) {
        self.run();
        if matches!(self.fate, Fate::Close(_)) {
            return;
        }
        self.world.now_ms += ms;
        self.world.cx.clock.set(self.world.now_ms, 1_800_000_000);
        if self.world.now_ms >= self.connection.deadline_ms() {
            self.was_overloaded |= self.done.is_some();
            let fate = self.connection.expire(&mut self.world.cx);
            self.settle(fate);
        }
    }

    fn drain(&mut self) {
        self.world.cx.is_draining = true;
        self.connection.readable(false);
        self.connection.hurry(&self.world.cx);
        self.advance();
    }

    fn judge(&mut self, reason: CloseReason) {
        let wire = self.wire.borrow();
        let (asked, unfinished) = verdict::requests(&self.said, self.prefix);
        let case = Case {
            asked: &asked,
            versions: &self.world.versions,
            is_overloaded: self.was_overloaded,
            unfinished,
        };
        let said = verdict::judge(&wire.outbound, &case, &mut self.world.tags);
        let detail = format!("{reason:?}, {said:?} to {asked:?}");
        assert_eq!(wire.is_reset_on_close, reason.needs_reset(), "{detail}");
        let is_broken = reason.needs_reset() || wire.is_reset_by_peer;
        assert!(!said.is_cut || is_broken, "a response is cut off, and nothing tells: {detail}");
        let is_all = said.complete >= asked.len() || said.is_over;
        assert!(is_all || is_broken, "a request was not answered: {detail}");
    }
}
