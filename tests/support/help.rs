//! The commands as their help shows them.

use super::world::{posthaste, stderr, stdout};

/// Every command that does something, as its words.
pub fn leaves() -> Vec<Vec<String>> {
    let mut leaves = Vec::new();
    let mut open = vec![Vec::<String>::new()];
    while let Some(words) = open.pop() {
        let help = help(&words);
        let Some((_, commands)) = help.split_once("\nCommands:\n") else {
            leaves.push(words);
            continue;
        };
        let names = commands.lines().take_while(|line| !line.is_empty());
        let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()) {
            open.push([&words[..], &[name.to_owned()]].concat());
        }
    }
    leaves
}

/// What a command's `--help` prints.
pub fn help(words: &[String]) -> String {
    let output = posthaste().args(words).arg("--help").output().expect("the binary was built");
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
    stdout(&output)
}
