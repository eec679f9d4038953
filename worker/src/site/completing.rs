//! What an answer gets besides what it is about: the page of an error, and the fields that no representation brings
//! with it. All of it is off the way of a file that is found.

use protocol::http1::encode;
use protocol::target::{self, RequestTarget};
use protocol::{RequestHead, Status, accept};

use super::fields::Paths;
use super::listing::Formats;
use super::locate::{Located, NOT_FOUND};
use super::opening::Wanted;
use super::resolve::Obstacle;
use super::{Answer, Asked, Site, sharing};
use crate::cold::Task;
use crate::decision::decided;

impl Site {
    /// A representation brings its fields with it, but for those that depend on who asks; anything else gets them
    /// here, and so does the page of an error, which is not what was asked for.
    #[cold]
    #[inline(never)]
    pub(super) fn put_fields(&mut self, answer: &Answer, head: &RequestHead<'_>) {
        let varies = std::mem::take(&mut self.varies);
        self.extras.fields.clear();
        self.put_fields_by_policy(answer, head);
        if !varies.is_empty() {
            encode::field(&mut self.extras.fields, "Vary", varies.as_bytes());
        }
        // What this answer has, the next one is to lose.
        self.has_fields = !self.settings.plan.fields.is_empty() || !varies.is_empty();
    }

    fn put_fields_by_policy(&mut self, answer: &Answer, head: &RequestHead<'_>) {
        let policy = &self.settings.plan.fields;
        let fields = &mut self.extras.fields;
        if let Some(origins) = &policy.sharing {
            sharing::append_late(origins, head, fields);
        }
        let is_error = match answer {
            Answer::Redirect(_) | Answer::Options => false,
            Answer::Refusal(_)
            | Answer::Page(..)
            | Answer::Challenge(_)
            | Answer::TooMany(_)
            | Answer::RangeNotSatisfiable(_) => true,
            Answer::Whole(_) | Answer::Part(..) | Answer::Parts(..) | Answer::NotModified(_) => return,
        };
        self.path.clear();
        if let RequestTarget::Origin { path, .. } = head.target {
            // Of a path that means nothing, as much as was understood.
            let _ = target::decode_path(path, &mut self.path);
        }
        policy.append_for_page(&Paths { asked: &self.path, found: &self.path }, is_error, fields);
    }

    /// An error, with the operator's page if that is there.
    pub(super) fn page(&mut self, status: Status, asked: &Asked<'_>) -> Result<Answer, Box<Task>> {
        let answer = self.find_page(status, asked)?;
        self.note_variance(status);
        Ok(answer)
    }

    /// Another client might have got something else, as it takes something else (RFC 9110 §12.5.5).
    fn note_variance(&mut self, status: Status) {
        let plan = &self.settings.plan;
        let is_listed_for_some = plan.listing.is_some_and(|listing| listing.formats == Formats::Preferred);
        self.varies = match status {
            Status::NotFound if self.settings.spa.is_some() => accept::NAVIGATION_FIELDS,
            // People are shown a part of a directory that is too large for programs.
            Status::Forbidden if is_listed_for_some => "Accept",
            // What lies there coded only may be broken.
            Status::InternalServerError if !plan.precompressed.is_empty() => "Accept-Encoding",
            _ => return,
        };
        self.has_fields = true;
    }

    fn find_page(&mut self, status: Status, asked: &Asked<'_>) -> Result<Answer, Box<Task>> {
        let plain = Ok(Answer::Refusal(status));
        let now_ms = asked.clock.now_ms();
        self.trees.begin_key(&mut self.key);
        if !self.trees.chosen().pages.name_into(status, now_ms, &mut self.path, &mut self.key) {
            return plain;
        }
        decided!("error page", "for {}: {}", status.code(), self.path.escape_ascii());
        match self.locate_by_key(Wanted::ErrorPage, asked) {
            Ok(Located::File(representation)) => Ok(Answer::Page(status, representation)),
            Err(Obstacle::Cold) => Err(self.task(asked.clock)),
            Err(NOT_FOUND) | Ok(Located::Directory | Located::Elsewhere(_))
                if self.is_of_this_release(asked) =>
            {
                decided!("error page", "not there: a plain one is sent");
                self.trees.chosen_mut().pages.is_missing(status, now_ms);
                plain
            }
            Err(Obstacle::Refused(_)) | Ok(Located::Directory | Located::Elsewhere(_)) => plain,
        }
    }
}
