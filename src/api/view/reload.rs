//! The wire types of the configuration.

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedView {
    /// What is different from now on: keys, sections, and names of profiles, accounts and endpoints.
    pub changed: Vec<String>,
    /// What is different from the next start on.
    pub needs_restart: Vec<String>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadErrorView {
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub help: String,
    /// In which file.
    pub file: String,
    /// In which line of it, from 1; `null`: the file as a whole.
    pub line: Option<usize>,
    /// At which character of it, from 1.
    pub column: Option<usize>,
    /// Other places that have to do with it.
    pub notes: Vec<String>,
}

/// The configuration that the daemon runs with, and whether it is the one that is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationView {
    /// When it was read.
    pub since: Option<Timestamp>,
    /// What of it holds from the next start on.
    pub needs_restart: Vec<String>,
    /// That it could not be taken when it was read last; `null`: it was.
    pub failed: Option<ReloadFailedView>,
}

/// A configuration was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadFailedView {
    /// When.
    pub at: Timestamp,
    /// Why, as `posthaste check` prints it.
    pub why: String,
}
