//! `posthaste endpoint test`: one request, to see what comes back.

use std::io;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    super::{
        client::{self, Client},
        delivery::{address, phases, print_beginning, print_body, print_headers},
        error::CliError,
        input,
        screen::Screen,
        text,
    },
    find::{Found, Which},
};
use crate::{
    api::view::{RequestView, TestView},
    model::event::EventType,
};

/// `posthaste endpoint test`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste endpoint test erp --type video.media.ready --data '{\"media\":\"m-17\"}'\n\n\
                  Sends one request as a delivery would, also to an endpoint that is disabled. It is not repeated, \
                  not kept and not counted. Exit code 75 means that the endpoint did not take it."
)]
pub struct TestArgs {
    #[command(flatten)]
    which: Which,
    /// The event's type [default: one that the endpoint subscribes to]
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<EventType>,
    /// The payload: JSON, @FILE to read it from a file, or - for standard input [default: {}]
    #[arg(long, value_name = "DATA|@FILE|-", allow_hyphen_values = true)]
    data: Option<String>,
}

/// The request's document.
#[derive(Serialize)]
struct Ask<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a EventType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// Tries one.
pub(super) fn run(args: &TestArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let data = args.data.as_deref().map(|data| input::read(data, io::stdin)).transpose()?;
    let data: Option<&RawValue> =
        data.as_deref().map(serde_json::from_slice).transpose().map_err(|error| not_json(&error))?;
    let ask = serde_json::to_vec(&Ask { event_type: args.event_type.as_ref(), data });
    let found = args.which.find(client)?;
    let answer =
        client.post_with(&found.verb("test"), &found.query, &ask.expect("a type and JSON are JSON"))?;
    let view: TestView = client::parse(&answer)?;
    if screen.json {
        screen.json(&answer)?;
    } else {
        print(&view, &found, screen)?;
    }
    if view.success {
        Ok(())
    } else {
        Err(CliError::NotTaken(text::plain(&view.response.message).into_owned()))
    }
}

fn not_json(error: &serde_json::Error) -> CliError {
    CliError::Data(format!("--data is not JSON: {error}; put it between single quotes: '{{\"pages\":3}}'"))
}

fn print(view: &TestView, found: &Found, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let response = &view.response;
    let status = text::plain(&response.status);
    screen.line(&format!("{}  {status}", screen.bold(&format!("Test of {}", found.title))))?;
    let message = text::plain(&response.message);
    if !message.is_empty() {
        screen.line(&format!("  message   {message}"))?;
    }
    screen.line(&format!("  event     {}  {}", view.event_type, view.event_id))?;
    screen.line(&format!("  delivery  {}", view.delivery_id))?;
    screen.line(&format!("  address   {}", address(view.address, view.reconnected)))?;
    screen.line(&format!("  phases    {}", phases(&view.phases)))?;
    match &view.request {
        Some(request) => print_request(request, screen)?,
        None => screen.line("  request   nothing was sent")?,
    }
    print_headers("answer", response.headers.iter().map(|(name, value)| (name, value)), screen)?;
    print_body(response, None, screen)
}

fn print_request(request: &RequestView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    screen.line(&format!("  request   POST {}", text::plain(&request.url)))?;
    print_headers("", request.headers.iter(), screen)?;
    let whole = print_beginning("sent", request.body.as_deref().unwrap_or_default(), screen)?;
    if whole && !request.body_truncated { Ok(()) } else { screen.line("            … it went on") }
}
