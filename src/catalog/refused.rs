//! What a chat refuses of what models thought. `OpenAI`'s API has no member for it, so sites made their own.

use crate::canonical::request::ThoughtMember;

/// A set of members that tell thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefusedThoughts(u8);

impl RefusedThoughts {
    pub const NONE: Self = Self(0);

    /// The words in the table, which are the members' own.
    pub const WORDS: [(ThoughtMember, &'static str); 3] = [
        (ThoughtMember::ReasoningContent, "reasoning_content"),
        (ThoughtMember::Reasoning, "reasoning"),
        (ThoughtMember::ReasoningDetails, "reasoning_details"),
    ];

    pub const fn contains(self, member: ThoughtMember) -> bool {
        self.0 & 1 << member as u8 != 0
    }
}

impl FromIterator<ThoughtMember> for RefusedThoughts {
    fn from_iter<I: IntoIterator<Item = ThoughtMember>>(members: I) -> Self {
        Self(members.into_iter().fold(0, |set, member| set | 1 << member as u8))
    }
}
