//! How paths become resources, as the operator wants it: the same for every root, and for loops and helpers.

use protocol::coding::CodingSet;
use protocol::media_type::MediaTypes;

use super::digest::TagPolicy;
use super::fields::FieldPolicy;
use super::listing;
use super::routes::Routes;

/// How paths become resources, whatever the root.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Names tried in order when a directory is asked for.
    pub index: Vec<String>,
    /// Whether `name` may stand for `name.html`.
    pub clean_urls: bool,
    /// Codings in which a file may lie beside the file itself, or instead of it.
    pub precompressed: CodingSet,
    /// Whether content is coded that is worth it and has not been coded beforehand.
    pub compress: bool,
    /// Where rules send requests.
    pub routes: Routes,
    /// Types of content that the operator knows better.
    pub media_types: MediaTypes,
    /// What entity tags are made of.
    pub tags: TagPolicy,
    /// What responses say besides.
    pub fields: FieldPolicy,
    /// How directories without an index file are listed, if they are.
    pub listing: Option<listing::Settings>,
}
