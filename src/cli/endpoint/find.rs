//! Which endpoint is meant: by id, or by its name in the configuration.

use clap::Args;

use super::super::{
    client::{self, Client, Query},
    error::CliError,
    text,
};
use crate::{
    api::view::{EndpointView, Page},
    model::{account::AccountName, id::EndpointId},
    policy::nearest,
};

/// One endpoint, as a person names it.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The endpoint: its id, or its name in the configuration
    #[arg(value_name = "ID|NAME")]
    which: String,
    /// Whose it is, where several accounts have one of this name
    #[arg(long)]
    account: Option<AccountName>,
}

/// An endpoint that can be asked for.
#[derive(Debug)]
pub(super) struct Found {
    /// What people call it.
    pub(super) title: String,
    /// Its path, to which a verb can be added.
    pub(super) path: String,
    /// Its account, where that was said.
    pub(super) query: Query,
}

impl Which {
    /// Finds it. Only a name costs a request.
    ///
    /// # Errors
    /// No endpoint has the name, or several have it.
    pub(super) fn find(&self, client: &Client) -> Result<Found, CliError> {
        let query = Query::default().with("account", self.account.as_ref());
        let id = match self.which.parse::<EndpointId>() {
            Ok(id) => id,
            Err(_) => self.by_name(client)?,
        };
        let title = text::plain(&self.which).into_owned();
        Ok(Found { title, path: format!("/v1/endpoints/{id}"), query })
    }

    fn by_name(&self, client: &Client) -> Result<EndpointId, CliError> {
        let all = self.all(client)?;
        let named: Vec<_> = all.iter().filter(|one| one.name.as_deref() == Some(&*self.which)).collect();
        match named[..] {
            [one] => Ok(one.id),
            [] => Err(CliError::Data(self.unknown(&all))),
            [..] => {
                let accounts: Vec<_> = named.iter().map(|one| one.account.as_str()).collect();
                let accounts = accounts.join(", ");
                Err(CliError::Usage(format!(
                    "several accounts have an endpoint `{}`: {accounts}; say which with --account",
                    text::plain(&self.which)
                )))
            }
        }
    }

    fn all(&self, client: &Client) -> Result<Vec<EndpointView>, CliError> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let query = Query::default().with("account", self.account.as_ref()).with("limit", Some(500));
            let query = query.with("cursor", cursor.as_ref());
            let page: Page<EndpointView> = client::parse(&client.get("/v1/endpoints", &query)?)?;
            all.extend(page.items);
            if page.next_cursor.is_none() || page.next_cursor == cursor {
                return Ok(all);
            }
            cursor = page.next_cursor;
        }
    }

    fn unknown(&self, all: &[EndpointView]) -> String {
        let near = nearest(&self.which, all.iter().filter_map(|one| one.name.as_deref()));
        let near = near.map(|near| format!("did you mean `{}`? ", text::plain(near))).unwrap_or_default();
        let name = text::plain(&self.which);
        format!("no endpoint is called `{name}`: {near}`posthaste endpoint list` shows all, with their ids")
    }
}

impl Found {
    /// The path of what can be done with it.
    pub(super) fn verb(&self, verb: &str) -> String {
        format!("{}/{verb}", self.path)
    }
}
