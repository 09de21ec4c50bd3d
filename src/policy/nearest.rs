//! "Did you mean": the known name that is most like one that is not.
//!
//! Who asks may be anybody, with ten thousand long names against a thousand known ones. So each search has a bound: two
//! names whose lengths alone, or letters, are too different are not compared; of a comparison only what could still come to
//! a likeness is worked out; and after [`MOST`] steps the search ends with the best that it has.

use std::cmp::Reverse;

/// Letters of a name that count.
const LETTERS: usize = 128;
/// Steps of a search: a few milliseconds.
const MOST: usize = 1 << 20;

/// The name among `known` that is most like `name`, if one is like it at all: for "did you mean".
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    Search::new(name).best(known)
}

struct Search<'a> {
    name: &'a str,
    letters: Vec<char>,
    /// The letters of the name that it is held against, and a row of distances; kept from one to the next.
    other: Vec<char>,
    row: Vec<usize>,
    steps: usize,
}

impl<'n> Search<'n> {
    fn new(name: &'n str) -> Self {
        let letters = letters(name).collect();
        Self { name, letters, other: Vec::new(), row: Vec::new(), steps: 0 }
    }

    fn best<'a>(&mut self, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let mut best: Option<((usize, Reverse<usize>), &str)> = None;
        for known in known {
            if self.steps > MOST {
                break;
            }
            let enough = known.len() / 3 + 1;
            let limit = best.map_or(enough, |((distance, _), _)| distance.min(enough));
            let Some(distance) = self.distance(known, limit) else { continue };
            let rank = (distance, Reverse(common_beginning(self.name, known)));
            if best.is_none_or(|(before, _)| rank < before) {
                best = Some((rank, known));
            }
        }
        best.map(|(_, known)| known)
    }

    /// The Levenshtein distance of the first letters, their case aside, if it is no more than `limit`.
    fn distance(&mut self, known: &str, limit: usize) -> Option<usize> {
        self.other.clear();
        self.other.extend(letters(known));
        let (a, b, row) = (&self.letters, &self.other, &mut self.row);
        self.steps += b.len() + 1;
        if a.len().abs_diff(b.len()) > limit {
            return None;
        }
        // Only what is within `limit` of the diagonal can come to no more than that.
        let far = limit + 1;
        row.clear();
        row.extend((0..=b.len()).map(|j| j.min(far)));
        for (i, x) in a.iter().enumerate() {
            let (from, to) = (i.saturating_sub(limit), (i + limit + 1).min(b.len()));
            let mut diagonal = row[from];
            row[from] = if from == 0 { i + 1 } else { far };
            let mut least = row[from];
            for j in from..to {
                let replaced = diagonal + usize::from(*x != b[j]);
                diagonal = row[j + 1];
                row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1).min(far);
                least = least.min(row[j + 1]);
            }
            self.steps += to.saturating_sub(from);
            if least > limit {
                return None;
            }
        }
        Some(row[b.len()]).filter(|distance| *distance <= limit)
    }
}

fn letters(text: &str) -> impl Iterator<Item = char> {
    text.chars().take(LETTERS).flat_map(char::to_lowercase)
}

/// How many letters two names have in common at their beginning: of two names as near, this is the likelier one.
fn common_beginning(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, as in the books.
    fn plainly(a: &str, b: &str) -> usize {
        let (a, b): (Vec<_>, Vec<_>) = (letters(a).collect(), letters(b).collect());
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let replaced = diagonal + usize::from(x != y);
                diagonal = row[j + 1];
                row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
            }
        }
        row[b.len()]
    }

    #[test]
    fn nearest_names() {
        let known = ["body", "timestamp", "timestamp_ms", "event_id"];
        for (name, near) in [
            ("bod", Some("body")),
            ("Timestamp", Some("timestamp")),
            ("timestampms", Some("timestamp_ms")),
            ("eventid", Some("event_id")),
            ("zzzzzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), near, "{name}");
        }
        assert_eq!(nearest("cash", ["path", "cache"]), Some("cache"));
        assert_eq!(Search::new("kitten").distance("sitting", 9), Some(3));
    }

    #[test]
    fn it_finds_what_the_whole_table_finds() {
        let seed = 7;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut found = 0;
        for round in 0..20_000 {
            let mut word = |most: usize| -> String {
                (0..random.usize(..most)).map(|_| ['a', 'b', 'C', '.', 'ü'][random.usize(..5)]).collect()
            };
            let name = word(12);
            let known: Vec<String> = (0..6).map(|_| word(12)).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let ranked = known.iter().map(|known| (plainly(&name, known), *known));
            let plain = ranked
                .filter(|(distance, known)| *distance <= known.len() / 3 + 1)
                .min_by_key(|(distance, known)| (*distance, Reverse(common_beginning(&name, known))))
                .map(|(_, known)| known);
            assert_eq!(
                nearest(&name, known.iter().copied()),
                plain,
                "seed {seed}, round {round}: {name} {known:?}"
            );
            found += usize::from(plain.is_some());
            let limit = random.usize(..14);
            let distance = plainly(&name, known[0]);
            let bounded = Search::new(&name).distance(known[0], limit);
            assert_eq!(
                bounded,
                (distance <= limit).then_some(distance),
                "seed {seed}, round {round}: {limit}"
            );
        }
        assert!(found > 5_000, "{found}");
    }

    #[test]
    fn a_search_is_bounded() {
        // As like as they can be without being the same: no comparison ends early.
        let name = "ab".repeat(64);
        let known: Vec<String> = (0..100_000).map(|n| format!("{}{n:06}", "ba".repeat(61))).collect();
        let mut search = Search::new(&name);
        let near = search.best(known.iter().map(String::as_str));
        assert!(near.is_some(), "the best that it has");
        assert!(search.steps > MOST && search.steps < MOST + LETTERS * LETTERS, "{}", search.steps);
        // Those that are of other lengths cost next to nothing.
        let mut search = Search::new("a.b");
        assert_eq!(search.best(known.iter().take(1_000).map(String::as_str)), None);
        assert!(search.steps < 1_000 * (LETTERS + 2), "{}", search.steps);
    }
}
