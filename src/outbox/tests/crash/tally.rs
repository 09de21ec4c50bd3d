//! What the tests tried, counted.

use std::fmt;

use super::{super::model::Model, found::Found};
use crate::outbox::schema::pack;

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) histories: usize,
    pub(super) commits: usize,
    pub(super) cuts: usize,
    pub(super) images: usize,
    pub(super) second_images: usize,
    pub(super) second_in_opening: usize,
    pub(super) bytes: usize,
    pub(super) growths: usize,
    pub(super) cuts_in_growth: usize,
    pub(super) overlaps: usize,
    pub(super) under_way: usize,
    pub(super) went_on: usize,
    pub(super) duplicates: usize,
    pub(super) files: usize,
    pub(super) on_disk: usize,
    pub(super) never_parked: usize,
    pub(super) parked: usize,
    pub(super) stale: usize,
    pub(super) taken: usize,
    pub(super) origins: usize,
    pub(super) forgotten: usize,
    pub(super) without_place: usize,
    pub(super) behind: usize,
    pub(super) joined: usize,
    pub(super) gone: usize,
}

impl Tally {
    /// Each with its name, and how much is due of ten histories.
    fn fields(&mut self) -> [(&'static str, &mut usize, usize); 25] {
        [
            ("histories", &mut self.histories, 10),
            ("commits", &mut self.commits, 80),
            ("cuts", &mut self.cuts, 400),
            ("images", &mut self.images, 1200),
            ("images of second cuts", &mut self.second_images, 600),
            ("of them in the opening", &mut self.second_in_opening, 400),
            ("bytes", &mut self.bytes, 1 << 30),
            ("growths", &mut self.growths, 7),
            ("cuts in growth", &mut self.cuts_in_growth, 7),
            ("overlapping writes", &mut self.overlaps, 50),
            ("commits under way that were kept", &mut self.under_way, 30),
            ("went on", &mut self.went_on, 120),
            ("duplicates", &mut self.duplicates, 600),
            ("known files", &mut self.files, 100),
            ("opened from a real disk", &mut self.on_disk, 50),
            ("images of stores that never parked", &mut self.never_parked, 200),
            ("parked keys", &mut self.parked, 20_000),
            ("of them without use", &mut self.stale, 1_500),
            ("keys that were loaded again", &mut self.taken, 8_000),
            ("origins", &mut self.origins, 2_000),
            ("of them forgotten", &mut self.forgotten, 100),
            ("callbacks without a place", &mut self.without_place, 20),
            ("deliveries behind others", &mut self.behind, 20_000),
            ("of them behind newer ones", &mut self.joined, 1_000),
            ("events forgotten", &mut self.gone, 1_000),
        ]
    }

    /// Takes note of the parked keys in a store that was recovered.
    pub(super) fn note_parked(&mut self, model: &Model, found: &Found) {
        let (rows, taken) = (found.parked.rows.len(), model.parked.taken.len());
        self.never_parked += usize::from(rows + taken == 0);
        self.parked += rows;
        // Their deliveries have ended, or are due in another minute.
        self.stale += rows + found.parked.scheduled.len() + found.behind() - found.backlog.len();
        self.behind += found.behind();
        self.joined += found.fifo.iter().filter(|((_, _, place), key)| *place != pack(**key)).count();
        self.taken += taken;
        self.gone += usize::try_from(model.gone).expect("fits");
        let [origins, forgotten, without_place] =
            model.origins.tally.map(|count| usize::try_from(count).expect("fits"));
        self.origins += origins;
        self.forgotten += forgotten;
        self.without_place += without_place;
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum, _), (_, one, _)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *one;
        }
    }

    /// The test has not become smaller than it is meant to be.
    pub(super) fn assert_at_least(mut self, histories: usize) {
        for (name, count, of_ten) in self.fields() {
            let least = (of_ten * histories).div_ceil(10);
            assert!(*count >= least, "{name}: {count}, of {histories} histories {least} are due");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tally = *self;
        let texts = tally.fields().map(|(name, count, _)| format!("{count} {name}"));
        f.write_str(&texts.join(", "))
    }
}
