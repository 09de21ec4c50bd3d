//! Thousands of endpoints in many accounts.

use std::{collections::BTreeMap, thread};

use serde_json::json;

use super::{NETWORK, call, make, post};
use crate::support::{receiver::Receiver, world::World};

const ACCOUNTS: usize = 50;
const ENDPOINTS: usize = 40;

/// Two thousand endpoints in fifty accounts: each gets its account's events and no other, also with reloads in the middle, and
/// memory stays small.
#[test]
fn two_thousand_endpoints_in_fifty_accounts() {
    let receiver = Receiver::start();
    let config = |count: usize| format!("{NETWORK}[accounts.default]\nmax_endpoints = {count}\n");
    let world = World::running(&config(1));
    let name = |account: usize| format!("account-{account}");
    thread::scope(|scope| {
        for part in 0..4 {
            let (world, receiver) = (&world, &receiver);
            scope.spawn(move || {
                for account in (part..ACCOUNTS).step_by(4) {
                    make(world, &name(account), &json!({"max_endpoints": ENDPOINTS}));
                    for number in 0..ENDPOINTS {
                        let url = receiver.url(&format!("/{account}/{number}"));
                        let document = json!({"url": url, "event_types": ["a.*"]});
                        let path = format!("/v1/endpoints?account={}", name(account));
                        call(world, "POST", &path, &document).expect(201);
                    }
                }
            });
        }
    });
    assert_eq!(world.list("/v1/endpoints").len(), ACCOUNTS * ENDPOINTS);
    let accounts = world.list("/v1/accounts");
    let full = accounts.iter().filter(|account| account["endpoints"] == ENDPOINTS);
    assert_eq!(full.count(), ACCOUNTS);
    thread::scope(|scope| {
        scope.spawn(|| {
            for account in 0..ACCOUNTS {
                post(&world, &name(account), "a.b").expect(202);
            }
        });
        for count in 2..7 {
            world.configure(&config(count));
            world.request("POST", "/v1/reload", &[], b"").expect(200);
        }
    });
    receiver.wait(ACCOUNTS * ENDPOINTS);
    world.settled();
    let mut came: BTreeMap<String, usize> = BTreeMap::new();
    for hook in receiver.hooks() {
        *came.entry(hook.path.clone()).or_default() += 1;
    }
    assert_eq!(
        (came.len(), came.values().max()),
        (ACCOUNTS * ENDPOINTS, Some(&1)),
        "each gets its own, once"
    );
    let peak = world.peak_memory() >> 20;
    println!("peak memory: {peak} MiB");
    assert!(peak < 400, "{peak} MiB");
}
