//! The text of a page as it is written in `pages/`: a small part of Markdown.
//!
//! Blocks stand apart by a blank line. `# HEADING`; `## Heading` of a part; lines indented by four blanks, to be copied as they are;
//! `TERM` on a line and `: ` before what it means; `{NAME}` alone, where the program writes something that it knows; any other
//! is a paragraph, its lines joined.

use super::roff::Roff;

/// Writes the text to the page; `generate` writes what the text only names.
pub(super) fn write(text: &str, page: &mut Roff, mut generate: impl FnMut(&str, &mut Roff)) {
    for block in blocks(text) {
        if let Some(name) = block.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            generate(name, page);
        } else {
            write_block(&block, page);
        }
    }
}

fn write_block(block: &str, page: &mut Roff) {
    if let Some(heading) = block.strip_prefix("## ") {
        page.subheading(heading);
    } else if let Some(heading) = block.strip_prefix("# ") {
        page.heading(heading);
    } else if block.starts_with("    ") {
        page.literal(block.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)));
    } else if let Some((term, meaning)) = block.split_once("\n: ") {
        page.term(term, [joined(meaning).as_str()]);
    } else {
        page.paragraph(&joined(block));
    }
}

/// The blocks; what is indented and only parted by blank lines is one.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for block in text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()) {
        match blocks.last_mut() {
            Some(last) if last.starts_with("    ") && block.starts_with("    ") => {
                last.push_str("\n\n");
                last.push_str(block);
            }
            _ => blocks.push(block.to_owned()),
        }
    }
    blocks
}

/// Lines as one.
pub(super) fn joined(lines: &str) -> String {
    lines.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_block_is_known() {
        let text = "# NAME\n\na\nb\n\n## Part\n\n`x`\n: is\n  y\n\n    one\n\n      two\n\n{it}\n";
        let mut page = Roff::new("a", 1);
        let mut named = Vec::new();
        write(text, &mut page, |name, _| named.push(name.to_owned()));
        let page = page.finish();
        let (_, body) = page.split_once(".ad l\n").expect("its head");
        let expected = ".SH \"NAME\"\n.PP\na b\n.SS \"Part\"\n.TP\n\\fBx\\fR\nis y\n\
                        .PP\n.RS 4\n.nf\none\n\n  two\n.fi\n.RE\n";
        assert_eq!((body, named), (expected, vec!["it".to_owned()]));
    }
}
