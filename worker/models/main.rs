//! What threads say to each other without a lock, tried in every order of steps: loom takes the place of the atomics in
//! the very sources of this crate, and a ring, a queue and a waker of a few lines that of `rtrb`, `crossbeam_queue` and
//! `mio`. A model fails where a thread sleeps for ever, or where something is lost, doubled or out of order.
//!
//! That a model can fail is tried, too: without the fences, those that stand on fences must.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::arc_with_non_send_sync,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    reason = "a panic is how a model fails, and its sources are documented where they belong"
)]

// The sources find the stand-ins where they would find the crates.
extern crate self as crossbeam_queue;
extern crate self as mio;
extern crate self as rtrb;

#[path = "../src/control.rs"]
mod control;
#[path = "../src/handoff.rs"]
mod handoff;
#[path = "../src/cold/long.rs"]
mod long;
#[path = "../src/log_writer/rest.rs"]
mod rest;
#[path = "../src/room.rs"]
mod room;
#[path = "../src/roots/successor.rs"]
mod successor;

mod stand_ins;

pub use stand_ins::{
    ArrayQueue, Consumer, Producer, PushError, RingBuffer, SegQueue, Waker, address_table, atomic, site,
};

use std::process::Command;
use std::sync::Arc;

use atomic::{AtomicBool, Ordering};
use loom::sync::atomic::AtomicUsize;
use loom::thread;

use control::{Control, Phase};
use handoff::{Accepted, Peer};
use long::{Kind, Long};
use rest::Rest;
use room::Room;
use site::release::Release;
use successor::Successor;

/// Times that a thread may be interrupted in the middle of something, in one order of steps.
const PREEMPTIONS: usize = 3;

/// Tries all orders; how many there are.
fn explore(model: fn()) -> usize {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    let orders = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    orders.load(Ordering::Relaxed)
}

fn connection(number: u16) -> Accepted {
    Accepted {
        stream: std::fs::File::open("/dev/null").unwrap().into(),
        peer: Peer::V4([127, 0, 0, 1].into(), number),
    }
}

fn number(accepted: &Accepted) -> u16 {
    match accepted.peer {
        Peer::V4(_, number) => number,
        _ => panic!("not what was sent"),
    }
}

/// The acceptor sends twice, with a wake behind each; the worker takes both, in order, and sleeps in between as it likes.
fn a_connection_that_is_handed_over_is_taken() {
    let waker = Waker::model();
    let (mut sender, mut receiver) = handoff::channel(2, Arc::clone(&waker));
    let acceptor = thread::spawn(move || {
        for at in 1..=2 {
            sender.send(connection(at)).unwrap();
            sender.wake().unwrap();
        }
    });
    let mut next = 1;
    while next <= 2 {
        while let Some(accepted) = receiver.recv() {
            assert_eq!(number(&accepted), next, "in order, once");
            next += 1;
        }
        if next <= 2 && receiver.prepare_sleep() {
            waker.sleep();
            receiver.awake();
        }
    }
    acceptor.join().unwrap();
}

/// The worker ends at any moment: what was sent comes back, is closed by the worker, or the acceptor is told.
fn nothing_hangs_in_the_ring_of_a_worker_that_ended() {
    stand_ins::forget_items();
    let (mut sender, mut receiver) = handoff::channel(2, Waker::model());
    let acceptor = thread::spawn(move || {
        let is_sent = sender.send(connection(1)).is_ok();
        let is_told = is_sent && sender.wake().is_err();
        (is_sent, is_told, sender)
    });
    let taken = receiver.recv().is_some();
    drop(receiver);
    let (is_sent, is_told, _sender) = acceptor.join().unwrap();
    let is_left = stand_ins::items() > 0;
    assert!(is_sent || !taken);
    assert!(!is_left || is_told, "a connection hangs where nobody looks, and nobody was told");
}

/// Two who accept and give back never hold more than there is, and all comes back.
fn no_more_places_are_taken_than_there_are() {
    let room = Arc::new(Room::new(1));
    let held = Arc::new(AtomicUsize::new(0));
    let take = |room: &Room, held: &AtomicUsize| {
        if room.take() {
            assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0, "two hold the one place");
            held.fetch_sub(1, Ordering::SeqCst);
            room.give_back(1);
        }
    };
    let other = {
        let (room, held) = (Arc::clone(&room), Arc::clone(&held));
        thread::spawn(move || {
            take(&room, &held);
            take(&room, &held);
        })
    };
    take(&room, &held);
    other.join().unwrap();
    assert!(room.take(), "the place came back");
    assert!(!room.take(), "and it is one");
}

/// A worker changes over to the last release of each tree, never back, and is not left asleep.
fn the_last_release_of_each_tree_is_taken() {
    let waker = Waker::model();
    let successor = Successor::new(2, Arc::clone(&waker));
    let releases: Vec<Arc<Release>> = (0..3).map(Release::model).collect();
    let keeper = |number: usize, releases: Vec<Arc<Release>>| {
        let successor = Arc::clone(&successor);
        thread::spawn(move || releases.iter().for_each(|release| successor.give(number, release)))
    };
    let first = keeper(0, releases[1..].to_vec());
    let second = keeper(1, vec![Arc::clone(&releases[1])]);
    let mut served = [0, 0];
    while served != [2, 1] {
        // One a turn, and no sleep behind one that was taken, as in `thread.rs`.
        match successor.take() {
            Some((tree, release)) => {
                assert!(release.number() > served[tree], "never back, never twice");
                served[tree] = release.number();
            }
            None => waker.sleep(),
        }
    }
    first.join().unwrap();
    second.join().unwrap();
    drop(successor);
    assert_eq!(Arc::strong_count(&releases[2]), 1, "nobody holds a release that is no longer served");
}

/// Whoever ends the server first, a worker sees phases go forwards only, and ends.
fn phases_only_move_on() {
    let (control, waker) = (Arc::new(Control::default()), Waker::model());
    let enter = |phase| {
        let (control, waker) = (Arc::clone(&control), Arc::clone(&waker));
        thread::spawn(move || {
            control.enter(phase);
            waker.wake().unwrap();
        })
    };
    let (draining, stopping) = (enter(Phase::Draining), enter(Phase::Stopping));
    let mut before = Phase::Serving;
    while before != Phase::Stopping {
        let phase = control.phase();
        assert!(phase as u8 >= before as u8, "back to {phase:?}");
        before = phase;
        if phase != Phase::Stopping {
            waker.sleep();
        }
    }
    draining.join().unwrap();
    stopping.join().unwrap();
}

/// A line that a worker has flushed is written, whether the thread of the log sleeps or not.
fn a_line_of_the_log_wakes_its_thread() {
    let (mut ring, mut queue) = RingBuffer::new(2);
    let (rest, waker) = (Arc::new(Rest::default()), Waker::model());
    let producer = {
        let (rest, waker) = (Arc::clone(&rest), Arc::clone(&waker));
        thread::spawn(move || {
            for line in 0..2 {
                ring.push(line).unwrap();
                if rest.is_to_be_woken(|| false) {
                    waker.wake().unwrap();
                }
            }
        })
    };
    let mut written = 0;
    while written < 2 {
        match queue.pop() {
            Ok(line) => {
                assert_eq!(line, written, "in order, once");
                written += 1;
            }
            Err(_) => rest.sleep(|| queue.is_empty(), || waker.sleep()),
        }
    }
    producer.join().unwrap();
}

/// Whoever asks for room is heard: behind each time, the worker looks once more, and is not left asleep.
fn a_worker_that_is_asked_for_room_looks() {
    let waker = Waker::model();
    let room = Arc::new(Room::new(1).shared_by(1, None));
    room.introduce(0, Arc::clone(&waker));
    let wanted = Arc::new(AtomicUsize::new(0));
    let acceptor = {
        let (room, wanted) = (Arc::clone(&room), Arc::clone(&wanted));
        thread::spawn(move || {
            for times in 1..=2 {
                wanted.store(times, Ordering::Relaxed);
                room.ask();
            }
        })
    };
    let mut heard = 0;
    while heard < 2 {
        if room.is_asked(0) {
            heard = wanted.load(Ordering::Relaxed);
        } else {
            waker.sleep();
        }
    }
    acceptor.join().unwrap();
}

/// Two helpers of which one may do what takes long: every job is done though a wake meets one that is turned away.
fn every_long_job_is_done_by_one_helper_at_a_time() {
    let long = Arc::new(Long::new(2, 2));
    let (semaphore, is_busy) = (Waker::model(), Arc::new(AtomicBool::new(false)));
    let help = {
        let (long, semaphore) = (Arc::clone(&long), Arc::clone(&semaphore));
        // As in `cold.rs`, but that one with nothing to do ends here where it would sleep on.
        move || {
            while semaphore.try_sleep() {
                let wake = || {
                    semaphore.wake().unwrap();
                    // It may be a job that is not quite there.
                    thread::yield_now();
                };
                let _ = [Kind::Make, Kind::List].into_iter().any(|kind| {
                    let Some(()) = long.begin(kind, wake) else { return false };
                    assert!(!is_busy.swap(true, Ordering::SeqCst), "two are busy at a time");
                    is_busy.store(false, Ordering::SeqCst);
                    if long.end(kind) {
                        semaphore.wake().unwrap();
                    }
                    true
                });
            }
        }
    };
    let other = thread::spawn(help.clone());
    for kind in [Kind::Make, Kind::List] {
        long.push(kind, None, 0, ()).unwrap();
        semaphore.wake().unwrap();
    }
    help();
    other.join().unwrap();
    assert_eq!(long.len(), 0, "a job was left though all sleep");
    assert!(
        [Kind::Make, Kind::List].iter().all(|&kind| long.begin(kind, || {}).is_none()),
        "a job is not counted"
    );
}

const MODELS: [(&str, fn(), bool); 8] = [
    // The last: whether it stands on fences, so that it has to fail without them.
    ("hand-off: taken", a_connection_that_is_handed_over_is_taken, true),
    ("hand-off: the worker ends", nothing_hangs_in_the_ring_of_a_worker_that_ended, true),
    ("room", no_more_places_are_taken_than_there_are, false),
    ("room: asked for", a_worker_that_is_asked_for_room_looks, false),
    ("releases", the_last_release_of_each_tree_is_taken, false),
    ("phases", phases_only_move_on, false),
    ("log", a_line_of_the_log_wakes_its_thread, true),
    ("long jobs", every_long_job_is_done_by_one_helper_at_a_time, false),
];

fn main() {
    // A failure of loom's leaves nothing behind that could be used, so those that have to fail do it in a process of
    // their own: this one, with the name of the model.
    let fenceless = std::env::args().nth(1);
    if let Some((_, model, _)) = MODELS.iter().find(|(name, ..)| Some(*name) == fenceless.as_deref()) {
        stand_ins::leave_fences_out();
        explore(*model);
        return;
    }
    for (name, model, needs_fences) in MODELS {
        println!("{name}: {} orders of steps", explore(model));
        if needs_fences {
            let program = std::env::current_exe().unwrap();
            let failed = Command::new(program).arg(name).env("RUST_BACKTRACE", "0").output().unwrap();
            let said = String::from_utf8_lossy(&failed.stderr);
            let is_found = said.contains("deadlock;") || said.contains("hangs where nobody looks");
            assert!(is_found, "{name}: the model does not notice that the fences are gone: {said}");
            println!("{name}: fails without its fences, as it should");
        }
    }
}
