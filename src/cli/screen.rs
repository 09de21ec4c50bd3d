//! Where a command's output goes, and in which form.

use std::{
    io::{self, Write},
    os::fd::AsFd,
};

use super::error::CliError;
use crate::model::time::Timestamp;

/// Standard output and standard error with what a command must know of them.
pub struct Screen<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// Remarks for people.
    pub notes: &'a mut dyn Write,
    /// Print JSON.
    pub json: bool,
    /// Use colours.
    pub colour: bool,
    /// Somebody at a terminal reads the remarks: what is going on may be shown there.
    pub live: bool,
    /// Columns of the terminal; `None` where there is none: lines are as long as they are.
    pub width: Option<u16>,
    /// What `3m ago` refers to.
    pub now: Timestamp,
}

impl Screen<'_> {
    /// Prints a line.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.out, "{text}").map_err(CliError::Output)
    }

    /// Prints bytes that are JSON, as they are, and ends the line.
    pub fn json(&mut self, document: &[u8]) -> Result<(), CliError> {
        self.out.write_all(document.trim_ascii_end())?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// A remark for people, besides the output.
    pub fn note(&mut self, text: &str) {
        // Nobody may be there to read it; that is no reason to fail.
        let _ = writeln!(self.notes, "{text}");
    }

    /// A remark in the place of the passing one before, where somebody reads it; an empty one takes that away.
    pub fn passing(&mut self, text: &str) {
        if self.live {
            let _ = write!(self.notes, "\r\u{1b}[K{text}");
        }
    }

    /// What is printed so far is on its way.
    pub fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::Output)
    }

    /// `word` in the colour of what it says: a delivery's status, an endpoint's or the daemon's state.
    pub fn paint(&self, word: &str) -> String {
        if self.colour { paint(word) } else { word.to_owned() }
    }

    /// `text` as a heading.
    pub fn bold(&self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// `word` with its colour, where it has one.
pub fn paint(word: &str) -> String {
    let first = word.split([' ', ':', ',']).next().unwrap_or(word);
    let colour = match first {
        "succeeded" | "done" | "enabled" | "running" | "verified" => 32,
        "failed" | "NOT" | "refusing" | "down" => 31,
        "pending" | "disabled" | "starting" | "stopping" | "unsigned" | "held" | "unset" | "short" => 33,
        "cancelled" => 2,
        _ => return word.to_owned(),
    };
    format!("\u{1b}[{colour}m{word}\u{1b}[0m")
}

/// The columns of the terminal behind `stream`, if it is one: what it says itself, else `$COLUMNS`, else 100.
pub fn width_of(stream: &(impl AsFd + io::IsTerminal), columns: Option<&str>) -> Option<u16> {
    if !stream.is_terminal() {
        return None;
    }
    let own = rustix::termios::tcgetwinsize(stream).map(|size| size.ws_col).ok();
    let said = columns.and_then(|columns| columns.parse().ok());
    own.filter(|columns| *columns > 0).or(said).or(Some(100))
}
