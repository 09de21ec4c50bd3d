//! `posthaste status --watch`: the page again and again.
//!
//! On a terminal it is drawn over what was there, in one write and in the terminal's other screen; what was on it before is
//! there again at the end, with the last page below. Elsewhere the pages follow one another, with an empty line between. A
//! daemon that goes away meanwhile is waited for.

use std::{
    io,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{ask, page};
use crate::{
    cli::{client, error::CliError, screen::Screen, text::columns},
    clock::Clock,
};

/// From one page to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// Changes to the other screen, and hides the cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// Goes to the first place; takes away the rest of a line, and all lines below.
const HOME: &str = "\u{1b}[H";
const END_OF_LINE: &str = "\u{1b}[K";
const BELOW: &str = "\u{1b}[J";

/// Shows the page until SIGINT or SIGTERM.
///
/// # Errors
/// Nobody can be asked at the beginning, or nothing can be printed.
pub(super) fn run(sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let ended = signals().map_err(|error| CliError::Io(format!("cannot wait for signals: {error}")))?;
    let mut answer = Ok(ask(sockets)?);
    let clock = Clock::start();
    let in_place = screen.width.is_some() && !screen.json;
    if in_place {
        screen.out.write_all(ENTER.as_bytes())?;
    }
    let mut page = String::new();
    let shown = loop {
        screen.now = clock.wall();
        let shown = made(answer, screen).and_then(|made| {
            page = made;
            if in_place { draw(&page, screen) } else { follow(&page, screen) }
        });
        match shown.map(|()| ended.recv_timeout(PAUSE)) {
            Err(error) => break Err(error),
            Ok(Err(RecvTimeoutError::Timeout)) => {}
            Ok(_) => break Ok(()),
        }
        answer = ask(sockets);
    };
    if in_place {
        screen.out.write_all(format!("{LEAVE}{page}").as_bytes())?;
    }
    shown
}

/// What becomes readable when the command is to end.
fn signals() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        // Whether somebody still waits for it makes no difference.
        signals.forever().try_for_each(|_| sender.send(()))
    })?;
    Ok(receiver)
}

/// The page that the answer makes.
fn made(answer: Result<Vec<u8>, CliError>, screen: &mut Screen<'_>) -> Result<String, CliError> {
    match answer {
        Ok(answer) if screen.json => Ok(format!("{}\n", String::from_utf8_lossy(answer.trim_ascii_end()))),
        Ok(answer) => page(&client::parse(&answer)?, screen),
        Err(error) if screen.json => {
            screen.note(&error.to_string());
            Ok(String::new())
        }
        Err(error) => Ok(format!("{error}\n")),
    }
}

fn follow(page: &str, screen: &mut Screen<'_>) -> Result<(), CliError> {
    screen.out.write_all(page.as_bytes())?;
    if !screen.json {
        screen.line("")?;
    }
    screen.flush()
}

fn draw(page: &str, screen: &mut Screen<'_>) -> Result<(), CliError> {
    // It may have another size by now.
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0);
    let (width, height) = size.map_or((screen.width.unwrap_or(100), 24), |size| (size.ws_col, size.ws_row));
    screen.width = Some(width);
    let frame = frame(page, usize::from(width), usize::from(height));
    screen.out.write_all(frame.as_bytes())?;
    screen.flush()
}

/// What draws a page over what is there: as many of its lines as there is room for, and one that says how to end it.
fn frame(page: &str, width: usize, height: usize) -> String {
    let mut frame = HOME.to_owned();
    let mut room = height.saturating_sub(1);
    for line in page.lines() {
        let rows = rows(line, width);
        if rows > room {
            break;
        }
        room -= rows;
        frame += line;
        frame += END_OF_LINE;
        frame += "\r\n";
    }
    frame + "Ctrl-C ends it" + END_OF_LINE + BELOW
}

/// How many rows of the terminal a line takes.
fn rows(line: &str, width: usize) -> usize {
    usize::max(columns(line), 1).div_ceil(width.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        for (line, width, count) in [
            ("", 80, 1),
            ("abc", 3, 1),
            ("abcd", 3, 2),
            ("\u{1b}[31mabc\u{1b}[0m", 3, 1),
            ("äöü", 3, 1),
            ("a", 0, 1),
        ] {
            assert_eq!(rows(line, width), count, "{line:?}");
        }
    }

    #[test]
    fn a_frame_fits_the_terminal() {
        let page = "one\n\u{1b}[1mtwo two two\u{1b}[0m\nthree\n";
        let all = frame(page, 80, 24);
        assert_eq!(
            all,
            "\u{1b}[Hone\u{1b}[K\r\n\u{1b}[1mtwo two two\u{1b}[0m\u{1b}[K\r\nthree\u{1b}[K\r\nCtrl-C ends it\u{1b}[K\u{1b}[J"
        );
        for (width, height, lines) in [(80, 3, 3), (80, 4, 4), (6, 4, 3), (6, 5, 4), (80, 1, 1), (80, 0, 1)] {
            assert_eq!(frame(page, width, height).lines().count(), lines, "{width} by {height}");
        }
    }
}
