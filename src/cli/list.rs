//! Lists: pages fetched one after another and shown as one.

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    client::{self, Client, Query},
    error::CliError,
    screen::Screen,
    table::{Column, Table},
};
use crate::api::view::Page;

/// The most items that the daemon gives at once.
const PAGE_SIZE: u64 = 500;

/// How much of a list is wanted.
#[derive(Args, Clone, Copy, Debug)]
pub struct Extent {
    /// Show at most N items, the newest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Show everything
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Extent {
    /// The number of items wanted; `None` for all.
    const fn wanted(self) -> Option<u64> {
        if self.all { None } else { Some(self.limit) }
    }
}

/// A list that the daemon has.
#[derive(Debug)]
pub struct List<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its filters.
    pub query: Query,
    /// How much of it; `None`: all of it.
    pub extent: Option<Extent>,
    /// What is said where it is empty.
    pub empty: &'static str,
}

impl List<'_> {
    /// Shows it: as a table with what `row` makes of each item, or as one JSON document.
    pub fn show<T: DeserializeOwned>(
        &self,
        client: &Client,
        screen: &mut Screen<'_>,
        columns: &'static [Column],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), CliError> {
        if screen.json {
            return self.show_json(client, screen);
        }
        let mut table = Table::new(columns);
        let cursor = self
            .pages(client, |items: Vec<T>| items.iter().try_for_each(|item| table.push(row(item), screen)))?;
        if !table.finish(screen)? {
            screen.note(self.empty);
        } else if cursor.is_some() {
            screen.flush()?;
            screen.note("there are more: --limit N shows more of them, --all shows all");
        }
        Ok(())
    }

    fn show_json(&self, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
        // Nothing is printed before the first page is there: a refusal leaves no half of a document.
        let mut before = "{\"items\":[";
        let cursor = self.pages(client, |items: Vec<Box<RawValue>>| {
            for item in items {
                write!(screen.out, "{before}{}", item.get())?;
                before = ",";
            }
            Ok(())
        })?;
        if before != "," {
            screen.out.write_all(before.as_bytes())?;
        }
        let cursor = serde_json::to_string(&cursor).expect("a string is JSON");
        screen.line(&format!("],\"next_cursor\":{cursor}}}"))
    }

    /// Hands over page after page until enough is shown or the end is there; returns where the list goes on.
    fn pages<T: DeserializeOwned>(
        &self,
        client: &Client,
        mut show: impl FnMut(Vec<T>) -> Result<(), CliError>,
    ) -> Result<Option<String>, CliError> {
        let mut cursor: Option<String> = None;
        let mut left = self.extent.and_then(Extent::wanted);
        loop {
            let limit = self.extent.map(|_| left.map_or(PAGE_SIZE, |left| left.min(PAGE_SIZE)));
            let query = self.query.clone().with("limit", limit).with("cursor", cursor.as_ref());
            let page: Page<T> = client::parse(&client.get(self.path, &query)?)?;
            let count = u64::try_from(page.items.len()).unwrap_or(u64::MAX);
            left = left.map(|left| left.saturating_sub(count));
            show(page.items)?;
            if page.next_cursor.is_none() || left == Some(0) {
                return Ok(page.next_cursor);
            }
            if page.next_cursor == cursor {
                return Err(CliError::Answer("the list does not go on: its cursor came twice".to_owned()));
            }
            cursor = page.next_cursor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{exit::Exit, fake::Daemon, testing::Output};

    const COLUMNS: &[Column] = &[Column::number("N")];

    fn show(
        answers: &[&str],
        extent: Option<Extent>,
        output: &mut Output,
    ) -> (Vec<String>, Result<(), CliError>) {
        let daemon = Daemon::start(answers.iter().map(|answer| (200, (*answer).to_owned())).collect());
        let client = Client::connect(&daemon.paths()).expect("it listens");
        let query = Query::default().with("type", Some("a.b"));
        let list = List { path: "/v1/events", query, extent, empty: "no events" };
        let result = list.show(&client, &mut output.screen(), COLUMNS, |item: &u64| vec![item.to_string()]);
        (daemon.lines(), result)
    }

    const fn limit(limit: u64) -> Extent {
        Extent { limit, all: false }
    }

    #[test]
    fn short_and_empty_pages_are_followed_until_there_is_enough() {
        let mut output = Output::new();
        let answers = [
            r#"{"items":[1,2],"next_cursor":"a"}"#,
            r#"{"items":[],"next_cursor":"b"}"#,
            r#"{"items":[3],"next_cursor":"c"}"#,
        ];
        let (lines, result) = show(&answers, Some(limit(3)), &mut output);
        result.expect("it prints");
        assert_eq!(
            lines,
            [
                "GET /v1/events?type=a.b&limit=3 HTTP/1.1",
                "GET /v1/events?type=a.b&limit=1&cursor=a HTTP/1.1",
                "GET /v1/events?type=a.b&limit=1&cursor=b HTTP/1.1"
            ]
        );
        assert_eq!(output.text(), "N\n1\n2\n3\n");
        assert_eq!(output.notes(), "there are more: --limit N shows more of them, --all shows all\n");
    }

    #[test]
    fn all_goes_to_the_end() {
        let mut output = Output::json();
        let answers = [r#"{"items":[{"a": 1.0}],"next_cursor":"x"}"#, r#"{"items":[2],"next_cursor":null}"#];
        let (lines, result) = show(&answers, Some(Extent { limit: 50, all: true }), &mut output);
        result.expect("it prints");
        assert_eq!(lines[1], "GET /v1/events?type=a.b&limit=500&cursor=x HTTP/1.1");
        assert_eq!(output.text(), "{\"items\":[{\"a\": 1.0},2],\"next_cursor\":null}\n");
    }

    #[test]
    fn the_place_where_it_goes_on_is_told() {
        let mut output = Output::json();
        let (_, result) = show(&[r#"{"items":[1],"next_cursor":"x\"y"}"#], Some(limit(1)), &mut output);
        result.expect("it prints");
        assert_eq!(output.text(), "{\"items\":[1],\"next_cursor\":\"x\\\"y\"}\n");
    }

    #[test]
    fn an_empty_list_says_so_beside_the_output() {
        let mut output = Output::new();
        let (lines, result) = show(&[r#"{"items":[],"next_cursor":null}"#], None, &mut output);
        result.expect("it prints");
        assert_eq!(lines, ["GET /v1/events?type=a.b HTTP/1.1"], "no limit where the list has none");
        assert_eq!((output.text().as_str(), output.notes().as_str()), ("", "no events\n"));
        let mut output = Output::json();
        show(&[r#"{"items":[],"next_cursor":null}"#], None, &mut output).1.expect("it prints");
        assert_eq!(output.text(), "{\"items\":[],\"next_cursor\":null}\n");
    }

    #[test]
    fn a_cursor_that_stands_still_is_an_error() {
        let page = r#"{"items":[],"next_cursor":"a"}"#;
        let (lines, result) = show(&[page, page, page], Some(limit(5)), &mut Output::new());
        assert_eq!(result.expect_err("it would never end").exit(), Exit::Software);
        assert_eq!(lines.len(), 2);
    }
}
