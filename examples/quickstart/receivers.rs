//! The subscribers' side: two receivers that verify what comes, and answer as told.
//!
//! They live in this process, so that they outlive the daemon when it is killed.

use std::{sync::mpsc, thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use posthaste::{
    cli::{
        listen::{Answers, Options, Receiver, Seen, Verdict},
        profile,
        verify::Verifier,
    },
    clock::{Chance, Clock},
    model::{secret::Secret, time::Timestamp},
    policy::placeholder::Placeholder,
};
use serde::Deserialize;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::Result;

/// When nothing has come for so long, nothing is on its way.
const QUIET: Duration = Duration::from_millis(250);

/// Where a receiver is, and the secret that its deliveries are signed with.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) secret: String,
}

/// A verified request as it came to a receiver.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Timestamp,
    pub(crate) event_type: String,
    pub(crate) event_id: String,
    pub(crate) delivery_id: String,
    pub(crate) attempt: u32,
    /// The status that it was answered with.
    pub(crate) answer: u16,
}

/// What the receivers have seen, in the order in which it came.
pub(crate) struct Inbox {
    clock: Clock,
    sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

enum News {
    Interrupted,
    Request(&'static str, Box<Seen>),
}

/// Answers 200, after a while in which the daemon can be killed.
pub(crate) fn steady() -> Answers {
    Answers { delay: Duration::from_millis(25), ..Answers::default() }
}

/// Answers 500 to the first two requests of each delivery.
pub(crate) fn fails_twice() -> Answers {
    Answers { fail_first: 2, ..Answers::default() }
}

/// Starts a receiver; it ends with this process.
pub(crate) fn start(name: &'static str, answers: Answers, inbox: &Inbox) -> Result<Endpoint> {
    let secret = format!("whsec_{}", STANDARD.encode(Chance.bytes::<24>()?));
    let form = profile::named("posthaste", None)?;
    let verifier = Verifier::new(form, Some(&Secret::new(secret.clone())))?;
    let mut receiver = Receiver::start(Options { port: 0, verifier, answers, save: None }, inbox.clock)?;
    let url = receiver.url();
    let sender = inbox.sender.clone();
    thread::spawn(move || {
        while let Some(seen) = receiver.next_seen() {
            if sender.send(News::Request(name, Box::new(seen))).is_err() {
                return;
            }
        }
    });
    Ok(Endpoint { url, secret })
}

impl Inbox {
    /// An inbox that Ctrl-C ends, so that everything is put away then, too.
    pub(crate) fn open(clock: Clock) -> Result<Self> {
        let (sender, news) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let forward = sender.clone();
        thread::spawn(move || signals.forever().try_for_each(|_| forward.send(News::Interrupted)));
        Ok(Self { clock, sender, news })
    }

    /// Waits for the next request.
    pub(crate) fn next(&self, patience: Duration) -> Result<Arrival> {
        match self.news.recv_timeout(patience) {
            Ok(news) => news.read(),
            Err(_) => Err(format!("no delivery came for {} s", patience.as_secs()).into()),
        }
    }

    /// What has come, or is coming without pause.
    pub(crate) fn rest(&self) -> Result<Vec<Arrival>> {
        let mut arrivals = Vec::new();
        while let Ok(news) = self.news.recv_timeout(QUIET) {
            arrivals.push(news.read()?);
        }
        Ok(arrivals)
    }
}

/// The part of the `envelope` body that is shown here.
#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
}

impl News {
    /// A request is good only if its signature is.
    fn read(self) -> Result<Arrival> {
        let (name, seen) = match self {
            Self::Interrupted => return Err("interrupted".into()),
            Self::Request(name, seen) => (name, seen),
        };
        if seen.verdict != Verdict::Verified {
            return Err(format!("{name} received a request that is not verified: {:?}", seen.verdict).into());
        }
        let envelope: Envelope = serde_json::from_slice(&seen.body)?;
        let attempt = seen.headers.get("webhook-attempt").ok_or("a request has no webhook-attempt")?;
        Ok(Arrival {
            at: seen.at,
            event_type: envelope.event_type,
            event_id: envelope.id,
            delivery_id: seen
                .said
                .get(Placeholder::DeliveryId)
                .ok_or("a request has no webhook-id")?
                .to_owned(),
            attempt: attempt.to_str()?.parse()?,
            answer: seen.answer.as_u16(),
        })
    }
}
