//! A manual page in the language of man(7), written piece by piece.
//!
//! Text comes in the marks of the project's Markdown: `` `code` ``, options (`--wait`) and pages (`cp(1)`) are bold,
//! `*words*` slanted, a link is its text.
//! The page is ASCII. Each character that roff would take for its own, or make a typographic one of, is escaped, also where
//! it does no harm: what is copied off the page is what was meant, quotes, tildes and hyphens among it.
//!
//! Lines are neither justified nor hyphenated, as half of the words are names.

use std::fmt::Write as _;

/// A page that is being written.
pub(super) struct Roff {
    out: String,
}

impl Roff {
    /// Begins the page `title(section)`. It has no date, so that the same program always prints the same.
    pub(super) fn new(title: &str, section: u8) -> Self {
        let title = escaped(&title.to_uppercase());
        let version = escaped(env!("CARGO_PKG_VERSION"));
        let out = format!(
            ".\\\" Printed by `posthaste man`.\n\
             .TH \"{title}\" {section} \"\" \"posthaste {version}\" \"posthaste\"\n.nh\n.ad l\n"
        );
        Self { out }
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.out
    }

    /// A section's heading.
    pub(super) fn heading(&mut self, text: &str) {
        self.line(format_args!(".SH \"{}\"", escaped(text)));
    }

    /// The heading of a part of a section.
    pub(super) fn subheading(&mut self, text: &str) {
        self.line(format_args!(".SS \"{}\"", escaped(text)));
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.line(format_args!(".PP\n{}", inline(text)));
    }

    /// Lines that stay lines, as of a synopsis, each continued further to the right where it is too long.
    pub(super) fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        self.line(format_args!(".PP\n.RS 4"));
        for line in lines {
            self.line(format_args!(".ti -4\n{}\n.br", inline(line)));
        }
        self.line(format_args!(".RE"));
    }

    /// A term, and below it what it means, a paragraph each.
    pub(super) fn term<'a>(&mut self, term: &str, meaning: impl IntoIterator<Item = &'a str>) {
        self.line(format_args!(".TP\n{}", inline(term)));
        for (index, text) in meaning.into_iter().enumerate() {
            let between = if index == 0 { "" } else { ".br\n" };
            self.line(format_args!("{between}{}", inline(text)));
        }
    }

    /// What is to be copied: lines as they are, without marks.
    pub(super) fn literal<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        self.line(format_args!(".PP\n.RS 4\n.nf"));
        for line in lines {
            self.line(format_args!("{}", guarded(escaped(line))));
        }
        self.line(format_args!(".fi\n.RE"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.out, "{text}").expect("a String takes all");
    }
}

/// Text with marks, as a line of roff.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let (mut rest, mut before) = (text, ' ');
    while let Some(first) = rest.chars().next() {
        let (written, taken) = marked(rest, before)
            .unwrap_or_else(|| (escaped(first.encode_utf8(&mut [0; 4])), first.len_utf8()));
        out += &written;
        before = rest[..taken].chars().next_back().unwrap_or(first);
        rest = &rest[taken..];
    }
    guarded(out)
}

/// What is marked at the beginning of `rest`, as roff, and how many bytes of it that was.
fn marked(rest: &str, before: char) -> Option<(String, usize)> {
    let at_word = !(before.is_alphanumeric() || ".-_/".contains(before));
    let of_words = || option(rest).or_else(|| slanted(rest)).or_else(|| reference(rest)).filter(|_| at_word);
    code(rest).or_else(|| link(rest)).or_else(of_words)
}

fn code(rest: &str) -> Option<(String, usize)> {
    let (text, _) = rest.strip_prefix('`')?.split_once('`')?;
    Some((bold(text), text.len() + 2))
}

/// One whose text is its target's name leads to a page of the project's documents.
fn link(rest: &str) -> Option<(String, usize)> {
    let (text, behind) = rest.strip_prefix('[')?.split_once(']')?;
    let (target, _) = behind.strip_prefix('(')?.split_once(')')?;
    let shown = if target.starts_with(text) { format!("docs/{text}") } else { text.to_owned() };
    Some((escaped(&shown), text.len() + target.len() + 4))
}

fn option(rest: &str) -> Option<(String, usize)> {
    let name = rest.strip_prefix("--").filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))?;
    let length = name.find(|c: char| c != '-' && !c.is_ascii_alphanumeric()).unwrap_or(name.len()) + 2;
    Some((bold(&rest[..length]), length))
}

/// Stars that stand elsewhere than around words are stars.
fn slanted(rest: &str) -> Option<(String, usize)> {
    let (text, _) = rest.strip_prefix('*')?.split_once('*')?;
    let is_word = text.starts_with(char::is_alphanumeric) && !text.ends_with(char::is_whitespace);
    is_word.then(|| (format!("\\fI{}\\fR", escaped(text)), text.len() + 2))
}

/// Another page: `cp(1)`.
fn reference(rest: &str) -> Option<(String, usize)> {
    let (name, behind) = rest.split_once('(')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    let section = behind.chars().next().filter(char::is_ascii_digit)?;
    (is_name && behind[1..].starts_with(')')).then(|| (format!("{}({section})", bold(name)), name.len() + 3))
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// A line that does not begin as a request does.
fn guarded(line: String) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

/// Text in which nothing means anything to roff; good for a quoted argument, too.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '"' => out.push_str("\\(dq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '…' => out.push_str("..."),
            c if c.is_ascii() => out.push(c),
            c => write!(out, "\\[u{:04X}]", u32::from(c)).expect("a String takes all"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_means_anything_to_roff() {
        for (text, roff) in [
            ("a-b", "a\\-b"),
            (r"C:\new", "C:\\enew"),
            (".TH it's", "\\&.TH it\\(aqs"),
            ("'x' \"y\"", "\\(aqx\\(aq \\(dqy\\(dq"),
            ("~/^`", "\\(ti/\\(ha\\(ga"),
            ("dlv_… §", "dlv_... \\[u00A7]"),
        ] {
            assert_eq!(inline(text), roff, "{text}");
        }
    }

    #[test]
    fn marks_are_fonts() {
        for (text, roff) in [
            ("`a.b` is", "\\fBa.b\\fR is"),
            ("`.x`", "\\fB.x\\fR"),
            ("with --no-wait, a--b", "with \\fB\\-\\-no\\-wait\\fR, a\\-\\-b"),
            ("`--out` *DIR*...", "\\fB\\-\\-out\\fR \\fIDIR\\fR..."),
            ("[*FILE*...]", "[\\fIFILE\\fR...]"),
            ("'*' or video.* or *", "\\(aq*\\(aq or video.* or *"),
            ("see [api.md](api.md#rights) and [this](x.md)", "see docs/api.md and this"),
            ("[[access]] (2h) [default: x]", "[[access]] (2h) [default: x]"),
            ("a ` b", "a \\(ga b"),
            ("cp(1) and a.b(5)", "\\fBcp\\fR(1) and \\fBa.b\\fR(5)"),
            ("x(10) /cp(1) f(x)", "x(10) /cp(1) f(x)"),
        ] {
            assert_eq!(inline(text), roff, "{text}");
        }
    }

    #[test]
    fn a_page_has_its_pieces() {
        let mut page = Roff::new("a.b", 5);
        page.heading("SEE ALSO");
        page.term("`a`", ["one", "two"]);
        page.literal([".x = \"y\"", "", "  z"]);
        page.lines(["a", "b"]);
        let page = page.finish();
        assert!(page.contains("\n.TH \"A.B\" 5 \"\" \"posthaste "), "{page}");
        let (_, body) = page.split_once(".ad l\n").expect("its head");
        let expected = ".SH \"SEE ALSO\"\n.TP\n\\fBa\\fR\none\n.br\ntwo\n\
                        .PP\n.RS 4\n.nf\n\\&.x = \\(dqy\\(dq\n\n  z\n.fi\n.RE\n\
                        .PP\n.RS 4\n.ti -4\na\n.br\n.ti -4\nb\n.br\n.RE\n";
        assert_eq!(body, expected);
    }
}
