//! How long an endpoint asks to be left alone: `Retry-After` (RFC 9110, section 10.2.3), in seconds or as a date.
//!
//! A date is held against the answer's own `Date`, so that neither clock has to be right, and where the answer has none
//! against the box's clock. What is asked for is bounded; what is no delay is passed over.

use std::time::{Duration, SystemTime};

use crate::model::time::Timestamp;

/// No wait is longer, whatever is asked for.
pub const MOST: Duration = Duration::from_secs(24 * 3600);

/// The delay that an answer with these headers (names in lower case) asks for; `now` is the box's time, if it has one.
pub fn retry_after(headers: &[(String, String)], now: Option<Timestamp>) -> Option<Duration> {
    let value = header(headers, "retry-after")?;
    let delay = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number are a long time all the same.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        let sent = header(headers, "date").and_then(|date| httpdate::parse_http_date(date).ok());
        let from =
            sent.or_else(|| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(now?.as_millis())))?;
        until.duration_since(from).unwrap_or_default()
    };
    Some(delay.min(MOST))
}

/// The first header of this name, without white space around it; an empty one says nothing.
fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let value = headers.iter().find(|(other, _)| other == name)?.1.trim();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 12:00:00 UTC.
    const NOW: Timestamp = Timestamp::from_millis(1_795_348_800_000);

    fn asked(headers: &[(&str, &str)], now: Option<Timestamp>) -> Option<u64> {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        retry_after(&headers, now).map(|delay| delay.as_secs())
    }

    #[test]
    fn seconds_and_dates() {
        const DAY: u64 = 86_400;
        for (value, seconds) in [
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("86400", Some(DAY)),
            ("86401", Some(DAY)),
            ("99999999999999999999999999", Some(DAY)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("120 s", None),
            // The three forms of a date that RFC 9110 (section 5.6.7) names.
            ("Sun, 22 Nov 2026 12:01:00 GMT", Some(60)),
            ("Sunday, 22-Nov-26 12:01:00 GMT", Some(60)),
            ("Sun Nov 22 12:01:00 2026", Some(60)),
            ("Sun, 22 Nov 2026 11:59:00 GMT", Some(0)),
            ("Fri, 22 Nov 2097 12:00:00 GMT", Some(DAY)),
            ("Sun, 22 Nov 2026 12:01:00 CET", None),
        ] {
            assert_eq!(asked(&[("retry-after", value)], Some(NOW)), seconds, "{value}");
        }
        assert_eq!(asked(&[("age", "120")], Some(NOW)), None);
        assert_eq!(asked(&[("retry-after", "1"), ("retry-after", "9")], Some(NOW)), Some(1), "the first");
    }

    #[test]
    fn a_date_needs_no_right_clock() {
        let headers =
            [("date", "Mon, 01 Jan 2001 00:00:00 GMT"), ("retry-after", "Mon, 01 Jan 2001 00:05:00 GMT")];
        assert_eq!(asked(&headers, Some(NOW)), Some(300), "the receiver's own clock counts");
        assert_eq!(asked(&headers, None), Some(300));
        assert_eq!(asked(&headers[1..], None), None, "nothing to hold it against");
        let broken = [("date", "today"), ("retry-after", "Sun, 22 Nov 2026 12:01:00 GMT")];
        assert_eq!(asked(&broken, Some(NOW)), Some(60));
    }
}
