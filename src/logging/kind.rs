//! The kinds of lines: what an operator would filter by, or be told of.
//!
//! Each has a word (`POSTHASTE_KIND=`, in JSON `kind`), and an id that is the journal's `MESSAGE_ID=` and leads to
//! `packaging/posthaste.catalog` (`journalctl -x`). Words and ids are never used for anything else, and never change. This
//! table is the only one: the catalog and the one of `docs/operations.md` are held against it, and each kind is said
//! somewhere, at its level.

use tracing::Level;

macro_rules! kinds {
    ($($name:ident $level:ident $word:literal $id:literal $meaning:literal $help:literal;)*) => {
        /// The kind of a line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the table says what each means, once")]
        pub enum Kind {
            $($name,)*
        }

        impl Kind {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its word.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// Its id in the journal.
            pub const fn message_id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// How bad it is.
            pub const fn level(self) -> Level {
                match self {
                    $(Self::$name => Level::$level,)*
                }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// What to do; empty: nothing.
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$name => $help,)*
                }
            }
        }
    };
}

kinds! {
    LogSetting WARN "log_setting" "dc2d03d9606c463ebdf4aa335fbd57ad"
        "`POSTHASTE_LOG` or `POSTHASTE_LOG_FORMAT` cannot be used; the usual holds"
        "set it right where the daemon's environment is set, and start it anew";
    LinesLost WARN "lines_lost" "864425b7c0624a3b99ff74407a531ea0"
        "lines of the log were lost, as they came faster than they could be written"
        "look whether journald stands still, or whoever reads standard error; log less (`POSTHASTE_LOG=info`)";
    Listening INFO "listening" "bf503b0996d2424eb1047cda7716be47"
        "a socket, or an address for the API, is open; who connects waits until events are accepted"
        "";
    Accepting INFO "accepting" "a2e1f68cf1d44797aa30d27405759e42"
        "the store is open, and events are accepted"
        "";
    Stopping INFO "stopping" "812d817c98bc4cb1b098bfd29d015932"
        "the daemon was told to stop: attempts in flight come to their end"
        "";
    CutOff WARN "cut_off" "db03010a1b16472cb0695971f446a854"
        "attempts took too long for the stop, or it was to be quick; they are made again at the next start"
        "a receiver may get these twice";
    Stopped INFO "stopped" "9adb4a1d063c498d8595865a75825aed"
        "the daemon has come to its end, and the store is closed"
        "";
    Failed ERROR "failed" "be5f2a610bac44b1acd1beebbe1a4ee0"
        "the daemon could not start, or has ended for an error"
        "the message says why; what the exit code means is in the operators' page";
    Panicked ERROR "panicked" "337b247be4454fda84a83b63859ad823"
        "an error in posthaste"
        "report it with the line";
    PartEnded ERROR "part_ended" "2f9678e7f28b42c2a114e0ffc0c00afc"
        "a part of the daemon ended by itself, so the daemon ends: an error in posthaste"
        "report it with the lines before it";
    PartSilent ERROR "part_silent" "f691650031f148418ba12380a409573d"
        "a part of the daemon gives no answer, and the service manager's watchdog is about to strike"
        "mostly a disk that stands still: see the kernel's log; where it is only slow, a longer `WatchdogSec=`";
    ManagerUntold WARN "manager_untold" "09ee8b51b88e4d44b925cd300123766a"
        "the service manager cannot be told how the daemon is"
        "`NOTIFY_SOCKET` is set by it: do not set it by hand";
    PassedElsewhere WARN "passed_elsewhere" "d80d11ecebd948b9911c48763506ab00"
        "the service manager passes a socket with another address than `[listen]` says"
        "have the socket unit and `[listen]` say the same";
    OpenFiles WARN "open_files" "f72d35cc923845b7a6059d540b3d6638"
        "the limit of open files cannot be raised"
        "`LimitNOFILE=` of the unit";
    AcceptFailed WARN "accept_failed" "d104af7406e140e7b4c091b51c1e23c2"
        "a connection could not be taken"
        "mostly too many open files: `LimitNOFILE=`";
    StoreRepair INFO "store_repair" "1d86a2d8cd7b45f88a37bf886c874fc1"
        "the store was not closed, and is being repaired before events are accepted"
        "wait; it takes as long as the store is large";
    UncleanStart WARN "unclean_start" "0069aabafe064ac689457dbbb61842c5"
        "the daemon before did not come to its end: attempts that it had begun may be repeated"
        "see in the lines before it why: a kill, a power cut, no memory";
    RowUnreadable ERROR "row_unreadable" "dd52dc92bfdc425c9d2d53cde6fbae7f"
        "something in the store cannot be read, and is left alone"
        "`posthaste store check` with a stopped daemon; doubt the disk";
    StoreUnreadable ERROR "store_unreadable" "e1ada9007fb046b0a999a8fe82321a6d"
        "the store cannot be read"
        "the disk; `posthaste store check` with a stopped daemon";
    RequestFailed ERROR "request_failed" "334e4d30cf8242e4932043446e29e75f"
        "a request to the API could not be answered for an error in posthaste or in its store"
        "the lines before it; report it";
    DoorShut WARN "door_shut" "37ded30f5e854a898976fbfb85be3da9"
        "no events are taken: the disk or the store is full"
        "the message says what; make room, or raise `max_size`";
    DoorOpen INFO "door_open" "564945fff7224786aaacbed782cd10ed"
        "there is room again, and events are taken"
        "";
    AttemptsHeld WARN "attempts_held" "618e201e12af4f31834f61dace763818"
        "the disk is so full that no attempt begins, as its outcome could not be recorded"
        "make room on the store's file system at once";
    AttemptsGoOn INFO "attempts_go_on" "68ef1242012040528c48586582a177d8"
        "there is room again for outcomes, and attempts begin"
        "";
    ReserveGivenUp WARN "reserve_given_up" "ff0afe664e0f49648f6c16f37ac9ec6f"
        "the disk is full, and the reserve beside the store was given up so that outcomes can be recorded"
        "make room on the store's file system";
    ReserveMissing WARN "reserve_missing" "8fc39de7faad4e5381bd879775d6a595"
        "the reserve beside the store cannot be made"
        "the message says why: mostly the rights of the directory, or a quota";
    Reloaded INFO "reloaded" "a8d9c581e2824013955e797c8e2a4435"
        "the configuration was read again, and holds"
        "";
    RestartNeeded WARN "restart_needed" "283b3879d81d46fdaca8c189a50cc8a4"
        "some keys of the configuration hold from the next start on"
        "start posthaste anew when it suits";
    ReloadRefused ERROR "reload_refused" "8f18ba6e34594c08841d7c633ace6a22"
        "a reload found errors: nothing was changed"
        "`posthaste check`, and reload again";
    CredentialMissing WARN "credential_missing" "f66699d8ac0c4aa88d0c6063118559d7"
        "a credential is not there, so callbacks of its account are held"
        "write it to the file of its name in /etc/posthaste/credentials, start anew";
    EndpointHeld WARN "endpoint_held" "5447ecb946bd41048a13cb1b86da5c21"
        "an endpoint was disabled when the daemon started: its deliveries are held"
        "`posthaste endpoint show` says why and since when";
    EndpointDisabled WARN "endpoint_disabled" "ac01bfc33f9f4ed98b3e7eae6237b663"
        "an endpoint was disabled: its deliveries are held"
        "have the receiver put right, `posthaste endpoint test`, then `enable`";
    EndpointEnabled INFO "endpoint_enabled" "f0e49b1ccb904175b50a4de029426b82"
        "an endpoint was enabled: its deliveries go on"
        "";
    EndpointChanged INFO "endpoint_changed" "b511f075a3fe4614a38a18f8610c185b"
        "an endpoint was made, changed or deleted over the API"
        "";
    AccountChanged INFO "account_changed" "973b525edd3b46b7b3b4844141305078"
        "an account was made, changed or deleted over the API"
        "";
    KeyMade INFO "key_made" "ce73e4ef2eae48988d4f5ae74ce4e784"
        "a key for the API was made"
        "";
    KeyRevoked INFO "key_revoked" "9c31a47566b34d48a637b7e35b6d0589"
        "a key for the API was revoked"
        "";
    WrongKeys WARN "wrong_keys" "d97ff7d91535477babdea037f10fa99a"
        "many requests came with keys that are none; they are told to wait"
        "somebody guesses, or a program goes on with an old key";
    OpenKey WARN "open_key" "3a26256b67c443fcadfec086af36f09b"
        "everybody on the machine may read the key of the API's certificate"
        "`chmod o-r` it";
    CircuitOpened WARN "circuit_opened" "50bbf515f07c4d9090d59ee013a36f8b"
        "an endpoint does not answer: one request at a time goes there, until one succeeds"
        "ask who runs the receiver; nothing is lost meanwhile";
    CircuitClosed INFO "circuit_closed" "6236ecb8102b4302a261cf9133876b2b"
        "an endpoint answers again, and its deliveries go on"
        "";
    Outage WARN "outage" "578a89016bc844c5aba8042e88bc7dc4"
        "the box itself, or its proxy, has no way out: only probes are made, and nothing is counted against endpoints"
        "the network of the box, its name servers, its limits; the proxy";
    OutageOver INFO "outage_over" "2e5b4ca5231542a19e69c7ec7a35e987"
        "there is a way out again, and deliveries go on"
        "";
    AttemptFailed DEBUG "attempt_failed" "3e2fb2766afc46e9ab078d29a8f6dd1b"
        "an attempt of a delivery failed; it is tried again, or has failed for good"
        "`posthaste delivery show` has each attempt";
    DeliveryFailed WARN "delivery_failed" "3e4d73bd50a94676b83634888afa7a86"
        "a delivery failed for good; of each endpoint and reason one line in a minute, with how many there were since"
        "`posthaste delivery show` has each attempt; when the receiver is up, `posthaste endpoint recover`";
    TemplateFailed WARN "template_failed" "3860287d8e294e6181aa64ab7ba36460"
        "a delivery failed as its profile's template can make no body of the payload"
        "change the template, reload, recover";
    SpoolRejected WARN "spool_rejected" "227ce506fd1144cbaa7c0df504e0e362"
        "a file of a spool directory was no event, and lies in `failed/` with its reason"
        "`posthaste spool list`; have its producer put right, `posthaste spool retry`";
    SpoolLeft WARN "spool_left" "b0ba047d682f4f0f879f1f807fa1a1ea"
        "a file of a spool directory could not be taken, and is left where it is"
        "the message says why";
    SpoolProblem WARN "spool_problem" "0fe19ee5aed341ef937a5593c87333af"
        "a spool directory cannot be used as it should be"
        "the message says why: mostly rights, a limit of inotify, or a mount whose server is gone";
    SpoolIgnored INFO "spool_ignored" "d4064ff7a6b3412285e4983a639a8703"
        "a spool directory has files of a kind that is left alone"
        "take them out, or give the directory a `type`";
    ClockUnset WARN "clock_unset" "a57127c9b33a4886bdf460d0e138e190"
        "the clock is before a time that was known already; attempts that sign their time wait"
        "set the clock (NTP)";
    ClockSet INFO "clock_set" "0a17f5ffb15a45d684cb064ba72b0533"
        "the clock is set, and all goes on"
        "";
    ClockStepped INFO "clock_stepped" "27d10aca2e184a639a2208d6919c179c"
        "the clock was set by more than a second; due times have moved along"
        "";
    BackupBegun INFO "backup_begun" "51ffc42849414b0ba738561044ac3b1a"
        "a backup is being made"
        "";
    BackupDone INFO "backup_done" "83249c2dc1aa42a4a7bae14e5e7eb330"
        "a backup is made"
        "";
    BackupCancelled INFO "backup_cancelled" "4432d2f8b5e849038c155aff22a5628d"
        "a backup was cancelled: nothing of it is left"
        "";
    BackupFailed WARN "backup_failed" "ba6089e70f8f432d82d16f46cc03425e"
        "a backup is not made"
        "the message says why";
    RecoverDone INFO "recover_done" "324a5e9ff6fd4a5182dd640b75ffb469"
        "all that an endpoint had failed since a time has been put back among what is pending"
        "";
    PassFailed WARN "pass_failed" "04bfb68b829d4a8ba69444a1cf4682b8"
        "something that goes over the store now and then could not go on; it tries again"
        "when it comes back: `posthaste store check` with a stopped daemon";
}

impl Kind {
    /// The one of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.word() == word)
    }
}

#[cfg(test)]
mod tests;
