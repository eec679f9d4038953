//! In which order entries are listed: directories first, and names as people would put them.

use std::cmp::Ordering;

use super::entries::Entry;

/// What entries are put in order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// By name: letters in either case alike, numbers by their value.
    Name,
    /// By size; directories, which have none, by name.
    Size,
    /// By the time of the last modification.
    Time,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The least, the oldest.
    Ascending,
    /// The greatest, the newest.
    Descending,
}

/// An order of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// What it goes by.
    pub column: Column,
    /// Which way.
    pub direction: Direction,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

impl Order {
    /// Which of two entries of one directory comes first. No two are equal.
    pub(super) fn compare(self, one: &Entry, other: &Entry) -> Ordering {
        other.is_directory.cmp(&one.is_directory).then_with(|| self.compare_alike(one, other))
    }

    /// Both are directories, or both are files.
    fn compare_alike(self, one: &Entry, other: &Entry) -> Ordering {
        let by_column = match self.column {
            Column::Name => compare_names(&one.name, &other.name),
            Column::Size => one.size.cmp(&other.size),
            Column::Time => one.modified_s.cmp(&other.modified_s),
        };
        let by_column = match self.direction {
            Direction::Ascending => by_column,
            Direction::Descending => by_column.reverse(),
        };
        by_column.then_with(|| compare_names(&one.name, &other.name))
    }
}

/// Natural order; names that it does not tell apart, as `a1` and `A01`, by their bytes.
fn compare_names(one: &[u8], other: &[u8]) -> Ordering {
    compare_naturally(one, other).then_with(|| one.cmp(other))
}

fn compare_naturally(mut one: &[u8], mut other: &[u8]) -> Ordering {
    loop {
        let (ordering, one_rest, other_rest) = match (one, other) {
            ([], _) | (_, []) => return one.len().cmp(&other.len()),
            ([first, ..], [second, ..]) if first.is_ascii_digit() && second.is_ascii_digit() => {
                let ((one, one_rest), (other, other_rest)) = (split_number(one), split_number(other));
                (one.len().cmp(&other.len()).then_with(|| one.cmp(other)), one_rest, other_rest)
            }
            ([first, one_rest @ ..], [second, other_rest @ ..]) => {
                (first.to_ascii_lowercase().cmp(&second.to_ascii_lowercase()), one_rest, other_rest)
            }
        };
        if ordering.is_ne() {
            return ordering;
        }
        (one, other) = (one_rest, other_rest);
    }
}

/// The digits that a text starts with, without leading zeros, and what follows them.
fn split_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end).unwrap_or_default();
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    (digits.get(zeros..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(text: &str, size: u64, modified_s: i64) -> Entry {
        let name = text.trim_end_matches('/');
        Entry { name: name.as_bytes().into(), is_directory: name != text, size, modified_s }
    }

    fn sorted(mut entries: Vec<Entry>, column: Column, direction: Direction) -> String {
        entries.sort_unstable_by(|one, other| Order { column, direction }.compare(one, other));
        let names: Vec<_> = entries.iter().map(|entry| entry.name.escape_ascii().to_string()).collect();
        names.join(" ")
    }

    #[test]
    fn names_are_put_in_order_as_people_would() {
        let table = [
            "a a1 a2 a10 b",
            "A a B b",
            "1 2 10 a",
            "1.9.0 1.10.0 1.10.0-rc1 1.10.1",
            "a-1 a1 a_1",
            "file file.txt file1.txt",
            "x1y2 x1y10 x01y11 x2",
            "0 00 001 01 1 99999999999999999999998 99999999999999999999999",
            "z Ä Ö",
        ];
        for expected in table {
            let names: Vec<_> = expected.split(' ').rev().map(|name| entry(name, 0, 0)).collect();
            let expected: Vec<_> =
                expected.split(' ').map(|name| name.as_bytes().escape_ascii().to_string()).collect();
            let expected = expected.join(" ");
            assert_eq!(sorted(names, Column::Name, Direction::Ascending), expected);
        }
    }

    #[test]
    fn directories_come_first_whichever_way() {
        let entries = || {
            vec![
                entry("a", 3, 30),
                entry("b", 1, 20),
                entry("c", 1, 40),
                entry("d/", 0, 50),
                entry("e/", 0, 10),
            ]
        };
        let table = [
            (Column::Name, Direction::Ascending, "d e a b c"),
            (Column::Name, Direction::Descending, "e d c b a"),
            (Column::Size, Direction::Ascending, "d e b c a"),
            (Column::Size, Direction::Descending, "d e a b c"),
            (Column::Time, Direction::Ascending, "e d b a c"),
            (Column::Time, Direction::Descending, "d e c a b"),
        ];
        for (column, direction, expected) in table {
            assert_eq!(sorted(entries(), column, direction), expected, "{column:?} {direction:?}");
        }
    }

    proptest! {
        /// Sorting may panic on anything less.
        #[test]
        fn the_order_of_names_is_total(names in prop::collection::vec("[aB01.é]{0,5}", 3)) {
            let [a, b, c] = [0, 1, 2].map(|index| names[index].as_bytes());
            prop_assert_eq!(compare_names(a, b), compare_names(b, a).reverse());
            prop_assert_eq!(compare_names(a, b).is_eq(), a == b);
            if compare_names(a, b).is_le() && compare_names(b, c).is_le() {
                prop_assert!(compare_names(a, c).is_le());
            }
        }
    }
}
