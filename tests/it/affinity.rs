//! What a gateway learns from its answers and does with it: conversations stay where they are warm while that pays, quotes
//! come near to what is billed, and all of it is there after a restart.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, provider};

/// An agent's conversation before its turn of this number: a long beginning, then a call and its result for each turn.
fn agent(turn: usize, members: &str) -> String {
    let beginning = "You repair the build. Follow the house rules. ".repeat(600);
    let mut messages = vec![json!({"role":"system","content":beginning}), json!({"role":"user","content":"It is red."})];
    for n in 1..turn {
        let call = json!({"id":format!("c{n}"),"type":"function","function":{"name":"run","arguments":"{\"cmd\":\"make\"}"}});
        messages.push(json!({"role":"assistant","content":null,"tool_calls":[call]}));
        messages
            .push(json!({"role":"tool","tool_call_id":format!("c{n}"),"content":"error: no rule to make target. ".repeat(20)}));
    }
    let tools = r#"[{"type":"function","function":{"name":"run","parameters":{"type":"object"}}}]"#;
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"model":"auto","tools":{tools},"messages":{}{comma}{members}}}"#, Value::from(messages))
}

/// An answer with some of its input read from the cache.
fn cached(input: u64, cached: u64, output: u64) -> String {
    let plain = chat::answer("run", input, output);
    plain.replace("\"usage\":{", &format!("\"usage\":{{\"prompt_tokens_details\":{{\"cached_tokens\":{cached}}},"))
}

async fn dry(gateway: &Gateway, key: &str, body: String) -> Value {
    gateway.ask(&Call::post("/v1/route", body).key(key)).await.json()
}

fn tokens(decision: &Value, name: &str) -> u64 {
    decision["chosen"]["tokens"][name].as_u64().unwrap_or_default()
}

/// Who answers ten turns of an agent that began at `east`; `west` has these prices for input, cached input and output.
async fn ten_turns(west_price: [&str; 3]) -> Vec<String> {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let [input, read, output] = west_price;
    let gateway = Gateway::of([Site::of(&east).cached("0.1"), Site::of(&west).price(input, output).cached(read)]);
    for provider in [&east, &west] {
        provider.always(provider::whole(&cached(6_000, 5_500, 40)));
    }
    let mut asked = vec![gateway.chat(&agent(1, r#""tokenbroker":{"providers":["east"]}"#)).await];
    for turn in 2..=10 {
        asked.push(gateway.chat(&agent(turn, "")).await);
    }
    asked.iter().map(|answer| answer.header("x-tokenbroker-backend").to_owned()).collect()
}

#[tokio::test]
async fn an_agent_stays_at_its_warm_backend_though_another_is_a_twentieth_cheaper() {
    assert_eq!(ten_turns(["0.95", "0.095", "1.9"]).await, ["east/jade-v3"; 10]);
}

#[tokio::test]
async fn an_agent_leaves_for_one_that_is_ten_times_cheaper() {
    let asked = ten_turns(["0.1", "0.01", "0.2"]).await;
    assert_eq!((asked[0].as_str(), &asked[1..]), ("east/jade-v3", &["west/jade-v3"; 9].map(str::to_owned)[..]));
}

#[tokio::test]
async fn a_decision_says_why_a_conversation_stays() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east).cached("0.1"), Site::of(&west).price("0.95", "1.9").cached("0.095")]);
    gateway.chat(&agent(1, r#""tokenbroker":{"providers":["east"]}"#)).await;

    let told = dry(&gateway, "", agent(2, "")).await;

    let session = &told["session"];
    assert_eq!((&session["home"], &session["turn"], &session["stays"]), (&json!("east/jade-v3"), &json!(2), &json!(true)));
    assert!(session["why"].as_str().is_some_and(|why| why.starts_with("stays at east/jade-v3: this turn and ")), "{session}");
    let (input, known, warm) = (tokens(&told, "input"), tokens(&told, "known_prefix"), tokens(&told, "cached_input"));
    assert!(known > 5_000 && known < input && warm == known * 3 / 4, "{input} {known} {warm}");
    let cold = &told["candidates"][1]["tokens"];
    assert_eq!((&cold["cached_input"], &cold["known_prefix"]), (&json!(0), &json!(0)), "the other is charged with a cold start");
    let elsewhere = dry(&gateway, "", agent(2, "").replace("house rules", "other rules")).await;
    assert_eq!((&elsewhere["session"], &elsewhere["chosen"]["backend"]), (&Value::Null, &json!("west/jade-v3")));
}

#[tokio::test]
async fn quotes_come_near_to_what_is_billed() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).cached("0.1")]);
    let mut ratios = Vec::new();
    let mut before = 0;
    for turn in 1..=40 {
        let input = tokens(&dry(&gateway, "", agent(turn, "")).await, "input");
        // Of what it has read before it gives back two fifths, and it writes 700 tokens a turn.
        east.next(provider::whole(&cached(input, before * 2 / 5, 700)));
        let answer = gateway.chat(&agent(turn, "")).await;
        let told = gateway.ask(&Call::get(&format!("/v1/decisions/{}", answer.header("x-tokenbroker-request-id")))).await.json();
        let usd = |name: &str| told["outcome"][name].as_str().unwrap().parse::<f64>().unwrap();
        ratios.push(usd("quoted_usd") / usd("cost_usd"));
        before = input;
    }
    assert!(ratios[1] < 0.65, "the second turn was quoted at {} of its bill", ratios[1]);
    for (turn, ratio) in ratios.iter().enumerate().skip(30) {
        assert!((0.93..1.04).contains(ratio), "turn {}: {ratio}", turn + 1);
    }
    assert_eq!(gateway.sample("answers_learned_total{end=\"whole\"}").await, Some(40.0));
    assert_eq!(gateway.sample("output_ratio_count{provider=\"east\"}").await, Some(40.0));
    let expected = gateway.sample("cache_expected_tokens_total{model=\"jade\",provider=\"east\"}").await.unwrap();
    let read = gateway.sample("tokens_total{kind=\"cache_read\",model=\"jade\",provider=\"east\"}").await.unwrap();
    assert!((0.9..1.4).contains(&(expected / read)), "{expected} expected, {read} read");
}

#[tokio::test]
async fn an_answer_that_was_cut_at_the_clients_bound_does_not_teach_that_answers_are_short() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    let expected = async || tokens(&dry(&gateway, "", chat::ask("auto")).await, "output");
    let untaught = expected().await;
    east.always(provider::whole(&chat::answer("a", 9, 5).replace("\"stop\"", "\"length\"")));
    for _ in 0..30 {
        gateway.chat(&chat::ask_with("auto", r#""max_tokens":5"#)).await;
    }
    let taught = expected().await;
    assert!(taught >= untaught, "{taught} after {untaught}");
    assert_eq!(gateway.sample("answers_learned_total{end=\"bound\"}").await, Some(30.0));
    east.always(provider::whole(&chat::answer("a", 9, 5)));
    for _ in 0..30 {
        gateway.chat(&chat::ask("auto")).await;
    }
    let taught = expected().await;
    assert!(taught < untaught * 7 / 10, "{taught}: whole answers of five tokens do");
}

#[tokio::test]
async fn one_keys_prompts_are_no_secret_told_to_another() {
    let east = Provider::start("east").await;
    let setup = Setup::of([Site::of(&east).cached("0.1")]).key("web", "tb-web").key("batch", "tb-batch");
    let gateway = setup.start();
    gateway.ask(&Call::chat(agent(1, "")).key("tb-web")).await;
    assert!(tokens(&dry(&gateway, "tb-web", agent(1, "")).await, "known_prefix") > 0);
    assert_eq!(tokens(&dry(&gateway, "tb-batch", agent(1, "")).await, "known_prefix"), 0);
}

#[tokio::test]
async fn what_a_client_marks_is_expected_to_be_written_where_that_costs() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let writes = Site::of(&east).cached("0.1").price_line("cache_write = 1.25");
    let gateway = Gateway::of([writes, Site::of(&west).price("3", "6").cached("0.3")]);
    let marked = agent(1, "").replace("\"role\":\"user\"", "\"cache_control\":{\"type\":\"ephemeral\"},\"role\":\"user\"");
    let told = dry(&gateway, "", marked).await;
    assert_eq!(tokens(&told, "cache_write"), tokens(&told, "input"));
    assert_eq!(told["runner_up"]["tokens"]["cache_write"], json!(0), "it bills writes as reads");
    assert_eq!(tokens(&dry(&gateway, "", agent(1, "")).await, "cache_write"), 0);
}

#[tokio::test]
async fn what_was_learned_is_there_after_a_restart_and_what_is_damaged_is_set_aside() {
    let east = Provider::start("east").await;
    let site = || Site::of(&east);
    let gateway = Gateway::of([site()]);
    east.always(provider::whole(&chat::answer("a", 9, 5)));
    for _ in 0..20 {
        gateway.chat(&chat::ask("auto")).await;
    }
    let learned = tokens(&dry(&gateway, "", chat::ask("auto")).await, "output");
    let (status, drained) = gateway.drain().await;
    assert!(status.success() && learned < 150, "{learned}");
    let directory = drained.data().to_string_lossy().into_owned();
    let again = || Setup::of([site()]).set("books.directory", &directory);

    let second = again().start();
    assert_eq!(tokens(&dry(&second, "", chat::ask("auto")).await, "output"), learned);
    second.drain().await;
    let file = drained.data().join("learned.json");
    fs::write(&file, "{\"format\":1,\"len").unwrap();

    let third = again().start();
    assert_eq!(tokens(&dry(&third, "", chat::ask("auto")).await, "output"), 400);
    assert_eq!(fs::read_to_string(drained.data().join("learned.json.damaged")).unwrap(), "{\"format\":1,\"len");
    assert!(third.setup.log().contains("set aside"));
}
