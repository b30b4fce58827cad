//! Clients of every API over a provider that is asked in Bedrock's Converse: by a key or with requests that are signed, whole and in
//! streams of Amazon's own framing, with what it counts booked.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokenbroker::units::Tokens;

use crate::harness::bedrock::{START, answer, begins, delta, ends, frames};
use crate::harness::eventstream::written;
use crate::harness::provider::{Arrived, begun_as, status, stream_as, then, whole};
use crate::harness::talk::{Api, Talk};
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, alone, chat, messages, responses};

const APIS: [Api; 3] = [Api::Chat, Api::Messages, Api::Responses];
const FRAMING: &str = "application/vnd.amazon.eventstream";

/// 20 tokens read afresh, 11 from a cache, 8 written to one for some minutes; 25 out.
const USAGE: &str =
    r#"{"inputTokens":20,"outputTokens":25,"totalTokens":64,"cacheReadInputTokens":11,"cacheWriteInputTokens":8}"#;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FwoGZXIvYXdzEJr//session+token/of-some-length==";

fn thinks(site: Site) -> Site {
    site.only_bedrock().thinks().cached("0.1").price_line("cache_write = 1.25")
}

fn text(piece: &str) -> String {
    format!(r#"{{"text":"{piece}"}}"#)
}

fn thought(text: &str, signature: &str) -> String {
    format!(r#"{{"reasoningContent":{{"reasoningText":{{"text":"{text}","signature":"{signature}"}}}}}}"#)
}

/// A thought and its signature in pieces.
fn thinking(block: u32) -> Vec<String> {
    let pieces = [r#"{"text":"Be "}"#, r#"{"text":"brief."}"#, r#"{"signature":"c2"}"#, r#"{"signature":"ln"}"#];
    let said = pieces.map(|piece| delta(block, &format!(r#"{{"reasoningContent":{piece}}}"#)));
    said.into_iter().chain([ends(block)]).collect()
}

#[tokio::test]
async fn a_whole_answer_is_asked_for_told_and_booked() {
    let (east, gateway) = alone(thinks).await;
    let blocks = [thought("Be brief.", "c2ln"), text("Hello.")].join(",");
    east.next(whole(&answer(&blocks, "end_turn", USAGE)));
    let members = r#""max_tokens":4000,"reasoning_effort":"low","stop":"END""#;

    let told = gateway.chat(&chat::ask_with("auto", members)).await;

    let said = told.json();
    assert_eq!((told.status, told.header("x-tokenbroker-backend")), (200, "east/jade-v3"), "{said}");
    let message = &said["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("Hello."), &json!("Be brief.")));
    assert_eq!((&said["usage"]["prompt_tokens"], &said["usage"]["completion_tokens"]), (&json!(39), &json!(25)));
    let sent = east.call(0).await;
    assert_eq!(sent.path, "/bedrock/model/jade-v3/converse");
    assert_eq!(sent.header("authorization"), format!("Bearer {}", east.key()));
    let body: Value = serde_json::from_str(sent.text()).unwrap();
    assert_eq!(body["messages"], json!([{"role": "user", "content": [{"text": "Say hello."}]}]));
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 4000, "stopSequences": ["END"]}));
    assert_eq!(body["additionalModelRequestFields"], json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}));
    let row = gateway.row_of(&told).await;
    let usage = row.attempts[0].usage;
    let counts = [usage.fresh_input, usage.cache_read, usage.cache_write, usage.output].map(Tokens::get);
    assert_eq!((counts, row.attempts[0].provenance.as_str()), ([20, 11, 8, 25], "reported"));
    // 20 at a dollar a million, 11 at 0.1, 8 at 1.25, and 25 out at 2.
    assert_eq!(row.cost.to_exact(), "0.0000811");
}

#[tokio::test]
async fn clients_of_every_api_are_answered_whole_and_in_a_stream_and_booked_as_it_counts() {
    for api in APIS {
        for streamed in [false, true] {
            let (east, gateway) = alone(thinks).await;
            let pieces = [thinking(0), vec![delta(1, &text("Hel")), delta(1, &text("lo.")), ends(1)]].concat();
            east.next(if streamed {
                // Cut where no message ends.
                let bytes = frames(&pieces, "end_turn", USAGE).concat();
                stream_as(FRAMING, &bytes.chunks(50).collect::<Vec<_>>())
            } else {
                whole(&answer(&[thought("Be brief.", "c2ln"), text("Hello.")].join(","), "end_turn", USAGE))
            });

            let said = Talk::begin(api, streamed, &[], "Say hello.").ask(&gateway).await;

            assert_eq!((said.text.as_str(), said.calls.len()), ("Hello.", 0), "{api:?} {streamed}: {}", said.answer.text());
            let operation = if streamed { "converse-stream" } else { "converse" };
            assert_eq!(east.call(0).await.path, format!("/bedrock/model/jade-v3/{operation}"));
            let row = gateway.row_of(&said.answer).await;
            assert_eq!((row.outcome.as_str(), row.stream, row.cost.to_exact().as_str()), ("answered", streamed, "0.0000811"));
            assert_eq!(row.attempts[0].provenance.as_str(), "reported", "{api:?} {streamed}");
        }
    }
}

#[tokio::test]
async fn calls_and_the_signature_of_the_thought_before_them_come_back_in_the_next_turn() {
    for api in APIS {
        for streamed in [false, true] {
            let (east, gateway) = alone(thinks).await;
            let calls = [begins(1, "tooluse_a", "weather"), delta(1, r#"{"toolUse":{"input":"{\"place\":"}}"#)];
            let rest = [delta(1, r#"{"toolUse":{"input":"\"Oslo\"}"}}"#), ends(1), begins(2, "tooluse_b", "tide"), ends(2)];
            let call = |id: &str, name: &str, input: &str| {
                format!(r#"{{"toolUse":{{"toolUseId":"{id}","name":"{name}","input":{input}}}}}"#)
            };
            east.next(if streamed {
                stream_as(FRAMING, &frames(&[thinking(0), calls.to_vec(), rest.to_vec()].concat(), "tool_use", USAGE))
            } else {
                let calls = [call("tooluse_a", "weather", r#"{"place":"Oslo"}"#), call("tooluse_b", "tide", "{}")];
                whole(&answer(&format!("{},{}", thought("Be brief.", "c2ln"), calls.join(",")), "tool_use", USAGE))
            });
            let mut talk = Talk::begin(api, streamed, &["weather", "tide"], "May I sail?");

            let called = talk.ask(&gateway).await;

            assert_eq!(called.calls.len(), 2, "{api:?} {streamed}: {}", called.answer.text());
            talk.answer([(&called.calls[0], "4 degrees"), (&called.calls[1], "2 metres")]);
            talk.ask(&gateway).await;

            let sent: Value = serde_json::from_str(east.call(1).await.text()).unwrap();
            let result = |id: &str, text: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": text}]}});
            let expected = json!([
                {"role": "user", "content": [{"text": "May I sail?"}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Be brief.", "signature": "c2ln"}}},
                    {"toolUse": {"toolUseId": "tooluse_a", "name": "weather", "input": {"place": "Oslo"}}},
                    {"toolUse": {"toolUseId": "tooluse_b", "name": "tide", "input": {}}},
                ]},
                {"role": "user", "content": [result("tooluse_a", "4 degrees"), result("tooluse_b", "2 metres")]},
            ]);
            assert_eq!(sent["messages"], expected, "{api:?} {streamed}");
            let tools = sent["toolConfig"]["tools"].as_array().unwrap();
            assert_eq!(tools.iter().map(|tool| &tool["toolSpec"]["name"]).collect::<Vec<_>>(), ["weather", "tide"]);
        }
    }
}

#[tokio::test]
async fn a_throttled_request_moves_on_and_so_does_an_exception_at_the_beginning_of_a_stream() {
    let throttled = r#"{"message":"Too many requests, please wait before trying again."}"#;
    let name = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/";
    let exception = written(&format!("!throttlingException {throttled}"));
    for (streamed, script) in
        [(false, status(429, &[("x-amzn-errortype", name)], throttled)), (true, stream_as(FRAMING, &exception))]
    {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let gateway = Gateway::of([Site::of(&east).only_bedrock(), Site::of(&west).price("3", "6")]);
        east.next(script);

        let answer = gateway.chat(&chat::ask_with("auto", &format!(r#""stream":{streamed}"#))).await;

        assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", answer.text());
        let row = gateway.row_of(&answer).await;
        let causes: Vec<Option<&str>> = row.attempts.iter().map(|attempt| attempt.cause.as_deref()).collect();
        assert!(matches!(causes[..], [Some(cause), None] if cause.starts_with("rate_limited")), "{causes:?}");
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_for_one_model_goes_to_another() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east).only_bedrock(), Site::of(&west).price("3", "6")]);
    let headers = [("x-amzn-errortype", "ValidationException")];
    east.next(status(400, &headers, r#"{"message":"Input is too long for requested model."}"#));
    let answer = gateway.chat(&chat::ask("auto")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", answer.text());
    let row = gateway.row_of(&answer).await;
    assert!(row.attempts[0].cause.as_deref().is_some_and(|cause| cause.starts_with("context_too_long")), "{row:?}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_in_the_clients_error() {
    let started = written(&format!("{START}{}", delta(0, &text("Hel"))));
    let and = |more: &str| [started.clone(), written(more)].concat();
    let failed = r#"!modelStreamErrorException {"message":"The model broke off."}"#;
    for (code, script) in [
        ("upstream_broken", then(begun_as(FRAMING, &started), [Step::Close])),
        ("upstream_truncated", stream_as(FRAMING, &started)),
        ("upstream_truncated", stream_as(FRAMING, &and(&format!("{}~", delta(0, &text("lo.")).trim_end())))),
        ("upstream_unavailable", stream_as(FRAMING, &and(failed))),
        ("upstream_broken", stream_as(FRAMING, &and(&format!("x{}", delta(0, &text("lo.")))))),
    ] {
        for api in APIS {
            let (east, gateway) = alone(thinks).await;
            east.next(script.clone());
            let members = r#""stream":true"#;
            let (call, ended) = match api {
                Api::Chat => (Call::chat(chat::ask_with("auto", members)), "[DONE]"),
                Api::Messages => (Call::messages(messages::ask_with("auto", members)), "message_stop"),
                Api::Responses => (responses::ask(members), "response.completed"),
            };

            let answer = gateway.ask(&call).await;

            let told = answer.text();
            assert!(told.contains("Hel") && !told.contains(ended) && !told.contains("lo."), "{api:?}: {told}");
            assert!(
                told.contains(code) || code == "upstream_broken" && told.contains("upstream_malformed"),
                "{api:?} {code}: {told}"
            );
            let row = gateway.row_of(&answer).await;
            assert_eq!((row.outcome.as_str(), row.attempts[0].ending.as_str()), ("cut", "cut"), "{api:?}, {code}");
        }
    }
}

// === signed requests ===

fn signs(site: Site, more: &str) -> Site {
    let fact = format!(
        "sigv4 = {{ service = \"bedrock\", region = \"eu-central-1\", access_key_env = \"AWS_ACCESS_KEY_ID\", secret_key_env = \"AWS_SECRET_ACCESS_KEY\"{more} }}"
    );
    site.only_bedrock().fact(&fact)
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat()).to_vec();
    Sha256::digest([pad(0x5c), inner].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// The signature that a request should have, by what arrived and AWS's description.
fn signature_of(arrived: &Arrived, signed: &str, region: &str) -> String {
    let date = arrived.header("x-amz-date");
    let headers: Vec<String> = signed.split(';').map(|name| format!("{name}:{}\n", arrived.header(name))).collect();
    let headers = headers.concat();
    let path = arrived.path.replace('%', "%25");
    let canonical = format!("POST\n{path}\n\n{headers}\n{signed}\n{}", hex(&Sha256::digest(&arrived.body)));
    let (day, _) = date.split_once('T').unwrap();
    let said = format!("AWS4-HMAC-SHA256\n{date}\n{day}/{region}/bedrock/aws4_request\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in [day, region, "bedrock", "aws4_request", &said] {
        key = hmac(&key, part.as_bytes());
    }
    hex(&key)
}

#[tokio::test]
async fn without_a_key_every_request_is_signed() {
    let east = Provider::start("east").await;
    let site =
        signs(Site::of(&east).without_key(), ", session_token_env = \"AWS_SESSION_TOKEN\"").upstream_model("amazon.nova-v1:0");
    let gateway = Setup::of([site])
        .variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .variable("AWS_SECRET_ACCESS_KEY", SECRET)
        .variable("AWS_SESSION_TOKEN", TOKEN)
        .start();
    for (nth, streamed) in [false, true, false].into_iter().enumerate() {
        let answer = gateway.chat(&chat::ask_with("auto", &format!(r#""stream":{streamed}"#))).await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        let arrived = east.call(nth).await;
        let operation = if streamed { "converse-stream" } else { "converse" };
        assert_eq!(arrived.path, format!("/bedrock/model/amazon.nova-v1%3A0/{operation}"));
        let authorization = arrived.header("authorization");
        let day = &arrived.header("x-amz-date")[..8];
        let signed = "content-type;host;x-amz-date;x-amz-security-token";
        let signature = signature_of(&arrived, signed, "eu-central-1");
        let scope = format!("AKIDEXAMPLE/{day}/eu-central-1/bedrock/aws4_request");
        assert_eq!(authorization, format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={signature}"));
        assert_eq!(arrived.header("x-amz-security-token"), TOKEN);
        assert!(!format!("{:?}", arrived.headers).contains(SECRET));
    }
    let log = gateway.setup.log();
    assert!(!log.contains(SECRET) && !log.contains(TOKEN), "a secret stands in the log");
}

#[tokio::test]
async fn what_a_provider_says_back_of_the_credentials_reaches_nobody() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([signs(Site::of(&east).without_key(), ", session_token_env = \"AWS_SESSION_TOKEN\"")])
        .variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .variable("AWS_SECRET_ACCESS_KEY", SECRET)
        .variable("AWS_SESSION_TOKEN", TOKEN)
        .start();
    let headers = [("x-amzn-errortype", "InvalidSignatureException")];
    let said = format!(r#"{{"message":"The canonical string should have been x-amz-security-token:{TOKEN} {SECRET}"}}"#);
    east.next(status(403, &headers, &said));
    let answer = gateway.chat(&chat::ask("auto")).await;
    assert!(answer.status >= 400 && !answer.text().contains(TOKEN) && !answer.text().contains(SECRET), "{}", answer.text());
    east.next(whole(&answer_of(TOKEN)));
    let quoted = gateway.chat(&chat::ask("auto")).await;
    assert!(!quoted.text().contains(TOKEN), "{}", quoted.text());
    let log = gateway.setup.log();
    assert!(!log.contains(SECRET) && !log.contains(TOKEN), "a secret stands in the log");
}

fn answer_of(said: &str) -> String {
    answer(&text(said), "end_turn", USAGE)
}

#[tokio::test]
async fn a_key_is_sent_where_there_is_one_and_half_a_pair_is_no_key() {
    let east = Provider::start("east").await;
    let pair = |setup: Setup| setup.variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").variable("AWS_SECRET_ACCESS_KEY", SECRET);
    let gateway = pair(Setup::of([signs(Site::of(&east), "")])).start();
    let answer = gateway.chat(&chat::ask("auto")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = east.call(0).await;
    assert_eq!((sent.header("authorization"), sent.header("x-amz-date")), (format!("Bearer {}", east.key()).as_str(), ""));

    let half = Setup::of([signs(Site::of(&east).without_key(), "")]).variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
    let (code, said) = half.refused();
    assert!(code == Some(3) && said.contains("AWS_SECRET_ACCESS_KEY") && !said.contains("EAST_API_KEY"), "{code:?} {said}");

    // With the pair alone the provider is on, so what cannot be read for it is no mere warning.
    let lost = pair(Setup::of([signs(Site::of(&east).without_key(), ", session_token_env = \"AWS_SESSION_TOKEN\"")]));
    let (code, said) = lost.variable("AWS_SESSION_TOKEN_FILE", "no/such/file").refused();
    assert!(code == Some(3) && said.contains("AWS_SESSION_TOKEN_FILE"), "{code:?} {said}");
}

#[tokio::test]
async fn a_wrong_row_is_told_with_what_would_be_accepted() {
    let east = Provider::start("east").await;
    let fact = "sigv4 = { service = \"bedrock\", access_key_env = \"AWS_ACCESS_KEY_ID\", secret_key_env = \"wJal/secret\" }";
    let (code, said) = Setup::of([Site::of(&east).only_bedrock().fact(fact)]).refused();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("providers.east.sigv4.region: nothing says which region"), "{said}");
    assert!(said.contains("providers.east.sigv4.secret_key_env: this is no variable's name") && !said.contains("wJal"), "{said}");
}
