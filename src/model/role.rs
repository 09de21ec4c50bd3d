//! What somebody may be: the roles, and the account that one is bound to.

use std::fmt;

use super::account::AccountName;

/// What somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// May do everything; where an account is named, with what is of that one alone.
    Operator(Option<AccountName>),
    /// Hands in events and sees what becomes of them; where an account is named, of that one alone.
    Producer(Option<AccountName>),
    /// Looks after the endpoints of an account.
    Subscriber(AccountName),
}

impl Role {
    /// The words for them.
    pub const WORDS: [&'static str; 3] = ["producer", "subscriber", "operator"];

    /// The role that `word` stands for, bound to `account`; `None`: there is none such, or a subscriber of no account.
    pub fn new(word: &str, account: Option<AccountName>) -> Option<Self> {
        match word {
            "operator" => Some(Self::Operator(account)),
            "producer" => Some(Self::Producer(account)),
            "subscriber" => account.map(Self::Subscriber),
            _ => None,
        }
    }

    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Operator(_) => "operator",
            Self::Producer(_) => "producer",
            Self::Subscriber(_) => "subscriber",
        }
    }

    /// The only account that they may touch, if they may touch but one.
    pub const fn account(&self) -> Option<&AccountName> {
        match self {
            Self::Operator(account) | Self::Producer(account) => account.as_ref(),
            Self::Subscriber(account) => Some(account),
        }
    }
}

/// `an operator`, `a producer of default`, `a producer of any account`.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(None) => f.write_str("an operator"),
            Self::Operator(Some(account)) => write!(f, "an operator of `{account}`"),
            Self::Producer(Some(account)) => write!(f, "a producer of `{account}`"),
            Self::Producer(None) => f.write_str("a producer of any account"),
            Self::Subscriber(account) => write!(f, "a subscriber of `{account}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back() {
        let account: AccountName = "acme".parse().expect("a name");
        for word in Role::WORDS {
            for account in [None, Some(account.clone())] {
                match Role::new(word, account.clone()) {
                    Some(role) => assert_eq!((role.word(), role.account()), (word, account.as_ref())),
                    None => assert_eq!((word, account), ("subscriber", None)),
                }
            }
        }
        assert_eq!(Role::new("root", None), None);
    }
}
