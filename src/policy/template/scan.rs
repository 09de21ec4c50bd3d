//! The look at a template before the engine's compiler sees it.
//!
//! The compiler recurses on long chains of operators and `elif`s without a bound of its own; so each tag's
//! length, pieces and brackets are bounded here, and the depth of blocks, such that a debug build stays well
//! within a stack of 2 MiB. The tags are those that cannot double a value. It reads tags exactly as the engine's
//! lexer does: a tag ends at its marker outside brackets and strings, comments and raw blocks are passed over.

use std::collections::BTreeSet;

use super::{
    super::nearest,
    VARIABLES,
    filters::{FILTERS, TESTS},
};

/// Bytes of a template.
const MAX_SOURCE: usize = 64 << 10;
/// Bytes of a tag, without its markers.
const MAX_TAG: usize = 1 << 10;
/// Names, literals and operators in a tag.
const MAX_PIECES: usize = 256;
/// Brackets within brackets.
const MAX_BRACKETS: usize = 16;
/// Blocks within blocks, each `elif` counted as one.
const MAX_BLOCKS: usize = 32;
/// `for` within `for`.
const MAX_LOOPS: usize = 4;

/// Why a template is refused before it is compiled; `line` counts from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Blocks within blocks, or branches.
    #[error("line {line}: more than {MAX_BLOCKS} ifs, elifs and fors within each other")]
    Blocks {
        /// Where.
        line: usize,
    },
    /// Brackets within brackets.
    #[error("line {line}: more than {MAX_BRACKETS} brackets within each other")]
    Brackets {
        /// Where.
        line: usize,
    },
    /// No such filter.
    #[error("line {line}: unknown filter {name}{}; there are {}", mean(*.nearest), FILTERS.join(" "))]
    Filter {
        /// Where.
        line: usize,
        /// The name as it was written.
        name: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
    /// Text is built, or the loop recurses, in the head of a `for`.
    #[error("line {line}: a for goes over a value as it is: no {what} in its head")]
    ForHead {
        /// Where.
        line: usize,
        /// What stands in it.
        what: &'static str,
    },
    /// `for` within `for`.
    #[error("line {line}: more than {MAX_LOOPS} fors within each other")]
    Loops {
        /// Where.
        line: usize,
    },
    /// Names, literals and operators in a tag.
    #[error("line {line}: more than {MAX_PIECES} names, literals and operators in one tag; use several")]
    Pieces {
        /// Where.
        line: usize,
    },
    /// `*`.
    #[error("line {line}: templates do not multiply; put the product into the event's data")]
    Star {
        /// Where.
        line: usize,
    },
    /// No such tag.
    #[error(
        "line {line}: no tag {name} in templates; there are if elif else endif, for else endfor, raw endraw"
    )]
    Tag {
        /// Where.
        line: usize,
        /// The name as it was written.
        name: String,
    },
    /// A tag's length.
    #[error("line {line}: a tag of more than {MAX_TAG} bytes, or without its end; use several")]
    TagTooLong {
        /// Where.
        line: usize,
    },
    /// No such test.
    #[error("line {line}: unknown test {name}{}; there are {}", mean(*.nearest), TESTS.join(" "))]
    Test {
        /// Where.
        line: usize,
        /// The name as it was written.
        name: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
    /// The template's length.
    #[error("a template has at most 64KiB")]
    TooLong,
    /// A comment or a raw block.
    #[error("line {line}: the {what} has no end")]
    Unclosed {
        /// Where.
        line: usize,
        /// What has no end.
        what: &'static str,
    },
}

/// What there is to know of a template.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// A `for` is within another.
    pub(super) nested: bool,
    /// The variables that are named, as far as their text says.
    pub(super) variables: BTreeSet<&'static str>,
}

/// Checks the whole of `source`.
pub(super) fn scan(source: &str) -> Result<Seen, ScanError> {
    if source.len() > MAX_SOURCE {
        return Err(ScanError::TooLong);
    }
    let mut scan = Scan { source, at: 0, blocks: Vec::new(), nested: false, variables: BTreeSet::new() };
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|marker| scan.rest().find(marker)).min() {
        scan.at += start;
        let marker = &scan.rest()[..2];
        match marker {
            "{#" => scan.comment()?,
            "{{" => {
                let tag = scan.tag("}}")?;
                let pieces = pieces(tag, scan.line())?;
                scan.note(&pieces);
            }
            _ => scan.block()?,
        }
    }
    Ok(Seen { nested: scan.nested, variables: scan.variables })
}

struct Scan<'a> {
    source: &'a str,
    at: usize,
    /// The open blocks; an `if` counts its branches.
    blocks: Vec<Block>,
    /// A `for` is within another.
    nested: bool,
    variables: BTreeSet<&'static str>,
}

enum Block {
    /// Over a list that its head builds: its line.
    For {
        builds: Option<usize>,
    },
    If {
        branches: usize,
    },
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn line(&self) -> usize {
        self.source[..self.at].matches('\n').count() + 1
    }

    fn comment(&mut self) -> Result<(), ScanError> {
        let unclosed = ScanError::Unclosed { line: self.line(), what: "comment" };
        self.at += 2;
        self.at += self.rest().find("#}").ok_or(unclosed)? + 2;
        Ok(())
    }

    /// What is between the marker here and `end`; goes on behind it.
    fn tag(&mut self, end: &str) -> Result<&'a str, ScanError> {
        let line = self.line();
        let inner = &self.rest()[2..];
        let bytes = inner.as_bytes();
        let (mut at, mut depth) = (0, 0_usize);
        while at < bytes.len() && at <= MAX_TAG {
            if depth == 0 && bytes[at..].starts_with(end.as_bytes()) {
                self.at += 2 + at + end.len();
                return Ok(&inner[..at]);
            }
            match bytes[at] {
                quote @ (b'"' | b'\'') => at += string(&bytes[at + 1..], quote),
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if depth > MAX_BRACKETS {
                return Err(ScanError::Brackets { line });
            }
        }
        Err(ScanError::TagTooLong { line })
    }

    fn block(&mut self) -> Result<(), ScanError> {
        let line = self.line();
        if self.raw()? {
            return Ok(());
        }
        let tag = self.tag("%}")?;
        let pieces = pieces(tag, line)?;
        self.note(&pieces);
        let sign = usize::from(matches!(pieces.first(), Some(&("-" | "+"))));
        match pieces.get(sign).copied().unwrap_or_default() {
            "if" => self.blocks.push(Block::If { branches: 1 }),
            "elif" => {
                if let Some(Block::If { branches }) = self.blocks.last_mut() {
                    *branches += 1;
                }
            }
            "for" => {
                for_head(&pieces, line)?;
                self.around()?;
                self.blocks.push(Block::For { builds: builds(&pieces).then_some(line) });
            }
            "else" => {}
            "endif" | "endfor" => drop(self.blocks.pop()),
            name => return Err(ScanError::Tag { line, name: name.chars().take(32).collect() }),
        }
        self.depth(line)
    }

    /// Takes note of the variables that a tag names.
    fn note(&mut self, pieces: &[&str]) {
        let named = pieces.iter().enumerate().filter(|(at, _)| *at == 0 || pieces[at - 1] != ".");
        self.variables
            .extend(named.filter_map(|(_, piece)| VARIABLES.into_iter().find(|name| name == piece)));
    }

    /// Takes note of the loops around the one that begins here. What such a loop goes over pays for each use that the inner
    /// one may make of it, unless its head has just built it.
    fn around(&mut self) -> Result<(), ScanError> {
        for block in &self.blocks {
            if let Block::For { builds } = block {
                self.nested = true;
                builds.map_or(Ok(()), |line| Err(ScanError::ForHead { line, what: "list of values" }))?;
            }
        }
        Ok(())
    }

    fn depth(&self, line: usize) -> Result<(), ScanError> {
        let depth = self.blocks.iter().map(|block| match block {
            Block::For { .. } => 1,
            Block::If { branches } => *branches,
        });
        let loops = self.blocks.iter().filter(|block| matches!(block, Block::For { .. })).count();
        if loops > MAX_LOOPS {
            Err(ScanError::Loops { line })
        } else if depth.sum::<usize>() > MAX_BLOCKS {
            Err(ScanError::Blocks { line })
        } else {
            Ok(())
        }
    }

    /// Passes over a raw block, if one is here.
    fn raw(&mut self) -> Result<bool, ScanError> {
        let Some(length) = basic_tag(&self.rest()[2..], "raw") else { return Ok(false) };
        let unclosed = ScanError::Unclosed { line: self.line(), what: "raw block" };
        self.at += 2 + length;
        while let Some(start) = self.rest().find("{%") {
            self.at += start + 2;
            if let Some(length) = basic_tag(self.rest(), "endraw") {
                self.at += length;
                return Ok(true);
            }
        }
        Err(unclosed)
    }
}

/// The length of `-  name -%}` at the beginning of `text`, if that is there.
fn basic_tag(text: &str, name: &str) -> Option<usize> {
    let sign = |text: &'_ str| usize::from(text.starts_with(['-', '+']));
    let mut rest = &text[sign(text)..];
    rest = rest.trim_ascii_start().strip_prefix(name)?.trim_ascii_start();
    rest = rest[sign(rest)..].strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

/// How many bytes of a string's are left after its opening quote, the closing one counted.
fn string(bytes: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if *byte == quote => return at + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Takes a tag apart into names, numbers, strings (their quote stands for them) and signs; checks what any tag
/// may hold.
fn pieces(tag: &str, line: usize) -> Result<Vec<&str>, ScanError> {
    let mut pieces = Vec::new();
    let mut rest = tag.trim_ascii_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let (piece, length) = if word(first) {
            let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
            (&rest[..length], length)
        } else if let quote @ ('"' | '\'') = first {
            let quote = u8::try_from(quote).expect("a quote is ASCII");
            (&rest[..1], 1 + string(&rest.as_bytes()[1..], quote))
        } else {
            (&rest[..first.len_utf8()], first.len_utf8())
        };
        pieces.push(piece);
        rest = rest[length..].trim_ascii_start();
    }
    if pieces.len() > MAX_PIECES {
        Err(ScanError::Pieces { line })
    } else if pieces.contains(&"*") {
        Err(ScanError::Star { line })
    } else {
        names(&pieces, line)?;
        Ok(pieces)
    }
}

/// Checks the names of filters and tests.
fn names(pieces: &[&str], line: usize) -> Result<(), ScanError> {
    for (at, piece) in pieces.iter().enumerate() {
        let attribute = at > 0 && pieces[at - 1] == ".";
        let next = pieces.get(at + 1).copied().unwrap_or_default();
        if *piece == "|" && !FILTERS.contains(&next) {
            return Err(ScanError::Filter { line, name: next.to_owned(), nearest: nearest(next, FILTERS) });
        }
        if *piece == "is" && !attribute {
            let name = if next == "not" { pieces.get(at + 2).copied().unwrap_or_default() } else { next };
            if !TESTS.contains(&name) {
                return Err(ScanError::Test { line, name: name.to_owned(), nearest: nearest(name, TESTS) });
            }
        }
    }
    Ok(())
}

/// What would build text in the head of a `for`, where the loop's variable would carry it on.
fn for_head(pieces: &[&str], line: usize) -> Result<(), ScanError> {
    let error = |what| Err(ScanError::ForHead { line, what });
    // A sign at either end is the tag's own.
    let inner = pieces.strip_suffix(&["+"]).unwrap_or(pieces);
    for (at, piece) in inner.iter().enumerate().skip(1) {
        let before = inner[at - 1];
        match *piece {
            "~" => return error("~"),
            "+" => return error("+"),
            "recursive" if before != "." => return error("recursive"),
            _ => {}
        }
        let builds =
            ["join", "map", "replace", "string", "sum", "tojson"].into_iter().find(|name| name == piece);
        if let Some(name) = builds.filter(|_| before == "|") {
            return error(name);
        }
    }
    Ok(())
}

/// Whether the head of a `for` builds a list of what is not written there itself.
fn builds(pieces: &[&str]) -> bool {
    const WORDS: [&str; 11] =
        ["true", "false", "none", "True", "False", "None", "and", "or", "not", "if", "else"];
    let is_word = |piece: &str| piece.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let Some(head) = pieces.iter().position(|piece| *piece == "in") else { return false };
    // Brackets that are open: what opened them, whether they build something, and what is in them.
    let mut open = vec![("(", true, false, false)];
    let mut before = "in";
    for piece in &pieces[head + 1..] {
        match *piece {
            "[" | "{" | "(" => {
                let follows = (is_word(before) && before != "in" && !WORDS.contains(&before))
                    || matches!(before, "]" | ")" | "}" | "'" | "\"");
                open.push((piece, !follows, false, false));
            }
            "]" | "}" | ")" => {
                let Some((bracket, literal, words, commas)) = open.pop() else { return false };
                if literal && words && (bracket != "(" || commas) {
                    return true;
                }
            }
            "," => open.iter_mut().last().into_iter().for_each(|(.., commas)| *commas = true),
            word if is_word(word) && !WORDS.contains(&word) => {
                for (_, _, words, _) in &mut open {
                    *words = true;
                }
            }
            _ => {}
        }
        before = piece;
    }
    open.first().is_some_and(|(_, _, words, commas)| *words && *commas)
}

fn mean(nearest: Option<&'static str>) -> String {
    nearest.map(|nearest| format!(", did you mean {nearest}?")).unwrap_or_default()
}
