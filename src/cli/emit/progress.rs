//! How a run is doing: what it has counted, and a line that a person at a terminal sees of it.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use crate::cli::screen::Screen;

/// From one look at the line to the next.
pub const PAUSE: Duration = Duration::from_millis(200);

/// What became of the lines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New events.
    pub taken: u64,
    /// Events that were known by their ids.
    pub known: u64,
    /// Lines that were refused for good.
    pub refused: u64,
    /// Of these, those that were no matter of their content but of who hands them in.
    pub denied: u64,
}

impl Counts {
    /// `1204 taken, 3 known already, 1 refused`.
    pub fn text(&self) -> String {
        let mut text = format!("{} taken", self.taken);
        for (count, what) in [(self.known, "known already"), (self.refused, "refused")] {
            if count > 0 {
                write!(text, ", {count} {what}").expect("a String takes all");
            }
        }
        text
    }

    fn answered(&self) -> u64 {
        self.taken + self.known + self.refused
    }
}

/// The line on the terminal.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    drawn: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// Nothing has been done.
    pub const fn new(started: Instant) -> Self {
        Self { started, drawn: None, shown: false }
    }

    /// Draws the line anew if it is time, and there is a terminal.
    pub fn draw(&mut self, screen: &mut Screen<'_>, now: Instant, counts: &Counts, waiting: Option<&str>) {
        if !screen.live || self.drawn.is_some_and(|drawn| now - drawn < PAUSE) {
            return;
        }
        self.drawn = Some(now);
        self.shown = true;
        let millis = (now - self.started).as_millis().max(1);
        let rate = u128::from(counts.answered()) * 1000 / millis;
        let waiting = waiting.map(|why| format!(", waiting: {why}")).unwrap_or_default();
        // Nobody may be there to read it; that is no reason to fail.
        let _ = write!(screen.notes, "\r\u{1b}[K{}, {rate}/s{waiting}", counts.text());
        let _ = screen.notes.flush();
    }

    /// Takes the line away, for something else to be said.
    pub fn clear(&mut self, screen: &mut Screen<'_>) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(screen.notes, "\r\u{1b}[K");
            self.drawn = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::testing::Output, clock::Clock};

    #[test]
    fn the_line_is_drawn_for_terminals_only_and_not_all_the_time() {
        let start = Clock::start().instant();
        let counts = Counts { taken: 1_000, known: 2, refused: 1, denied: 0 };
        for (live, expected) in [
            (false, ""),
            (
                true,
                "\r\u{1b}[K1000 taken, 2 known already, 1 refused, 501/s\r\u{1b}[K\r\u{1b}[K1000 taken, 2 known already, 1 refused, 401/s, waiting: busy",
            ),
        ] {
            let mut output = Output::new();
            let mut screen = output.screen();
            screen.live = live;
            let mut progress = Progress::new(start);
            let mut draw = |millis, waiting| {
                let now = start + Duration::from_millis(millis);
                progress.draw(&mut screen, now, &counts, waiting);
                if millis == 2_100 {
                    progress.clear(&mut screen);
                }
            };
            draw(2_000, None);
            draw(2_100, None);
            draw(2_500, Some("busy"));
            assert_eq!(output.notes(), expected);
        }
    }
}
