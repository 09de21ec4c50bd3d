//! An answer, read within bounds: headers are complete already, the body is read to 16 KiB or the deadline.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{DATE, RETRY_AFTER},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::failure;
use crate::model::time::format_duration;

/// Bytes of a body that are read.
const BODY: usize = 16 << 10;
/// Headers that are kept.
const HEADERS: usize = 64;
/// Bytes of names and values that are kept.
const HEADER_BYTES: usize = 8 << 10;
/// What says when to come again.
const OBEYED: [HeaderName; 2] = [DATE, RETRY_AFTER];
/// Bytes of a value of these; a date has 29.
const OBEYED_BYTES: usize = 64;

/// A body, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Its beginning.
    pub(super) bytes: Vec<u8>,
    /// It had more.
    pub(super) truncated: bool,
    /// Why it is not complete, if it is neither complete nor truncated.
    pub(super) error: Option<Stopped>,
}

/// Why reading stopped short.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The deadline passed.
    Deadline,
    /// The connection or the encoding broke.
    Error(hyper::Error),
}

impl Body {
    /// Reads on until the end, the limit, the deadline or an error.
    pub(super) async fn read(mut incoming: Incoming, deadline: Instant) -> Self {
        let mut body = Self::default();
        body.error = timeout_at(deadline, body.fill(&mut incoming))
            .await
            .map_or(Some(Stopped::Deadline), |filled| filled.err().map(Stopped::Error));
        body
    }

    /// Whether it was read to its end, so that the connection can be used again.
    pub(super) const fn is_complete(&self) -> bool {
        !self.truncated && self.error.is_none()
    }

    async fn fill(&mut self, incoming: &mut Incoming) -> hyper::Result<()> {
        while let Some(frame) = incoming.frame().await.transpose()? {
            // Trailers say nothing that anybody asked for.
            let Ok(data) = frame.into_data() else { continue };
            let room = BODY - self.bytes.len();
            self.bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                self.truncated = true;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Headers as they are kept: whole ones only, in their order, those left out for which there is no room. There always is
/// for the first of those that an answer is obeyed by, wherever they stand.
pub(super) fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut obeyed: Vec<_> = OBEYED
        .iter()
        .filter_map(|name| Some((name, headers.get(name)?)))
        .filter(|(_, value)| value.len() <= OBEYED_BYTES)
        .collect();
    let mut places = HEADERS - obeyed.len();
    let mut room = HEADER_BYTES - obeyed.iter().map(|(name, value)| size(name, value)).sum::<usize>();
    let mut kept = Vec::with_capacity(headers.len().min(HEADERS));
    for (name, value) in headers {
        let first = obeyed.iter().position(|(other, _)| *other == name);
        let size = size(name, value);
        if let Some(first) = first {
            obeyed.swap_remove(first);
        } else if places > 0 && size <= room {
            (places, room) = (places - 1, room - size);
        } else {
            continue;
        }
        kept.push((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    }
    kept
}

/// Bytes of a header as it is kept.
fn size(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + String::from_utf8_lossy(value.as_bytes()).len()
}

impl Stopped {
    /// In words; `timeout` is the attempt's time limit.
    pub(super) fn message(&self, timeout: Duration) -> String {
        match self {
            Self::Deadline => format!("the body was not complete within {}", format_duration(timeout)),
            Self::Error(error) => failure::reading_body(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_bounded() {
        let mut many = HeaderMap::new();
        many.insert("x-huge", HeaderValue::from_bytes(&[b'x'; HEADER_BYTES]).expect("a value"));
        for number in 0..100 {
            many.append(
                HeaderName::try_from(format!("x-{number}")).expect("a name"),
                HeaderValue::from_static("v"),
            );
        }
        let kept = headers(&many);
        assert_eq!(kept.len(), HEADERS);
        assert_eq!(kept[0], ("x-0".to_owned(), "v".to_owned()));

        let mut large = HeaderMap::new();
        for _ in 0..60 {
            large.append("x-large", HeaderValue::from_bytes(&[b'x'; 1000]).expect("a value"));
        }
        assert_eq!(headers(&large).len(), HEADER_BYTES / 1007);
    }

    #[test]
    fn what_an_answer_is_obeyed_by_is_kept_wherever_it_stands() {
        for padding in ["v".repeat(4), "v".repeat(120)] {
            let mut many = HeaderMap::new();
            for number in 0..90 {
                let name = HeaderName::try_from(format!("x-{number}")).expect("a name");
                many.append(name, HeaderValue::try_from(&padding).expect("a value"));
            }
            many.append("retry-after", HeaderValue::from_static("120"));
            many.append("retry-after", HeaderValue::from_static("7"));
            many.append("date", HeaderValue::from_static("Sun, 22 Nov 2026 12:01:00 GMT"));
            let kept = headers(&many);
            let of = |name: &str| {
                kept.iter()
                    .filter(|(other, _)| other == name)
                    .map(|(_, value)| value.as_str())
                    .collect::<Vec<_>>()
            };
            assert_eq!((of("retry-after"), of("date").len()), (vec!["120"], 1), "the first");
            let bytes: usize = kept.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(kept.len() <= HEADERS && bytes <= HEADER_BYTES, "{} of {bytes} bytes", kept.len());
        }
        let mut long = HeaderMap::new();
        long.append("retry-after", HeaderValue::try_from("1".repeat(HEADER_BYTES)).expect("a value"));
        assert_eq!(headers(&long), [], "no room for that");
    }

    #[test]
    fn what_is_no_utf_8_is_replaced() {
        let mut map = HeaderMap::new();
        map.insert("x-latin", HeaderValue::from_bytes(b"caf\xe9").expect("a value"));
        assert_eq!(headers(&map), [("x-latin".to_owned(), "caf\u{fffd}".to_owned())]);
    }
}
