//! Which scripts of other sites may read what is served (Fetch standard §3.2), as field lines.
//!
//! To whom it does not matter who asks, the lines are static and stand in prepared heads. Where it does, every
//! response says so with `Vary`, in a line of its own, and only those to an origin that may read say more.

use bytes::BytesMut;
use protocol::RequestHead;
use protocol::cors::{self, Grant, Origins};
use protocol::http1::encode;
use protocol::method::ALLOW;

use crate::decision::decided;

/// The name of the field that says who may read.
pub(super) const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
/// What a script may look at besides what it always may.
const EXPOSED: &[u8] = b"Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag";
/// No field that a client sends does any harm here, so any may be sent. The asterisk does not stand for this one
/// (Fetch standard §4.9).
const ALLOWED_FIELDS: &[u8] = b"Authorization, *";
/// How long a browser may keep the answer to a preflight; most keep it for no longer anyway.
const PREFLIGHT_MAX_AGE_S: u64 = 7_200;

/// Adds what every response says, whoever asked for it.
pub(super) fn append_always(origins: &Origins, out: &mut BytesMut) {
    match origins {
        Origins::Any => append_grant(&Grant::Any, out),
        Origins::These(_) => encode::field(out, "Vary", b"Origin"),
    }
}

/// Adds what depends on who asks, and for what.
pub(super) fn append_late(origins: &Origins, head: &RequestHead<'_>, out: &mut BytesMut) {
    let Some(grant) = origins.grant(&head.fields) else {
        decided!("origin", "nothing is granted: none was sent, or another than those that may read");
        return;
    };
    decided!("origin", "the scripts of {} may read the answer", grant.as_str());
    if grant != Grant::Any {
        append_grant(&grant, out);
    }
    if cors::is_preflight(head) {
        decided!("origin", "a preflight, which is told what may be sent");
        encode::field(out, "Access-Control-Allow-Methods", ALLOW.as_bytes());
        encode::field(out, "Access-Control-Allow-Headers", ALLOWED_FIELDS);
        encode::field_number(out, "Access-Control-Max-Age", PREFLIGHT_MAX_AGE_S);
    }
}

fn append_grant(grant: &Grant<'_>, out: &mut BytesMut) {
    encode::field(out, ALLOW_ORIGIN, grant.as_str().as_bytes());
    encode::field(out, "Access-Control-Expose-Headers", EXPOSED);
}
