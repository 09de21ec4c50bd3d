//! Keys: their numbers, what is left of one that was revoked, and when they were used.

use super::{at, open, options, wait};
use crate::{
    model::{
        bearer::{KeyHash, KeyNumber, StoredKey},
        role::Role,
        time::Timestamp,
    },
    outbox::{End, KeyChange, KeyChanged, Opened, Outbox},
};

fn key(name: &str) -> StoredKey {
    StoredKey {
        role: Role::Subscriber("acme".parse().expect("a name")),
        hash: KeyHash([7; 32]),
        name: Some(name.to_owned()),
        created_at: at(5),
        expires_at: Some(at(500)),
        last_used_at: None,
    }
}

fn make(outbox: &Outbox, name: &str) -> KeyChanged {
    let change = KeyChange::Make { key: Box::new(key(name)), most: 3, of_tenant: false };
    wait(outbox.change_key(change)).expect("the store takes it")
}

fn revoke(outbox: &Outbox, number: u32) -> KeyChanged {
    let change = KeyChange::Revoke { number: KeyNumber::new(number) };
    wait(outbox.change_key(change)).expect("the store takes it")
}

/// The numbers and names of all keys, and when each was last used.
fn all(outbox: &Outbox) -> Vec<(u32, String, Option<Timestamp>)> {
    let keys = outbox.read().expect("a reader").keys().expect("keys");
    let one = |(number, stored): (KeyNumber, StoredKey)| {
        let name = stored.name.clone().expect("a name");
        assert_eq!(stored, StoredKey { last_used_at: stored.last_used_at, ..key(&name) });
        (number.get(), name, stored.last_used_at)
    };
    keys.into_iter().map(one).collect()
}

fn close(opened: Opened) {
    drop(opened.outbox);
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn no_number_is_given_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let done = |number| KeyChanged::Done(KeyNumber::new(number));
    let mut opened = open(&path, &options()).expect("a store");
    assert!(all(&opened.outbox).is_empty(), "there is no table yet");
    assert_eq!([make(&opened.outbox, "a"), make(&opened.outbox, "b")], [done(1), done(2)]);
    // The last one, and then all.
    for (revoked, next) in [(2, 3), (3, 4), (1, 5), (5, 6), (6, 7)] {
        assert_eq!(revoke(&opened.outbox, revoked), done(revoked));
        assert_eq!(revoke(&opened.outbox, revoked), KeyChanged::Missing);
        close(opened);
        opened = open(&path, &options()).expect("the store again");
        assert_eq!(revoke(&opened.outbox, revoked), KeyChanged::Missing, "also after a start");
        assert_eq!(make(&opened.outbox, "c"), done(next));
    }
    assert_eq!(revoke(&opened.outbox, 99), KeyChanged::Missing);
    let numbers: Vec<_> = all(&opened.outbox).into_iter().map(|(number, ..)| number).collect();
    assert_eq!(numbers, [4, 7]);
    assert_eq!([make(&opened.outbox, "d"), make(&opened.outbox, "e")], [done(8), KeyChanged::Full]);
    close(opened);
}

#[test]
fn when_a_key_was_used_goes_with_what_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let opened = open(&path, &options()).expect("a store");
    make(&opened.outbox, "a");
    make(&opened.outbox, "b");
    revoke(&opened.outbox, 2);
    for (number, used) in [(1, 60), (1, 40), (2, 50), (9, 50)] {
        opened.outbox.key_used(KeyNumber::new(number), at(used));
    }
    close(opened);
    let opened = open(&path, &options()).expect("the store again");
    assert_eq!(all(&opened.outbox), [(1, "a".to_owned(), Some(at(60)))]);
    close(opened);
}
