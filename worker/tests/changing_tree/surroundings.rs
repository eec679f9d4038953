//! What a life's site and connections are made with: settings, by chance, and helpers.

use std::sync::{Arc, OnceLock};

use oneloop_worker::clock::Clock;
use oneloop_worker::cold::{Helpers, Inbox};
use oneloop_worker::context::Context;
use oneloop_worker::errands::Errands;
use oneloop_worker::site::Site;
use oneloop_worker::site::resolve::Patience;
use oneloop_worker::slab::Slab;
use oneloop_worker::{
    Counters, Deadlines, FirstStep, Memory, Plan, Rates, Releases, Settings, SiteSettings, TagPolicy,
    VirtualHosts,
};
use protocol::coding::CodingSet;
use protocol::{Limits, Status};

use super::expected::Manner;
use super::grounds::Grounds;
use super::tree::PAGE;
use super::wire::Random;

/// No connection is to end for its age.
const NEVER_MS: u64 = 1 << 40;

/// How the files of a life are served, and within which bounds.
pub fn site_settings(grounds: &Grounds, manner: Manner, random: &mut Random) -> SiteSettings {
    let tags =
        if manner.has_tags_of_content { TagPolicy::Content(Arc::default()) } else { TagPolicy::Modification };
    let plan = Plan {
        index: vec!["index.html".to_owned()],
        precompressed: CodingSet::COMPRESSING,
        compress: manner.is_compressing,
        tags,
        ..Plan::default()
    };
    let page = manner.has_page.then(|| (Status::NotFound, format!("w/{PAGE}")));
    SiteSettings {
        root: grounds.root(),
        vhosts: VirtualHosts::default(),
        keep_release_ms: 0,
        plan: plan.into(),
        spa: None,
        error_pages: page.into_iter().collect(),
        hidden: false,
        symlinks: grounds.symlinks(),
        open_files_max: [3, 6, 16][random.below(3)],
        memory_bytes_max: [4 << 10, 40 << 10, 1 << 20][random.below(3)],
        lent_bytes_max: if manner.is_short { 0 } else { 128 << 20 },
        check_interval_ms: manner.interval_ms,
    }
}

/// What the connections of a life share. Without helpers, they wait themselves.
pub fn context(site: SiteSettings, grounds: &Grounds, has_helpers: bool, unix_s: i64) -> Context {
    let settings = Settings {
        limits: Limits::default(),
        deadlines: Deadlines {
            header_ms: NEVER_MS,
            keep_alive_ms: NEVER_MS,
            content_ms: NEVER_MS,
            send_ms: NEVER_MS,
            linger_ms: NEVER_MS,
        },
        rates: Rates::default(),
        memory: Memory::default(),
        connections_max: 1,
        handoff_capacity: 1,
        backlog: 1,
        processor: None,
        spin_us: 0,
        first: FirstStep::default(),
        gate: None,
        site: site.clone(),
    };
    let patience = if has_helpers { Patience::Never } else { Patience::MayWait };
    let site = Site::new(site, &Releases::new(grounds.served(), Vec::new()), patience);
    let clock = Clock::fixed(0, unix_s);
    let mut cx = Context::new(&settings, site, Arc::new(Counters::default()), None, clock);
    cx.errands = has_helpers.then(errands);
    cx
}

/// The errands of one life; the helper is that of all.
fn errands() -> Errands {
    static HELPERS: OnceLock<(Arc<Helpers>, Arc<mio::Waker>, mio::Poll)> = OnceLock::new();
    let (helpers, waker, _) = HELPERS.get_or_init(|| {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        (Helpers::start(1, &FirstStep::default()).unwrap(), waker, poll)
    });
    Errands::new(Arc::clone(helpers), Inbox::new(Arc::clone(waker)))
}

/// Lets time pass in which nobody comes: what was kept for the next is given up, and then the loop sleeps for ever.
pub fn expect_rest(cx: &mut Context, ids: &mut Slab<()>, now_ms: u64) {
    for turn in 1..9 {
        cx.clock.set(now_ms + turn * 70_000, 0);
        cx.tidy(ids);
    }
    assert_eq!(cx.tidy_timeout_ms(ids), None);
}
