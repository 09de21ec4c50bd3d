//! Secrets that stand elsewhere: `@credential:NAME` is the content of `$CREDENTIALS_DIRECTORY/NAME`, without the
//! line break at its end, or else of `$CREDENTIALS_DIRECTORY/posthaste_NAME`: so systemd calls the files of a whole directory
//! that a unit loads under the name `posthaste`, as the shipped one does with `/etc/posthaste/credentials`.
//!
//! A credential that is not there is no error: it is named, and what needs it waits for a start that finds it. One that
//! is there but cannot be read, is empty or no text is an error. No message shows a secret.

use std::{fs, io, path::Path};

use zeroize::Zeroizing;

use super::read::Fault;
use crate::{
    model::{secret::Secret, time::format_size},
    sandbox::UNIT_CREDENTIAL,
};

/// What a value that names a credential begins with.
pub(super) const PREFIX: &str = "@credential:";
/// What systemd puts before the names of the files of the unit's own directory.
const DIRECTORY_PREFIX: &str = "posthaste_";
/// The longest credential; a header has to fit into what receivers take.
const MAX_LENGTH: usize = 16 << 10;

/// A secret, or the name of the credential that is not there.
#[derive(Debug)]
pub(super) enum Found {
    Missing(String),
    Secret(Secret),
}

/// The longest text in PEM: a chain of many certificates.
const MAX_PEM: usize = 256 << 10;

impl Found {
    /// The name of the credential that is not there.
    pub(super) fn missing(self) -> Option<String> {
        match self {
            Self::Missing(name) => Some(name),
            Self::Secret(_) => None,
        }
    }
}

/// Reads what `text` is or names; `directory` is where credentials are, if anywhere.
pub(super) fn resolve(text: &str, directory: Option<&Path>) -> Result<Found, Fault> {
    resolve_within(text, directory, MAX_LENGTH)
}

/// The same, of a text in PEM.
pub(super) fn resolve_pem(text: &str, directory: Option<&Path>) -> Result<Found, Fault> {
    resolve_within(text, directory, MAX_PEM)
}

fn resolve_within(text: &str, directory: Option<&Path>, most: usize) -> Result<Found, Fault> {
    let Some(name) = text.strip_prefix(PREFIX) else {
        return if text.starts_with('@') {
            Err(Fault::new(
                "begins with `@` but names no credential",
                "write \"@credential:NAME\"; a secret that begins with @ goes into a credential",
            ))
        } else if text.is_empty() {
            Err(Fault::new("is empty", "write the secret, or \"@credential:NAME\""))
        } else {
            Ok(Found::Secret(Secret::new(text.to_owned())))
        };
    };
    if !is_name(name) {
        return Err(Fault::new(
            "names no credential",
            "a credential's name is a file's name of printable ASCII, without `/` and `:`",
        ));
    }
    let Some(directory) = directory else { return Ok(Found::Missing(name.to_owned())) };
    let fault = |what: &str| Fault::new(format!("names the credential `{name}`, which {what}"), "");
    let bytes = match read(directory, name) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Found::Missing(name.to_owned())),
        Err(error) => return Err(fault(&format!("cannot be read: {error}"))),
    };
    if bytes.len() > most {
        return Err(fault(&format!("is longer than {}", format_size(most as u64))));
    }
    let Ok(text) = std::str::from_utf8(&bytes) else { return Err(fault("is not UTF-8")) };
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() { Err(fault("is empty")) } else { Ok(Found::Secret(Secret::new(text.to_owned()))) }
}

/// The credential's content; `None`: it has none under either name.
fn read(directory: &Path, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let own = Some(name.to_owned()).filter(|name| name != UNIT_CREDENTIAL);
    for file in own.into_iter().chain([format!("{DIRECTORY_PREFIX}{name}")]) {
        match fs::read(directory.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read.map(|bytes| Some(Zeroizing::new(bytes))),
        }
    }
    Ok(None)
}

/// What systemd takes for a name. One that it does not take keeps it from starting the unit at all.
fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'/' | b':');
    (1..=255).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_of_the_unit_s_own_directory_is_found_by_its_name_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        let find = |name: &str| {
            let found = resolve(&format!("{PREFIX}{name}"), Some(directory.path()));
            match found.unwrap_or_else(|_| panic!("{name} is no error")) {
                Found::Secret(secret) => Some(secret.expose().to_owned()),
                Found::Missing(missing) => {
                    assert_eq!(missing, name);
                    None
                }
            }
        };
        assert_eq!(find("erp"), None);
        write("posthaste_erp", "of the directory\n");
        assert_eq!(find("erp").as_deref(), Some("of the directory"));
        write("erp", "of its own\n");
        assert_eq!(find("erp").as_deref(), Some("of its own"), "what a drop-in names wins");
        // What everybody can read in the unit signs nothing.
        write(UNIT_CREDENTIAL, "the unit's own");
        assert_eq!(find(UNIT_CREDENTIAL), None);
        write("posthaste_posthaste", "a secret");
        assert_eq!(find(UNIT_CREDENTIAL).as_deref(), Some("a secret"));
    }

    #[test]
    fn names_are_those_that_systemd_takes() {
        for (name, good) in [
            ("erp-secret", true),
            ("erp secret_1.pem", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a:b", false),
            ("\u{fc}ber", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
