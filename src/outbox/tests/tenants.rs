//! Accounts that were made over the API, in the store.

use super::{backend::Memory, *};
use crate::{
    model::{
        bearer::{KeyHash, KeyNumber, StoredKey},
        endpoint::{DisableReason, Disabled, Own},
        profile::Lasting,
        role::Role,
        secret::Secret,
        tenant::Tenant,
    },
    outbox::{Change, Changed, End, Judged, KeyChange, KeyChanged, TenantChange, TenantChanged},
};

pub(super) fn tenant(max_endpoints: u64) -> Tenant {
    Tenant {
        description: None,
        profile: "raw".to_owned(),
        max_endpoints,
        https_only: true,
        retention: None,
        retention_failed: None,
        max_origins: 1,
        secret: Some(Secret::new("hush".to_owned())),
        allow: None,
        deny: Vec::new(),
        event_types: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn put(outbox: &Outbox, name: &AccountName, tenant: &Tenant, judged: Vec<Judged>) -> TenantChanged {
    let change = TenantChange::Put(Box::new(tenant.clone()));
    wait(outbox.change_account(name.clone(), change, judged, at(7))).expect("the store takes it")
}

fn delete(outbox: &Outbox, name: &AccountName) -> TenantChanged {
    let change = wait(outbox.change_account(name.clone(), TenantChange::Delete, Vec::new(), at(8)));
    change.expect("the store takes it")
}

#[test]
fn no_key_is_left_of_an_account_and_none_is_made_for_one_that_has_gone() {
    let memory = Memory::new(&options());
    let name: AccountName = "shop".parse().expect("a name");
    let Opened { outbox, writer, .. } = memory.open(&options());
    outbox.backlog_is_counted();
    let change = |change| wait(outbox.change_key(change)).expect("the store takes it");
    let make = |of_tenant| {
        let key = StoredKey {
            role: Role::Subscriber(name.clone()),
            hash: KeyHash([7; 32]),
            name: None,
            created_at: at(5),
            expires_at: None,
            last_used_at: None,
        };
        change(KeyChange::Make { key: Box::new(key), most: 9, of_tenant })
    };
    assert_eq!(make(true), KeyChanged::NoAccount);
    put(&outbox, &name, &tenant(1), Vec::new());
    assert_eq!(make(true), KeyChanged::Done(KeyNumber::new(1)));
    assert_eq!(delete(&outbox, &name), TenantChanged::InUse { endpoints: 0, pending: 0, keys: 1 });
    change(KeyChange::Revoke { number: KeyNumber::new(1) });
    assert_eq!(delete(&outbox, &name), TenantChanged::Done(Vec::new()));
    assert_eq!(make(true), KeyChanged::NoAccount);
    // The configuration's are none of the store's.
    assert_eq!(make(false), KeyChanged::Done(KeyNumber::new(2)));
    drop(outbox);
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn an_account_goes_with_its_endpoints_and_not_before_them() {
    let memory = Memory::new(&options());
    let name: AccountName = "shop".parse().expect("a name");
    let Opened { outbox, writer, .. } = memory.open(&options());
    let accounts =
        |outbox: &Outbox| outbox.read().and_then(|reader| reader.accounts()).expect("they are read");
    assert_eq!(accounts(&outbox), []);
    assert_eq!(put(&outbox, &name, &tenant(1), Vec::new()), TenantChanged::Done(Vec::new()));
    let own = Own {
        url: "https://a.example/".parse().expect("a URL"),
        description: None,
        event_types: vec!["*".parse().expect("a pattern")],
        profile: None,
        headers: Vec::new(),
        secrets: Vec::new(),
    };
    let lasting = Lasting { expire: Duration::from_secs(1), fifo: false };
    let made = Change::Make {
        account: name.clone(),
        own: Box::new(own),
        lasting,
        disabled: None,
        most: 1,
        at: at(2),
    };
    let Changed::Done { number, .. } = wait(outbox.change(made)).expect("the store takes it") else {
        panic!("it is not made");
    };
    // What is judged of its endpoints goes with the same commit.
    let judged = |unavailable| vec![Judged { number, unavailable, lasting: None }];
    for (round, reason) in [Some(DisableReason::NoProfile), None].into_iter().enumerate() {
        let TenantChanged::Done(all) = put(&outbox, &name, &tenant(2), judged(reason)) else {
            panic!("not put")
        };
        let unavailable = reason.map(|reason| Disabled { reason, since: at(7) });
        assert_eq!((all.len(), all[0].0, all[0].1.unavailable), (1, number, unavailable));
        assert_eq!(usize::try_from(all[0].1.resets).ok(), Some(round), "it goes on with a count of 0");
    }
    assert_eq!(accounts(&outbox), [(name.clone(), tenant(2))]);
    assert_eq!(delete(&outbox, &name), TenantChanged::Counting, "the backlog may have something of it");
    outbox.backlog_is_counted();
    assert_eq!(delete(&outbox, &name), TenantChanged::InUse { endpoints: 1, pending: 0, keys: 0 });
    wait(outbox.change(Change::Delete { number, at: at(3) })).expect("the store takes it");
    // It is not gone over a start that comes before.
    writer.close(End::Clean).expect("it closes");
    drop(outbox);
    let Opened { outbox, writer, .. } = memory.open(&options());
    outbox.backlog_is_counted();
    assert_eq!(accounts(&outbox).len(), 1);
    assert!(matches!(delete(&outbox, &name), TenantChanged::Done(all) if all.len() == 1));
    assert_eq!(accounts(&outbox), []);
    writer.close(End::Clean).expect("it closes");
}
