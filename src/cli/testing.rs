//! A screen for the commands' tests.

use super::screen::Screen;
use crate::model::time::Timestamp;

/// What a command printed.
pub(crate) struct Output {
    pub(crate) out: Vec<u8>,
    pub(crate) notes: Vec<u8>,
    pub(crate) json: bool,
    pub(crate) colour: bool,
    pub(crate) width: Option<u16>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { out: Vec::new(), notes: Vec::new(), json: false, colour: false, width: None }
    }

    pub(crate) fn json() -> Self {
        Self { json: true, ..Self::new() }
    }

    /// 2026-11-22T03:00:00Z.
    pub(crate) fn now() -> Timestamp {
        "2026-11-22T03:00:00Z".parse().expect("a time")
    }

    pub(crate) fn screen(&mut self) -> Screen<'_> {
        Screen {
            out: &mut self.out,
            notes: &mut self.notes,
            json: self.json,
            colour: self.colour,
            live: false,
            width: self.width,
            now: Self::now(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).expect("text")
    }

    pub(crate) fn notes(&self) -> String {
        String::from_utf8(self.notes.clone()).expect("text")
    }
}
