//! What the targets led to, and when: which states an answer may be from.

use std::rc::Rc;

use super::ledger::Version;
use super::states::{State, TARGETS, page};
use super::tree::Tree;

/// A state of what something leads to, and when it was that.
#[derive(Debug)]
pub struct Span<T> {
    pub state: T,
    pub from_step: usize,
    pub until_step: usize,
    until_ms: u64,
}

/// When a request came and was answered.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub since_step: usize,
    pub since_ms: u64,
    pub answered_step: usize,
}

/// The history of a life.
#[derive(Debug)]
pub struct Past {
    /// For how long an entry is believed.
    interval_ms: u64,
    targets: Vec<Vec<Span<State>>>,
    pages: Vec<Span<Option<Rc<Version>>>>,
    released_at_step: usize,
    /// When something last changed.
    changed_ms: u64,
    /// When an errand was told late, and how late.
    late: Vec<(u64, u64)>,
}

impl Past {
    pub fn new(interval_ms: u64) -> Self {
        Self {
            interval_ms,
            targets: TARGETS.iter().map(|_| Vec::new()).collect(),
            pages: Vec::new(),
            released_at_step: 0,
            changed_ms: 0,
            late: Vec::new(),
        }
    }

    /// Notes what has become of the targets. Nothing of a release before is right for later requests.
    pub fn note(&mut self, trees: &[Tree], is_released: bool, step: usize, now_ms: u64) {
        self.changed_ms = now_ms;
        if is_released {
            self.released_at_step = step;
        }
        for (target, history) in TARGETS.iter().zip(&mut self.targets) {
            add(history, State::of(*target, trees), is_released, step, now_ms, State::is_same_as);
        }
        let is_same = |one: &Option<Rc<Version>>, other: &Option<Rc<Version>>| match (one, other) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        add(&mut self.pages, page(&trees[0]), is_released, step, now_ms, is_same);
    }

    /// An errand that was done `lag_ms` ago is told only now, and what it found is believed as if it were new.
    pub fn note_late(&mut self, now_ms: u64, lag_ms: u64) {
        self.late.push((now_ms, lag_ms));
    }

    /// What the answer may be about, the latest first.
    pub fn states(&self, target: usize, exchange: Exchange) -> impl Iterator<Item = &Span<State>> {
        self.targets[target].iter().rev().filter(move |span| self.counts(span, exchange))
    }

    /// The pages for what is not found that it may have.
    pub fn pages(&self, exchange: Exchange) -> impl Iterator<Item = &Option<Rc<Version>>> {
        self.pages.iter().filter(move |span| self.counts(span, exchange)).map(|span| &span.state)
    }

    /// Whether anything that the answer may be about has changed until it was given.
    pub fn has_changed(&self, exchange: Exchange) -> bool {
        self.changed_ms + self.interval_ms >= exchange.since_ms
    }

    /// Whether an answer may be from then: it still was so at the request, less the time for which an entry is believed,
    /// and it is no release that others had taken the place of by then.
    fn counts<T>(&self, span: &Span<T>, exchange: Exchange) -> bool {
        let since_ms = exchange.since_ms;
        let is_believed = |(told_ms, _): &&(u64, u64)| told_ms + self.interval_ms >= since_ms;
        let lag_ms = self.late.iter().filter(is_believed).map(|(_, lag_ms)| *lag_ms).max().unwrap_or(0);
        let is_recent = span.until_ms + self.interval_ms + lag_ms > since_ms;
        let is_served =
            exchange.since_step < self.released_at_step || span.from_step >= self.released_at_step;
        span.from_step <= exchange.answered_step
            && (span.until_step > exchange.since_step || is_recent)
            && is_served
    }
}

fn add<T>(
    history: &mut Vec<Span<T>>,
    state: T,
    is_released: bool,
    step: usize,
    now_ms: u64,
    is_same: impl Fn(&T, &T) -> bool,
) {
    if let Some(last) = history.last_mut() {
        if !is_released && is_same(&last.state, &state) {
            return;
        }
        (last.until_step, last.until_ms) = (step, now_ms);
    }
    history.push(Span { state, from_step: step, until_step: usize::MAX, until_ms: u64::MAX >> 1 });
}
