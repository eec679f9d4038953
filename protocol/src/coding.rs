//! Content codings (RFC 9110 §8.4.1): which of those that are at hand `Accept-Encoding` makes the best.
//!
//! Owns the codings, their names on the wire and on disk, and the negotiation. Never compresses anything.

use crate::field::{self, Fields, RareName};

/// A content coding, in the order in which we prefer them when the client has no preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
    /// gzip (RFC 1952).
    Gzip,
    /// None at all.
    Identity,
}

impl Coding {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Brotli, Self::Zstd, Self::Gzip, Self::Identity];

    /// What `Content-Encoding` says; of identity it says nothing, and the field is left out (RFC 9110 §8.4.1).
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }

    /// How the name of a file in that coding ends, behind the name of the file that it was made of.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::Identity => "",
        }
    }

    /// What keeps the entity tags of the codings of one file apart; at most four bytes.
    #[must_use]
    pub const fn tag_suffix(self) -> &'static str {
        match self {
            Self::Brotli => "-br",
            Self::Zstd => "-zst",
            Self::Gzip => "-gz",
            Self::Identity => "",
        }
    }

    /// Reads the name of a coding; names are case-insensitive, and `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    #[must_use]
    pub fn from_token(token: &[u8]) -> Option<Self> {
        if token.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| token.eq_ignore_ascii_case(coding.token().as_bytes()))
    }
}

/// A set of codings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodingSet(u8);

impl CodingSet {
    /// None of them, not even identity.
    pub const EMPTY: Self = Self(0);
    /// A file that is there as itself only.
    pub const IDENTITY: Self = Self::EMPTY.with(Coding::Identity);

    /// All that make content smaller.
    pub const COMPRESSING: Self = Self::EMPTY.with(Coding::Brotli).with(Coding::Zstd).with(Coding::Gzip);

    /// Those in the set, the best first.
    pub fn iter(self) -> impl Iterator<Item = Coding> {
        Coding::ALL.into_iter().filter(move |&coding| self.contains(coding))
    }

    /// Whether none is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set and that coding.
    #[must_use]
    pub const fn with(self, coding: Coding) -> Self {
        Self(self.0 | 1 << coding as u8)
    }

    /// Whether that coding is in the set.
    #[must_use]
    pub const fn contains(self, coding: Coding) -> bool {
        self.0 & 1 << coding as u8 != 0
    }
}

/// What negotiation comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The best of those at hand.
    Acceptable(Coding),
    /// The client refuses all that are at hand. Whether it gets 406, or identity all the same, is for the
    /// caller to say: RFC 9110 §12.5.3 leaves it open.
    NotAcceptable,
}

/// What a request says about codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferences {
    is_absent: bool,
    /// In the order of [`Coding::ALL`]; what is not named by itself has none.
    named: [Option<u16>; 4],
    asterisk: Option<u16>,
}

impl Preferences {
    /// Reads `Accept-Encoding`, from all of its lines (RFC 9110 §12.5.3). Malformed members and codings that we
    /// do not know are passed over. Of a member that comes twice the lower weight counts, whatever the order.
    #[must_use]
    pub fn of(fields: &Fields<'_>) -> Self {
        let mut preferences = Self { is_absent: true, named: [None; 4], asterisk: None };
        for value in fields.find_all(RareName::AcceptEncoding) {
            preferences.is_absent = false;
            for (token, weight) in field::tokens(value).filter_map(field::weighted) {
                let place = match Coding::from_token(token) {
                    Some(coding) => preferences.named.get_mut(coding as usize),
                    None => (token == b"*").then_some(&mut preferences.asterisk),
                };
                if let Some(place) = place {
                    *place = Some(place.map_or(weight, |before| before.min(weight)));
                }
            }
        }
        preferences
    }

    /// The weight of a coding in thousandths; none if it is refused. Identity has the weight 0 where it is not
    /// named: acceptable, but nothing that is asked for is worse.
    #[must_use]
    pub fn weight(&self, coding: Coding) -> Option<u16> {
        let named = self.named.get(coding as usize).copied().flatten().or(self.asterisk);
        match (named, coding) {
            _ if self.is_absent => Some(1000),
            (None, Coding::Identity) => Some(0),
            _ => named.filter(|&weight| weight > 0),
        }
    }

    /// The best of the codings at hand: the one of the highest weight, and of several the one that we prefer. A
    /// request without `Accept-Encoding` takes anything, but gets identity where there is one: who does not ask
    /// may not be able to decode.
    #[must_use]
    pub fn choose(&self, available: CodingSet) -> Choice {
        if self.is_absent && available.contains(Coding::Identity) {
            return Choice::Acceptable(Coding::Identity);
        }
        let at_hand = Coding::ALL.into_iter().filter(|&coding| available.contains(coding));
        let weighted = at_hand.filter_map(|coding| Some((coding, self.weight(coding)?)));
        // Of equals the first stays.
        let best = weighted.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map_or(Choice::NotAcceptable, |(coding, _)| Choice::Acceptable(coding))
    }
}

/// Negotiates the coding of one response: [`Preferences::of`] the request, applied to what is at hand.
#[must_use]
pub fn choose(fields: &Fields<'_>, available: CodingSet) -> Choice {
    Preferences::of(fields).choose(available)
}

#[cfg(test)]
mod tests {
    use httparse::Header;

    use super::*;
    use Coding::{Brotli, Gzip, Identity, Zstd};

    const ALL: CodingSet = CodingSet::IDENTITY.with(Brotli).with(Zstd).with(Gzip);
    const GZIP: CodingSet = CodingSet::IDENTITY.with(Gzip);
    const ONLY_BROTLI: CodingSet = CodingSet::EMPTY.with(Brotli);

    fn chosen(values: &[&str], available: CodingSet) -> Option<Coding> {
        let lines: Vec<_> =
            values.iter().map(|value| Header { name: "accept-encoding", value: value.as_bytes() }).collect();
        match choose(&Fields::new(&lines), available) {
            Choice::Acceptable(coding) => Some(coding),
            Choice::NotAcceptable => None,
        }
    }

    #[test]
    fn the_best_of_what_is_at_hand_is_chosen() {
        let table: [(&[&str], CodingSet, Option<Coding>); 51] = [
            (&[], ALL, Some(Identity)),
            (&[], ONLY_BROTLI, Some(Brotli)),
            (&[""], ALL, Some(Identity)),
            (&[" , ,"], ALL, Some(Identity)),
            (&[""], ONLY_BROTLI, None),
            (&["br"], ALL, Some(Brotli)),
            (&["zstd"], ALL, Some(Zstd)),
            (&["gzip"], ALL, Some(Gzip)),
            (&["gzip"], CodingSet::IDENTITY, Some(Identity)),
            (&["gzip"], CodingSet::EMPTY, None),
            (&["x-gzip"], ALL, Some(Gzip)),
            (&["X-GZip"], ALL, Some(Gzip)),
            (&["BR"], ALL, Some(Brotli)),
            (&["gzip, deflate, br, zstd"], ALL, Some(Brotli)),
            (&["gzip, deflate, zstd"], ALL, Some(Zstd)),
            (&["gzip, deflate, br, zstd"], GZIP, Some(Gzip)),
            (&["deflate, compress"], ALL, Some(Identity)),
            (&["gzip", "br;q=0.5"], ALL, Some(Gzip)),
            (&["br;q=0.5", "zstd;q=0.7", "gzip;q=0.6"], ALL, Some(Zstd)),
            (&["gzip;q=0.001"], ALL, Some(Gzip)),
            (&["gzip;q=0.001, identity"], ALL, Some(Identity)),
            (&["gzip, identity"], ALL, Some(Gzip)),
            (&["identity, gzip"], ALL, Some(Gzip)),
            (&["identity;q=0.5, gzip;q=0.4"], ALL, Some(Identity)),
            (&["br;q=0"], ALL, Some(Identity)),
            (&["br;q=0, gzip"], ALL, Some(Gzip)),
            (&["br;q=0.000"], ONLY_BROTLI, None),
            (&["*"], ALL, Some(Brotli)),
            (&["*;q=0"], ALL, None),
            (&["*;q=0, gzip"], ALL, Some(Gzip)),
            (&["*;q=0, gzip"], CodingSet::IDENTITY, None),
            (&["*;q=0, identity;q=0.1"], ALL, Some(Identity)),
            (&["br;q=0, *"], ALL, Some(Zstd)),
            (&["gzip;q=0.5, *;q=0.9"], ALL, Some(Brotli)),
            (&["gzip;q=0.5, *;q=0.9"], GZIP, Some(Identity)),
            (&["*;q=0.1"], GZIP, Some(Gzip)),
            (&["identity;q=0"], CodingSet::IDENTITY, None),
            (&["identity;q=0"], ALL, None),
            (&["identity;q=0, gzip;q=0.2"], ALL, Some(Gzip)),
            (&["gzip;q=1.5"], ALL, Some(Identity)),
            (&["gzip;q=1.001, br;q=0.2"], ALL, Some(Brotli)),
            (&["gzip;q=0.1234"], ALL, Some(Identity)),
            (&["gzip;q=x, zstd"], ALL, Some(Zstd)),
            (&["gzip;level=9"], ALL, Some(Identity)),
            (&["gzip;q=1;level=9"], ALL, Some(Identity)),
            (&["gzip zstd"], ALL, Some(Identity)),
            (&["xgzip, gzipx, brotli"], ALL, Some(Identity)),
            (&["gzip ; q=0.5 ,\tbr\t;\tQ=0.4"], ALL, Some(Gzip)),
            (&["gzip, gzip;q=0"], ALL, Some(Identity)),
            (&["gzip;q=0, x-gzip"], ALL, Some(Identity)),
            (&["identity;q=x"], ALL, Some(Identity)),
        ];
        for (values, available, expected) in table {
            assert_eq!(chosen(values, available), expected, "{values:?} of {available:?}");
        }
    }

    #[test]
    fn every_coding_is_known_by_its_names() {
        for coding in Coding::ALL {
            assert_eq!(Coding::from_token(coding.token().to_ascii_uppercase().as_bytes()), Some(coding));
            assert_eq!(coding.suffix().is_empty(), coding == Identity);
            assert_eq!(coding.tag_suffix().is_empty(), coding == Identity);
            assert!(coding.tag_suffix().len() <= 4);
            assert!(ALL.contains(coding) && !CodingSet::EMPTY.contains(coding));
        }
        assert_eq!(Coding::from_token(b""), None);
    }
}
