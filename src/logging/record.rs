//! A record: one line of the log with its fields, as it was said.
//!
//! Values are made into text where they are said, as they live no longer, and in no more than [`BOUND`] bytes together: what
//! is longer is cut, and says so. So a record always fits a datagram: that has every value twice, as it is and in the
//! message, where a control character takes six times its room.

use std::{
    error::Error,
    fmt::{self, Debug, Write as _},
};

use tracing::{
    Event, Level, Metadata,
    field::{Field, Visit},
};

use super::{Kind, chain};
use crate::model::time::Timestamp;

/// So many bytes the values of a record have together, but for what says that they were cut.
pub(super) const BOUND: usize = 16 << 10;
/// What a record takes besides its values.
const REST: usize = 256;

/// A line with its fields.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) kind: Option<Kind>,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
    /// Where it was said.
    pub(super) source: Source,
    /// Of the process's last word: what stands before it where people read it.
    pub(super) heading: Option<&'static str>,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A text.
    Text(String),
    /// What something shows of itself (`%` and `?`).
    Shown(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Flag(bool),
}

/// Where in the code a record comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub(super) target: &'static str,
    /// Of this crate alone: others' are paths of the machine that built it.
    pub(super) file: Option<&'static str>,
    pub(super) line: Option<u32>,
}

impl Source {
    fn of(metadata: &'static Metadata<'static>) -> Self {
        let is_ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        let ours = Some(metadata).filter(|_| is_ours);
        Self {
            target: metadata.target(),
            file: ours.and_then(Metadata::file),
            line: ours.and_then(Metadata::line),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Shown(text) => f.write_str(text),
            Self::Signed(number) => write!(f, "{number}"),
            Self::Unsigned(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

impl Record {
    /// What was said through `tracing`.
    pub(super) fn of(event: &Event<'_>, at: Timestamp) -> Self {
        let mut values = Values { left: BOUND, kind: None, message: String::new(), fields: Vec::new() };
        event.record(&mut values);
        let Values { kind, message, fields, .. } = values;
        let metadata = event.metadata();
        Self {
            at,
            level: *metadata.level(),
            kind,
            message,
            fields,
            source: Source::of(metadata),
            heading: None,
        }
    }

    /// What the log itself has to say.
    pub(super) fn own(at: Timestamp, kind: Kind, message: &str) -> Self {
        let message = cut(format_args!("{message}"), &mut { BOUND });
        let source = Source { target: module_path!(), ..Source::default() };
        Self { at, level: kind.level(), kind: Some(kind), message, fields: Vec::new(), source, heading: None }
    }

    /// What ends the process.
    pub(super) fn last_word(at: Timestamp, heading: &'static str, text: &str) -> Self {
        Self { heading: Some(heading), ..Self::own(at, Kind::Failed, text) }
    }

    /// syslog's number for its level.
    pub(super) fn priority(&self) -> u8 {
        match self.level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        }
    }

    /// How many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let value = |(_, value): &(_, Value)| match value {
            Value::Text(text) | Value::Shown(text) => REST / 4 + text.len(),
            _ => REST / 4,
        };
        REST + self.message.len() + self.fields.iter().map(value).sum::<usize>()
    }
}

/// What an event says, while it is read.
struct Values {
    left: usize,
    kind: Option<Kind>,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Values {
    fn text(&mut self, field: &Field, text: fmt::Arguments<'_>, value: fn(String) -> Value) {
        let text = cut(text, &mut self.left);
        match field.name() {
            "message" => self.message = text,
            _ => self.put(field, value(text)),
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name(), value));
    }
}

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format_args!("{value:?}"), Value::Shown);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let kind = if field.name() == "kind" { Kind::of(value) } else { None };
        match kind {
            Some(kind) => self.kind = Some(kind),
            None => self.text(field, format_args!("{value}"), Value::Text),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, format_args!("{}", chain(value)), Value::Shown);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Flag(value));
    }
}

/// A text with no more bytes than are `left`, of which it takes what it has.
fn cut(text: fmt::Arguments<'_>, left: &mut usize) -> String {
    let mut bounded = Bounded { text: String::new(), left: *left, lost: 0 };
    // It takes all. What cannot say itself is not worth a panic of whoever has something to say.
    let _ = bounded.write_fmt(text);
    let Bounded { mut text, left: rest, lost } = bounded;
    *left = if lost > 0 { 0 } else { rest };
    if lost > 0 {
        write!(text, "… (cut: {lost} bytes more)").expect("a String takes all");
    }
    text
}

/// A text that takes so many bytes, and counts the others.
struct Bounded {
    text: String,
    left: usize,
    lost: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let mut take = if self.lost > 0 { 0 } else { more.len().min(self.left) };
        while !more.is_char_boundary(take) {
            take -= 1;
        }
        self.text.push_str(&more[..take]);
        self.left -= take;
        self.lost += more.len() - take;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing::Subscriber;
    use tracing_subscriber::{
        Layer,
        layer::{Context, SubscriberExt as _},
    };

    use super::*;

    /// What is said while this works.
    pub(in crate::logging) fn said(work: impl FnOnce()) -> Vec<Record> {
        #[derive(Clone, Default)]
        struct Heard(Arc<Mutex<Vec<Record>>>);
        impl<S: Subscriber> Layer<S> for Heard {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                let record = Record::of(event, Timestamp::RELEASED);
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            }
        }
        let heard = Heard::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(heard.clone()), work);
        std::mem::take(&mut *heard.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[test]
    fn an_event_becomes_a_record() {
        let work = || {
            let error = std::io::Error::other("disk on fire");
            tracing::warn!(
                kind = Kind::DoorShut.word(),
                endpoint = "erp",
                %error,
                count = 3,
                below = -1,
                share = 0.5,
                whole = true,
                nothing = Option::<&str>::None,
                "no events are {}",
                "taken"
            );
        };
        let [record] = said(work).try_into().expect("one");
        assert_eq!((record.level, record.kind), (Level::WARN, Some(Kind::DoorShut)));
        assert_eq!(record.message, "no events are taken");
        let expected = [
            ("endpoint", Value::Text("erp".to_owned())),
            ("error", Value::Shown("disk on fire".to_owned())),
            ("count", Value::Signed(3)),
            ("below", Value::Signed(-1)),
            ("share", Value::Float(0.5)),
            ("whole", Value::Flag(true)),
        ];
        assert_eq!(record.fields, expected);
        assert_eq!(record.source.target, module_path!());
        assert_eq!(record.source.file, Some(file!()));
        assert_eq!(record.priority(), 4);
    }

    #[test]
    fn others_files_are_not_named() {
        let work = || tracing::error!(target: "hyper::proto", "x");
        let [record] = said(work).try_into().expect("one");
        assert_eq!(
            (record.source.target, record.source.file, record.source.line),
            ("hyper::proto", None, None)
        );
    }

    #[test]
    fn what_is_longer_is_cut_and_says_so() {
        let (exact, long) = ("x".repeat(BOUND), "ä".repeat(BOUND));
        let [one] = said(|| tracing::info!("{exact}")).try_into().expect("one");
        assert_eq!(one.message, exact);
        let work = || tracing::info!(value = %long, last = "gone", number = 7, "{}", "x".repeat(7));
        let [record] = said(work).try_into().expect("one");
        assert_eq!(record.message, "xxxxxxx");
        let kept = (BOUND - 7) / 2;
        let lost = 2 * BOUND - 2 * kept;
        let expected = [
            ("value", Value::Shown(format!("{}… (cut: {lost} bytes more)", "ä".repeat(kept)))),
            ("last", Value::Text("… (cut: 4 bytes more)".to_owned())),
            ("number", Value::Signed(7)),
        ];
        assert_eq!(record.fields, expected);
        assert!(record.size() > BOUND);
        let own = Record::own(Timestamp::RELEASED, Kind::Panicked, &"x".repeat(2 * BOUND)).message;
        assert_eq!(own, format!("{}… (cut: {BOUND} bytes more)", "x".repeat(BOUND)));
    }

    #[test]
    fn levels_have_syslog_s_numbers() {
        let work = || {
            tracing::error!("a");
            tracing::warn!("a");
            tracing::info!("a");
            tracing::debug!("a");
            tracing::trace!("a");
        };
        let numbers: Vec<_> = said(work).iter().map(Record::priority).collect();
        assert_eq!(numbers, [3, 4, 6, 7, 7]);
    }
}
