//! The headers of a client that go to the provider.

use http::{HeaderMap, HeaderName};

use super::InboundCall;

/// Headers that pass through to the provider as they are: a trace must not end at the gateway.
pub(super) static PASSING: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// Those of everybody, and those of the client's shape.
pub(super) fn passing(call: &InboundCall) -> HeaderMap {
    let mut passing = headers(call, &PASSING);
    passing.extend(headers(call, call.frontend.passing()));
    passing
}

/// Those of these names.
pub(super) fn headers(call: &InboundCall, names: &[HeaderName]) -> HeaderMap {
    let mut passing = HeaderMap::new();
    for name in names {
        for value in call.headers.get_all(name) {
            passing.append(name.clone(), value.clone());
        }
    }
    passing
}
