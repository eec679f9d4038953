//! Several parts of a file in one response: which of them comes next, and what separates it from the one before.
//!
//! How that is written is for [`protocol::multipart`] to say. The bytes of the parts never pass through here.

use std::hash::{BuildHasher, RandomState};

use bytes::BytesMut;
use protocol::multipart::{Boundary, Multipart};
use protocol::range::{ByteRange, Parts};

use crate::site::representation::Representation;

/// Makes boundaries of the versions of files.
#[derive(Debug, Default)]
pub struct Boundaries(RandomState);

impl Boundaries {
    /// What separates parts of that version of a file. It depends on a secret of this process, so whoever makes a
    /// file cannot know it; and whoever has seen it and writes it into the file has made another version.
    #[must_use]
    pub fn of(&self, representation: &Representation) -> Boundary {
        let [high, low] = [0, 1].map(|half: u8| u128::from(self.0.hash_one((half, representation.stamp()))));
        Boundary::new(high << 64 | low)
    }
}

/// The content of a response in several parts, from the first boundary to the last, as far as it is yet to come.
#[derive(Debug)]
pub struct Series {
    parts: Parts,
    boundary: Boundary,
    /// How many of the parts have begun.
    begun: usize,
    left_bytes: u64,
}

impl Series {
    /// All of it.
    #[must_use]
    pub fn new(representation: &Representation, parts: Parts, boundary: Boundary) -> Self {
        let left_bytes = framing(representation, &parts, boundary).content_length();
        Self { parts, boundary, begun: 0, left_bytes }
    }

    /// Bytes of content behind the part that has begun: before any has, its `Content-Length`.
    #[must_use]
    pub const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// Begins the next part, the bytes of which have to follow what this appends to `out`. Behind the last it appends
    /// the end, once; then nothing is left.
    #[cold]
    pub fn begin_next(&mut self, representation: &Representation, out: &mut BytesMut) -> Option<ByteRange> {
        let framing = framing(representation, &self.parts, self.boundary);
        let length_before = out.len();
        let next = self.parts.as_slice().get(self.begun).copied();
        match next {
            Some(part) => framing.put_part_head(part, out),
            None => framing.put_end(out),
        }
        let framing_bytes = (out.len() - length_before) as u64;
        self.begun += 1;
        self.left_bytes = self.left_bytes.saturating_sub(framing_bytes + next.map_or(0, ByteRange::len));
        next
    }
}

fn framing<'p>(representation: &'p Representation, parts: &'p Parts, boundary: Boundary) -> Multipart<'p> {
    Multipart::new(boundary, &representation.heads().media_type, representation.length(), parts)
}
