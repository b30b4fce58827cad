//! The picture at every size: what stands in it, and that nothing is wider or higher than the terminal.

use super::*;
use crate::feed::{BackendView, GatewayView, Money, TotalsView, TryView, YardstickView};
use proptest::prelude::*;

fn money_of(micros: i128) -> Money {
    Money(Usd::from_pico(micros * 1_000_000))
}

fn entry(number: u64, state: State) -> EntryView {
    let plan = crate::feed::PlanView {
        table: "t".into(),
        adequate: 2,
        considered: 3,
        candidates: [("lotus/lotus-lite", 41), ("fjord/fjord-small", 57)]
            .iter()
            .zip(1..)
            .map(|((id, micros), rank)| crate::feed::CandidateView {
                backend: (*id).into(),
                rank,
                expected_usd: money_of(*micros),
                dearest: rank == 2,
            })
            .collect(),
    };
    let answered = state == State::Answered;
    EntryView {
        number,
        request_id: "r".into(),
        client_request_id: None,
        at: "2026-11-22T16:04:59.5Z".into(),
        key: "team".into(),
        model: Some("auto".into()),
        stream: false,
        state,
        refusal: (state == State::Refused).then(|| "unknown_model".into()),
        excluded: Vec::new(),
        plan: (state != State::Refused).then_some(plan),
        tries: Vec::new(),
        answered_by: answered.then(|| "lotus/lotus-lite".into()),
        cost_usd: answered.then(|| money_of(38)),
        elsewhere_usd: answered.then(|| money_of(1_900)),
        saved_usd: answered.then(|| money_of(1_862)),
        input_tokens: answered.then_some(1_149),
        output_tokens: answered.then_some(25),
        provenance: answered.then(|| "reported".into()),
        first_byte_ms: answered.then_some(640),
        duration_ms: answered.then_some(1_200),
        status: answered.then_some(200),
    }
}

fn overview(entries: Vec<EntryView>) -> Overview {
    let sum = YardstickView { elsewhere_usd: money_of(200_000), spent_usd: money_of(40_000), saved_usd: money_of(160_000) };
    let nothing = YardstickView { elsewhere_usd: money_of(0), spent_usd: money_of(0), saved_usd: money_of(0) };
    Overview {
        gateway: GatewayView {
            version: "0.1.0".into(),
            table: "sandbox-1+aa".into(),
            api: "http://127.0.0.1:8080".into(),
            operations: "http://127.0.0.1:9090".into(),
            started: "2026-11-22T16:00:00Z".into(),
            uptime_seconds: 300,
            providers_on: 6,
            providers_off: 1,
            baseline: Some("summit/summit-max".into()),
            sandbox: true,
            keyed: false,
        },
        totals: TotalsView {
            requests: 12,
            open: 1,
            answered: 10,
            refused: 2,
            failovers: 1,
            spent_usd: money_of(41_000),
            baseline: sum,
            dearest: nothing,
        },
        backends: vec![
            BackendView { backend: "lotus/lotus-lite".into(), answered: 9, failed: 1, spent_usd: money_of(30_000) },
            BackendView { backend: "fjord/fjord-small".into(), answered: 1, failed: 0, spent_usd: money_of(11_000) },
        ],
        entries,
        sequence: 30,
    }
}

fn picture(seen: &Overview, columns: usize, rows: usize) -> Vec<String> {
    Painter { colour: false }.picture(seen, Size { columns, rows }, None)
}

#[test]
fn a_wide_terminal_has_every_column() {
    let mut moved = entry(2, State::Answered);
    moved.tries = vec![TryView { backend: "x/y".into(), cause: "rate_limited".into(), status: Some(429), cost_usd: money_of(0) }];
    let lines = picture(&overview(vec![moved, entry(1, State::Refused)]), 140, 24);
    assert_eq!(lines.len(), 24);
    assert!(lines[0].starts_with("tokenbroker [sandbox: pretend providers]  http://127.0.0.1:8080/v1  up 5 min"), "{}", lines[0]);
    assert!(lines[1].starts_with("saved 80.0 % ($0.160000)  spent $0.041000  12 requests"), "{}", lines[1]);
    let words: Vec<&str> = lines[3].split_whitespace().collect();
    let titles = ["TIME", "UTC", "KEY", "MODEL", "WINNER", "COST", "RUNNER-UP", "SAVED", "TOKENS", "FIRST", "ENDING"];
    assert_eq!(words, titles);
    let cells =
        "16:04:59  team    auto    lotus/lotus-lite   $0.000038   $0.000057   98.0 %     1,149>25   640 ms  after rate limited";
    assert_eq!(lines[4], cells);
    assert!(lines[5].ends_with("unknown model"), "{}", lines[5]);
    assert_eq!(lines[21].split_whitespace().collect::<Vec<_>>(), ["9", "1", "$0.030000", "73.1", "%", "lotus/lotus-lite"]);
    assert_eq!(lines[23], "q quits");
}

#[test]
fn a_narrow_terminal_keeps_what_matters_most() {
    let lines = picture(&overview(vec![entry(1, State::Answered)]), 52, 12);
    assert_eq!(lines[3].split_whitespace().collect::<Vec<_>>(), ["TIME", "UTC", "WINNER", "COST", "ENDING"]);
    assert!(lines[4].contains("$0.000038") && lines[4].ends_with("answered"), "{}", lines[4]);
    assert!(!lines.iter().any(|line| line.contains("BACKEND")), "no room for backends");
}

#[test]
fn an_empty_feed_and_an_old_picture_say_so() {
    let seen = overview(Vec::new());
    assert!(picture(&seen, 80, 20).iter().any(|line| line.starts_with("no request yet")));
    let old = Painter { colour: false }.picture(&seen, Size { columns: 80, rows: 20 }, Some("no gateway answers"));
    assert_eq!(old[2], "no gateway answers");
}

#[test]
fn colour_comes_only_where_it_is_wanted() {
    let seen = overview(vec![entry(1, State::Answered), entry(2, State::Failed)]);
    let size = Size { columns: 100, rows: 20 };
    assert!(Painter { colour: true }.picture(&seen, size, None).concat().contains("\x1b[32m"));
    assert!(!Painter { colour: false }.picture(&seen, size, None).concat().contains('\x1b'));
}

fn without_colour(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

proptest! {
    #[test]
    fn nothing_is_wider_or_higher_than_the_terminal(
        columns in 1_usize..220,
        rows in 1_usize..60,
        model in "\\PC{0,40}",
        count in 0_usize..40,
    ) {
        let states = [State::Open, State::Answered, State::Failed, State::Cut, State::Abandoned, State::Refused];
        let mut entries: Vec<EntryView> = states.iter().cycle().zip(1..).take(count).map(|(state, n)| entry(n, *state)).collect();
        if let Some(first) = entries.first_mut() {
            first.model = Some(model);
        }
        let lines = Painter { colour: true }.picture(&overview(entries), Size { columns, rows }, Some("trouble"));
        prop_assert_eq!(lines.len(), rows);
        // Below the width of the four columns that never go, a row is cut by the terminal.
        for line in lines.iter().filter(|_| columns >= 47) {
            prop_assert!(columns_of(&without_colour(line)) <= columns, "{columns}: {line:?}");
        }
    }
}
