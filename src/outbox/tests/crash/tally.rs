//! What the tests tried, counted.

use std::fmt;

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
}

impl Tally {
    fn fields(&mut self) -> [(&'static str, &mut usize, usize); 15] {
        [
            ("histories", &mut self.histories, 1),
            ("commits", &mut self.commits, 9),
            ("cuts", &mut self.cuts, 55),
            ("images", &mut self.images, 180),
            ("images of second cuts", &mut self.second_images, 60),
            ("of them in the opening", &mut self.second_in_opening, 40),
            ("bytes", &mut self.bytes, 100 << 20),
            ("growths", &mut self.growths, 1),
            ("cuts in growth", &mut self.cuts_in_growth, 1),
            ("overlapping writes", &mut self.overlaps, 5),
            ("commits under way that were kept", &mut self.under_way, 3),
            ("went on", &mut self.went_on, 12),
            ("duplicates", &mut self.duplicates, 60),
            ("known files", &mut self.files, 10),
            ("opened from a real disk", &mut self.on_disk, 5),
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum, _), (_, one, _)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *one;
        }
    }

    /// The test has not become smaller than it is meant to be.
    pub(super) fn assert_at_least(mut self, seeds: usize) {
        for (name, count, least) in self.fields() {
            assert!(
                *count >= least * seeds,
                "{name}: {count}, of {seeds} histories {} are due",
                least * seeds
            );
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
