//! The sandbox as its users see it: over TCP.

use std::future::Future;

use http::Method;
use serde_json::{Value, json};

use super::loopback::{self, Answer, LoopbackError};
use super::*;
use crate::clock::SystemClock;

struct Asker {
    sandbox: Sandbox,
    tasks: Tasks,
}

impl Asker {
    async fn fast() -> Self {
        Self::with(Pace::AsFastAsPossible, false).await
    }

    async fn with(pace: Pace, failures: bool) -> Self {
        let options = SandboxOptions { seed: 7, pace, failures, clock: SystemClock::shared() };
        Self { sandbox: Sandbox::start(options).await.unwrap(), tasks: Tasks::on_this_runtime() }
    }

    fn url(&self, provider: &str) -> String {
        let snapshot = Snapshot::parse("table", self.sandbox.table()).unwrap();
        snapshot.providers().iter().find(|p| p.id == provider).unwrap().base_url.clone()
    }

    async fn post(&self, provider: &str, body: &Value) -> Answer {
        let url = format!("{}/chat/completions", self.url(provider));
        let headers = [
            ("authorization", "Bearer k"),
            ("x-request-id", "r-1"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        loopback::call(&self.tasks, Method::POST, &url, &headers, body.to_string()).await.unwrap()
    }

    async fn ask(&self, provider: &str, body: &Value) -> (u16, Value) {
        let mut answer = self.post(provider, body).await;
        let bytes = answer.whole().await.unwrap();
        assert_eq!(answer.header("x-sandbox"), "true");
        (answer.status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn stream(&self, provider: &str, body: &Value) -> Vec<Value> {
        let mut answer = self.post(provider, body).await;
        assert_eq!(answer.status, 200);
        frames(&answer.whole().await.unwrap())
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> (u16, String) {
        let url = format!("{}{path}", self.sandbox.control_url());
        let mut answer = loopback::call(&self.tasks, method, &url, &[], body.to_string()).await.unwrap();
        (answer.status, String::from_utf8(answer.whole().await.unwrap()).unwrap())
    }

    async fn fault(&self, order: Value) {
        assert_eq!(self.control(Method::POST, "/faults", &order).await.0, 200, "{order}");
    }

    fn last(&self) -> Served {
        self.sandbox.served().pop().unwrap()
    }
}

/// The data of each frame of a whole stream; `[DONE]` as a text.
fn frames(bytes: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    let data = blocks.map(|block| block.strip_prefix("data: ").unwrap());
    data.map(|data| if data == "[DONE]" { json!(data) } else { serde_json::from_str(data).unwrap() }).collect()
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn chat(model: &str, extra: &Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hello you"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn text_of(frames: &[Value], member: &str) -> String {
    let pieces = frames.iter().filter_map(|frame| frame["choices"][0]["delta"][member].as_str());
    pieces.collect()
}

#[test]
fn the_table_names_six_pretend_providers_that_say_so() {
    let snapshot = Snapshot::parse("table", TABLE).unwrap();
    assert_eq!(site::sites(&snapshot).len(), 6);
    assert!(
        snapshot.providers().iter().all(|provider| provider.id.starts_with("sandbox-") && provider.name.ends_with("(sandbox)"))
    );
    let windows: Vec<u64> = snapshot.backends().iter().map(|backend| backend.limits.context.get()).collect();
    assert!(windows.contains(&8_192) && windows.contains(&1_000_000));
}

#[test]
fn a_whole_answer_reports_what_was_generated() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let (status, answer) = asker.ask("sandbox-lotus", &chat("lotus-lite", &json!({}))).await;
        assert_eq!(status, 200);
        let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.starts_with("[sandbox]"), "{content}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["usage"]["completion_tokens"], tokens::count(content));
        assert_eq!(answer["usage"]["prompt_tokens"], 9);
        let served = asker.last();
        assert_eq!((served.input_tokens, served.output_tokens), (9, tokens::count(content)));
        assert_eq!((served.finished, served.request_id.as_deref(), served.key.as_deref()), (true, Some("r-1"), Some("k")));
        assert_eq!(served.trace.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        let again = asker.ask("sandbox-lotus", &chat("lotus-lite", &json!({}))).await.1;
        assert_eq!(again["choices"], answer["choices"]);
    });
}

#[test]
fn a_stream_is_one_chunk_per_token_and_adds_up_to_the_whole_answer() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let whole = asker.ask("sandbox-summit", &chat("summit-mini", &json!({}))).await.1;
        let streamed = chat("summit-mini", &json!({"stream": true, "stream_options": {"include_usage": true}}));
        let frames = asker.stream("sandbox-summit", &streamed).await;
        assert_eq!(text_of(&frames, "content"), whole["choices"][0]["message"]["content"].as_str().unwrap());
        assert_eq!(frames[0]["choices"][0]["delta"]["role"], "assistant");
        let [.., finish, usage, done] = frames.as_slice() else { panic!("a short stream") };
        assert_eq!(finish["choices"][0]["finish_reason"], "stop");
        assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
        assert_eq!(done, "[DONE]");
        assert_eq!(frames.len() as u64 - 4, asker.last().output_tokens);
        let unasked = asker.stream("sandbox-summit", &chat("summit-mini", &json!({"stream": true}))).await;
        assert!(unasked.iter().all(|frame| frame.get("usage").is_none()));
    });
}

#[test]
fn thinking_comes_first_and_is_billed_as_the_site_reports_it() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let frames = asker.stream("sandbox-summit", &chat("summit-max", &json!({"stream": true}))).await;
        assert!(text_of(&frames, "reasoning_content").starts_with("[sandbox]"));
        let (_, inside) = asker.ask("sandbox-summit", &chat("summit-max", &json!({}))).await;
        assert_eq!(inside["usage"]["completion_tokens"], asker.last().output_tokens);
        let (_, outside) = asker.ask("sandbox-fjord", &chat("fjord-large", &json!({}))).await;
        let reasoning = outside["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
        assert_eq!(outside["usage"]["completion_tokens"].as_u64().unwrap() + reasoning, asker.last().output_tokens);
        let (_, off) = asker.ask("sandbox-fjord", &chat("fjord-large", &json!({"reasoning_effort": "none"}))).await;
        assert_eq!(off["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
    });
}

#[test]
fn tool_calls_stream_as_deltas_that_add_up_to_arguments() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let tool = |name: &str| {
            json!({"type": "function", "function": {"name": name, "parameters": {"type": "object",
                "properties": {"city": {"type": "string"}}, "required": ["city"]}}})
        };
        let tools = json!({"stream": true, "tools": [tool("weather"), tool("time")]});
        let frames = asker.stream("sandbox-pearl", &chat("pearl-chat", &tools)).await;
        let deltas = frames.iter().filter_map(|frame| frame["choices"][0]["delta"]["tool_calls"][0].as_object());
        let mut calls = [(String::new(), String::new()), (String::new(), String::new())];
        for delta in deltas {
            let call = &mut calls[usize::try_from(delta["index"].as_u64().unwrap()).unwrap()];
            call.0.push_str(delta["function"]["name"].as_str().unwrap_or_default());
            call.1.push_str(delta["function"]["arguments"].as_str().unwrap());
        }
        assert_eq!((calls[0].0.as_str(), calls[1].0.as_str()), ("weather", "time"));
        for (_, arguments) in &calls {
            assert!(serde_json::from_str::<Value>(arguments).unwrap()["city"].is_string());
        }
        let whole = asker.ask("sandbox-pearl", &chat("pearl-chat", &json!({"tools": [tool("weather"), tool("time")]}))).await.1;
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], calls[0].1);
    });
}

#[test]
fn what_a_site_cannot_do_is_refused_in_the_dialect() {
    let check = async |asker: &Asker, provider: &str, body: Value, status: u16, code: Value| {
        let (told, answer) = asker.ask(provider, &body).await;
        assert_eq!((told, &answer["error"]["code"]), (status, &code), "{body}");
        assert_eq!(asker.last().status, status);
        assert_eq!(asker.last().output_tokens, 0);
    };
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let long = "word ".repeat(8_300);
        check(&asker, "sandbox-lotus", chat("nothing", &json!({})), 404, json!("model_not_found")).await;
        check(&asker, "sandbox-lotus", json!({"model": "lotus-lite"}), 400, Value::Null).await;
        let too_long = json!({"messages": [{"role": "user", "content": long}]});
        check(&asker, "sandbox-lotus", chat("lotus-lite", &too_long), 400, json!("context_length_exceeded")).await;
        let unsupported = json!("unsupported_parameter");
        let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
        check(&asker, "sandbox-lotus", chat("lotus-lite", &tools), 400, unsupported.clone()).await;
        check(&asker, "sandbox-lotus", chat("lotus-lite", &json!({"max_completion_tokens": 5})), 400, unsupported.clone()).await;
        check(&asker, "sandbox-summit", chat("summit-mini", &json!({"max_tokens": 5})), 400, unsupported.clone()).await;
        let asked_twice = json!({"stream": true, "stream_options": {"include_usage": true}});
        check(&asker, "sandbox-fjord", chat("fjord-small", &asked_twice), 400, unsupported).await;
        check(&asker, "sandbox-lotus", chat("lotus-lite", &json!({"max_tokens": 9_000})), 400, json!("invalid_value")).await;
    });
}

#[test]
fn a_key_is_wanted_where_the_table_names_one() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let bare = async |provider: &str, model: &str| {
            let url = format!("{}/chat/completions", asker.url(provider));
            loopback::call(&asker.tasks, Method::POST, &url, &[], chat(model, &json!({})).to_string()).await.unwrap().status
        };
        assert_eq!(bare("sandbox-pearl", "pearl-chat").await, 401);
        assert_eq!(bare("sandbox-local", "local-mini").await, 200);
    });
}

#[test]
fn a_prompt_seen_before_is_cached_in_whole_blocks() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let system = "a long and constant beginning ".repeat(40);
        let ask = |last: &str| json!({"model": "pearl-chat", "messages": [{"role": "system", "content": system}, {"role": "user", "content": last}]});
        let cached = async |body: Value| {
            let answer = asker.ask("sandbox-pearl", &body).await.1;
            answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
        };
        assert_eq!(cached(ask("one")).await, 0);
        let second = cached(ask("two")).await;
        assert!(second >= 256 && second.is_multiple_of(64), "{second}");
        assert_eq!(asker.last().cached_tokens, second);
    });
}

#[test]
fn a_client_that_leaves_stops_the_generation() {
    on_a_runtime(async {
        let asker = Asker::with(Pace::AsTheTableSays, false).await;
        let long = json!({"stream": true, "sandbox": {"output_tokens": 4_000}});
        let mut answer = asker.post("sandbox-local", &chat("local-mini", &long)).await;
        for _ in 0..3 {
            answer.chunk().await.unwrap().unwrap();
        }
        drop(answer);
        while !asker.last().client_gone {
            tokio::task::yield_now().await;
        }
        let served = asker.last();
        assert!(!served.finished && served.output_tokens < 10, "{served:?}");
        assert!(served.planned_output_tokens >= 4_000);
    });
}

#[test]
fn every_fault_does_over_tcp_what_it_says() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let order = async |fault: &str, more: Value| {
            let mut order = json!({"provider": "sandbox-lotus", "fault": fault, "count": 1});
            order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            asker.fault(order).await;
            asker
                .post("sandbox-lotus", &chat("lotus-plus", &json!({"stream": true, "stream_options": {"include_usage": true}})))
                .await
        };
        let mut refused = order("retry_after", json!({"seconds": 9})).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "9"));
        refused.whole().await.unwrap();
        let mut cut = order("cut_mid_stream", json!({"after": 2})).await;
        let mut read = Vec::new();
        let end = loop {
            match cut.chunk().await {
                Ok(Some(bytes)) => read.extend_from_slice(&bytes),
                other => break other,
            }
        };
        assert!(matches!(end, Err(LoopbackError::Broken(_))), "{end:?}");
        assert_eq!((frames(&read).len(), asker.last().output_tokens, asker.last().ending), (3, 2, Some(Ending::Broken)));
        let whole = async |mut answer: Answer| String::from_utf8(answer.whole().await.unwrap()).unwrap();
        assert!(!whole(order("no_done", json!({})).await).await.contains("[DONE]"));
        assert!(!whole(order("no_usage", json!({})).await).await.contains("prompt_tokens"));
        assert!(whole(order("lie_about_usage", json!({"output_tokens": 99_999})).await).await.contains("99999"));
        let scaled = whole(order("scale_usage", json!({"percent": 300})).await).await;
        let output = 3 * asker.last().output_tokens;
        assert!(scaled.contains(&format!("\"completion_tokens\":{output}")), "{scaled}");
        assert!(whole(order("crlf", json!({})).await).await.ends_with("data: [DONE]\r\n\r\n"));
        assert!(whole(order("keep_alive_comments", json!({})).await).await.starts_with(": keep-alive\n\n"));
        assert!(whole(order("error_frame_first", json!({})).await).await.starts_with("data: {\"error\""));
        assert!(whole(order("error_in_stream", json!({})).await).await.contains("data: {\"error\""));
        assert!(whole(order("bad_json", json!({})).await).await.ends_with("choi\n\n"));
        let mut stalled = order("stall_mid_stream", json!({"after": 1})).await;
        let first = stalled.chunk().await.unwrap().unwrap();
        assert!(first.starts_with(b"data: {"));
        assert!(!asker.last().finished);
        let served = asker.control(Method::GET, "/served", &json!({})).await.1;
        assert!(served.lines().last().unwrap().contains("\"fault\":\"stall_mid_stream\""));
    });
}

#[test]
fn a_whole_answer_can_be_cut_or_be_an_error_too() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        asker.fault(json!({"provider": "*", "fault": "cut_mid_stream", "count": 1})).await;
        let mut cut = asker.post("sandbox-lotus", &chat("lotus-lite", &json!({}))).await;
        assert!(cut.whole().await.is_err());
        asker.fault(json!({"provider": "*", "fault": "error_frame_first", "message": "no", "count": 1})).await;
        let (status, answer) = asker.ask("sandbox-lotus", &chat("lotus-lite", &json!({}))).await;
        assert_eq!((status, &answer["error"]["message"]), (200, &json!("[sandbox] no")));
    });
}

#[test]
fn the_control_listener_tells_takes_and_forgets() {
    on_a_runtime(async {
        let asker = Asker::fast().await;
        let body = chat("local-mini", &json!({}));
        asker.ask("sandbox-local", &body).await;
        assert_eq!(asker.control(Method::GET, "/served/1/body", &json!({})).await, (200, body.to_string()));
        let unknown = json!({"provider": "nobody", "fault": "crlf"});
        assert_eq!(asker.control(Method::POST, "/faults", &unknown).await.0, 404);
        assert_eq!(asker.control(Method::POST, "/faults", &json!({"provider": "*", "fault": "x"})).await.0, 400);
        asker.fault(json!({"provider": "*", "fault": "crlf"})).await;
        assert!(asker.control(Method::GET, "/faults", &json!({})).await.1.contains("crlf"));
        asker.control(Method::DELETE, "/faults", &json!({})).await;
        assert_eq!(asker.control(Method::GET, "/faults", &json!({})).await.1, "[]");
        asker.control(Method::POST, "/reset", &json!({})).await;
        assert_eq!(asker.control(Method::GET, "/served", &json!({})).await, (200, String::new()));
    });
}

#[test]
fn a_provider_fails_as_often_as_its_table_says_and_for_the_same_seed_alike() {
    let failures = async || {
        let asker = Asker::with(Pace::AsFastAsPossible, true).await;
        let mut statuses = Vec::new();
        for _ in 0..200 {
            statuses.push(asker.post("sandbox-flaky", &chat("pearl-chat-r", &json!({}))).await.status);
        }
        statuses
    };
    on_a_runtime(async {
        let statuses = failures().await;
        let failed = statuses.iter().filter(|status| **status != 200).count();
        assert!((30..=70).contains(&failed), "{failed} of 200 failed; the table says a quarter");
        assert_eq!(statuses, failures().await);
    });
}
