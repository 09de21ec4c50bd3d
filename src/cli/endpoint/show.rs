//! `posthaste endpoint show`: one endpoint, with what to do about it.

use clap::Args;

use super::{
    super::{
        client::{self, Client},
        error::CliError,
        screen::Screen,
        text,
    },
    find::Which,
    rate, state,
};
use crate::api::view::{EndpointView, HealthView};

/// `posthaste endpoint show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste endpoint show erp")]
pub struct ShowArgs {
    #[command(flatten)]
    which: Which,
}

/// Shows one.
pub(super) fn run(args: &ShowArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let found = args.which.find(client)?;
    let answer = client.get(&found.path, &found.query)?;
    if screen.json {
        return screen.json(&answer);
    }
    print(&client::parse(&answer)?, screen)
}

/// Prints one.
pub(super) fn print(endpoint: &EndpointView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let now = screen.now;
    let url = endpoint.url.as_deref().map_or_else(|| "-".into(), text::plain);
    screen.line(&screen.bold(&endpoint.id.to_string()))?;
    if let Some(name) = &endpoint.name {
        screen.line(&format!("  name         {}", text::plain(name)))?;
    }
    screen.line(&format!("  state        {}", screen.paint(&state(endpoint))))?;
    if let Some(help) = help(endpoint) {
        screen.line(&format!("               {help}"))?;
    }
    if let Some(description) = &endpoint.description {
        screen.line(&format!("  description  {}", text::plain(description)))?;
    }
    screen.line(&format!("  url          {url}"))?;
    screen.line(&format!("  types        {}", text::plain(&endpoint.event_types.join(" "))))?;
    if let Some(profile) = &endpoint.profile {
        let whose = if endpoint.own_profile { "" } else { " (its account's)" };
        screen.line(&format!("  profile      {}{whose}", text::plain(profile)))?;
    }
    let mut title = "headers";
    for (name, value) in &endpoint.headers {
        screen.line(&format!("  {title:<11}  {}: {}", text::plain(name), text::plain(value)))?;
        title = "";
    }
    screen.line(&format!("  account      {}", endpoint.account))?;
    screen.line(&format!("  owner        {}", owner(endpoint)))?;
    screen.line(&format!("  made         {}", text::time_and_relative(endpoint.created_at, now)))?;
    if endpoint.updated_at != endpoint.created_at {
        screen.line(&format!("  changed      {}", text::time_and_relative(endpoint.updated_at, now)))?;
    }
    screen.line(&format!("  pending      {}, {} being attempted", endpoint.pending, endpoint.in_flight))?;
    if let Some(oldest) = endpoint.health.oldest_pending_at {
        screen.line(&format!("               the oldest since {}", text::time_and_relative(oldest, now)))?;
    }
    screen.line(&format!("  failures     {} in a row", endpoint.consecutive_failures))?;
    let HealthView { attempts, successes, since, .. } = endpoint.health;
    if attempts > 0 {
        let (rate, since) = (rate(&endpoint.health), text::time(since));
        screen.line(&format!("  success      {rate}: {successes} of {attempts} attempts since {since}"))?;
    }
    let lasts = [
        ("last success", endpoint.health.last_success_at),
        ("last failure", endpoint.health.last_failure_at),
    ];
    for (what, at) in lasts {
        if let Some(at) = at {
            screen.line(&format!("  {what} {}", text::time_and_relative(at, now)))?;
        }
    }
    Ok(())
}

fn owner(endpoint: &EndpointView) -> String {
    match endpoint.owner.as_str() {
        "api" => "api: `posthaste endpoint update` changes it".to_owned(),
        "configuration" => "configuration: it is changed there".to_owned(),
        other => text::plain(other).into_owned(),
    }
}

/// What to do about an endpoint that is disabled.
fn help(endpoint: &EndpointView) -> Option<&'static str> {
    Some(match endpoint.disabled_reason?.as_str() {
        "no_credential" | "not_configured" | "no_profile" | "unfit" => {
            "its deliveries are held; `posthaste status` tells what it lacks"
        }
        "operator" => "its deliveries are held until `posthaste endpoint enable`",
        _ => "its deliveries are held until `posthaste endpoint enable`; `test` tries it",
    })
}
