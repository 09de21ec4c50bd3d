//! `docs/configuration.md`, written from the table of keys, and `docs/profiles.md`, from a page and the built-in profiles.

use std::fmt::Write as _;

use super::{
    keys::{self, ANY, Fallback, Key, Kind, SECTIONS, Section},
    profile,
};
use crate::policy::placeholder::Placeholder;

/// The manual of the configuration, in Markdown.
pub fn manual() -> String {
    let mut out = String::from(HEAD);
    for section in SECTIONS {
        write_section(&mut out, section);
    }
    let placeholders: Vec<_> =
        Placeholder::ALL.iter().map(|placeholder| format!("`{placeholder}`")).collect();
    writeln!(out, "{PLACEHOLDERS}{}.", placeholders.join(", ")).expect("a String takes all");
    out
}

/// The manual of profiles, in Markdown.
pub fn profiles() -> String {
    let mut out = String::from(PROFILES);
    for (name, text) in profile::BUILT_IN {
        write!(out, "\n### `{name}`\n\n```toml\n{}\n```\n", text.trim_end()).expect("a String takes all");
    }
    out
}

const HEAD: &str = "\
# Configuration

<!-- Written by `POSTHASTE_BLESS=1 cargo test --lib config` from src/config/keys.rs and src/config/profiles: change those. -->

TOML: `/etc/posthaste/posthaste.toml` (or `--config FILE`) and, after it in name order, the files `conf.d/*.toml` beside it. Tables
merge key by key, the later file wins, arrays of tables add up. Two endpoints of an account with the same name, and
two spools with the same directory, are errors. So is every unknown key. `posthaste check` prints all errors at once, each with its place and what to
write instead.

Durations are written `250ms`, `30s`, `5m`, `2h`, `7d`, sizes `64KiB`, `1MiB`. A path that is not absolute starts at the directory of
`posthaste.toml`, in whichever file it is written.

`@credential:NAME` as the value of a `secret` or of an endpoint's header is read from `$CREDENTIALS_DIRECTORY/NAME` (systemd's `LoadCredential=`),
without the line break at its end. With the unit as it is shipped that is the file `/etc/posthaste/credentials/NAME`, which systemd reads as root and
hands over at every start ([operations.md](operations.md#secrets)): under the unit a reload sees the same as before. One that is not there is no error: it is named, and until a start, or a reload without
the unit, finds it the endpoint is disabled, or the account's callbacks are held.

## Changing it while the daemon runs

`posthaste reload`, `systemctl reload posthaste` and SIGHUP have the daemon read all of it again, `ca_bundle` among it, and credentials, which under the unit are fixed until a restart: with any
error nothing changes, and the daemon goes on with what it had. Otherwise all of it holds at once, but what is marked *from the next start on*: that
stays as it was until the daemon is started anew, and `posthaste status` names it. A request that is being made keeps the URL, secret and profile that it began
with, a connection to the socket the rights that it was given. See [api.md](api.md#reloading).
";

const PLACEHOLDERS: &str = "
## Placeholders

In `signed` and in the values of a profile's headers `{timestamp}` stands for the Unix seconds of the attempt's start, `{timestamp_ms}` for
the milliseconds, `{event_time}` for when the event happened, `{delivery_short}` for 8 characters made of the delivery's id, `{attempt}` for the
attempt's number from 1, `{signature}` for the newest secret's signature, `{signatures}` for those of all secrets, newest first, each in the form of `each`,
joined with `join`. `{{` and `}}` are braces; [profiles.md](profiles.md) has the whole language. There are: ";

const PROFILES: &str = include_str!("profiles/language.md");

fn write_section(out: &mut String, section: &Section) {
    let Section { path, repeated, doc, keys } = section;
    let header = if *repeated { format!("[[{path}]]") } else { format!("[{path}]") };
    write!(out, "\n## `{header}`\n\n{doc}\n").expect("a String takes all");
    out.push_str("\n| key | takes | default | |\n| --- | --- | --- | --- |\n");
    for key in *keys {
        write_key(out, path, key);
    }
}

fn write_key(out: &mut String, section: &str, key: &Key) {
    let Key { name, kind, fallback, doc } = key;
    let name = if *name == ANY { "*any name*".to_owned() } else { format!("`{name}`") };
    let takes = match kind {
        Kind::Choice(choices) => {
            let words: Vec<_> = choices.iter().map(|word| format!("`{word:?}`")).collect();
            words.join(", ")
        }
        kind => kind.expected(),
    };
    let default = match fallback {
        Fallback::Else(words) => (*words).to_owned(),
        Fallback::Required => "**required**".to_owned(),
        Fallback::Value(text) => format!("`{text}`"),
    };
    let is_live = keys::is_live(&format!("{section}.{}", key.name));
    let wait = if is_live { "" } else { " *From the next start on.*" };
    let takes = takes.replace('|', "\\|");
    writeln!(out, "| {name} | {takes} | {default} | {doc}{wait} |").expect("a String takes all");
}
