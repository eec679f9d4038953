//! `verify DIRECTORY PORT SECONDS`: asks a server for files that change meanwhile, and looks at every byte it answers.
//!
//! Fills DIRECTORY/site, which the server on PORT serves, and says `ready`. From then on one thread replaces some of
//! the files by rename(2), ten times a second, and the others ask for all of them: whole, in parts, with conditions,
//! for the head only; one request a connection, one after the other, or many at a time. Whatever else loads the server
//! meanwhile makes the proof stronger. Ends by itself and prints one line of JSON; what was wrong is also said at once.

mod ask;
mod client;
mod content;
mod tree;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ask::{Answered, Ask};
use client::{Client, Wrong};
use content::Dice;
use tree::Tree;

const CLIENTS: u64 = 8;
const EXCHANGES_MAX: u64 = 50;
const BATCHES_MAX: u64 = 4;
const BATCH_MAX: u64 = 16;
/// After a wrong answer the next one is asked for later, lest a server that is gone be asked in a spin.
const AFTER_WRONG: Duration = Duration::from_millis(50);
const SHOWN_MAX: usize = 10;

/// What came of all requests.
#[derive(Default)]
struct Tally {
    connections: u64,
    content_bytes: u64,
    by_status: BTreeMap<u16, u64>,
    /// Answers with a version that had been replaced before they were asked for: the server may trust what it knows
    /// for a while.
    replaced: u64,
    oldest: Duration,
    wrong: u64,
}

impl Tally {
    fn note(&mut self, answered: &Answered) {
        *self.by_status.entry(answered.status).or_default() += 1;
        self.content_bytes += answered.content_bytes;
        self.replaced += u64::from(!answered.age.is_zero());
        self.oldest = self.oldest.max(answered.age);
    }

    fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.content_bytes += other.content_bytes;
        for (status, count) in other.by_status {
            *self.by_status.entry(status).or_default() += count;
        }
        self.replaced += other.replaced;
        self.oldest = self.oldest.max(other.oldest);
        self.wrong += other.wrong;
    }

    fn report(&self, versions: u64) {
        let by_status: Vec<String> =
            self.by_status.iter().map(|(status, count)| format!("\"{status}\": {count}")).collect();
        println!(
            "{{\"responses\": {}, \"connections\": {}, \"content_bytes\": {}, \"by_status\": {{{}}}, \
             \"versions\": {versions}, \"replaced\": {}, \"oldest_ms\": {}, \"wrong\": {}}}",
            self.by_status.values().sum::<u64>(),
            self.connections,
            self.content_bytes,
            by_status.join(", "),
            self.replaced,
            self.oldest.as_millis(),
            self.wrong,
        );
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, port, seconds] = &arguments[..] else {
        return Err("usage: verify DIRECTORY PORT SECONDS".into());
    };
    let (port, seconds) = (port.parse()?, seconds.parse()?);
    let tree = Tree::make(Path::new(directory), seconds)?;
    println!("ready");
    let end = Instant::now() + Duration::from_secs(seconds);
    let (versions, tally) = thread::scope(|scope| {
        let publisher = scope.spawn(|| tree.replace_until(end));
        let tree = &tree;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| scope.spawn(move || ask_until(end, tree, port, Dice::new(seed))))
            .collect();
        let mut tally = Tally::default();
        for client in clients {
            tally.add(client.join().map_err(|_| "a client panicked")?);
        }
        Ok::<_, Box<dyn Error>>((publisher.join().map_err(|_| "the publisher panicked")??, tally))
    })?;
    tally.report(versions);
    Ok(())
}

fn ask_until(end: Instant, tree: &Tree, port: u16, mut dice: Dice) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < end {
        if let Err(wrong) = converse(end, tree, port, &mut dice, &mut tally) {
            tally.wrong += 1;
            if tally.wrong as usize <= SHOWN_MAX {
                eprintln!("WRONG: {wrong}");
            }
            thread::sleep(AFTER_WRONG);
        }
    }
    tally
}

/// One connection from its beginning to its end.
fn converse(end: Instant, tree: &Tree, port: u16, dice: &mut Dice, tally: &mut Tally) -> Result<(), Wrong> {
    let mut client = Client::connect(port)?;
    tally.connections += 1;
    let (batches, batch) = match dice.below(3) {
        0 => return one_shot(&mut client, tree, dice, tally),
        1 => (1 + dice.below(EXCHANGES_MAX), 1),
        _ => (1 + dice.below(BATCHES_MAX), 2 + dice.below(BATCH_MAX - 1)),
    };
    for _ in 0..batches {
        if Instant::now() >= end {
            break;
        }
        let asks: Vec<Ask<'_>> = (0..batch).map(|_| Ask::any(tree, dice)).collect();
        exchange(&mut client, &asks, false, tally)?;
    }
    Ok(())
}

fn one_shot(client: &mut Client, tree: &Tree, dice: &mut Dice, tally: &mut Tally) -> Result<(), Wrong> {
    exchange(client, &[Ask::any(tree, dice)], true, tally)?;
    client.expect_end()
}

/// Sends all requests at once, and looks at what comes for each of them.
fn exchange(client: &mut Client, asks: &[Ask<'_>], ends: bool, tally: &mut Tally) -> Result<(), Wrong> {
    let requests: String = asks.iter().map(|ask| ask.request(ends)).collect();
    let asked_at = Instant::now();
    client.send(requests.as_bytes())?;
    for ask in asks {
        let answered = ask
            .check(client, asked_at, ends)
            .map_err(|wrong| Wrong::new(format!("{}: {wrong}", ask.request(ends).escape_debug())))?;
        tally.note(&answered);
    }
    Ok(())
}
