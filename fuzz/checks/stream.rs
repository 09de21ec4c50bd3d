//! A stream of events in either dialect: what each event comes to, and what is said of the end, is the same in any chunking.
//!
//! The first byte of an input says how the rest is cut; what comes next decides the dialect, as on the socket.

use bytes::Bytes;
use posthaste::{
    ingest::{
        answer::Refusal,
        dialect::{Dialect, Frames},
    },
    model::{account::AccountName, event::NewEvent},
};

/// Bytes that an event may have.
const LIMIT: usize = 256;

/// What a stream came to, and what stands at its end.
type Came = (Vec<Result<NewEvent, Refusal>>, Option<(u64, Option<Bytes>)>);

pub(crate) fn check(input: &[u8]) {
    let Some((&seed, input)) = input.split_first() else { return };
    let Some(dialect) = input.first().and_then(|first| Dialect::of(*first)) else { return };
    let whole = read(dialect, &[input]);
    assert_eq!(read(dialect, &super::chunks(input, seed)), whole, "in pieces");
    assert_eq!(read(dialect, &input.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
}

fn read(dialect: Dialect, chunks: &[&[u8]]) -> Came {
    let account = AccountName::default();
    let mut frames = Frames::new(dialect, LIMIT);
    let mut came = Vec::new();
    for chunk in chunks {
        frames.buffer().extend_from_slice(chunk);
        while let Some(frame) = frames.next_frame() {
            came.push(frames.event(frame, &account));
        }
    }
    (came, frames.rest())
}
