//! Where the operator's rules send a request: to another place, or to another file than it asked for.
//!
//! Rules come before files. So a path that a rule is about never stands in the cache as it was asked for: what
//! is found there was not about any rule, and the requests that meet it pay nothing for rules. Redirects come
//! before rewrites, each in the order in which they were written, and the first that is about a path counts.
//! What a rewrite yields is not matched again.

use std::mem;

use protocol::Status;
use protocol::rule::Rule;
use protocol::target::{DecodedPath, RequestTarget};

use super::locate::{Located, NOT_FOUND};
use super::opening::Wanted;
use super::resolve::Obstacle;
use super::{Asked, Site};
use crate::decision::decided;

/// A rule that sends the client elsewhere.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// What the response says.
    pub status: Status,
    /// Which paths, and where to.
    pub rule: Rule,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// In the order in which they were written.
    pub redirects: Vec<Redirect>,
    /// The same.
    pub rewrites: Vec<Rule>,
}

impl Routes {
    /// Whether there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.redirects.is_empty() && self.rewrites.is_empty()
    }

    fn rewrite(&self, path: &[u8], is_directory: bool, out: &mut Vec<u8>) -> Option<DecodedPath> {
        self.rewrites.iter().find_map(|rule| {
            let rewritten = rule.rewrite(path, is_directory, out)?;
            decided!("rewrite", "{rule} leads to /{}", out.escape_ascii());
            Some(rewritten)
        })
    }
}

impl Site {
    /// Where the rules send a request for `self.path`, which the target was decoded to. The status of the redirect,
    /// if one is about it: [`Extras::location`](super::Extras::location) then says where to.
    #[inline(never)]
    pub(super) fn redirect(&mut self, decoded: &DecodedPath, target: RequestTarget<'_>) -> Option<Status> {
        let RequestTarget::Origin { query, .. } = target else { return None };
        let (path, location) = (&self.path, &mut self.extras.location);
        self.settings.plan.routes.redirects.iter().find_map(|redirect| {
            let location = redirect.rule.location(path, decoded.is_directory, query, location)?;
            let (rule, code) = (&redirect.rule, redirect.status.code());
            decided!("redirect", "{rule} sends the client to {} with {code}", location.escape_ascii());
            Some(redirect.status)
        })
    }

    /// Where the rules lead from `self.path`; none if no rule is about it.
    #[inline(never)]
    pub(super) fn locate_routed(
        &mut self,
        decoded: &DecodedPath,
        asked: &Asked<'_>,
    ) -> Option<Result<Located, Obstacle>> {
        if let Some(status) = self.redirect(decoded, asked.head.target) {
            return Some(Ok(Located::Elsewhere(status)));
        }
        let rewritten = self.rewrite(decoded)?;
        Some(self.locate_rewritten(&rewritten, asked))
    }

    /// Puts where a rewrite leads from `self.path` in its place, and what was asked for into `self.routed`. None, and
    /// nothing is done, if no rewrite is about it.
    pub(super) fn rewrite(&mut self, decoded: &DecodedPath) -> Option<DecodedPath> {
        let routes = &self.settings.plan.routes;
        let rewritten = routes.rewrite(&self.path, decoded.is_directory, &mut self.routed)?;
        mem::swap(&mut self.path, &mut self.routed);
        Some(rewritten)
    }

    /// What is at `self.path`, though `self.routed` was asked for.
    fn locate_rewritten(&mut self, rewritten: &DecodedPath, asked: &Asked<'_>) -> Result<Located, Obstacle> {
        if rewritten.is_hidden && self.hides() {
            return Err(NOT_FOUND);
        }
        if rewritten.is_directory {
            self.make_rewritten_key(true);
            return self.locate_by_key(Wanted::Directory, asked);
        }
        self.make_rewritten_key(false);
        match self.locate_by_key(Wanted::File, asked) {
            Ok(Located::Directory) => {}
            located => return located,
        }
        // A redirect to where the slash is lost again would never end.
        let routes = &self.settings.plan.routes;
        let (routed, key) = (&self.routed, &mut self.key);
        let with_slash = routes.rewrites.iter().find_map(|rule| rule.rewrite(routed, true, key));
        if with_slash.is_some_and(|with_slash| with_slash.is_directory) {
            return Ok(Located::Directory);
        }
        decided!(
            "rewrite",
            "a directory, answered with its index file: the slash of a redirect would be lost"
        );
        // The names that were tried have to go.
        self.path.truncate(self.path_bytes);
        self.make_rewritten_key(true);
        self.locate_by_key(Wanted::Directory, asked)
    }

    /// The key of what a rewrite led to. It begins with NUL as no path does, and goes on as no other key does: what
    /// somebody gets who asks for the same path without a rewrite is for other rules to say.
    fn make_rewritten_key(&mut self, is_directory: bool) {
        self.trees.begin_key(&mut self.key);
        self.key.extend_from_slice(b"\0>");
        self.key.extend_from_slice(&self.path);
        if is_directory {
            self.key.push(b'/');
        }
    }
}
