//! Floor (c): the bytes of the rows in a plain file, made durable as often as the daemon commits.

use std::{
    fs::File,
    io::{self, BufRead as _, Write as _},
    path::Path,
};

use super::{Floor, measure};
use crate::{Result, clock, helper::Helper};

/// The helper's role.
pub(crate) const ROLE: &str = "appending";

/// Has a helper append `bytes` to a new file, and call fdatasync `times` times.
pub(crate) fn append(file: &Path, bytes: u64, times: u64) -> Result<Floor> {
    let mut helper = Helper::start(&[ROLE.to_owned(), file.display().to_string()])?;
    helper.hear("ready")?;
    measure(&mut helper, &format!("{bytes} {times}"))
}

/// The helper's life.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut file = File::create(arguments.first().ok_or("no file")?)?;
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (bytes, times) = line.split_once(' ').ok_or("two numbers")?;
        let (bytes, times): (usize, usize) = (bytes.parse()?, times.parse()?);
        let chunk = vec![0x55; bytes / times];
        let started = clock::now();
        for _ in 0..times {
            file.write_all(&chunk)?;
            file.sync_data()?;
        }
        println!("done {}", (clock::now() - started).as_micros());
    }
    Ok(())
}
