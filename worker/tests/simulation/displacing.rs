//! A connection that may have to make room, as the loop of a worker decides it.

use oneloop_worker::close::CloseReason;
use oneloop_worker::connection::{Connection, Fate, Spare};
use oneloop_worker::context::Context;

use super::wire::Simulated;

/// Why the connection is closed to make room, if it can be spared. It may have got on meanwhile, as `fate` says then.
pub fn displace(
    connection: &mut Connection<Simulated>,
    cx: &mut Context,
    fate: &mut Fate,
) -> Option<CloseReason> {
    for kind in [Spare::Idle, Spare::Unfinished] {
        let since_ms = connection.spare_since_ms(kind, cx);
        if since_ms.is_none_or(|since_ms| since_ms >= cx.clock.now_ms()) {
            continue;
        }
        connection.readable(false);
        *fate = connection.advance(cx);
        assert!(cx.output.is_empty(), "responses were left in the shared buffer");
        if *fate != Fate::Wait {
            return None;
        }
        if connection.spare_since_ms(kind, cx) == since_ms && !connection.owes_bytes() {
            return Some(kind.reason());
        }
    }
    None
}

/// Whether a life that may have ended so lost nothing: every request that had come whole was answered, and an idle
/// connection had begun no other. `ends` are those of the requests, of which so many bytes were delivered and so many
/// are answered.
pub fn is_right(reason: CloseReason, ends: &[usize], delivered: usize, answered: usize) -> bool {
    let whole = ends.iter().filter(|&&end| end <= delivered).count();
    let is_between = delivered == whole.checked_sub(1).map_or(0, |last| ends[last]);
    match reason {
        CloseReason::DisplacedIdle => is_between && answered == whole,
        _ => answered >= whole,
    }
}
