//! Where a list about a stretch of time begins and ends, without going over what lies outside it.
//!
//! Events stand in the order of acceptance, so their times ascend, but for those that were accepted while the clock was
//! unset: what these say is passed over here. Where so many of them stand together that nothing else is found, the list
//! begins later than it could, and its filter leaves them out one by one.

use std::time::Duration;

use crate::{
    model::{
        event::Seq,
        time::{Mark, Timestamp},
    },
    outbox::{Dated, Reader, StoreError},
};

/// A clock may be steered back by so much without being unset.
const STEERED: Duration = Mark::TOLERANCE;
/// Looks at the store in one search, at most: two thirds of them would do for as many events as there can be.
const LOOKS: usize = 72;
/// Events in a row whose clock was unset that one look passes over.
const UNSET: usize = 64;

/// An event from which on all are too new for a list of what was accepted before `until`, if one can be found; those whose
/// clock was unset are left aside.
pub(super) fn too_new(reader: &Reader, until: Timestamp) -> Result<Option<Seq>, StoreError> {
    let (Some(oldest), Some(newest)) = (reader.oldest_number()?, reader.newest()?) else { return Ok(None) };
    if until == Timestamp::MAX {
        return Ok(None);
    }
    let from = until.plus(STEERED);
    let (mut low, mut high, mut found) = (oldest.get(), newest.get() + 1, None);
    for _ in 0..LOOKS {
        if low >= high {
            break;
        }
        let middle = low + (high - low) / 2;
        match first_set(reader, Seq::new(middle))? {
            Look::Found(one) if one.accepted_at >= from => (found, high) = (Some(one.seq), middle),
            Look::Found(one) => low = one.seq.get() + 1,
            Look::End => high = middle,
            // They may be as old as anything: what is behind them is looked at.
            Look::Unset(last) => low = last.get() + 1,
        }
    }
    Ok(found)
}

/// Whether this event, of the time `accepted_at`, and all that stand before it are too old for a list of what was accepted
/// since `since`.
pub(super) fn too_old(
    reader: &Reader,
    seq: Seq,
    accepted_at: Timestamp,
    since: Timestamp,
) -> Result<bool, StoreError> {
    if accepted_at.plus(STEERED) >= since {
        return Ok(false);
    }
    Ok(reader.dated(seq, 1)?.first().is_some_and(|one| one.seq == seq && !one.clock_unset))
}

enum Look {
    Found(Dated),
    Unset(Seq),
    End,
}

/// The first event from `from` on that was accepted with the clock set.
fn first_set(reader: &Reader, from: Seq) -> Result<Look, StoreError> {
    // As a rule it is the first.
    for limit in [1, UNSET] {
        let some = reader.dated(from, limit)?;
        if let Some(one) = some.iter().find(|one| !one.clock_unset) {
            return Ok(Look::Found(*one));
        }
        match some.last() {
            Some(last) if some.len() == UNSET => return Ok(Look::Unset(last.seq)),
            Some(_) if limit == 1 => {}
            _ => break,
        }
    }
    Ok(Look::End)
}
