//! Facts there and back, in every form that books may hold.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::canonical::{DataRules, Direct, Feature, Parameter, Parameters, Preference, QualityTier, Shape};
use crate::catalog::{Dimensions, QuotaIndex};
use crate::route::affinity::{Session, Warm};
use crate::route::caps::Cap;
use crate::route::facts::{Headroom, Wait};
use crate::route::learned::{OutputFigures, OutputStretch};
use crate::route::testing::{Case, Spec};
use crate::units::{Cell, Currency, PiecePrice, Pieces, ShareBy, ShareKind, ShareOf, Tariff, Tokens, Usd};

fn figures(mean: u64, reasoning: u64, p50: u64, p90: u64) -> OutputFigures {
    let [mean, reasoning, p50, p90] = [mean, reasoning, p50, p90].map(Tokens::new);
    OutputFigures { mean, reasoning, p50, p90 }
}

fn case() -> Case {
    let specs = ["north/mist", "south/fog", "east/dew", "east/rime"].map(Spec::named);
    Case::of(specs.to_vec())
}

/// Everything that differs from the ordinary.
fn unusual() -> Case {
    let mut case = case();
    let list = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
    case.specs[1].health = BackendHealth { failure_share: 250_000, waiting_full: true, ..BackendHealth::default() };
    case.specs[3].health = BackendHealth { cooling: Some(Duration::new(7, 500_000_001)), ..BackendHealth::default() };
    case.keyless = list(&["south"]);
    case.request.features = Features::NONE.with(Feature::Tools).with(Feature::AudioOutput);
    case.request.reasoning = ReasoningWish::Off;
    (case.request.output_bound, case.request.choices) = (Some(Tokens::new(300)), 3);
    case.request.text = crate::canonical::TextProfile::of("请用三句话解释什么是通货膨胀。");
    case.request.wishes.quality = Some(QualityTier::Standard);
    (case.request.wishes.max_cost, case.request.wishes.race) = (Some(Usd::from_pico(77)), Some(2));
    case.request.wishes.regions = list(&["US", "EU"]);
    case.request.wishes.providers = list(&["east"]);
    case.request.wishes.excluded_providers = list(&["west"]);
    case.limits = Limits {
        providers: list(&["east", "south"]),
        excluded_providers: list(&["north"]),
        regions: list(&["US"]),
        jurisdictions: list(&["US", "CN"]),
        quality: Some(QualityTier::Premium),
        max_cost: Some(Usd::from_pico(i128::MAX)),
        may_train: false,
        ..Limits::default()
    };
    let stretch = |share, mean| OutputStretch { share, mean: Tokens::new(mean) };
    let spread = [stretch(250_000, 150), stretch(749_999, 1_150), stretch(1, u64::MAX)];
    case.learned.set([BackendIndex(0), BackendIndex(3)], figures(900, 700, 500, 4_000), spread);
    case.learned.set([BackendIndex(2)], figures(9, 0, 8, u64::MAX), []);
    case.affinity = Affinity {
        warm: vec![Warm { backend: BackendIndex(2), known: Tokens::new(u64::MAX), likely: Tokens::new(800) }],
        marked: 900_000,
        session: Some(Session {
            sealed: false,
            home: BackendIndex(2),
            turn: 7,
            remaining: 3_500_000,
            rates: vec![(BackendIndex(1), 0), (BackendIndex(2), 990_000)],
            rate: 750_000,
        }),
    };
    case.settings = Settings {
        risk_weight_percent: 350,
        default_quality: QualityTier::Premium,
        max_attempts: 9,
        longest: Duration::from_secs(90),
        ..Settings::default()
    };
    case
}

/// The same with everything that is weighed beside prices.
fn weighed() -> Case {
    let mut case = unusual();
    let wishes = &mut case.request.wishes;
    (wishes.jurisdictions, wishes.max_price) = (vec!["US".into()], Some(Usd::from_pico(9_000)));
    wishes.data = DataRules { no_training: true, max_retention_days: Some(30), registered: true };
    (wishes.prefer, wishes.deadline_ms, wishes.session) = (Some(Preference::Fastest), Some(2_500), Some("s".into()));
    case.request.stream = true;
    case.request.shape = Shape::AnthropicMessages;
    (case.limits.max_price, case.limits.max_retention_days) = (Some(Usd::from_pico(8_000)), Some(0));
    (case.limits.registered, case.limits.prefer) = (true, Some(Preference::Balanced));
    case.specs[0].health.headroom = Headroom { left: 120_000, tokens: Some(Tokens::new(5_000)) };
    case.specs[3].health.wait = Some(Wait { mean_ms: 700, spread_ms: 90 });
    let cap = |by, name: &str, kind| Cap {
        by,
        name: name.into(),
        percent: 60,
        of: ShareOf::Requests,
        kind,
        inside: 7,
        total: 11,
        closed: false,
        pressure: 950_000,
    };
    case.caps = vec![cap(ShareBy::Owner, "east", ShareKind::Soft), cap(ShareBy::Jurisdiction, "US", ShareKind::Hard)];
    case.explore = Some(Explore { seed: u64::MAX - 1, permille: 20, left: Usd::from_pico(5) });
    case.settings.price_risk_weight_percent = 250;
    case.specs[2].quotas = vec![QuotaIndex(1)];
    case.allowances = allowances::unusual();
    case
}

fn check(change: impl FnOnce(&mut Case)) {
    let mut case = weighed();
    change(&mut case);
    let table = case.table();
    case.with_facts_of(&table, |facts| {
        let bytes = facts.keep();
        let kept = Kept::read(&bytes, &table).unwrap();
        let again = kept.facts(&table);
        assert_eq!(again.ask, facts.ask);
        assert_eq!((again.target, again.input, again.limits), (facts.target, facts.input, facts.limits));
        assert_eq!((again.usable, again.affinity, again.settings), (facts.usable, facts.affinity, facts.settings));
        assert_eq!((again.expected_output, again.at), (facts.expected_output, facts.at));
        assert_eq!((again.caps, again.explore, again.learned), (facts.caps, facts.explore, facts.learned));
        assert_eq!(again.allowances, facts.allowances);
        for backend in table.backends() {
            assert_eq!(again.health_of(backend), facts.health_of(backend), "{}", backend.id);
        }
        assert_eq!(kept.decision(&table), Decision::of(explained(facts).as_ref(), &table));
        for cut in 0..bytes.len() {
            assert_eq!(Kept::read(&bytes[..cut], &table), Err(Unreadable), "cut at {cut}");
        }
    });
}

#[test]
fn every_fact_reads_back_and_no_part_of_them_does() {
    check(|_| {});
    check(|case| *case = self::case());
    check(|case| *case = unusual());
    check(|case| *case = with_own_input());
    check(|case| case.target = "auto:standard".into());
    check(|case| (case.request.no_object, case.translated) = (true, true));
    let lost = Parameters::NONE.with_if(true, Parameter::Seed);
    check(|case| case.unsaid = vec![(BackendIndex(1), Parameters::NONE), (BackendIndex(3), lost)]);
    check(|case| case.target = "dew".into());
    check(|case| case.target = "east/rime".into());
}

#[test]
fn facts_of_another_table_are_refused() {
    let case = Case { target: "east/rime".into(), ..unusual() };
    let smaller = Case::of(case.specs[..2].to_vec()).table();
    case.with_facts(|facts| assert_eq!(Kept::read(&facts.keep(), &smaller), Err(Unreadable)));
}

#[test]
fn ordinary_facts_take_little() {
    case().with_facts(|facts| {
        let bytes = facts.keep();
        assert!(bytes.len() <= 150, "{} bytes", bytes.len());
    });
}

/// What books of today hold must be readable tomorrow: whoever changes these bytes gives them a new format, and keeps
/// reading this one.
#[test]
fn the_format_is_what_it_was() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    with_own_input().with_facts(|facts| assert_eq!(hex(&facts.keep()), include_str!("../kept_5.hex").trim()));
}

/// Two backends whose reports taught what they count of the prompt.
fn with_own_input() -> Case {
    Case { own_input: vec![(BackendIndex(1), (1_400, 1_900)), (BackendIndex(3), (0, 1))], ..weighed() }
}

#[test]
fn facts_of_the_fourth_format_have_nobodys_own_count() {
    let case = weighed();
    let table = case.table();
    case.with_facts_of(&table, |facts| {
        let kept = Kept::read(&bytes_of(include_str!("../kept_4.hex")), &table).unwrap();
        assert_eq!(kept.facts(&table).keep(), facts.keep());
        assert_eq!(kept.decision(&table), Decision::of(explained(facts).as_ref(), &table));
    });
}

#[test]
fn the_models_that_a_key_may_have_are_kept() {
    let mut case = weighed();
    case.limits.models = vec![vec!["*fog".into(), "east/*".into()], vec!["*o*".into()]];
    case.with_facts(|facts| {
        let kept = Kept::read(&facts.keep(), facts.snapshot).unwrap();
        assert_eq!(kept.limits, *facts.limits);
    });
}

#[test]
fn who_may_be_asked_in_other_words_only_is_kept_with_those_who_leave_out_too_much() {
    for unsaid in [Vec::new(), vec![(BackendIndex(1), [Parameter::Seed].into_iter().collect())]] {
        let mut case = Case { other_words_only: true, translated: true, unsaid, ..weighed() };
        case.request.shape = Shape::OpenAiResponses;
        let table = case.table();
        case.with_facts_of(&table, |facts| {
            let kept = Kept::read(&facts.keep(), &table).unwrap();
            assert_eq!(kept.facts(&table).ask, facts.ask);
            assert_eq!(kept.decision(&table), Decision::of(explained(facts).as_ref(), &table));
        });
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.trim().as_bytes().chunks(2).map(digits).collect()
}

#[test]
fn facts_of_the_second_format_read_as_they_were_decided_by_the_mean() {
    let mut case = weighed();
    case.request.shape = Shape::OpenAiChat;
    let learned = std::mem::take(&mut case.learned);
    for theirs in learned.known().chunk_by(|one, next| one.0 == next.0) {
        let backends = theirs.iter().map(|(_, backend)| *backend);
        case.learned.set(backends, *learned.of(theirs[0].1).unwrap(), []);
    }
    let table = case.table();
    case.with_facts_of(&table, |facts| {
        let kept = Kept::read(&bytes_of(include_str!("../kept_2.hex")), &table).unwrap();
        assert_eq!(kept.facts(&table).keep(), facts.keep());
        assert_eq!(kept.decision(&table), Decision::of(explained(facts).as_ref(), &table));
    });
}

#[test]
fn what_is_no_conversation_is_decided_again_by_the_length_of_its_vectors() {
    for dimensions in [None, Some(256)] {
        let mut case = case();
        let embeddings = &Direct::ALL[0];
        (case.request.shape, case.request.dimensions) = (embeddings.shape, dimensions);
        case.specs[0].serves = Some(embeddings);
        case.specs[0].dimensions = Some(Dimensions { least: 1, most: 1536 });
        let table = case.table();
        case.with_facts_of(&table, |facts| {
            let kept = Kept::read(&facts.keep(), &table).unwrap();
            assert_eq!((kept.facts(&table).ask.shape, kept.facts(&table).ask.dimensions), (embeddings.shape, dimensions));
            assert_eq!(kept.decision(&table), Decision::of(explained(facts).as_ref(), &table));
        });
    }
}

#[test]
fn what_may_be_billed_by_the_piece_is_decided_again_by_as_many() {
    for direct in Direct::ALL {
        let mut case = case();
        (case.request.shape, case.request.pieces) = (direct.shape, Pieces { expected: 3, most: 400 });
        case.specs[0].serves = Some(direct);
        let mut tariff = Tariff::free(Currency::Usd);
        tariff.pieces = PiecePrice::new(2_000_000_000_000, 1_000).unwrap();
        case.specs[0].cells = vec![Cell::any(tariff)];
        let table = case.table();
        case.with_facts_of(&table, |facts| {
            let (kept, told) = (Kept::read(&facts.keep(), &table).unwrap(), Decision::of(explained(facts).as_ref(), &table));
            assert_eq!(kept.facts(&table).ask.shape, direct.shape);
            assert!(direct.piece.is_none() || kept.decision(&table) == told, "{direct:?}");
        });
    }
}

#[test]
fn shares_that_are_not_the_whole_are_no_facts() {
    let mut case = case();
    let half = OutputStretch { share: 500_000, mean: Tokens::new(5) };
    case.learned.set([BackendIndex(0)], figures(9, 0, 8, 10), [half]);
    let table = case.table();
    case.with_facts_of(&table, |facts| assert_eq!(Kept::read(&facts.keep(), &table), Err(Unreadable)));
}

#[test]
fn facts_of_the_third_format_are_of_a_chat_request() {
    let mut case = weighed();
    case.request.shape = Shape::OpenAiChat;
    let table = case.table();
    case.with_facts_of(&table, |facts| {
        let kept = Kept::read(&bytes_of(include_str!("../kept_3.hex")), &table).unwrap();
        assert_eq!(kept.facts(&table).keep(), facts.keep());
        assert_eq!(kept.decision(&table), Decision::of(explained(facts).as_ref(), &table));
    });
}

#[test]
fn facts_of_the_first_format_read_as_they_were() {
    let bytes = bytes_of(include_str!("../kept_1.hex"));
    let mut case = unusual();
    (case.learned, case.settings.longest) = (LearnedOutput::default(), Settings::default().longest);
    case.settings.price_risk_weight_percent = 0;
    let all = Tokens::new(u64::MAX);
    case.affinity = Affinity { warm: vec![Warm { backend: BackendIndex(2), known: all, likely: all }], ..Affinity::default() };
    let table = case.table();
    case.with_facts_of(&table, |facts| {
        let kept = Kept::read(&bytes, &table).unwrap();
        assert_eq!(kept.facts(&table).keep(), facts.keep());
        assert_eq!(kept.decision(&table), Decision::of(explained(facts).as_ref(), &table));
    });
    assert_eq!(Kept::read(&[&[FORMAT + 1], &bytes[1..]].concat(), &table), Err(Unreadable), "a newer one is not guessed at");
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(mut bytes: Vec<u8>) {
        let table = case().table();
        let _ = Kept::read(&bytes, &table);
        bytes.insert(0, FORMAT);
        if let Ok(kept) = Kept::read(&bytes, &table) {
            let _ = kept.decision(&table);
        }
    }

    #[test]
    fn damaged_facts_never_panic(at in 0_usize..600, to: u8) {
        let case = weighed();
        let table = case.table();
        let mut bytes = case.with_facts_of(&table, |facts: &Facts<'_>| facts.keep());
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(kept) = Kept::read(&bytes, &table) {
            let _ = kept.decision(&table);
        }
    }
}
