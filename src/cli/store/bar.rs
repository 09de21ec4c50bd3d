//! One line on a terminal that says how far something has come, and is gone afterwards.

use std::{
    cell::Cell,
    io::{self, Write as _},
    rc::Rc,
    time::{Duration, Instant},
};

use super::super::screen::Screen;
use crate::clock::Clock;

/// It is drawn anew so often at most.
const PAUSE: Duration = Duration::from_millis(100);

/// The line; clones draw the same one. Without a terminal nothing is drawn.
#[derive(Clone, Debug)]
pub(super) struct Bar(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    live: bool,
    clock: Clock,
    drawn: Cell<Option<Instant>>,
}

impl Bar {
    pub(super) fn new(screen: &Screen<'_>) -> Self {
        Self(Rc::new(Inner { live: screen.live, clock: Clock::start(), drawn: Cell::new(None) }))
    }

    /// Draws `text`, if it is time.
    pub(super) fn draw(&self, text: impl FnOnce() -> String) {
        let now = self.0.clock.instant();
        if !self.0.live || self.0.drawn.get().is_some_and(|drawn| now - drawn < PAUSE) {
            return;
        }
        self.0.drawn.set(Some(now));
        // Whoever does not see it misses nothing.
        let _ = write!(io::stderr(), "\r\u{1b}[K{}", text());
        let _ = io::stderr().flush();
    }

    /// The same, of a part from 0 to 1.
    pub(super) fn percent(&self, what: &'static str) -> impl Fn(f64) + Clone + 'static {
        let bar = self.clone();
        move |done| bar.draw(|| format!("{what}: {:.0} %", done * 100.0))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.drawn.get().is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
