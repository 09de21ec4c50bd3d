//! The body that was sent, as far as it is shown.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Bytes of a body that are shown.
const SHOWN: usize = 16 << 10;

/// The beginning of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentBody {
    /// The text, or base64.
    pub(super) text: String,
    /// `base64` of a body that is no UTF-8.
    pub(super) encoding: Option<&'static str>,
    /// It went on.
    pub(super) truncated: bool,
}

impl SentBody {
    /// What is shown of `body`. A text ends with a whole character.
    pub(super) fn new(body: &[u8]) -> Self {
        let beginning = &body[..body.len().min(SHOWN)];
        let truncated = beginning.len() < body.len();
        let text = match std::str::from_utf8(beginning) {
            Ok(text) => Some(text),
            // Nothing but the end of the beginning is amiss.
            Err(error) if truncated && error.error_len().is_none() => {
                std::str::from_utf8(&beginning[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        match text {
            Some(text) => Self { text: text.to_owned(), encoding: None, truncated },
            None => Self { text: STANDARD.encode(beginning), encoding: Some("base64"), truncated },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        let long = |end: &[u8]| [&vec![b'x'; SHOWN - 1][..], end].concat();
        let whole = "x".repeat(SHOWN - 1);
        for (body, text, encoding, truncated) in [
            (b"".to_vec(), String::new(), None, false),
            ("{\"é\": 1}".into(), "{\"é\": 1}".to_owned(), None, false),
            (vec![0xff, 0x00], "/wA=".to_owned(), Some("base64"), false),
            // The body itself ends within a character.
            (vec![b'x', 0xc3], "eMM=".to_owned(), Some("base64"), false),
            (long(b"x"), "x".repeat(SHOWN), None, false),
            (long(b"xx"), "x".repeat(SHOWN), None, true),
            (long("é".as_bytes()), whole.clone(), None, true),
            (long("😀".as_bytes()), whole, None, true),
        ] {
            let shown = SentBody::new(&body);
            assert_eq!(shown, SentBody { text, encoding, truncated });
        }
        let bytes = SentBody::new(&vec![0xff; SHOWN + 1]);
        assert_eq!((bytes.encoding, bytes.truncated), (Some("base64"), true));
        assert_eq!(bytes.text.len(), SHOWN.div_ceil(3) * 4);
    }
}
