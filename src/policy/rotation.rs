//! Rotation: how an endpoint's secret is followed by another.
//!
//! While they overlap, requests carry a signature of each, so that a receiver can change to the one that follows at any
//! time in between. Pure: the time is an argument.

use std::time::Duration;

use crate::model::{
    secret::{DatedSecret, Secret},
    time::Timestamp,
};

/// The secrets after `secret` has taken the place of the newest of `earlier`, newest first. The earlier ones sign for
/// `overlap` from `now` on, or to their own end where that comes first; those whose time is over are left out, and of more
/// than [`DatedSecret::MOST`] the oldest.
pub fn rotate(
    earlier: &[DatedSecret],
    secret: Secret,
    now: Timestamp,
    overlap: Duration,
) -> Vec<DatedSecret> {
    let end = now.plus(overlap);
    let retired = earlier
        .iter()
        .map(|one| DatedSecret { until: Some(one.until.map_or(end, |until| until.min(end))), ..one.clone() });
    let newest = DatedSecret { secret, made_at: now, until: None };
    let kept = retired.filter(|one| !one.is_over(now));
    std::iter::once(newest).chain(kept).take(DatedSecret::MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn rotate_at(earlier: &[DatedSecret], name: &str, now: u64, overlap: u64) -> Vec<DatedSecret> {
        rotate(earlier, Secret::new(name.to_owned()), at(now), Duration::from_secs(overlap))
    }

    /// Each secret with its end in seconds.
    fn shown(secrets: &[DatedSecret]) -> Vec<(&str, Option<u64>)> {
        secrets.iter().map(|one| (one.secret.expose(), one.until.map(Timestamp::as_secs))).collect()
    }

    #[test]
    fn the_earlier_ones_get_an_end() {
        let first = rotate_at(&[], "a", 100, 50);
        assert_eq!((shown(&first), first[0].made_at), (vec![("a", None)], at(100)));
        let second = rotate_at(&first, "b", 200, 50);
        assert_eq!(shown(&second), [("b", None), ("a", Some(250))]);
        assert_eq!((second[0].made_at, second[1].made_at), (at(200), at(100)));
        assert_eq!(
            shown(&rotate_at(&second, "c", 210, 90)),
            [("c", None), ("b", Some(300)), ("a", Some(250))]
        );
        assert_eq!(
            shown(&rotate_at(&second, "c", 210, 5)),
            [("c", None), ("b", Some(215)), ("a", Some(215))]
        );
        assert_eq!(shown(&rotate_at(&second, "c", 250, 90)), [("c", None), ("b", Some(340))], "a is over");
        assert_eq!(shown(&rotate_at(&second, "c", 210, 0)), [("c", None)], "no overlap");
    }

    #[test]
    fn the_oldest_of_too_many_is_left_out() {
        let mut secrets = Vec::new();
        for now in 0..=11 {
            secrets = rotate_at(&secrets, &now.to_string(), now, 1000);
        }
        let names: Vec<_> = shown(&secrets).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["11", "10", "9", "8", "7", "6", "5", "4", "3", "2"]);
    }
}
