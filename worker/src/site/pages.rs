//! The operator's pages for errors: which status has one, and what it is called. That a page is not there is kept
//! here, so that errors cost as little as they do without pages.
//!
//! The pages themselves are files like any other, and kept where those are.

use protocol::Status;

/// A page for a status.
#[derive(Debug)]
struct Page {
    status: Status,
    /// Relative to the root.
    path: Box<[u8]>,
    /// When it was last found to be missing.
    missing_ms: Option<u64>,
}

/// All of them.
#[derive(Debug)]
pub struct Pages {
    pages: Vec<Page>,
    check_interval_ms: u64,
}

impl Pages {
    /// The pages that were asked for. Of several for one status, the last counts.
    #[must_use]
    pub fn new(pages: &[(Status, String)], check_interval_ms: u64) -> Self {
        let page = |(status, path): &(Status, String)| Page {
            status: *status,
            path: path.as_bytes().into(),
            missing_ms: None,
        };
        Self { pages: pages.iter().rev().map(page).collect(), check_interval_ms }
    }

    /// Puts out the path of the page for a status, and, behind what is there, the key that it is kept under, which
    /// begins with NUL as no path does. False if there is none, as far as is known.
    pub fn name_into(&self, status: Status, now_ms: u64, path: &mut Vec<u8>, key: &mut Vec<u8>) -> bool {
        let Some(page) = self.pages.iter().find(|page| page.status == status) else { return false };
        if page.missing_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) < self.check_interval_ms) {
            return false;
        }
        path.clear();
        path.extend_from_slice(&page.path);
        key.extend_from_slice(b"\0!");
        key.extend_from_slice(&page.path);
        true
    }

    /// Notes that the page for a status is not there.
    pub fn is_missing(&mut self, status: Status, now_ms: u64) {
        if let Some(page) = self.pages.iter_mut().find(|page| page.status == status) {
            page.missing_ms = Some(now_ms);
        }
    }

    /// Forgets what is missing.
    pub fn clear(&mut self) {
        for page in &mut self.pages {
            page.missing_ms = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_page_is_believed_to_be_for_the_check_interval() {
        let page = |file: &str| (Status::NotFound, file.to_owned());
        let mut pages = Pages::new(&[page("old.html"), page("404.html")], 1_000);
        let named = |pages: &Pages, status, now_ms| {
            let (mut path, mut key) = (Vec::new(), Vec::new());
            pages.name_into(status, now_ms, &mut path, &mut key).then_some((path, key))
        };
        let there = Some((b"404.html".to_vec(), b"\0!404.html".to_vec()));
        assert_eq!(named(&pages, Status::NotFound, 5_000), there);
        assert_eq!(named(&pages, Status::Forbidden, 5_000), None);
        pages.is_missing(Status::NotFound, 5_000);
        assert_eq!(named(&pages, Status::NotFound, 5_999), None);
        assert_eq!(named(&pages, Status::NotFound, 6_000), there);
        pages.is_missing(Status::NotFound, 6_000);
        pages.clear();
        assert_eq!(named(&pages, Status::NotFound, 6_000), there);
    }
}
