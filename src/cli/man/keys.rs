//! The keys of posthaste.toml(5), from the table that the configuration is read by.

use super::roff::Roff;
use crate::{
    config::keys::{self, ANY, Fallback, Key, SECTIONS, Section},
    policy::placeholder::Placeholder,
};

/// Every section with its keys.
pub(super) fn write_sections(page: &mut Roff) {
    for Section { path, repeated, doc, keys } in SECTIONS {
        page.subheading(&if *repeated { format!("[[{path}]]") } else { format!("[{path}]") });
        page.paragraph(doc);
        for key in *keys {
            write_key(path, key, page);
        }
    }
}

/// The placeholders, by name.
pub(super) fn write_placeholders(page: &mut Roff) {
    let names: Vec<_> = Placeholder::ALL.iter().map(|placeholder| format!("`{placeholder}`")).collect();
    page.paragraph(&format!("There are {}.", names.join(", ")));
}

fn write_key(section: &str, key: &Key, page: &mut Roff) {
    let term = if key.name == ANY { "*any name*".to_owned() } else { format!("`{}`", key.name) };
    page.term(&term, [key.doc, nature(section, key).as_str()]);
}

/// What it takes, what holds without it, and whether a change of it waits.
fn nature(section: &str, key: &Key) -> String {
    let default = match key.fallback {
        Fallback::Else(words) => format!("Default: {words}."),
        Fallback::Required => "Required.".to_owned(),
        Fallback::Value(text) => format!("Default: `{text}`."),
    };
    let is_live = keys::is_live(&format!("{section}.{}", key.name));
    let wait = if is_live { "" } else { " *From the next start on.*" };
    format!("Takes {}. {default}{wait}", key.kind.expected())
}
