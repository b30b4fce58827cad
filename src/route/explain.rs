//! A decision in words and money: for the dry run, the command line, the demo and a response header. Made from a plan
//! when somebody asks for it, so that a request which nobody asks about pays nothing for its explanation.
//!
//! Amounts and prices are decimal strings with every digit that counts: a JSON number would be read as a float. What
//! is told comes from the plan and its snapshot; nothing is decided again.

use serde::Serialize;

use super::adequate::Unfit;
use super::plan::{Candidate, Node, Plan, PlanError};
use super::quote::{FreeQuote, Quote};
use crate::catalog::{Backend, Provider, Snapshot};
use crate::units::{BilledAt, Tariff, Thinking, Usd};

/// One decision, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The decision in one line of ASCII.
    pub reason: String,
    /// The state of the table that it was made from.
    pub price_book: String,
    /// The instant whose prices and exchange rates apply; absent where nothing was adequate.
    pub at: Option<String>,
    /// What is asked first; absent where nothing was adequate.
    pub chosen: Option<ExplainedCandidate>,
    /// The next best after it.
    pub runner_up: Option<ExplainedCandidate>,
    /// The adequate one with the highest expected cost.
    pub dearest: Option<ExplainedCandidate>,
    /// Who is asked in which order; absent where nothing was adequate.
    pub plan: Option<ExplainedNode>,
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
    /// A balance that was paid in advance is to be used first and bears it: the score counts a hundredth of the cost.
    pub prepaid: bool,
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
    /// Expected output of all choices.
    pub output: u64,
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
    /// One of [`Unfit::WORDS`].
    pub rule: &'static str,
    /// The rule with the figures that met.
    pub why: String,
}

impl Decision {
    /// Explains a plan, or why there is none, in the snapshot that it was made from.
    pub fn of(plan: Result<&Plan, &PlanError>, snapshot: &Snapshot) -> Self {
        match plan {
            Ok(plan) => Self::made(plan, snapshot),
            Err(error) => Self::refused(error, snapshot),
        }
    }

    fn made(plan: &Plan, snapshot: &Snapshot) -> Self {
        let explained = |candidate: &Candidate| ExplainedCandidate::of(candidate, snapshot);
        let dearest = plan.candidates.iter().rev().max_by_key(|candidate| candidate.quote.expected);
        Self {
            reason: plan.reason(snapshot),
            price_book: snapshot.version.clone(),
            at: Some(plan.at.to_string()),
            chosen: plan.chosen().map(explained),
            runner_up: plan.candidates.get(1).map(explained),
            dearest: dearest.map(explained),
            plan: Some(ExplainedNode::of(&plan.root, snapshot)),
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
            chosen: None,
            runner_up: None,
            dearest: None,
            plan: None,
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
        let mut parts = vec![self.choice()];
        if let [best, next, ..] = self.candidates.as_slice() {
            let id = snapshot.backend(next.backend).id.as_str();
            parts.push(format!("next {id} {}", difference(best.quote.expected, next.quote.expected)));
        }
        if self.rejected.count() > 0 {
            let counts: Vec<String> = self.rejected.tally().iter().map(|(word, n)| format!("{word}={n}")).collect();
            parts.push(format!("{} excluded: {}", self.rejected.count(), counts.join(",")));
        }
        parts.join("; ").replace(|c: char| c != ' ' && !c.is_ascii_graphic(), "?")
    }

    fn choice(&self) -> String {
        let adequate = self.candidates.len();
        let cheapest = self.candidates.iter().map(|candidate| candidate.quote.expected).min();
        if adequate == 1 {
            return "the only adequate".into();
        }
        let how = match self.chosen() {
            Some(chosen) if Some(chosen.quote.expected) == cheapest => "cheapest",
            Some(chosen) if chosen.quote.prepaid => "prepaid, best",
            _ => "best by cost and risk",
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
    fn of(candidate: &Candidate, snapshot: &Snapshot) -> Self {
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
            tokens: ExplainedTokens::of(&candidate.quote),
            prices: ExplainedPrices::of(&candidate.quote, backend),
        }
    }
}

impl ExplainedFree {
    fn of(free: FreeQuote, snapshot: &Snapshot) -> Self {
        let quota = snapshot.quotas.get(free.quota.0 as usize);
        let quota = quota.map_or_else(String::new, |quota| quota.name.to_string());
        Self { quota, spared_usd: free.spared.to_exact() }
    }
}

impl ExplainedTokens {
    fn of(quote: &Quote) -> Self {
        Self {
            input: quote.usage.input().get(),
            cached_input: quote.usage.cache_read.get(),
            output: quote.usage.output.get(),
            input_upper: quote.input_upper.get(),
            output_bound: quote.output_bound.get(),
        }
    }
}

impl ExplainedPrices {
    fn of(quote: &Quote, backend: &Backend) -> Self {
        let (row, sheet) = backend.prices.point(quote.price).unzip();
        let priced = sheet.map(|sheet| sheet.cost(&quote.usage, quote.thinking != Thinking::Off));
        let tariff = priced.map_or(Tariff::free(quote.exchange_rate.currency()), |priced| *priced.tariff);
        let hours = row.and_then(|row| row.calendar.as_ref()).filter(|_| quote.price.factor > 0);
        let times = hours.and_then(|calendar| calendar.factors().get(usize::from(quote.price.factor)));
        Self {
            currency: tariff.currency.to_string(),
            input: tariff.input.to_per_million(),
            cache_read: tariff.cache_read.to_per_million(),
            cache_write: tariff.cache_write.to_per_million(),
            output: tariff.output.to_per_million(),
            per_usd: quote.exchange_rate.per_usd(),
            price: row.map(|row| row.id.to_string()).unwrap_or_default(),
            billed_at: match row.map(|row| row.billed_at).unwrap_or_default() {
                BilledAt::Arrival => "arrival",
                BilledAt::Completion => "completion",
            },
            hours: hours.zip(times).map(|(calendar, times)| format!("{} x{times}", calendar.name)),
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
        Unfit::NoKey => match &provider.api_key_env {
            Some(variable) => format!("{unfit}: {variable}"),
            None => unfit.to_string(),
        },
        Unfit::OutsideRegions => format!("{unfit}: {}", provider.region),
        Unfit::OutsideJurisdictions => format!("{unfit}: {}", provider.jurisdiction),
        _ => unfit.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::facts::Prepaid;
    use super::super::testing::{Case, Spec};
    use crate::catalog::allowance::Period;
    use crate::catalog::{Quota, QuotaIndex};
    use crate::units::{Amount, Counted, Currency, Grant};

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
        let plan = case.with_facts_of(&table, super::super::plan::plan);
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
            ("no_key", "its provider's key is missing: SOUTH_API_KEY"),
            ("outside_regions", "served outside the allowed regions: EU"),
        ];
        assert_eq!(refusals, expected.map(|(rule, why)| (rule, why.to_owned())));
    }
}
