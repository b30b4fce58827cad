//! What must hold of every plan, over generated tables and requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::LazyLock;

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::sample::Index;

use super::affinity::{Affinity, Session, Warm};
use super::board::Board;
use super::caps::{Cap, covers};
use super::facts::{BackendHealth, Explore, Facts, Headroom, Prepaid, Wait};
use super::kept::Kept;
use super::plan::{Node, Plan, explained, plan};
use super::testing::{Case, Price, Spec};
use super::{Settings, Unfit};
use crate::canonical::{Feature, Features, Preference, QualityTier, ReasoningWish};
use crate::catalog::{BackendIndex, QuotaIndex, Reasoning, Snapshot};
use crate::units::{Amount, Counted, Currency, Grant, ShareBy, ShareKind, ShareOf, Tokens, Usd};

fn price() -> impl Strategy<Value = Price> {
    let currency = prop_oneof![4 => Just(Currency::Usd), 3 => Just(Currency::Cny), 1 => Just(Currency::Eur)];
    (1_u64..20, 1_u64..20, 1_u64..60, currency).prop_map(|(input, cache_read, output, currency)| {
        let pico = |tenths| tenths * 100_000;
        Price { input: pico(input), cache_read: pico(cache_read), output: pico(output), currency }
    })
}

fn health() -> impl Strategy<Value = BackendHealth> {
    let share = prop_oneof![3 => Just(0_u32), 1 => 0_u32..=1_000_000];
    let cooling = prop_oneof![9 => Just(None), 1 => (0_u64..90).prop_map(|s| Some(std::time::Duration::from_secs(s)))];
    let left = prop_oneof![3 => Just(1_000_000_u32), 1 => 0_u32..1_000_000];
    let wait = prop::option::of((1_u32..9_000, 0_u32..3_000).prop_map(|(mean_ms, spread_ms)| Wait { mean_ms, spread_ms }));
    (share, cooling, prop::bool::weighted(0.1), left, wait).prop_map(|(failure_share, cooling, waiting_full, left, wait)| {
        BackendHealth { failure_share, cooling, waiting_full, headroom: Headroom { left, tokens: None }, wait }
    })
}

fn features() -> impl Strategy<Value = Features> {
    prop::sample::subsequence(vec![Feature::Tools, Feature::JsonSchema, Feature::ImageInput], 0..=3)
        .prop_map(|features| features.into_iter().collect())
}

fn spec(n: usize) -> impl Strategy<Value = Spec> {
    let reasoning = prop_oneof![Just(Reasoning::Never), Just(Reasoning::Switchable), Just(Reasoning::Always)];
    let price = prop_oneof![9 => price().prop_map(Some), 1 => Just(None)];
    let sizes = (1_000_u64..20_000, 100_u64..5_000);
    let quality = prop::option::weighted(0.9, 0_u8..=100);
    (0_usize..4, price, prop::bool::weighted(0.1), sizes, features(), reasoning, quality, health()).prop_map(
        move |(provider, price, free, (context, max_output), features, reasoning, quality, health)| {
            let named = Spec::named(&format!("p{provider}/m{n:02}"));
            Spec { price, free, context, max_output, features, reasoning, quality, health, ..named }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let specs: Vec<_> = (0..12).map(spec).collect();
    let reasoning = prop_oneof![4 => Just(ReasoningWish::Unsaid), 1 => Just(ReasoningWish::Off), 1 => Just(ReasoningWish::On)];
    let wanted = prop_oneof![3 => Just(Features::NONE), 1 => features()];
    let bound = prop::option::of(1_u64..2_000);
    let max_cost = prop::option::weighted(0.2, 1_i128..30_000_000_000);
    let sizes = (0_u64..3_000, 0_u64..500, 0_u64..2_000);
    (specs, 1_usize..=12, reasoning, wanted, bound, max_cost, sizes, prop::option::of(1_u8..=4), 1_usize..6).prop_map(
        |(mut specs, rows, reasoning, wanted, bound, max_cost, (input, slack, output), race, max_attempts)| {
            specs.truncate(rows);
            let mut case = Case::of(specs);
            case.input = (input, input + slack);
            (case.forecast.plain, case.forecast.thinking) = (Tokens::new(output), Tokens::new(4 * output));
            (case.request.reasoning, case.request.features) = (reasoning, wanted);
            case.request.output_bound = bound.map(Tokens::new);
            (case.request.wishes.max_cost, case.request.wishes.race) = (max_cost.map(Usd::from_pico), race);
            case.settings = Settings { max_attempts, ..Settings::default() };
            case
        },
    )
}

fn cap() -> impl Strategy<Value = Cap> {
    let who = prop_oneof![
        4 => (0_usize..4).prop_map(|n| (ShareBy::Provider, format!("p{n}"))),
        1 => (0_usize..4).prop_map(|n| (ShareBy::Owner, format!("p{n}"))),
        1 => Just((ShareBy::Jurisdiction, "US".to_owned())),
    ];
    (who, any::<bool>(), 0_u32..1_500_000).prop_map(|((by, name), hard, pressure)| {
        let (kind, of) = (if hard { ShareKind::Hard } else { ShareKind::Soft }, ShareOf::Spend);
        let closed = hard && pressure >= 1_000_000;
        Cap { by, name, percent: 50, of, kind, inside: i128::from(pressure), total: 2_000_000, closed, pressure }
    })
}

/// What is left of free quotas, who draws on them (a backend's place, a quota's), and balances by provider.
type Allotted = (Vec<Grant>, Vec<(usize, u32)>, BTreeMap<String, Prepaid>);

fn allowances() -> impl Strategy<Value = Allotted> {
    let left = || prop::option::of(0_u64..4_000);
    let counts = (prop::option::weighted(0.2, 0_u64..3), left(), left(), left());
    let grant = counts.prop_map(|(requests, any, input, output)| {
        Grant::by(|counted| match counted {
            Counted::Requests => requests,
            Counted::Tokens => any,
            Counted::InputTokens => input,
            Counted::OutputTokens => output,
        })
    });
    let balance = (0_i128..40_000_000_000, any::<bool>())
        .prop_map(|(pico, outlasts)| Prepaid { left: Amount::from_pico(pico, Currency::Usd), outlasts });
    let balances = prop::collection::btree_map((0_usize..4).prop_map(|n| format!("p{n}")), balance, 0..3);
    (prop::collection::vec(grant, 0..3), prop::collection::vec((0_usize..12, 0_u32..3), 0..6), balances)
}

/// A case in which more than prices and failures weighs; nothing is explored.
fn weighed() -> impl Strategy<Value = Case> {
    let prefer = prop::option::of(prop::sample::select(Preference::ALL.to_vec()));
    let caps = prop::collection::vec(cap(), 0..4);
    let steps = prop::collection::vec((0_usize..12, -200_i64..40, prop::sample::select(vec!["0.3", "1", "4"])), 0..6);
    (case(), caps, prefer, prop::option::of(1_u64..8_000), any::<bool>(), steps, allowances()).prop_map(
        |(mut case, caps, prefer, deadline, session, steps, (free, drawing, balances))| {
            (case.allowances.free, case.balances) = (free, balances);
            for (n, quota) in drawing {
                if let Some(spec) = case.specs.get_mut(n) {
                    spec.quotas.push(QuotaIndex(quota));
                }
            }
            (case.caps, case.request.wishes.prefer, case.request.wishes.deadline_ms) = (caps, prefer, deadline);
            case.request.wishes.session = session.then(|| "s".to_owned());
            for (n, hours, dollars) in steps {
                if let Some(spec) = case.specs.get_mut(n) {
                    spec.later.push((hours, dollars));
                }
            }
            case
        },
    )
}

fn exploring() -> impl Strategy<Value = Case> {
    (weighed(), any::<u64>(), 0_u16..=1000, 0_i128..20_000_000_000).prop_map(|(case, seed, permille, left)| Case {
        explore: Some(Explore { seed, permille, left: Usd::from_pico(left) }),
        ..case
    })
}

/// A conversation under way, warm at some.
fn conversing() -> impl Strategy<Value = Case> {
    let warm = prop::collection::btree_map(0_u32..12, 1_u64..3_000, 0..3);
    let figures = (0_u32..12, 0_u64..20_000_000, 0_u32..=1_000_000, 1_u32..4);
    (weighed(), warm, figures).prop_map(|(mut case, warm, (home, remaining, rate, choices))| {
        case.request.choices = choices;
        let rows = u32::try_from(case.specs.len()).unwrap();
        let read = |(n, tokens)| Warm { backend: BackendIndex(n), known: Tokens::new(tokens), likely: Tokens::new(tokens) };
        let warm = warm.into_iter().filter(|(n, _)| *n < rows).map(read).collect();
        let session =
            Session { home: BackendIndex(home % rows), sealed: remaining % 5 == 0, turn: 3, remaining, rates: Vec::new(), rate };
        Case { affinity: Affinity { warm, marked: 0, session: Some(session) }, ..case }
    })
}

/// A plan told by ids and amounts, which do not depend on the order of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    shape: Result<String, ()>,
    candidates: Vec<(String, Usd, Usd)>,
    /// Sorted by id.
    rejected: Vec<(String, Unfit)>,
}

impl Told {
    fn of(case: &Case) -> Self {
        let (snapshot, plan) = case.plan();
        let id = |index| snapshot.backend(index).id.to_string();
        let rejected = plan.as_ref().map_or_else(|error| error.rejected().to_vec(), |plan| plan.rejected.all());
        let mut rejected: Vec<_> = rejected.iter().map(|(index, unfit)| (id(*index), *unfit)).collect();
        rejected.sort_by(|a, b| a.0.cmp(&b.0));
        let candidates = plan.map_or_else(|_| Vec::new(), |plan| plan.candidates.clone());
        let candidates = candidates.iter().map(|c| (id(c.backend), c.quote.expected, c.score.weighed)).collect();
        Self { shape: case.shape().map_err(|_| ()), candidates, rejected }
    }

    fn chosen(&self) -> Option<&str> {
        self.candidates.first().map(|(id, ..)| id.as_str())
    }
}

/// The case without one backend.
fn without(case: &Case, id: &str) -> Case {
    let mut fewer = case.clone();
    fewer.specs.retain(|spec| spec.id() != id);
    fewer
}

/// The rules that matter most, told a second time from the generated rows alone. Where `thinkers` are left, those that do not think are not
/// asked to.
fn broken_rule(case: &Case, spec: &Spec, thinkers: bool) -> Option<&'static str> {
    let request = &case.request;
    let bound = request.output_bound.map_or(1, Tokens::get);
    let broken = [
        (!request.features.missing_from(spec.features).is_empty(), "features"),
        (request.reasoning == ReasoningWish::Off && spec.reasoning == Reasoning::Always, "always thinks"),
        (request.reasoning == ReasoningWish::On && spec.reasoning == Reasoning::Never && thinkers, "never thinks"),
        (case.input.1 + bound > spec.context, "window"),
        (request.output_bound.is_some() && bound > spec.max_output, "output"),
        (!spec.free && spec.price.is_none(), "price"),
        (!spec.free && spec.price.is_some_and(|price| price.currency == Currency::Eur), "exchange rate"),
        (spec.health.cooling.is_some() || spec.health.waiting_full, "health"),
    ];
    broken.into_iter().find(|(is_broken, _)| *is_broken).map(|(_, rule)| rule)
}

fn plan_of(case: &Case) -> Option<(Snapshot, Arc<Plan>)> {
    let (snapshot, plan) = case.plan();
    plan.ok().map(|plan| (snapshot, plan))
}

proptest! {
    /// What a backend's own reports taught is what it is judged and quoted by, and nobody else is.
    #[test]
    fn a_backends_own_count_is_its_own(case in case(), place in 0_usize..12, own in (1_u64..4_000, 0_u64..900)) {
        let index = BackendIndex(u32::try_from(place % case.specs.len()).unwrap());
        let (own, other) = ((own.0, own.0 + own.1), case.input);
        let case = Case { own_input: vec![(index, own)], ..case };
        case.with_facts(|facts| {
            let all = explained(facts).map(|whole| whole.plan.candidates.clone()).unwrap_or_default();
            for candidate in all {
                let (expected, upper) = if candidate.backend == index { own } else { other };
                prop_assert_eq!(candidate.quote.input_upper.get(), upper);
                prop_assert_eq!(candidate.quote.usage.input().get(), expected);
            }
            Ok(())
        })?;
    }

    #[test]
    fn every_backend_is_a_candidate_or_rejected_for_a_rule_it_breaks(case in case()) {
        let told = Told::of(&case);
        let thinkers = told.rejected.iter().any(|(_, unfit)| *unfit == Unfit::ReasoningMissing);
        for spec in &case.specs {
            let candidate = told.candidates.iter().any(|(id, ..)| *id == spec.id());
            let rejected = told.rejected.iter().find(|(id, _)| *id == spec.id()).map(|(_, unfit)| *unfit);
            prop_assert!(candidate != rejected.is_some(), "exactly one of both");
            match rejected {
                None => prop_assert_eq!(broken_rule(&case, spec, thinkers), None),
                Some(Unfit::TooDear { worst, max }) => prop_assert!(worst > max && case.request.wishes.max_cost == Some(max)),
                Some(unfit) => prop_assert!(broken_rule(&case, spec, thinkers).is_some(), "{unfit}"),
            }
        }
    }

    #[test]
    fn a_plan_that_looks_no_further_than_it_must_is_the_same(case in prop_oneof![exploring(), conversing()]) {
        let table = case.table();
        case.with_facts_of(&table, same_if_short)?;
    }

    #[test]
    fn kept_facts_decide_and_explain_as_the_facts_did(case in exploring()) {
        let (table, told) = (case.table(), case.decision());
        let kept = case.with_facts_of(&table, |facts| Kept::read(&facts.keep(), &table));
        prop_assert_eq!(kept.map(|kept| kept.decision(&table)), Ok(told));
    }

    #[test]
    fn no_adequate_backend_is_cheaper_at_no_more_risk(case in case()) {
        let Some((_, plan)) = plan_of(&case) else { return Ok(()) };
        let chosen = plan.candidates[0];
        for other in plan.candidates.iter().filter(|other| other.score.risk <= chosen.score.risk) {
            prop_assert!(other.quote.expected >= chosen.quote.expected);
        }
    }

    #[test]
    fn a_rejected_backend_might_as_well_not_be_there(case in exploring(), pick: Index) {
        let mut told = Told::of(&case);
        prop_assume!(!told.rejected.is_empty());
        let (id, _) = told.rejected.remove(pick.index(told.rejected.len()));
        prop_assert_eq!(Told::of(&without(&case, &id)), told);
    }

    #[test]
    fn removing_one_that_was_not_chosen_keeps_the_choice(case in weighed(), pick: Index) {
        let told = Told::of(&case);
        prop_assume!(told.candidates.len() > 1);
        let (id, ..) = &told.candidates[1 + pick.index(told.candidates.len() - 1)];
        let fewer = Told::of(&without(&case, id));
        prop_assert_eq!(fewer.chosen(), told.chosen());
    }

    #[test]
    fn raising_a_price_never_makes_its_backend_win(case in weighed(), pick: Index, raise in (0_u64..5, 0_u64..5, 0_u64..5)) {
        let told = Told::of(&case);
        let n = pick.index(case.specs.len());
        let id = case.specs[n].id();
        prop_assume!(told.chosen() != Some(id.as_str()) && case.specs[n].price.is_some());
        let mut dearer = case.clone();
        if let Some(price) = dearer.specs[n].price.as_mut() {
            price.input += raise.0 * 100_000;
            price.cache_read += raise.1 * 100_000;
            price.output += raise.2 * 100_000;
        }
        let after = Told::of(&dearer);
        prop_assert_ne!(after.chosen(), Some(id.as_str()));
        prop_assert_eq!(after.chosen(), told.chosen(), "nor anybody else's win");
    }

    #[test]
    fn the_order_of_the_table_does_not_matter(
        (case, shuffled) in exploring().prop_flat_map(|case| (Just(case.clone()), Just(case.specs).prop_shuffle())),
    ) {
        let other = Case { specs: shuffled, ..case.clone() };
        prop_assert_eq!(Told::of(&other), Told::of(&case));
    }

    #[test]
    fn a_plan_names_each_candidate_at_most_once_and_nobody_else(case in exploring()) {
        let Some((snapshot, plan)) = plan_of(&case) else { return Ok(()) };
        let mut planned: Vec<_> = plan.root.attempts().map(|attempt| attempt.backend).collect();
        prop_assert_eq!(planned.first(), Some(&plan.candidates[0].backend));
        prop_assert_eq!(planned.len(), plan.candidates.len().min(case.settings.max_attempts));
        prop_assert!(planned.iter().all(|index| plan.candidates.iter().any(|c| c.backend == *index)));
        let providers = |planned: &[_]| planned.iter().map(|i| snapshot.backend(*i).provider).collect::<std::collections::BTreeSet<_>>().len();
        let all: Vec<_> = plan.candidates.iter().map(|c| c.backend).collect();
        prop_assert_eq!(providers(&planned), providers(&all).min(planned.len()), "as many providers as can be");
        planned.sort_unstable();
        planned.dedup();
        prop_assert_eq!(planned.len(), plan.root.attempts().count());
    }

    #[test]
    fn a_score_is_its_cost_and_its_premiums(case in exploring()) {
        let Some((_, plan)) = plan_of(&case) else { return Ok(()) };
        for candidate in &plan.candidates {
            let premiums = candidate.score.premiums(candidate.quote.expected, plan.floor);
            prop_assert_eq!(candidate.score.weighed, candidate.quote.expected + premiums.sum());
            let adds = |word: &str, premium: Usd| if word == "prepaid" { Usd::ZERO >= premium } else { premium >= Usd::ZERO };
            prop_assert!(premiums.named().iter().all(|(word, premium)| adds(word, *premium)));
            prop_assert!(candidate.score.weighed >= Usd::ZERO);
        }
    }

    #[test]
    fn nobody_inside_a_closed_cap_is_asked_and_what_that_costs_is_told(case in weighed()) {
        let Some((snapshot, plan)) = plan_of(&case) else { return Ok(()) };
        let open = Case { caps: Vec::new(), ..case.clone() };
        let (_, without) = plan_of(&open).expect("what is adequate with caps is adequate without");
        // Who does not think may be asked only because the others are inside a cap.
        prop_assume!(plan.needs.thinks == without.needs.thinks);
        for candidate in &plan.candidates {
            let provider = snapshot.provider(candidate.provider);
            let shut = case.caps.iter().filter(|cap| cap.closed).any(|cap| covers(cap.by, &cap.name, provider));
            prop_assert!(!shut, "{}", provider.id);
        }
        let (chosen, best) = (plan.candidates[0], without.candidates[0]);
        let told = plan.cap_cost.as_ref().map(|cost| (cost.instead_of, cost.expected, cost.more));
        let displaced = (best.backend, best.quote.expected, chosen.quote.expected - best.quote.expected);
        prop_assert_eq!(told, (chosen.backend != best.backend).then_some(displaced));
    }

    #[test]
    fn exploring_keeps_to_its_money_and_to_the_candidates(case in exploring()) {
        let Some((_, plan)) = plan_of(&case) else { return Ok(()) };
        let (_, best) = plan_of(&Case { explore: None, ..case.clone() }).expect("there is a plan");
        let (chosen, left) = (plan.candidates[0], case.explore.map_or(Usd::ZERO, |explore| explore.left));
        let Some(explored) = plan.explored else {
            prop_assert_eq!(plan, best);
            return Ok(());
        };
        prop_assert_eq!(explored.instead_of, best.candidates[0].backend);
        prop_assert!(best.candidates.contains(&chosen) && explored.more <= left);
        prop_assert!(chosen.quote.expected - best.candidates[0].quote.expected <= explored.more);
    }

    #[test]
    fn what_is_held_covers_each_attempt_and_all_of_a_race_and_never_more_than_allowed(case in exploring()) {
        let Some((_, plan)) = plan_of(&case) else { return Ok(()) };
        let held = plan.worst_case();
        for attempt in plan.root.attempts() {
            prop_assert!(attempt.quote.expected <= attempt.quote.worst && attempt.quote.worst <= held);
        }
        let Node::Sequence(nodes) = &plan.root else { panic!("a plan is a sequence") };
        let together = nodes[0].attempts().map(|attempt| attempt.quote.worst).sum::<Usd>();
        prop_assert_eq!((nodes[0].worst_case(), plan.first_case()), (together, together));
        prop_assert!(nodes[0].attempts().count() <= case.request.wishes.race.map_or(1, usize::from));
        prop_assert!(nodes[1..].iter().all(|node| matches!(node, Node::Attempt(_))));
        prop_assert!(case.request.wishes.max_cost.is_none_or(|max| held <= max));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn over_the_shipped_table_it_is_the_same_too(
        (input, plain, bound) in (1_u64..400_000, 1_u64..20_000, prop::option::of(1_u64..9_000)),
        (wanted, quality) in (features(), prop::option::of(prop::sample::select(vec![QualityTier::Standard, QualityTier::Premium]))),
        (hours, session, keyless) in (-20_000_i64..3_000, any::<bool>(), prop::collection::vec(any::<Index>(), 0..40)),
    ) {
        let mut case = Case { input: (input, input + input / 10), specs: Vec::new(), ..Case::default() };
        case.keyless = keyless.iter().map(|at| at.get(SHIPPED.providers()).id.clone()).collect();
        (case.forecast.plain, case.forecast.thinking) = (Tokens::new(plain), Tokens::new(4 * plain));
        (case.request.output_bound, case.request.features) = (bound.map(Tokens::new), wanted);
        (case.request.wishes.quality, case.request.wishes.session) = (quality, session.then(|| "s".to_owned()));
        case.with_facts_of(&SHIPPED, |facts| {
            let at = facts.at + SignedDuration::from_hours(hours);
            same_if_short(&Facts { at, board: &Board::of(&SHIPPED, at), ..facts.clone() })
        })?;
    }
}

static SHIPPED: LazyLock<Snapshot> =
    LazyLock::new(|| Snapshot::parse("providers.toml", include_str!("../../providers.toml")).unwrap());

/// Whether a plan that looks no further than it must is as one that looks at everybody.
fn same_if_short(facts: &Facts<'_>) -> Result<(), TestCaseError> {
    let (short, whole) = (plan(facts), explained(facts).map(|whole| whole.plan));
    let (Ok(short), Ok(whole)) = (&short, &whole) else {
        prop_assert_eq!(short, whole);
        return Ok(());
    };
    prop_assert!(short.candidates.len() >= whole.candidates.len().min(2), "and the next best");
    prop_assert_eq!(&short.candidates, &whole.candidates[..short.candidates.len()]);
    let told: Vec<Unfit> = whole.rejected.all().into_iter().map(|(_, unfit)| unfit).collect();
    prop_assert_eq!(told.len(), whole.rejected.count());
    prop_assert_eq!(
        (short.rejected.tally(), short.reason(facts.snapshot)),
        (whole.rejected.tally(), whole.reason(facts.snapshot))
    );
    let rest = Plan { candidates: whole.candidates.clone(), rejected: whole.rejected.clone(), ..Plan::clone(short) };
    prop_assert_eq!(&rest, &**whole);
    Ok(())
}
