//! What would be said again and again is said once in [`PERIOD`], and then how often it was.
//!
//! A value that its owner asks, and which is to be asked again at [`Seldom::next`], so that what was kept back is told also
//! when nothing more comes. It remembers `BOUND` things; of others nothing is said meanwhile, nor counted.

use std::{collections::HashMap, hash::Hash, time::Duration};

use crate::model::time::Timestamp;

/// How seldom one thing is said.
pub const PERIOD: Duration = Duration::from_secs(60);
/// So many things are remembered.
const BOUND: usize = 4096;

/// What was said lately, by what tells one thing from another.
#[derive(Debug)]
pub struct Seldom<K> {
    kept: HashMap<K, Kept>,
    /// When the first of these is to be told or forgotten.
    look_at: Option<Timestamp>,
    /// When the first is to be told.
    tell_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Kept {
    until: Timestamp,
    count: u64,
}

impl<K> Default for Seldom<K> {
    fn default() -> Self {
        Self { kept: HashMap::new(), look_at: None, tell_at: None }
    }
}

impl<K: Copy + Eq + Hash> Seldom<K> {
    /// Whether this is to be said now; else it is counted.
    pub fn may_say(&mut self, what: K, now: Timestamp) -> bool {
        if let Some(kept) = self.kept.get_mut(&what) {
            kept.count += 1;
            self.tell_at = Some(earlier(self.tell_at, kept.until));
            return false;
        }
        let has_room = self.kept.len() < BOUND;
        if has_room {
            let until = now.plus(PERIOD);
            self.kept.insert(what, Kept { until, count: 0 });
            self.look_at = Some(earlier(self.look_at, until));
        }
        has_room
    }

    /// What was kept back and is to be told now, and how often it was. What did not come again is forgotten.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<(K, u64)> {
        let mut due = Vec::new();
        if self.look_at.is_none_or(|at| at > now) {
            return due;
        }
        (self.look_at, self.tell_at) = (None, None);
        self.kept.retain(|what, kept| {
            let count = if kept.until <= now { std::mem::take(&mut kept.count) } else { 0 };
            if count > 0 {
                due.push((*what, count));
                kept.until = now.plus(PERIOD);
            }
            if kept.until <= now {
                return false;
            }
            self.look_at = Some(earlier(self.look_at, kept.until));
            if kept.count > 0 {
                self.tell_at = Some(earlier(self.tell_at, kept.until));
            }
            true
        });
        due
    }

    /// All that was kept back: there is no later.
    pub fn take_all(&mut self) -> Vec<(K, u64)> {
        (self.look_at, self.tell_at) = (None, None);
        self.kept.drain().filter(|(_, kept)| kept.count > 0).map(|(what, kept)| (what, kept.count)).collect()
    }

    /// When something that was kept back is to be told.
    pub const fn next(&self) -> Option<Timestamp> {
        self.tell_at
    }
}

fn earlier(one: Option<Timestamp>, other: Timestamp) -> Timestamp {
    one.map_or(other, |one| one.min(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_then_counted() {
        let (mut seldom, start) = (Seldom::default(), Timestamp::RELEASED);
        let at = |seconds| start.plus(Duration::from_secs(seconds));
        assert!(seldom.may_say("a", at(0)));
        assert_eq!(seldom.next(), None, "nothing was kept back");
        assert!(!seldom.may_say("a", at(1)) && !seldom.may_say("a", at(2)));
        assert!(seldom.may_say("b", at(30)), "something else");
        assert_eq!(seldom.next(), Some(at(60)));
        assert_eq!(seldom.take_due(at(59)), []);
        assert_eq!(seldom.take_due(at(60)), [("a", 2)]);
        assert_eq!(seldom.next(), None);
        assert!(!seldom.may_say("a", at(90)), "its count was a line, too");
        assert_eq!(seldom.next(), Some(at(120)));
        assert_eq!(seldom.take_due(at(120)), [("a", 1)]);
        assert_eq!(seldom.take_due(at(180)), [], "and is forgotten");
        assert!(seldom.may_say("a", at(180)) && !seldom.may_say("a", at(181)));
        assert_eq!(seldom.take_all(), [("a", 1)]);
        assert_eq!(seldom.next(), None);
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let (mut seldom, start) = (Seldom::default(), Timestamp::RELEASED);
        assert!((0..BOUND).all(|what| seldom.may_say(what, start)));
        assert!(!seldom.may_say(BOUND, start));
        assert_eq!(seldom.take_due(start.plus(PERIOD)), []);
        assert!(seldom.may_say(BOUND, start.plus(PERIOD)));
    }
}
