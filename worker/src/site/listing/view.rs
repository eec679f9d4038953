//! Which part of a listing is asked for, by the query of a request, and the query that asks for it.

use super::order::{Column, Direction, Order};

/// An order and a page in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// How the entries are ordered.
    pub order: Order,
    /// Which page of HTML, from 1. There is none beyond the last.
    pub page: usize,
}

impl View {
    /// Reads `sort=name|size|time`, `order=asc|desc` and `page=N`. Whatever is missing or unknown is as in
    /// `default`, on the first page; a column that is named without a direction is ascending.
    #[must_use]
    pub fn from_query(query: Option<&[u8]>, default: Order) -> Self {
        let query = query.unwrap_or_default();
        let column = value(query, b"sort=").and_then(column);
        let direction = value(query, b"order=").and_then(direction);
        let otherwise = column.map_or(default.direction, |_| Direction::Ascending);
        let page = value(query, b"page=").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Self {
            order: Order {
                column: column.unwrap_or(default.column),
                direction: direction.unwrap_or(otherwise),
            },
            page: page.filter(|&page| page > 0).unwrap_or(1),
        }
    }

    /// The query that asks for this view, question mark included; empty for what is shown to who asks for none.
    /// In HTML.
    pub(super) fn query(self, default: Order) -> String {
        let mut query = order_query(self.order, default);
        if self.page > 1 {
            query.push_str(if query.is_empty() { "?" } else { "&amp;" });
            query.push_str("page=");
            query.push_str(&self.page.to_string());
        }
        query
    }
}

fn order_query(order: Order, default: Order) -> String {
    if order == default {
        return String::new();
    }
    let column = match order.column {
        Column::Name => "name",
        Column::Size => "size",
        Column::Time => "time",
    };
    let direction = match order.direction {
        Direction::Ascending => "asc",
        Direction::Descending => "desc",
    };
    format!("?sort={column}&amp;order={direction}")
}

/// What follows this key where it stands first.
fn value<'q>(query: &'q [u8], key: &[u8]) -> Option<&'q [u8]> {
    query.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(key))
}

fn column(value: &[u8]) -> Option<Column> {
    match value {
        b"name" => Some(Column::Name),
        b"size" => Some(Column::Size),
        b"time" => Some(Column::Time),
        _ => None,
    }
}

fn direction(value: &[u8]) -> Option<Direction> {
    match value {
        b"asc" => Some(Direction::Ascending),
        b"desc" => Some(Direction::Descending),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: Order = Order { column: Column::Time, direction: Direction::Descending };

    fn view(column: Column, direction: Direction, page: usize) -> View {
        View { order: Order { column, direction }, page }
    }

    #[test]
    fn a_query_names_a_view_and_what_it_does_not_name_is_the_default() {
        use Column::{Name, Size, Time};
        use Direction::{Ascending, Descending};
        let table: [(&[u8], View); 19] = [
            (b"", view(Time, Descending, 1)),
            (b"sort=name", view(Name, Ascending, 1)),
            (b"sort=size&order=desc", view(Size, Descending, 1)),
            (b"order=desc&sort=size&page=7", view(Size, Descending, 7)),
            (b"sort=time", view(Time, Ascending, 1)),
            (b"order=asc", view(Time, Ascending, 1)),
            (b"page=2", view(Time, Descending, 2)),
            (b"page=0", view(Time, Descending, 1)),
            (b"page=-1", view(Time, Descending, 1)),
            (b"page=", view(Time, Descending, 1)),
            (b"page=18446744073709551615", view(Time, Descending, usize::MAX)),
            (b"page=18446744073709551616", view(Time, Descending, 1)),
            (b"page=\xff", view(Time, Descending, 1)),
            (b"sort=Name", view(Time, Descending, 1)),
            (b"sort=name%20", view(Time, Descending, 1)),
            (b"sort=kind&order=up", view(Time, Descending, 1)),
            (b"sort=size&sort=name", view(Size, Ascending, 1)),
            (b"x=1&&sort=size&y", view(Size, Ascending, 1)),
            (b"C=N;O=D", view(Time, Descending, 1)),
        ];
        for (query, expected) in table {
            assert_eq!(View::from_query(Some(query), NEWEST), expected, "{}", query.escape_ascii());
        }
        assert_eq!(View::from_query(None, NEWEST), view(Time, Descending, 1));
    }

    #[test]
    fn a_view_is_found_again_by_its_query() {
        let orders = [Column::Name, Column::Size, Column::Time]
            .into_iter()
            .flat_map(|column| [(column, Direction::Ascending), (column, Direction::Descending)]);
        for (column, direction) in orders {
            for page in [1, 2, 100] {
                let view = view(column, direction, page);
                let query = view.query(NEWEST).replace("&amp;", "&");
                assert_eq!(query.is_empty(), view.order == NEWEST && page == 1);
                assert_eq!(View::from_query(query.strip_prefix('?').map(str::as_bytes), NEWEST), view);
            }
        }
    }
}
