//! An event as MessagePack: refused with a few words, or taken, and then, where its data became JSON, the same event as
//! that JSON makes.

use bytes::Bytes;
use posthaste::{ingest::event::message, model::account::AccountName};

use super::event::{check_payload, check_words, check_written_anew};

/// Bytes that an event may have.
const LIMIT: usize = 2_048;

pub(crate) fn check(input: &[u8]) {
    match message::parse(&Bytes::copy_from_slice(input), &AccountName::default(), LIMIT) {
        Ok(event) => {
            assert!(event.data.len() <= LIMIT.max(input.len()), "it is no longer than allowed");
            check_payload(&event);
            if event.content_type.is_none() {
                check_written_anew(&event);
            }
        }
        Err(error) => check_words(&error),
    }
}
