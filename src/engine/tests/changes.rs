//! Endpoints made, changed and deleted while deliveries are under way.

use super::{
    super::endpoints::{EndpointError, NewEndpoint, Patch, Pending},
    *,
};
use crate::{
    ingest::{
        access::Verdict,
        intake::{Meanwhile, Permit},
    },
    model::{
        account::AccountName,
        delivery::CancelReason,
        endpoint::DisableReason,
        secret::{DatedSecret, Secret},
    },
};

/// No endpoints, and a profile that tries again at once.
const CONFIG: &str = "[network]\nallow = [\"127.0.0.0/8\"]\n\n[profiles.soon]\nretry = [\"0s\", \"0s\", \"0s\"]\n\n\
                      [accounts.default]\nprofile = \"soon\"\nhttps_only = false\n";

fn configuration(directory: &TempDir, text: &str) -> Config {
    let file = directory.path().join("posthaste.toml");
    fs::write(&file, text).expect("a file");
    config::load_with(&file, None).expect("a configuration")
}

fn new(receiver: &TcpListener) -> NewEndpoint {
    NewEndpoint {
        account: AccountName::default(),
        url: format!("http://{}/hook", receiver.local_addr().expect("an address")),
        description: None,
        event_types: vec!["*".to_owned()],
        profile: None,
        headers: Vec::new(),
        enabled: true,
        secret: None,
    }
}

async fn start(directory: &TempDir, text: &str) -> Running {
    let running = Running::start(open(directory), &configuration(directory, text)).await;
    running.is_running().await;
    running
}

impl Running {
    /// Hands an event in, as producers do.
    async fn hand_in(&self) -> u64 {
        let event =
            NewEvent::new(AccountName::default(), "a.b".parse().expect("a type"), Bytes::from_static(b"{}"));
        let answers = self
            .intake
            .submit(vec![Ok(event)], Permit::default(), &Verdict::operator(0), Meanwhile::Waits)
            .answers()
            .await;
        let accepted = answers.into_iter().next().expect("one answer").expect("it is taken");
        self.outbox.id_key().open_event(accepted.id).expect("an id of this store").1.get()
    }

    async fn becomes(&self, seq: u64, state: State) -> (Delivery, Vec<Attempt>) {
        until(|| delivery(&self.outbox, seq).0.state == state).await;
        delivery(&self.outbox, seq)
    }

    /// Waits until nothing is left to be called off.
    async fn is_settled(&self) {
        until(|| self.directory.discarding().is_empty()).await;
    }

    fn target(&self, number: EndpointNumber) -> Arc<Target> {
        self.directory.target(number).expect("it is there")
    }
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

const CANCELLED: State = State::Cancelled(CancelReason::EndpointDeleted);
const DISCARDED: State = State::Cancelled(CancelReason::Discarded);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_there_from_its_making_to_its_deletion() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let none = running.hand_in().await;
    let number = running.endpoints.make(new(&receiver)).await.expect("it is made");
    let one = running.hand_in().await;
    let head = answer(&mut receiver.accept().await.expect("a connection").0, 2).await.expect("a request");
    let target = running.target(number);
    assert!(head.contains("webhook-signature: v1,"), "it signs with a secret that was made: {head}");
    let (_, attempts) = running.becomes(one, State::Succeeded).await;
    assert_eq!((attempts.len(), attempts[0].endpoint), (1, number));
    let head = |seq| running.outbox.read().and_then(|reader| reader.rows_of(Seq::new(seq))).expect("rows");
    assert!(head(none)[0].row.deliveries.is_empty(), "what came before is not for it");

    assert_eq!(running.endpoints.delete(number).await.expect("it is deleted"), 0);
    let after = running.hand_in().await;
    assert!(head(after)[0].row.deliveries.is_empty(), "nor is what comes after");
    let tombstone = running.target(number);
    assert_eq!((tombstone.id, tombstone.settings.is_none()), (target.id, true), "its id stays");
    assert!(matches!(running.endpoints.delete(number).await, Err(EndpointError::NotFound)));
    assert!(matches!(running.endpoints.change(number, Patch::default()).await, Err(EndpointError::NotFound)));
    running.end().await;
    let running = start(&directory, CONFIG).await;
    assert!(running.target(number).stored.is_deleted());
    let next = running.endpoints.make(new(&receiver)).await.expect("it is made");
    assert!(next > number, "no number is given twice");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_has_ten_at_most_also_when_many_ask_at_once() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let text = format!(
        "{CONFIG}\n[accounts.small]\nhttps_only = false\nmax_endpoints = 1\n\n[accounts.none]\nhttps_only = false\nmax_endpoints = 0\n"
    );
    let running = start(&directory, &text).await;
    let mut all = JoinSet::new();
    for account in ["default", "small", "none"] {
        for _ in 0..15 {
            let endpoints = running.endpoints.clone();
            let new = NewEndpoint { account: account.parse().expect("an account"), ..new(&receiver) };
            all.spawn(async move { (account, endpoints.make(new).await) });
        }
    }
    let mut made = Vec::new();
    while let Some(done) = all.join_next().await {
        match done.expect("no panic") {
            (account, Ok(number)) => made.push((account, number)),
            (_, Err(EndpointError::TooMany { most })) => assert!([0, 1, 10].contains(&most)),
            (_, Err(error)) => panic!("{error}"),
        }
    }
    let of = |wanted| made.iter().filter(|(account, _)| *account == wanted).count();
    assert_eq!((of("default"), of("small"), of("none")), (10, 1, 0));
    running.endpoints.delete(made[0].1).await.expect("it is deleted");
    let account = made[0].0.parse().expect("an account");
    running.endpoints.make(NewEndpoint { account, ..new(&receiver) }).await.expect("there is room again");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_keeps_its_url_and_the_next_has_the_new_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, other) = (listen().await, listen().await);
    let running = start(&directory, CONFIG).await;
    let number = running.endpoints.make(new(&old)).await.expect("it is made");
    let one = running.hand_in().await;
    let mut first = old.accept().await.expect("a connection").0;
    let url = Some(new(&other).url);
    let raw = Some(Some("raw".to_owned()));
    let before = running.target(number);
    running
        .endpoints
        .change(number, Patch { description: Some(Some("d".to_owned())), ..Patch::default() })
        .await
        .expect("changed");
    let lane = |target: &Target| target.active.as_ref().map(|active| Arc::as_ptr(&active.lane));
    assert_eq!(lane(&before), lane(&running.target(number)), "to the same URL over the same connections");
    running.endpoints.change(number, Patch { url, profile: raw, ..Patch::default() }).await.expect("changed");
    assert_ne!(lane(&before), lane(&running.target(number)));
    let two = running.hand_in().await;
    let second = answer(&mut other.accept().await.expect("a connection").0, 2).await.expect("a request");
    assert!(second.contains("content-length: 2"), "raw: {second}");
    running.becomes(two, State::Succeeded).await;
    answer_with(&mut first, 2, "500 Oops").await.expect("a request");
    // It fails by the profile that it was made under, which tries again at once.
    answer(&mut other.accept().await.expect("a connection").0, 2).await.expect("a request");
    let (_, attempts) = running.becomes(one, State::Succeeded).await;
    let addresses: Vec<_> = attempts.iter().map(|attempt| attempt.report.address).collect();
    assert_eq!(addresses, [&old, &other].map(|receiver| receiver.local_addr().ok()));
    let target = running.target(number);
    assert_eq!((target.stored.revision, target.profile().map(|profile| &*profile.name)), (2, Some("raw")));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_fails_is_disabled_over_changes_and_restarts_until_it_is_enabled() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let text =
        format!("{CONFIG}\n[profiles.soon2]\nretry = [\"0s\", \"0s\", \"0s\", \"0s\"]\ndisable_after = 2\n");
    let running = start(&directory, &text).await;
    let soon2 = NewEndpoint { profile: Some("soon2".to_owned()), ..new(&receiver) };
    let number = running.endpoints.make(soon2).await.expect("it is made");
    let seq = running.hand_in().await;
    for _ in 0..2 {
        let mut stream = receiver.accept().await.expect("a connection").0;
        answer_with(&mut stream, 2, "500 Oops").await.expect("a request");
    }
    until(|| running.target(number).disabled().is_some()).await;
    let disabled = running.target(number).disabled().expect("it is disabled");
    assert_eq!(disabled.reason, DisableReason::Failures);
    let stored = running.outbox.read().and_then(|reader| reader.endpoints()).expect("endpoints");
    let (_, stored) = stored.into_iter().find(|(one, _)| *one == number).expect("it is there");
    assert_eq!((stored.disabled, stored.consecutive_failures), (Some(disabled), 2), "in the same commit");
    let patch = Patch { description: Some(Some("d".to_owned())), ..Patch::default() };
    running.endpoints.change(number, patch).await.expect("changed");
    assert_eq!(running.target(number).disabled(), Some(disabled));
    running.end().await;
    let running = start(&directory, &text).await;
    assert_eq!(running.target(number).disabled(), Some(disabled));
    let delivery_of = |seq| delivery(&running.outbox, seq).0;
    assert_eq!((delivery_of(seq).state, delivery_of(seq).attempt), (State::Pending, 2));
    assert_eq!(running.endpoints.enable(number, Pending::Deliver).await.expect("it is enabled"), 1);
    answer(&mut receiver.accept().await.expect("a connection").0, 2).await.expect("a request");
    running.becomes(seq, State::Succeeded).await;
    assert_eq!(running.handle.lanes().await[&number].consecutive_failures, 0);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_disabled_holds_and_delivers_or_discards() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let number =
        running.endpoints.make(NewEndpoint { enabled: false, ..new(&receiver) }).await.expect("made");
    let held = [running.hand_in().await, running.hand_in().await];
    assert_eq!(running.outbox.depths().of(number), 2);
    // Over a restart, too.
    running.end().await;
    let running = start(&directory, CONFIG).await;
    let disabled = running.target(number).disabled().expect("it is disabled");
    assert_eq!(disabled.reason, DisableReason::Operator);
    assert_eq!(running.endpoints.enable(number, Pending::Deliver).await.expect("it is enabled"), 2);
    for _ in held {
        answer(&mut receiver.accept().await.expect("a connection").0, 2).await.expect("a request");
    }
    for seq in held {
        running.becomes(seq, State::Succeeded).await;
    }
    running.endpoints.disable(number).await.expect("it is disabled");
    let held = [running.hand_in().await, running.hand_in().await];
    assert_eq!(running.endpoints.enable(number, Pending::Discard).await.expect("it is enabled"), 2);
    let next = running.hand_in().await;
    let mut stream = receiver.accept().await.expect("a connection").0;
    answer(&mut stream, 2).await.expect("a request");
    running.becomes(next, State::Succeeded).await;
    for seq in held {
        assert_eq!(running.becomes(seq, DISCARDED).await.0.attempt, 0);
    }
    running.is_settled().await;
    assert_eq!(running.outbox.depths().total(), 0);
    assert_eq!(running.metrics.failed.get(), 0, "what is cancelled has not failed");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_at_a_deletion_ends_as_it_went_or_cancelled() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let number = running.endpoints.make(new(&receiver)).await.expect("it is made");
    let [good, bad, later] = [running.hand_in().await, running.hand_in().await, running.hand_in().await];
    let mut streams =
        [receiver.accept().await, receiver.accept().await].map(|one| one.expect("a connection").0);
    // The window is two at first: the third waits for its turn.
    assert_eq!(running.endpoints.delete(number).await.expect("it is deleted"), 3);
    running.becomes(later, CANCELLED).await;
    answer(&mut streams[0], 2).await.expect("a request");
    answer_with(&mut streams[1], 2, "503 No").await.expect("a request");
    let states = || [good, bad].map(|seq| delivery(&running.outbox, seq));
    until(|| states().iter().all(|(delivery, _)| delivery.state != State::Pending)).await;
    assert_eq!(running.outbox.depths().total(), 0);
    let mut states = states();
    states.sort_by_key(|(delivery, _)| delivery.state == CANCELLED);
    let [(succeeded, _), (cancelled, attempts)] = states;
    assert_eq!((succeeded.state, cancelled.state), (State::Succeeded, CANCELLED));
    assert_eq!(
        (cancelled.attempt, cancelled.last_status, attempts.len()),
        (1, Some(503), 1),
        "it is recorded"
    );
    running.is_settled().await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_at_a_discarding_is_not_tried_again() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let number = running.endpoints.make(new(&receiver)).await.expect("it is made");
    let seqs = [running.hand_in().await, running.hand_in().await, running.hand_in().await];
    let mut streams =
        [receiver.accept().await, receiver.accept().await].map(|one| one.expect("a connection").0);
    running.endpoints.enable(number, Pending::Discard).await.expect("it is enabled");
    running.becomes(seqs[2], DISCARDED).await;
    // Some commits later; what is left of it is still to be called off.
    for _ in 0..3 {
        running.endpoints.enable(number, Pending::Deliver).await.expect("it is enabled");
    }
    for stream in &mut streams {
        answer_with(stream, 2, "503 No").await.expect("a request");
    }
    for seq in &seqs[..2] {
        until(|| delivery(&running.outbox, *seq).0.attempt == 1).await;
        assert_eq!(delivery(&running.outbox, *seq).0.state, DISCARDED);
    }
    running.is_settled().await;
    running.end().await;
}

/// Cut off when some of it is on disk; the next start does the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discarding_of_many_goes_on_after_a_restart() {
    const COUNT: usize = 6_000;
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let number =
        running.endpoints.make(NewEndpoint { enabled: false, ..new(&receiver) }).await.expect("made");
    accept(
        &running.outbox,
        COUNT,
        running.clock.now().plus(Duration::from_secs(3600)),
        Bytes::from_static(b"{}"),
    )
    .await;
    let count = u64::try_from(COUNT).expect("fits");
    assert_eq!(running.endpoints.enable(number, Pending::Discard).await.expect("it is enabled"), count);
    until(|| running.outbox.depths().total() < count).await;
    let left = running.outbox.depths().total();
    running.end().await;
    assert!(left > 0, "it was cut off in the middle");

    let running = start(&directory, CONFIG).await;
    running.is_settled().await;
    assert_eq!(running.outbox.depths().total(), 0);
    for seq in [1, count / 2, count] {
        assert_eq!(delivery(&running.outbox, seq).0.state, DISCARDED);
    }
    running.end().await;
    let opened = open(&directory);
    let endpoints = opened.outbox.read().and_then(|reader| reader.endpoints()).expect("endpoints");
    assert_eq!(endpoints[0].1.discard, None);
    opened.writer.close(End::Clean).expect("it closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_word_holds_for_the_configurations_endpoints() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let config = config(directory.path(), &receiver);
    let number = EndpointNumber::new(1);
    let running = Running::start(open(&directory), &config).await;
    running.endpoints.disable(number).await.expect("it is disabled");
    let url = Some("http://127.0.0.1:9/".to_owned());
    let owned = |result: Result<(), EndpointError>| {
        assert!(matches!(result, Err(EndpointError::OwnedByConfiguration { name }) if name == "e"));
    };
    owned(running.endpoints.change(number, Patch { url, ..Patch::default() }).await);
    owned(running.endpoints.delete(number).await.map(drop));
    owned(running.endpoints.rotate(number, Duration::ZERO).await);
    owned(running.endpoints.secrets(number).map(drop));
    running.end().await;
    let running = Running::start(open(&directory), &config).await;
    let seq = running.hand_in().await;
    assert_eq!(running.target(number).disabled().map(|one| one.reason), Some(DisableReason::Operator));
    running.endpoints.enable(number, Pending::Deliver).await.expect("it is enabled");
    answer(&mut receiver.accept().await.expect("a connection").0, 2).await.expect("a request");
    running.becomes(seq, State::Succeeded).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_configuration_no_longer_fits_is_held_until_it_does() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let profile = Some("soon".to_owned());
    let number = running.endpoints.make(NewEndpoint { profile, ..new(&receiver) }).await.expect("it is made");
    running.end().await;
    // Without its profile; then with one whose keys have another form.
    let hex = "[profiles.soon.signature]\nkey = \"hex\"\n";
    let mut held = Vec::new();
    for (text, reason) in [("", DisableReason::NoProfile), (hex, DisableReason::Unfit)] {
        let running = start(&directory, text).await;
        assert_eq!(running.target(number).disabled().map(|one| one.reason), Some(reason));
        held.push(running.hand_in().await);
        assert_eq!(running.outbox.depths().of(number), u64::try_from(held.len()).expect("fits"));
        running.end().await;
    }
    let running = start(&directory, CONFIG).await;
    assert_eq!(running.target(number).disabled(), None);
    for _ in &held {
        answer(&mut receiver.accept().await.expect("a connection").0, 2).await.expect("a request");
    }
    for seq in held {
        running.becomes(seq, State::Succeeded).await;
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_makes_an_endpoint_fit_again() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let number = running.endpoints.make(new(&receiver)).await.expect("it is made");
    running.end().await;
    let running = start(&directory, &format!("{CONFIG}[profiles.soon.signature]\nkey = \"hex\"\n")).await;
    assert_eq!(running.target(number).disabled().map(|one| one.reason), Some(DisableReason::Unfit));
    let seq = running.hand_in().await;
    // The earlier secret is no key under the profile as it is, and cannot overlap.
    running.endpoints.rotate(number, Duration::from_secs(3600)).await.expect("it is rotated");
    assert_eq!(running.endpoints.secrets(number).expect("secrets").len(), 1);
    assert_eq!(running.target(number).disabled(), None);
    answer(&mut receiver.accept().await.expect("a connection").0, 1).await.expect("a request");
    running.becomes(seq, State::Succeeded).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_follow_each_other() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let given = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
    let new_one = NewEndpoint { secret: Some(given.clone()), ..new(&receiver) };
    let number = running.endpoints.make(new_one).await.expect("it is made");
    let hour = Duration::from_secs(3600);
    running.endpoints.rotate(number, hour).await.expect("it is rotated");
    let secrets = running.endpoints.secrets(number).expect("secrets");
    let [newest, first] = &secrets[..] else { panic!("two: {secrets:?}") };
    assert_eq!((&first.secret, newest.until), (&given, None));
    assert_eq!(first.until, Some(newest.made_at.plus(hour)));
    assert!(newest.secret.expose().starts_with("whsec_") && newest.secret != given);
    for _ in 0..12 {
        running.endpoints.rotate(number, hour).await.expect("it is rotated");
    }
    assert_eq!(running.endpoints.secrets(number).expect("secrets").len(), DatedSecret::MOST);
    running.endpoints.rotate(number, Duration::ZERO).await.expect("it is rotated");
    assert_eq!(running.endpoints.secrets(number).expect("secrets").len(), 1, "no overlap");
    let too_long = running.endpoints.rotate(number, Duration::from_secs(8 * 24 * 3600)).await;
    assert!(matches!(too_long, Err(EndpointError::Field { field: "overlap", .. })));
    running.end().await;
    let running = start(&directory, CONFIG).await;
    assert_eq!(running.endpoints.secrets(number).expect("secrets").len(), 1, "as it was");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_is_one_attempt_that_leaves_nothing() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let event_types = vec!["a.*".to_owned(), "video.ready".to_owned()];
    let new = NewEndpoint { enabled: false, event_types, ..new(&receiver) };
    let number = running.endpoints.make(new).await.expect("it is made");
    for (status, success) in [("204 Fine", true), ("418 No", false)] {
        let endpoints = running.endpoints.clone();
        let test = tokio::spawn(async move { endpoints.test(number, None, None).await });
        let mut stream = receiver.accept().await.expect("a connection").0;
        let head = answer_with(&mut stream, 2, status).await.expect("a request");
        let tested = test.await.expect("no panic").expect("it is tested");
        assert_eq!(
            (tested.attempt.report.success, tested.event.new.event_type.as_str()),
            (success, "video.ready")
        );
        assert!(head.contains(&tested.attempt.report.signatures), "it is signed: {head}");
        assert!(tested.body.starts_with(b"{\"id\":\"evt_"), "what was sent: {:?}", tested.body);
        assert_eq!(tested.attempt.report.outcome.status().map(|code| code == 204), Some(success));
    }
    let id = running.target(number).stored.consecutive_failures;
    assert_eq!((id, running.metrics.attempts.get(), running.outbox.depths().total()), (0, 0, 0));
    assert!(running.outbox.read().and_then(|reader| reader.rows_before(None, 9)).expect("rows").is_empty());
    running.end().await;
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = start(&directory, CONFIG).await;
    let hush = || Some(Secret::new("hushhush".to_owned()));
    let account = "defualt".parse().expect("an account");
    let profile = Some("transcodly".to_owned());
    for (new, wrong) in [
        (NewEndpoint { account, ..new(&receiver) }, "did you mean `default`?"),
        (NewEndpoint { profile, ..new(&receiver) }, "did you mean `transcodely`?"),
        (NewEndpoint { url: "ftp://x/".to_owned(), ..new(&receiver) }, "neither http nor https"),
        (NewEndpoint { event_types: Vec::new(), ..new(&receiver) }, "`event_types` is empty"),
        (NewEndpoint { secret: hush(), ..new(&receiver) }, "does not begin with whsec_"),
        (NewEndpoint { secret: Some(Secret::new(String::new())), ..new(&receiver) }, "leave it out"),
    ] {
        let error = running.endpoints.make(new).await.expect_err("it cannot be").to_string();
        assert!(error.contains(wrong) && !error.contains("hushhush"), "{error}");
    }
    assert!(running.directory.targets().is_empty());
    running.end().await;
}
