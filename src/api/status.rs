//! `GET /v1/status`, `/healthz`, `/readyz`.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};
use serde_json::json as object;
use tokio::task;

use super::{
    App, Open,
    access::Asker,
    callbacks::{self, missing},
    endpoints::{circuit, open_view},
    json,
    problem::Problem,
    query::Query,
    view::{
        AccountRetentionView, ClockView, ConfigurationView, Counters, DaemonState, DisabledView, DoorView,
        ForgottenView, IdsView, InsideView, OpenCircuitView, OutageView, PendingView, ReloadFailedView,
        ReserveView, RetentionView, SpoolView, StatusView, StoreView, YouView,
    },
};
use crate::{
    clock::Clock,
    engine::{LaneView, Overview, directory::Target, reload::Last, retention::Report},
    ingest::{access::Verdict, door::code, spool::SpoolHandle},
    model::{
        account::AccountName,
        endpoint::{DisableReason, Disabled},
        time::{Timestamp, format_duration},
    },
    outbox::{Forgotten, Remembered, StoreError},
    policy::{outage::Shared, retention::Ages, rights::Thing},
};

/// The process answers.
pub(super) async fn health() -> Response<Body> {
    json(StatusCode::OK, &object!({"status": "ok"}))
}

/// The daemon is at work. That is so as well while its disk or its store is full: it delivers, and another start would
/// change nothing.
pub(super) async fn ready(State(app): State<App>) -> Result<Response<Body>, Problem> {
    let not = |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail);
    if *app.stopping.borrow() {
        return Err(not("posthaste is stopping".to_owned()));
    }
    if let Some(open) = app.open.borrow().as_ref() {
        if !*app.started.borrow() {
            return Err(not("the spool directories are being looked at for the first time".to_owned()));
        }
        let shut = open.intake.shut().map(|refusal| refusal.code.as_str());
        let ready = shut.map_or_else(
            || object!({"status": "ready"}),
            |code| object!({"status": "ready", "refusing": code}),
        );
        return Ok(json(StatusCode::OK, &ready));
    }
    Err(not(match *app.repair.borrow() {
        Some(done) => format!("the store was not closed and is being repaired: {:.0} %", done * 100.0),
        None => "the store is being opened".to_owned(),
    }))
}

/// How things are: to producers, whether events are taken; to operators, all of it.
pub(super) async fn status(
    Asker(who): Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    let overview = open.engine.overview().await;
    let at_door = open.clone();
    // No turn to read the store is waited for: whether events are taken is to be known at any time.
    let door = task::spawn_blocking(move || door(&at_door)).await;
    let mut door = door.map_err(|_| Problem::from(StoreError::Stopped))?;
    if who.key().is_some() && !who.may(Thing::Machine) {
        // It says how full the box is, and what to do there.
        door.help = None;
    }
    let state = match (*app.stopping.borrow(), overview.running) {
        (true, _) => DaemonState::Stopping,
        (false, true) => DaemonState::Running,
        (false, false) => DaemonState::Starting,
    };
    let inside =
        if who.may(Thing::Machine) { Some(inside(&app, &open, &overview, &who).await?) } else { None };
    let view = StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: app.clock.wall_of(app.clock.started_at()),
        state,
        you: Some(you(&who)),
        clock_unset: clock_unset(&app, &open),
        door,
        inside,
    };
    Ok(json(StatusCode::OK, &view))
}

fn you(who: &Verdict) -> YouView {
    YouView {
        uid: who.uid(),
        key: who.key(),
        role: who.role().word().to_owned(),
        account: who.account().cloned(),
        rule: who.rule(),
    }
}

async fn inside(app: &App, open: &Open, overview: &Overview, who: &Verdict) -> Result<InsideView, Problem> {
    let lanes = open.engine.lanes().await;
    let beside = open.clone();
    let read = move |reader: &super::Reader| {
        let store = store(&beside, reader.oldest()?.map(|head| head.accepted_at));
        Ok((reader.oldest_pending()?, reader.parked()?, reader.remembered()?, store))
    };
    let (oldest, parked, remembered, store) = open.read(who, read).await?;
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let targets = open.directory.targets();
    Ok(InsideView {
        since_start: counters(app, open),
        pending: PendingView {
            total: open.outbox.depths().total(),
            due: count(overview.due),
            turn: count(overview.turn),
            order: open.outbox.depths().behind(),
            parked,
            in_flight: count(overview.in_flight),
        },
        oldest_pending: oldest.map(|head| head.accepted_at),
        disabled_endpoints: targets.iter().filter_map(|target| disabled(target)).collect(),
        open_circuits: targets
            .iter()
            .filter_map(|target| open_circuit(target, lanes.get(&target.number)?, app.clock))
            .collect(),
        outages: outages(overview, app.clock),
        callbacks: callbacks::view(open, &lanes),
        store,
        ids: ids(open, remembered, app.clock),
        spools: open.spools.iter().map(spool).collect(),
        configuration: configuration(open),
    })
}

fn configuration(open: &Open) -> ConfigurationView {
    let Last { since, needs_restart, failed, require_clock: _ } = open.reloader.last();
    let failed = failed.map(|(at, why)| ReloadFailedView { at, why });
    ConfigurationView { since: Some(since), needs_restart, failed }
}

fn counters(app: &App, open: &Open) -> Counters {
    let metrics = &app.metrics;
    Counters {
        accepted: metrics.accepted.get(),
        duplicates: metrics.duplicates.get(),
        refused: metrics.refused.get(),
        attempts: metrics.attempts.get(),
        succeeded: metrics.succeeded.get(),
        failed: metrics.failed.get() + open.outbox.depths().full(),
    }
}

fn door(open: &Open) -> DoorView {
    open.door.shut().map_or_else(DoorView::default, |shut| DoorView {
        open: false,
        reason: Some(code(shut.full).as_str().to_owned()),
        since: shut.since,
        attempts_held: shut.exhausted,
        help: Some(shut.help),
    })
}

fn store(open: &Open, oldest_event: Option<Timestamp>) -> StoreView {
    let room = open.door.room();
    let (size, present) = room.reserve();
    StoreView {
        rows: room.held(),
        max_size: room.max_size(),
        reserve: ReserveView { size, present },
        path: open.store_path.display().to_string(),
        size: std::fs::metadata(&open.store_path).map_or(0, |metadata| metadata.len()),
        unclean_start: open.unclean,
        retention: Some(retention(open, oldest_event)),
    }
}

fn retention(open: &Open, oldest_event: Option<Timestamp>) -> RetentionView {
    let rules = open.forgetter.rules();
    let Report { forgotten, last_run, next, late_since, held } = open.forgetter.report();
    let Forgotten { events, rows, bytes, looked_at: _ } = forgotten;
    let words = |ages: Ages| (format_duration(ages.succeeded), format_duration(ages.failed));
    let of_one = |(account, ages): (&AccountName, &Ages)| {
        let (retention, retention_failed) = words(*ages);
        AccountRetentionView { account: account.clone(), retention, retention_failed }
    };
    let mut accounts: Vec<_> = rules.accounts.iter().map(of_one).collect();
    accounts.sort_by(|one, other| one.account.cmp(&other.account));
    let (retention, retention_failed) = words(rules.ages);
    RetentionView {
        retention,
        retention_failed,
        accounts,
        oldest_event,
        next_at: next,
        last_run_at: last_run,
        forgotten: ForgottenView { events, rows, bytes },
        behind: late_since.is_some(),
        held: held.map(|held| held.as_str().to_owned()),
    }
}

fn ids(open: &Open, remembered: Remembered, clock: Clock) -> IdsView {
    let window = open.outbox.dedup();
    let held = window.held(remembered, clock.mark().greatest);
    IdsView {
        remembered: remembered.ids,
        window: format_duration(window.time),
        window_held: format_duration(Duration::from_secs(held.as_secs())),
        cut_short: held < window.time,
    }
}

fn spool(handle: &SpoolHandle) -> SpoolView {
    let status = handle.status();
    SpoolView {
        path: status.path.display().to_string(),
        taken: status.taken,
        failed: status.failed,
        in_failed: status.in_failed,
        watching: status.watching,
        problem: status.problem,
    }
}

fn open_circuit(target: &Target, lane: &LaneView, clock: Clock) -> Option<OpenCircuitView> {
    let circuit = circuit(lane, clock)?;
    Some(OpenCircuitView { id: target.id, name: target.label().to_owned(), circuit })
}

fn outages(overview: &Overview, clock: Clock) -> Vec<OutageView> {
    let view = |(shared, open): (Shared, Option<crate::policy::circuit::Open>)| {
        let help = match shared {
            Shared::Machine => "this machine lacks what a connection takes; its failed attempts say what",
            Shared::Proxy => {
                "the proxy fails; its failed attempts say how, and `proxy` under [network] where it is"
            }
        };
        let (what, help) = (shared.as_str().to_owned(), help.to_owned());
        Some(OutageView { what, circuit: open_view(open?, clock), help })
    };
    Shared::ALL.into_iter().zip(overview.down).filter_map(view).collect()
}

fn clock_unset(app: &App, open: &Open) -> Option<ClockView> {
    let mark = app.clock.mark();
    let held = if open.reloader.requires_clock() {
        "deliveries that sign their time wait; set it, or write `require_clock = false` under [network], and `posthaste reload`"
    } else {
        "receivers may not believe the time that deliveries sign; set it"
    };
    let view = || ClockView {
        time: mark.wall,
        known: mark.greatest.max(Timestamp::RELEASED),
        help: held.to_owned(),
    };
    mark.is_unset().then(view)
}

fn disabled(target: &Target) -> Option<DisabledView> {
    let Disabled { reason, since } = target.disabled()?;
    let help = match reason {
        DisableReason::NoCredential => {
            let names = target.settings.iter().flat_map(|settings| &settings.missing_credentials);
            missing(&names.map(String::as_str).collect::<Vec<_>>())
        }
        DisableReason::Failures | DisableReason::Gone | DisableReason::Operator => {
            format!("its deliveries are held; `posthaste endpoint enable {}` lets it go on", target.id)
        }
        DisableReason::NoProfile => {
            "its profile is not in the configuration; add it there, or give the endpoint another".to_owned()
        }
        DisableReason::Unfit => {
            let id = target.id;
            format!("its URL, secret or headers are not taken as the configuration is; `posthaste endpoint test {id}` says what to change")
        }
        DisableReason::NotConfigured if target.stored.own().is_some() => {
            "there is no account of that name any more, neither in the configuration nor made over the API; its deliveries are held until there is".to_owned()
        }
        DisableReason::NotConfigured => {
            "it is no longer in the configuration; its deliveries are held until one of its name is there again".to_owned()
        }
    };
    let name = target.stored.name().map(str::to_owned);
    Some(DisabledView { id: target.id, name, reason, since, help })
}
