//! Deliveries through a proxy, through the built binary: that they go through it, and that its own failures are told from
//! the endpoint's and cost the delivery nothing.

#[path = "support/mod.rs"]
mod support;

use std::{fs, net::TcpListener};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually,
    proxy::Proxy,
    receiver::Receiver,
    world::{World, run_in, stdout},
};

/// A configuration whose endpoint is a name that the proxy alone knows.
fn text(network: &str, url: &str) -> String {
    let retry = profile("quick", &["0s", "0s"], "jitter = 0.0");
    format!("[network]\n{network}\n{}{retry}", endpoint("erp", url, &["*"], "quick"))
}

/// The last attempt's response, once there are `count` attempts.
fn response(world: &World, event: &str, count: usize) -> Value {
    eventually("an attempt", || {
        let delivery = world.delivery(event);
        let attempts = delivery["attempts"].as_array().expect("a list");
        attempts.last().filter(|_| attempts.len() >= count).map(|last| last["response"].clone())
    })
}

fn assert_proxy(response: &Value, part: &str) {
    assert_eq!(response["failure"], "proxy", "{response}");
    assert!(response["message"].as_str().expect("a message").contains(part), "{response}");
}

#[test]
fn deliveries_go_through_it() {
    let receiver = Receiver::start();
    let proxy = Proxy::to(receiver.address());
    let network = format!("proxy = \"{}\"\nproxy_authorization = \"@credential:proxy\"", proxy.url());
    let mut world = World::new(&text(&network, "http://erp.invalid:8080/hooks"));
    fs::create_dir(world.path("credentials")).expect("a directory");
    fs::write(world.path("credentials/proxy"), "box:opensesame\n").expect("a file");
    let credentials = world.path("credentials");
    world.set_env("CREDENTIALS_DIRECTORY", &credentials);
    world.start();
    for _ in 0..2 {
        let event = world.emit("a.b", &json!(1));
        assert_eq!(world.ended(&event)["status"], "succeeded");
    }
    assert_eq!(receiver.wait(2)[1].header("host"), "erp.invalid:8080");
    let head = "CONNECT erp.invalid:8080 HTTP/1.1\r\nHost: erp.invalid:8080\r\n\
                Proxy-Authorization: Basic Ym94Om9wZW5zZXNhbWU=\r\n\r\n";
    assert_eq!(proxy.heads()[0], head);
    assert!(!world.log().contains("opensesame"));
    let checked = stdout(&run_in(&world.path(""), &["check", "--config", "posthaste.toml"]));
    assert!(checked.contains("proxy     127.0.0.1:") && !checked.contains("opensesame"), "{checked}");
}

#[test]
fn its_own_failures_cost_the_delivery_nothing() {
    let receiver = Receiver::start();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("it is bound");
    drop(port);
    let world = World::running(&text(&format!("proxy = \"http://{address}\""), "http://erp.invalid/"));
    let event = world.emit("a.b", &json!(1));
    // More attempts than the schedule has.
    assert_proxy(&response(&world, &event, 3), "ECONNREFUSED");
    assert_eq!(world.delivery(&event)["attempts"][2]["why"], "probe");
    let proxy = Proxy::at(address, receiver.address());
    proxy.refuse(Some("407 Proxy Authentication Required"));
    let refused = eventually("it is refused", || {
        let now = response(&world, &event, 1);
        now["message"].as_str().is_some_and(|said| said.contains("(407)")).then_some(now)
    });
    assert_proxy(&refused, "`proxy_authorization` under [network]");
    assert_eq!(world.delivery(&event)["status"], "pending");
    proxy.refuse(None);
    assert_eq!(world.ended(&event)["status"], "succeeded");
}

#[test]
fn while_it_is_down_a_backlog_costs_a_probe_now_and_then() {
    let receiver = Receiver::start();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("it is bound");
    drop(port);
    let network = format!("proxy = \"http://{address}\"\nno_proxy = [\"127.0.0.1\"]");
    let direct = endpoint("here", &receiver.url("/direct"), &["*"], "quick");
    let others = endpoint("shop", "http://shop.invalid/", &["*"], "quick");
    let text = text(&network, "http://erp.invalid/hooks") + &others + &direct;
    let world = World::running(&text);
    let events: Vec<_> = (0..100).map(|n| world.emit("a.b", &json!({"n": n}))).collect();
    receiver.wait_at("/direct", 100);
    // The first two of each endpoint, then probes after one second, two, four.
    let outage = eventually("two probes have failed", || {
        let status = world.get("/v1/status");
        let outage = status["outages"].get(0).cloned();
        outage.filter(|outage| outage["failed_probes"].as_u64() >= Some(2))
    });
    assert_eq!(outage["what"], "proxy", "{outage}");
    let shown = stdout(&world.cli(&["status"]));
    assert!(
        shown.contains("down         proxy: since ") && shown.contains("`proxy` under [network]"),
        "{shown}"
    );
    let attempts = world.get("/v1/status")["since_start"]["attempts"].as_u64().expect("a number");
    assert!(attempts <= 100 + 4 + 4, "{attempts} attempts");
    assert_eq!(world.list("/v1/deliveries?status=pending").len(), 200);
    let last = world.deliveries(events.last().expect("some"));
    let waiting: Vec<_> = last.iter().filter(|one| one["status"] == "pending").collect();
    assert_eq!(waiting.len(), 2);
    for delivery in waiting {
        assert_eq!(
            (&delivery["waiting"], &delivery["attempt"]),
            (&json!("circuit"), &json!(0)),
            "{delivery}"
        );
    }
    let _proxy = Proxy::at(address, receiver.address());
    world.settled();
    assert_eq!(world.get("/v1/status")["outages"], json!([]));
    assert_eq!(receiver.hooks_at("/hooks").len() + receiver.hooks_at("/").len(), 200);
    for one in world.list("/v1/deliveries") {
        assert_eq!(one["status"], "succeeded", "{one}");
    }
}

#[test]
fn an_endpoint_that_it_does_not_reach_fails_by_its_schedule() {
    let receiver = Receiver::start();
    let proxy = Proxy::to(receiver.address());
    proxy.refuse(Some("502 Bad Gateway"));
    let world = World::running(&text(&format!("proxy = \"{}\"", proxy.url()), "http://erp.invalid/"));
    let event = world.emit("a.b", &json!(1));
    let delivery = world.ended(&event);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("exhausted")));
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(2));
    let response = &delivery["attempts"][0]["response"];
    assert_eq!(response["failure"], "connect");
    assert!(response["message"].as_str().is_some_and(|said| said.contains("(502)")), "{response}");
}

#[test]
fn an_endpoint_that_it_refuses_fails_by_its_schedule_and_stops_nobody() {
    let receiver = Receiver::start();
    let proxy = Proxy::to(receiver.address());
    proxy.refuse_host("secret.invalid", "403 Forbidden");
    let network = format!("proxy = \"{}\"", proxy.url());
    let refused = endpoint("refused", "http://secret.invalid/", &["*"], "tried");
    let tried = profile("tried", &["0s", "0s", "0s", "1h"], "jitter = 0.0\ncircuit = 3\nprobe = [\"1h\"]");
    let world = World::running(&(text(&network, "http://erp.invalid/") + &refused + &tried));
    for n in 0..20 {
        world.emit("a.b", &json!(n));
    }
    receiver.wait(20);
    let circuit =
        eventually("its circuit is open", || world.get("/v1/status")["open_circuits"].get(0).cloned());
    assert_eq!(circuit["name"], "refused");
    assert_eq!(world.get("/v1/status")["outages"], json!([]));
    let asked = proxy.heads().iter().filter(|head| head.contains("secret")).count();
    assert!((3..=4).contains(&asked), "{asked} times");
    let deliveries = world.list("/v1/deliveries?endpoint=refused");
    let attempted: Vec<_> = deliveries.iter().filter(|one| one["attempt"] != 0).collect();
    let id = attempted[0]["id"].as_str().expect("an id");
    let response = world.get(&format!("/v1/deliveries/{id}"))["attempts"][0]["response"].clone();
    assert_eq!(response["failure"], "connect", "{response}");
    let said = response["message"].as_str().expect("a message");
    assert!(
        said.starts_with("the proxy 127.0.0.1:")
            && said.ends_with("refuses to open a way to the endpoint (403)"),
        "{said}"
    );
}

#[test]
fn what_goes_without_it_and_what_it_is_not_asked_for() {
    let receiver = Receiver::start();
    let proxy = Proxy::to(receiver.address());
    let network = format!("proxy = \"{}\"\nno_proxy = [\"127.0.0.0/8\"]", proxy.url());
    let text = text(&network, &receiver.url("/"))
        + &endpoint("metadata", "http://169.254.169.254/", &["*"], "quick");
    let world = World::running(&text);
    let event = world.emit("a.b", &json!(1));
    world.settled();
    let mut deliveries = world.deliveries(&event);
    deliveries.sort_by_key(|delivery| delivery["status"] != "succeeded");
    assert_eq!(deliveries[0]["status"], "succeeded", "{deliveries:?}");
    assert_eq!(deliveries[1]["attempts"][0]["response"]["failure"], "refused", "{deliveries:?}");
    assert_eq!(proxy.heads(), Vec::<String>::new());
}
