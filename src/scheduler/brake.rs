//! What keeps a lane from starting besides its window: its circuit and its rate. A lane that has neither has no brake
//! to ask.

use super::LaneRules;
use crate::{
    model::time::Timestamp,
    policy::{
        circuit::{Circuit, Ended, Open, Rules},
        rate::Pace,
        verdict::Verdict,
    },
};

/// A lane's circuit and rate.
#[derive(Debug)]
pub(super) struct Brake {
    circuit: Option<(Rules, Circuit)>,
    /// The one attempt that is open is a probe.
    probing: bool,
    pace: Option<Pace>,
}

impl Brake {
    /// The brake that `rules` want, with what `old` knows; `None`: they want none.
    pub(super) fn new(rules: &LaneRules, old: Option<Self>, now: Timestamp) -> Option<Self> {
        if rules.circuit.is_none() && rules.rate.is_none() {
            return None;
        }
        let (circuit, probing, pace) = old.map_or((None, false, None), |old| {
            (old.circuit.map(|(_, circuit)| circuit), old.probing, old.pace)
        });
        let pace_of = |rate| pace.map_or(Pace::new(rate), |pace| pace.changed(rate, now));
        Some(Self {
            circuit: rules.circuit.clone().map(|rules| (rules, circuit.unwrap_or(Circuit::NEW))),
            probing: probing && rules.circuit.is_some(),
            pace: rules.rate.map(pace_of),
        })
    }

    /// Forgets what its circuit knows.
    pub(super) const fn forget(&mut self) {
        if let Some((_, circuit)) = &mut self.circuit {
            *circuit = Circuit::NEW;
        }
        self.probing = false;
    }

    /// What there is to know of its circuit while that is open.
    pub(super) fn open(&self) -> Option<Open> {
        self.circuit.as_ref().and_then(|(_, circuit)| circuit.open())
    }

    /// From when on both let an attempt start.
    pub(super) fn next(&self) -> Timestamp {
        let probe = self.open().map(|open| open.next);
        let turn = self.pace.map(|pace| pace.next());
        probe.max(turn).unwrap_or(Timestamp::EPOCH)
    }

    /// Takes note that an attempt starts at `now`.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.probing = self.open().is_some();
        if let Some(pace) = &mut self.pace {
            pace.start(now);
        }
    }

    /// Takes note of what came of an attempt.
    pub(super) fn finish(&mut self, verdict: Verdict, chance: f64, at: Timestamp) {
        let probe = std::mem::take(&mut self.probing);
        if let Some((rules, circuit)) = &mut self.circuit {
            *circuit = circuit.after(Ended { verdict, probe, at, chance }, rules);
        }
    }
}
