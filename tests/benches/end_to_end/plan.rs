//! What a receiver asks the publisher for: it is the path of the URL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is to be received, on each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// So many transactions of the set, and what comes between them. `None`: the whole set.
    pub(crate) transactions: Option<u64>,
    /// How often, on the same link.
    pub(crate) repeat: u64,
    pub(crate) shape: Shape,
}

/// In which messages the records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// Those of the set.
    AsIs,
    /// One message, one frame.
    OneFrame,
    /// One message, a frame for each transaction of the set.
    Fragments,
    /// None: the publisher says nothing after the link is set up.
    Silence,
}

impl Plan {
    /// The set, once.
    pub(crate) const ONCE: Self = Self {
        transactions: None,
        repeat: 1,
        shape: Shape::AsIs,
    };

    pub(crate) const SILENCE: Self = Self {
        shape: Shape::Silence,
        ..Self::ONCE
    };

    pub(crate) const fn times(repeat: u64) -> Self {
        Self {
            repeat,
            ..Self::ONCE
        }
    }

    pub(crate) const fn first(transactions: u64) -> Self {
        Self {
            transactions: Some(transactions),
            ..Self::ONCE
        }
    }

    pub(crate) const fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match self.shape {
            Shape::AsIs => "as-is",
            Shape::OneFrame => "one-frame",
            Shape::Fragments => "fragments",
            Shape::Silence => "silence",
        };
        match self.transactions {
            Some(transactions) => write!(f, "/{transactions}")?,
            None => write!(f, "/all")?,
        }
        write!(f, "/{}/{shape}", self.repeat)
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        let unknown = || format!("{path:?} is no plan");
        let mut parts = path.strip_prefix('/').ok_or_else(unknown)?.split('/');
        let mut next = || parts.next().ok_or_else(unknown);
        let transactions = match next()? {
            "all" => None,
            number => Some(number.parse().map_err(|_| unknown())?),
        };
        let repeat = next()?.parse().map_err(|_| unknown())?;
        let shape = match next()? {
            "as-is" => Shape::AsIs,
            "one-frame" => Shape::OneFrame,
            "fragments" => Shape::Fragments,
            "silence" => Shape::Silence,
            _ => return Err(unknown()),
        };
        Ok(Self {
            transactions,
            repeat,
            shape,
        })
    }
}
