//! What becomes of an answer's end, whatever its client and its provider do.

use futures_util::FutureExt;

use super::*;
use crate::canonical::TextProfile;
use crate::canonical::event::{FrameFacts, FrameKind};
use crate::clock::{ManualClock, SharedClock, SystemClock};
use crate::dispatch::{Health, HealthSettings};
use crate::feed::Feed;
use crate::ledger::fixtures::{attempt_end, attempt_opened, request_opened};
use crate::ledger::{AttemptOpened, Ledger, Settings};
use crate::meter::Tokenizer;
use crate::policy::{Budget, BudgetWindow, Passage, Places};
use crate::relay::Sampler;
use crate::tasks::Tasks;
use crate::telemetry::Metrics;
use crate::units::{BilledAt, Cell, Currency, ExchangeRate, Extent, Pieces, Pricing, Sheet, Span, Tariff, TokenPrice};

/// An account with a hold, whose request is on this page.
fn opening(tab: &Arc<Tab>, budget: &Arc<Budget>, now: Timestamp) -> AccountOpening {
    AccountOpening {
        route: Route::ChatCompletions,
        key: KeyName::new("team"),
        arrived: Duration::ZERO,
        tab: Arc::clone(tab),
        hold: budget.alone().hold(Usd::from_pico(1_000_000_000), now).unwrap(),
        place: Places::default().take(1).unwrap(),
        passage: Passage::free(),
        baseline: None,
        shown: Shown::nowhere(),
    }
}

fn desk() -> Arc<Desk> {
    Arc::new(Desk {
        tokenizer: Tokenizer::new(),
        metrics: Arc::new(Metrics::new([]).unwrap()),
        feed: Feed::new(true),
        served: Arc::default(),
        reports: Arc::default(),
        tasks: Tasks::on_this_runtime(),
        clock: SystemClock::shared(),
        sampler: Sampler::new(0, Duration::ZERO),
        conversation: |_, _| None,
        prompt_text: |_| String::new(),
        asks_long_cache: |prompt| prompt == b"for an hour",
    })
}

fn sheet(cells: Vec<Cell>) -> Arc<Sheet> {
    Arc::new(Sheet::new(cells, Extent::Whole, 0, 0).unwrap())
}

/// A cell at so many 10⁻¹² dollars for a token out; a token in costs one, ten where a cache keeps it for an hour.
fn cell(thinking: Option<bool>, output: u64) -> Cell {
    let price = TokenPrice::from_pico;
    Cell { thinking, ..Cell::any(Tariff { cache_write_long: price(10), ..Tariff::flat(Currency::Usd, price(1), price(output)) }) }
}

fn terms(pricing: Pricing) -> Terms {
    Terms::new(pricing, ExchangeRate::USD, "2026-11-20").unwrap()
}

/// Settles one whole answer that an attempt got at these terms, told as the caller tells it.
async fn settled(
    desk: &Arc<Desk>,
    opened: AttemptOpened,
    prompt: &'static [u8],
    tell: impl FnOnce(&mut Settlement),
) -> SettledAttempt {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(Settings::new(folder.path()), SystemClock::shared()).unwrap();
    let tab = Arc::new(ledger.begin(request_opened(1)).unwrap());
    let now = desk.clock.wall();
    let budget = Budget::new(Usd::from_pico(1_000_000_000_000), BudgetWindow::Total, Usd::ZERO, now);
    let opening = opening(&tab, &budget, now);
    let basis = AnswerBasis {
        pieces: Pieces::default(),
        media: None,
        backend: opened.backend.clone(),
        endpoint: Shape::OpenAiChat,
        asked_model: "fast".into(),
        family: TokenizerFamily::O200k,
        says_lifetimes: true,
        input_estimate: Tokens::new(10),
        compared: Some(Compared { text: TextProfile::of("a prompt"), estimate: Tokens::new(10) }),
        factors: None,
        asked_in: Shape::OpenAiChat,
        prompt: Bytes::from_static(prompt),
        first_byte: Duration::ZERO,
        sent: desk.clock.monotonic(),
        thinking: opened.thinking,
        learn: Box::new(|_| {}),
    };
    let health = Health::new(Arc::clone(&desk.clock), HealthSettings::default());
    let turn = health.enter(&opened.backend).unwrap();
    let account = Account::open(Arc::clone(desk), opening);
    let mut settlement = Settlement::new(tab.attempt(opened), account, RunningCount::new(), turn, basis);
    tell(&mut settlement);
    settlement.end(Ending::Complete).await.unwrap();
    let [attempt] = &tab.settled_attempts()[..] else { panic!("one attempt was made") };
    attempt.clone()
}

/// Fixed once: the instant was taken after the count, so that an answer which was complete in a cheap hour was booked at the
/// dear one that began while it was counted.
#[tokio::test]
async fn an_answer_is_complete_before_it_is_counted() {
    static CLOCK: std::sync::OnceLock<Arc<ManualClock>> = std::sync::OnceLock::new();
    let origin: Timestamp = "2026-11-23T01:00:00Z".parse().unwrap();
    let clock = CLOCK.get_or_init(|| ManualClock::starting_at(origin));
    let counts_for_long = |_: &[u8]| {
        CLOCK.get().unwrap().advance(Duration::from_mins(1));
        "a prompt".to_owned()
    };
    let shared: SharedClock = clock.clone();
    let desk = Arc::new(Desk { clock: shared, prompt_text: counts_for_long, ..Arc::into_inner(desk()).unwrap() });
    let span = |until, output| Span { until, price: "p".into(), sheet: sheet(vec![cell(None, output)]) };
    let dear_from = origin + Duration::from_secs(30);
    let pricing = Pricing::new(BilledAt::Completion, vec![span(Some(dear_from), 4), span(None, 8)]).unwrap();
    let opened = AttemptOpened { terms: terms(pricing), started_at: origin, ..attempt_opened() };
    let attempt = settled(&desk, opened, b"a prompt", |settlement| settlement.add_text("an answer")).await;
    assert!(desk.clock.monotonic() >= Duration::from_mins(1), "it was counted");
    assert_eq!(attempt.course.completed, Some(origin));
    let Usage { output, .. } = attempt.usage;
    assert_eq!(attempt.cost.usd.pico(), i128::from(attempt.usage.input().get() + 4 * output.get()));
}

/// Fixed once: a model that may think or not, and a provider that streamed its reasoning and reported no reasoning tokens:
/// the answer was booked at the price of those that do not think.
#[tokio::test]
async fn reasoning_that_was_heard_and_not_reported_is_booked_as_thinking() {
    let pricing = || Pricing::steady("p".into(), sheet(vec![cell(Some(false), 2), cell(Some(true), 8)]));
    let desk = desk();
    let check = async |thinking, heard: bool, reported: u64, expected: (i128, u64)| {
        let opened = AttemptOpened { terms: terms(pricing()), thinking, ..attempt_opened() };
        let usage = Usage { reasoning: Tokens::new(reported), ..Usage::fresh(Tokens::new(5), Tokens::new(40)) };
        let attempt = settled(&desk, opened, b"", |settlement| {
            settlement.add_text("hm, well");
            settlement.add_text("yes then");
            settlement.heard_reasoning(if heard { 8 } else { 0 });
            settlement.reported(Some(usage), false);
        });
        let attempt = attempt.await;
        assert_eq!((attempt.cost.usd.pico(), attempt.usage.reasoning.get()), expected, "{thinking:?} {heard} {reported}");
        assert_eq!(attempt.provenance, Provenance::Reported);
    };
    check(Thinking::Unsaid, true, 0, (5 + 40 * 8, 20)).await;
    check(Thinking::Unsaid, true, 3, (5 + 40 * 8, 3)).await;
    check(Thinking::Unsaid, false, 0, (5 + 40 * 2, 0)).await;
    // What was decided before decides: an answer that thinks aloud all the same is billed as was asked.
    check(Thinking::Off, true, 0, (5 + 40 * 2, 0)).await;
    check(Thinking::On, true, 0, (5 + 40 * 8, 0)).await;
}

/// Fixed once: what was written to a cache for an hour was booked at the price of minutes where the report gave one figure
/// for both.
#[tokio::test]
async fn cache_writes_of_no_told_lifetime_are_kept_as_long_as_was_asked() {
    let pricing = || Pricing::steady("p".into(), sheet(vec![cell(None, 2)]));
    let desk = desk();
    let check = async |prompt, long: u64, told: bool, expected: i128| {
        let opened = AttemptOpened { terms: terms(pricing()), ..attempt_opened() };
        let (written, long) = (Tokens::new(30), Tokens::new(long));
        let usage = Usage { cache_write: written, cache_write_long: long, ..Usage::fresh(Tokens::new(5), Tokens::new(40)) };
        let attempt = settled(&desk, opened, prompt, |settlement| settlement.reported(Some(usage), told));
        assert_eq!(attempt.await.cost.usd.pico(), 5 + 40 * 2 + expected, "{long:?} {told}");
    };
    check(b"for an hour", 0, false, 30 * 10).await;
    check(b"for minutes", 0, false, 30).await;
    check(b"for an hour", 0, true, 30).await;
    check(b"for an hour", 10, true, 20 + 10 * 10).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_end_is_written_has_spent_it() {
    let folder = tempfile::tempdir().unwrap();
    let (desk, now) = (desk(), SystemClock::shared().wall());
    let (ledger, _) = Ledger::open(Settings::new(folder.path()), Arc::clone(&desk.clock)).unwrap();
    let budget = Budget::new(Usd::from_pico(1_000_000_000_000), BudgetWindow::Total, Usd::ZERO, now);
    for leaves_before_its_end in [false, true] {
        let (spent, _) = budget.standing();
        let tab = Arc::new(ledger.begin(request_opened(u64::from(leaves_before_its_end))).unwrap());
        let page = tab.attempt(attempt_opened());
        let opening = opening(&tab, &budget, now);
        let account = Account::open(Arc::clone(&desk), opening);
        page.settle(attempt_end(10, 20));
        if leaves_before_its_end {
            drop(account);
        } else {
            let mut closing = Box::pin(account.close(Outcome::Answered, 200, None));
            let _ = futures_util::poll!(&mut closing);
        }
        assert!(tab.spent() > Usd::ZERO);
        assert_eq!(budget.standing(), (spent + tab.spent(), Usd::ZERO));
    }
}

/// Fixed once: what a provider reported with its first frames was forgotten where nothing of them went out.
#[tokio::test]
async fn what_the_first_frames_report_is_booked_before_they_go_out() {
    let usage = Usage::fresh(Tokens::new(7), Tokens::new(3));
    let facts = FrameFacts { usage: Some(usage), ..FrameFacts::only(FrameKind::UsageOnly) };
    let held = [Frame { bytes: Bytes::new(), facts }];
    let desk = desk();
    let begins = |settlement: &mut Settlement| settlement.begins(&held).now_or_never().unwrap().unwrap();
    let attempt = settled(&desk, attempt_opened(), b"", begins).await;
    assert_eq!((attempt.usage, attempt.provenance), (usage, Provenance::Reported));
}
