//! What the client says and what the provider says passes through, byte for byte; what is the gateway's own does not.

use crate::harness::provider::{status, stream, whole};
use crate::harness::{Call, Gateway, Provider, Setup, Site, chat};

#[tokio::test]
async fn a_request_reaches_the_provider_as_the_same_bytes_but_for_the_model_and_the_wishes() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let sent = [
        "{ \"model\"\t:\r\n\"jade\" , \"messages\":[ {\"role\" : \"user\",\"content\":\"h\\u0069 你好 \\ud83d\\ude00\"},\n",
        "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"so\",\"signature\":\"c2ln\"},{\"role\":\"user\",\"content\":\"?\"}],\n",
        "\"novelty\":{\"b\":[1.10,1e400,12345678901234567890123],\"a\":{}}, \"tokenbroker\" : {\"quality\":\"economy\"} ,",
        " \"temperature\":0.70,\"seed\":-0 }\n\n",
    ];
    let wishes = "\"tokenbroker\" : {\"quality\":\"economy\"} ,";
    let expected = sent.concat().replace("\"jade\"", "\"jade-v3\"").replace(wishes, "");

    let answer = gateway.chat(&sent.concat()).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(east.call(0).await.text(), expected);
}

#[tokio::test]
async fn a_request_in_the_providers_own_terms_is_not_touched_at_all() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let body = "\n{\"messages\": [{\"role\":\"user\",\"content\":\"Hi\"}],  \"model\": \"jade-v3\", \"max_tokens\": 7}\n";

    assert_eq!(gateway.chat(body).await.status, 200);

    assert_eq!((east.call(0).await.text(), east.call(0).await.path.as_str()), (body, "/v1/chat/completions"));
}

#[tokio::test]
async fn where_money_is_bounded_the_output_bound_reaches_the_provider() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let sites = [Site::of(&east), Site::of(&west).model("onyx").quirk("output_bound = \"max_completion_tokens\"")];
    let gateway = Setup::of(sites).key("team", "tb-team").set("keys.team.max_output_tokens", "100").start();
    let ask = async |model: &str, members: &str| {
        let call = Call::chat(chat::ask_with(model, members)).header("authorization", "Bearer tb-team");
        assert_eq!(gateway.ask(&call).await.status, 200);
    };

    ask("jade-v3", "").await;
    ask("jade-v3", r#""max_tokens":500"#).await;
    ask("jade-v3", r#""max_tokens":50"#).await;
    ask("onyx-v3", r#""max_tokens":500"#).await;

    let bound = |tokens: u32| chat::ask_with("jade-v3", &format!(r#""max_tokens":{tokens}"#));
    let inserted = chat::ask("jade-v3").replace(r#""jade-v3","#, r#""jade-v3","max_tokens":100,"#);
    let calls = east.calls();
    assert_eq!(calls.iter().map(|call| call.text()).collect::<Vec<_>>(), [inserted, bound(100), bound(50)]);
    let renamed = chat::ask_with("onyx-v3", r#""max_completion_tokens":100"#);
    assert_eq!(west.call(0).await.text(), renamed);
}

#[tokio::test]
async fn nothing_of_the_clients_headers_reaches_the_provider_but_its_trace() {
    let east = Provider::start("east").await;
    let gateway = Setup::of([Site::of(&east)]).key("team", "tb-team").start();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let call = Call::chat(chat::ask("auto"))
        .header("authorization", "Bearer tb-team")
        .header("openai-organization", "org-1")
        .header("openai-project", "p-1")
        .header("x-stainless-lang", "python")
        .header("x-request-id", "mine-7")
        .header("x-tokenbroker-quality", "economy")
        .header("cookie", "a=b")
        .header("user-agent", "sdk/1")
        .header("x-forwarded-for", "10.0.0.1")
        .header("traceparent", trace)
        .header("tracestate", "vendor=1");

    let answer = gateway.ask(&call).await;

    assert_eq!(answer.status, 200);
    let arrived = east.call(0).await;
    let mut names: Vec<&str> = arrived.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let ours =
        ["accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "traceparent", "tracestate"];
    assert_eq!(names, ours);
    assert_eq!(arrived.header("authorization"), format!("Bearer {}", east.key()));
    assert_eq!((arrived.header("traceparent"), arrived.header("tracestate")), (trace, "vendor=1"));
    assert_eq!((arrived.header("accept-encoding"), arrived.header("content-type")), ("identity", "application/json"));
}

#[tokio::test]
async fn the_clients_request_id_is_echoed_and_is_only_a_column() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let call = Call::chat(chat::ask("auto")).header("x-request-id", "mine-7");

    let (first, second) = (gateway.ask(&call).await, gateway.ask(&call).await);

    assert_eq!((first.header("x-request-id"), second.header("x-request-id")), ("mine-7", "mine-7"));
    let (one, two) = (gateway.row_of(&first).await, gateway.row_of(&second).await);
    assert!(one.id < two.id, "our own ids are told apart and ordered by time");
    assert_eq!((one.client_request_id.as_deref(), two.client_request_id.as_deref()), (Some("mine-7"), Some("mine-7")));

    let unnamed = gateway.chat(&chat::ask("auto")).await;
    assert_eq!(unnamed.header("x-request-id"), unnamed.header("x-tokenbroker-request-id"));
    let refused = gateway.ask(&Call::get("/nowhere").header("x-request-id", "mine-8")).await;
    assert_eq!(refused.header("x-request-id"), "mine-8");
}

#[tokio::test]
async fn an_answer_reaches_the_client_as_the_same_bytes() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let body = concat!(
        "\n { \"choices\" : [ {\"message\":{\"reasoning_content\":\"h\\u006dm\",\"content\":\"你好\",\"tool_calls\":[],",
        "\"thinking_blocks\":[{\"signature\":\"c2ln\"}]}, \"index\":0,\"finish_reason\":\"stop\"} ],\r\n \"novelty\": 1e-7,",
        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":5}} }\n"
    );
    let theirs = [("set-cookie", "a=b"), ("server", "theirs"), ("x-request-id", "theirs"), ("openai-organization", "org-9")];
    east.next(status(200, &theirs, body));

    let answer = gateway.chat(&chat::ask("auto")).await;

    assert_eq!((answer.status, answer.text(), answer.header("content-type")), (200, body, "application/json"));
    for (name, value) in theirs {
        assert_ne!(answer.header(name), value);
    }
    let attempt = gateway.row_of(&answer).await.attempts.remove(0);
    let parts = [attempt.usage.fresh_input, attempt.usage.cache_read, attempt.usage.output].map(tokenbroker::units::Tokens::get);
    assert_eq!(parts, [4, 5, 4]);
}

#[tokio::test]
async fn an_answer_in_pieces_and_of_many_bytes_is_the_same_answer() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let text = "字".repeat(400_000);
    let body = chat::answer(&text, 9, 4);
    east.next(whole(&body));
    assert!(gateway.chat(&chat::ask("auto")).await.text() == body);

    let frames = [chat::text(&text), chat::finish(), chat::DONE.to_owned()];
    let bytes = chat::joined(&frames);
    let pieces: Vec<&[u8]> = bytes.chunks(4_093).collect();
    east.next(stream(&pieces));
    assert!(gateway.chat(&chat::ask_stream("auto")).await.body == bytes);

    let prompt = "長".repeat(400_000);
    let long = chat::ask("jade-v3").replace("Say hello.", &prompt);
    assert_eq!(gateway.chat(&long).await.status, 400, "more tokens than the context has room for");
    let fits = chat::ask("jade-v3").replace("Say hello.", &"word ".repeat(60_000));
    assert_eq!(gateway.chat(&fits).await.status, 200);
    assert!(east.call(2).await.text() == fits);
}
