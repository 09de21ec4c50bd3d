//! The watchdog: the manager hears that the daemon is at work when each part of it has said so, and not before.
//!
//! Three times in the manager's period every part is asked, through the very channel or loop in which it does its work; when
//! all have answered, the manager is told. So a part may stand still for two thirds of the period, as in a sync of a slow disk.
//! Parts that have not answered for half the period are named in the log, before the manager strikes.

use std::{convert::Infallible, env, ffi::OsString, future, pin::Pin, pin::pin, process, time::Duration};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::Notifier;
use crate::logging::Kind;

type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A part of the daemon that can be asked whether it is at work.
pub struct Part {
    name: &'static str,
    probe: Box<dyn Fn() -> Answer + Send + Sync>,
}

impl Part {
    /// A part that answers `probe`; with false it says that it has ended, and then it is never at work again.
    pub fn new<F>(name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let probe = move || -> Answer {
            let answer = probe();
            Box::pin(async move {
                if !answer.await {
                    future::pending::<()>().await;
                }
            })
        };
        Self { name, probe: Box::new(probe) }
    }
}

/// How soon the manager strikes when it hears nothing; `None`: it has no watchdog for this process.
pub fn period() -> Option<Duration> {
    of(env::var_os("WATCHDOG_USEC"), env::var_os("WATCHDOG_PID"), process::id())
}

fn of(micros: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    let is_ours = pid.is_none_or(|pid| number(pid) == Some(own.into()));
    // A shorter period is a mistake of somebody's, and could not be divided.
    micros.and_then(number).filter(|micros| is_ours && *micros >= 1_000).map(Duration::from_micros)
}

/// Tells the manager, whose watchdog has this `period`, whenever all `parts` have answered.
pub async fn watch(period: Duration, parts: &[Part], notifier: &Notifier) -> Infallible {
    let mut ticks = interval(period / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let late = period / 2;
    loop {
        ticks.tick().await;
        let say = |silent: &[&str]| {
            let silent = silent.join(", ");
            tracing::error!(
                kind = Kind::PartSilent.word(),
                "the service manager's watchdog is about to strike: for {late:?} there was no answer from {silent}"
            );
        };
        beat(parts, sleep(late), say).await;
        notifier.alive();
    }
}

/// Asks all parts, and waits until each has answered. Those that have not when `late` is over are told of once.
async fn beat(parts: &[Part], late: impl Future<Output = ()>, say: impl FnOnce(&[&str])) {
    let (mut late, mut say) = (pin!(late), Some(say));
    let mut silent: Vec<_> = parts.iter().map(|part| part.name).collect();
    let mut asked = JoinSet::new();
    for Part { name, probe } in parts {
        let (name, answer) = (*name, probe());
        asked.spawn(async move {
            answer.await;
            name
        });
    }
    while !silent.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = asked.join_next() => {
                // A probe that panics has not answered: it stays among those that are silent.
                if let Ok(name) = ended {
                    silent.retain(|one| *one != name);
                }
            }
            () = &mut late, if say.is_some() => {
                if let Some(say) = say.take() {
                    say(&silent);
                }
            }
            else => future::pending().await,
        }
    }
}

/// Which of these have not answered when `time` is over.
#[cfg(test)]
pub(crate) async fn silent(parts: &[Part], time: impl Future) -> String {
    let late = async {
        tests::have_their_turns().await;
        time.await;
        tests::have_their_turns().await;
    };
    let (say, said) = tokio::sync::oneshot::channel();
    tokio::select! {
        () = beat(parts, late, |silent| say.send(silent.join(", ")).expect("somebody listens")) => String::new(),
        Ok(silent) = said => silent,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Notify, oneshot};

    use super::*;

    fn answering(name: &'static str) -> Part {
        Part::new(name, || future::ready(true))
    }

    /// One that answers when it is told to.
    fn stuck(name: &'static str) -> (Part, Arc<Notify>) {
        let told = Arc::new(Notify::new());
        let own = Arc::clone(&told);
        let probe = move || {
            let told = Arc::clone(&own);
            async move {
                told.notified().await;
                true
            }
        };
        (Part::new(name, probe), told)
    }

    /// Others have had theirs then: whoever can answer has.
    pub(super) async fn have_their_turns() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn all_that_answer_make_a_beat() {
        let parts = [answering("one"), answering("other")];
        beat(&parts, future::pending(), |silent| panic!("{silent:?} have answered")).await;
    }

    #[tokio::test]
    async fn a_part_that_is_stuck_is_named_and_keeps_the_beat_from_coming() {
        let (part, told) = stuck("the writer");
        let parts = [answering("one"), part, Part::new("the engine", || future::ready(false))];
        let (late, is_late) = oneshot::channel::<()>();
        let (say, said) = oneshot::channel();
        let task = tokio::spawn(async move {
            let late = async { drop(is_late.await) };
            beat(&parts, late, |silent| say.send(silent.join(", ")).expect("somebody listens")).await;
        });
        have_their_turns().await;
        late.send(()).expect("it waits");
        let said = said.await.expect("it says so");
        assert_eq!(said, "the writer, the engine");
        told.notify_one();
        have_their_turns().await;
        assert!(!task.is_finished(), "one that has ended is not at work");
        task.abort();
    }

    #[tokio::test]
    async fn a_part_that_is_slow_makes_the_beat_late() {
        let (part, told) = stuck("the writer");
        let parts = [part, answering("one")];
        let task = tokio::spawn(async move { beat(&parts, future::ready(()), |_| ()).await });
        have_their_turns().await;
        assert!(!task.is_finished());
        told.notify_one();
        task.await.expect("it comes after all");
    }

    #[tokio::test]
    async fn a_probe_that_panics_keeps_no_other_from_being_heard() {
        let (part, told) = stuck("the writer");
        let unlucky = Part::new("the engine", || async { panic!("a bug") });
        let (late, is_late) = oneshot::channel::<()>();
        let (say, said) = oneshot::channel();
        let task = tokio::spawn(async move {
            let late = async { drop(is_late.await) };
            beat(&[unlucky, part], late, |silent| say.send(silent.join(", ")).expect("somebody listens"))
                .await;
        });
        have_their_turns().await;
        told.notify_one();
        have_their_turns().await;
        late.send(()).expect("it waits");
        assert_eq!(said.await.expect("it says so"), "the engine");
        task.abort();
    }

    #[test]
    fn the_period_is_that_of_this_process() {
        let text = |text: &str| Some(OsString::from(text));
        for (micros, pid, period) in [
            (text("3000000"), text("7"), Some(Duration::from_secs(3))),
            (text("3000000"), None, Some(Duration::from_secs(3))),
            (text("3000000"), text("8"), None),
            (text("3000000"), text("x"), None),
            (text("1000"), None, Some(Duration::from_millis(1))),
            (text("999"), None, None),
            (text("0"), text("7"), None),
            (text("soon"), text("7"), None),
            (None, text("7"), None),
        ] {
            assert_eq!(of(micros.clone(), pid.clone(), 7), period, "{micros:?} {pid:?}");
        }
    }
}
