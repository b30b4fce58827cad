//! `GET /v1/usage`: the sums are the rows of the books and what clients were told, to the last digit and at once, and no key
//! sees what another one spent.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tokenbroker::units::Usd;

use crate::harness::rows;
use crate::harness::{Call, Gateway, Provider, Setup, Site, Step, Whole, chat, provider};

fn usd(amount: &Value) -> Usd {
    Usd::parse(amount.as_str().unwrap_or_else(|| panic!("{amount} is no amount"))).unwrap()
}

async fn usage(gateway: &Gateway, key: &str, parameters: &str) -> Value {
    let answer = gateway.ask(&Call::get(&format!("/v1/usage{parameters}")).key(key)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What the answer itself said it cost: in a header, or for a stream in a trailer.
fn told_cost(answer: &Whole) -> Usd {
    let told = [answer.header("x-tokenbroker-cost-usd"), answer.trailer("x-tokenbroker-cost-usd")];
    Usd::parse(told.into_iter().find(|told| !told.is_empty()).expect("a cost")).unwrap()
}

/// `west` is the cheaper of two. Keys are `web` and `batch`.
async fn two_keys() -> (Provider, Provider, Setup) {
    let (west, east) = (Provider::start("west").await, Provider::start("east").await);
    let sites = [Site::of(&west).price("0.5", "1").model("opal"), Site::of(&east).price("1.3", "2.7")];
    let setup = Setup::of(sites).set("routing.baseline", "east/jade-v3").key("web", "tb-web").key("batch", "tb-batch");
    (west, east, setup)
}

#[tokio::test]
async fn sums_are_what_clients_were_told_and_what_the_rows_say() {
    let (west, east, setup) = two_keys().await;
    let gateway = setup.start();
    let mut told: BTreeMap<&str, (u64, Usd)> = BTreeMap::new();
    for round in 0..12_u64 {
        let key = if round % 3 == 0 { "batch" } else { "web" };
        match round % 4 {
            1 => drop(west.next(provider::status(503, &[("retry-after", "0")], &chat::error("busy")))),
            2 => drop(west.next(provider::whole(&chat::answer("Hello there.", 20 + round, 7)))),
            _ => {}
        }
        let body = if round % 2 == 1 { chat::ask_stream("auto") } else { chat::ask("auto") };
        let answer = gateway.ask(&Call::chat(body).key(&format!("tb-{key}")).header("te", "trailers")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sum = told.entry(key).or_default();
        *sum = (sum.0 + 1, sum.1 + told_cost(&answer));
        // At once: what a client has seen the end of is in the sums.
        let total = usage(&gateway, &format!("tb-{key}"), "").await["total"].clone();
        assert_eq!((total["requests"].as_u64().unwrap(), usd(&total["cost_usd"])), *sum, "after round {round}");
    }
    assert!(!east.calls().is_empty() && west.calls().len() > 6, "both were asked");
    check_rows(&gateway, &["web", "batch"]).await;
}

/// Every way of telling apart adds up to the rows.
async fn check_rows(gateway: &Gateway, keys: &[&str]) {
    let data = gateway.setup.data();
    let (requests, attempts) = (rows::requests(&data), rows::attempts(&data));
    for key in keys {
        let own: Vec<_> = requests.iter().filter(|row| row.key == *key).collect();
        let tried: Vec<_> = attempts.iter().filter(|row| own.iter().any(|request| request.id == row.request)).collect();
        for group_by in ["day,model", "backend", "provider,day", "model,provider,backend,day"] {
            let list = usage(gateway, &format!("tb-{key}"), &format!("?group_by={group_by}")).await;
            let sum = |member: &str| -> u64 {
                list["data"].as_array().unwrap().iter().map(|line| line[member].as_u64().unwrap()).sum()
            };
            let cost: Usd = list["data"].as_array().unwrap().iter().map(|line| usd(&line["cost_usd"])).sum();
            let rows: i64 = tried.iter().map(|row| row.cost).sum();
            assert_eq!(cost, Usd::from_pico(rows.into()), "{group_by}");
            assert_eq!((sum("requests"), sum("attempts")), (own.len() as u64, tried.len() as u64), "{group_by}");
            let tokens = |of: fn(&rows::AttemptRow) -> i64| u64::try_from(tried.iter().map(|row| of(row)).sum::<i64>()).unwrap();
            assert_eq!(sum("input_tokens"), tokens(rows::AttemptRow::input), "{group_by}");
            assert_eq!((sum("cached_input_tokens"), sum("output_tokens")), (tokens(|r| r.cache_read), tokens(|r| r.output)));
            assert_eq!(usd(&list["total"]["cost_usd"]), cost);
            let by_backend = tried.iter().fold(BTreeMap::new(), |mut sums, row| {
                *sums.entry(row.backend.clone()).or_insert(0) += i128::from(row.cost);
                sums
            });
            if group_by == "backend" {
                let lines = list["data"].as_array().unwrap().iter();
                let lines = lines.map(|line| (line["backend"].as_str().unwrap().to_owned(), usd(&line["cost_usd"]).pico()));
                assert_eq!(lines.collect::<BTreeMap<_, _>>(), by_backend);
            }
        }
    }
    let all: i64 = attempts.iter().map(|row| row.cost).sum();
    let list = gateway.operator(&Call::get("/usage?group_by=key")).await.json();
    assert_eq!(usd(&list["total"]["cost_usd"]), Usd::from_pico(all.into()));
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(list["data"].as_array().unwrap().iter().map(|line| line["key"].as_str().unwrap()).collect::<Vec<_>>(), sorted);
}

#[tokio::test]
async fn what_failed_and_what_broke_off_counts_where_it_was_tried() {
    let (west, east, setup) = two_keys().await;
    let gateway = setup.start();
    // Fails over; the request counts at the attempt that answered.
    west.next(provider::status(503, &[], &chat::error("busy")));
    assert_eq!(gateway.ask(&Call::chat(chat::ask("auto")).key("tb-web")).await.header("x-tokenbroker-backend"), "east/jade-v3");
    // Breaks off after its first words: counted, not reported, and never free.
    east.next(provider::then(provider::begun(&[chat::role(), chat::text("Half a sentence and")]), [Step::Close]));
    let cut = gateway.ask(&Call::chat(chat::ask_stream("east/jade-v3")).key("tb-web")).await;
    assert!(cut.text().contains("error"), "{}", cut.text());

    let list = usage(&gateway, "tb-web", "?group_by=model").await;
    let lines: BTreeMap<_, _> =
        list["data"].as_array().unwrap().iter().map(|line| (line["model"].as_str().unwrap(), line.clone())).collect();
    let counts = |model: &str| ["requests", "attempts"].map(|member| lines[model][member].as_u64().unwrap());
    assert_eq!((counts("opal"), counts("jade")), ([0, 1], [2, 2]));
    assert_eq!(lines["opal"]["cost_usd"], "0");
    assert_eq!(lines["jade"]["provenance"], json!({"reported": 1, "counted": 1, "estimated": 0}));
    assert_eq!(lines["jade"]["baseline"]["requests"], 2);
    check_rows(&gateway, &["web"]).await;
}

#[tokio::test]
async fn a_key_sees_its_own_usage_only() {
    let (_west, _east, setup) = two_keys().await;
    let gateway = setup.set("keys.web.budget_usd", "0.5").set("keys.web.budget_window", "\"month\"").start();
    let answer = gateway.ask(&Call::chat(chat::ask("auto")).key("tb-web")).await;
    assert_eq!(answer.status, 200);

    let other = usage(&gateway, "tb-batch", "").await;
    assert_eq!((&other["data"], &other["total"]["requests"], &other["total"]["cost_usd"]), (&json!([]), &json!(0), &json!("0")));
    assert_eq!(other.get("budgets"), None, "it has none");

    let own = usage(&gateway, "tb-web", "").await;
    let line = &own["data"][0];
    assert_eq!((&own["object"], &own["group_by"]), (&json!("list"), &json!(["day", "model"])));
    assert_eq!((&line["model"], &line["date"], line.get("provider")), (&json!("opal"), &own["end_date"], None));
    assert_eq!(line["cost_usd"], answer.header("x-tokenbroker-cost-usd"));
    let [budget] = own["budgets"].as_array().unwrap().as_slice() else { panic!("{own}") };
    assert_eq!((&budget["of"], &budget["name"]), (&json!("key"), &json!("web")));
    assert_eq!((&budget["limit_usd"], &budget["window"], &budget["held_usd"]), (&json!("0.5"), &json!("month"), &json!("0")));
    assert_eq!(budget["spent_usd"], line["cost_usd"]);
    assert!(budget["refills_at"].as_str().is_some_and(|at| at.ends_with("-01T00:00:00Z")), "{budget}");

    let one = gateway.operator(&Call::get("/usage?key=web&group_by=provider")).await.json();
    assert_eq!((one["data"][0]["provider"].as_str(), one["data"].as_array().map(Vec::len)), (Some("west"), Some(1)));
    assert_eq!(gateway.operator(&Call::get("/usage?key=nobody")).await.json()["data"], json!([]));
}

#[tokio::test]
async fn without_keys_everybody_is_one() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east)]);
    gateway.chat(&chat::ask("auto")).await;
    let list = gateway.ask(&Call::get("/v1/usage")).await.json();
    assert_eq!((&list["total"]["requests"], &list["data"][0]["requests"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_wrong_question_is_refused_in_the_clients_shape() {
    let (_west, _east, setup) = two_keys().await;
    let gateway = setup.start();
    let stranger = gateway.ask(&Call::get("/v1/usage")).await;
    assert_eq!((stranger.status, stranger.error("code")), (401, json!("invalid_api_key")));
    for (parameters, param) in [
        ("?start_date=soon", "start_date"),
        ("?start_date=2025-01-01", "start_date"),
        ("?group_by=key", "group_by"),
        ("?key=batch", "key"),
        ("?limit=3", "limit"),
    ] {
        let refused = gateway.ask(&Call::get(&format!("/v1/usage{parameters}")).key("tb-web")).await;
        assert_eq!((refused.status, refused.error("code")), (400, json!("invalid_parameter")), "{parameters}");
        assert_eq!(refused.error("param"), param);
        assert_eq!(refused.header("x-should-retry"), "false");
    }
    let posted = gateway.ask(&Call::post("/v1/usage", "{}").key("tb-web")).await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET"));
}

/// `tokenbroker report` beside a running gateway: for programs to the last digit, for people rounded, and drawn.
#[tokio::test]
async fn a_report_tells_the_same_sums_from_the_books() {
    let (_west, _east, setup) = two_keys().await;
    let gateway = setup.start();
    for key in ["tb-web", "tb-web", "tb-batch"] {
        let answer = gateway.ask(&Call::chat(chat::ask("auto")).key(key)).await;
        gateway.row_of(&answer).await;
    }
    let report = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
        command.arg("report").args(arguments).arg("--data-dir").arg(gateway.setup.data()).env_clear();
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    };
    // 9 tokens in and 4 out, at a half and one dollar per million, where the baseline asks for 1.3 and 2.7.
    let (code, told) = report(&["--format", "csv", "--by", "key,backend"]);
    let rows = "batch,west/opal-v3,1,1,9,0,0,4,0,0.0000085,1,0.0000225,1,0,0,0\nweb,west/opal-v3,2,2,18,0,0,8,0,0.000017,2,0.000045,2,0,0,0\n";
    assert_eq!((code, told.split_once('\n').unwrap().1), (Some(0), rows), "{told}");
    let drawing = gateway.setup.path("spend.svg");
    let (code, told) = report(&["--by", "provider", "--key", "web", "--svg", &drawing.to_string_lossy()]);
    assert!(code == Some(0) && told.contains("west") && told.contains("62%") && told.contains("0.000017"), "{told}");
    assert!(std::fs::read_to_string(drawing).unwrap().contains("baseline 0.0000"));
    let (_, told) = report(&["--format", "json", "--by", "key"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let answer = gateway.operator(&Call::get("/usage?group_by=key")).await;
    assert_eq!(told, answer.json());
    let (code, told) = report(&["--by", "weekday"]);
    assert!(code == Some(2) && told.contains("one or more of day, key, model, provider, backend"), "{told}");
    let (code, told) = report(&["--from", "2026-02-01", "--to", "2026-01-31"]);
    assert!(code == Some(1) && told.contains("is after"), "{told}");
}

#[tokio::test]
async fn what_is_tagged_by_key_or_request_is_summed_up_by_tag() {
    let (_west, _east, setup) = two_keys().await;
    let gateway = setup
        .set("keys.web.tags", r#"["product:search"]"#)
        .set("teams.red.max_output_tokens", "500")
        .set("keys.batch.team", "red")
        .start();
    let tagged = chat::ask_with("auto", r#""tokenbroker":{"tags":["run=7","product:search"]}"#);
    for (key, body) in
        [("tb-web", &tagged), ("tb-web", &chat::ask("auto")), ("tb-batch", &tagged), ("tb-batch", &chat::ask("auto"))]
    {
        assert_eq!(gateway.ask(&Call::chat(body.clone()).key(key)).await.status, 200);
    }
    let by_tag = |list: &Value| -> Vec<(String, u64)> {
        let line = |line: &Value| (line["tag"].as_str().unwrap().to_owned(), line["requests"].as_u64().unwrap());
        list["data"].as_array().unwrap().iter().map(line).collect()
    };
    let own = usage(&gateway, "tb-web", "?group_by=tag").await;
    assert_eq!(by_tag(&own), [("product:search".to_owned(), 2), ("run=7".to_owned(), 1)]);
    assert_eq!(own["total"]["requests"], 2, "each once");
    let batch = usage(&gateway, "tb-batch", "?group_by=tag,model").await;
    assert_eq!(
        (by_tag(&batch), &batch["total"]["requests"]),
        (vec![("product:search".to_owned(), 1), ("run=7".to_owned(), 1)], &json!(2))
    );
    let all = gateway.operator(&Call::get("/usage?group_by=tag")).await.json();
    assert_eq!(by_tag(&all), [("product:search".to_owned(), 3), ("run=7".to_owned(), 2)]);
    let teams = gateway.operator(&Call::get("/usage?group_by=team")).await.json();
    assert_eq!(
        (&teams["data"][0]["team"], &teams["data"][0]["requests"], &teams["total"]["requests"]),
        (&json!("red"), &json!(2), &json!(4))
    );
    let misspelt = gateway.ask(&Call::chat(chat::ask("auto")).key("tb-web").header("x-tokenbroker-tags", "a b")).await;
    assert_eq!((misspelt.status, misspelt.error("param")), (400, json!("x-tokenbroker-tags")));
    assert!(!gateway.metrics().await.contains("product:search"), "a client must not be able to make a series");

    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenbroker"));
    command.args(["report", "--by", "tag", "--format", "csv", "--data-dir"]).arg(gateway.setup.data()).env_clear();
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(text.starts_with("tag,requests,") && text.contains("\nproduct:search,3,") && text.contains("\nrun=7,2,"), "{text}");
}
