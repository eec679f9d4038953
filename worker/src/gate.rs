//! Who may ask at all: decided before anything else, so that who may not learns nothing of what is served.
//!
//! Owns whose address counts (that of the peer, or what a trusted proxy tells of its client), which addresses are
//! let in and how often they may ask, and which passwords were found to be right lately. It verifies none itself: that is a task for a helper.
//! A site that asks for none of this has no gate.

use std::cell::RefCell;
use std::fmt;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use protocol::address::{self, Access, AccessList, Cidr, ForwardedBy};
use protocol::authorization;
use protocol::field::RareName;
use protocol::{Fields, RequestHead, Status, cors};
use sha2::{Digest as _, Sha256};

use crate::cold::network;
use crate::decision::{self, decided};
use crate::handoff::Peer;
use crate::rate::{Rates, TooMany};
use crate::users::{CREDENTIALS_BYTES_MAX, Roll};

/// How long a password that was right is taken for right.
const BELIEVED_MS: u64 = 60_000;
/// Passwords that are known to be right, in sets of those of which the digest begins alike.
const SETS: usize = 128;
const SET_MAX: usize = 4;
/// Passwords of one worker that may wait for a helper.
const VERIFICATIONS_MAX: usize = 64;
/// The same of one client: who guesses must leave room for those who know.
const VERIFICATIONS_OF_ONE_MAX: usize = VERIFICATIONS_MAX / 4;

/// Who may ask.
#[derive(Clone, Debug)]
pub struct GateSettings {
    /// From which addresses.
    pub access: AccessList,
    /// Who is believed to speak for others.
    pub trust: Trust,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub is_proxied: bool,
    /// How often each client may ask, if that is limited.
    pub rates: Option<Arc<Rates>>,
    /// Who has a password; anybody may come in if nobody has.
    pub users: Option<Arc<Roll>>,
    /// The value of `WWW-Authenticate`.
    pub challenge: Arc<str>,
}

/// Proxies that are believed.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Those at these addresses.
    pub networks: Vec<Cidr>,
    /// Those that come through a Unix socket.
    pub unix: bool,
    /// Where they tell of their clients.
    pub by: ForwardedBy,
}

impl Trust {
    fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    fn includes(&self, peer: Peer) -> bool {
        match peer.ip() {
            Some(address) => self.networks.iter().any(|cidr| cidr.contains(address)),
            None => self.unix,
        }
    }
}

/// A keyed digest of the users and a value of `Authorization`. Without the key it tells nothing of the password.
pub type Digest = [u8; 16];

/// A password to be verified, which is for a helper to do.
#[derive(Clone)]
pub struct Verification {
    /// What it will be known by.
    pub digest: Digest,
    authorization: Box<[u8]>,
    roll: Arc<Roll>,
    /// Counted for as long as it is under way, or waits to be.
    _turn: Arc<()>,
}

impl Verification {
    /// Whether it is right. Takes its time.
    #[must_use]
    pub fn run(&self) -> bool {
        self.roll.users().admit(&self.authorization)
    }
}

/// Passwords do not belong into logs.
impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verification")
    }
}

/// What becomes of a request at the gate.
#[derive(Debug)]
pub enum Verdict {
    /// It may be answered.
    Pass,
    /// It is refused.
    Refuse(Status),
    /// It is one too many.
    TooMany(TooMany),
    /// It is refused with this challenge (RFC 9110 §11.6.1).
    Challenge(Arc<str>),
    /// A password is to be verified first.
    Verify(Box<Verification>),
}

/// The gate of a worker. Shared with the worker's thread, which keeps it when the loop panics.
pub type SharedGate = Rc<RefCell<Gate>>;

/// See [`SharedGate`].
#[derive(Debug)]
pub struct Gate {
    settings: GateSettings,
    known: Known,
    /// Passwords that are under way, and whose they are.
    turns: Vec<(Option<IpAddr>, Weak<()>)>,
}

impl Gate {
    /// A gate that knows no password yet.
    #[must_use]
    pub fn new(settings: GateSettings) -> Self {
        Self { settings, known: Known::new(), turns: Vec::new() }
    }

    /// Whether each connection begins with a header of the PROXY protocol.
    #[must_use]
    pub const fn is_proxied(&self) -> bool {
        self.settings.is_proxied
    }

    /// Whether a peer is a proxy that is believed.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        self.settings.trust.includes(peer)
    }

    /// Whether a peer may send such a header: anybody may where nobody in particular is trusted.
    #[must_use]
    pub fn may_introduce(&self, peer: Peer) -> bool {
        self.settings.trust.is_empty() || self.settings.trust.includes(peer)
    }

    /// Whose request it is; nobody with an address behind a Unix socket.
    #[must_use]
    pub fn client(&self, peer: Peer, fields: Option<&Fields<'_>>) -> Option<IpAddr> {
        let Trust { networks, by, .. } = &self.settings.trust;
        let fields = fields.filter(|_| self.settings.trust.includes(peer));
        fields.and_then(|fields| address::forwarded_client(fields, networks, *by)).or(peer.ip())
    }

    /// Decides about a request of that [client](Self::client). `is_verified` is what a helper found out about its
    /// password; one that was judged before, as `is_known` says, counts once.
    ///
    /// Who is never served is told so, and takes no place in the table of those who are. How often the others may ask is
    /// decided before passwords, so that guessing is slowed as well.
    pub fn judge(
        &mut self,
        head: &RequestHead<'_>,
        peer: Peer,
        client: Option<IpAddr>,
        is_known: bool,
        is_verified: Option<bool>,
        now_ms: u64,
    ) -> Verdict {
        // What was verified meanwhile was told before.
        if is_verified.is_none() && decision::is_told() {
            self.tell_client(peer, client);
        }
        if client.is_some_and(|client| self.settings.access.access(client) == Access::Deny) {
            return Verdict::Refuse(Status::Forbidden);
        }
        let counted = self.settings.rates.as_ref().filter(|_| !is_known).zip(client);
        if let Some(Err(too_many)) = counted.map(|(rates, client)| rates.take(client, now_ms)) {
            decided!("rate", "one too many of this client, for the next {} s", too_many.retry_after_s);
            return Verdict::TooMany(too_many);
        }
        if self.settings.users.is_none() {
            return Verdict::Pass;
        }
        // A browser asks for permission before it sends a password.
        if cors::is_preflight(head) {
            decided!("password", "a preflight needs none");
            return Verdict::Pass;
        }
        self.judge_password(&head.fields, client, is_verified, now_ms)
    }

    /// Tells whose request it is, and what its address is worth.
    #[cold]
    fn tell_client(&self, peer: Peer, client: Option<IpAddr>) {
        let Some(client) = client else {
            decided!("client", "local, through a Unix socket");
            return;
        };
        match peer.ip() {
            Some(ip) if ip == client => decided!("client", "{client}"),
            Some(ip) => decided!("client", "{client}, as {ip} says, which is trusted"),
            None => decided!("client", "{client}, as somebody says through a Unix socket, which is trusted"),
        }
        let access = &self.settings.access;
        match (access.entry(client), access.access(client)) {
            (Some((Access::Allow, cidr)), _) => decided!("access", "let in, as {cidr} is"),
            (Some((Access::Deny, cidr)), _) => decided!("access", "refused, as {cidr} is"),
            (None, _) if access.is_empty() => {}
            (None, Access::Allow) => decided!("access", "let in, as it is of no network that is refused"),
            (None, Access::Deny) => decided!("access", "refused, as it is of no network that is let in"),
        }
    }

    fn judge_password(
        &mut self,
        fields: &Fields<'_>,
        client: Option<IpAddr>,
        is_verified: Option<bool>,
        now_ms: u64,
    ) -> Verdict {
        if self.settings.users.as_mut().is_some_and(Roll::catch_up) {
            self.known.clear();
        }
        let challenge = || Verdict::Challenge(Arc::clone(&self.settings.challenge));
        let (Some(authorization), Some(roll)) =
            (fields.find_only(RareName::Authorization), &self.settings.users)
        else {
            decided!("password", "none was sent: asked for");
            return challenge();
        };
        let digest = self.known.digest(authorization, roll.generation());
        match is_verified {
            Some(true) => {
                decided!("password", "right");
                return Verdict::Pass;
            }
            Some(false) => {
                decided!("password", "wrong: asked for again");
                return challenge();
            }
            None if self.known.has(&digest, now_ms) => {
                decided!("password", "right, as it was lately");
                return Verdict::Pass;
            }
            None => {}
        }
        // What names nobody needs no helper to be wrong.
        if authorization::basic(authorization, &mut [0; CREDENTIALS_BYTES_MAX]).is_err() {
            decided!("password", "malformed: asked for again");
            return challenge();
        }
        let roll = Arc::clone(roll);
        let Some(turn) = self.take_turn(client.map(network)) else {
            decided!("password", "too many are being verified");
            return Verdict::Refuse(Status::ServiceUnavailable);
        };
        Verdict::Verify(Box::new(Verification {
            digest,
            authorization: authorization.into(),
            roll,
            _turn: turn,
        }))
    }

    /// None if too many passwords are under way, of this client or of all.
    fn take_turn(&mut self, client: Option<IpAddr>) -> Option<Arc<()>> {
        self.turns.retain(|(_, turn)| turn.strong_count() > 0);
        let own = self.turns.iter().filter(|(other, _)| *other == client).count();
        if self.turns.len() >= VERIFICATIONS_MAX || own >= VERIFICATIONS_OF_ONE_MAX {
            return None;
        }
        let turn = Arc::new(());
        self.turns.push((client, Arc::downgrade(&turn)));
        Some(turn)
    }

    /// Takes in that a password was right.
    pub fn admit(&mut self, verification: &Verification, now_ms: u64) {
        self.known.insert(verification.digest, now_ms);
    }

    /// Who has asked, by name, if the password was right.
    #[must_use]
    pub fn user<'b>(
        &self,
        fields: Option<&Fields<'_>>,
        now_ms: u64,
        buffer: &'b mut [u8; CREDENTIALS_BYTES_MAX],
    ) -> Option<&'b [u8]> {
        let generation = self.settings.users.as_ref()?.generation();
        let authorization = fields?.find_only(RareName::Authorization)?;
        if !self.known.has(&self.known.digest(authorization, generation), now_ms) {
            return None;
        }
        authorization::basic(authorization, buffer).ok().map(|credentials| credentials.user)
    }
}

/// The passwords that were right lately, by digest: a fixed table.
struct Known {
    /// Chosen at random, so that nobody outside knows what is where.
    key: [u8; 32],
    sets: Box<[[(Digest, u64); SET_MAX]]>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

impl Known {
    fn new() -> Self {
        // What the standard library seeds its tables with comes from the kernel, and no more is derived from it than
        // it has.
        let seed = std::collections::hash_map::RandomState::new();
        let mut key = [0; 32];
        for (number, part) in key.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&seed.hash_one(number).to_ne_bytes());
        }
        Self { key, sets: vec![Default::default(); SETS].into() }
    }

    fn clear(&mut self) {
        self.sets.fill(Default::default());
    }

    fn digest(&self, authorization: &[u8], generation: u64) -> Digest {
        let mut hasher = Sha256::new_with_prefix(self.key);
        hasher.update(generation.to_ne_bytes());
        hasher.update(authorization);
        let mut digest = Digest::default();
        digest.copy_from_slice(hasher.finalize().get(..16).unwrap_or(&[0; 16]));
        digest
    }

    fn set(digest: &Digest) -> usize {
        digest.first().map_or(0, |&byte| usize::from(byte) % SETS)
    }

    fn has(&self, digest: &Digest, now_ms: u64) -> bool {
        let set = self.sets.get(Self::set(digest));
        set.is_some_and(|set| set.iter().any(|(known, until_ms)| known == digest && now_ms < *until_ms))
    }

    /// Takes the place of the one that would be forgotten first.
    fn insert(&mut self, digest: Digest, now_ms: u64) {
        let Some(set) = self.sets.get_mut(Self::set(&digest)) else { return };
        let place = set.iter_mut().min_by_key(|(known, until_ms)| (*known != digest, *until_ms));
        if let Some(place) = place {
            *place = (digest, now_ms.saturating_add(BELIEVED_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use protocol::Limits;
    use protocol::http1::head::{FieldLines, decode};

    use super::*;
    use crate::rate::Rate;
    use crate::users::Users;

    const BCRYPT: &str = "alice:$2y$04$ttb.i4A/0YBUKjHuGzwQ7.U.Tsc5hIlUDtGvgPD/zpWmFw.YleadS";

    fn users() -> Users {
        Users::new(vec![BCRYPT.parse().unwrap()]).unwrap()
    }

    fn gate(users: Option<Arc<Roll>>, entries: &[(Access, &str)], trust: &[&str], unix: bool) -> Gate {
        let entries = entries.iter().map(|(access, cidr)| (*access, cidr.parse().unwrap())).collect();
        Gate::new(GateSettings {
            access: AccessList::new(entries),
            trust: Trust {
                networks: trust.iter().map(|cidr| cidr.parse().unwrap()).collect(),
                unix,
                by: ForwardedBy::XForwardedFor,
            },
            is_proxied: false,
            rates: None,
            users,
            challenge: "Basic".into(),
        })
    }

    fn judge(gate: &mut Gate, peer: Peer, request: &str, is_verified: Option<bool>, now_ms: u64) -> Verdict {
        let input = format!("{request}\r\n");
        let mut lines = FieldLines::new();
        let (head, _) = decode(input.as_bytes(), &mut lines, &Limits::default()).unwrap().unwrap();
        let client = gate.client(peer, Some(&head.fields));
        gate.judge(&head, peer, client, is_verified.is_some(), is_verified, now_ms)
    }

    fn peer(address: &str) -> Peer {
        match address {
            "unix" => Peer::Unix,
            address => Peer::from(SocketAddr::new(address.parse().unwrap(), 1)),
        }
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

    #[test]
    fn the_address_that_counts_is_the_peers_unless_a_trusted_one_names_another() {
        let entries = [(Access::Deny, "192.0.2.7"), (Access::Allow, "192.0.2.0/24")];
        let mut gate = gate(None, &entries, &["192.0.2.1"], true);
        let table = [
            ("192.0.2.1", "", true),
            ("192.0.2.7", "", false),
            ("198.51.100.1", "", false),
            ("unix", "", true),
            ("192.0.2.2", "X-Forwarded-For: 192.0.2.7\r\n", true),
            ("192.0.2.1", "X-Forwarded-For: 192.0.2.7\r\n", false),
            ("192.0.2.1", "X-Forwarded-For: 192.0.2.7, 192.0.2.8\r\n", true),
            ("unix", "X-Forwarded-For: 192.0.2.7\r\n", false),
            ("unix", "X-Forwarded-For: 192.0.2.7, 192.0.2.1\r\n", false),
            ("unix", "X-Forwarded-For: 198.51.100.1, 192.0.2.8\r\n", true),
            ("unix", "Forwarded: for=192.0.2.7\r\n", true),
        ];
        for (address, fields, may) in table {
            let verdict = judge(&mut gate, peer(address), &format!("{GET}{fields}"), None, 0);
            assert_eq!(matches!(verdict, Verdict::Pass), may, "{address} {fields} {verdict:?}");
            assert_eq!(matches!(verdict, Verdict::Refuse(Status::Forbidden)), !may, "{address} {fields}");
        }
    }

    #[test]
    fn a_password_is_verified_once_and_believed_for_a_while() {
        let roll = Roll::new(users());
        let mut gate = gate(Some(Arc::clone(&roll)), &[], &[], false);
        // a:b
        let request = format!("{GET}Authorization: Basic YTpi\r\n");
        let Verdict::Verify(verification) = judge(&mut gate, Peer::Unix, &request, None, 0) else {
            panic!("it is not known yet")
        };
        assert!(!format!("{verification:?}").contains("YTpi"));
        assert!(matches!(judge(&mut gate, Peer::Unix, &request, Some(false), 0), Verdict::Challenge(_)));
        assert!(matches!(judge(&mut gate, Peer::Unix, &request, Some(true), 0), Verdict::Pass));
        gate.admit(&verification, 5);
        for (now_ms, is_believed) in [(5, true), (5 + BELIEVED_MS - 1, true), (5 + BELIEVED_MS, false)] {
            let verdict = judge(&mut gate, Peer::Unix, &request, None, now_ms);
            assert_eq!(matches!(verdict, Verdict::Pass), is_believed, "{now_ms} {verdict:?}");
        }
        let other = format!("{GET}Authorization: Basic YTpj\r\n");
        assert!(matches!(judge(&mut gate, Peer::Unix, &other, None, 5), Verdict::Verify(_)));
        let _latest = roll.succeed(users());
        assert!(matches!(judge(&mut gate, Peer::Unix, &request, None, 5), Verdict::Verify(_)));
    }

    #[test]
    fn a_request_counts_once_before_its_password_and_not_if_it_is_never_served() {
        let mut gate = gate(Some(Roll::new(users())), &[(Access::Deny, "192.0.2.7")], &["192.0.2.1"], false);
        gate.settings.rates = Some(Arc::new(Rates::new(Rate { requests: 1, period_s: 1, burst: 2 })));
        let request = format!("{GET}Authorization: Basic YTpi\r\n");
        let mut ask = |address, request: &str, is_verified, now_ms| match judge(
            &mut gate,
            peer(address),
            request,
            is_verified,
            now_ms,
        ) {
            Verdict::Refuse(status) => status.code(),
            Verdict::TooMany(too_many) => u16::try_from(too_many.retry_after_s).unwrap(),
            Verdict::Challenge(_) => 401,
            Verdict::Verify(_) => 0,
            Verdict::Pass => 200,
        };
        let forwarded = |address| format!("{request}X-Forwarded-For: {address}\r\n");
        let table = [
            ("192.0.2.2", request.clone(), None, 0, 0),
            // The same once more, when a helper has looked at the password.
            ("192.0.2.2", request.clone(), Some(false), 0, 401),
            ("192.0.2.2", GET.to_owned(), None, 0, 401),
            ("192.0.2.2", request.clone(), None, 0, 1),
            ("192.0.2.2", request.clone(), Some(true), 0, 200),
            ("192.0.2.2", request.clone(), None, 1_000, 0),
            ("192.0.2.7", request.clone(), None, 0, 403),
            ("192.0.2.7", request.clone(), None, 0, 403),
            ("192.0.2.7", request.clone(), None, 0, 403),
            ("192.0.2.1", forwarded("192.0.2.8"), None, 0, 0),
            ("192.0.2.1", forwarded("192.0.2.8"), None, 0, 0),
            ("192.0.2.1", forwarded("192.0.2.8"), None, 0, 1),
            ("192.0.2.1", forwarded("192.0.2.9"), None, 0, 0),
            // From anybody else it means nothing.
            ("192.0.2.3", forwarded("192.0.2.8"), None, 0, 0),
            ("unix", request.clone(), None, 0, 0),
            ("unix", request.clone(), None, 0, 0),
            ("unix", request.clone(), None, 0, 0),
        ];
        for (at, (address, request, is_verified, now_ms, expected)) in table.into_iter().enumerate() {
            assert_eq!(ask(address, &request, is_verified, 5_000 + now_ms), expected, "{at} {address}");
        }
    }

    #[test]
    fn who_names_nobody_is_challenged_and_a_preflight_is_not() {
        let mut gate = gate(Some(Roll::new(users())), &[], &[], false);
        let preflight =
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nAccess-Control-Request-Method: GET\r\n";
        let long = format!("{GET}Authorization: Basic {}\r\n", "YTpi".repeat(200));
        let table = [
            (GET, false),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n", false),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n", false),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n",
                false,
            ),
            (&long, false),
            (preflight, true),
        ];
        for (request, may) in table {
            let verdict = judge(&mut gate, Peer::Unix, request, None, 0);
            assert_eq!(matches!(verdict, Verdict::Pass), may, "{request}");
            assert_eq!(matches!(verdict, Verdict::Challenge(_)), !may, "{request}");
        }
    }

    #[test]
    fn only_so_many_passwords_are_verified_at_a_time() {
        let mut gate = gate(Some(Roll::new(users())), &[], &[], false);
        let request = format!("{GET}Authorization: Basic YTpi\r\n");
        let mut under_way = Vec::new();
        let mut guess = |gate: &mut Gate, address: &str| {
            let before = under_way.len();
            while let Verdict::Verify(verification) = judge(gate, peer(address), &request, None, 0) {
                under_way.push(verification);
            }
            let verdict = judge(gate, peer(address), &request, None, 0);
            assert!(matches!(verdict, Verdict::Refuse(Status::ServiceUnavailable)), "{verdict:?}");
            under_way.len() - before
        };
        // A network of IPv6 is one client.
        for (address, count) in [("192.0.2.1", 16), ("2001:db8::1", 16), ("2001:db8::2", 0), ("unix", 16)] {
            assert_eq!(guess(&mut gate, address), count, "{address}");
        }
        assert_eq!((guess(&mut gate, "192.0.2.2"), guess(&mut gate, "192.0.2.3")), (16, 0));
        under_way.truncate(VERIFICATIONS_MAX - 1);
        assert!(matches!(judge(&mut gate, peer("192.0.2.3"), &request, None, 0), Verdict::Verify(_)));
    }

    #[test]
    fn what_is_known_is_bounded_and_the_oldest_of_a_set_is_forgotten_first() {
        let mut known = Known::new();
        let digest = |number: u8| {
            let mut digest = Digest::default();
            digest[15] = number;
            digest
        };
        for number in 0..=4 {
            known.insert(digest(number), number.into());
        }
        assert!(!known.has(&digest(0), 5));
        assert!((1..=4).all(|number| known.has(&digest(number), 5)));
        known.insert(digest(1), 6);
        known.insert(digest(9), 7);
        assert!(known.has(&digest(1), 7) && known.has(&digest(9), 7) && !known.has(&digest(2), 7));
        known.clear();
        assert!(!known.has(&digest(1), 7));
    }
}
