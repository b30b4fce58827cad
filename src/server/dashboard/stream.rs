//! The feed as server-sent events: what is there, then what comes. A reader is served at its own pace, a few times a
//! second at most: what changed meanwhile comes together, and what came and went is told as a number. It ends when the
//! gateway drains, so that no open page holds a drain up.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::html::Html;
use super::{Looks, PAGE_ENTRIES, card, page};
use crate::feed::{Changes, EntryView, Mark};

/// How often a reader is told of changes.
const LOOK: Duration = Duration::from_millis(200);
/// Looks without news until a comment keeps the connection open through proxies: 15 seconds.
const QUIET_LOOKS: u32 = 75;

/// In what form a reader wants its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Json,
    /// Pieces of the page.
    Html,
}

/// One reader.
struct Reader {
    looks: Arc<Looks>,
    /// Given back when the reader leaves.
    _place: OwnedSemaphorePermit,
    shape: Shape,
    mark: Mark,
    begun: bool,
    ended: bool,
    quiet: u32,
    ticks: Interval,
}

/// An endless answer that begins with what changed since `mark`.
pub(super) fn stream(looks: Arc<Looks>, place: OwnedSemaphorePermit, shape: Shape, mark: Mark) -> Response {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader { looks, _place: place, shape, mark, begun: false, ended: false, quiet: 0, ticks };
    let frames = unfold(reader, |mut reader| async move {
        let events = reader.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(events))), reader))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Reader {
    /// The next events; `None` when the feed has ended.
    async fn next(&mut self) -> Option<String> {
        loop {
            self.ticks.tick().await;
            if self.ended {
                return None;
            }
            if self.looks.front.draining.load(Ordering::Relaxed) {
                self.ended = true;
                return Some(event("end", &json!({"reason": "draining"})));
            }
            let feed = &self.looks.front.pipeline.desk.feed;
            let changes = if self.begun { feed.since(self.mark) } else { Some(feed.read(self.mark)) };
            if let Some(changes) = changes {
                self.quiet = 0;
                return Some(self.tell(&changes));
            }
            self.quiet += 1;
            if self.quiet >= QUIET_LOOKS {
                self.quiet = 0;
                return Some(": nothing new\n\n".to_owned());
            }
        }
    }

    fn tell(&mut self, changes: &Changes) -> String {
        let mut events = String::new();
        if !self.begun {
            self.begun = true;
            events += "retry: 2000\n";
            events += &event("gateway", &self.looks.gateway());
        }
        if changes.missed > 0 {
            events += &event("missed", &json!({"entries": changes.missed}));
        }
        let most = if self.shape == Shape::Html { PAGE_ENTRIES } else { usize::MAX };
        let newest = changes.entries.len().saturating_sub(most);
        for entry in changes.entries.iter().skip(newest) {
            events += &self.entry(&EntryView::of(entry));
        }
        events += &self.sums(changes);
        self.mark = changes.mark;
        events
    }

    fn entry(&self, entry: &EntryView) -> String {
        match self.shape {
            Shape::Json => event("entry", entry),
            Shape::Html => {
                let html = card::card(entry, self.looks.front.baseline()).into_string();
                event("entry", &json!({"number": entry.number, "html": html}))
            }
        }
    }

    fn sums(&self, changes: &Changes) -> String {
        let overview = changes.overview(self.looks.gateway(), 8);
        match self.shape {
            Shape::Json => {
                event("totals", &json!({"totals": overview.totals, "backends": overview.backends, "sequence": overview.sequence}))
            }
            Shape::Html => {
                let pieces = [page::figures(&overview), page::backends(&overview)].map(Html::into_string);
                event("figures", &json!({"pieces": pieces, "said": page::spoken(&overview)}))
            }
        }
    }
}

/// One event. JSON has no line breaks outside its strings and escapes them inside, so it is one line.
fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}
