//! Query parameters: each known by name, each at most once; anything else is an error that says what there is.

use std::collections::BTreeMap;

use super::problem::Problem;
use crate::policy::nearest;

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

/// Items of a page, where nobody says how many.
const DEFAULT_LIMIT: usize = 50;
/// Items of a page at most.
const MAX_LIMIT: usize = 500;

impl Query {
    /// Reads a query string; only `known` parameters may be in it.
    ///
    /// # Errors
    /// An unknown parameter, or one that is there twice.
    pub(super) fn read(text: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut found = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(Problem::bad_request(unknown(&name, known)));
            }
            if found.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Problem::bad_request(format!("the parameter `{name}` is there twice")));
            }
        }
        Ok(Self(found))
    }

    /// The value of `name` as it was given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of `name`, read.
    ///
    /// # Errors
    /// It is none such.
    pub(super) fn value<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let read =
            |text: &str| text.parse().map_err(|error| Problem::bad_request(format!("`{name}`: {error}")));
        self.text(name).map(read).transpose()
    }

    /// How many items are asked for: 1 to 500, 50 where nothing is said.
    ///
    /// # Errors
    /// It is no such number.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let limit = self.text("limit").map_or(Ok(DEFAULT_LIMIT), str::parse);
        let limit = limit.ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| Problem::bad_request(format!("`limit` is a number from 1 to {MAX_LIMIT}")))
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let shown: String = name.chars().take(64).collect();
    if known.is_empty() {
        return format!("unknown parameter `{shown}`: there are none here");
    }
    let near = nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`? "));
    format!("unknown parameter `{shown}`: {}there are {}", near.unwrap_or_default(), known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    #[test]
    fn what_is_understood() {
        let known = ["limit", "since", "until", "status"];
        let query =
            Query::read(Some("status=a%20b&limit=7&since=2024-02-28T16:15:42Z"), &known).expect("a query");
        assert_eq!((query.text("status"), query.limit()), (Some("a b"), Ok(7)));
        let since = query.value("since").expect("a time");
        assert_eq!(since, Some(Timestamp::from_millis(1_709_136_942_000)));
        assert_eq!(Query::read(None, &[]).expect("nothing").limit(), Ok(50));
        for (text, part) in [
            ("stauts=x", "did you mean `status`?"),
            ("zzzzzz=x", "there are limit, since, until, status"),
            ("limit=1&limit=2", "there twice"),
        ] {
            let problem = Query::read(Some(text), &known).expect_err(text);
            assert!(problem.detail.contains(part), "{}", problem.detail);
        }
        for text in ["limit=0", "limit=501", "limit=x", "since=noon"] {
            let query = Query::read(Some(text), &known).expect("known names");
            assert!(query.limit().is_err() || query.value::<Timestamp>("since").is_err(), "{text}");
        }
    }
}
