//! A unit file of systemd, as far as the project's own go: no line is continued.

use crate::text;

/// Its assignments in their order: section, key, value.
pub struct Unit(Vec<(String, String, String)>);

impl Unit {
    /// Reads one of the project's.
    pub fn read(name: &str) -> Self {
        let (mut section, mut assignments) = (String::new(), Vec::new());
        for line in text(name).lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
            assignments.push((section.clone(), key.to_owned(), value.to_owned()));
        }
        Self(assignments)
    }

    /// All values of a key.
    pub fn all(&self, section: &str, key: &str) -> Vec<&str> {
        let of_key = |line: &&(String, String, String)| line.0 == section && line.1 == key;
        self.0.iter().filter(of_key).map(|line| line.2.as_str()).collect()
    }

    /// The value of a key that is there once.
    pub fn one(&self, section: &str, key: &str) -> &str {
        let [value] = self.all(section, key)[..] else { panic!("{section}: {key}= is not there once") };
        value
    }

    /// The value of a key that is there once, a number of seconds or the like.
    pub fn number(&self, section: &str, key: &str) -> u64 {
        let value = self.one(section, key);
        value.parse().unwrap_or_else(|_| panic!("{key}={value} is no number"))
    }

    /// The words of a key that is there once.
    pub fn words(&self, section: &str, key: &str) -> Vec<&str> {
        self.one(section, key).split_whitespace().collect()
    }
}
