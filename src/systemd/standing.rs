//! How the daemon stands, as one line that `systemctl status` shows.

use std::{fmt, time::Duration};

/// What the line says; `Display` is the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why no events are taken, if none are.
    pub shut: Option<&'static str>,
    /// Deliveries that are pending.
    pub pending: u64,
    /// The age of the event whose delivery has been pending for longest.
    pub oldest: Option<Duration>,
    /// Endpoints that are disabled.
    pub disabled: usize,
    /// Credentials that are not there.
    pub missing: usize,
    /// The configuration as it is written now was refused.
    pub refused: bool,
}

impl Standing {
    /// How soon the line is another by nothing but time; `None`: never. Where the age is not known, it may be at once.
    pub fn changes_in(&self) -> Option<Duration> {
        let age = || self.oldest.map_or(Duration::ZERO, left);
        (self.pending > 0).then(age)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, line: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shut {
            None => line.write_str("accepting events")?,
            Some(why) => write!(line, "no events are taken, as {why}")?,
        }
        match (self.pending, self.oldest) {
            (0, _) => line.write_str("; nothing pending")?,
            (pending, None) => write!(line, "; {pending} pending")?,
            (pending, Some(age)) => write!(line, "; {pending} pending, the oldest {}", coarse(age))?,
        }
        count(line, self.disabled, ["endpoint", "endpoints"], "disabled")?;
        count(line, self.missing, ["credential", "credentials"], "missing")?;
        if self.refused {
            line.write_str("; the configuration as it is written was refused, and the former one holds")?;
        }
        Ok(())
    }
}

fn count(line: &mut fmt::Formatter<'_>, count: usize, [one, many]: [&str; 2], what: &str) -> fmt::Result {
    match count {
        0 => Ok(()),
        1 => write!(line, "; 1 {one} {what}"),
        _ => write!(line, "; {count} {many} {what}"),
    }
}

/// An age to the unit that matters, so that the line does not change more often than it has to.
fn coarse(age: Duration) -> String {
    let (unit, name) = unit(age);
    format!("{} {name}", age.as_secs() / unit)
}

/// How long until [`coarse`] says something else.
fn left(age: Duration) -> Duration {
    let (unit, _) = unit(age);
    Duration::from_secs((age.as_secs() / unit + 1) * unit).saturating_sub(age)
}

/// The unit that matters, in seconds.
const fn unit(age: Duration) -> (u64, &'static str) {
    match age.as_secs() {
        ..60 => (1, "s"),
        60..3_600 => (60, "min"),
        3_600..172_800 => (3_600, "h"),
        _ => (86_400, "days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (standing, line) in [
            (Standing::default(), "accepting events; nothing pending"),
            (
                Standing { pending: 12, oldest: seconds(3), disabled: 1, ..Standing::default() },
                "accepting events; 12 pending, the oldest 3 s; 1 endpoint disabled",
            ),
            (Standing { pending: 1, ..Standing::default() }, "accepting events; 1 pending"),
            (
                Standing { pending: 1, oldest: seconds(119), missing: 1, ..Standing::default() },
                "accepting events; 1 pending, the oldest 1 min; 1 credential missing",
            ),
            (
                Standing { disabled: 2, missing: 3, ..Standing::default() },
                "accepting events; nothing pending; 2 endpoints disabled; 3 credentials missing",
            ),
            (
                Standing {
                    shut: Some("the disk is full"),
                    pending: 2,
                    oldest: seconds(7_300),
                    ..Standing::default()
                },
                "no events are taken, as the disk is full; 2 pending, the oldest 2 h",
            ),
            (
                Standing { refused: true, ..Standing::default() },
                "accepting events; nothing pending; the configuration as it is written was refused, and the former one holds",
            ),
        ] {
            assert_eq!(standing.to_string(), line);
        }
    }

    #[test]
    fn ages() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(coarse(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_line_holds_until_its_age_is_another() {
        let line = |age| Standing { pending: 1, oldest: Some(age), ..Standing::default() };
        for millis in [0, 1_250, 59_999, 60_000, 119_500, 3_599_000, 3_600_000, 172_799_000, 172_800_000] {
            let age = Duration::from_millis(millis);
            let holds = line(age).changes_in().expect("it grows older");
            let before = (age + holds).saturating_sub(Duration::from_millis(1));
            assert_eq!(line(before).to_string(), line(age).to_string());
            assert_ne!(line(age + holds).to_string(), line(age).to_string());
        }
        assert_eq!(Standing { pending: 1, ..Standing::default() }.changes_in(), Some(Duration::ZERO));
        assert_eq!(Standing::default().changes_in(), None);
    }
}
