//! `[[access]]`: who may do what on the socket.
//!
//! Names become numbers here, by the system's database: who a name means is settled when the daemon starts. A rule that
//! could never decide anything is an error, since somebody meant something by it.

use std::collections::HashMap;

use nix::unistd::{Group, User};

use super::{
    check::{Accounts, known_account, to_usize},
    error::{Problems, Reported},
    keys::Key,
    raw::Node,
    read::{self, Fault, Fields, choice},
    source::Place,
};
use crate::{
    model::{account::AccountName, quota::Quota},
    policy::access::{Role, Rule, Who},
};

/// The keys that say whom a rule is for.
const WHO: [&str; 4] = ["user", "group", "uid", "gid"];
const ONE_OF_THEM: &str = "write one of `user`, `group`, `uid` and `gid`";

/// The rules, in their order.
pub(super) fn access(
    items: &[Node],
    accounts: &Accounts,
    problems: &mut Problems,
) -> Result<Vec<Rule>, Reported> {
    let mut seen = HashMap::new();
    let rules: Vec<_> = items
        .iter()
        .map(|item| {
            let fields = Fields::new("access", Some(item))?;
            // Whatever is wrong with either, the other is looked at, too.
            let who = who(fields, item.place, &mut seen, problems);
            let may = may(fields, accounts, problems);
            let ((role, quota), who) = (may?, who?);
            Ok(Rule { who, role, quota })
        })
        .collect();
    rules.into_iter().collect()
}

/// Whom a rule is for.
fn who(
    fields: Fields<'_>,
    header: Place,
    seen: &mut HashMap<(bool, u32), Place>,
    problems: &mut Problems,
) -> Result<Who, Reported> {
    let given: Vec<_> = WHO.iter().filter_map(|name| Some((*name, fields.node(name)?))).collect();
    let (name, node) = match given[..] {
        [one] => one,
        [first, .., last] => {
            let message = format!("`access.{}` is there besides `access.{}`", last.0, first.0);
            let related = ("that is", first.1.place);
            return Err(problems.add_related(last.1.place, message, ONE_OF_THEM, related));
        }
        [] => {
            let message = "the rule does not say whom it is for".to_owned();
            return Err(problems.add(header, message, ONE_OF_THEM));
        }
    };
    let who = fields.get(problems, name, |key, node| match name {
        "user" => user(node),
        "group" => group(node),
        "uid" => Ok(Who::User(number(key, node)?, None)),
        _ => Ok(Who::Group(number(key, node)?, None)),
    })?;
    if let Who::User(0, _) = who {
        let help = "leave the rule out: root is always an operator, before any rule";
        return Err(fields.wrong(problems, name, node, Fault::new("is root", help)));
    }
    let identity = match who {
        Who::Group(gid, _) => (true, gid),
        Who::User(uid, _) => (false, uid),
    };
    if let Some(first) = seen.insert(identity, node.place) {
        let message = "a rule before this is for the same, and decides".to_owned();
        let help = "leave one of them out";
        return Err(problems.add_related(node.place, message, help, ("the first is", first)));
    }
    Ok(who)
}

fn number(key: &Key, node: &Node) -> Result<u32, Fault> {
    Ok(u32::try_from(read::integer(key, node)?).expect("the table of keys bounds it"))
}

fn user(node: &Node) -> Result<Who, Fault> {
    let name = read::string(node)?;
    let found = User::from_name(name).map_err(|error| unasked("users", error))?;
    let found = found.ok_or_else(|| unknown("user", "adduser", "uid"))?;
    Ok(Who::User(found.uid.as_raw(), Some(name.to_owned())))
}

fn group(node: &Node) -> Result<Who, Fault> {
    let name = read::string(node)?;
    let found = Group::from_name(name).map_err(|error| unasked("groups", error))?;
    let found = found.ok_or_else(|| unknown("group", "addgroup", "gid"))?;
    Ok(Who::Group(found.gid.as_raw(), Some(name.to_owned())))
}

fn unknown(what: &str, make: &str, number: &str) -> Fault {
    let help =
        format!("make the {what} first (`{make}`), correct its name, or write its number as `{number}`");
    Fault::new(format!("names a {what} that does not exist here"), help)
}

fn unasked(what: &str, error: nix::Error) -> Fault {
    let help = "see what `getent` says, or write the number";
    Fault::new(format!("cannot be looked up: the system's database of {what} says: {}", error.desc()), help)
}

/// What those whom it is for may do, and how much.
fn may(fields: Fields<'_>, accounts: &Accounts, problems: &mut Problems) -> Result<(Role, Quota), Reported> {
    let operator = fields.get(problems, "role", choice(&[("producer", false), ("operator", true)]));
    let account = fields.given(problems, "account", |key, node| known_account(accounts, key, node));
    let connections = fields.given(problems, "connections", read::integer);
    let rate = fields.given(problems, "rate", read::rate);
    let bytes = fields.given(problems, "bytes", read::throughput);
    let role = role(fields, operator?, account?, problems)?;
    let quota = Quota { connections: connections?.map(to_usize), rate: rate?, bytes: bytes? };
    Ok((role, quota))
}

fn role(
    fields: Fields<'_>,
    operator: bool,
    account: Option<AccountName>,
    problems: &mut Problems,
) -> Result<Role, Reported> {
    match (operator, fields.node("account")) {
        (false, _) => Ok(Role::Producer(account)),
        (true, None) => Ok(Role::Operator(None)),
        (true, Some(node)) => {
            let help = "leave it out, or write `role = \"producer\"`";
            let fault = Fault::new("is there, and an operator is one of all accounts", help);
            Err(fields.wrong(problems, "account", node, fault))
        }
    }
}
