//! Arguments that stand for themselves, for a file, or for standard input.

use std::{fs::File, io::Read, path::Path};

use super::error::CliError;

/// Nothing is longer: the daemon's own limits are far below.
const LIMIT: u64 = 64 << 20;

/// The bytes that are meant: a file's after `@`, those of `stdin` for `-`, else the argument's own.
pub fn read<R: Read>(argument: &str, stdin: impl FnOnce() -> R) -> Result<Vec<u8>, CliError> {
    match argument.strip_prefix('@') {
        Some(path) => {
            let path = Path::new(path);
            let failed = |error| CliError::File { path: path.to_owned(), error };
            read_bounded(File::open(path).map_err(failed)?, path)
        }
        None if argument == "-" => read_bounded(stdin(), Path::new("standard input")),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

fn read_bounded(source: impl Read, path: &Path) -> Result<Vec<u8>, CliError> {
    let mut data = Vec::new();
    let read = source.take(LIMIT + 1).read_to_end(&mut data);
    read.map_err(|error| CliError::File { path: path.to_owned(), error })?;
    if u64::try_from(data.len()).is_ok_and(|length| length <= LIMIT) {
        Ok(data)
    } else {
        Err(CliError::Data(format!("{}: more than {} MiB are not taken", path.display(), LIMIT >> 20)))
    }
}
