//! Secrets on the command line: as they are, of a file, or of the environment.
//!
//! What is written on the command line stands in the list of processes for everybody to see, so the commands' help
//! names the other ways. No error shows anything of a secret.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::error::CliError;
use crate::model::secret::Secret;

/// The variable that stands in for `--secret`.
pub const VARIABLE: &str = "POSTHASTE_SECRET";
/// The longest secret in a file, as for credentials.
const LIMIT: u64 = 16 << 10;

/// Takes an argument over, for clap.
pub fn parse(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// The secret that `argument` is or, as `@FILE`, names; else that of `variable`. A line end at a file's end is left out.
pub fn find(argument: Option<&Secret>, variable: Option<OsString>) -> Result<Option<Secret>, CliError> {
    let found = match argument {
        Some(argument) => match argument.expose().strip_prefix('@') {
            Some(path) => read(Path::new(path))?,
            None => argument.clone(),
        },
        None => match variable.map(OsString::into_string) {
            None => return Ok(None),
            Some(Ok(text)) => Secret::new(text),
            Some(Err(_)) => return Err(CliError::Usage(format!("{VARIABLE} is not UTF-8"))),
        },
    };
    if found.expose().is_empty() {
        return Err(CliError::Usage("the secret is empty".to_owned()));
    }
    Ok(Some(found))
}

fn read(path: &Path) -> Result<Secret, CliError> {
    let error = |error| CliError::File { path: path.to_owned(), error };
    // With room for all of it, so that it does not grow and leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(LIMIT + 1).unwrap_or_default()));
    let file = File::open(path).map_err(error)?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(error)?;
    let wrong =
        |what: &str| CliError::Usage(format!("the secret in {} {what}", PathBuf::from(path).display()));
    if bytes.len() as u64 > LIMIT {
        return Err(error(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn every_way() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("secret");
        fs::write(&file, "whsec_c2VjcmV0\r\n").expect("a file");
        let named = format!("@{}", file.display());
        let variable = || Some(OsString::from("of the environment"));
        for (argument, variable, found) in [
            (None, None, None),
            (None, variable(), Some("of the environment")),
            (Some("s3cr3t"), variable(), Some("s3cr3t")),
            (Some(&named[..]), None, Some("whsec_c2VjcmV0")),
        ] {
            let argument = argument.map(|text| parse(text).expect("it takes all"));
            let secret = find(argument.as_ref(), variable).expect("good");
            assert_eq!(secret.as_ref().map(Secret::expose), found);
            assert!(!format!("{argument:?}").contains("s3cr3t"), "{argument:?}");
        }
    }

    #[test]
    fn what_is_no_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let long = vec![b'x'; 20_000];
        for (content, exit) in [
            (None, Exit::Io),
            (Some(&b""[..]), Exit::Usage),
            (Some(b"\n"), Exit::Usage),
            (Some(b"\xff"), Exit::Usage),
            (Some(&long), Exit::Io),
        ] {
            let file = directory.path().join("secret");
            if let Some(content) = content {
                fs::write(&file, content).expect("a file");
            }
            let argument = Secret::new(format!("@{}", file.display()));
            assert_eq!(find(Some(&argument), None).expect_err("none").exit(), exit, "{content:?}");
        }
        assert_eq!(find(None, Some(OsString::new())).expect_err("empty").exit(), Exit::Usage);
    }
}
