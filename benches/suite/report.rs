//! Figures: gathered round by round, printed as tables, written as JSON.

use serde_json::{Value, json};

/// What a figure ought to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(most) => format!("at most {most}"),
            Self::AtLeast(least) => format!("at least {least}"),
        }
    }
}

/// One figure: its values in all rounds.
struct Figure {
    name: String,
    unit: &'static str,
    rounds: Vec<f64>,
    target: Option<Target>,
}

/// The figures of one benchmark, in the order in which they were first seen.
pub(crate) struct Figures {
    benchmark: &'static str,
    about: String,
    all: Vec<Figure>,
}

impl Figures {
    pub(crate) const fn new(benchmark: &'static str, about: String) -> Self {
        Self { benchmark, about, all: Vec::new() }
    }

    /// Adds a round's value to the figure of this name.
    pub(crate) fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        self.figure(name, unit).rounds.push(value);
    }

    /// The same, of a figure that has a target.
    pub(crate) fn hold(&mut self, name: &str, value: f64, unit: &'static str, target: Target) {
        let figure = self.figure(name, unit);
        figure.rounds.push(value);
        figure.target = Some(target);
    }

    fn figure(&mut self, name: &str, unit: &'static str) -> &mut Figure {
        let index = self.all.iter().position(|figure| figure.name == name).unwrap_or_else(|| {
            self.all.push(Figure { name: name.to_owned(), unit, rounds: Vec::new(), target: None });
            self.all.len() - 1
        });
        &mut self.all[index]
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("\n{}: {}", self.benchmark, self.about);
        let width = self.all.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        for figure in &self.all {
            println!("  {:width$}  {}", figure.name, figure.line());
        }
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let figures: Vec<_> = self.all.iter().map(Figure::json).collect();
        json!({"benchmark": self.benchmark, "about": self.about, "figures": figures})
    }
}

impl Figure {
    fn line(&self) -> String {
        let value = median(&self.rounds);
        let mut range = String::new();
        if self.rounds.len() > 1 {
            range = format!("{} to {}", number(least(&self.rounds)), number(most(&self.rounds)));
        }
        let verdict = self.target.map_or_else(String::new, |target| {
            let verdict = if target.is_met(value) { "met" } else { "missed" };
            format!("target {}: {verdict}", target.words())
        });
        let line = format!("{:>10} {:<7} {range:>20}  {verdict}", number(value), self.unit);
        line.trim_end().to_owned()
    }

    fn json(&self) -> Value {
        let value = median(&self.rounds);
        let target = self.target.map(|target| {
            let (kind, bound) = match target {
                Target::AtMost(most) => ("at_most", most),
                Target::AtLeast(least) => ("at_least", least),
            };
            json!({kind: bound, "met": target.is_met(value)})
        });
        json!({
            "figure": self.name, "unit": self.unit, "median": value, "rounds": self.rounds, "target": target,
        })
    }
}

/// The middle one, or the mean of the two in the middle; nothing is 0.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

/// The value that so great a part of all, from 0 to 1, is not above; nothing is 0.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index, from 0 to the length"
    )]
    let index = (part * values.len() as f64) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Three digits that matter, thousands apart.
fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
