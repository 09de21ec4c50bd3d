//! What a CloudEvent says of itself for which an event has no words of its own.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The attributes `source`, `id` and whatever else an event came with as a CloudEvent, but for those that are the event's own:
/// an object of JSON, its names in order, at most [`CloudAttributes::LONGEST`] bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudAttributes(Arc<str>);

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CloudValue {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for CloudValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// Names that are the event's own, or its payload's.
const OTHERS: [&str; 5] = ["data", "datacontenttype", "specversion", "time", "type"];

impl CloudAttributes {
    /// Bytes at most: in binary mode they are headers.
    pub const LONGEST: usize = 4 << 10;

    /// The attributes with these names.
    ///
    /// # Errors
    /// A name is none that an attribute has here, `source` or `id` is missing, or they are too long together.
    pub fn new(attributes: &BTreeMap<String, CloudValue>) -> Result<Self, CloudError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = |name: &str| !name.is_empty() && name.bytes().all(fits) && !OTHERS.contains(&name);
        if !attributes.keys().all(|name| good(name)) {
            return Err(CloudError::Name);
        }
        let is_there =
            |name| matches!(attributes.get(name), Some(CloudValue::Text(text)) if !text.is_empty());
        if !is_there("source") || !is_there("id") {
            return Err(CloudError::Missing);
        }
        let json = serde_json::to_string(attributes).map_err(|_| CloudError::Form)?;
        if json.len() > Self::LONGEST { Err(CloudError::Long) } else { Ok(Self(json.into())) }
    }

    /// The object, as JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands in the object's braces.
    pub fn members(&self) -> &str {
        &self.0[1..self.0.len() - 1]
    }

    /// Each name with its value.
    pub fn values(&self) -> BTreeMap<String, CloudValue> {
        serde_json::from_str(&self.0).expect("it was made of such a map")
    }
}

impl FromStr for CloudAttributes {
    type Err = CloudError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(&serde_json::from_str(text).map_err(|_| CloudError::Form)?)
    }
}

/// Why something is none of [`CloudAttributes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// It is no object of texts, booleans and integers.
    #[error("attributes are texts, booleans and integers")]
    Form,
    /// More than [`CloudAttributes::LONGEST`].
    #[error("attributes have at most {} bytes together", CloudAttributes::LONGEST)]
    Long,
    /// One of the two that there must be is not there.
    #[error("`source` and `id` must be there, each a text that is not empty")]
    Missing,
    /// A name with other characters, or one that stands for something else.
    #[error("the name of an attribute has only a-z and 0-9, and none is called data")]
    Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes() {
        let text = r#"{"source":"/s","id":"1","z9":-7,"flag":true,"subject":"é\""}"#;
        let read: CloudAttributes = text.parse().expect("attributes");
        let members = r#""flag":true,"id":"1","source":"/s","subject":"é\"","z9":-7"#;
        assert_eq!((read.members(), read.as_str().parse()), (members, Ok(read.clone())));
        let texts: Vec<_> = read.values().iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(texts, ["flag=true", "id=1", "source=/s", "subject=é\"", "z9=-7"]);
        let with = |member: &str| format!(r#"{{"source":"/s","id":"1"{member}}}"#).parse::<CloudAttributes>();
        let of = |length: usize| with(&format!(r#","a":"{}""#, "x".repeat(length)));
        let longest = CloudAttributes::LONGEST - with(r#","a":"""#).expect("attributes").as_str().len();
        assert!(of(longest).is_ok());
        for (found, error) in [
            (of(longest + 1), CloudError::Long),
            (with(r#","A":1"#), CloudError::Name),
            (with(r#","a-b":1"#), CloudError::Name),
            (with(r#","":1"#), CloudError::Name),
            (with(r#","data":"1""#), CloudError::Name),
            (with(r#","type":"a""#), CloudError::Name),
            (with(r#","a":null"#), CloudError::Form),
            (with(r#","a":1.5"#), CloudError::Form),
            (with(r#","a":{}"#), CloudError::Form),
            ("[]".parse(), CloudError::Form),
            (r#"{"source":"/s"}"#.parse(), CloudError::Missing),
            (r#"{"source":"","id":"1"}"#.parse(), CloudError::Missing),
            (r#"{"source":"/s","id":1}"#.parse(), CloudError::Missing),
        ] {
            assert_eq!(found, Err(error));
        }
    }
}
