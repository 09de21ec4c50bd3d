//! From a format to the next.
//!
//! [`STEPS`] has a step for each format that this version can read and does not write: the first leads from the format that
//! many below [`schema::FORMAT`]. A step is one transaction, and the number of the format goes with it: after a crash the
//! store has the format before or the one after, and the next start goes on from there. What a step has to change beyond what
//! one transaction can hold it changes in rows that both formats read, before.
//!
//! A store of a newer format is refused, and left as it is: another version's rows are not guessed at.

use std::path::Path;

use redb::{Database, ReadableDatabase as _, WriteTransaction};

use super::{
    error::{OpenError, StoreError},
    open::open_error,
    schema::{self, META, meta},
};

/// Makes the tables of a format those of the next. It is given a place to say how far it has come, from 0 to 1.
pub(super) type Step = fn(&WriteTransaction, &dyn Fn(f64)) -> Result<(), StoreError>;

/// The steps to [`schema::FORMAT`]: none, as it is the first format.
const STEPS: &[Step] = &[];

/// The format of a store, as it says itself.
pub(super) fn read_format(database: &Database) -> Result<u32, redb::Error> {
    let row = database.begin_read()?.open_table(META)?.get(meta::FORMAT)?;
    let format = row.and_then(|row| row.value().try_into().ok()).map(u32::from_be_bytes);
    // A redb file of somebody else's, with a table of that name.
    format.ok_or_else(|| redb::Error::Corrupted("its table `meta` names no format".to_owned()))
}

/// Brings a store to the format of this version, before anything else is read of it.
///
/// # Errors
/// It is of a newer format, or of one from which no step leads here; or a step failed, and it is as it was before that.
pub(super) fn bring_up(database: &Database, path: &Path, progress: &dyn Fn(f64)) -> Result<(), OpenError> {
    bring_up_by(STEPS, schema::FORMAT, (database, path), progress)
}

/// Refuses a store that is not of this version's format: it is only looked at, so nothing brings it up.
pub(super) fn check(path: &Path, found: u32) -> Result<(), OpenError> {
    if found == schema::FORMAT { Ok(()) } else { Err(wrong_format(path, found, schema::FORMAT)) }
}

fn bring_up_by(
    steps: &[Step],
    to: u32,
    (database, path): (&Database, &Path),
    progress: &dyn Fn(f64),
) -> Result<(), OpenError> {
    let store_error = |source| OpenError::Store { path: path.to_owned(), source };
    let found = read_format(database).map_err(open_error(path))?;
    let missing = to.checked_sub(found).and_then(|missing| usize::try_from(missing).ok());
    let first = missing.and_then(|missing| steps.len().checked_sub(missing));
    let Some(steps) = first.map(|first| &steps[first..]) else {
        return Err(wrong_format(path, found, to));
    };
    for (step, from) in steps.iter().zip(found..) {
        take(*step, from, database, progress).map_err(store_error)?;
    }
    Ok(())
}

fn take(step: Step, from: u32, database: &Database, progress: &dyn Fn(f64)) -> Result<(), StoreError> {
    let mut txn = database.begin_write()?;
    // Such a commit needs no repair that reads the whole file, should the power fail now.
    txn.set_quick_repair(true);
    step(&txn, progress)?;
    txn.open_table(META)?.insert(meta::FORMAT, (from + 1).to_be_bytes().as_slice())?;
    txn.commit()?;
    Ok(())
}

fn wrong_format(path: &Path, found: u32, known: u32) -> OpenError {
    OpenError::Format { path: path.to_owned(), found, known }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use redb::{ReadableTable as _, TableDefinition, backends::InMemoryBackend};

    use super::*;

    const OLD: TableDefinition<u64, &[u8]> = TableDefinition::new("numbers");
    const NEW: TableDefinition<u64, &[u8]> = TableDefinition::new("doubled");

    /// Moves the rows of one table to another, in another form.
    fn double(txn: &WriteTransaction, progress: &dyn Fn(f64)) -> Result<(), StoreError> {
        let mut new = txn.open_table(NEW)?;
        for row in txn.open_table(OLD)?.iter()? {
            let (key, row) = row?;
            new.insert(key.value(), [row.value(), row.value()].concat().as_slice())?;
            progress(0.5);
        }
        txn.delete_table(OLD)?;
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "it is a step")]
    fn nothing(_: &WriteTransaction, progress: &dyn Fn(f64)) -> Result<(), StoreError> {
        progress(0.75);
        Ok(())
    }

    fn fail(txn: &WriteTransaction, _: &dyn Fn(f64)) -> Result<(), StoreError> {
        txn.open_table(NEW)?.insert(9, b"half".as_slice())?;
        Err(StoreError::Row { table: "numbers", key: 7 })
    }

    fn of_format(format: u32) -> Database {
        let database = redb::Builder::new().create_with_backend(InMemoryBackend::new()).expect("a database");
        let txn = database.begin_write().expect("a transaction");
        txn.open_table(META)
            .expect("a table")
            .insert(meta::FORMAT, format.to_be_bytes().as_slice())
            .expect("a row");
        txn.open_table(OLD).expect("a table").insert(3, b"ab".as_slice()).expect("a row");
        txn.commit().expect("a commit");
        database
    }

    fn by(steps: &[Step], to: u32, database: &Database) -> (Result<(), OpenError>, Vec<f64>) {
        let told = RefCell::new(Vec::new());
        let result =
            bring_up_by(steps, to, (database, Path::new("s.redb")), &|done| told.borrow_mut().push(done));
        (result, told.into_inner())
    }

    fn doubled(database: &Database) -> Option<Vec<u8>> {
        let table = database.begin_read().expect("a reader").open_table(NEW).ok()?;
        table.get(3).expect("it reads").map(|row| row.value().to_vec())
    }

    #[test]
    fn a_store_goes_the_steps_that_it_lacks() {
        let steps: [Step; 2] = [nothing, double];
        for (from, told) in [(5, vec![0.75, 0.5]), (6, vec![0.5]), (7, vec![])] {
            let database = of_format(from);
            let (result, heard) = by(&steps, 7, &database);
            result.expect("it is brought up");
            assert_eq!((heard, read_format(&database).expect("a format")), (told, 7));
            assert_eq!(doubled(&database), (from < 7).then(|| b"abab".to_vec()));
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_format_before_it() {
        let database = of_format(5);
        let steps: [Step; 3] = [nothing, fail, double];
        let (result, _) = by(&steps, 8, &database);
        assert!(matches!(result, Err(OpenError::Store { .. })), "{result:?}");
        assert_eq!((read_format(&database).expect("a format"), doubled(&database)), (6, None));
        // The next version's step does what this one's could not.
        by(&[nothing, nothing, double], 8, &database).0.expect("it goes on from there");
        assert_eq!(
            (read_format(&database).expect("a format"), doubled(&database)),
            (8, Some(b"abab".to_vec()))
        );
    }

    #[test]
    fn what_no_step_leads_from_is_refused_and_left_alone() {
        for (from, to, steps) in [(9, 8, &[nothing as Step] as &[Step]), (6, 8, &[nothing]), (0, 1, &[])] {
            let database = of_format(from);
            let (result, told) = by(steps, to, &database);
            let error = result.expect_err("it is refused");
            assert!(matches!(error, OpenError::Format { found, known, .. } if (found, known) == (from, to)));
            assert!(told.is_empty());
            assert_eq!(read_format(&database).expect("a format"), from);
        }
    }
}
