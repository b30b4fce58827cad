//! Small tables and requests for the tests of this folder: a [`Spec`] is one row of a table, a [`Case`] everything one
//! decision depends on, adequate and healthy until a test says otherwise. Health stands in the row, not beside it, so
//! that rows can be removed and shuffled.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Unfit;
use super::affinity::Affinity;
use super::ask::Ask;
use super::board::Board;
use super::caps::{Cap, Caps};
use super::explain::Decision;
use super::facts::{
    Allowances, Availability, BackendHealth, Explore, Facts, InputEstimate, InputTokens, Limits, OutputForecast, Prepaid,
    Settings,
};
use super::learned::LearnedOutput;
use super::needs::Needs;
use super::plan::{Node, Plan, PlanError, Whole, explained};
use super::quote::{Quote, Quoter};
use super::target::resolve;
use super::usable::Usable;
use crate::canonical::{Direct, Features, Parameters, Request, SchemaBy};
use crate::catalog::capability::{KeyHeader, Quirks};
use crate::catalog::fx::DatedRate;
use crate::catalog::{
    Backend, CacheRules, Dimensions, FxTable, PriceRow, PriceSchedule, Provider, ProviderIndex, Quality, QuotaIndex, Reasoning,
    Snapshot, TokenizerFamily,
};
use crate::catalog::{BackendIndex, Limits as TableLimits, Steering};
use crate::units::{BackendId, Cell, Currency, ExchangeRate, Extent, Sheet, Tariff, TokenPrice, Tokens};

/// 10⁻¹² units per token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Price {
    pub(crate) input: u64,
    pub(crate) cache_read: u64,
    pub(crate) output: u64,
    pub(crate) currency: Currency,
}

/// One backend.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) price: Option<Price>,
    /// In place of that price, where there are any.
    pub(crate) cells: Vec<Cell>,
    pub(crate) free: bool,
    pub(crate) context: u64,
    pub(crate) max_output: u64,
    pub(crate) priced_input: Option<u64>,
    pub(crate) features: Features,
    pub(crate) schema_by: SchemaBy,
    pub(crate) reasoning: Reasoning,
    pub(crate) languages: Vec<&'static str>,
    pub(crate) quality: Option<u8>,
    pub(crate) disabled: bool,
    pub(crate) quotas: Vec<QuotaIndex>,
    pub(crate) health: BackendHealth,
    /// Further prices of input and output: so many hours after the instant of the decision, in dollars per million.
    pub(crate) later: Vec<(i64, &'static str)>,
    pub(crate) serves: Option<&'static Direct>,
    pub(crate) dimensions: Option<Dimensions>,
}

impl Spec {
    /// A backend by its id, `provider/model`, at a dollar per million tokens of any kind.
    pub(crate) fn named(id: &str) -> Self {
        let (provider, model) = id.split_once('/').unwrap();
        let dollar = Price { input: 1_000_000, cache_read: 1_000_000, output: 1_000_000, currency: Currency::Usd };
        Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
            price: Some(dollar),
            cells: Vec::new(),
            free: false,
            context: 100_000,
            max_output: 10_000,
            priced_input: None,
            features: Features::NONE,
            schema_by: SchemaBy::Native,
            reasoning: Reasoning::Never,
            languages: Vec::new(),
            quality: Some(50),
            disabled: false,
            quotas: Vec::new(),
            health: BackendHealth::default(),
            later: Vec::new(),
            serves: None,
            dimensions: None,
        }
    }

    /// The same at these dollars per million; cached input costs a tenth.
    pub(crate) fn costing(self, input: &str, output: &str) -> Self {
        let pico = |text| TokenPrice::per_million(text).unwrap().pico();
        let (input, output) = (pico(input), pico(output));
        Self { price: Some(Price { input, cache_read: input / 10, output, currency: Currency::Usd }), ..self }
    }

    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    fn rows(&self) -> Vec<PriceRow> {
        let first = if self.free { Some(PriceRow::free("free".into())) } else { self.price.as_ref().map(price_row) };
        let first = first.map(|row| match Sheet::new(self.cells.clone(), Extent::Whole, 0, 0) {
            Some(sheet) => PriceRow { sheets: vec![Arc::new(sheet)], ..row },
            None => row,
        });
        let later = self.later.iter().map(|(hours, dollars)| {
            let price = TokenPrice::per_million(dollars).unwrap();
            let row = PriceRow::flat((*dollars).into(), Tariff::flat(Currency::Usd, price, price), "a test");
            PriceRow { from: Some(now() + SignedDuration::from_hours(*hours)), ..row }
        });
        first.into_iter().chain(later).collect()
    }

    fn backend(&self, providers: &[Provider]) -> Backend {
        let provider = providers.iter().position(|p| p.id == self.provider).unwrap();
        Backend {
            index: BackendIndex(0),
            id: BackendId::new(&self.provider, &self.model),
            provider: ProviderIndex(u32::try_from(provider).unwrap()),
            model: self.model.clone(),
            upstream_model: self.model.clone(),
            aliases: Vec::new(),
            limits: TableLimits {
                context: Tokens::new(self.context),
                max_output: Tokens::new(self.max_output),
                priced_input: self.priced_input.map(Tokens::new),
            },
            features: self.features,
            schema_by: self.schema_by,
            reasoning: self.reasoning,
            serves: self.serves,
            dimensions: self.dimensions,
            steering: Steering::UNKNOWN,
            languages: self.languages.iter().map(ToString::to_string).collect(),
            tokenizer: TokenizerFamily::O200k,
            quality: Quality { score: self.quality, signals: Vec::new() },
            prices: PriceSchedule::new(self.rows()),
            quotas: self.quotas.clone(),
            free: self.free,
            disabled: self.disabled.then(|| "off".to_owned()),
        }
    }
}

/// The instant of every decision of these tests.
fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn price_row(price: &Price) -> PriceRow {
    let (input, output) = (TokenPrice::from_pico(price.input), TokenPrice::from_pico(price.output));
    let cache_read = TokenPrice::from_pico(price.cache_read);
    let tariff = Tariff { cache_read, ..Tariff::flat(price.currency, input, output) };
    PriceRow::flat("a price".into(), tariff, "a test")
}

fn provider(id: &str) -> Provider {
    Provider {
        index: ProviderIndex(0),
        id: id.to_owned(),
        name: id.to_owned(),
        base_url: format!("https://{id}.example"),
        dialect: "openai-chat".into(),
        auth: KeyHeader::default(),
        more_endpoints: Vec::new(),
        placeholders: Vec::new(),
        query: Vec::new(),
        api_key_env: None,
        signing: None,
        owner: id.to_owned(),
        jurisdiction: "US".into(),
        region: "US".into(),
        trains_on_data: Some(false),
        retention: None,
        registered: None,
        price_changes: None,
        cache: CacheRules::default(),
        currency: Currency::Usd,
        prepaid: None,
        quirks: Quirks::default(),
        extra_headers: Vec::new(),
        disabled: None,
        sandbox: None,
    }
}

/// A table of these rows.
pub(crate) fn table(specs: &[Spec]) -> Snapshot {
    Case::of(specs.to_vec()).table()
}

/// Everything one decision depends on.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) specs: Vec<Spec>,
    /// Providers that differ from the ordinary one.
    pub(crate) providers: BTreeMap<String, Provider>,
    /// Providers without their key.
    pub(crate) keyless: Vec<String>,
    pub(crate) request: Request,
    /// What [`Ask`] has of these, which no request says.
    pub(crate) translated: bool,
    pub(crate) unsaid: Vec<(BackendIndex, Parameters)>,
    pub(crate) other_words_only: bool,
    pub(crate) target: String,
    /// Expected and upper bound, the same for every tokenizer.
    pub(crate) input: (u64, u64),
    /// The same of single backends.
    pub(crate) own_input: Vec<(BackendIndex, (u64, u64))>,
    pub(crate) forecast: OutputForecast,
    pub(crate) limits: Limits,
    pub(crate) learned: LearnedOutput,
    pub(crate) affinity: Affinity,
    pub(crate) caps: Vec<Cap>,
    pub(crate) explore: Option<Explore>,
    pub(crate) allowances: Allowances,
    /// Balances by the provider's id, beside those.
    pub(crate) balances: BTreeMap<String, Prepaid>,
    pub(crate) settings: Settings,
}

impl Default for Case {
    fn default() -> Self {
        Self::of(vec![Spec::named("north/mist")])
    }
}

impl Case {
    /// A short plain request for any backend of this table.
    pub(crate) fn of(specs: Vec<Spec>) -> Self {
        Self {
            specs,
            providers: BTreeMap::new(),
            keyless: Vec::new(),
            request: Request::saying("Say hello."),
            translated: false,
            unsaid: Vec::new(),
            other_words_only: false,
            target: "auto".into(),
            input: (1000, 1100),
            own_input: Vec::new(),
            forecast: OutputForecast { plain: Tokens::new(200), thinking: Tokens::new(800) },
            limits: Limits::default(),
            learned: LearnedOutput::default(),
            affinity: Affinity::default(),
            caps: Vec::new(),
            explore: None,
            allowances: Allowances::default(),
            balances: BTreeMap::new(),
            settings: Settings::default(),
        }
    }

    /// A provider, to change it.
    pub(crate) fn provider(&mut self, id: &str) -> &mut Provider {
        self.providers.entry(id.to_owned()).or_insert_with(|| provider(id))
    }

    /// The ids of all providers, in the order in which the table first names them.
    pub(crate) fn provider_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for spec in &self.specs {
            if !names.contains(&spec.provider) {
                names.push(spec.provider.clone());
            }
        }
        names
    }

    pub(crate) fn table(&self) -> Snapshot {
        let with_changes = |id: &String| self.providers.get(id).cloned().unwrap_or_else(|| provider(id));
        let providers: Vec<Provider> = self.provider_names().iter().map(with_changes).collect();
        let backends = self.specs.iter().map(|spec| spec.backend(&providers)).collect();
        let rate = ExchangeRate::parse(Currency::Cny, "7").unwrap();
        let fx = FxTable::new(vec![DatedRate { date: "2026-01-01".parse().unwrap(), rate, source: "a test".into() }]);
        Snapshot::new("test".into(), providers, backends, fx)
    }

    /// Decides something by these facts.
    pub(crate) fn with_facts<T>(&self, decide: impl FnOnce(&Facts<'_>) -> T) -> T {
        self.with_facts_of(&self.table(), decide)
    }

    fn allowances_of(&self, snapshot: &Snapshot) -> Allowances {
        let mut allowances = self.allowances.clone();
        for (provider, place) in snapshot.providers().iter().zip(0..) {
            if let Some(balance) = self.balances.get(&provider.id) {
                allowances.prepaid.resize(allowances.prepaid.len().max(place + 1), None);
                allowances.prepaid[place] = Some(*balance);
            }
        }
        allowances
    }

    pub(crate) fn with_facts_of<T>(&self, snapshot: &Snapshot, decide: impl FnOnce(&Facts<'_>) -> T) -> T {
        let keyless = |p: &Provider| if self.keyless.contains(&p.id) { Availability::NoKey } else { Availability::Ready };
        let availability: Vec<Availability> = snapshot.providers().iter().map(keyless).collect();
        let health: Vec<BackendHealth> = self.specs.iter().map(|spec| spec.health).collect();
        let tokens = |(expected, upper)| InputTokens::new(Tokens::new(expected), Tokens::new(upper));
        let own = self.own_input.iter().map(|(index, input)| (*index, tokens(*input)));
        decide(&Facts {
            ask: &Ask {
                translated: self.translated,
                unsaid: self.unsaid.clone(),
                other_words_only: self.other_words_only,
                ..Ask::of(&self.request)
            },
            snapshot,
            board: &Board::of(snapshot, now()),
            target: &resolve(&self.target, snapshot, &BTreeMap::new()).unwrap(),
            input: &InputEstimate::by_family(|_| tokens(self.input)).with_own(own),
            expected_output: self.forecast,
            limits: &self.limits,
            usable: &Usable::of(snapshot, availability),
            health: &health,
            learned: &self.learned,
            affinity: &self.affinity,
            caps: &Caps::of(self.caps.clone(), snapshot),
            explore: self.explore,
            allowances: &self.allowances_of(snapshot),
            at: now(),
            settings: &self.settings,
        })
    }

    /// The whole plan, with the table that its indexes belong to.
    pub(crate) fn plan(&self) -> (Snapshot, Result<Arc<Plan>, PlanError>) {
        let (snapshot, whole) = self.whole();
        (snapshot, whole.map(|whole| whole.plan))
    }

    fn whole(&self) -> (Snapshot, Result<Whole, PlanError>) {
        let snapshot = self.table();
        let whole = self.with_facts_of(&snapshot, explained);
        (snapshot, whole)
    }

    /// Why a backend is left out; `None` where it is a candidate.
    pub(crate) fn unfit(&self, id: &str) -> Option<Unfit> {
        let (snapshot, plan) = self.plan();
        let rejected = plan.map_or_else(|error| error.rejected().to_vec(), |plan| plan.rejected.all());
        let index = snapshot.backend_named(id).unwrap().index;
        rejected.into_iter().find(|(backend, _)| *backend == index).map(|(_, unfit)| unfit)
    }

    pub(crate) fn quote(&self, id: &str) -> Result<Quote, Unfit> {
        self.with_facts(|facts| Quoter::new(facts, &Needs::of(facts)).quote(facts.snapshot.backend_named(id).unwrap()))
    }

    /// The shape of the plan: `[a b]` is a race, the rest a sequence.
    pub(crate) fn shape(&self) -> Result<String, PlanError> {
        let (snapshot, plan) = self.plan();
        plan.map(|plan| shape(&plan.root, &snapshot))
    }

    pub(crate) fn decision(&self) -> Decision {
        let (snapshot, whole) = self.whole();
        Decision::of(whole.as_ref(), &snapshot)
    }
}

fn shape(node: &Node, snapshot: &Snapshot) -> String {
    let joined = |nodes: &[Node]| nodes.iter().map(|n| shape(n, snapshot)).collect::<Vec<_>>().join(" ");
    match node {
        Node::Attempt(attempt) => snapshot.backend(attempt.backend).id.to_string(),
        Node::Sequence(nodes) => joined(nodes),
        Node::Race(nodes) => format!("[{}]", joined(nodes)),
    }
}
