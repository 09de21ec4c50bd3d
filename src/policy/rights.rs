//! Who may do what: one table of roles and kinds of things, for every door.
//!
//! A role that is bound to an account reaches what is of that account alone, and nothing that is the box's own. Whether
//! something is of the account is for whoever has it in hand to say; what is of another is to them as if it were not
//! there.

use crate::model::role::Role;

/// Kinds of things to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    /// See the catalog.
    Catalog,
    /// See whether the daemon is well, without showing who asks.
    Health,
    /// Hand in events.
    HandIn,
    /// See events and what became of their deliveries.
    History,
    /// See of an attempt where it went, what was sent and what came back.
    Exchanges,
    /// See, make, change, try and delete endpoints, with their secrets.
    Endpoints,
    /// Have deliveries made again, or called off.
    Replay,
    /// Follow what an own request has set going.
    Jobs,
    /// See who on this machine handed an event in.
    Producers,
    /// See, make and revoke keys.
    Keys,
    /// See, make and change accounts.
    Accounts,
    /// See how the daemon is.
    Status,
    /// The box's own: its store, its directories, its configuration.
    Machine,
}

/// Which roles may.
#[derive(Clone, Copy)]
enum Whom {
    /// All of them.
    Everybody,
    /// Producers and operators.
    Producers,
    /// Subscribers and operators.
    Subscribers,
    /// Operators.
    Operators,
    /// Operators who are bound to no account: it is the box's own.
    OperatorsOfAll,
}

impl Thing {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Catalog,
        Self::Health,
        Self::HandIn,
        Self::History,
        Self::Exchanges,
        Self::Endpoints,
        Self::Replay,
        Self::Jobs,
        Self::Producers,
        Self::Keys,
        Self::Accounts,
        Self::Status,
        Self::Machine,
    ];

    const fn whom(self) -> Whom {
        match self {
            Self::Catalog | Self::Health | Self::History | Self::Status => Whom::Everybody,
            Self::HandIn => Whom::Producers,
            Self::Exchanges | Self::Endpoints | Self::Replay | Self::Jobs => Whom::Subscribers,
            Self::Producers | Self::Keys => Whom::Operators,
            Self::Accounts | Self::Machine => Whom::OperatorsOfAll,
        }
    }

    /// Whether `role` may do this with what is its own; without an account, with everything.
    pub const fn is_for(self, role: &Role) -> bool {
        match (self.whom(), role) {
            (Whom::OperatorsOfAll, Role::Operator(account)) => account.is_none(),
            (Whom::Everybody, _) | (_, Role::Operator(_)) => true,
            (whom, Role::Producer(_)) => matches!(whom, Whom::Producers),
            (whom, Role::Subscriber(_)) => matches!(whom, Whom::Subscribers),
        }
    }

    /// Whom it is for, as a message says it to somebody who may not.
    pub const fn is_meant_for(self, role: &Role) -> &'static str {
        match (self.whom(), role) {
            (Whom::Everybody, _) => "everybody",
            (Whom::Producers, _) => "producers and operators",
            (Whom::Subscribers, _) => "subscribers and operators",
            (Whom::OperatorsOfAll, Role::Operator(_)) => "operators of all accounts",
            (Whom::Operators | Whom::OperatorsOfAll, _) => "operators",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let of = |word: &str, account: Option<&str>| {
            Role::new(word, account.map(|name| name.parse().expect("a name"))).expect("a role")
        };
        let roles = [
            of("producer", None),
            of("producer", Some("a")),
            of("subscriber", Some("a")),
            of("operator", Some("a")),
            of("operator", None),
        ];
        // Producer of any, of one; subscriber; operator of one, of all.
        let table = [
            (Thing::Catalog, [true, true, true, true, true]),
            (Thing::Health, [true, true, true, true, true]),
            (Thing::HandIn, [true, true, false, true, true]),
            (Thing::History, [true, true, true, true, true]),
            (Thing::Exchanges, [false, false, true, true, true]),
            (Thing::Endpoints, [false, false, true, true, true]),
            (Thing::Replay, [false, false, true, true, true]),
            (Thing::Jobs, [false, false, true, true, true]),
            (Thing::Producers, [false, false, false, true, true]),
            (Thing::Keys, [false, false, false, true, true]),
            (Thing::Accounts, [false, false, false, false, true]),
            (Thing::Status, [true, true, true, true, true]),
            (Thing::Machine, [false, false, false, false, true]),
        ];
        assert_eq!(table.map(|(thing, _)| thing), Thing::ALL);
        for (thing, expected) in table {
            for (role, expected) in roles.iter().zip(expected) {
                assert_eq!(thing.is_for(role), expected, "{thing:?} for {role}");
            }
        }
    }
}
