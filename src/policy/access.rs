//! Who somebody on the Unix socket is: which rule is for whom. What a role may do says [`rights`](super::rights).
//!
//! Root and the daemon's own user are operators before any rule. The first rule that matches decides; whom none matches is
//! not let in. Without any rule everybody else is a producer of the account `default`. A rule for a group is for
//! those whose own group it is and for its other members; who these are takes asking the system, so it is asked only
//! where the answer can matter.

use std::fmt;

use crate::model::quota::Quota;
pub use crate::model::role::Role;

/// Who has connected, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The user that the process had when it connected.
    pub uid: u32,
    /// Its group then.
    pub gid: u32,
}

/// Whom a rule is for; the name as it is written, if it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A group's members.
    Group(u32, Option<String>),
    /// A user.
    User(u32, Option<String>),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is for.
    pub who: Who,
    /// What they may do.
    pub role: Role,
    /// How much, each of them.
    pub quota: Quota,
}

/// What the rules say of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged<'a> {
    /// It hangs on further groups of theirs, which are not known.
    Groups,
    /// No rule matches.
    Nobody,
    /// Root, or the daemon's own user.
    Operator,
    /// This rule, with its number, from 1.
    Rule(usize, &'a Rule),
    /// There are no rules.
    Unruled,
}

/// Says what `rules` say of `peer`, in a daemon that runs as the user `own`. `groups` are those that the peer is in besides
/// its own, once they are known.
pub fn judge<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    own: u32,
    peer: Peer,
    groups: Option<&[u32]>,
) -> Judged<'a> {
    if peer.uid == 0 || peer.uid == own {
        return Judged::Operator;
    }
    let mut judged = Judged::Unruled;
    for (index, rule) in rules.into_iter().enumerate() {
        judged = Judged::Nobody;
        let matches = match rule.who {
            Who::User(uid, _) => uid == peer.uid,
            Who::Group(gid, _) if gid == peer.gid => true,
            Who::Group(gid, _) => match groups {
                Some(groups) => groups.contains(&gid),
                None => return Judged::Groups,
            },
        };
        if matches {
            return Judged::Rule(index + 1, rule);
        }
    }
    judged
}

/// As the configuration writes it: `group = "video"`.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(_, Some(name)) => write!(f, "group = {name:?}"),
            Self::Group(gid, None) => write!(f, "gid = {gid}"),
            Self::User(_, Some(name)) => write!(f, "user = {name:?}"),
            Self::User(uid, None) => write!(f, "uid = {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 900;

    fn rule(who: Who, role: Role) -> Rule {
        Rule { who, role, quota: Quota::default() }
    }

    /// User 1000 is a producer of `acme`, the group 44 operators, user 1001 a producer of anything, and so is the group 45.
    fn rules() -> Vec<Rule> {
        vec![
            rule(Who::User(1_000, None), Role::Producer(Some("acme".parse().expect("a name")))),
            rule(Who::Group(44, None), Role::Operator(None)),
            rule(Who::User(1_001, None), Role::Producer(None)),
            rule(Who::Group(45, None), Role::Producer(None)),
        ]
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = rules();
        let by = |number: usize| Judged::Rule(number, &rules[number - 1]);
        let known: Option<&[u32]> = Some(&[]);
        for (uid, gid, groups, expected) in [
            // Before any rule.
            (0, 0, None, Judged::Operator),
            (0, 45, known, Judged::Operator),
            (OWN, OWN, None, Judged::Operator),
            (OWN, 45, None, Judged::Operator),
            // A user, without anybody being asked for groups; also in groups of later rules.
            (1_000, 1_000, None, by(1)),
            (1_000, 44, Some(&[45][..]), by(1)),
            // Its own group needs no question.
            (1_002, 44, None, by(2)),
            (1_001, 44, None, by(2)),
            // Whether it is in 44 comes before it is 1001, and before that its own group is 45.
            (1_001, 1_001, None, Judged::Groups),
            (1_002, 45, None, Judged::Groups),
            (1_001, 1_001, known, by(3)),
            (1_001, 1_001, Some(&[9, 44]), by(2)),
            (1_002, 45, known, by(4)),
            (1_002, 1_002, Some(&[45]), by(4)),
            (1_002, 1_002, Some(&[45, 44]), by(2)),
            (1_002, 1_002, Some(&[9, 10]), Judged::Nobody),
            (1_002, 1_002, known, Judged::Nobody),
            // A group's number is no user's, and the other way round.
            (44, 1_000, known, Judged::Nobody),
        ] {
            assert_eq!(judge(&rules, OWN, Peer { uid, gid }, groups), expected, "{uid} {gid} {groups:?}");
        }
    }

    #[test]
    fn without_a_group_that_can_matter_nobody_is_asked() {
        let users = [
            rule(Who::User(1_000, None), Role::Operator(None)),
            rule(Who::User(1_001, None), Role::Operator(None)),
        ];
        let peer = |uid| Peer { uid, gid: 44 };
        assert_eq!(judge(&users, OWN, peer(1_001), None), Judged::Rule(2, &users[1]));
        assert_eq!(judge(&users, OWN, peer(1_002), None), Judged::Nobody);
        for (uid, expected) in [(0, Judged::Operator), (OWN, Judged::Operator), (1_002, Judged::Unruled)] {
            assert_eq!(judge(&[], OWN, peer(uid), None), expected);
        }
    }

    #[test]
    fn they_are_shown_as_they_are_written() {
        for (who, text) in [
            (Who::Group(44, Some("video".to_owned())), "group = \"video\""),
            (Who::Group(44, None), "gid = 44"),
            (Who::User(7, Some("x\"y".to_owned())), "user = \"x\\\"y\""),
            (Who::User(7, None), "uid = 7"),
        ] {
            assert_eq!(who.to_string(), text);
        }
    }
}
