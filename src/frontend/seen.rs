//! What a client has seen of its stream, as far as the event that ends it goes on from there: of Responses the id of the response
//! and the number of the last event. Read from the bytes that go out, whoever wrote them.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;

// Looked for in every piece that goes out.
static RESPONSE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"response\""));
static NUMBER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"sequence_number\""));

/// What has gone out of one stream.
#[derive(Debug, Default)]
pub struct Seen {
    id: Option<String>,
    /// The last bytes with an event that has a number: it is looked for only where the stream breaks off.
    numbered: Bytes,
}

/// What is read of an event of Responses.
#[derive(Deserialize)]
struct Event<'b> {
    #[serde(borrow)]
    response: Option<Response<'b>>,
    sequence_number: Option<u32>,
}

#[derive(Deserialize)]
struct Response<'b> {
    #[serde(borrow)]
    id: Option<Cow<'b, str>>,
}

impl Seen {
    /// Events of Responses go out.
    pub(super) fn events_pass(&mut self, bytes: &Bytes) {
        // Mostly pieces of a text, of which none is read.
        if self.id.is_none() && RESPONSE.find(bytes).is_some() {
            self.id = events::<Event<'_>>(bytes).find_map(|event| event.response?.id.map(Cow::into_owned));
        }
        if NUMBER.find(bytes).is_some() {
            self.numbered = bytes.clone();
        }
    }

    /// The response's id.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The number of the event that comes next; `None` where they have none.
    pub(super) fn next_number(&self) -> Option<u32> {
        events::<Event<'_>>(&self.numbered).filter_map(|event| event.sequence_number).last()?.checked_add(1)
    }
}

/// What can be read of the events in whole frames, which are objects; each has its data on one line, as it is sent everywhere.
pub(super) fn events<'b, T: Deserialize<'b>>(frames: &'b [u8]) -> impl Iterator<Item = T> {
    // An array would be read as the members in their order.
    let objects = lines(frames).filter_map(data).filter(|data| data.trim_ascii_start().starts_with(b"{"));
    objects.filter_map(|data| serde_json::from_slice(data).ok())
}

/// The lines of frames.
pub(super) fn lines(frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    frames.split(|byte| matches!(byte, b'\n' | b'\r'))
}

/// The data on a line that has any.
pub(super) fn data(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"data:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(chunks: &[&str]) -> (Option<String>, Option<u32>) {
        let mut seen = Seen::default();
        for chunk in chunks {
            seen.events_pass(&Bytes::copy_from_slice(chunk.as_bytes()));
        }
        (seen.id().map(str::to_owned), seen.next_number())
    }

    const CREATED: &str = "event: response.created\ndata: {\"response\":{\"id\":\"resp_1\"},\"sequence_number\":0}\n\n";
    const TEXT: &str =
        "data:{\"type\":\"response.output_text.delta\",\"delta\":\"\\\"sequence_number\\\":9\", \"sequence_number\" : 7}\r\n\r\n";

    #[test]
    fn the_id_of_the_first_and_the_number_of_the_last_event_are_known() {
        let known = |id: &str, number| (Some(id.to_owned()), number);
        assert_eq!(seen(&[CREATED]), known("resp_1", Some(1)));
        assert_eq!(seen(&[CREATED, TEXT, ": ping\n\n"]), known("resp_1", Some(8)));
        assert_eq!(seen(&[&[CREATED, TEXT].concat()]), known("resp_1", Some(8)), "in one piece");
        assert_eq!(seen(&[CREATED, "data: {\"response\":{\"id\":\"resp_2\"}}\n\n"]), known("resp_1", Some(1)));
    }

    #[test]
    fn where_nothing_can_be_read_nothing_is_known() {
        for odd in
            ["", "data: {\"response\":7,\"sequence_number\":1}\n\n", "data: {\"sequence_number\":-1}\n\n", "data: [DONE]\n\n"]
        {
            assert_eq!(seen(&[odd]), (None, None), "{odd}");
        }
        let last = format!("data: {{\"sequence_number\":{}}}\n\n", u32::MAX);
        assert_eq!(seen(&[&last]), (None, None));
    }
}
