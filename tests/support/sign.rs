//! Signatures, made here from their description and not by the crate.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::receiver::Hook;

/// HMAC-SHA256 over the parts.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// Checks a request as Standard Webhooks has it: over `id.timestamp.body`, base64 after `v1,`.
pub fn check_standard(hook: &Hook, key: &[u8]) {
    let (id, timestamp) = (hook.header("webhook-id"), hook.header("webhook-timestamp"));
    let mac = hmac_sha256(key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", &hook.body]);
    assert_eq!(hook.header("webhook-signature"), format!("v1,{}", STANDARD.encode(mac)));
    assert_fresh(timestamp);
}

/// Checks a request as Transcodely describes it: over `timestamp.body`, hex after `sha256=`.
pub fn check_transcodely(hook: &Hook, secret: &str) {
    let timestamp = hook.header("x-transcodely-timestamp");
    let mac = hmac_sha256(secret.as_bytes(), &[timestamp.as_bytes(), b".", &hook.body]);
    assert_eq!(hook.header("x-transcodely-signature"), format!("sha256={}", hex::encode(mac)));
    assert_fresh(timestamp);
}

/// Checks a request as Elai's example has it: over `timestamp.body`, in hex, the timestamp in milliseconds.
pub fn check_elai(hook: &Hook, secret: &str) {
    let timestamp = hook.header("elai-timestamp");
    let mac = hmac_sha256(secret.as_bytes(), &[timestamp.as_bytes(), b".", &hook.body]);
    assert_eq!(hook.header("elai-signature"), hex::encode(mac));
    assert_eq!(timestamp.len(), 13, "milliseconds: {timestamp}");
    assert_fresh(&timestamp[..10]);
}

/// Five minutes is what receivers allow.
fn assert_fresh(timestamp: &str) {
    let seconds: i64 = timestamp.parse().expect("Unix seconds");
    let age = unix_seconds() - seconds;
    assert!((0..300).contains(&age), "the timestamp is {age} s old");
}

/// The wall clock.
#[allow(clippy::disallowed_methods, reason = "the tests look at the daemon from outside, on a real clock")]
pub fn unix_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}
