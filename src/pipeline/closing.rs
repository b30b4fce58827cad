//! How a stream ends that breaks off: in the client's words, going on from what the client has seen of it.

use bytes::Bytes;

use crate::canonical::event::Understood;
use crate::frontend::{About, ClientError, FrontendRef, Seen};
use crate::relay::{Closing, StreamEnd};

/// Ends one stream.
pub(super) struct InWords {
    pub(super) frontend: FrontendRef,
    pub(super) about: About,
    pub(super) stream_error: fn(&StreamEnd<'_>) -> ClientError,
    /// It is no stream of events: nothing can be told in it.
    pub(super) silent: bool,
    pub(super) seen: Seen,
}

impl Closing for InWords {
    fn passes(&mut self, bytes: &Bytes) {
        self.frontend.sees(&mut self.seen, bytes);
    }

    fn understood(&self, frame: &[u8]) -> Understood {
        if self.silent { Understood::Error } else { self.frontend.understands(frame) }
    }

    fn event(&self, end: &StreamEnd<'_>) -> Bytes {
        if self.silent {
            return Bytes::new();
        }
        self.frontend.error_event(&(self.stream_error)(end), &self.about, &self.seen)
    }
}
