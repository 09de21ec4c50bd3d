//! `[listen]`: the Unix socket, and the API over TCP with its certificate.

use std::{fs::File, io::Read as _, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::{
    Http, Listen,
    check::Context,
    error::{Problems, Reported},
    keys::Key,
    raw::Node,
    read::{self, Fault, Fields},
};
use crate::{
    model::{secret::Secret, time::format_size},
    policy::certificate::Identity,
};

/// The longest file with a certificate or a key.
const LONGEST: u64 = 1 << 20;
/// Read by everybody.
const OPEN: u32 = 0o004;

/// A file in PEM.
struct Pem {
    path: PathBuf,
    text: Secret,
    /// Everybody may read it.
    is_open: bool,
}

/// Reads the section.
pub(super) fn listen(
    context: &Context<'_>,
    node: Option<&Node>,
    problems: &mut Problems,
) -> Result<Listen, Reported> {
    let fields = Fields::new("listen", node)?;
    let socket = fields.get(problems, "socket", |key, node| context.socket(key, node));
    let socket_mode = fields.get(problems, "socket_mode", read::mode);
    let http = http(context, fields, problems);
    Ok(Listen { socket: socket?, socket_mode: socket_mode?, http: http? })
}

fn http(
    context: &Context<'_>,
    fields: Fields<'_>,
    problems: &mut Problems,
) -> Result<Option<Http>, Reported> {
    let address = fields.given(problems, "http", |_, node| address(node));
    let names = fields.given(problems, "http_names", |_, node| names(node));
    let certificate = fields.given(problems, "tls_certificate", |key, node| pem(context, key, node));
    let private = fields.given(problems, "tls_key", |key, node| pem(context, key, node));
    let (address, names, certificate, private) = (address?, names?, certificate?, private?);
    let Some(address) = address else {
        // What is given in vain was meant to be of use.
        for name in ["tls_certificate", "tls_key", "http_names"] {
            if let Some(node) = fields.node(name) {
                let help = "add `http = \"127.0.0.1:8470\"`, or leave it out";
                let fault = Fault::new("is there, and `listen.http` is not", help);
                return Err(fields.wrong(problems, name, node, fault));
            }
        }
        return Ok(None);
    };
    let open_key = private.as_ref().filter(|private| private.is_open).map(|private| private.path.clone());
    let identity = match (certificate, private) {
        (Some(certificate), Some(private)) => {
            Some(identity(&certificate.text, &private.text, fields, problems)?)
        }
        (None, None) => None,
        (Some(_), None) => return Err(alone(fields, problems, "tls_certificate", "tls_key")),
        (None, Some(_)) => return Err(alone(fields, problems, "tls_key", "tls_certificate")),
    };
    if let (Some(node), None, false) = (fields.node("http"), &identity, address.ip().is_loopback()) {
        let help = "add `tls_certificate` and `tls_key`, or write 127.0.0.1 or [::1] for this machine alone: a reverse proxy here can lead to it";
        let fault = Fault::new("is beyond this machine, and keys may not go over it in the clear", help);
        return Err(fields.wrong(problems, "http", node, fault));
    }
    Ok(Some(Http { address, names: names.unwrap_or_default(), identity, open_key }))
}

fn address(node: &Node) -> Result<SocketAddr, Fault> {
    let help = "write an address and a port, such as \"127.0.0.1:8470\", \"[::1]:8470\" or \"0.0.0.0:8470\"";
    read::string(node)?.parse().map_err(|_| Fault::new("is no address with a port", help))
}

/// Names of hosts, in lower case.
fn names(node: &Node) -> Result<Vec<String>, Fault> {
    let name = |item: &Node| {
        let wrong = || {
            let help =
                "write names alone, such as \"box.example\", without a port; addresses need not be named";
            Fault::new("has an entry that is no host's name", help).at(item.place)
        };
        let text = read::string(item).map_err(|_| wrong())?;
        let may = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = (1..=253).contains(&text.len()) && text.bytes().all(may) && !text.ends_with('.');
        if is_name { Ok(text.to_ascii_lowercase()) } else { Err(wrong()) }
    };
    read::list(node)?.iter().map(name).collect()
}

fn pem(context: &Context<'_>, key: &Key, node: &Node) -> Result<Pem, Fault> {
    let path = context.path(key, node)?;
    let read = File::open(&path).and_then(|file| {
        let mode = file.metadata()?.permissions().mode();
        let mut text = String::new();
        file.take(LONGEST + 1).read_to_string(&mut text)?;
        Ok((Secret::new(text), mode))
    });
    let (text, mode) = read.map_err(|error| {
        let help = "the user that posthaste runs as must be able to read this file, which is PEM";
        Fault::new(format!("names a file that cannot be read: {error}"), help)
    })?;
    if text.expose().len() as u64 > LONGEST {
        let what = format!("names a file that is longer than {}", format_size(LONGEST));
        return Err(Fault::new(what, "name one with nothing else in it"));
    }
    Ok(Pem { path, text, is_open: mode & OPEN != 0 })
}

fn identity(
    certificate: &Secret,
    private: &Secret,
    fields: Fields<'_>,
    problems: &mut Problems,
) -> Result<Identity, Reported> {
    Identity::new(certificate, private).map_err(|error| {
        let name = if error.is_of_key() { "tls_key" } else { "tls_certificate" };
        let node = fields.node(name).expect("both are given");
        let fault = Fault::new("names a file that cannot be used", error.to_string());
        fields.wrong(problems, name, node, fault)
    })
}

/// One of the two is of no use.
fn alone(fields: Fields<'_>, problems: &mut Problems, given: &str, missing: &str) -> Reported {
    let node = fields.node(given).expect("it is given");
    let fault = Fault::new(format!("is there without `listen.{missing}`"), format!("add `{missing}`"));
    fields.wrong(problems, given, node, fault)
}
