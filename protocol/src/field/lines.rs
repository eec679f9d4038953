//! The lines of a field section as they were decoded, or where they are in a head that is the same as one that was; and
//! which of the names that we know are among them.

use httparse::Header;

use super::{Name, is_same_token, trim};

/// Field lines, or where they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lines<'b> {
    /// As they were decoded.
    Decoded(&'b [Header<'b>]),
    /// In a head that is the same, to the byte, as one that was decoded.
    Recalled { head: &'b [u8], places: &'b [Place] },
}

/// Where a field line is in its head: its name and its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    name: Span,
    value: Span,
}

/// Start and end of a part of a head.
pub(crate) type Span = (u16, u16);

/// Which of the known names there are, and where.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Index {
    present: u32,
    /// The names of several lines.
    repeated: u32,
    /// Where the first line of each name is that is present.
    first: [u8; Name::COUNT],
}

impl Index {
    /// Notes that a line has that name.
    pub(super) fn note(&mut self, name: Name, at: usize) {
        if self.present & name.bit() != 0 {
            self.repeated |= name.bit();
        } else if let (Some(first), Ok(at)) = (self.first.get_mut(name as usize), u8::try_from(at)) {
            self.present |= name.bit();
            *first = at;
        }
    }

    /// Whether there is a line of any of the names that have these bits.
    pub(super) const fn has_any(&self, bits: u32) -> bool {
        self.present & bits != 0
    }

    /// Whether there are several lines of that name.
    pub(super) const fn is_repeated(&self, name: Name) -> bool {
        self.repeated & name.bit() != 0
    }

    /// Where the first line of that name is, if there is one.
    pub(super) fn first(&self, name: Name) -> Option<usize> {
        if !self.has_any(name.bit()) {
            return None;
        }
        self.first.get(name as usize).copied().map(usize::from)
    }
}

impl<'b> Lines<'b> {
    /// How many there are.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Decoded(lines) => lines.len(),
            Self::Recalled { places, .. } => places.len(),
        }
    }

    /// Notes in `places` where they are in `head`; whether they are.
    pub(super) fn put_places(self, head: &[u8], places: &mut Vec<Place>) -> bool {
        let place = |(name, value)| Some(Place { name: span_in(name, head)?, value: span_in(value, head)? });
        places.clear();
        places.extend((0..self.len()).map_while(|at| place(self.get(at)?)));
        places.len() == self.len()
    }

    /// Name and value of a line.
    #[inline]
    pub(super) fn get(self, at: usize) -> Option<(&'b [u8], &'b [u8])> {
        match self {
            Self::Decoded(lines) => lines.get(at).map(|line| (line.name.as_bytes(), line.value)),
            Self::Recalled { head, places } => {
                let place = places.get(at)?;
                let part = |(start, end)| head.get(usize::from(start)..usize::from(end));
                Some((part(place.name)?, part(place.value)?))
            }
        }
    }

    /// The values of all lines of a name, given in lower case.
    pub(super) fn named(self, lower: &'static str) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        (0..)
            .map_while(move |at| self.get(at))
            .filter(move |(name, _)| is_same_token(name, lower.as_bytes()))
            .map(|(_, value)| trim(value))
    }
}

/// Where `part` is in `whole`, if it is in there, and that begins and ends within 64 KiB.
pub(crate) fn span_in(part: &[u8], whole: &[u8]) -> Option<Span> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len()).filter(|&end| end <= whole.len())?;
    Some((u16::try_from(start).ok()?, u16::try_from(end).ok()?))
}
