//! TLS as the configuration has it, through the built binary: whom endpoints are trusted by, what they are shown, and what
//! history says where the two do not come together. Each failure is `tls`.

#[path = "support/mod.rs"]
mod support;

use std::fs;

use rustls::{ALL_VERSIONS, version::TLS12};
use serde_json::{Value, json};
use support::{
    authority::Authority,
    config::{endpoint, profile},
    receiver::Receiver,
    world::World,
};

/// A directory with a file of these roots; `network` and further `keys` of the endpoint stand in its configuration.
fn world(receiver: &Receiver, roots: &str, network: &str, keys: &str) -> World {
    let text = format!(
        "[network]\n{network}\n{}{keys}\n{}",
        endpoint("erp", &receiver.url("/"), &["*"], "quick"),
        profile("quick", &["0s"], "")
    );
    let mut world = World::new(&text);
    fs::write(world.path("ca.pem"), roots).expect("a file");
    // Nothing of the machine's is trusted here.
    let nobody = Authority::new("nobody");
    fs::write(world.path("system.pem"), nobody.root.pem()).expect("a file");
    let (system, credentials) = (world.path("system.pem"), world.path("credentials"));
    fs::create_dir(&credentials).expect("a directory");
    world.set_env("SSL_CERT_FILE", &system);
    world.set_env("CREDENTIALS_DIRECTORY", &credentials);
    world
}

/// What became of an event's only attempt.
fn attempted(world: &World) -> (Value, Value) {
    let event = world.emit("a.b", &json!(1));
    let delivery = world.ended(&event);
    let response = delivery["attempts"][0]["response"].clone();
    (delivery, response)
}

fn is_taken(world: &World) {
    let (delivery, _) = attempted(world);
    assert_eq!(delivery["status"], "succeeded", "{delivery}");
}

fn fails_as_tls(world: &World, message: &str) {
    let (delivery, response) = attempted(world);
    assert_eq!(response["failure"], "tls", "{delivery}");
    assert!(response["message"].as_str().is_some_and(|said| said.contains(message)), "{response}");
}

const BUNDLE: &str = "ca_bundle = \"ca.pem\"";

#[test]
fn a_bundle_makes_an_endpoint_trusted() {
    let authority = Authority::new("ours");
    let receiver = authority.receiver(("127.0.0.1", 4000), None, ALL_VERSIONS);
    let mut trusting = world(&receiver, &authority.root.pem(), BUNDLE, "");
    trusting.start();
    is_taken(&trusting);
    let mut without = world(&receiver, &authority.root.pem(), "", "");
    without.start();
    fails_as_tls(&without, "nor in `ca_bundle` under [network]");
    assert_eq!(receiver.hooks().len(), 1);
}

#[test]
fn certificates_that_are_too_old_or_for_another_name() {
    let authority = Authority::new("ours");
    for (name, year, keys, message) in [
        ("127.0.0.1", 2001, "", "expired"),
        ("erp.example", 4000, "", "certificate for another name"),
        ("127.0.0.1", 4000, "server_name = \"erp.example\"", "certificate for another name"),
    ] {
        let receiver = authority.receiver((name, year), None, ALL_VERSIONS);
        let mut world = world(&receiver, &authority.root.pem(), BUNDLE, keys);
        world.start();
        fails_as_tls(&world, message);
        assert!(receiver.hooks().is_empty(), "nothing was sent to it");
    }
    let receiver = authority.receiver(("erp.example", 4000), None, ALL_VERSIONS);
    let mut world = world(&receiver, &authority.root.pem(), BUNDLE, "server_name = \"erp.example\"");
    world.start();
    is_taken(&world);
}

#[test]
fn the_least_version_of_tls() {
    let authority = Authority::new("ours");
    let receiver = authority.receiver(("127.0.0.1", 4000), None, &[&TLS12]);
    for (least, spoken) in [("1.2", true), ("1.3", false)] {
        let network = format!("{BUNDLE}\ntls_min = \"{least}\"");
        let mut world = world(&receiver, &authority.root.pem(), &network, "");
        world.start();
        if spoken {
            is_taken(&world);
        } else {
            fails_as_tls(&world, "`tls_min` under [network]");
        }
    }
}

#[test]
fn client_certificates() {
    const KEYS: &str = "client_certificate = \"@credential:erp.pem\"\nclient_key = \"@credential:erp.key\"";
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let receiver = authority.receiver(("127.0.0.1", 4000), Some(&authority), ALL_VERSIONS);
    for (by, refusal) in [(&authority, None), (&other, Some("the peer broke off TLS with the alert"))] {
        let mut world = world(&receiver, &authority.root.pem(), BUNDLE, KEYS);
        let (certificate, key) = by.certify("box.example", 4000);
        fs::write(world.path("credentials/erp.pem"), certificate.pem()).expect("a file");
        fs::write(world.path("credentials/erp.key"), key.serialize_pem()).expect("a file");
        world.start();
        match refusal {
            None => is_taken(&world),
            Some(message) => fails_as_tls(&world, message),
        }
    }
    let mut absent = world(&receiver, &authority.root.pem(), BUNDLE, "");
    absent.start();
    fails_as_tls(&absent, "the peer wants a client certificate");
    assert_eq!(receiver.hooks().len(), 1);
}

#[test]
fn a_client_certificate_that_is_missing_pauses_its_endpoint() {
    const KEYS: &str = "client_certificate = \"@credential:erp.pem\"\nclient_key = \"@credential:erp.key\"";
    let authority = Authority::new("ours");
    let receiver = authority.receiver(("127.0.0.1", 4000), Some(&authority), ALL_VERSIONS);
    let mut world = world(&receiver, &authority.root.pem(), BUNDLE, KEYS);
    let (certificate, key) = authority.certify("box.example", 4000);
    fs::write(world.path("credentials/erp.pem"), certificate.pem()).expect("a file");
    world.start();
    let event = world.emit("a.b", &json!(1));
    let endpoint = world.endpoint("erp");
    assert_eq!(
        (&endpoint["enabled"], &endpoint["disabled_reason"]),
        (&json!(false), &json!("no_credential"))
    );
    assert_eq!(world.delivery(&event)["status"], "pending");
    world.stop();
    fs::write(world.path("credentials/erp.key"), key.serialize_pem()).expect("a file");
    world.start();
    assert_eq!(world.ended(&event)["status"], "succeeded");
}
