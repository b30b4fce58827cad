//! What the gateway's own hand has to say of an answer that it writes itself, because the backend speaks another shape.

use bytes::Bytes;

use crate::canonical::conversation::OwnTool;

/// Beside what the provider said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Our id of the request, which is the answer's where the provider gave none.
    pub id: String,
    /// What served, where the provider does not say.
    pub model: String,
    /// When the request arrived, in seconds since 1970.
    pub created: u64,
    /// The client asked for the usage frame of its stream (chat only: Messages always tells).
    pub wants_usage: bool,
    /// The client's request, of which some shapes' answers repeat much (Responses).
    pub asked: Bytes,
    /// Tools that were told as functions, and are none to the client.
    pub own_tools: Vec<OwnTool>,
}

impl About {
    /// Of a request for tests in which it does not matter.
    #[cfg(test)]
    pub(crate) fn of_nobody() -> Self {
        let (id, model, asked) = ("r1".to_owned(), "m".to_owned(), Bytes::from_static(b"{}"));
        Self { id, model, created: 1, wants_usage: true, asked, own_tools: Vec::new() }
    }

    /// What a function that is called is to the client, where that is something else.
    pub(super) fn own_tool(&self, function: &str) -> Option<&OwnTool> {
        self.own_tools.iter().find(|tool| tool.function == function)
    }

    /// Whether what is called takes a text as it is.
    pub(super) fn is_custom(&self, function: &str) -> bool {
        self.own_tool(function).is_some_and(|tool| tool.custom)
    }
}
