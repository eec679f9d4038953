//! A listing for people: one page of HTML that needs no script, asks for nothing else, and reads well by eye and
//! by ear, on a phone, in the dark and on paper.
//!
//! Every link is relative, so that a proxy may put the site below a path of its own. The roles repeat what the
//! elements are, because some browsers forget it when the style lays a table out in lines, as on a phone.

use std::fmt::Write;

use super::entries::{Directory, Entry};
use super::kind::{Kind, PICTURES};
use super::order::{Column, Direction, Order};
use super::style::STYLESHEET;
use super::view::View;
use super::{PAGE_ENTRIES, text};

/// Room for an entry with a name of usual length.
const ENTRY_BYTES: usize = 512;
/// Room for all but the entries.
const FRAME_BYTES: usize = 16 << 10;

/// A page of a directory, for who asked for `path`, decoded. The entries are in the order of `view` already; `default`
/// is the order that needs no query.
pub(super) fn page(directory: &Directory, path: &[u8], view: View, default: Order) -> Vec<u8> {
    let pages = directory.entries.len().div_ceil(PAGE_ENTRIES).max(1);
    let view = View { page: view.page.clamp(1, pages), ..view };
    let shown = directory.entries.chunks(PAGE_ENTRIES).nth(view.page - 1).unwrap_or_default();
    let html = String::with_capacity(FRAME_BYTES + shown.len() * ENTRY_BYTES);
    let mut page = Page { html, directory, shown, path, view, pages, default };
    page.head();
    page.breadcrumbs();
    page.main();
    page.put(&["</body>\n</html>\n"]);
    page.html.into_bytes()
}

/// A page that is being written.
struct Page<'d> {
    html: String,
    directory: &'d Directory,
    /// The entries on it.
    shown: &'d [Entry],
    path: &'d [u8],
    view: View,
    pages: usize,
    default: Order,
}

impl Page<'_> {
    fn put(&mut self, parts: &[&str]) {
        self.html.extend(parts.iter().copied());
    }

    fn segments(&self) -> impl Iterator<Item = &[u8]> + use<'_> {
        self.path.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty())
    }

    fn head(&mut self) {
        self.put(&[
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
            "<meta name=\"color-scheme\" content=\"light dark\">\n<title>Index of /",
        ]);
        text::escape_name(self.path, &mut self.html);
        self.put(&[if self.path.is_empty() { "" } else { "/" }]);
        if self.pages > 1 {
            self.put(&[", page ", &number(self.view.page), " of ", &number(self.pages)]);
        }
        self.put(&["</title>\n<style>", STYLESHEET, "</style>\n</head>\n<body>\n", PICTURES]);
    }

    /// The directories above this one. There is none above the root.
    fn breadcrumbs(&mut self) {
        let depth = self.segments().count();
        if depth == 0 {
            return;
        }
        let query = self.order_query();
        let mut html = String::from("<header>\n<nav aria-label=\"Breadcrumb\">\n<ol>\n");
        html.extend(["<li><a href=\"", &"../".repeat(depth), &query, "\">Home</a></li>\n"]);
        for (up, name) in (1..depth).rev().zip(self.segments()) {
            html.extend(["<li><a href=\"", &"../".repeat(up), &query, "\">"]);
            bdi(name, "", &mut html);
            html.push_str("</a></li>\n");
        }
        self.put(&[&html, "</ol>\n</nav>\n</header>\n"]);
    }

    fn main(&mut self) {
        let mut heading = String::new();
        match self.segments().last() {
            Some(name) => bdi(name, "", &mut heading),
            None => heading.push_str("Index of /"),
        }
        self.put(&["<main>\n<h1>", &heading, "</h1>\n"]);
        if !self.directory.is_complete {
            let shown = text::grouped(as_u64(self.directory.entries.len()));
            self.put(&[
                "<p class=\"notice\">This directory has more entries than are listed. These are the first ",
            ]);
            self.put(&[&shown, " by name.</p>\n"]);
        }
        self.pager("Pages, above");
        if self.shown.is_empty() {
            self.put(&["<p>This directory is empty.</p>\n"]);
            self.parent("<p>", "</p>\n");
        } else {
            self.table();
        }
        self.pager("Pages, below");
        self.put(&["</main>\n"]);
    }

    fn parent(&mut self, before: &str, after: &str) {
        if !self.path.is_empty() {
            let query = self.order_query();
            self.put(&[
                before,
                "<a href=\"../",
                &query,
                "\"><svg aria-hidden=\"true\"><use href=\"#u\"/></svg>",
            ]);
            self.put(&["Parent directory</a>", after]);
        }
    }

    fn table(&mut self) {
        self.put(&["<table role=\"table\">\n<caption>"]);
        self.summary();
        self.put(&["</caption>\n<thead role=\"rowgroup\">\n<tr role=\"row\">\n"]);
        self.column(Column::Name, "Name", "name");
        self.column(Column::Size, "Size", "size");
        self.column(Column::Time, "Modified (UTC)", "time");
        self.put(&["</tr>\n</thead>\n<tbody role=\"rowgroup\">\n"]);
        self.parent("<tr role=\"row\"><th role=\"rowheader\" scope=\"row\" colspan=\"3\">", "</th></tr>\n");
        let query = self.order_query();
        for entry in self.shown {
            row(entry, &query, &mut self.html);
        }
        self.put(&["</tbody>\n</table>\n"]);
    }

    /// How much there is in the directory, on all pages.
    fn summary(&mut self) {
        let files = self.directory.entries.iter().filter(|entry| !entry.is_directory);
        let (files, bytes) =
            files.fold((0_u64, 0_u64), |(files, bytes), file| (files + 1, bytes.saturating_add(file.size)));
        let directories = as_u64(self.directory.entries.len()) - files;
        let mut parts = Vec::new();
        if directories > 0 {
            parts.push(counted(directories, "directory", "directories"));
        }
        if files > 0 {
            parts.push(counted(files, "file", "files"));
            parts.push(size(bytes));
        }
        let parts = parts.join(", ");
        self.put(&[&parts]);
    }

    /// The heading of a column, which leads to the order by it, or, if that is the order already, to its reverse.
    fn column(&mut self, column: Column, heading: &str, what: &str) {
        let current = (self.view.order.column == column).then_some(self.view.order.direction);
        let direction = match (current, column) {
            (Some(direction), _) => direction.reversed(),
            (None, Column::Name) => Direction::Ascending,
            // The largest and the newest are what people look for.
            (None, Column::Size | Column::Time) => Direction::Descending,
        };
        let query = View { order: Order { column, direction }, page: 1 }.query(self.default);
        let sort = match current {
            Some(Direction::Ascending) => " aria-sort=\"ascending\"",
            Some(Direction::Descending) => " aria-sort=\"descending\"",
            None => "",
        };
        let way = match direction {
            Direction::Ascending => "ascending",
            Direction::Descending => "descending",
        };
        self.put(&[
            "<th role=\"columnheader\" scope=\"col\"",
            sort,
            "><a rel=\"nofollow\" href=\"",
            here(&query),
        ]);
        self.put(&["\" title=\"Sort by ", what, ", ", way, "\">", heading, "</a></th>\n"]);
    }

    /// Links to other pages, if there are any.
    fn pager(&mut self, label: &str) {
        let (current, last) = (self.view.page, self.pages);
        if last == 1 {
            return;
        }
        self.put(&["<nav class=\"pager\" aria-label=\"", label, "\">\n"]);
        if current > 1 {
            self.page_link(1, "first", "First");
            self.page_link(current - 1, "prev", "Previous");
        }
        self.put(&["<span>Page ", &number(current), " of ", &number(last), "</span>\n"]);
        if current < last {
            self.page_link(current + 1, "next", "Next");
            self.page_link(last, "last", "Last");
        }
        self.put(&["</nav>\n"]);
    }

    fn page_link(&mut self, page: usize, relation: &str, label: &str) {
        let query = View { page, ..self.view }.query(self.default);
        self.put(&["<a rel=\"", relation, "\" href=\"", here(&query), "\">", label, "</a>\n"]);
    }

    /// The query that asks for the same order in another directory.
    fn order_query(&self) -> String {
        View { page: 1, ..self.view }.query(self.default)
    }
}

fn row(entry: &Entry, query: &str, html: &mut String) {
    let kind = if entry.is_directory { Kind::Directory } else { Kind::of_file(&entry.name) };
    html.push_str("<tr role=\"row\"><th role=\"rowheader\" scope=\"row\"><a href=\"");
    text::escape(&text::reference(&entry.name, entry.is_directory), html);
    html.push_str(if entry.is_directory { query } else { "" });
    html.extend([
        "\"><svg role=\"img\" aria-label=\"",
        kind.word(),
        "\"><use href=\"#",
        kind.picture(),
        "\"/></svg>",
    ]);
    bdi(&entry.name, if entry.is_directory { "/" } else { "" }, html);
    html.push_str("</a></th><td role=\"cell\">");
    if !entry.is_directory {
        html.push_str(&size(entry.size));
    }
    html.push_str("</td><td role=\"cell\">");
    time(entry.modified_s, html);
    html.push_str("</td></tr>\n");
}

/// A name, whose direction of writing is its own affair.
fn bdi(name: &[u8], suffix: &str, html: &mut String) {
    html.push_str("<bdi translate=\"no\">");
    text::escape_name(name, html);
    html.extend([suffix, "</bdi>"]);
}

fn size(bytes: u64) -> String {
    let (rounded, exact) = (text::rounded_size(bytes), text::exact_size(bytes));
    format!("<data value=\"{bytes}\" title=\"{exact}\">{rounded}</data>")
}

fn time(unix_s: i64, html: &mut String) {
    let exact = text::rfc3339(unix_s);
    let (day, clock) = exact.trim_end_matches('Z').split_once('T').unwrap_or_default();
    let minutes = clock.get(..5).unwrap_or_default();
    // A `String` takes everything.
    let _ = write!(html, "<time datetime=\"{exact}\" title=\"{day} {clock} UTC\">{day} {minutes}</time>");
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", text::grouped(count), if count == 1 { one } else { many })
}

fn number(number: usize) -> String {
    text::grouped(as_u64(number))
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A reference to the same directory: an empty one would keep the query that there is.
fn here(query: &str) -> &str {
    if query.is_empty() { "./" } else { query }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_NAME: Order = Order { column: Column::Name, direction: Direction::Ascending };
    const LARGEST: Order = Order { column: Column::Size, direction: Direction::Descending };

    fn file(name: &[u8], size: u64) -> Entry {
        Entry { name: name.into(), is_directory: false, size, modified_s: 1_795_191_853 }
    }

    fn folder(name: &[u8]) -> Entry {
        Entry { is_directory: true, ..file(name, 0) }
    }

    fn html(entries: &[Entry], path: &[u8], order: Order, page: usize) -> String {
        let directory = Directory { entries: entries.to_vec(), is_complete: true, changed_s: 0 };
        let html = super::page(&directory, path, View { order, page }, BY_NAME);
        String::from_utf8(html).unwrap()
    }

    /// What stands between two texts, the first of which is there once.
    fn between<'h>(html: &'h str, start: &str, end: &str) -> &'h str {
        assert_eq!(html.matches(start).count(), 1, "{start} in {html}");
        html.split_once(start).and_then(|(_, rest)| rest.split_once(end)).expect(end).0
    }

    /// The values of every `href` below the list of pictures.
    fn references(html: &str) -> Vec<&str> {
        let body = html.split_once("</symbol>\n</svg>").unwrap().1;
        let values = body.split(" href=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0);
        values.filter(|value| !value.starts_with('#')).collect()
    }

    #[test]
    fn an_entry_is_a_row_with_exact_values_behind_the_readable_ones() {
        let html = html(&[folder(b"a b"), file(b"c.png", 1_234_567)], b"", BY_NAME, 1);
        let rows = between(&html, "<tbody role=\"rowgroup\">\n", "</tbody>");
        let time = "<td role=\"cell\"><time datetime=\"2026-11-20T16:24:13Z\" title=\"2026-11-20 16:24:13 UTC\">2026-11-20 16:24</time></td>";
        let link = "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\"><a href=";
        let expected = [
            &format!(
                "{link}\"a%20b/\"><svg role=\"img\" aria-label=\"Directory\"><use href=\"#d\"/></svg><bdi translate=\"no\">a b/</bdi></a></th><td role=\"cell\"></td>{time}</tr>\n"
            ),
            &format!(
                "{link}\"c.png\"><svg role=\"img\" aria-label=\"Image\"><use href=\"#i\"/></svg><bdi translate=\"no\">c.png</bdi></a></th><td role=\"cell\"><data value=\"1234567\" title=\"1,234,567 bytes\">1.2 MB</data></td>{time}</tr>\n"
            ),
        ];
        assert_eq!(rows, expected.map(String::as_str).concat());
    }

    #[test]
    fn the_summary_counts_what_there_is() {
        let table: [(&[Entry], &str); 4] = [
            (&[folder(b"a")], "1 directory"),
            (&[folder(b"a"), folder(b"b")], "2 directories"),
            (&[file(b"a", 1)], "1 file, <data value=\"1\" title=\"1 byte\">1 B</data>"),
            (
                &[folder(b"a"), file(b"b", 1_000), file(b"c", 500)],
                "1 directory, 2 files, <data value=\"1500\" title=\"1,500 bytes\">1.5 kB</data>",
            ),
        ];
        for (entries, expected) in table {
            assert_eq!(between(&html(entries, b"", BY_NAME, 1), "<caption>", "</caption>"), expected);
        }
        let endless = html(&[file(b"a", u64::MAX), file(b"b", 1)], b"", BY_NAME, 1);
        assert!(between(&endless, "<caption>", "</caption>").ends_with(">18 EB</data>"));
    }

    #[test]
    fn an_empty_directory_says_so_and_leads_back() {
        let root = html(&[], b"", BY_NAME, 1);
        assert!(root.contains("<h1>Index of /</h1>\n<p>This directory is empty.</p>\n</main>"), "{root}");
        assert_eq!(references(&root), [""; 0]);
        let below = html(&[], b"a", BY_NAME, 1);
        assert!(!below.contains("<table"));
        assert_eq!(references(&below), ["../", "../"]);
    }

    #[test]
    fn every_directory_above_is_a_link_away() {
        let table: [(&[u8], &str, &str, &[&str]); 4] = [
            (b"", "Index of /", "Index of /", &[]),
            (b"a", "Index of /a/", "a", &["Home=../"]),
            (b"a/b c", "Index of /a/b c/", "b c", &["Home=../../", "a=../"]),
            (b"<x>/b/c", "Index of /&lt;x&gt;/b/c/", "c", &["Home=../../../", "&lt;x&gt;=../../", "b=../"]),
        ];
        for (path, title, heading, crumbs) in table {
            let html = html(&[file(b"f", 0)], path, BY_NAME, 1).replace(" translate=\"no\"", "");
            assert_eq!(between(&html, "<title>", "</title>"), title);
            let plain = |html: &str| html.replace("<bdi>", "").replace("</bdi>", "");
            assert_eq!(plain(between(&html, "<h1>", "</h1>")), heading);
            let links = html.split("<li><a href=\"").skip(1).filter_map(|rest| rest.split_once("</a>"));
            let links = links.filter_map(|(link, _)| link.split_once("\">"));
            let links: Vec<String> = links.map(|(to, name)| format!("{}={to}", plain(name))).collect();
            assert_eq!(links, crumbs, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_heading_sorts_by_its_column_or_turns_the_order_round() {
        let newest = Order { column: Column::Time, direction: Direction::Descending };
        let table = [
            (
                BY_NAME,
                "ascending",
                ["?sort=name&amp;order=desc", "?sort=size&amp;order=desc", "?sort=time&amp;order=desc"],
            ),
            (LARGEST, "descending", ["./", "?sort=size&amp;order=asc", "?sort=time&amp;order=desc"]),
            (newest, "descending", ["./", "?sort=size&amp;order=desc", "?sort=time&amp;order=asc"]),
        ];
        for (order, sort, expected) in table {
            let html = html(&[file(b"f", 0)], b"", order, 1);
            assert_eq!(references(&html)[..3], expected);
            assert_eq!(between(&html, " aria-sort=\"", "\""), sort);
        }
    }

    #[test]
    fn an_order_that_was_chosen_holds_in_other_directories() {
        let chosen = html(&[folder(b"d"), file(b"f", 0)], b"a/b", LARGEST, 1);
        let query = "?sort=size&amp;order=desc";
        let expected = ["../../", "../", "../", "d/"].map(|to| format!("{to}{query}"));
        let (crumbs, rows) = (&references(&chosen)[..2], &references(&chosen)[5..]);
        assert_eq!([crumbs, &rows[..2]].concat(), expected);
        assert_eq!(rows[2..], ["f"]);
    }

    #[test]
    fn many_entries_are_divided_into_pages() {
        let entries: Vec<Entry> = (0..2_500).map(|index| file(format!("{index:04}").as_bytes(), 0)).collect();
        let size = "?sort=size&amp;order=desc";
        let table: [(usize, Order, &str, usize, &[&str]); 6] = [
            (1, BY_NAME, "Page 1 of 3", 1_000, &["next=?page=2", "last=?page=3"]),
            (2, BY_NAME, "Page 2 of 3", 1_000, &["first=./", "prev=./", "next=?page=3", "last=?page=3"]),
            (3, BY_NAME, "Page 3 of 3", 500, &["first=./", "prev=?page=2"]),
            (0, BY_NAME, "Page 1 of 3", 1_000, &["next=?page=2", "last=?page=3"]),
            (usize::MAX, BY_NAME, "Page 3 of 3", 500, &["first=./", "prev=?page=2"]),
            (3, LARGEST, "Page 3 of 3", 500, &["first=ORDER", "prev=ORDER&amp;page=2"]),
        ];
        for (page, order, label, rows, links) in table {
            let html = html(&entries, b"", order, page);
            assert_eq!(html.matches(&format!("<span>{label}</span>")).count(), 2, "{label}");
            assert_eq!(html.matches("<time ").count(), rows);
            assert!(
                between(&html, "<title>", "</title>")
                    .ends_with(&label.replace("Page", ", page").replace(" , ", ", "))
            );
            assert!(between(&html, "<caption>", "</caption>").starts_with("2,500 files"));
            let pager = between(&html, "aria-label=\"Pages, below\">\n", "</nav>");
            let found: Vec<String> = pager
                .split("<a rel=\"")
                .skip(1)
                .map(|rest| rest.split_once("\" href=\"").unwrap())
                .map(|(rel, rest)| format!("{rel}={}", rest.split_once('"').unwrap().0))
                .collect();
            let links: Vec<String> = links.iter().map(|link| link.replace("ORDER", size)).collect();
            assert_eq!(found, links, "page {page}");
        }
        assert!(!html(&entries[..1_000], b"", BY_NAME, 1).contains("<nav"));
    }

    #[test]
    fn a_directory_that_is_not_shown_whole_says_so() {
        let directory = Directory { entries: vec![file(b"a", 0)], is_complete: false, changed_s: 0 };
        let html = page(&directory, b"", View { order: BY_NAME, page: 1 }, BY_NAME);
        let html = String::from_utf8(html).unwrap();
        assert!(between(&html, "<p class=\"notice\">", "</p>").contains("the first 1 by name"));
    }

    /// Everything that a name can be made of, as an entry and in the path.
    #[test]
    fn no_name_gets_out_of_its_place() {
        let long = vec![b'w'; 255];
        let names: [&[u8]; 12] = [
            b"\"><script>alert(1)<script>",
            b"' onmouseover='x",
            b"-->]]><b>",
            b"&lt;",
            b"a\nb\r\tc\0",
            "\u{202e}txt.exe".as_bytes(),
            b"\xff\xfe\x80",
            b"-rf",
            b"javascript:alert(1)",
            b"<!--",
            b"?page=2#x",
            &long,
        ];
        let plain = html(&[folder(b"n"), file(b"n", 0)], b"n/n", BY_NAME, 1);
        // Of each mark as many as there are when the name is harmless.
        let marks = |html: &str| ['<', '>', '"', '\''].map(|mark| html.matches(mark).count());
        for name in names {
            let path = [name, b"/", name].concat();
            let html = html(&[folder(name), file(name, 0)], &path, BY_NAME, 1);
            // References keep an apostrophe, which is harmless between quotes, and is escaped all the same.
            assert_eq!(marks(&html), marks(&plain), "{}", name.escape_ascii());
            let controls = |text: &str| text.chars().filter(|character| character.is_control()).count();
            assert_eq!(controls(&html), controls(&plain), "{}", name.escape_ascii());
            for reference in references(&html) {
                let scheme = reference.split(['/', '?']).next().unwrap();
                assert!(!scheme.contains(':') && !reference.starts_with('/'), "{reference}");
            }
        }
    }

    #[test]
    fn nothing_is_asked_for_and_nothing_is_run() {
        let html = html(&[folder(b"a"), file(b"b", 0)], b"c", BY_NAME, 1);
        for forbidden in ["<script", "<link", "<img", " src=", " style=", "http:", "https:", " on"] {
            let body = html.split_once("</style>").unwrap().1;
            assert!(!body.contains(forbidden), "{forbidden}");
        }
    }
}
