//! Free quotas and prepaid balances as a client, an operator and the books see them: what is free costs nothing and is free
//! once, also for requests at the same time, across a kill and across a reload; paid money is used before other money.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::harness::site::table;
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, Whole, chat, provider};

/// What the providers' usual answer (9 tokens in, 4 out) costs at the usual prices, in 10⁻¹² dollars.
const PRICE: i64 = 17_000_000;

fn quota(members: &str) -> String {
    format!("[[backends.quotas]]\nsource = \"invented for tests\"\n{members}\n")
}

/// What an attempt cost, which quota bore any of it, and what that spared.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    minute: i64,
    backend: String,
    cost: i64,
    quota: Option<String>,
    spared: i64,
}

fn rows(data: &Path) -> Vec<Row> {
    let books = Connection::open_with_flags(data.join("ledger.sqlite3"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql =
        "SELECT started_at_us / 60000000, backend, cost_pico_usd, quota, spared_pico FROM attempts ORDER BY request, number";
    let mut select = books.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let (minute, backend, cost) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Row { minute, backend, cost, quota: row.get(3)?, spared: row.get(4)? })
    };
    select.query_map([], row).unwrap().map(Result::unwrap).collect()
}

async fn ask(gateway: &Gateway) -> Whole {
    let answer = gateway.chat(&chat::ask("auto")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Asks, and answers who answered at what cost once that is in the books.
async fn cost(gateway: &Gateway) -> (String, String) {
    let answer = ask(gateway).await;
    gateway.row_of(&answer).await;
    (answer.header("x-tokenbroker-backend").to_owned(), answer.header("x-tokenbroker-cost-usd").to_owned())
}

#[track_caller]
fn check(told: &(String, String), backend: &str, cost: &str) {
    assert_eq!((told.0.as_str(), told.1.as_str()), (backend, cost));
}

#[tokio::test]
async fn two_requests_are_free_and_the_third_costs_its_price_with_a_kill_in_between() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).more(&quota("per = \"ever\"\nrequests = 2"))]);
    let series = r#"quota_remaining{backend="east/jade-v3",kind="requests",quota="east/jade-v3/ever"}"#;
    check(&cost(&gateway).await, "east/jade-v3", "0");
    assert_eq!(gateway.sample(series).await, Some(1.0));
    assert_eq!(gateway.sample(&series.replace("remaining", "granted")).await, Some(2.0));

    let gateway = gateway.kill().start();
    assert_eq!(gateway.sample(series).await, Some(1.0));
    check(&cost(&gateway).await, "east/jade-v3", "0");
    check(&cost(&gateway).await, "east/jade-v3", "0.000017");
    assert_eq!(gateway.sample(series).await, Some(0.0));

    let booked: Vec<_> = rows(&gateway.setup.data()).into_iter().map(|row| (row.cost, row.quota, row.spared)).collect();
    let free = || (0, Some("east/jade-v3/ever".to_owned()), PRICE);
    assert_eq!(booked, [free(), free(), (PRICE, None, 0)]);
}

#[tokio::test]
async fn a_minute_has_its_own_two_free_requests() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([Site::of(&east).more(&quota("per = \"minute\"\nrequests = 2"))]);
    for _ in 0..3 {
        cost(&gateway).await;
    }
    let gateway = gateway.kill().start();
    for _ in 0..2 {
        cost(&gateway).await;
    }
    // The test may run over the turn of a minute.
    let mut minutes: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for row in rows(&gateway.setup.data()) {
        minutes.entry(row.minute).or_default().push(row.cost);
    }
    assert_eq!(minutes.values().map(Vec::len).sum::<usize>(), 5);
    for costs in minutes.values() {
        let expected: Vec<i64> = (0..costs.len()).map(|place| if place < 2 { 0 } else { PRICE }).collect();
        assert_eq!(costs, &expected);
    }
}

#[tokio::test]
async fn a_request_that_goes_beyond_its_free_tokens_is_billed_for_the_rest() {
    let east = Provider::start("east").await;
    let shared = quota("per = \"day\"\nzone = \"Asia/Shanghai\"\nshared = \"account\"\ntokens = 20");
    let gateway = Gateway::of([Site::of(&east).more(&shared)]);
    check(&cost(&gateway).await, "east/jade-v3", "0");
    // Seven of its nine tokens of input are free: they are the cheapest.
    check(&cost(&gateway).await, "east/jade-v3", "0.00001");
    check(&cost(&gateway).await, "east/jade-v3", "0.000017");
    let booked: Vec<_> = rows(&gateway.setup.data()).into_iter().map(|row| (row.quota, row.spared)).collect();
    let bore = |spared| (Some("east:account/day".to_owned()), spared);
    assert_eq!(booked, [bore(PRICE), bore(7_000_000), (None, 0)]);
    let last = gateway.all_booked(3).await.pop().unwrap();
    assert_eq!((last.cost.pico(), last.attempts[0].quota.as_deref()), (PRICE.into(), None));
}

#[tokio::test]
async fn once_a_quota_is_used_the_cheaper_backend_answers() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let dear = Site::of(&east).price("5", "5").more(&quota("per = \"ever\"\nrequests = 1"));
    let gateway = Gateway::of([dear, Site::of(&west)]);

    let decision = gateway.ask(&Call::post("/v1/route", chat::ask("auto"))).await.json();
    assert_eq!(decision["chosen"]["free_quota"]["quota"], "east/jade-v3/ever", "{decision}");
    assert_eq!(decision["chosen"]["expected_usd"], "0");
    assert_ne!(decision["chosen"]["worst_usd"], "0", "what is held must cover the price: the quota may be gone by then");
    let first = ask(&gateway).await;
    check(&cost(&gateway).await, "west/jade-v3", "0.000017");
    assert_eq!(first.header("x-tokenbroker-backend"), "east/jade-v3");

    let path = format!("/v1/decisions/{}", first.header("x-tokenbroker-request-id"));
    let told = gateway.ask(&Call::get(&path)).await.json();
    assert_eq!(told["as_booked"], true, "{told}");
    let attempt = &told["outcome"]["attempts"][0];
    assert_eq!((&attempt["cost"]["usd"], &attempt["free_quota"]["amount"]), (&"0".into(), &"0.000065".into()), "{attempt}");
}

#[tokio::test]
async fn requests_at_the_same_time_do_not_count_on_the_same_quota_and_one_that_is_lost_is_booked_in_full() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let dear = Site::of(&east).price("5", "5").more(&quota("per = \"ever\"\nrequests = 1"));
    let gateway = Gateway::of([dear, Site::of(&west)]);
    let mut script = provider::stream(&chat::hello());
    script.insert(3, Step::Wait(Gate::shut()));
    east.next(script);
    let mut open = gateway.call(&Call::chat(chat::ask_stream("auto"))).await;
    open.read_past("Hel").await;
    check(&cost(&gateway).await, "west/jade-v3", "0.000017");

    let gateway = gateway.kill().start();
    let lost = rows(&gateway.setup.data()).into_iter().find(|row| row.backend == "east/jade-v3").unwrap();
    assert!(lost.quota.is_none() && lost.cost > 5 * 13_000_000, "nobody knows that it was free: {lost:?}");
    check(&cost(&gateway).await, "west/jade-v3", "0.000017");
}

#[tokio::test]
async fn a_quota_that_a_reload_brings_in_counts_what_was_used_before() {
    let east = Provider::start("east").await;
    let setup = Setup::of([]).own_table().set("reload.watch", "false").variable("EAST_API_KEY", &east.key());
    let file = setup.path("providers.toml");
    let write = |quotas: &str| fs::write(&file, table(&[Site::of(&east).more(quotas)])).unwrap();
    write("");
    let gateway = setup.start();
    check(&cost(&gateway).await, "east/jade-v3", "0.000017");
    for (requests, costs) in [(2, ["0", "0.000017"]), (4, ["0", "0.000017"])] {
        write(&quota(&format!("per = \"ever\"\nrequests = {requests}")));
        let report = gateway.operator(&Call::post("/reload", "")).await;
        assert_eq!(report.json()["result"], "applied", "{}", report.text());
        for expected in costs {
            check(&cost(&gateway).await, "east/jade-v3", expected);
        }
    }
}

#[tokio::test]
async fn a_prepaid_balance_is_used_before_other_money_and_booked_as_what_it_costs() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let prepaid = "[providers.east.prepaid]\namount = 0.0003\nfrom = 2020-01-01T00:00:00Z\nsource = \"invented for tests\"\n";
    let gateway = Gateway::of([Site::of(&east).price("2", "2").more(prepaid), Site::of(&west)]);
    let body = chat::ask_with("auto", r#""max_tokens":50"#);
    let (call, route) = (Call::chat(body.clone()), Call::post("/v1/route", body));
    let decision = gateway.ask(&route).await.json();
    assert_eq!(
        (&decision["chosen"]["backend"], &decision["chosen"]["prepaid"]),
        (&"east/jade-v3".into(), &true.into()),
        "{decision}"
    );

    let mut gateway = gateway;
    let mut paid: i64 = 0;
    for number in 0.. {
        let answer = gateway.ask(&call).await;
        gateway.row_of(&answer).await;
        if answer.header("x-tokenbroker-backend") == "west/jade-v3" {
            break;
        }
        assert_eq!(answer.header("x-tokenbroker-cost-usd"), "0.000026");
        paid += 26_000_000;
        assert!(paid < 300_000_000, "the balance is gone");
        if number == 1 {
            gateway = gateway.kill().start();
        }
    }
    let worst: i64 = {
        let candidates: Value = gateway.ask(&route).await.json()["candidates"].clone();
        let east = candidates.as_array().unwrap().iter().find(|one| one["backend"] == "east/jade-v3").unwrap().clone();
        let worst = tokenbroker::units::Usd::parse(east["worst_usd"].as_str().unwrap()).unwrap();
        i64::try_from(worst.pico()).unwrap()
    };
    assert!(paid > 52_000_000 && paid + worst > 300_000_000, "{paid} paid, the next may cost {worst}");
    let left = gateway.sample(r#"prepaid_remaining{provider="east"}"#).await.unwrap();
    let expected = 300_000_000 - paid;
    assert!((left * 1e12 - f64::from(i32::try_from(expected).unwrap())).abs() < 1.0, "{left} {expected}");
}
