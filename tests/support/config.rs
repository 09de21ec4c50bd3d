//! Pieces of configurations.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The key behind [`secret`].
pub const KEY: &[u8; 32] = b"thirty-two bytes that nobody has";

/// JSON that a parser would change: numbers, duplicate keys, white space, escapes, everything of other scripts.
pub const ODD: [&str; 12] = [
    r#"{"n":123456789012345678901234567890.10,"e":1E+400,"z":-0,"f":1.0}"#,
    r#"{"a":1,"a":2,"A":3}"#,
    "{ \"b\" :\t[ ] ,  \"c\":{ } }",
    r#""\u00e9\/\ud83d\ude00\b\f\" é😀""#,
    "{\"шрифт\":\"日本語\",\"emoji\":\"👩‍👩‍👧\",\"nul\":\"\\u0000\"}",
    "[[[[[[[[[[1],2],3],4],5],6],7],8],9],10]",
    "null",
    "true",
    "\"\"",
    "[]",
    "0",
    r#"{"z":{"y":{"x":[{"w":null},{"v":false}]}},"data":{"type":"x","id":"y"}}"#,
];

/// A secret of Standard Webhooks.
pub fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

/// An endpoint with [`secret`].
pub fn endpoint(name: &str, url: &str, event_types: &[&str], profile: &str) -> String {
    endpoint_with_secret(name, url, event_types, profile, &secret())
}

/// An endpoint.
pub fn endpoint_with_secret(
    name: &str,
    url: &str,
    event_types: &[&str],
    profile: &str,
    secret: &str,
) -> String {
    format!(
        "[[endpoint]]\nname = \"{name}\"\nurl = \"{url}\"\nevent_types = {event_types:?}\n\
         profile = \"{profile}\"\nsecret = \"{secret}\"\n"
    )
}

/// A profile with the headers of Standard Webhooks, the body `raw`, this schedule, and further `keys`.
pub fn profile(name: &str, retry: &[&str], keys: &str) -> String {
    format!("[profiles.{name}]\nretry = {retry:?}\n{keys}\n[profiles.{name}.body]\nformat = \"raw\"\n")
}
