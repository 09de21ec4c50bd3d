//! The commands of posthaste(1), made of clap's own definition: all of them on one page, each with usage, options and what its
//! help says below these.

use std::mem;

use clap::{Arg, Command};

use super::{roff::Roff, text::joined};

/// How long a line to be copied may be: what is left of 80 columns, with room for the sign that it goes on.
const WIDTH: usize = 67;

/// The options that every command takes.
pub(super) fn write_options(root: &Command, page: &mut Roff) {
    for argument in root.get_arguments() {
        write_argument(argument, page);
    }
}

/// The commands in short.
pub(super) fn write_overview(root: &Command, page: &mut Roff) {
    for command in root.get_subcommands() {
        let beneath: Vec<_> =
            command.get_subcommands().map(|command| format!("`{}`", command.get_name())).collect();
        let beneath = (!beneath.is_empty()).then(|| format!("There are {}.", beneath.join(", ")));
        let about = format!("{}.", about(command));
        let meaning = [Some(about.as_str()), beneath.as_deref()];
        page.term(&format!("`{}`", command.get_name()), meaning.into_iter().flatten());
    }
}

/// The commands, each with all that is to be said of it.
pub(super) fn write_commands(root: &mut Command, page: &mut Roff) {
    for command in root.get_subcommands_mut() {
        if command.has_subcommands() {
            write_commands(command, page);
        } else {
            write_command(command, page);
        }
    }
}

/// The example that the help of the program as a whole ends with.
pub(super) fn write_example(root: &Command, page: &mut Roff) {
    let text = rest(root);
    write_rest(text.strip_prefix("Example:\n").unwrap_or(&text), page);
}

fn write_command(command: &mut Command, page: &mut Roff) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    page.subheading(&name);
    page.paragraph(&format!("{}.", about(command)));
    let usage = command.render_usage().to_string();
    let usage: Vec<_> =
        usage.trim_start_matches("Usage:").lines().map(|line| usage_line(line, &name)).collect();
    page.lines(usage.iter().map(String::as_str));
    for argument in command.get_arguments().filter(|argument| !is_everybodys(argument)) {
        write_argument(argument, page);
    }
    write_rest(&rest(command), page);
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// Whether it stands under OPTIONS already.
fn is_everybodys(argument: &Arg) -> bool {
    argument.is_global_set() || argument.get_id() == "help"
}

fn usage_line(line: &str, name: &str) -> String {
    let line = line.trim();
    line.strip_prefix(name).map_or_else(|| line.to_owned(), |rest| format!("`{name}`{rest}"))
}

fn write_argument(argument: &Arg, page: &mut Roff) {
    page.term(&term(argument), [meaning(argument).as_str()]);
}

/// How it is written: `--account NAME`.
fn term(argument: &Arg) -> String {
    let short = argument.get_short().map(|short| format!("`-{short}`"));
    let long = argument.get_long().map(|long| format!("`--{long}`"));
    let names: Vec<_> = short.into_iter().chain(long).collect();
    let values = if argument.get_action().takes_values() { values(argument) } else { String::new() };
    let between = if names.is_empty() || values.is_empty() { "" } else { " " };
    format!("{}{between}{values}", names.join(", "))
}

fn values(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let names = names.iter().map(|name| format!("*{name}*")).collect::<Vec<_>>().join(" ");
    let range = argument.get_num_args().unwrap_or_default();
    let many = if range.max_values() > 1 { "..." } else { "" };
    let is_optional =
        if argument.is_positional() { !argument.is_required_set() } else { range.min_values() == 0 };
    if is_optional { format!("[{names}{many}]") } else { format!("{names}{many}") }
}

/// What its help says, and as there, what it is else and may be.
fn meaning(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    if !argument.get_action().takes_values() {
        return help;
    }
    let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
    let possible = argument.get_possible_values();
    let possible = possible.iter().map(|value| value.get_name().to_owned());
    let told = [("default", defaults.collect::<Vec<_>>()), ("possible values", possible.collect())];
    let told = told.iter().filter(|(_, values)| !values.is_empty());
    let told = told.map(|(what, values)| format!(" [{what}: {}]", values.join(", ")));
    [help].into_iter().chain(told).collect()
}

/// What its help says below the options.
fn rest(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

/// Writes what stands below the options: indented lines are to be copied, the others are paragraphs.
fn write_rest(text: &str, page: &mut Roff) {
    for block in text.split("\n\n") {
        let (code, words): (Vec<_>, Vec<_>) = block.lines().partition(|line| line.starts_with("  "));
        if !words.is_empty() {
            page.paragraph(&joined(&words.join("\n")));
        }
        if !code.is_empty() {
            let folded: Vec<_> = code.iter().flat_map(|line| fold(&line[2..])).collect();
            page.literal(folded.iter().map(String::as_str));
        }
    }
}

/// A command line as it can be copied, broken where it is too long and a blank stands outside of quotes.
fn fold(line: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for word in words(line) {
        if !current.trim().is_empty() && current.len() + word.trim_end().len() > WIDTH {
            let full = mem::replace(&mut current, "    ".to_owned());
            lines.push(format!("{} \\", full.trim_end()));
        }
        current += word;
    }
    lines.push(current);
    lines
}

/// The words, each with the blanks behind it; what stands in quotes is one, with all that touches it, and so is an
/// option with its value.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut quote, mut before) = (0, None, ' ');
    for (at, c) in line.char_indices() {
        let begins = quote.is_none() && before == ' ' && c != ' ' && at > 0;
        if begins && !(line[start..at].starts_with("--") && c != '-') {
            words.push(&line[start..at]);
            start = at;
        }
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        before = c;
    }
    words.push(&line[start..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_outside_of_quotes() {
        let line =
            "posthaste key add --role subscriber --account acme --expires 90d --name 'Acme portal of all'";
        let expected = [
            "posthaste key add --role subscriber --account acme --expires 90d \\",
            "    --name 'Acme portal of all'",
        ];
        assert_eq!(fold(line), expected);
        let line = "posthaste emit meter.read --lines 2026-11-22.ndjson --resume meter-2026-11-22";
        let expected =
            ["posthaste emit meter.read --lines 2026-11-22.ndjson \\", "    --resume meter-2026-11-22"];
        assert_eq!(fold(line), expected, "an option keeps its value");
        assert_eq!(fold("posthaste check && posthaste reload"), ["posthaste check && posthaste reload"]);
        let word = "x".repeat(100);
        assert_eq!(fold(&word).concat(), word);
        assert_eq!(fold(&format!("    {word} y"))[0], format!("    {word} \\"), "what is indented stays so");
    }
}
