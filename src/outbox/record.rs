//! The form of the rows.
//!
//! A row of `pending` or `history` is a small head and then, for each delivery, 40 bytes; all numbers big-endian:
//!
//! ```text
//!  1  version (1 or 2)                   each delivery:
//!  6  accepted at, ms                     6  due, ms            4  attempts made
//!  4  bytes of payload                    6  start, ms          2  last status
//!  1  length of the account's name        6  last attempt's row 1  step
//!  1  length of the type                  4  endpoint           1  state
//!  …  account, type                       8  place in its group 1  reason
//!  8  with version 2: the group              or 0               1  flags: 1, its time was asked for;
//!                                                                         2, it keeps an order;
//!                                                                         4, it is replayed;
//!                                                                         8, it is called off
//! ```
//!
//! so that neither lists nor the order read payloads, and a settle patches 40 bytes. The second version is that of
//! events with a key of which a delivery keeps an order. Events, attempts, endpoints and accounts are a version byte and a
//! MessagePack map with short names: fields can be added, unknown ones are passed over.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::health::{Tallied, says_something};
use crate::model::{
    account::AccountName,
    attempt::{
        Attempt, AttemptRow, Failure, FailureKind, Fingerprint, Outcome, Phases, Report, Response, Why,
    },
    bearer::{KeyHash, StoredKey},
    delivery::{CancelReason, Delivery, DeliveryKey, FailReason, Group, Order, State},
    endpoint::{Disabled, Discard, Endpoint, EndpointNumber, Own, Source},
    event::{Effect, Event, EventType, NewEvent, NotBefore, Seq},
    pattern::TypePattern,
    profile::Lasting,
    role::Role,
    secret::{DatedSecret, Secret},
    tenant::{KnownType, Tenant},
    time::Timestamp,
};

const VERSION: u8 = 1;
/// The version of rows with a group.
const VERSION_GROUP: u8 = 2;
const HEAD: usize = 13;
/// Bytes of the group.
const GROUP: usize = 8;
/// Bytes of one delivery in a row.
pub(super) const DELIVERY: usize = 40;
/// The flag of [`Delivery::asked`].
const ASKED: u8 = 1;
/// The flag of an [`Order`] that is kept.
const ORDERED: u8 = 2;

/// The flag of [`Delivery::replayed`].
const REPLAYED: u8 = 4;
/// The flag of [`Delivery::called_off`].
const CALLED_OFF: u8 = 8;

/// A row of `pending` or `history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What lists show of the event.
    pub head: Head,
    /// The deliveries, from the row's first slot on.
    pub deliveries: Vec<Delivery>,
}

/// What an attempt needs to know of an event before it reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Bytes of its payload.
    pub size: u32,
}

/// What lists show of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Bytes of its payload.
    pub size: u32,
    /// Whose it is.
    pub account: AccountName,
    /// What happened.
    pub event_type: EventType,
    /// With which of its endpoint's deliveries one that keeps an order keeps it.
    pub group: Group,
}

/// A row of the event's deliveries, which belong to `group` where they keep an order.
pub(super) fn encode_row(
    event: &NewEvent,
    accepted_at: Timestamp,
    group: Group,
    deliveries: &[Delivery],
) -> Vec<u8> {
    let (account, event_type) = (event.account.as_str(), event.event_type.as_str());
    let texts = account.len() + event_type.len();
    let mut row = Vec::with_capacity(HEAD + texts + GROUP + deliveries.len() * DELIVERY);
    row.push(if group == Group::KEYLESS { VERSION } else { VERSION_GROUP });
    row.extend(six(accepted_at.as_millis()));
    row.extend(u32::try_from(event.data.len()).unwrap_or(u32::MAX).to_be_bytes());
    row.push(u8::try_from(account.len()).expect("a name has at most 64 bytes"));
    row.push(u8::try_from(event_type.len()).expect("a type has at most 128 bytes"));
    row.extend(account.as_bytes());
    row.extend(event_type.as_bytes());
    if group != Group::KEYLESS {
        row.extend(group.get().to_be_bytes());
    }
    for delivery in deliveries {
        row.extend(encode_delivery(delivery));
    }
    row
}

/// Reads a row; `None` when it is not of our form.
pub(super) fn decode_row(row: &[u8]) -> Option<Row> {
    let head = decode_head(row)?;
    let deliveries = row.get(deliveries_at(row)?..)?;
    let (deliveries, rest) = deliveries.as_chunks::<DELIVERY>();
    if !rest.is_empty() {
        return None;
    }
    Some(Row { head, deliveries: deliveries.iter().map(decode_delivery).collect::<Option<_>>()? })
}

/// Reads the beginning of a row's head alone.
pub(super) fn decode_brief(row: &[u8]) -> Option<Brief> {
    let (version, row) = row.split_first()?;
    let (accepted_at, row) = row.split_first_chunk()?;
    let (size, _) = row.split_first_chunk()?;
    matches!(*version, VERSION | VERSION_GROUP).then(|| Brief {
        accepted_at: Timestamp::from_millis(read_six(*accepted_at)),
        size: u32::from_be_bytes(*size),
    })
}

/// Reads a row's head alone.
pub(super) fn decode_head(row: &[u8]) -> Option<Head> {
    let Brief { accepted_at, size } = decode_brief(row)?;
    let (account, event_type) = (usize::from(*row.get(11)?), usize::from(*row.get(12)?));
    let text = |from: usize, length: usize| std::str::from_utf8(row.get(from..from + length)?).ok();
    let texts = HEAD + account + event_type;
    let group = row.get(texts..deliveries_at(row)?)?;
    Some(Head {
        accepted_at,
        size,
        account: text(HEAD, account)?.parse().ok()?,
        event_type: text(HEAD + account, event_type)?.parse().ok()?,
        group: group.try_into().map_or(Group::KEYLESS, |group| Group::new(u64::from_be_bytes(group))),
    })
}

/// The bytes of the row's delivery `index`.
pub(super) fn delivery_bytes(row: &[u8], index: usize) -> Option<&[u8; DELIVERY]> {
    let from = deliveries_at(row)? + index * DELIVERY;
    row.get(from..from + DELIVERY)?.try_into().ok()
}

/// Puts `delivery` in the place of the row's delivery `index`, which must be there.
pub(super) fn patch(row: &mut [u8], index: usize, delivery: &Delivery) -> Option<()> {
    let from = deliveries_at(row)? + index * DELIVERY;
    row.get_mut(from..from + DELIVERY)?.copy_from_slice(&encode_delivery(delivery));
    Some(())
}

/// Whether one of the row's deliveries is pending.
pub(super) fn any_pending(row: &[u8]) -> bool {
    let deliveries = deliveries_at(row).and_then(|from| row.get(from..)).unwrap_or_default();
    deliveries.as_chunks::<DELIVERY>().0.iter().any(|delivery| delivery[37] == 0)
}

/// Whether all of the row's deliveries have succeeded.
pub(super) fn all_succeeded(row: &[u8]) -> bool {
    let Some(deliveries) = deliveries_at(row).and_then(|from| row.get(from..)) else { return false };
    deliveries.as_chunks::<DELIVERY>().0.iter().all(|delivery| delivery[37] == 1)
}

/// The row of a delivery's last attempt, if one was made.
pub(super) fn last_attempt(delivery: &[u8; DELIVERY]) -> Option<u64> {
    let row = read_six(delivery[12..18].try_into().expect("six bytes"));
    (row != 0).then_some(row)
}

fn deliveries_at(row: &[u8]) -> Option<usize> {
    let group = if *row.first()? == VERSION_GROUP { GROUP } else { 0 };
    Some(HEAD + usize::from(*row.get(11)?) + usize::from(*row.get(12)?) + group)
}

pub(super) fn encode_delivery(delivery: &Delivery) -> [u8; DELIVERY] {
    let mut bytes = [0; DELIVERY];
    bytes[0..6].copy_from_slice(&six(delivery.due.as_millis()));
    bytes[6..12].copy_from_slice(&six(delivery.start.as_millis()));
    bytes[12..18].copy_from_slice(&six(delivery.last_attempt.map_or(0, AttemptRow::get)));
    bytes[18..22].copy_from_slice(&delivery.endpoint.get().to_be_bytes());
    bytes[30..34].copy_from_slice(&delivery.attempt.to_be_bytes());
    bytes[34..36].copy_from_slice(&delivery.last_status.unwrap_or(0).to_be_bytes());
    bytes[36] = delivery.step;
    (bytes[37], bytes[38]) = encode_state(delivery.state);
    let (place, ordered) = match delivery.order {
        Order::Free => (0, 0),
        Order::Unjoined => (0, ORDERED),
        Order::Place(place) => (place, ORDERED),
    };
    bytes[22..30].copy_from_slice(&place.to_be_bytes());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    bytes[39] = ordered
        | flag(delivery.asked, ASKED)
        | flag(delivery.replayed, REPLAYED)
        | flag(delivery.called_off, CALLED_OFF);
    bytes
}

pub(super) fn decode_delivery(bytes: &[u8; DELIVERY]) -> Option<Delivery> {
    let number = |from: usize| read_six(bytes[from..from + 6].try_into().expect("six bytes"));
    let long = |from: usize| u32::from_be_bytes(bytes[from..from + 4].try_into().expect("four bytes"));
    let status = u16::from_be_bytes([bytes[34], bytes[35]]);
    let row = number(12);
    let place = u64::from_be_bytes(bytes[22..30].try_into().expect("eight bytes"));
    let order = match (bytes[39] & ORDERED != 0, place) {
        (false, _) => Order::Free,
        (true, 0) => Order::Unjoined,
        (true, place) => Order::Place(place),
    };
    Some(Delivery {
        endpoint: EndpointNumber::new(long(18)),
        due: Timestamp::from_millis(number(0)),
        start: Timestamp::from_millis(number(6)),
        attempt: long(30),
        step: bytes[36],
        last_status: (status != 0).then_some(status),
        last_attempt: (row != 0).then_some(AttemptRow::new(row)),
        asked: bytes[39] & ASKED != 0,
        replayed: bytes[39] & REPLAYED != 0,
        called_off: bytes[39] & CALLED_OFF != 0,
        order,
        state: decode_state(bytes[37], bytes[38])?,
    })
}

const fn encode_state(state: State) -> (u8, u8) {
    match state {
        State::Pending => (0, 0),
        State::Succeeded => (1, 0),
        State::Failed(FailReason::Exhausted) => (2, 1),
        State::Failed(FailReason::Expired) => (2, 2),
        State::Failed(FailReason::Gone) => (2, 3),
        State::Failed(FailReason::EndpointFull) => (2, 4),
        State::Failed(FailReason::Template) => (2, 5),
        State::Cancelled(CancelReason::Operator) => (3, 1),
        State::Cancelled(CancelReason::Discarded) => (3, 2),
        State::Cancelled(CancelReason::EndpointDeleted) => (3, 3),
    }
}

const fn decode_state(state: u8, reason: u8) -> Option<State> {
    Some(match (state, reason) {
        (0, 0) => State::Pending,
        (1, 0) => State::Succeeded,
        (2, 1) => State::Failed(FailReason::Exhausted),
        (2, 2) => State::Failed(FailReason::Expired),
        (2, 3) => State::Failed(FailReason::Gone),
        (2, 4) => State::Failed(FailReason::EndpointFull),
        (2, 5) => State::Failed(FailReason::Template),
        (3, 1) => State::Cancelled(CancelReason::Operator),
        (3, 2) => State::Cancelled(CancelReason::Discarded),
        (3, 3) => State::Cancelled(CancelReason::EndpointDeleted),
        _ => return None,
    })
}

/// The low 48 bits, big-endian. Times have no more; rows of attempts would need 89 years at 100,000 a second.
pub(super) fn six(number: u64) -> [u8; 6] {
    let bytes = number.to_be_bytes();
    bytes[2..].try_into().expect("eight less two is six")
}

pub(super) const fn read_six(bytes: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]])
}

#[derive(Serialize, Deserialize)]
struct EventRecord<'a> {
    #[serde(rename = "ac", borrow)]
    account: Cow<'a, str>,
    #[serde(rename = "ty", borrow)]
    event_type: Cow<'a, str>,
    #[serde(rename = "at")]
    accepted_at: u64,
    #[serde(rename = "tm", default, skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    /// Not before then.
    #[serde(rename = "nb", default, skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    /// Its callback.
    #[serde(rename = "ur", default, borrow, skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(rename = "id", default, borrow, skip_serializing_if = "Option::is_none")]
    producer_id: Option<Cow<'a, str>>,
    #[serde(rename = "ky", default, borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    /// 1: partial, 2: none.
    #[serde(rename = "ef", default, skip_serializing_if = "Option::is_none")]
    effect: Option<u8>,
    #[serde(rename = "cu", default, skip_serializing_if = "std::ops::Not::not")]
    clock_unset: bool,
    /// Who handed it in.
    #[serde(rename = "ui", default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    /// Of a payload that is not simply JSON.
    #[serde(rename = "ct", default, borrow, skip_serializing_if = "Option::is_none")]
    content_type: Option<Cow<'a, str>>,
    /// Of a CloudEvent: an object of JSON.
    #[serde(rename = "ce", default, borrow, skip_serializing_if = "Option::is_none")]
    cloud: Option<Cow<'a, str>>,
    #[serde(rename = "da", borrow, with = "serde_bytes")]
    data: &'a [u8],
}

const fn effect_code(effect: Effect) -> Option<u8> {
    match effect {
        Effect::Live => None,
        Effect::Partial => Some(1),
        Effect::None => Some(2),
    }
}

const fn effect(code: Option<u8>) -> Option<Effect> {
    Some(match code {
        None => Effect::Live,
        Some(1) => Effect::Partial,
        Some(2) => Effect::None,
        Some(_) => return None,
    })
}

pub(super) fn encode_event(event: &NewEvent, accepted_at: Timestamp, clock_unset: bool) -> Vec<u8> {
    let record = EventRecord {
        account: Cow::Borrowed(event.account.as_str()),
        event_type: Cow::Borrowed(event.event_type.as_str()),
        accepted_at: accepted_at.as_millis(),
        time: event.time.map(Timestamp::as_millis),
        not_before: event.not_before.map(|not_before| not_before.time(accepted_at).as_millis()),
        url: event.url.as_deref(),
        producer_id: event.producer_id.as_deref().map(Cow::Borrowed),
        key: event.key.as_deref().map(Cow::Borrowed),
        effect: effect_code(event.effect),
        clock_unset,
        uid: event.uid,
        content_type: event.content_type.as_ref().map(|content| Cow::Borrowed(content.as_str())),
        cloud: event.cloud.as_ref().map(|cloud| Cow::Borrowed(cloud.as_str())),
        data: &event.data,
    };
    let url = event.url.as_ref().map_or(0, |url| url.len());
    let cloud = event.cloud.as_ref().map_or(0, |cloud| cloud.as_str().len());
    encode_map(&record, event.data.len() + url + cloud + 256)
}

/// What of an [`EventRecord`] says when it was accepted.
#[derive(Deserialize)]
struct EventTimes {
    #[serde(rename = "at")]
    accepted_at: u64,
    #[serde(rename = "cu", default)]
    clock_unset: bool,
}

/// When an event was accepted, and whether the clock was unset then; nothing is kept of its payload.
pub(super) fn decode_times(row: &[u8]) -> Option<(Timestamp, bool)> {
    let times: EventTimes = decode_map(row)?;
    Some((Timestamp::from_millis(times.accepted_at), times.clock_unset))
}

/// The URL of an event's callback, if it has one, without its payload; an error when the row is not of our form.
pub(super) fn decode_url(row: &[u8]) -> Result<Option<&str>, ()> {
    decode_map::<EventRecord<'_>>(row).map(|record| record.url).ok_or(())
}

pub(super) fn decode_event(seq: Seq, row: &[u8]) -> Option<Event> {
    let record: EventRecord<'_> = decode_map(row)?;
    Some(Event {
        seq,
        accepted_at: Timestamp::from_millis(record.accepted_at),
        clock_unset: record.clock_unset,
        new: NewEvent {
            account: record.account.parse().ok()?,
            event_type: record.event_type.parse().ok()?,
            data: Bytes::copy_from_slice(record.data),
            content_type: record.content_type.map(|content| content.parse()).transpose().ok()?,
            producer_id: record.producer_id.map(Cow::into_owned),
            time: record.time.map(Timestamp::from_millis),
            not_before: record.not_before.map(|millis| NotBefore::At(Timestamp::from_millis(millis))),
            url: record.url.map(Into::into),
            key: record.key.map(Cow::into_owned),
            effect: effect(record.effect)?,
            cloud: record.cloud.map(|cloud| cloud.parse()).transpose().ok()?,
            uid: record.uid,
        },
    })
}

#[derive(Serialize, Deserialize)]
struct AttemptRecord<'a> {
    #[serde(rename = "sq")]
    seq: u64,
    #[serde(rename = "sl")]
    slot: u16,
    #[serde(rename = "ep")]
    endpoint: u32,
    #[serde(rename = "n")]
    number: u32,
    #[serde(rename = "pr", default, skip_serializing_if = "Option::is_none")]
    previous: Option<u64>,
    #[serde(rename = "cr", default, skip_serializing_if = "std::ops::Not::not")]
    after_crash: bool,
    /// [`why_code`].
    #[serde(rename = "wy", default, skip_serializing_if = "is_scheduled")]
    why: u8,
    #[serde(rename = "at")]
    started_at: u64,
    #[serde(rename = "fp", default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<u64>,
    #[serde(rename = "sg", default, borrow, skip_serializing_if = "str::is_empty")]
    signatures: Cow<'a, str>,
    /// Where the newest signature is among them: offset and length in bytes.
    #[serde(rename = "s1", default, skip_serializing_if = "Option::is_none")]
    signature: Option<(usize, usize)>,
    #[serde(rename = "ad", default, skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    #[serde(rename = "rc", default, skip_serializing_if = "std::ops::Not::not")]
    reconnected: bool,
    /// Microseconds: resolve, connect, tls, headers, body, total.
    #[serde(rename = "ph")]
    phases: [Option<u64>; 6],
    #[serde(rename = "su", default, skip_serializing_if = "std::ops::Not::not")]
    success: bool,
    #[serde(rename = "ok", default, borrow, skip_serializing_if = "Option::is_none")]
    response: Option<ResponseRecord<'a>>,
    #[serde(rename = "no", default, borrow, skip_serializing_if = "Option::is_none")]
    failure: Option<(u8, Cow<'a, str>)>,
}

#[derive(Serialize, Deserialize)]
struct ResponseRecord<'a> {
    #[serde(rename = "st")]
    status: u16,
    #[serde(rename = "hd", borrow)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(rename = "bo", borrow, with = "serde_bytes")]
    body: &'a [u8],
    #[serde(rename = "tr", default, skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(rename = "er", default, borrow, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
}

/// Of which delivery an attempt is, and which: all of [`Attempt`] but its report.
pub(super) struct AttemptHead {
    pub(super) delivery: DeliveryKey,
    pub(super) endpoint: EndpointNumber,
    pub(super) number: u32,
    pub(super) previous: Option<AttemptRow>,
    pub(super) why: Why,
}

/// Why an attempt was made, where that has no field of its own.
const fn why_code(why: Why) -> u8 {
    match why {
        Why::AfterCrash | Why::Schedule => 0,
        Why::Probe => 1,
        Why::RetryAfter => 2,
        Why::Replay => 3,
    }
}

const fn why(after_crash: bool, code: u8) -> Option<Why> {
    match (after_crash, code) {
        (true, 0) => Some(Why::AfterCrash),
        (false, 0) => Some(Why::Schedule),
        (false, 1) => Some(Why::Probe),
        (false, 2) => Some(Why::RetryAfter),
        (false, 3) => Some(Why::Replay),
        _ => None,
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_scheduled(code: &u8) -> bool {
    *code == 0
}

pub(super) fn encode_attempt(attempt: &AttemptHead, report: &Report) -> Vec<u8> {
    let (response, failure) = match &report.outcome {
        Outcome::Response(response) => (Some(response_record(response)), None),
        Outcome::Failure(failure) => {
            (None, Some((failure_code(failure.kind), Cow::Borrowed(&*failure.message))))
        }
    };
    let record = AttemptRecord {
        seq: attempt.delivery.seq.get(),
        slot: attempt.delivery.slot,
        endpoint: attempt.endpoint.get(),
        number: attempt.number,
        previous: attempt.previous.map(AttemptRow::get),
        after_crash: attempt.why == Why::AfterCrash,
        why: why_code(attempt.why),
        started_at: report.started_at.as_millis(),
        fingerprint: report.fingerprint.map(Fingerprint::get),
        signatures: Cow::Borrowed(&report.signatures),
        signature: place(&report.signature, &report.signatures),
        address: report.address,
        reconnected: report.reconnected,
        phases: encode_phases(&report.phases),
        success: report.success,
        response,
        failure,
    };
    encode_map(&record, 256)
}

pub(super) fn decode_attempt(row: &[u8]) -> Option<Attempt> {
    let record: AttemptRecord<'_> = decode_map(row)?;
    let outcome = match (record.response, record.failure) {
        (Some(response), None) => Outcome::Response(response.into_response()),
        (None, Some((kind, message))) => {
            Outcome::Failure(Failure { kind: failure_kind(kind)?, message: message.into_owned() })
        }
        _ => return None,
    };
    Some(Attempt {
        delivery: DeliveryKey { seq: Seq::new(record.seq), slot: record.slot },
        endpoint: EndpointNumber::new(record.endpoint),
        number: record.number,
        previous: record.previous.map(AttemptRow::new),
        why: why(record.after_crash, record.why)?,
        report: Report {
            started_at: Timestamp::from_millis(record.started_at),
            fingerprint: record.fingerprint.map(Fingerprint::new),
            signature: record.signature.and_then(|place| at(&record.signatures, place)).unwrap_or_default(),
            signatures: record.signatures.into_owned(),
            address: record.address,
            reconnected: record.reconnected,
            phases: decode_phases(record.phases),
            success: record.success,
            outcome,
        },
    })
}

/// What of an [`AttemptRecord`] leads on.
#[derive(Deserialize)]
struct AttemptLink {
    #[serde(rename = "pr", default)]
    previous: Option<u64>,
}

/// What of an [`AttemptRecord`] is counted.
#[derive(Deserialize)]
struct AttemptTally<'a> {
    #[serde(rename = "ep")]
    endpoint: u32,
    #[serde(rename = "at")]
    started_at: u64,
    #[serde(rename = "su", default)]
    success: bool,
    #[serde(rename = "no", default, borrow)]
    failure: Option<(u8, Cow<'a, str>)>,
}

/// What of an attempt says how its endpoint does, if it says anything.
pub(super) fn decode_tallied(row: &[u8]) -> Option<Tallied> {
    let tally: AttemptTally<'_> = decode_map(row)?;
    let endpoint = EndpointNumber::new(tally.endpoint);
    let (at, success) = (Timestamp::from_millis(tally.started_at), tally.success);
    let failure = tally.failure.and_then(|(code, _)| failure_kind(code));
    says_something(failure).then_some(Tallied { endpoint, at, success })
}

/// The row of the attempt before, of the same delivery, if there is one.
pub(super) fn attempt_before(row: &[u8]) -> Option<u64> {
    decode_map::<AttemptLink>(row)?.previous
}

/// Where `part` is in `text`; `None` for an empty one.
fn place(part: &str, text: &str) -> Option<(usize, usize)> {
    if part.is_empty() {
        return None;
    }
    // As a rule it is the end, which costs no search.
    let from = text.strip_suffix(part).map(str::len).or_else(|| text.find(part));
    from.map(|from| (from, part.len()))
}

fn at(text: &str, (from, length): (usize, usize)) -> Option<String> {
    Some(text.get(from..from.checked_add(length)?)?.to_owned())
}

fn response_record(response: &Response) -> ResponseRecord<'_> {
    ResponseRecord {
        status: response.status,
        headers: response.headers.iter().map(|(n, v)| (Cow::Borrowed(&**n), Cow::Borrowed(&**v))).collect(),
        body: &response.body,
        truncated: response.body_truncated,
        error: response.body_error.as_deref().map(Cow::Borrowed),
    }
}

impl ResponseRecord<'_> {
    fn into_response(self) -> Response {
        Response {
            status: self.status,
            headers: self.headers.into_iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect(),
            body: self.body.to_vec(),
            body_truncated: self.truncated,
            body_error: self.error.map(Cow::into_owned),
        }
    }
}

fn encode_phases(phases: &Phases) -> [Option<u64>; 6] {
    let micros = |phase: Duration| u64::try_from(phase.as_micros()).unwrap_or(u64::MAX);
    let Phases { resolve, connect, tls, headers, body, total } = *phases;
    [resolve, connect, tls, headers, body, Some(total)].map(|phase| phase.map(micros))
}

fn decode_phases(micros: [Option<u64>; 6]) -> Phases {
    let [resolve, connect, tls, headers, body, total] = micros.map(|phase| phase.map(Duration::from_micros));
    Phases { resolve, connect, tls, headers, body, total: total.unwrap_or_default() }
}

const fn failure_code(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Connect => 1,
        FailureKind::Protocol => 2,
        FailureKind::Refused => 3,
        FailureKind::Resolve => 4,
        FailureKind::Timeout => 5,
        FailureKind::Tls => 6,
        FailureKind::Local => 7,
        FailureKind::Proxy => 8,
    }
}

const fn failure_kind(code: u8) -> Option<FailureKind> {
    Some(match code {
        1 => FailureKind::Connect,
        2 => FailureKind::Protocol,
        3 => FailureKind::Refused,
        4 => FailureKind::Resolve,
        5 => FailureKind::Timeout,
        6 => FailureKind::Tls,
        7 => FailureKind::Local,
        8 => FailureKind::Proxy,
        _ => return None,
    })
}

/// The names are written out: rows of earlier versions have the first of them.
#[derive(Serialize, Deserialize)]
struct EndpointRecord<'a> {
    account: AccountName,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_zero")]
    revision: u32,
    disabled: Option<Disabled>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unavailable: Option<Disabled>,
    consecutive_failures: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    resets: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expire_ms: Option<u64>,
    /// With it.
    #[serde(default, skip_serializing_if = "is_false")]
    fifo: bool,
    /// Of one of the configuration's.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    /// Of one that was made over the API.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    own: Option<OwnRecord<'a>>,
    /// Of one that callbacks go to.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    /// Of one that has been deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<u64>,
    /// The event before which, and the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    discard: Option<(u64, u64)>,
}

/// Borrowed from the row through and through: no copy of a secret is made that would not be wiped.
#[derive(Serialize, Deserialize)]
struct OwnRecord<'a> {
    #[serde(rename = "ur", borrow)]
    url: &'a str,
    #[serde(rename = "de", default, borrow, skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(rename = "ty", borrow)]
    event_types: Vec<&'a str>,
    #[serde(rename = "pr", default, borrow, skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(rename = "hd", default, borrow, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(&'a str, &'a str)>,
    /// Each with when it was made, and until when it signs.
    #[serde(rename = "se", default, borrow, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<(&'a str, u64, Option<u64>)>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Holds secrets: wiped when it has been written.
pub(super) fn encode_endpoint(endpoint: &Endpoint) -> Zeroizing<Vec<u8>> {
    let (name, url, own, deleted_at) = match &endpoint.source {
        Source::Configuration { name, url } => (Some(name.as_str()), url.as_deref(), None, None),
        Source::Api(own) => (None, None, Some(own_record(own)), None),
        Source::Callback { .. } => (None, None, None, None),
        Source::Deleted { at } => (None, None, None, Some(at.as_millis())),
    };
    let origin = endpoint.origin();
    // With room for all of it: a row that grows leaves its old bytes behind.
    let size = 512 + url.or(origin).map_or(0, str::len) + own.as_ref().map_or(0, OwnRecord::size);
    let record = EndpointRecord {
        account: endpoint.account.clone(),
        name,
        created_at: endpoint.created_at,
        updated_at: (endpoint.updated_at != endpoint.created_at).then_some(endpoint.updated_at),
        revision: endpoint.revision,
        disabled: endpoint.disabled,
        unavailable: endpoint.unavailable,
        consecutive_failures: endpoint.consecutive_failures,
        resets: endpoint.resets,
        expire_ms: endpoint
            .lasting
            .map(|lasting| u64::try_from(lasting.expire.as_millis()).unwrap_or(u64::MAX)),
        fifo: endpoint.lasting.is_some_and(|lasting| lasting.fifo),
        url,
        own,
        origin,
        deleted_at,
        discard: endpoint.discard.map(|discard| (discard.below.get(), discard.at.as_millis())),
    };
    let row = encode_map(&record, size);
    debug_assert!(row.capacity() == size, "a row of {} bytes has outgrown {size}", row.len());
    Zeroizing::new(row)
}

pub(super) fn decode_endpoint(row: &[u8]) -> Option<Endpoint> {
    let record: EndpointRecord<'_> = decode_map(row)?;
    let source = match (record.name, record.own, record.origin, record.deleted_at) {
        (Some(name), None, None, None) => {
            Source::Configuration { name: name.to_owned(), url: record.url.map(str::to_owned) }
        }
        (None, Some(own), None, None) => Source::Api(Box::new(own.into_own()?)),
        (None, None, Some(origin), None) => Source::Callback { origin: origin.into() },
        (None, None, None, Some(at)) => Source::Deleted { at: Timestamp::from_millis(at) },
        _ => return None,
    };
    // Rows of earlier versions have all reasons in one place.
    let (disabled, earlier) = match record.disabled {
        Some(disabled) if !disabled.reason.is_durable() => (None, Some(disabled)),
        disabled => (disabled, None),
    };
    Some(Endpoint {
        account: record.account,
        source,
        created_at: record.created_at,
        updated_at: record.updated_at.unwrap_or(record.created_at),
        revision: record.revision,
        disabled,
        unavailable: record.unavailable.or(earlier),
        consecutive_failures: record.consecutive_failures,
        resets: record.resets,
        lasting: record
            .expire_ms
            .map(|expire| Lasting { expire: Duration::from_millis(expire), fifo: record.fifo }),
        discard: record
            .discard
            .map(|(below, at)| Discard { below: Seq::new(below), at: Timestamp::from_millis(at) }),
    })
}

fn own_record(own: &Own) -> OwnRecord<'_> {
    OwnRecord {
        url: own.url.as_str(),
        description: own.description.as_deref(),
        event_types: own.event_types.iter().map(TypePattern::as_str).collect(),
        profile: own.profile.as_deref(),
        headers: own.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect(),
        secrets: own.secrets.iter().map(secret_record).collect(),
    }
}

fn secret_record(one: &DatedSecret) -> (&str, u64, Option<u64>) {
    (one.secret.expose(), one.made_at.as_millis(), one.until.map(Timestamp::as_millis))
}

impl OwnRecord<'_> {
    /// More bytes than it is written in.
    fn size(&self) -> usize {
        let types = self.event_types.iter().map(|one| one.len() + 5);
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + 11);
        let secrets = self.secrets.iter().map(|(secret, ..)| secret.len() + 24);
        let texts = [Some(self.url), self.description, self.profile].into_iter().flatten().map(str::len);
        64 + types.chain(headers).chain(secrets).chain(texts).sum::<usize>()
    }

    fn into_own(self) -> Option<Own> {
        let secret = |(secret, made_at, until): (&str, u64, Option<u64>)| DatedSecret {
            secret: Secret::new(secret.to_owned()),
            made_at: Timestamp::from_millis(made_at),
            until: until.map(Timestamp::from_millis),
        };
        let header = |(name, value): (&str, &str)| (name.to_owned(), Secret::new(value.to_owned()));
        Some(Own {
            url: self.url.parse().ok()?,
            description: self.description.map(str::to_owned),
            event_types: self.event_types.into_iter().map(|one| one.parse().ok()).collect::<Option<_>>()?,
            profile: self.profile.map(str::to_owned),
            headers: self.headers.into_iter().map(header).collect(),
            secrets: self.secrets.into_iter().map(secret).collect(),
        })
    }
}

/// An account that was made over the API. Borrowed from the row, as is what has secrets of an endpoint.
#[derive(Serialize, Deserialize)]
struct TenantRecord<'a> {
    #[serde(rename = "de", default, borrow, skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(rename = "pr", borrow)]
    profile: &'a str,
    #[serde(rename = "me")]
    max_endpoints: u64,
    #[serde(rename = "ho")]
    https_only: bool,
    #[serde(rename = "mo")]
    max_origins: u64,
    /// Milliseconds.
    #[serde(rename = "re", default, skip_serializing_if = "Option::is_none")]
    retention: Option<u64>,
    #[serde(rename = "rf", default, skip_serializing_if = "Option::is_none")]
    retention_failed: Option<u64>,
    #[serde(rename = "se", default, borrow, skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(rename = "al", default, skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<(IpAddr, u8)>>,
    #[serde(rename = "dn", default, skip_serializing_if = "Vec::is_empty")]
    deny: Vec<(IpAddr, u8)>,
    /// Each with its groups, description and effect.
    #[serde(rename = "ty", default, borrow, skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<KnownTypeRecord<'a>>>,
    #[serde(rename = "at")]
    created_at: u64,
    #[serde(rename = "up", default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KnownTypeRecord<'a> {
    #[serde(rename = "na", borrow)]
    name: &'a str,
    #[serde(rename = "gr", default, borrow, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<&'a str>,
    #[serde(rename = "de", default, borrow, skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(rename = "ef", default, skip_serializing_if = "Option::is_none")]
    effect: Option<u8>,
}

/// Holds a secret: wiped when it has been written.
pub(super) fn encode_tenant(tenant: &Tenant) -> Zeroizing<Vec<u8>> {
    let known = |one: &'_ KnownType| {
        48 + one.name.as_str().len()
            + one.description.len()
            + one.groups.iter().map(|group| group.len() + 5).sum::<usize>()
    };
    let types: usize = tenant.event_types.iter().flatten().map(known).sum();
    let networks = tenant.deny.len() + tenant.allow.as_ref().map_or(0, Vec::len);
    let texts =
        [tenant.description.as_deref(), Some(&tenant.profile), tenant.secret.as_ref().map(Secret::expose)];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    // With room for all of it: a row that grows leaves its old bytes behind.
    let size = 256 + types + networks * 80 + texts;
    let age = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let record = TenantRecord {
        description: tenant.description.as_deref(),
        profile: &tenant.profile,
        max_endpoints: tenant.max_endpoints,
        https_only: tenant.https_only,
        max_origins: tenant.max_origins,
        retention: tenant.retention.map(age),
        retention_failed: tenant.retention_failed.map(age),
        secret: tenant.secret.as_ref().map(Secret::expose),
        allow: tenant.allow.clone(),
        deny: tenant.deny.clone(),
        event_types: tenant.event_types.as_ref().map(|types| types.iter().map(known_type_record).collect()),
        created_at: tenant.created_at.as_millis(),
        updated_at: (tenant.updated_at != tenant.created_at).then_some(tenant.updated_at.as_millis()),
    };
    let row = encode_map(&record, size);
    debug_assert!(row.capacity() == size, "a row of {} bytes has outgrown {size}", row.len());
    Zeroizing::new(row)
}

fn known_type_record(known: &KnownType) -> KnownTypeRecord<'_> {
    KnownTypeRecord {
        name: known.name.as_str(),
        groups: known.groups.iter().map(String::as_str).collect(),
        description: &known.description,
        effect: effect_code(known.effect),
    }
}

pub(super) fn decode_tenant(row: &[u8]) -> Option<Tenant> {
    let record: TenantRecord<'_> = decode_map(row)?;
    let known = |one: KnownTypeRecord<'_>| {
        Some(KnownType {
            name: one.name.parse().ok()?,
            groups: one.groups.into_iter().map(str::to_owned).collect(),
            description: one.description.to_owned(),
            effect: effect(one.effect)?,
        })
    };
    let event_types = match record.event_types {
        Some(types) => Some(types.into_iter().map(known).collect::<Option<_>>()?),
        None => None,
    };
    Some(Tenant {
        description: record.description.map(str::to_owned),
        profile: record.profile.to_owned(),
        max_endpoints: record.max_endpoints,
        https_only: record.https_only,
        max_origins: record.max_origins,
        retention: record.retention.map(Duration::from_millis),
        retention_failed: record.retention_failed.map(Duration::from_millis),
        secret: record.secret.map(|secret| Secret::new(secret.to_owned())),
        allow: record.allow,
        deny: record.deny,
        event_types,
        created_at: Timestamp::from_millis(record.created_at),
        updated_at: Timestamp::from_millis(record.updated_at.unwrap_or(record.created_at)),
    })
}

/// A row of `ids`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRow {
    /// Keyed hash of the account and the producer's id.
    pub(super) id: u128,
    /// Keyed hash of what the event says.
    pub(super) content: u128,
    /// When the event was accepted.
    pub(super) at: Timestamp,
    /// The same on the time that ages run on, which never goes back.
    pub(super) age: Timestamp,
}

impl IdRow {
    const LENGTH: usize = 38;

    /// 38 bytes, and six more where the clock was not set: the age then.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(Self::LENGTH + 6);
        row.extend(self.id.to_be_bytes());
        row.extend(self.content.to_be_bytes());
        row.extend(six(self.at.as_millis()));
        if self.age != self.at {
            row.extend(six(self.age.as_millis()));
        }
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (row, age) = row.split_first_chunk::<{ Self::LENGTH }>()?;
        let age = if age.is_empty() { &row[32..38] } else { age };
        Some(Self {
            age: Timestamp::from_millis(read_six(age.try_into().ok()?)),
            id: u128::from_be_bytes(row[0..16].try_into().ok()?),
            content: u128::from_be_bytes(row[16..32].try_into().ok()?),
            at: Timestamp::from_millis(read_six(row[32..38].try_into().ok()?)),
        })
    }
}

/// A row of `keys`. One that was revoked has no field.
#[derive(Serialize, Deserialize)]
struct KeyRecord<'a> {
    #[serde(rename = "ro", default, borrow, skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(rename = "ac", default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountName>,
    #[serde(rename = "ha", default, borrow, with = "serde_bytes", skip_serializing_if = "<[u8]>::is_empty")]
    hash: &'a [u8],
    #[serde(rename = "no", default, borrow, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    created_at: Option<u64>,
    #[serde(rename = "ex", default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(rename = "us", default, skip_serializing_if = "Option::is_none")]
    last_used_at: Option<u64>,
}

/// `None`: one that was revoked.
pub(super) fn encode_key(key: Option<&StoredKey>) -> Vec<u8> {
    let record = KeyRecord {
        role: key.map(|key| key.role.word()),
        account: key.and_then(|key| key.role.account().cloned()),
        hash: key.map_or(&[], |key| &key.hash.0),
        name: key.and_then(|key| key.name.as_deref()).map(Cow::Borrowed),
        created_at: key.map(|key| key.created_at.as_millis()),
        expires_at: key.and_then(|key| key.expires_at).map(Timestamp::as_millis),
        last_used_at: key.and_then(|key| key.last_used_at).map(Timestamp::as_millis),
    };
    encode_map(&record, 128)
}

/// The key of a row, which is none where it was revoked; `None` when the row is not of our form.
#[allow(clippy::option_option, reason = "a row that is not of our form, and one of a key that was revoked")]
pub(super) fn decode_key(row: &[u8]) -> Option<Option<StoredKey>> {
    let record: KeyRecord<'_> = decode_map(row)?;
    let Some(role) = record.role else { return Some(None) };
    Some(Some(StoredKey {
        role: Role::new(role, record.account)?,
        hash: KeyHash(record.hash.try_into().ok()?),
        name: record.name.map(Cow::into_owned),
        created_at: Timestamp::from_millis(record.created_at?),
        expires_at: record.expires_at.map(Timestamp::from_millis),
        last_used_at: record.last_used_at.map(Timestamp::from_millis),
    }))
}

pub(super) fn encode_map<T: Serialize>(record: &T, capacity: usize) -> Vec<u8> {
    let mut row = Vec::with_capacity(capacity);
    row.push(VERSION);
    let mut serializer = rmp_serde::Serializer::new(&mut row).with_struct_map();
    record
        .serialize(&mut serializer)
        .expect("a Vec takes every byte, and the records have no map of unknown length");
    row
}

pub(super) fn decode_map<'a, T: Deserialize<'a>>(row: &'a [u8]) -> Option<T> {
    let (version, map) = row.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(map);
    deserializer.set_max_depth(16);
    T::deserialize(&mut deserializer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::DisableReason;

    fn event() -> NewEvent {
        NewEvent {
            account: AccountName::default(),
            event_type: "a.b".parse().expect("a type"),
            data: Bytes::from_static(b"{ \"n\": 1.0 }"),
            producer_id: Some("p-1".to_owned()),
            time: Some(Timestamp::from_millis(5)),
            not_before: Some(NotBefore::At(Timestamp::from_millis(6))),
            content_type: Some("application/pdf".parse().expect("a content type")),
            url: Some("https://a.example/x?y".into()),
            key: Some("k-1".to_owned()),
            effect: Effect::None,
            cloud: Some("{\"source\":\"/s\",\"id\":\"1\"}".parse().expect("attributes")),
            uid: Some(u32::MAX),
        }
    }

    fn delivery(random: &mut fastrand::Rng) -> Delivery {
        let states = (0..4).flat_map(|state| (0..6).filter_map(move |reason| decode_state(state, reason)));
        let states: Vec<_> = states.collect();
        assert_eq!(states.len(), 10, "every state is tried");
        Delivery {
            endpoint: EndpointNumber::new(random.u32(..)),
            due: Timestamp::from_millis(random.u64(..1 << 48)),
            start: Timestamp::from_millis(random.u64(..1 << 48)),
            attempt: random.u32(..),
            step: random.u8(..),
            last_status: random.bool().then(|| random.u16(1..)),
            last_attempt: random.bool().then(|| AttemptRow::new(random.u64(1..1 << 48))),
            asked: random.bool(),
            replayed: random.bool(),
            called_off: random.bool(),
            order: match random.u8(..3) {
                0 => Order::Free,
                1 => Order::Unjoined,
                _ => Order::Place(random.u64(1..)),
            },
            state: states[random.usize(..states.len())],
        }
    }

    #[test]
    fn rows_read_back() {
        let mut random = fastrand::Rng::with_seed(3);
        let groups = [Group::KEYLESS, Group::of_hash(0), Group::of_hash(random.u64(..))];
        for (count, group) in [0, 1, 2, 128].into_iter().flat_map(|count| groups.map(|group| (count, group)))
        {
            let deliveries: Vec<_> = (0..count).map(|_| delivery(&mut random)).collect();
            let mut bytes = encode_row(&event(), Timestamp::from_millis(9), group, &deliveries);
            let row = decode_row(&bytes).expect("a row reads back");
            assert_eq!(row.deliveries, deliveries);
            assert_eq!((row.head.size, row.head.accepted_at.as_millis()), (12, 9));
            assert_eq!((row.head.event_type.as_str(), row.head.group), ("a.b", group));
            assert_eq!(decode_brief(&bytes).map(|brief| brief.size), Some(12));
            assert_eq!(any_pending(&bytes), deliveries.iter().any(|d| d.state == State::Pending));
            if count > 0 {
                let other = delivery(&mut random);
                patch(&mut bytes, count - 1, &other).expect("the place is there");
                assert_eq!(decode_row(&bytes).expect("a row").deliveries[count - 1], other);
            }
            assert!(patch(&mut bytes, count, &delivery(&mut random)).is_none());
        }
    }

    #[test]
    fn events_and_attempts_read_back() {
        let at = Timestamp::from_millis(7);
        let row = encode_event(&event(), at, true);
        assert_eq!(decode_url(&row), Ok(event().url.as_deref()));
        assert_eq!(
            decode_event(Seq::new(3), &row),
            Some(Event { seq: Seq::new(3), accepted_at: at, clock_unset: true, new: event() })
        );

        for (not_before, millis) in
            [(None, None), (Some(NotBefore::After(Duration::from_millis(3))), Some(10))]
        {
            let other =
                NewEvent { not_before, content_type: None, url: None, cloud: None, uid: None, ..event() };
            let row = encode_event(&other, at, false);
            assert_eq!(decode_url(&row), Ok(None));
            let read = decode_event(Seq::new(3), &row).expect("an event").new;
            assert_eq!((read.content_type, read.cloud, read.uid), (None, None, None));
            assert_eq!(read.not_before, millis.map(|millis| NotBefore::At(Timestamp::from_millis(millis))));
        }

        let response = Response {
            status: 503,
            headers: vec![("retry-after".to_owned(), "3".to_owned())],
            body: vec![0, 255],
            body_truncated: true,
            body_error: Some("cut".to_owned()),
        };
        let failure = Failure { kind: FailureKind::Timeout, message: "no headers within 30s".to_owned() };
        let local = Failure { kind: FailureKind::Local, message: "no descriptors".to_owned() };
        let proxy = Failure { kind: FailureKind::Proxy, message: "no proxy".to_owned() };
        let signatures = [("x", "v1,x v1,y"), ("", ""), ("x", "x"), ("", "")];
        let [failure, local, proxy] = [failure, local, proxy].map(Outcome::Failure);
        let outcomes = [Outcome::Response(response), failure, local, proxy];
        let whys = [Why::AfterCrash, Why::Schedule, Why::Probe, Why::RetryAfter];
        let mut fingerprints = [Some(0), None, Some(1), Some(u64::MAX)].into_iter();
        for ((outcome, (signature, signatures)), why) in outcomes.into_iter().zip(signatures).zip(whys) {
            let attempt = Attempt {
                delivery: DeliveryKey { seq: Seq::new(1), slot: 2 },
                endpoint: EndpointNumber::new(3),
                number: 4,
                previous: Some(AttemptRow::new(5)),
                why,
                report: Report {
                    started_at: at,
                    fingerprint: fingerprints.next().expect("four").map(Fingerprint::new),
                    signature: signature.to_owned(),
                    signatures: signatures.to_owned(),
                    address: Some("[::1]:443".parse().expect("an address")),
                    reconnected: true,
                    phases: Phases { tls: Some(Duration::from_micros(12)), ..Phases::default() },
                    success: why == Why::Schedule,
                    outcome,
                },
            };
            let Attempt { delivery, endpoint, number, previous, why, .. } = attempt;
            let head = AttemptHead { delivery, endpoint, number, previous, why };
            assert_eq!(decode_attempt(&encode_attempt(&head, &attempt.report)), Some(attempt));
        }
    }

    fn endpoint(source: Source) -> Endpoint {
        let at = Timestamp::from_millis(7);
        Endpoint {
            account: AccountName::default(),
            source,
            created_at: at,
            updated_at: at,
            revision: 0,
            disabled: None,
            unavailable: None,
            consecutive_failures: 3,
            resets: 0,
            lasting: None,
            discard: None,
        }
    }

    /// A row as it was before endpoints had more than a name.
    #[test]
    fn endpoints_of_earlier_versions_read_back() {
        #[derive(Serialize)]
        struct Earlier {
            account: AccountName,
            name: String,
            created_at: Timestamp,
            disabled: Option<Disabled>,
            consecutive_failures: u32,
            #[serde(skip_serializing_if = "Option::is_none")]
            expire_ms: Option<u64>,
        }
        for reason in [None, Some(DisableReason::NotConfigured), Some(DisableReason::NoCredential)] {
            let disabled = reason.map(|reason| Disabled { reason, since: Timestamp::EPOCH });
            for expire_ms in [None, Some(9)] {
                let earlier = Earlier {
                    account: AccountName::default(),
                    name: "erp".to_owned(),
                    created_at: Timestamp::from_millis(7),
                    disabled,
                    consecutive_failures: 3,
                    expire_ms,
                };
                let lasting =
                    expire_ms.map(|expire| Lasting { expire: Duration::from_millis(expire), fifo: false });
                let source = Source::Configuration { name: "erp".to_owned(), url: None };
                let expected = Endpoint { unavailable: disabled, lasting, ..endpoint(source) };
                assert_eq!(decode_endpoint(&encode_map(&earlier, 64)), Some(expected));
            }
        }
    }

    fn text(random: &mut fastrand::Rng, most: usize) -> String {
        (0..random.usize(..most)).map(|_| random.alphanumeric()).collect()
    }

    fn random_own(random: &mut fastrand::Rng) -> Own {
        let date = |random: &mut fastrand::Rng| Timestamp::from_millis(random.u64(..1 << 48));
        let count = random.usize(..40);
        Own {
            url: format!("https://a.example/{}", text(random, 3_000)).parse().expect("a URL"),
            description: random.bool().then(|| text(random, 500)),
            event_types: (0..=count).map(|_| "a.*".parse().expect("a pattern")).collect(),
            profile: random.bool().then(|| "raw".to_owned()),
            headers: (0..count).map(|n| (format!("x-{n}"), Secret::new(text(random, 300)))).collect(),
            secrets: (0..random.usize(..=DatedSecret::MOST))
                .map(|_| DatedSecret {
                    secret: Secret::new(text(random, 70_000)),
                    made_at: date(random),
                    until: random.bool().then(|| date(random)),
                })
                .collect(),
        }
    }

    #[test]
    fn endpoints_read_back() {
        let mut random = fastrand::Rng::with_seed(5);
        let reasons = [DisableReason::Failures, DisableReason::Gone, DisableReason::Operator];
        for round in 0..300 {
            // Some are written as RFC 3339, which ends with the year 9999.
            let at = Timestamp::from_millis(random.u64(..1 << 47));
            let source = match round % 3 {
                0 => Source::Api(Box::new(random_own(&mut random))),
                1 => Source::Deleted { at },
                _ if random.bool() => Source::Callback { origin: text(&mut random, 300).into() },
                _ => Source::Configuration { name: "x".repeat(64), url: Some(text(&mut random, 3_000)) },
            };
            let mut wanted = endpoint(source);
            wanted.account = "a".repeat(64).parse().expect("an account");
            wanted.revision = random.u32(..);
            wanted.resets = random.u32(..);
            wanted.updated_at = if random.bool() { at } else { wanted.updated_at };
            wanted.disabled =
                random.choice(reasons).filter(|_| random.bool()).map(|reason| Disabled { reason, since: at });
            let lacks = Disabled { reason: DisableReason::NoProfile, since: at };
            wanted.unavailable = random.bool().then_some(lacks);
            let lasting = Lasting { expire: Duration::from_millis(u64::MAX), fifo: random.bool() };
            wanted.lasting = random.bool().then_some(lasting);
            wanted.discard = random.bool().then(|| Discard { below: Seq::new(random.u64(..1 << 48)), at });
            assert_eq!(decode_endpoint(&encode_endpoint(&wanted)), Some(wanted));
        }
    }

    #[test]
    fn accounts_read_back() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..300 {
            let network = |random: &mut fastrand::Rng| -> (IpAddr, u8) {
                if random.bool() {
                    ([10, 0, 0, 0].into(), 8)
                } else {
                    ([0xfd00, 0, 0, 0, 0, 0, 0, 0].into(), 64)
                }
            };
            let networks =
                |random: &mut fastrand::Rng| (0..random.usize(..9)).map(|_| network(random)).collect();
            let known = |random: &mut fastrand::Rng| KnownType {
                name: format!("a.b{}", random.u32(..)).parse().expect("a type"),
                groups: (0..random.usize(..4)).map(|_| text(random, 40)).collect(),
                description: text(random, 300),
                effect: [Effect::Live, Effect::Partial, Effect::None][random.usize(..3)],
            };
            let at = Timestamp::from_millis(random.u64(..1 << 40));
            let tenant = Tenant {
                description: random.bool().then(|| text(&mut random, 1_000)),
                profile: text(&mut random, 64),
                max_endpoints: random.u64(..),
                https_only: random.bool(),
                max_origins: random.u64(..),
                retention: random.bool().then(|| Duration::from_millis(random.u64(..))),
                retention_failed: random.bool().then(|| Duration::from_millis(random.u64(..))),
                secret: random.bool().then(|| Secret::new(text(&mut random, 200))),
                allow: random.bool().then(|| networks(&mut random)),
                deny: networks(&mut random),
                event_types: random
                    .bool()
                    .then(|| (0..random.usize(..50)).map(|_| known(&mut random)).collect()),
                created_at: at,
                updated_at: if random.bool() { at } else { at.plus(Duration::from_secs(1)) },
            };
            let row = encode_tenant(&tenant);
            assert_eq!(decode_tenant(&row), Some(tenant));
            assert_eq!(decode_tenant(&row[..row.len() - 1]), None);
        }
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let mut own = random_own(&mut fastrand::Rng::with_seed(1));
        own.secrets = vec![DatedSecret::lasting(Secret::new("hushhush".to_owned()))];
        own.headers = vec![("authorization".to_owned(), Secret::new("hushhush".to_owned()))];
        let shown = format!("{:?}", endpoint(Source::Api(Box::new(own))));
        assert!(shown.contains("authorization") && !shown.contains("hushhush"), "{shown}");
    }

    #[test]
    fn garbage_is_no_row() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..5_000 {
            let garbage: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
            let _ = (decode_row(&garbage), decode_event(Seq::ZERO, &garbage), decode_attempt(&garbage));
            let _ = (decode_endpoint(&garbage), IdRow::decode(&garbage));
        }
        let mut row = encode_row(&event(), Timestamp::EPOCH, Group::of_hash(7), &[]);
        row[0] = 3;
        assert_eq!(decode_row(&row), None, "another version's row is not guessed at");
    }
}
