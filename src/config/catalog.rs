//! Catalogs: an account's event types.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    error::{Problems, Reported},
    raw::{Node, Value},
    read::{self, Fault, Fields, choice},
    source::Place,
};
use crate::{
    model::event::{Effect, EventType},
    policy::catalog::{Catalog, Entry},
};

const EFFECTS: &[(&str, Effect)] =
    &[("live", Effect::Live), ("partial", Effect::Partial), ("none", Effect::None)];

/// Reads the catalog of the account `name`; `None` where none is written: then every type is taken.
pub(super) fn catalog(
    name: &str,
    written: Option<&Node>,
    problems: &mut Problems,
) -> Result<Option<Arc<Catalog>>, Reported> {
    let Some(written) = written else { return Ok(None) };
    // The walk over the tree has noted what is no array of tables.
    let Value::Array(items) = &written.value else { return Err(Reported) };
    let mut types = BTreeMap::new();
    let mut places = BTreeMap::new();
    let mut all = Ok(());
    for item in items {
        match entry(name, item, problems) {
            Ok((event_type, place, entry)) => {
                if let Some(first) = places.insert(event_type.clone(), place) {
                    all = Err(twice(&event_type, (place, first), problems));
                }
                types.insert(event_type, entry);
            }
            Err(reported) => all = Err(reported),
        }
    }
    all.map(|()| Some(Arc::new(Catalog::new(types))))
}

fn entry(account: &str, item: &Node, problems: &mut Problems) -> Result<(EventType, Place, Entry), Reported> {
    let fields = Fields::new("accounts.NAME.event_type", Some(item))?.named(account);
    let name = fields.get(problems, "name", |_, node| Ok((event_type(node)?, node.place)));
    let groups = fields.given(problems, "groups", read::texts);
    let description = fields.given(problems, "description", read::text);
    let effect = fields.get(problems, "effect", choice(EFFECTS));
    let (name, place) = name?;
    let (groups, description) = (groups?.unwrap_or_default(), description?.unwrap_or_default());
    Ok((name, place, Entry { groups, description, effect: effect? }))
}

fn event_type(node: &Node) -> Result<EventType, Fault> {
    read::string(node)?.parse().map_err(|error| Fault::new("is no event type", format!("{error}")))
}

fn twice(event_type: &EventType, (place, first): (Place, Place), problems: &mut Problems) -> Reported {
    let message = format!("the catalog has the event type `{event_type}` twice");
    let help = "leave one of them, with the groups of both";
    problems.add_related(place, message, help, ("the first is", first))
}
