//! Tables for people: no borders, columns aligned, one line a row in a pipe and folded to fit on a terminal.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Grid, Width, presets};

use super::{
    error::CliError,
    screen::{self, Screen},
};

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading, in upper case.
    pub header: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// On a terminal that is too narrow columns with a place here are left out, the lowest first.
    pub spare: Option<u8>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Words that may be folded.
    Text,
    /// Numbers: aligned to the right.
    Number,
    /// What must be in one piece to be copied: ids and times.
    Whole,
    /// Words whose first decides on a colour; never folded, and only ids and names stand left of it.
    Status,
}

impl Column {
    /// A column of texts.
    pub const fn text(header: &'static str) -> Self {
        Self { header, kind: Kind::Text, spare: None }
    }

    /// A column of numbers.
    pub const fn number(header: &'static str) -> Self {
        Self { header, kind: Kind::Number, spare: None }
    }

    /// A column of ids or times.
    pub const fn whole(header: &'static str) -> Self {
        Self { header, kind: Kind::Whole, spare: None }
    }

    /// A column of states.
    pub const fn status(header: &'static str) -> Self {
        Self { header, kind: Kind::Status, spare: None }
    }

    /// This column, the `place`th to be left out on a narrow terminal.
    #[must_use]
    pub const fn spare(self, place: u8) -> Self {
        Self { spare: Some(place), ..self }
    }
}

/// Prints rows as they come, in portions: so a list of any length takes little memory.
///
/// The heading is printed once, and a column is never narrower in a later portion than in an earlier one.
#[derive(Debug)]
pub struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
    widths: Vec<u16>,
    begun: bool,
    /// Columns whose place is below this are left out.
    left_out: u8,
}

/// The place of a column that is left out only where folding texts does not help.
pub const LAST: u8 = u8::MAX - 1;
/// Texts are not folded to fewer columns: a terminal that has no place for these wraps the line itself.
const FOLDED: u16 = 12;
/// Rather than to fold texts to fewer columns than this, columns are left out.
const READABLE: u16 = 24;
/// Blanks between two columns.
const GAP: u16 = 2;

impl Table {
    /// Rows of one portion.
    const PORTION: usize = 500;

    /// An empty table.
    pub fn new(columns: &'static [Column]) -> Self {
        let widths = columns.iter().map(|column| u16::try_from(column.header.len()).unwrap_or(u16::MAX));
        Self { columns, rows: Vec::new(), widths: widths.collect(), begun: false, left_out: 0 }
    }

    /// Adds a row of as many cells as there are columns.
    pub fn push(&mut self, row: Vec<String>, screen: &mut Screen<'_>) -> Result<(), CliError> {
        self.rows.push(row);
        if self.rows.len() >= Self::PORTION { self.print(screen) } else { Ok(()) }
    }

    /// Prints what is left; whether there was any row at all.
    pub fn finish(mut self, screen: &mut Screen<'_>) -> Result<bool, CliError> {
        if !self.rows.is_empty() {
            self.print(screen)?;
        }
        Ok(self.begun)
    }

    fn print(&mut self, screen: &mut Screen<'_>) -> Result<(), CliError> {
        let grid = self.grid(screen.width);
        let lines: Vec<String> = grid.lines().map(|line| line.trim_end().to_owned()).collect();
        // No column is narrower than its heading, so the heading is exactly one line.
        let (heading, rows) =
            lines.split_first().map_or(("", [].as_slice()), |(first, rest)| (first.as_str(), rest));
        let status = self.columns.iter().find(|column| column.kind == Kind::Status);
        let painted = status.and_then(|column| heading.find(column.header)).filter(|_| screen.colour);
        if !self.begun {
            screen.line(&screen.bold(heading))?;
            self.begun = true;
        }
        for row in rows {
            match painted {
                Some(place) => screen.line(&paint_at(row, place))?,
                None => screen.line(row)?,
            }
        }
        Ok(())
    }

    fn grid(&mut self, width: Option<u16>) -> Grid {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        grid.set_header(self.columns.iter().map(|column| column.header));
        grid.add_rows(self.rows.drain(..));
        match width {
            Some(width) => grid.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
            None => grid.set_content_arrangement(ContentArrangement::Disabled),
        };
        let contents = grid.column_max_content_widths();
        if let Some(width) = width.filter(|_| !self.begun) {
            self.left_out = left_out(self.columns, &contents, width);
        }
        for (index, column) in self.columns.iter().enumerate() {
            let content = contents.get(index).copied().unwrap_or_default();
            let least = &mut self.widths[index];
            if width.is_none() || column.kind != Kind::Text {
                *least = (*least).max(content);
            } else {
                *least = (*least).max(content.min(FOLDED));
            }
            if let Some(grid_column) = grid.column_mut(index) {
                let gap = if index + 1 < self.columns.len() { GAP } else { 0 };
                grid_column.set_padding((0, gap));
                // A constraint counts the padding, too.
                let least = ColumnConstraint::LowerBoundary(Width::Fixed(least.saturating_add(gap)));
                let shown = is_shown(column, self.left_out);
                grid_column.set_constraint(if shown { least } else { ColumnConstraint::Hidden });
                if column.kind == Kind::Number {
                    grid_column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        grid
    }
}

fn is_shown(column: &Column, left_out: u8) -> bool {
    column.spare.is_none_or(|place| place >= left_out)
}

/// How many places of spare columns must be left out for the others to fit into `width`, texts hardly folded; one with the
/// place [`LAST`] only where they do not fit in any other way.
fn left_out(columns: &[Column], contents: &[u16], width: u16) -> u8 {
    let needed = |left_out: u8, folded: u16| {
        let shown = columns.iter().zip(contents).filter(|(column, _)| is_shown(column, left_out));
        let widths = shown.map(|(column, content)| {
            let content = if column.kind == Kind::Text { (*content).min(folded) } else { *content };
            content.saturating_add(GAP)
        });
        // The last column has nothing after it.
        widths.fold(0, u16::saturating_add).saturating_sub(GAP)
    };
    let places = columns.iter().filter_map(|column| column.spare).filter(|place| *place < LAST);
    let all = places.max().map_or(0, |place| place + 1);
    let enough = (0..all).find(|places| needed(*places, READABLE) <= width);
    enough.unwrap_or(if needed(all, FOLDED) <= width { all } else { LAST + 1 })
}

/// Colours the words that begin at `place` and end before two blanks.
fn paint_at(line: &str, place: usize) -> String {
    let Some((before, rest)) = line.split_at_checked(place).filter(|(before, _)| before.is_ascii()) else {
        return line.to_owned();
    };
    let (words, after) = rest.split_at(rest.find("  ").unwrap_or(rest.len()));
    format!("{before}{}{after}", screen::paint(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::Output;

    const COLUMNS: &[Column] =
        &[Column::whole("ID"), Column::status("STATUS"), Column::text("TYPE"), Column::number("ATTEMPTS")];

    fn row(id: &str, status: &str, kind: &str, attempts: u32) -> Vec<String> {
        vec![id.to_owned(), status.to_owned(), kind.to_owned(), attempts.to_string()]
    }

    #[test]
    fn in_a_pipe_a_row_is_a_line() {
        let mut output = Output::new();
        let long = "video.".repeat(40);
        let mut table = Table::new(COLUMNS);
        table.push(row("dlv_1", "succeeded", "a.b", 1), &mut output.screen()).expect("it prints");
        table.push(row("dlv_22", "failed: exhausted", &long, 12), &mut output.screen()).expect("it prints");
        assert!(table.finish(&mut output.screen()).expect("it prints"));
        let fill = |text: &str| format!("{text:<240}");
        let expected = format!(
            "ID      STATUS             {}  ATTEMPTS\n\
             dlv_1   succeeded          {}         1\n\
             dlv_22  failed: exhausted  {}        12\n",
            fill("TYPE"),
            fill("a.b"),
            fill(&long)
        );
        assert_eq!(output.text(), expected);
    }

    #[test]
    fn on_a_terminal_texts_are_folded_and_ids_are_not() {
        let mut output = Output::new();
        output.width = Some(40);
        output.colour = true;
        let mut table = Table::new(COLUMNS);
        let id = "dlv_01hqr2p1qq";
        table
            .push(row(id, "failed", "video media ready for all", 3), &mut output.screen())
            .expect("it prints");
        table.finish(&mut output.screen()).expect("it prints");
        let text = output.text();
        assert!(text.lines().count() > 2, "the type was folded: {text}");
        assert!(text.contains(&format!("{id}  \u{1b}[31mfailed\u{1b}[0m  ")), "{text}");
        assert!(text.starts_with("\u{1b}[1mID"), "{text}");
    }

    #[test]
    fn later_portions_keep_the_columns() {
        let mut output = Output::new();
        let mut table = Table::new(COLUMNS);
        for number in 0..Table::PORTION {
            table
                .push(
                    row("dlv_long_id", "pending", "a", u32::try_from(number).expect("small")),
                    &mut output.screen(),
                )
                .expect("it prints");
        }
        table.push(row("d", "pending", "b", 1), &mut output.screen()).expect("it prints");
        table.finish(&mut output.screen()).expect("it prints");
        let text = output.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), Table::PORTION + 2, "one heading");
        assert_eq!(lines[1].find("pending"), lines[Table::PORTION + 1].find("pending"));
    }

    #[test]
    fn texts_are_folded_before_the_last_column_goes() {
        const SPARING: &[Column] = &[
            Column::whole("ID"),
            Column::whole("ACCEPTED").spare(LAST),
            Column::text("SIZE").spare(0),
            Column::text("DELIVERIES"),
        ];
        for (width, heading, rows) in [
            (60, "ID     ACCEPTED             SIZE  DELIVERIES", 1),
            (52, "ID     ACCEPTED             DELIVERIES", 1),
            (44, "ID     ACCEPTED             DELIVERIES", 2),
            (39, "ID     DELIVERIES", 1),
            (20, "ID     DELIVERIES", 2),
        ] {
            let mut output = Output::new();
            output.width = Some(width);
            let mut table = Table::new(SPARING);
            let row = ["dlv_1", "2026-11-22 12:00:00", "17 B", "1 pending, 2 succeeded"].map(str::to_owned);
            table.push(row.to_vec(), &mut output.screen()).expect("it prints");
            table.finish(&mut output.screen()).expect("it prints");
            let text = output.text();
            assert_eq!(text.lines().next(), Some(heading), "{width}: {text}");
            assert_eq!(text.lines().count(), rows + 1, "{width}: {text}");
        }
    }

    #[test]
    fn a_narrow_terminal_does_without_what_is_spare() {
        const SPARING: &[Column] = &[
            Column::whole("ID"),
            Column::whole("ACCEPTED").spare(0),
            Column::text("LAST").spare(1),
            Column::number("ATTEMPTS"),
        ];
        for (width, expected) in [
            (
                None,
                "ID     ACCEPTED             LAST       ATTEMPTS\ndlv_1  2026-11-22 12:00:00  no answer         1\n",
            ),
            (
                Some(80),
                "ID     ACCEPTED             LAST       ATTEMPTS\ndlv_1  2026-11-22 12:00:00  no answer         1\n",
            ),
            (
                Some(47),
                "ID     ACCEPTED             LAST       ATTEMPTS\ndlv_1  2026-11-22 12:00:00  no answer         1\n",
            ),
            (Some(46), "ID     LAST       ATTEMPTS\ndlv_1  no answer         1\n"),
            (Some(26), "ID     LAST       ATTEMPTS\ndlv_1  no answer         1\n"),
            (Some(25), "ID     ATTEMPTS\ndlv_1         1\n"),
        ] {
            let mut output = Output::new();
            output.width = width;
            let mut table = Table::new(SPARING);
            let row = ["dlv_1", "2026-11-22 12:00:00", "no answer", "1"].map(str::to_owned).to_vec();
            table.push(row, &mut output.screen()).expect("it prints");
            table.finish(&mut output.screen()).expect("it prints");
            assert_eq!(output.text(), expected, "{width:?}");
        }
    }
}
