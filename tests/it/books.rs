//! Promise 3: money is exact. What stands in the books is worked out again here, from the text of the table and what the
//! providers say they served, in integers of the tests' own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::money;
use crate::harness::rows::{self, AttemptRow, RequestRow};
use crate::harness::{Call, Gateway, Provider, Sandbox, Setup, Site, Step, Whole, chat, provider};

/// Backends in both currencies; the second request to the first of them finds its prompt in the cache.
const ASKED: [&str; 7] = [
    "sandbox-pearl/pearl-chat",
    "sandbox-pearl/pearl-chat",
    "sandbox-lotus/lotus-lite",
    "sandbox-summit/summit-max",
    "sandbox-fjord/fjord-large",
    "sandbox-local/local-mini",
    "sandbox-flaky/pearl-chat-r",
];

async fn ask(gateway: &Gateway, model: &str, more: &Value) -> Whole {
    let text = "Summarise the minutes of the meeting on ferry prices. ".repeat(20);
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let call = Call::chat(body.to_string()).header("x-request-id", "same-for-all").header("te", "trailers");
    let answer = gateway.ask(&call).await;
    assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
    answer
}

/// Of an answer that came whole, its header; of a stream, its trailer.
fn told_cost(answer: &Whole) -> String {
    [answer.header("x-tokenbroker-cost-usd"), answer.trailer("x-tokenbroker-cost-usd")].concat()
}

#[tokio::test]
async fn every_row_says_what_it_was_priced_by_and_costs_exactly_that() {
    let sandbox = Sandbox::start(&["--fast", "--steady"]);
    let gateway = sandbox.gateway().start();
    let mut answers = Vec::new();
    for (at, model) in ASKED.iter().enumerate() {
        answers.push(ask(&gateway, model, &json!({"stream": at % 2 == 0})).await);
    }
    let served = sandbox.served().await;
    let metrics = gateway.metrics().await;
    let (_, setup) = gateway.drain().await;

    let (requests, attempts) = (rows::requests(&setup.data()), rows::attempts(&setup.data()));
    let (prices, table) = (money::prices(sandbox.table()), requests[0].book_version.clone());
    assert_eq!((requests.len(), attempts.len(), served.len()), (ASKED.len(), ASKED.len(), ASKED.len()));
    for (((asked, answer), row), truth) in ASKED.iter().zip(&answers).zip(&attempts).zip(&served) {
        assert_eq!((row.backend.as_str(), row.ending.as_str(), row.provenance.as_str()), (*asked, "complete", "reported"));
        assert_eq!((row.input(), row.cache_read, row.output), (truth.input, truth.cached, truth.output), "{row:?}");
        let (amount, cost) = prices[&row.backend].cost(row);
        assert_eq!((i128::from(row.amount), i128::from(row.cost)), (amount, cost), "{row:?}");
        assert_eq!((told_cost(answer), row.book_version.as_str()), (money::shown(row.cost), table.as_str()));
        match row.currency.as_str() {
            "CNY" => assert_eq!((row.rate.as_str(), row.rate_date.as_str()), ("6.65", "2026-10-30")),
            _ => assert_eq!((row.currency.as_str(), row.rate.as_str()), ("USD", "1")),
        }
    }
    assert!(table.starts_with("sandbox-1"), "{table}");
    assert!(attempts[1].cache_read > 0 && attempts[1].cost < attempts[0].cost, "{attempts:#?}");
    assert_eq!(attempts.iter().map(|row| row.currency.as_str()).collect::<BTreeSet<_>>().len(), 2);
    check_ids(&requests, &answers);
    let (told, booked) = (cost_of(&metrics), requests.iter().map(|row| row.cost).sum::<i64>());
    assert_eq!(format!("{told:.12}"), format!("0.{booked:012}"), "the metric is the sum of the rows");
}

/// Ids are ours and sort by time; the client's is only a column.
fn check_ids(requests: &[RequestRow], answers: &[Whole]) {
    let ids: Vec<&str> = answers.iter().map(|answer| answer.header("x-tokenbroker-request-id")).collect();
    assert_eq!(requests.iter().map(|row| row.id.as_str()).collect::<BTreeSet<_>>(), ids.iter().copied().collect());
    assert!(requests.iter().all(|row| row.client == "same-for-all"));
    assert!(answers.iter().all(|answer| answer.header("x-request-id") == "same-for-all"));
    // Within one millisecond ids are in no order: the first twelve digits are the time.
    assert!(ids.is_sorted_by_key(|id| &id[..13]), "{ids:?}");
    assert!(requests.is_sorted_by_key(|row| row.arrived_at_us / 1_000));
}

fn cost_of(metrics: &str) -> f64 {
    let series = metrics.lines().filter(|line| line.starts_with("tokenbroker_cost_usd_total{"));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn a_foreign_amount_is_converted_once_and_a_tie_goes_to_the_even_neighbour() {
    let sandbox = Sandbox::start(&["--fast", "--steady"]);
    // The smallest price there is, and a rate of two: every odd amount is a tie.
    let table = sandbox.table().replace("per_usd = 6.65", "per_usd = 2");
    let table = table.replace("input = 0.3\noutput = 0.6", "input = 0.000001\noutput = 0.000001");
    let gateway = sandbox.gateway_with(&table).start();
    for length in 20..40 {
        ask(&gateway, "lotus-lite", &json!({"max_tokens": length, "sandbox": {"output_tokens": 60}})).await;
    }
    let (_, setup) = gateway.drain().await;

    let attempts = rows::attempts(&setup.data());
    assert_eq!(attempts.len(), 20);
    let (mut up, mut down) = (0, 0);
    for row in &attempts {
        assert_eq!(row.amount, row.input() + row.output, "{row:?}");
        assert_eq!(row.cost, [0, 0, 0, 1][usize::try_from(row.amount % 4).unwrap()] + row.amount / 2, "{row:?}");
        up += i32::from(row.amount % 4 == 3);
        down += i32::from(row.amount % 4 == 1);
    }
    assert!(up > 0 && down > 0, "ties of both kinds: {attempts:#?}");
}

/// Asks a gateway in front of scripted providers, of which the first is the cheaper one, and reads the rows after a drain.
async fn booked_after(setup: Setup, body: &str) -> (Whole, RequestRow, Vec<AttemptRow>) {
    let gateway = setup.start();
    let answer = gateway.chat(body).await;
    let (_, setup) = gateway.drain().await;
    let (mut requests, attempts) = (rows::requests(&setup.data()), rows::attempts(&setup.data()));
    assert_eq!(requests.len(), 1);
    let request = requests.remove(0);
    let sums = |of: fn(&AttemptRow) -> i64| attempts.iter().map(of).sum::<i64>();
    let count = i64::try_from(attempts.len()).unwrap();
    let told = (request.attempts, request.input, request.output, request.cost);
    assert_eq!(told, (count, sums(AttemptRow::input), sums(|row| row.output), sums(|row| row.cost)), "{attempts:#?}");
    for row in &attempts {
        assert_eq!(row.cost, row.amount, "dollars stay what they are: {row:?}");
    }
    (answer, request, attempts)
}

#[tokio::test]
async fn a_failed_attempt_has_a_row_of_its_own_that_costs_nothing() {
    let (west, east) = (Provider::start("west").await, Provider::start("east").await);
    west.next(provider::status(503, &[], &chat::error("busy")));
    let setup = Setup::of([Site::of(&west).price("0.5", "1"), Site::of(&east)]);

    let (answer, request, attempts) = booked_after(setup, &chat::ask("auto")).await;

    assert_eq!((answer.status, request.outcome.as_str()), (200, "answered"));
    let told: Vec<_> = attempts.iter().map(|a| (a.number, a.provider.as_str(), a.ending.as_str(), a.output, a.cost)).collect();
    assert_eq!(told, [(0, "west", "failed", 0, 0), (1, "east", "complete", 4, 17_000_000)]);
    assert_eq!(told_cost(&answer), money::shown(request.cost));
}

#[tokio::test]
async fn an_attempt_that_timed_out_may_have_been_billed_and_is_booked_at_what_was_expected() {
    let (west, east) = (Provider::start("west").await, Provider::start("east").await);
    west.next(vec![Step::Stall]);
    let setup = Setup::of([Site::of(&west).price("0.5", "1"), Site::of(&east)]).set("timeouts.total_ms", "600");

    let (answer, request, attempts) = booked_after(setup, &chat::ask("auto")).await;

    assert_eq!((answer.status, request.outcome.as_str(), attempts.len()), (200, "answered", 2));
    let late = &attempts[0];
    assert_eq!((late.ending.as_str(), late.provenance.as_str()), ("timed_out", "estimated"));
    assert_eq!((late.output, late.cost), (late.expected_output, late.fresh_input * 500_000 + late.output * 1_000_000));
    assert!(late.fresh_input > 0 && late.output > 0 && late.input() <= late.input_upper);
    assert_eq!((attempts[1].ending.as_str(), attempts[1].cost), ("complete", 17_000_000));
}

#[tokio::test]
async fn a_broken_stream_is_counted_and_never_free() {
    let east = Provider::start("east").await;
    let said = "The ledger was balanced by candlelight, twice.";
    east.next(provider::then(provider::begun(&[chat::role(), chat::text(said)]), [Step::Close]));

    let (answer, request, attempts) = booked_after(Setup::of([Site::of(&east)]), &chat::ask_stream("auto")).await;

    assert!(answer.text().contains(r#""error""#) && !answer.text().contains("[DONE]"), "{}", answer.text());
    assert_eq!((request.outcome.as_str(), attempts[0].ending.as_str()), ("cut", "cut"));
    check_counted(&attempts[0], said);
}

#[tokio::test]
async fn an_answer_without_a_report_is_counted() {
    let said = "Nobody said how much this was.";
    let east = Provider::start("east").await;
    let whole: Value = serde_json::from_str(&chat::answer(said, 0, 0)).unwrap();
    let mut silent = whole.clone();
    silent.as_object_mut().unwrap().remove("usage");
    for (stream, script) in [
        (false, provider::whole(&silent.to_string())),
        // Zeros for an answer that has a text are no report.
        (false, provider::whole(&whole.to_string())),
        (true, provider::stream(&[chat::role(), chat::text(said), chat::finish(), chat::DONE.to_owned()])),
    ] {
        east.next(script);
        let body = if stream { chat::ask_stream("auto") } else { chat::ask("auto") };
        let (answer, request, attempts) = booked_after(Setup::of([Site::of(&east)]), &body).await;
        assert_eq!((answer.status, request.outcome.as_str(), attempts[0].ending.as_str()), (200, "answered", "complete"));
        check_counted(&attempts[0], said);
    }
}

fn check_counted(row: &AttemptRow, said: &str) {
    let tokens = tiktoken_rs::o200k_base_singleton().count_ordinary(said);
    assert_eq!((row.provenance.as_str(), row.output), ("counted", i64::try_from(tokens).unwrap()), "{row:?}");
    assert!((3..=row.input_upper).contains(&row.input()), "{row:?}");
    assert_eq!(row.cost, row.input() * 1_000_000 + row.output * 2_000_000);
}

#[tokio::test]
async fn a_report_is_believed_whatever_was_counted() {
    let east = Provider::start("east").await;
    east.next(provider::whole(&chat::answer("Two words.", 1, 999)));

    let (_, _, attempts) = booked_after(Setup::of([Site::of(&east)]), &chat::ask("auto")).await;

    let row = &attempts[0];
    assert_eq!((row.provenance.as_str(), row.input(), row.output, row.cost), ("reported", 1, 999, 1_999_000_000));
}
