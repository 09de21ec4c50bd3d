//! Profiles: how webhooks look and behave. Plain data; `policy::form` compiles the patterns and templates.

use std::{num::NonZeroU32, time::Duration};

/// A profile as the configuration says it, every key given.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Which statuses are a success.
    pub success: Success,
    /// One deadline from resolving to the end of the body.
    pub timeout: Duration,
    /// The delay before each attempt, from the end of the one before (the first: from the event). Never empty, at most 255.
    pub retry: Vec<Duration>,
    /// Each delay is lengthened by up to this fraction of itself; 0 to 1.
    pub jitter: f64,
    /// How long after its first due time a delivery still pending fails.
    pub expire: Duration,
    /// Whether the next attempt waits as long as the answer asks for (`Retry-After`).
    pub retry_after: bool,
    /// Whether a 410 ends its delivery and disables the endpoint.
    pub gone_disables: bool,
    /// After so many attempts without success in a row an endpoint is disabled; 0: never.
    pub disable_after: u32,
    /// Requests open at once to one endpoint; at least 1.
    pub concurrency: u16,
    /// After so many failures of its own in a row only probes are made to an endpoint; 0: never.
    pub circuit: u32,
    /// How long before each probe; the last holds for all that follow. Never empty.
    pub probe: Vec<Duration>,
    /// How many attempts may start to one endpoint; `None`: any number.
    pub rate: Option<Rate>,
    /// Whether deliveries go one after the other, in the order of acceptance, among those whose events have the same key.
    pub fifo: bool,
    /// How requests are signed.
    pub signature: SignatureRule,
    /// Headers sent with every request: name, and value with placeholders.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: BodyRule,
}

/// What of a profile holds on for its deliveries when it has disappeared from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// How long after its first due time a delivery still pending fails; whole milliseconds.
    pub expire: Duration,
    /// Whether deliveries keep the order.
    pub fifo: bool,
}

impl Profile {
    /// What of it holds on when it has disappeared.
    pub const fn lasting(&self) -> Lasting {
        Lasting { expire: self.expire, fifo: self.fifo }
    }

    /// Whether `status` is a success under this profile.
    pub fn is_success(&self, status: u16) -> bool {
        match &self.success {
            Success::Class2xx => (200..300).contains(&status),
            Success::Codes(codes) => codes.contains(&status),
        }
    }
}

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time: a second, a minute or an hour.
    pub per: Duration,
}

/// Which statuses are a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// 200 to 299.
    Class2xx,
    /// These and no others.
    Codes(Vec<u16>),
}

/// How requests are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRule {
    /// With what.
    pub algorithm: Algorithm,
    /// How a secret becomes the key.
    pub key: KeyForm,
    /// What is signed, with placeholders.
    pub signed: String,
    /// How a signature's bytes are written.
    pub encoding: Encoding,
    /// The form of one signature among several, with `{signature}`.
    pub each: String,
    /// What stands between several.
    pub join: String,
}

/// What a request is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032): receivers verify with a public key.
    Ed25519,
    /// HMAC-SHA256 (RFC 2104, FIPS 180-4).
    HmacSha256,
    /// Not at all.
    None,
}

/// How a secret becomes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The secret is the key's base64 (standard alphabet, padded or not).
    Base64,
    /// The secret is the key's hex.
    Hex,
    /// The secret's own bytes are the key.
    Utf8,
    /// `whsec_` and the key's base64, as Standard Webhooks has it; with ed25519 `whsk_`.
    Whsec,
}

/// How a signature's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Standard alphabet, padded.
    Base64,
    /// Lower case.
    Hex,
}

/// What is sent as the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// CloudEvents 1.0.
    CloudEvents(CloudEventsRule),
    /// `{"id","type","timestamp","data"}`.
    Envelope,
    /// `data` as it came.
    Raw,
    /// A minijinja template.
    Template(String),
}

/// How an event becomes a CloudEvent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEventsRule {
    /// Where its attributes stand.
    pub mode: CloudEventsMode,
    /// Its attribute `source`, with placeholders.
    pub source: String,
}

/// Where the attributes of a CloudEvent stand: the content modes of its HTTP protocol binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudEventsMode {
    /// In headers; the body is the payload.
    Binary,
    /// In the body, beside the payload.
    Structured,
}
