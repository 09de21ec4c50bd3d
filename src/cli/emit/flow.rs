//! `posthaste emit --lines`: hands in many events over the stream, many on their way at once.
//!
//! One thread reads the input as far as there is [`Room`], one hears the answers of the [`Link`], and this one sends,
//! passes answers on in the order of the lines, and decides. What is refused for now is sent again after the time
//! that the daemon gave. After a lost connection lines go out again if that does no harm; where it might, the run ends and
//! says where. It waits only so long for the next answer, and goes on trying as far as its [`Patience`] reaches. A run that
//! ends hears first what becomes of the lines that are on their way: whoever repeats it should know.

use std::{
    fmt::Write as _,
    io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    link::{Link, Said},
    patience::{Patience, RECONNECT},
    progress::{Counts, PAUSE, Progress},
    recipe::Recipe,
    room::Room,
    source::{self, Found, Input, Place},
    window::{Heard, Outcome, Passed, Window},
};
use crate::{
    cli::{error::CliError, exit::Exit, screen::Screen, text},
    clock::Clock,
    ingest::answer::{Answer, Code, ErrorView},
    model::time::format_duration,
};

/// A daemon that says nothing for so long, with lines before it, is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// A daemon that does not know what became of a line has so long to say the same, or better, of the others.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What happens is looked at in so many pieces before lines are sent and answers passed on.
const AT_ONCE: usize = 512;

/// Who has connected may do nothing here.
const NOT_ALLOWED: &str = Code::NotAllowed.as_str();
/// Who has connected may not hand in events of this account.
const ACCOUNT_NOT_ALLOWED: &str = Code::AccountNotAllowed.as_str();

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// Where the lines are.
    pub inputs: Vec<Input>,
    /// The first line that is handed in.
    pub first: u64,
    /// What is made of each.
    pub recipe: Recipe,
    /// For how long a run goes on trying while no line is settled.
    pub wait: Duration,
}

/// What the threads tell.
enum Told {
    Line(Found, usize),
    InputEnded(Result<(), CliError>),
    /// On the connection with this number.
    Link(u64, Said),
}

/// An answer as it is printed.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    line: u64,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// Hands in what the plan says.
///
/// # Errors
/// Lines were refused, or not all of them could be handed in; what is printed says which.
pub fn run(plan: Plan, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    source::check(&plan.inputs)?;
    let clock = Clock::start();
    let now = clock.instant();
    let (sender, told) = mpsc::channel();
    let mut run = Run {
        inputs: plan.inputs.clone(),
        patience: Patience::new(plan.wait, now),
        resume: plan.recipe.resume.is_some(),
        sockets: sockets.to_vec(),
        sender: sender.clone(),
        clock,
        room: Arc::default(),
        window: Window::default(),
        link: None,
        links: 0,
        heard: now,
        pause: None,
        failing: None,
        stop: None,
        counts: Counts::default(),
        progress: Progress::new(now),
        screen,
        ended: None,
    };
    // Before anything is read: who cannot reach the daemon keeps what he has.
    run.connect()?;
    let room = Arc::clone(&run.room);
    let reader = thread::Builder::new().name("input".to_owned());
    let failed = |error| CliError::Io(format!("cannot read the input: {error}"));
    reader.spawn(move || read(&plan, &room, &sender)).map_err(failed)?;
    let done = run.until_done(&told);
    run.progress.clear(run.screen);
    match done {
        Ok(()) => run.verdict(),
        Err(error) => Err(run.stopped(&error)),
    }
}

/// Reads the input as far as there is room.
fn read(plan: &Plan, room: &Room, told: &Sender<Told>) {
    let ended = source::read(&plan.inputs, plan.first, &plan.recipe, |found| {
        let size = found.made.as_ref().map_or(0, |made| made.bytes.len());
        room.take(size);
        told.send(Told::Line(found, size)).is_ok()
    });
    // Where nobody hears it any more, nobody needs to know.
    let _ = told.send(Told::InputEnded(ended));
}

/// Why a run does not go on.
#[derive(Debug)]
struct Stop {
    exit: Exit,
    why: String,
}

impl From<CliError> for Stop {
    fn from(error: CliError) -> Self {
        Self { exit: error.exit(), why: error.to_string() }
    }
}

struct Run<'a, 's> {
    inputs: Vec<Input>,
    patience: Patience,
    resume: bool,
    sockets: Vec<PathBuf>,
    sender: Sender<Told>,
    clock: Clock,
    room: Arc<Room>,
    window: Window,
    link: Option<Link>,
    /// How many connections there were; what the thread of an older one tells does not count.
    links: u64,
    /// When the daemon last said something, or had nothing to say.
    heard: Instant,
    /// Nothing is sent before then, and why.
    pause: Option<(Instant, String)>,
    /// The daemon does not know what became of a line, for this reason: nothing more is sent on this connection, which
    /// counts as lost when all lines have an answer, and at this time.
    failing: Option<(Instant, String)>,
    /// Nothing more is sent, and the run ends when what is on its way has its answers.
    stop: Option<Stop>,
    counts: Counts,
    progress: Progress,
    screen: &'a mut Screen<'s>,
    ended: Option<Result<(), CliError>>,
}

impl Run<'_, '_> {
    fn until_done(&mut self, told: &Receiver<Told>) -> Result<(), Stop> {
        loop {
            self.pass_on()?;
            if self.window.is_empty() {
                match self.ended.take() {
                    Some(ended) => return Ok(ended?),
                    None => self.screen.flush()?,
                }
            }
            self.send()?;
            let mut next = told.try_recv().ok();
            if next.is_none() {
                self.screen.flush()?;
                next = self.rest(told);
            }
            let mut left = AT_ONCE;
            while let Some(told_now) = next {
                self.hear(told_now)?;
                left -= 1;
                next = if left > 0 { told.try_recv().ok() } else { None };
            }
        }
    }

    /// Waits for the next thing to happen, until something is due.
    fn rest(&mut self, told: &Receiver<Told>) -> Option<Told> {
        let now = self.clock.instant();
        let why = self.pause.as_ref().map(|(_, code)| code.as_str());
        let why = if self.link.is_none() { Some("no connection") } else { why };
        self.progress.draw(self.screen, now, &self.counts, why);
        let mut until = now + SILENCE;
        for (due, _) in self.pause.iter().chain(&self.failing) {
            until = until.min(*due);
        }
        if self.link.is_none() && self.window.has_waiting() {
            until = until.min(now + RECONNECT);
        }
        if self.screen.live {
            until = until.min(now + PAUSE);
        }
        match told.recv_timeout(until.saturating_duration_since(now)) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("this run holds a sender itself"),
        }
    }

    fn hear(&mut self, told: Told) -> Result<(), Stop> {
        let now = self.clock.instant();
        match told {
            Told::Line(found, size) => {
                if self.window.is_empty() {
                    self.heard = now;
                    self.patience.restart(now);
                }
                self.window.push(found, size);
                Ok(())
            }
            Told::InputEnded(ended) => {
                self.ended = Some(ended);
                Ok(())
            }
            Told::Link(link, _) if link != self.links => Ok(()),
            Told::Link(_, said) => {
                self.heard = now;
                self.said(said)
            }
        }
    }

    fn said(&mut self, said: Said) -> Result<(), Stop> {
        let answer = match said {
            Said::Answer(answer) => answer,
            Said::Nonsense(error) => return Err(CliError::Answer(error).into()),
            Said::Over(error) => {
                return self.lost(error.map_or("it was closed".to_owned(), |e| e.to_string()));
            }
        };
        let first = self.link.as_mut().is_some_and(Link::prove);
        let not_allowed = not_allowed(&answer);
        match self.window.answered(answer) {
            Heard::Settled => {
                self.patience.restart(self.heard);
                not_allowed.map_or(Ok(()), Err)
            }
            Heard::Unknown(why) => {
                let last = self.heard + LAST_WORDS;
                self.failing.get_or_insert((last, why));
                Ok(())
            }
            Heard::NotNow(error, after) => {
                // It may be the connection that is refused, and about to end.
                if first {
                    self.close();
                }
                self.not_now(error, after);
                Ok(())
            }
            Heard::Unasked(Answer::Refused(refused)) => match refused.error.retry_after {
                Some(after) => {
                    self.not_now(refused.error, Duration::from_secs(after));
                    Ok(())
                }
                None => Err(Stop { exit: exit_of(&refused.error), why: refused.error.message }),
            },
            Heard::Unasked(Answer::Accepted(_)) => {
                Err(CliError::Answer("it answers more than was asked".to_owned()).into())
            }
        }
    }

    /// Sends nothing for a while; where that is longer than this run may wait, nothing any more.
    fn not_now(&mut self, error: ErrorView, after: Duration) {
        let until = self.heard + after;
        if self.patience.reaches(until) {
            self.pause_until(until, error.code);
        } else if self.stop.is_none() {
            let why = format!("{}; try again in {}", error.message, format_duration(after));
            self.stop = Some(Stop { exit: Exit::TryAgain, why });
        }
    }

    /// Sends nothing before then, nor before what was said of another line.
    fn pause_until(&mut self, until: Instant, code: String) {
        if self.pause.as_ref().is_none_or(|(due, _)| *due < until) {
            self.pause = Some((until, code));
        }
    }

    /// The connection is over, for this reason if the daemon has said no other.
    fn lost(&mut self, why: String) -> Result<(), Stop> {
        let why = self.failing.take().map_or(why, |(_, said)| said);
        self.close();
        if let Some(stop) = self.stop.take() {
            return Err(stop);
        }
        let error = CliError::Disconnected(io::Error::other(why));
        if self.window.lost().is_some() {
            return Err(error.into());
        }
        if !self.window.has_waiting() {
            return Ok(());
        }
        let now = self.clock.instant();
        let Some(pause) = self.patience.lost(now) else {
            return Err(Stop { exit: Exit::TryAgain, why: format!("{error}, and those before it as well") });
        };
        self.pause_until(now + pause, "no connection".to_owned());
        Ok(())
    }

    /// From now on nothing that the connection says counts.
    fn close(&mut self) {
        self.link = None;
        self.links += 1;
        self.failing = None;
    }

    fn connect(&mut self) -> Result<(), CliError> {
        self.links += 1;
        let (number, sender) = (self.links, self.sender.clone());
        let hear = move |said| sender.send(Told::Link(number, said)).is_ok();
        self.link = Some(Link::open(&self.sockets, SILENCE, hear)?);
        self.heard = self.clock.instant();
        Ok(())
    }

    /// Ends the connection, or the run, when there is nothing more to wait for on it.
    fn give_up(&mut self, now: Instant) -> Result<(), Stop> {
        let waited_for = self.window.is_waited_for();
        if let Some((_, why)) = self.failing.take_if(|(last, _)| !waited_for || now >= *last) {
            return self.lost(why);
        }
        if waited_for && now < self.heard + SILENCE {
            return Ok(());
        }
        let silent = || CliError::Timeout { seconds: SILENCE.as_secs() }.into();
        self.stop.take().or_else(|| waited_for.then(silent)).map_or(Ok(()), Err)
    }

    /// Sends what waits, if it may be sent.
    fn send(&mut self) -> Result<(), Stop> {
        let now = self.clock.instant();
        self.give_up(now)?;
        if self.failing.is_some() || self.stop.is_some() {
            return Ok(());
        }
        if let Some((until, _)) = &self.pause {
            // What is on its way is waited for, so that lines go out again in their order.
            if now < *until || self.window.is_waited_for() {
                return Ok(());
            }
            self.pause = None;
        }
        if !self.window.has_waiting() {
            return Ok(());
        }
        if self.link.is_none()
            && let Err(error) = self.connect()
        {
            let passing = error.exit() == Exit::Unavailable && self.patience.reaches(now);
            return if passing { Ok(()) } else { Err(error.into()) };
        }
        if let Some(link) = &mut self.link {
            if !self.window.is_waited_for() {
                self.heard = now;
            }
            while !link.is_deaf()
                && (link.is_proven() || !self.window.is_waited_for())
                && let Some(line) = self.window.send()
            {
                link.send(line);
            }
            link.flush();
        }
        Ok(())
    }

    /// Passes on the answers that are due by the order of the lines.
    fn pass_on(&mut self) -> Result<(), Stop> {
        while let Some(passed) = self.window.pass() {
            self.passed(passed)?;
        }
        Ok(())
    }

    fn passed(&mut self, Passed { place, outcome, size }: Passed) -> Result<(), Stop> {
        self.room.give(size);
        let Outcome::Answered(mut answer) = outcome else { return Ok(()) };
        match &mut answer {
            Answer::Accepted(accepted) if accepted.duplicate => self.counts.known += 1,
            Answer::Accepted(_) => self.counts.taken += 1,
            Answer::Refused(refused) => {
                let error = &mut refused.error;
                // The number of the line on the connection, where it has another number in the file.
                if let Some((number, rest)) = error.message.split_once(": ")
                    && number.strip_prefix("line ").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
                {
                    error.message = rest.to_owned();
                }
                self.counts.refused += 1;
                self.counts.denied += u64::from(exit_of(error) == Exit::Permission);
                let report =
                    format!("{}: {} [{}]", self.name(place), text::plain(&error.message), error.code);
                self.progress.clear(self.screen);
                self.screen.note(&report);
            }
        }
        if !self.screen.json {
            return Ok(());
        }
        let file = match &self.inputs[place.input] {
            Input::File(path) => Some(path.display().to_string()),
            Input::Standard => None,
        };
        let printed = Printed { file, line: place.line, answer: &answer };
        let printed = serde_json::to_vec(&printed).expect("names and answers are JSON");
        Ok(self.screen.json(&printed)?)
    }

    fn name(&self, place: Place) -> String {
        match &self.inputs[place.input] {
            Input::Standard => format!("line {}", place.line),
            Input::File(path) => format!("{}:{}", text::plain(&path.display().to_string()), place.line),
        }
    }

    /// All lines have an answer: what they come to.
    fn verdict(&mut self) -> Result<(), CliError> {
        let Counts { refused, denied, .. } = self.counts;
        let text = self.counts.text();
        if refused == 0 {
            if self.screen.live {
                self.screen.note(&text);
            }
            return Ok(());
        }
        let exit = if denied == refused { Exit::Permission } else { Exit::Data };
        Err(CliError::Unfinished { exit, message: text })
    }

    /// Passes on what is known, and says where the run ended and what to do.
    fn stopped(&mut self, stop: &Stop) -> CliError {
        let (mut unknown, mut untaken) = (None, None);
        while let Some(passed) = self.window.pop() {
            match passed.outcome {
                Outcome::Unknown => {
                    unknown = Some((unknown.map_or(passed.place, |(first, _)| first), passed.place));
                }
                Outcome::Untaken => untaken = untaken.or(Some(passed.place)),
                Outcome::Answered(_) => {}
            }
            // That the output cannot be written may be what has stopped it.
            let _ = self.passed(passed);
        }
        let _ = self.screen.flush();
        let mut message = format!("{}\n{} so far", stop.why, self.counts.text());
        if let Some((first, last)) = unknown {
            let (first, last) = (self.name(first), self.name(last));
            let lines =
                if first == last { format!("{first} was") } else { format!("{first} to {last} were") };
            write!(message, "; it is not known whether {lines} taken").expect("a String takes all");
        }
        if let Some(first) = untaken {
            let first = self.name(first);
            write!(message, "; {first} was not taken, nor what else is behind it without an answer")
                .expect("a String takes all");
        }
        message.push_str(if self.resume {
            "\nthe same command again hands in the rest: what was taken is known by its id"
        } else {
            "\nthe same command again hands in the rest if the events carry ids of their own, or with --resume; without \
             ids it hands in anew what was taken as well"
        });
        CliError::Unfinished { exit: stop.exit, message }
    }
}

/// Who may not hand in anything is told so in the place of the first answer: there is no use in the next one.
fn not_allowed(answer: &Answer) -> Option<Stop> {
    match answer {
        Answer::Refused(refused) if refused.error.code == NOT_ALLOWED => {
            Some(Stop { exit: Exit::Permission, why: refused.error.message.clone() })
        }
        _ => None,
    }
}

/// What a refusal for good means to a script.
fn exit_of(error: &ErrorView) -> Exit {
    match error.code.as_str() {
        ACCOUNT_NOT_ALLOWED | NOT_ALLOWED => Exit::Permission,
        _ => Exit::Data,
    }
}
