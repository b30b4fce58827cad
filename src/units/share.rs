//! Whose share of what: the words in which an operator says that no vendor, owner or law may get too much. They stand
//! here because the configuration reads them, the policy counts by them and a decision explains itself in them.

/// What those whose share is bounded have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ShareBy {
    /// One site of the table.
    Provider,
    /// Every site of one owner.
    Owner,
    /// Every site under one law.
    Jurisdiction,
}

impl ShareBy {
    pub const WORDS: [(ShareBy, &'static str); 3] =
        [(ShareBy::Provider, "provider"), (ShareBy::Owner, "owner"), (ShareBy::Jurisdiction, "jurisdiction")];

    pub const fn word(self) -> &'static str {
        match self {
            ShareBy::Provider => "provider",
            ShareBy::Owner => "owner",
            ShareBy::Jurisdiction => "jurisdiction",
        }
    }
}

/// What is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ShareOf {
    /// Dollars, in 10⁻¹² of them where it is counted.
    Spend,
    /// Upstream requests.
    Requests,
}

impl ShareOf {
    pub const WORDS: [(ShareOf, &'static str); 2] = [(ShareOf::Spend, "spend"), (ShareOf::Requests, "requests")];

    pub const fn word(self) -> &'static str {
        match self {
            ShareOf::Spend => "spend",
            ShareOf::Requests => "requests",
        }
    }
}

/// What happens at the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ShareKind {
    /// Nobody inside is asked.
    Hard,
    /// Whoever is inside counts as dearer, the more the nearer it is.
    Soft,
}

impl ShareKind {
    pub const WORDS: [(ShareKind, &'static str); 2] = [(ShareKind::Hard, "hard"), (ShareKind::Soft, "soft")];

    pub const fn word(self) -> &'static str {
        match self {
            ShareKind::Hard => "hard",
            ShareKind::Soft => "soft",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_its_own() {
        assert!(ShareBy::WORDS.iter().all(|(by, word)| by.word() == *word));
        assert!(ShareKind::WORDS.iter().all(|(kind, word)| kind.word() == *word));
        assert!(ShareOf::WORDS.iter().all(|(of, word)| of.word() == *word));
    }
}
