//! What the responses with a file begin with: prepared once, when the file is opened, and sent with a fresh end each
//! time. What a head says of a file is decided here and nowhere else.

use bytes::{Bytes, BytesMut};
use protocol::coding::Coding;
use protocol::http1::encode;
use protocol::validator::{EntityTag, Validators};
use protocol::{Status, date};

use super::digest::TagPolicy;
use super::manifest::Listed;
use super::stamp::Stamp;

/// A file that was modified this recently could be modified again without its timestamps telling.
pub const SETTLED_AFTER_S: i64 = 2;

/// What a file is to a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What was asked for.
    Content,
    /// The page of an error: no state of the resource that was asked for, so it has no validators.
    ErrorPage,
}

/// Where content comes from, and with it who knows its version.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// It is a file as it was found.
    Found,
    /// It was made of this version of a file.
    Made(Stamp),
    /// It was written by the server, which knows its validators.
    Written(&'a Validators),
}

/// What is said of a file that its descriptor does not tell.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// The value of `Content-Type`.
    pub media_type: &'a str,
    /// How its content is coded.
    pub coding: Coding,
    /// What it is to a response.
    pub role: Role,
    /// Whether another client could get another representation.
    pub varies: bool,
    /// Field lines that every response with it has, besides those that HTTP asks for.
    pub fields: &'a [u8],
    /// Where its content comes from.
    pub origin: Origin<'a>,
    /// What its entity tag is made of.
    pub tags: &'a TagPolicy,
    /// What the manifest of the tree says of it.
    pub listed: Option<Listed>,
    /// The time now.
    pub unix_s: i64,
}

/// The beginnings of the heads of one representation, each up to, not including, what [`encode::end`] adds.
#[derive(Debug)]
pub struct Heads {
    /// Of a 200.
    pub whole: Bytes,
    /// Of a 304.
    pub not_modified: Bytes,
    /// Of a 206: what comes before the first and last byte of the range, and what comes between them and the length
    /// of the content.
    pub part: [Bytes; 2],
    /// The fields that any other head shares with that of a 200: all but the length. The type comes first.
    pub fields: Bytes,
    /// What its content is.
    pub media_type: Box<str>,
}

const TYPE_NAME: &str = "Content-Type";

impl Heads {
    /// The heads of a file of that length.
    #[must_use]
    pub fn new(description: &Description<'_>, validators: &Validators, length: u64) -> Self {
        let common = common_fields(validators, description);
        let fields = typed_fields(&common, description);
        let begin = |status, fields: &[u8]| {
            let mut head = BytesMut::new();
            encode::status_line(&mut head, status);
            head.extend_from_slice(fields);
            head
        };
        let mut whole = begin(Status::Ok, &fields);
        encode::field_number(&mut whole, "Content-Length", length);
        let mut before_range = begin(Status::PartialContent, &fields);
        before_range.extend_from_slice(b"Content-Range: bytes ");
        Self {
            whole: whole.freeze(),
            not_modified: begin(Status::NotModified, &common).freeze(),
            part: [before_range.freeze(), format!("/{length}\r\nContent-Length: ").into()],
            fields,
            media_type: description.media_type.into(),
        }
    }

    /// [`Self::fields`] without the type, for a response that has another: one with several parts.
    #[must_use]
    pub fn untyped_fields(&self) -> &[u8] {
        let line_bytes = TYPE_NAME.len() + ": ".len() + self.media_type.len() + "\r\n".len();
        self.fields.get(line_bytes..).unwrap_or_default()
    }
}

impl Description<'_> {
    /// The validators of that version of the file, the content of which has that digest, if it is known. Each coding
    /// has a tag of its own (RFC 9110 §8.8.3.3).
    #[must_use]
    pub fn validators(&self, stamp: Stamp, digest: Option<u128>) -> Validators {
        let version = match self.origin {
            Origin::Found => stamp,
            Origin::Made(version) => version,
            Origin::Written(validators) => return self.in_coding(*validators),
        };
        let (modified_s, modified_ns) = version.modified();
        let tag = match self.tags {
            TagPolicy::Modification => {
                Some(EntityTag::from_modification(modified_s, modified_ns, version.size()))
            }
            TagPolicy::Content(_) => digest.map(EntityTag::from_digest),
            TagPolicy::Off => None,
        };
        self.in_coding(Validators {
            entity_tag: tag,
            // Never later than Date (RFC 9110 §8.8.2.1).
            last_modified_s: modified_s.min(self.unix_s),
            is_date_strong: modified_s.saturating_add(SETTLED_AFTER_S) <= self.unix_s,
        })
    }

    fn in_coding(&self, validators: Validators) -> Validators {
        Validators { entity_tag: validators.entity_tag.map(|tag| tag.in_coding(self.coding)), ..validators }
    }
}

/// The fields that everything but a 304 has, too.
fn typed_fields(common: &[u8], description: &Description<'_>) -> Bytes {
    let mut fields = BytesMut::new();
    encode::field(&mut fields, TYPE_NAME, description.media_type.as_bytes());
    if description.coding != Coding::Identity {
        encode::field(&mut fields, "Content-Encoding", description.coding.token().as_bytes());
    }
    if description.role == Role::Content {
        encode::field(&mut fields, "Accept-Ranges", b"bytes");
    }
    fields.extend_from_slice(common);
    fields.freeze()
}

/// The fields that a 304 shares with a 200 (RFC 9110 §15.4.5).
fn common_fields(validators: &Validators, description: &Description<'_>) -> Bytes {
    let mut fields = BytesMut::new();
    if description.role == Role::Content {
        encode::field(&mut fields, "Last-Modified", &date::format(validators.last_modified_s));
        if let Some(tag) = &validators.entity_tag {
            encode::field(&mut fields, "ETag", tag.as_bytes());
        }
    }
    if description.varies {
        encode::field(&mut fields, "Vary", b"Accept-Encoding");
    }
    fields.extend_from_slice(description.fields);
    fields.freeze()
}
