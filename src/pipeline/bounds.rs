//! What bounds a request before anything is decided: the length of its answer, what a whole answer may hold, and that a bound on
//! money is one.

use crate::canonical::{Request, Shape, Untranslatable};
use crate::catalog::{BackendIndex, Snapshot};
use crate::dispatch::ANSWER_CAP;
use crate::frontend::{self, BadRequest, FrontendRef};
use crate::route::Target;
use crate::units::Tokens;

/// Bounds the answer by what the key says, or, where it says nothing and its money is counted, by `budgeted`: a hold must not be
/// a model's whole capacity. What the client lets the model think comes on top of that, as it set a bound itself.
///
/// # Errors
/// When the key leaves no room for an answer beside the thinking that was asked for: the provider would refuse a bound that
/// the client never set.
pub(super) fn output(request: &mut Request, key: Option<Tokens>, budgeted: Option<Tokens>) -> Result<(), BadRequest> {
    // There is nothing to bound: the answer is as long as what was asked.
    if !request.shape.writes() {
        return Ok(());
    }
    let thinking = request.thinking_budget.unwrap_or(Tokens::ZERO);
    let Some(most) = key.or(budgeted.map(|budgeted| budgeted + thinking)) else { return Ok(()) };
    let asked = request.output_bound;
    let bound = asked.map_or(most, |asked| asked.min(most));
    if request.thinking_budget.is_some_and(|thinking| thinking >= bound) && asked.is_none_or(|asked| asked > thinking) {
        let message = format!("answers of this key have {bound} tokens at most, so `thinking.budget_tokens` must be below that");
        return Err(BadRequest::new("invalid_value", "thinking.budget_tokens", message));
    }
    request.output_bound = Some(bound);
    Ok(())
}

/// Refuses to choose a model where none stands for another.
///
/// # Errors
/// When the request names none.
pub(super) fn named(request: &Request, target: &Target) -> Result<(), BadRequest> {
    match (request.shape.direct(), target) {
        (Some(direct), Target::Auto(_)) => {
            let message = format!(
                "`{}` leaves the choice of a model open, and {}: name one that serves {} (GET /v1/models lists all)",
                request.model, direct.own_model, direct.word
            );
            Err(BadRequest::new("invalid_value", "model", message))
        }
        (None, _) | (_, Target::Model(_) | Target::Backend(_)) => Ok(()),
    }
}

/// Bytes of an answer that hold one number of a vector, by its encoding: written out, some nine digits with sign, point, comma and
/// the indent that some write before it, or all digits of a double with neither; in base64 the four bytes of it and a third.
const WRITTEN_OUT: u64 = 22;
const IN_BASE64: (u64, u64) = (16, 3);
/// Bytes of an answer around one vector: its place and its type.
const AROUND_A_VECTOR: u64 = 64;

/// Refuses vectors that no answer can hold: their provider would bill them, and then they would be lost. Where nobody says how
/// long they are, nothing is refused.
///
/// # Errors
/// When they are more than [`ANSWER_CAP`] bytes.
pub(super) fn vectors(request: &Request, target: &Target, snapshot: &Snapshot) -> Result<(), BadRequest> {
    if request.shape != Shape::OpenAiEmbeddings {
        return Ok(());
    }
    let made = |index: &BackendIndex| snapshot.backend(*index).dimensions.map(|made| made.most);
    let unasked = match target {
        Target::Backend(index) => made(index),
        // Hosts of one model make the same vectors; what the table says of the shortest is refused of all.
        Target::Model(name) => snapshot.serving(name).iter().filter_map(made).min(),
        Target::Auto(_) => None,
    };
    let Some(length) = request.dimensions.or(unasked).map(u64::from) else { return Ok(()) };
    let (cap, inputs) = (ANSWER_CAP as u64, u64::from(request.messages));
    let written_out = AROUND_A_VECTOR + length * WRITTEN_OUT;
    let in_base64 = AROUND_A_VECTOR + (length * IN_BASE64.0).div_ceil(IN_BASE64.1);
    if inputs.saturating_mul(written_out) <= cap {
        return Ok(());
    }
    let asked = frontend::vectors::wants_base64(request);
    let (each, encoding) = if asked { (in_base64, "base64") } else { (written_out, "float") };
    if inputs.saturating_mul(each) <= cap {
        return Ok(());
    }
    let fit = |each: u64| cap / each;
    let instead = if asked { String::new() } else { format!(", or {} with `encoding_format` \"base64\"", fit(in_base64)) };
    let message = format!(
        "`input` has {inputs} inputs, whose vectors of {length} numbers are about {} MiB as \"{encoding}\", and an answer may have {} \
         MiB: send at most {} at once{instead}",
        inputs.saturating_mul(each) >> 20,
        cap >> 20,
        fit(each),
    );
    Err(BadRequest::new("invalid_value", "input", message))
}

/// Refuses what changes the cost of a request in a way that nobody here can tell beforehand: neither a budget nor a maximum
/// cost would bound it. Answers whether it may be asked in other words than the client's only, which have no tools that a provider
/// runs itself.
pub(super) fn priced(frontend: FrontendRef, request: &Request) -> Result<bool, BadRequest> {
    let (member, what) = match frontend::unpriced(frontend, request) {
        None => return Ok(false),
        Some(frontend::HOSTED) => return Ok(true),
        Some(member @ ("messages" | "input")) => {
            (member, "a document that stands elsewhere is of a length that is not known".to_owned())
        }
        Some(other) => (other, format!("`{other}` as it stands changes the price in a way that the table does not tell")),
    };
    Err(unpriced(member, &what, "leave it out"))
}

/// What is told where nobody is left who would be asked without the tools that a provider runs itself; `unsaid` is what else keeps
/// the request from being said so.
pub(super) fn hosted(unsaid: Option<&Untranslatable>) -> BadRequest {
    let what = "a tool that the provider runs itself makes the prompt longer than it was sent, perhaps for a fee";
    let why = unsaid.map(|unsaid| format!(" ({unsaid})")).unwrap_or_default();
    let remedy = format!("no backend that would be asked without it can serve the request{why}: leave it out of `tools`");
    unpriced(frontend::HOSTED, what, &remedy)
}

fn unpriced(member: &'static str, what: &str, remedy: &str) -> BadRequest {
    let message = format!("{what}, and this request's money is bounded (by its key's budget or a maximum cost); {remedy}");
    BadRequest::new("unpriced_parameter", member, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    fn messages(members: &str) -> Request {
        let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"hi"}}],{members}}}"#);
        read(&frontend::AnthropicMessages, body)
    }

    fn read(frontend: FrontendRef, body: String) -> Request {
        frontend.parse(Bytes::from(body), &HeaderMap::new()).unwrap()
    }

    /// Found by a reader: a bound of ours below the thinking that was asked for went out, and the provider refused it.
    #[test]
    fn a_bound_of_ours_leaves_room_for_the_thinking_that_was_asked_for() {
        let check = |members: &str, key: Option<u64>, budgeted: bool, expected: Result<Option<u64>, &str>| {
            let mut request = messages(members);
            let bounded = output(&mut request, key.map(Tokens::new), budgeted.then_some(Tokens::new(8192)));
            let found = bounded.map(|()| request.output_bound.map(Tokens::get)).map_err(|bad| bad.param.unwrap());
            assert_eq!(found, expected.map_err(str::to_owned), "{members} {key:?}");
        };
        let thinking = r#""max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":16000}"#;
        check(thinking, None, false, Ok(Some(32000)));
        check(thinking, None, true, Ok(Some(24192)));
        check(thinking, Some(20000), true, Ok(Some(20000)));
        check(thinking, Some(16000), true, Err("thinking.budget_tokens"));
        check(r#""max_tokens":32000"#, None, true, Ok(Some(8192)));
        // What the client set so itself is the provider's to refuse.
        let own = r#""max_tokens":900,"thinking":{"type":"enabled","budget_tokens":1000}"#;
        check(own, None, true, Ok(Some(900)));
    }

    /// Found by a reader: none of these was priced, so a budget and a maximum cost bounded nothing.
    #[test]
    fn what_nobody_can_price_is_named() {
        let document = |source: &str| {
            format!(
                r#"{{"model":"auto","max_tokens":9,"messages":[{{"role":"user","content":[{{"type":"document","source":{source}}}]}}]}}"#
            )
        };
        let check = |request: &Request, frontend: FrontendRef, expected: Option<&str>| {
            // Other words may be without the tools.
            let found = match priced(frontend, request) {
                Ok(others_only) => others_only.then(|| hosted(None)),
                Err(refused) => Some(refused).filter(|bad| bad.param.as_deref() != Some("tools")),
            };
            assert_eq!(found.as_ref().and_then(|bad| bad.param.as_deref()), expected, "{request:?}");
            assert!(found.is_none_or(|bad| bad.code == "unpriced_parameter"));
        };
        let ours = &frontend::AnthropicMessages;
        for (members, expected) in [
            (r#""speed":"fast""#, Some("speed")),
            (r#""speed":"f\u0061st""#, Some("speed")),
            (r#""speed":"standard","service_tier":"auto","inference_geo":null,"fallbacks":[]"#, None),
            (r#""service_tier":"priority""#, Some("service_tier")),
            (r#""inference_geo":"us""#, Some("inference_geo")),
            (r#""fallbacks":[{"model":"x"}]"#, Some("fallbacks")),
            (r#""mcp_servers":[{"type":"url"}]"#, Some("mcp_servers")),
            (r#""container":"c""#, Some("container")),
            (r#""context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}"#, None),
            (r#""context_management":{"edits":[{"type":"compact_20260112"}]}"#, Some("context_management")),
            (r#""tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"custom","name":"g","input_schema":{}}]"#, None),
            (r#""tools":[{"type":"bash_20250124","name":"bash"}]"#, None),
            (r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#, Some("tools")),
            (r#""tools":[{"type":"web\u005fsearch_20250305","name":"web_search"}]"#, Some("tools")),
        ] {
            check(&messages(&format!(r#""max_tokens":9,{members}"#)), ours, expected);
        }
        check(&read(ours, document(r#"{"type":"url","url":"https://x.example/a.pdf"}"#)), ours, Some("messages"));
        check(&read(ours, document(r#"{"type":"file","file_id":"f"}"#)), ours, Some("messages"));
        check(&read(ours, document(r#"{"type":"te\u0078t","data":"short"}"#)), ours, None);
        let chat = |members: &str| {
            read(&frontend::OpenAiChat, format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"hi"}}],{members}}}"#))
        };
        for (members, expected) in [
            (r#""service_tier":"flex""#, None),
            (r#""service_tier":"priority""#, Some("service_tier")),
            (r#""web_search_options":{}"#, Some("web_search_options")),
            (r#""tools":[{"type":"function","function":{"name":"f"}}]"#, None),
            (r#""functions":[{"name":"f"}]"#, None),
            (r#""tools":[{"type":"web_search","web_search":{"enable":true}}]"#, Some("tools")),
        ] {
            check(&chat(members), &frontend::OpenAiChat, expected);
        }
        let responses = |tools: &str| {
            read(
                &frontend::OpenAiResponses,
                format!(r#"{{"model":"auto","input":"hi","tools":[{{"type":"function","name":"f"}},{tools}]}}"#),
            )
        };
        for (tools, expected) in [
            (r#"{"type":"web_search"}"#, Some("tools")),
            (r#"{"type":"custom","name":"g"},{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}"#, None),
            (r#"{"type":"namespace","name":"n","tools":[{"type":"mcp"}]}"#, Some("tools")),
        ] {
            check(&responses(tools), &frontend::OpenAiResponses, expected);
        }
    }
}
