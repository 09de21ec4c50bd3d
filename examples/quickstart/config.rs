//! The daemon's configuration, and the directory that it lies in.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Result, receivers::Endpoint};

/// The directory with the configuration, the store, the socket and the spool.
pub(crate) struct Workplace {
    directory: PathBuf,
    text: String,
}

/// Writes a configuration with these two endpoints.
pub(crate) fn write(directory: &Path, shop: &Endpoint, books: &Endpoint) -> Result<Workplace> {
    let text = configuration(shop, books);
    let workplace = Workplace { directory: directory.to_owned(), text };
    fs::write(workplace.file(), workplace.text())?;
    fs::create_dir_all(workplace.spool())?;
    Ok(workplace)
}

/// Everything not written has its default; paths start at the file's own directory.
fn configuration(shop: &Endpoint, books: &Endpoint) -> String {
    format!(
        r#"[listen]
socket = "posthaste.sock"

[store]
path = "outbox.redb"

[[spool]]
path = "spool"

[[endpoint]]
name = "shop"
url = "{shop_url}"
event_types = ["order.*", "scan.*", "meter.*"]
secret = "{shop_secret}"

[[endpoint]]
name = "books"
url = "{books_url}"
event_types = ["invoice.*"]
secret = "{books_secret}"

[profiles.posthaste]             # what differs from the built-in profile
retry = ["0s", "1s", "2s", "4s"] # so that nobody waits five minutes here
jitter = 0.0
concurrency = 4
headers = {{ webhook-attempt = "{{attempt}}" }}
"#,
        shop_url = shop.url,
        shop_secret = shop.secret,
        books_url = books.url,
        books_secret = books.secret,
    )
}

impl Workplace {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join("posthaste.toml")
    }

    /// What is written in [`Workplace::file`].
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("posthaste.sock")
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.directory.join("spool")
    }

    /// The daemon's log; a daemon that is started again adds to it.
    pub(crate) fn log(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log"))
    }

    /// The error, with the end of the daemon's log, which is about to be removed.
    pub(crate) fn explain(&self, error: Box<dyn Error + Send + Sync>) -> Box<dyn Error + Send + Sync> {
        if crate::is_broken_pipe(&*error) {
            return error;
        }
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n  ");
        format!("{error}\nThe end of the daemon's log:\n  {end}").into()
    }
}
