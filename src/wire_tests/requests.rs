//! What the frontend reads of a request, and what it refuses, with the place.

use bytes::Bytes;
use http::HeaderMap;

use crate::canonical::{Feature, Features, QualityTier, ReasoningWish, Request, TextProfile};
use crate::frontend::{BadRequest, parse};
use crate::units::Tokens;

fn read(body: &str) -> Result<Request, BadRequest> {
    parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new())
}

/// A request with these members beside model and messages.
fn with(members: &str) -> Request {
    read(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{members}}}"#))
        .unwrap_or_else(|e| panic!("{members}: {e}"))
}

fn features(members: &str) -> Features {
    with(members).features
}

#[test]
fn an_agents_request_is_understood() {
    let body = r#"{"model":"auto","messages":[
      {"role":"developer","content":"Answer in one line."},
      {"role":"user","content":[{"type":"text","text":"What is on it?"},{"image_url":{"url":"data:image/png;base64,AAAA"},"type":"image_url"},
        {"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}},{"type":"file","file":{"file_id":"f"}}]},
      {"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Oslo\"}"}}]},
      {"role":"tool","tool_call_id":"call_1","content":"{\"deg\":4}"}],
     "tools":[{"type":"function"},{"type":"custom"}],"tool_choice":"auto","stream":true,"stream_options":{"include_usage":true},
     "max_completion_tokens":400,"max_tokens":300,"tokenbroker":{"quality":"premium"},"unknown":[1,{"deep":[]}]}"#;
    let request = read(body).unwrap();
    assert_eq!((request.model.as_str(), request.stream, request.wants_usage_frame), ("auto", true, true));
    assert_eq!((request.messages, request.tools, request.images, request.choices), (4, 2, 1, 1));
    assert_eq!(request.output_bound, Some(Tokens::new(300)));
    assert_eq!(request.wishes.quality, Some(QualityTier::Premium));
    let expected = [Feature::Tools, Feature::ImageInput, Feature::AudioInput, Feature::FileInput].into_iter().collect();
    assert_eq!(request.features, expected);
    let at = |range: &std::ops::Range<usize>| &body[range.clone()];
    assert_eq!(at(&request.members.model), "\"auto\"");
    assert_eq!(at(&request.members.developer_roles[0]), "\"developer\"");
    assert_eq!(at(&request.members.max_tokens.as_ref().unwrap().key), "\"max_tokens\"");
    assert_eq!(at(&request.members.wishes.as_ref().unwrap().value), r#"{"quality":"premium"}"#);
    assert_eq!(request.body, body);
}

#[test]
fn the_profile_is_of_the_text_that_a_model_reads() {
    let request = read(
        r#"{"messages":[{"role":"user","name":"Eva","content":"a \"quoted\" \u6c49"},{"content":[{"type":"text","text":"two"},{"type":"image_url","image_url":{"url":"data:AAAA"}}]},
         {"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}],"reasoning_content":"hm"}],
         "tools":[{"type":"function"}],"response_format":{"type":"json_schema","json_schema":{"name":"s"}},"model":"m","user":"nobody"}"#,
    );
    let mut expected = TextProfile::default();
    for text in ["Eva", "a \"quoted\" 汉", "two", "f", "{}", "hm", r#"{"type":"function"}"#, r#"{"name":"s"}"#] {
        expected.add(text);
        expected.end_text();
    }
    assert_eq!(request.unwrap().text, expected);
}

#[test]
fn needs_are_read_from_the_members() {
    let one = |feature: Feature| Features::NONE.with(feature);
    for (members, expected) in [
        (r#""tools":[]"#, Features::NONE),
        (r#""tools":null,"tool_choice":null,"response_format":null,"logprobs":null,"modalities":null,"n":null"#, Features::NONE),
        (r#""tools":[{}]"#, one(Feature::Tools)),
        (r#""functions":[{"name":"f"}]"#, one(Feature::Tools)),
        (r#""tool_choice":"required""#, one(Feature::ForcedTool)),
        (r#""tool_choice":"none""#, Features::NONE),
        (r#""tool_choice":{"type":"function","function":{"name":"f"}}"#, one(Feature::ForcedTool)),
        (r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}"#, Features::NONE),
        (r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[]}}"#, one(Feature::ForcedTool)),
        (r#""function_call":{"name":"f"}"#, one(Feature::ForcedTool)),
        (r#""function_call":"auto""#, Features::NONE),
        (r#""response_format":{"type":"text"}"#, Features::NONE),
        (r#""response_format":{"type":"json_object"}"#, one(Feature::JsonObject)),
        (r#""response_format":{"type":"json_schema","json_schema":{}}"#, one(Feature::JsonSchema)),
        (r#""logprobs":true"#, one(Feature::Logprobs)),
        (r#""top_logprobs":2"#, one(Feature::Logprobs)),
        (r#""logprobs":false,"top_logprobs":0"#, Features::NONE),
        (r#""n":2"#, one(Feature::ManyChoices)),
        (r#""n":1"#, Features::NONE),
        (r#""modalities":["text","audio"]"#, one(Feature::AudioOutput)),
    ] {
        assert_eq!(features(members), expected, "{members}");
    }
}

#[test]
fn thinking_is_said_in_many_words() {
    use ReasoningWish::{Off, On, Unsaid};
    for (members, expected) in [
        (r#""x":1"#, Unsaid),
        (r#""reasoning_effort":"none""#, Off),
        (r#""reasoning_effort":"low""#, On),
        (r#""reasoning_effort":null"#, Unsaid),
        (r#""thinking":{"type":"disabled"}"#, Off),
        (r#""thinking":{"type":"enabled","budget_tokens":9}"#, On),
        (r#""enable_thinking":false"#, Off),
        (r#""enable_thinking":true"#, On),
        (r#""enable_thinking":true,"reasoning_effort":"none""#, Off),
        (r#""reasoning":{"effort":"none"}"#, Off),
        (r#""reasoning":{"enabled":true}"#, On),
        (r#""chat_template_kwargs":{"enable_thinking":false,"type":7}"#, Off),
        (r#""chat_template_kwargs":{"other":1}"#, Unsaid),
        (r#""chat_template_kwargs":{"thinking":true}"#, On),
        (r#""chat_template_kwargs":{"thinking":true,"enable_thinking":false}"#, Off),
        (r#""chat_template_kwargs":{"thinking":{"type":"enabled"},"enable_thinking":true}"#, On),
        (r#""chat_template_kwargs":"enable_thinking""#, Unsaid),
        (r#""chat_template_kwargs":null"#, Unsaid),
    ] {
        assert_eq!(with(members).reasoning, expected, "{members}");
    }
}

#[test]
fn the_smaller_bound_binds() {
    assert_eq!(with(r#""max_tokens":9"#).output_bound, Some(Tokens::new(9)));
    assert_eq!(with(r#""max_tokens":9,"max_completion_tokens":7"#).output_bound, Some(Tokens::new(7)));
    assert_eq!(with(r#""max_tokens":null"#).output_bound, None);
    assert!(with(r#""max_tokens":null"#).members.max_tokens.is_some(), "null stands there all the same");
    assert!(!with(r#""stream_options":{"include_usage":true}"#).wants_usage_frame, "no stream, no frame");
}

/// Code, param and the text at the position.
fn refusal(body: &str) -> (&'static str, Option<String>, String) {
    let bad = read(body).err().unwrap_or_else(|| panic!("read: {body}"));
    let place = bad.position.map_or(String::new(), |p| body.get(p.offset..).unwrap_or_default().chars().take(6).collect());
    assert!(!bad.message.is_empty() && !bad.message.contains(" at line "), "{}", bad.message);
    (bad.code, bad.param, place)
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let m = r#""messages":[{}]"#;
    for (body, code, param, place) in [
        ("", "invalid_json", None, ""),
        (r#"{"model":"m",}"#, "invalid_json", None, "}"),
        (r#"{"model":"m" M}"#, "invalid_json", None, "\"messa"),
        (r#"{"model":"m",M} x"#, "invalid_json", None, "x"),
        (r#"{"model":"m",M}{}"#, "invalid_json", None, "{}"),
        (r#"{"model":"m",M,"x":tru}"#, "invalid_json", None, "}"),
        // A raw line end in a string: the reader reports the byte before it.
        ("{\"model\":\"m\",M,\"x\":\"\n\"}", "invalid_json", None, "\"\n\"}"),
        ("[]", "invalid_type", None, "[]"),
        ("\"x\"", "invalid_type", None, "\""),
        (r"{M}", "missing_required_parameter", Some("model"), ""),
        (r#"{"model":null,M}"#, "missing_required_parameter", Some("model"), ""),
        (r#"{"model":7,M}"#, "invalid_type", Some("model"), "7,\"mes"),
        (r#"{"model":" ",M}"#, "invalid_value", Some("model"), "\" \",\"m"),
        (r#"{"model":"a\nb",M}"#, "invalid_value", Some("model"), "\"a\\nb\""),
        (r#"{"model":"m"}"#, "missing_required_parameter", Some("messages"), ""),
        (r#"{"model":"m","messages":[]}"#, "invalid_value", Some("messages"), ""),
        (r#"{"model":"m","messages":null}"#, "invalid_value", Some("messages"), ""),
        // Of a wrong object or array the reader reports the byte behind its bracket.
        (r#"{"model":"m","messages":{}}"#, "invalid_type", Some("messages"), "}}"),
        (r#"{"model":"m","messages":["x"]}"#, "invalid_type", Some("messages[0]"), "\"]}"),
        (r#"{"model":"m","messages":[{},{"content":7}]}"#, "invalid_type", Some("messages[1].content"), "7}]}"),
        (r#"{"model":"m","messages":[{"content":[7]}]}"#, "invalid_type", Some("messages[0].content"), "7]}]}"),
        (r#"{"model":"m","messages":[{"role":7}]}"#, "invalid_type", Some("messages[0].role"), "7}]}"),
        (r#"{"model":"m",M,"tools":[{},7]}"#, "invalid_type", Some("tools[1]"), "7]}"),
        (r#"{"model":"m",M,"model":"n"}"#, "duplicate_parameter", Some("model"), "\"model"),
        (r#"{"model":"m",M,"\u006dodel":"n"}"#, "duplicate_parameter", Some("model"), "\"\\u006"),
        (r#"{"model":"m",M,M}"#, "duplicate_parameter", Some("messages"), "\"messa"),
        (r#"{"model":"m","messages":null,M}"#, "duplicate_parameter", Some("messages"), "\"messa"),
        (r#"{"model":"m",M,"tokenbroker":{},"tokenbroker":{}}"#, "duplicate_parameter", Some("tokenbroker"), "\"token"),
        (r#"{"model":"m",M,"modeL":"n"}"#, "unknown_parameter", Some("modeL"), "\"modeL"),
        (r#"{"model":"m",M,"stream":"yes"}"#, "invalid_type", Some("stream"), "\"yes\"}"),
        (r#"{"model":"m",M,"stream":1}"#, "invalid_type", Some("stream"), "1}"),
        (r#"{"model":"m",M,"stream_options":{"include_usage":1}}"#, "invalid_type", Some("stream_options"), "{\"incl"),
        (r#"{"model":"m",M,"stream_options":[true]}"#, "invalid_type", Some("stream_options"), "[true]"),
        (r#"{"model":"m",M,"n":0}"#, "invalid_type", Some("n"), "0}"),
        (r#"{"model":"m",M,"n":129}"#, "invalid_type", Some("n"), "129}"),
        (r#"{"model":"m",M,"max_tokens":-1}"#, "invalid_type", Some("max_tokens"), "-1}"),
        (r#"{"model":"m",M,"max_completion_tokens":1.5}"#, "invalid_type", Some("max_completion_tokens"), "1.5}"),
        (r#"{"model":"m",M,"response_format":"json"}"#, "invalid_type", Some("response_format"), "\"json\""),
        (r#"{"model":"m",M,"tokenbroker":{"race":9}}"#, "invalid_value", Some("tokenbroker.race"), "{\"race"),
    ] {
        let body = body.replace('M', m);
        let (got_code, got_param, got_place) = refusal(&body);
        let place: String = place.chars().take(6).collect();
        assert_eq!((got_code, got_param.as_deref(), got_place), (code, param, place), "{body}");
    }
}

#[test]
fn what_is_not_utf_8_is_refused_with_its_place() {
    let bad = parse(Bytes::from_static(b"{\"model\":\"\xff\"}"), &HeaderMap::new()).unwrap_err();
    assert_eq!((bad.code, bad.position.unwrap().offset), ("invalid_json", 10));
}

#[test]
fn depth_is_bounded_wherever_it_stands() {
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let endless = "[".repeat(1_000_000);
    for body in [
        format!(r#"{{"model":"m","messages":[{{}}],"x":{deep}}}"#),
        format!(r#"{{"model":"m","messages":[{{"x":{deep}}}]}}"#),
        format!(r#"{{"model":"m","messages":[{{"content":[{{"x":{deep}}}]}}]}}"#),
        format!(r#"{{"model":"m","messages":[{{"tool_calls":{deep}}}]}}"#),
        format!(r#"{{"model":"m","messages":[{{}}],"tools":[{{"x":{deep}}}]}}"#),
    ] {
        assert_eq!(refusal(&body).0, "nesting_too_deep", "{body}");
    }
    assert_eq!(refusal(&format!(r#"{{"model":"m","x":{endless}"#)).0, "invalid_json");
    assert_eq!(refusal(&format!(r#"{{"messages":{endless}"#)).0, "invalid_type");
}

#[test]
fn headers_wish_and_the_body_wins() {
    let mut headers = HeaderMap::new();
    headers.insert("x-tokenbroker-race", "2".parse().unwrap());
    headers.insert("x-tokenbroker-session", "s".parse().unwrap());
    let body = Bytes::from_static(br#"{"model":"m","messages":[{}],"tokenbroker":{"race":3}}"#);
    let wishes = parse(body, &headers).unwrap().wishes;
    assert_eq!((wishes.race, wishes.session.as_deref()), (Some(3), Some("s")));
}
