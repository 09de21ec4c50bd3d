//! `Idempotency-Key`: the id of the one event that a request hands in, for clients that have a header for it.

use axum::http::{HeaderMap, StatusCode};

use crate::{api::problem::Problem, ingest::event::MAX_PRODUCER_ID, model::event::NewEvent};

const NAME: &str = "idempotency-key";

/// The key, if there is one; without the quotes that it may have.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong("`Idempotency-Key` is there twice"));
    }
    let text = value.to_str().map_err(|_| wrong("`Idempotency-Key` must be printable ASCII"))?.trim();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let key = quoted.unwrap_or(text);
    if key.is_empty() || key.len() > MAX_PRODUCER_ID {
        return Err(wrong(&format!("`Idempotency-Key` has 1 to {MAX_PRODUCER_ID} characters")));
    }
    Ok(Some(key.to_owned()))
}

/// The event with the key as its id.
pub(super) fn give(event: NewEvent, key: String) -> Result<NewEvent, Problem> {
    if event.producer_id.as_ref().is_some_and(|id| *id != key) {
        return Err(wrong(
            "the event has an id of its own, and `Idempotency-Key` is another; leave one of them out",
        ));
    }
    Ok(NewEvent { producer_id: Some(key), ..event })
}

/// The refusal of a key for many events.
pub(super) fn of_many() -> Problem {
    wrong("`Idempotency-Key` is for one event; of many each has its own `id`")
}

fn wrong(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let long = "k".repeat(256);
        let longer = "k".repeat(257);
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["order-7"], Ok(Some("order-7"))),
            (&["\"order-7\""], Ok(Some("order-7"))),
            (&[" a b "], Ok(Some("a b"))),
            (&["\""], Ok(Some("\""))),
            (&[long.as_str()], Ok(Some(long.as_str()))),
            (&[""], Err("1 to 256")),
            (&["\"\""], Err("1 to 256")),
            (&[longer.as_str()], Err("1 to 256")),
            (&["a", "a"], Err("twice")),
            (&["ä"], Err("printable ASCII")),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(NAME, value.parse().expect("a header's value"));
            }
            match (of(&headers), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected),
                (Err(found), Err(part)) => assert!(found.detail.contains(part), "{found:?}"),
                (found, expected) => panic!("{found:?}, and not {expected:?}"),
            }
        }
    }
}
