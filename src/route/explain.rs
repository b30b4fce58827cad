//! A decision in words and money: for the dry run, the command line, the demo and a response header. Made from a plan
//! when somebody asks for it, so that a request which nobody asks about pays nothing for its explanation.
//!
//! Amounts and prices are decimal strings with every digit that counts: a JSON number would be read as a float. What
//! is told comes from the plan and its snapshot; nothing is decided again.

mod session;
mod weighed;

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

pub use self::session::ExplainedSession;
use self::weighed::tariff;
pub use self::weighed::{ExplainedCap, ExplainedCapCost, ExplainedCost, ExplainedExploring, ExplainedPieces, ExplainedPremiums};
use super::adequate::Unfit;
use super::plan::{Candidate, Node, Plan, PlanError, Whole};
use super::quote::{FreeQuote, Quote};
use crate::canonical::{Feature, Features, Preference, SchemaBy};
use crate::catalog::{Backend, Calendar, Provider, Snapshot};
use crate::units::{BilledAt, ShareBy, Tokens, Usd};

/// One decision, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The decision in one line of ASCII.
    pub reason: String,
    /// The state of the table that it was made from.
    pub price_book: String,
    /// The instant whose prices and exchange rates apply; absent where nothing was adequate.
    pub at: Option<String>,
    /// What mattered among adequate backends: `cheapest`, `balanced` or `fastest`; absent where nothing was adequate.
    pub prefer: Option<&'static str>,
    /// What is asked first; absent where nothing was adequate.
    pub chosen: Option<ExplainedCandidate>,
    /// The next best after it.
    pub runner_up: Option<ExplainedCandidate>,
    /// The adequate one with the highest expected cost.
    pub dearest: Option<ExplainedCandidate>,
    /// The conversation that this request goes on with; absent where its prompt is warm nowhere.
    pub session: Option<ExplainedSession>,
    /// Who is asked in which order; absent where nothing was adequate.
    pub plan: Option<ExplainedNode>,
    /// Every cap on a share, as it stood.
    pub caps: Vec<ExplainedCap>,
    /// What the caps cost; absent where the choice is the same without them.
    pub cap_cost: Option<ExplainedCapCost>,
    /// Present where the first one is asked to keep its figures fresh, before the best.
    pub explored: Option<ExplainedExploring>,
    /// The most that is held for the request at once, in dollars; zero where nothing was adequate.
    pub worst_case_usd: String,
    /// Every adequate backend, the best first.
    pub candidates: Vec<ExplainedCandidate>,
    /// Every other one that was considered.
    pub rejected: Vec<ExplainedRefusal>,
}

/// An adequate backend and what it would cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedCandidate {
    pub backend: String,
    pub provider: String,
    pub model: String,
    pub region: String,
    pub jurisdiction: String,
    /// On the table's scale of 0 to 100; absent when unknown.
    pub quality: Option<u8>,
    pub expected_usd: String,
    pub worst_usd: String,
    /// The expected cost weighed by the risk; what the candidates are ordered by.
    pub score_usd: String,
    /// In millionths of the expected cost.
    pub risk_millionths: u64,
    /// What of the expected cost a free quota bears; absent where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_quota: Option<ExplainedFree>,
    /// A balance that was paid in advance is to be used first and bears it.
    pub prepaid: bool,
    /// How the schema that the answer is to keep to is asked for; absent where the provider holds the model to it, or none is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_by: Option<&'static str>,
    /// What the expected cost is made of.
    pub cost: ExplainedCost,
    /// What the score is more than the expected cost, part by part.
    pub premiums: ExplainedPremiums,
    pub tokens: ExplainedTokens,
    pub prices: ExplainedPrices,
}

/// What a free quota bears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedFree {
    /// Its name in the books.
    pub quota: String,
    /// What that part would cost otherwise; no part of the expected cost.
    pub spared_usd: String,
}

/// The tokens that a quote counts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedTokens {
    /// Expected input, cached input included.
    pub input: u64,
    /// The part of it that is likely read from the vendor's cache.
    pub cached_input: u64,
    /// The part of it that is likely written to the vendor's cache and billed as such.
    pub cache_write: u64,
    /// What the backend has read of the prompt lately: of this, `cached_input` is expected to be given back.
    pub known_prefix: u64,
    /// Expected output of all choices.
    pub output: u64,
    /// The part of it that is expected to be hidden reasoning.
    pub reasoning: u64,
    /// What half and nine of ten answers are not longer than; absent where nothing was learned of such answers.
    pub output_p50: Option<u64>,
    pub output_p90: Option<u64>,
    /// The input is not above this.
    pub input_upper: u64,
    /// The bound on each choice.
    pub output_bound: u64,
}

/// The vendor's prices per million tokens, in its currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedPrices {
    pub currency: String,
    pub input: String,
    pub cache_read: String,
    pub cache_write: String,
    pub output: String,
    /// What is billed by the piece; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pieces: Option<ExplainedPieces>,
    /// Units of the currency per dollar.
    pub per_usd: String,
    /// The identity of the row in the price book.
    pub price: String,
    /// Which instant decides about the price: `arrival` or `completion`.
    pub billed_at: &'static str,
    /// The calendar whose hours change the list price, and by how much; absent outside of them.
    pub hours: Option<String>,
    /// Document and date the prices were taken from.
    pub source: String,
}

/// A part of the plan, by backend ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedNode {
    Attempt(String),
    Sequence(Vec<ExplainedNode>),
    Race(Vec<ExplainedNode>),
}

/// A backend that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedRefusal {
    pub backend: String,
    /// One of [`Rule::WORDS`](super::Rule::WORDS).
    pub rule: &'static str,
    /// The rule with the figures that met.
    pub why: String,
}

impl Decision {
    /// Explains a plan, or why there is none, in the snapshot that it was made from.
    pub fn of(whole: Result<&Whole, &PlanError>, snapshot: &Snapshot) -> Self {
        match whole {
            Ok(whole) => Self::made(whole, snapshot),
            Err(error) => Self::refused(error, snapshot),
        }
    }

    fn made(whole: &Whole, snapshot: &Snapshot) -> Self {
        let plan = &whole.plan;
        let explained = |candidate: &Candidate| ExplainedCandidate::of(candidate, whole, snapshot);
        Self {
            reason: plan.reason(snapshot),
            price_book: snapshot.version.clone(),
            at: Some(plan.at.to_string()),
            prefer: Some(plan.needs.prefer.word()),
            chosen: plan.chosen().map(explained),
            runner_up: plan.candidates.get(1).map(explained),
            dearest: Some(explained(&plan.dearest)),
            session: plan.stay.as_ref().map(|stay| ExplainedSession::of(stay, snapshot)),
            plan: Some(ExplainedNode::of(&plan.root, snapshot)),
            caps: whole.caps.iter().map(ExplainedCap::of).collect(),
            cap_cost: ExplainedCapCost::of(plan, snapshot),
            explored: ExplainedExploring::of(plan, snapshot),
            worst_case_usd: plan.worst_case().to_exact(),
            candidates: plan.candidates.iter().map(explained).collect(),
            rejected: ExplainedRefusal::all(&plan.rejected.all(), snapshot),
        }
    }

    fn refused(error: &PlanError, snapshot: &Snapshot) -> Self {
        Self {
            reason: error.to_string(),
            price_book: snapshot.version.clone(),
            at: None,
            prefer: None,
            chosen: None,
            runner_up: None,
            dearest: None,
            session: None,
            plan: None,
            caps: Vec::new(),
            cap_cost: None,
            explored: None,
            worst_case_usd: Usd::ZERO.to_exact(),
            candidates: Vec::new(),
            rejected: ExplainedRefusal::all(error.rejected(), snapshot),
        }
    }
}

impl Plan {
    /// The decision in one line of printable ASCII, fit for a header:
    /// `cheapest of 7 adequate; next b/model +12%; 3 excluded: context_too_small=2,no_key=1`.
    pub fn reason(&self, snapshot: &Snapshot) -> String {
        let mut said = self.choice();
        for weighed in self.weighed() {
            said.push_str("; ");
            said.push_str(&weighed);
        }
        if let [best, next, ..] = self.candidates.as_slice() {
            let id = snapshot.backend(next.backend).id.as_str();
            let _ = write!(said, "; next {id} {}", difference(best.quote.expected, next.quote.expected));
        }
        if self.rejected.count() > 0 {
            let _ = write!(said, "; {} excluded: ", self.rejected.count());
            for (place, (word, n)) in self.rejected.tally().iter().enumerate() {
                let _ = write!(said, "{}{word}={n}", if place > 0 { "," } else { "" });
            }
        }
        let fits = |c: char| c == ' ' || c.is_ascii_graphic();
        if said.chars().all(fits) { said } else { said.replace(|c| !fits(c), "?") }
    }

    fn choice(&self) -> String {
        let adequate = self.adequate;
        if adequate == 1 {
            return "the only adequate".into();
        }
        let is_cheapest = self.chosen().is_some_and(|chosen| chosen.quote.expected == self.cheapest);
        if self.stay.is_some_and(|stay| stay.stays()) && !is_cheapest {
            let why = if self.stay.is_some_and(|stay| stay.sealed) { "its thoughts can be read" } else { "it is warm" };
            return format!("stays where {why}, of {adequate} adequate");
        }
        let is_prepaid = self.chosen().is_some_and(|chosen| chosen.quote.prepaid);
        let how = match (self.needs.prefer, is_cheapest) {
            (Preference::Fastest, _) => "fastest",
            (_, false) if is_prepaid => "prepaid, best",
            (Preference::Balanced, false) => "best by cost, risk and wait",
            (Preference::Cheapest, false) => "best by cost and risk",
            (Preference::Cheapest | Preference::Balanced, true) => "cheapest",
        };
        format!("{how} of {adequate} adequate")
    }
}

/// How much dearer the second cost is: in per cent, or in dollars where the first is zero.
fn difference(first: Usd, second: Usd) -> String {
    let more = second - first;
    match (more.pico().saturating_mul(100)).checked_div(first.pico()) {
        Some(percent) => format!("{percent:+}%"),
        None => format!("+{more}"),
    }
}

impl ExplainedCandidate {
    fn of(candidate: &Candidate, whole: &Whole, snapshot: &Snapshot) -> Self {
        let plan = &whole.plan;
        let backend = snapshot.backend(candidate.backend);
        let provider = snapshot.provider_of(backend);
        Self {
            backend: backend.id.to_string(),
            provider: provider.id.clone(),
            model: backend.model.clone(),
            region: provider.region.clone(),
            jurisdiction: provider.jurisdiction.clone(),
            quality: backend.quality.score,
            expected_usd: candidate.quote.expected.to_exact(),
            worst_usd: candidate.quote.worst.to_exact(),
            score_usd: candidate.score.weighed.to_exact(),
            risk_millionths: candidate.score.risk,
            free_quota: candidate.quote.free.map(|free| ExplainedFree::of(free, snapshot)),
            prepaid: candidate.quote.prepaid,
            schema_by: schema_by(backend, plan.needs.features),
            premiums: ExplainedPremiums::of(&candidate.score.premiums(candidate.quote.expected, plan.floor)),
            cost: ExplainedCost::of(&candidate.quote, backend),
            tokens: ExplainedTokens::of(candidate, whole),
            prices: ExplainedPrices::of(&candidate.quote, backend, plan),
        }
    }
}

/// How a schema is asked for by hand, where one is wanted.
fn schema_by(backend: &Backend, wanted: Features) -> Option<&'static str> {
    let by = backend.schema_by(wanted.contains(Feature::Tools));
    (wanted.contains(Feature::JsonSchema) && by != SchemaBy::Native).then(|| by.word())
}

impl ExplainedFree {
    fn of(free: FreeQuote, snapshot: &Snapshot) -> Self {
        let quota = snapshot.quotas.get(free.quota.0 as usize);
        let quota = quota.map_or_else(String::new, |quota| quota.name.to_string());
        Self { quota, spared_usd: free.spared.to_exact() }
    }
}

impl ExplainedTokens {
    fn of(candidate: &Candidate, whole: &Whole) -> Self {
        let quote = &candidate.quote;
        let learned = whole.learned.of(candidate.backend);
        let known = whole.warm.iter().find(|warm| warm.backend == candidate.backend).map_or(Tokens::ZERO, |warm| warm.known);
        Self {
            input: quote.usage.input().get(),
            cached_input: quote.usage.cache_read.get(),
            cache_write: quote.usage.cache_write.get(),
            known_prefix: known.get(),
            output: quote.usage.output.get(),
            reasoning: quote.usage.reasoning.get(),
            output_p50: learned.map(|figures| figures.p50.get()),
            output_p90: learned.map(|figures| figures.p90.get()),
            input_upper: quote.input_upper.get(),
            output_bound: quote.output_bound.get(),
        }
    }
}

impl ExplainedPrices {
    fn of(quote: &Quote, backend: &Backend, plan: &Plan) -> Self {
        let row = backend.prices.point(quote.price).map(|(row, _)| row);
        let tariff = tariff(quote, backend);
        let hours = |calendar: &Arc<Calendar>| {
            let hour = calendar.at(plan.at);
            let times = calendar.factors().get(usize::from(hour.factor))?;
            let assumed = if hour.assumed { ", as its days off are not published yet" } else { "" };
            (hour.factor > 0).then(|| format!("{} x{times}{assumed}", calendar.name))
        };
        Self {
            currency: tariff.currency.to_string(),
            input: tariff.input.to_per_million(),
            cache_read: tariff.cache_read.to_per_million(),
            cache_write: tariff.cache_write.to_per_million(),
            output: tariff.output.to_per_million(),
            pieces: ExplainedPieces::of(quote, &tariff),
            per_usd: quote.exchange_rate.per_usd(),
            price: row.map(|row| row.id.to_string()).unwrap_or_default(),
            billed_at: match row.map(|row| row.billed_at).unwrap_or_default() {
                BilledAt::Arrival => "arrival",
                BilledAt::Completion => "completion",
            },
            hours: row.and_then(|row| row.calendar.as_ref()).and_then(hours),
            source: row.map(|row| row.source.clone()).unwrap_or_default(),
        }
    }
}

impl ExplainedNode {
    fn of(node: &Node, snapshot: &Snapshot) -> Self {
        let all = |nodes: &[Node]| nodes.iter().map(|node| Self::of(node, snapshot)).collect();
        match node {
            Node::Attempt(attempt) => Self::Attempt(snapshot.backend(attempt.backend).id.to_string()),
            Node::Sequence(nodes) => Self::Sequence(all(nodes)),
            Node::Race(nodes) => Self::Race(all(nodes)),
        }
    }
}

impl ExplainedRefusal {
    fn all(rejected: &[(crate::catalog::BackendIndex, Unfit)], snapshot: &Snapshot) -> Vec<Self> {
        let explained = |(index, unfit): &(_, Unfit)| {
            let backend = snapshot.backend(*index);
            Self { backend: backend.id.to_string(), rule: unfit.word(), why: why(*unfit, backend, snapshot.provider_of(backend)) }
        };
        rejected.iter().map(explained).collect()
    }
}

/// The rule in words, with what only the table knows.
fn why(unfit: Unfit, backend: &Backend, provider: &Provider) -> String {
    match unfit {
        Unfit::Disabled => match backend.disabled.as_ref().or(provider.disabled.as_ref()) {
            Some(reason) => format!("{unfit}: {reason}"),
            None => unfit.to_string(),
        },
        Unfit::NoKey => match provider.variables().collect::<Vec<_>>().as_slice() {
            [] => unfit.to_string(),
            variables => format!("{unfit}: {}", variables.join(", ")),
        },
        Unfit::OutsideRegions => format!("{unfit}: {}", provider.region),
        Unfit::OverShare { by: ShareBy::Provider, .. } => format!("{unfit}: {}", provider.id),
        Unfit::OverShare { by: ShareBy::Owner, .. } => format!("{unfit}: {}", provider.owner),
        Unfit::OutsideJurisdictions | Unfit::OverShare { by: ShareBy::Jurisdiction, .. } => {
            format!("{unfit}: {}", provider.jurisdiction)
        }
        _ => unfit.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::caps::Cap;
    use super::super::facts::{Prepaid, Wait};
    use super::super::testing::{Case, Spec};
    use crate::canonical::Preference;
    use crate::catalog::allowance::Period;
    use crate::catalog::{Quota, QuotaIndex};
    use crate::units::{Amount, Counted, Currency, Grant, ShareBy, ShareKind, ShareOf};

    fn quota(name: &str) -> Quota {
        let (grant, source) = (Grant::NOTHING, String::new());
        let (from, until) = (None, None);
        Quota { index: QuotaIndex(0), name: name.into(), period: Period::Day, zone: TimeZone::UTC, grant, from, until, source }
    }

    fn case() -> Case {
        let mut case = Case::of(vec![
            Spec::named("north/mist").costing("1", "5"),
            Spec::named("south/fog").costing("1.2", "5"),
            Spec::named("east/dew").costing("8", "40"),
        ]);
        case.provider("east").region = "EU".into();
        case
    }

    fn check(change: impl FnOnce(&mut Case), expected: &str) {
        let mut case = case();
        change(&mut case);
        assert_eq!(case.decision().reason, expected);
    }

    #[test]
    fn one_line_says_how_it_was_chosen() {
        check(|_| {}, "cheapest of 3 adequate; next south/fog +10%");
        check(|c| c.specs[0].free = true, "cheapest of 3 adequate; next south/fog +$0.002200");
        check(|c| c.specs[0].health.failure_share = 500_000, "best by cost and risk of 3 adequate; next north/mist -9%");
        check(
            |c| {
                c.keyless = vec!["north".into()];
                c.request.wishes.regions = vec!["US".into()];
            },
            "the only adequate; 2 excluded: no_key=1,outside_regions=1",
        );
        check(|c| c.target = "east/dew".into(), "the only adequate");
        check(|c| c.keyless = c.provider_names(), "no backend can serve this request: 3 considered, none adequate: no_key=3");
    }

    #[test]
    fn the_line_tells_what_counted_beside_the_price() {
        check(
            |c| c.specs.iter_mut().for_each(|spec| spec.health.failure_share = 200_000),
            "cheapest of 3 adequate; counted failure $0.000500; next south/fog +10%",
        );
        check(
            |c| {
                (c.request.wishes.prefer, c.specs[1].health.wait) =
                    (Some(Preference::Fastest), Some(Wait { mean_ms: 300, spread_ms: 9 }));
            },
            "fastest of 3 adequate; next north/mist -9%",
        );
        let cap = |closed, pressure| Cap {
            by: ShareBy::Owner,
            name: "north".into(),
            percent: 50,
            of: ShareOf::Spend,
            kind: if closed { ShareKind::Hard } else { ShareKind::Soft },
            inside: 50,
            total: 100,
            closed,
            pressure,
        };
        let excluded = "1 excluded: over_share=1";
        let shut = format!("cheapest of 2 adequate; cap on owner north +0.000200; next east/dew +627%; {excluded}");
        check(|c| c.caps = vec![cap(true, 1_000_000)], &shut);
        check(|c| c.caps = vec![cap(false, 810_000)], "cheapest of 3 adequate; counted cap $0.000005; next south/fog +10%");
        let moved = "best by cost and risk of 3 adequate; cap on owner north +0.000200; next north/mist -9%";
        check(|c| c.caps = vec![cap(false, 1_000_000)], moved);
    }

    #[test]
    fn a_refusal_for_a_share_names_whose() {
        let mut case = case();
        case.caps = vec![Cap {
            by: ShareBy::Jurisdiction,
            name: "US".into(),
            percent: 60,
            of: ShareOf::Spend,
            kind: ShareKind::Hard,
            inside: 6_049,
            total: 10_000,
            closed: true,
            pressure: 1_008_166,
        }];
        let decision = case.decision();
        assert_eq!(decision.rejected[0].why, "the share of its jurisdiction is 60.4 %, at the cap of 60 %: US");
        assert_eq!(decision.reason, "no backend can serve this request: 3 considered, none adequate: over_share=3");
        let (_, plan) = case.plan();
        assert!(plan.unwrap_err().is_passing(), "waiting may help");
    }

    #[test]
    fn a_line_is_fit_for_a_header_whatever_the_table_calls_its_models() {
        check(|c| c.specs[1].model = "雾\r\nx".into(), "cheapest of 3 adequate; next south/???x +10%");
    }

    #[test]
    fn money_is_told_with_every_digit_and_as_text() {
        let mut case = case();
        case.input = (7, 9);
        let json = serde_json::to_value(case.decision()).unwrap();
        assert_eq!(json["chosen"]["expected_usd"], "0.001007");
        assert_eq!(json["chosen"]["prices"]["cache_read"], "0.1");
        assert_eq!(json["runner_up"]["expected_usd"], "0.0010084");
        assert_eq!(json["dearest"]["backend"], "east/dew");
        let attempts = ["north/mist", "south/fog", "east/dew"].map(|id| serde_json::json!({ "attempt": id }));
        assert_eq!(json["plan"], serde_json::json!({ "sequence": attempts }));
        assert_eq!(json["worst_case_usd"], json["dearest"]["worst_usd"]);
    }

    #[test]
    fn what_is_free_and_what_is_paid_already_are_told() {
        let mut case = case();
        case.specs[2].quotas = vec![QuotaIndex(0)];
        case.allowances.free = vec![Grant::by(|counted| (counted == Counted::Requests).then_some(3))];
        let left = Amount::from_pico(1_000_000_000_000, Currency::Usd);
        case.allowances.prepaid = vec![None, Some(Prepaid { left, outlasts: true })];
        let mut table = case.table();
        table.quotas = vec![std::sync::Arc::new(quota("east/dew/day"))];
        let plan = case.with_facts_of(&table, super::super::plan::explained);
        let json = serde_json::to_value(super::Decision::of(plan.as_ref(), &table)).unwrap();
        assert_eq!(json["chosen"]["free_quota"], serde_json::json!({ "quota": "east/dew/day", "spared_usd": "0.016" }));
        assert_eq!((&json["chosen"]["expected_usd"], &json["chosen"]["prepaid"]), (&"0".into(), &false.into()));
        assert_eq!(json["runner_up"]["backend"], "south/fog");
        assert_eq!((&json["runner_up"]["score_usd"], &json["runner_up"]["prepaid"]), (&"0.000022".into(), &true.into()));
        case.specs[2].quotas.clear();
        assert!(case.decision().reason.starts_with("prepaid, best of 3 adequate; next north/mist"), "{}", case.decision().reason);
    }

    #[test]
    fn a_refusal_names_the_rule_and_what_the_table_says() {
        let mut case = case();
        case.provider("north").disabled = Some("moved".into());
        case.provider("south").api_key_env = Some("SOUTH_API_KEY".into());
        case.keyless = vec!["south".into()];
        case.limits.regions = vec!["US".into()];
        let refusals: Vec<(&str, String)> = case.decision().rejected.into_iter().map(|r| (r.rule, r.why)).collect();
        let expected = [
            ("disabled", "switched off in the table: moved"),
            ("no_key", "its provider's key, or a part of its address, is missing: SOUTH_API_KEY"),
            ("outside_regions", "served outside the allowed regions: EU"),
        ];
        assert_eq!(refusals, expected.map(|(rule, why)| (rule, why.to_owned())));
    }
}
