//! The `[[backends]]` tables, and what must hold between them: ids and aliases that are told apart, providers that exist,
//! currencies that have a rate.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::allowance::Quotas;
use super::price::{self, Setting};
use super::provider::THINKING_SWITCHES;
use super::{date, required, words};
use crate::canonical::conversation::Effort;
use crate::canonical::{Direct, Feature, Features, SchemaBy, Shape, Writes};
use crate::catalog::allowance::Quota;
use crate::catalog::calendar::Calendar;
use crate::catalog::capability::{Backend, Dimensions, Limits, Provider, Quality, QualitySignal, Reasoning, TokenizerFamily};
use crate::catalog::fx::FxTable;
use crate::catalog::history::Past;
use crate::catalog::price::{PriceRow, PriceSchedule};
use crate::catalog::snapshot::{BackendIndex, ProviderIndex};
use crate::catalog::steering::{BudgetBounds, ConverseFields, Steering};
use crate::document::{Section, nearest};
use crate::units::{BackendId, Currency, Piece, Tokens};

const ABILITIES: [(Feature, &str); 6] = [
    (Feature::Tools, Feature::Tools.word()),
    (Feature::ForcedTool, Feature::ForcedTool.word()),
    (Feature::JsonSchema, Feature::JsonSchema.word()),
    (Feature::JsonObject, Feature::JsonObject.word()),
    (Feature::Logprobs, Feature::Logprobs.word()),
    (Feature::ManyChoices, Feature::ManyChoices.word()),
];

/// Text asks for no feature: every backend of this gateway reads and writes it.
const INPUTS: [(Option<Feature>, &str); 4] = [
    (None, "text"),
    (Some(Feature::ImageInput), "image"),
    (Some(Feature::AudioInput), "audio"),
    (Some(Feature::FileInput), "file"),
];

const OUTPUTS: [(Option<Feature>, &str); 2] = [(None, "text"), (Some(Feature::AudioOutput), "audio")];

const REASONING: [(Reasoning, &str); 3] =
    [(Reasoning::Never, "never"), (Reasoning::Switchable, "switchable"), (Reasoning::Always, "always")];

/// What a backend may be asked for beside conversations.
const SERVES: [&str; Direct::ALL.len()] = {
    let mut words = [""; Direct::ALL.len()];
    let mut place = 0;
    while place < words.len() {
        words[place] = Direct::ALL[place].word;
        place += 1;
    }
    words
};

/// Above the length of any vectors that are sold or announced.
const MOST_DIMENSIONS: u64 = 1 << 20;

const NAME: &str = "a name without blanks; \"auto\" and what begins with \"auto:\" are the router's own";

/// Above any context window sold or announced; catches a count of bytes.
pub(super) const MOST_TOKENS: u64 = 100_000_000;

/// Reads the backends one by one and remembers what the next one must not repeat.
pub(super) struct Reader<'a> {
    providers: &'a [Provider],
    fx: &'a FxTable,
    calendars: &'a [Arc<Calendar>],
    ids: HashSet<BackendId>,
    aliases: HashSet<(ProviderIndex, String)>,
    quotas: Quotas,
    /// Currencies whose missing rate has been reported.
    without_rate: HashSet<Currency>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(providers: &'a [Provider], fx: &'a FxTable, calendars: &'a [Arc<Calendar>]) -> Self {
        Self {
            providers,
            fx,
            calendars,
            ids: HashSet::new(),
            aliases: HashSet::new(),
            quotas: Quotas::default(),
            without_rate: HashSet::new(),
        }
    }

    /// Every backend, in the order of the file.
    pub(super) fn read_all(&mut self, root: &Section<'_, '_>) -> Vec<Backend> {
        let sections = root.sections("backends");
        if !root.has("backends") {
            root.problem("backends", "missing", "a table [[backends]] for each model of a provider");
        }
        sections.into_iter().map(|section| self.backend(section)).collect()
    }

    /// The free quotas of the backends that were read.
    pub(super) fn into_quotas(self) -> Vec<Arc<Quota>> {
        self.quotas.all
    }

    /// Every model of the past, in the order of the file.
    pub(super) fn read_past(&mut self, root: &Section<'_, '_>) -> Vec<Past> {
        root.sections("past").into_iter().filter_map(|section| self.past(section)).collect()
    }

    fn past(&mut self, section: Section<'_, '_>) -> Option<Past> {
        let provider = self.provider(&section);
        let model = section.required_text("model", NAME).unwrap_or_default();
        let id = BackendId::new(provider.map_or("", |p| self.providers[p.0 as usize].id.as_str()), &model);
        let prices = self.prices(&section, provider, &id, Terms { free: false, writes: Writes::Text, piece: None });
        if provider.is_some() && !self.ids.insert(id.clone()) {
            section.problem(
                "model",
                format!("there is a backend, or another past model, {id}"),
                "prices of a model in one place",
            );
        }
        section.finish();
        Some(Past { provider: provider?, model, prices })
    }

    fn backend(&mut self, section: Section<'_, '_>) -> Backend {
        let provider = self.provider(&section);
        let model = section.required_text("model", NAME).unwrap_or_default();
        let upstream_model = section.text("upstream_model").unwrap_or_else(|| model.clone());
        let provider_id = provider.map_or("", |p| self.providers[p.0 as usize].id.as_str());
        let free = section.truth("free").unwrap_or(false);
        let id = BackendId::new(provider_id, &upstream_model);
        let serves = self.serves(&section, provider);
        let writes = serves.map_or(Writes::Text, |direct| direct.writes);
        let prices = self.prices(&section, provider, &id, Terms { free, writes, piece: serves.and_then(|direct| direct.piece) });
        let quotas = self.quotas.of(&section, provider_id, id.as_str());
        let (features, schema_by) = if serves.is_none() { abilities(&section) } else { (Features::NONE, SchemaBy::Native) };
        let backend = Backend {
            index: BackendIndex(0),
            id,
            provider: provider.unwrap_or(ProviderIndex(0)),
            model,
            upstream_model,
            aliases: section.texts("aliases"),
            limits: limits(&section, writes, &prices),
            features,
            schema_by,
            reasoning: if serves.is_none() { reasoning(&section) } else { Reasoning::Never },
            steering: if serves.is_none() { steering(&section) } else { Steering::UNKNOWN },
            serves,
            dimensions: serves.filter(|direct| direct.shape == Shape::OpenAiEmbeddings).and_then(|_| dimensions(&section)),
            languages: if serves.is_none() { languages(&section) } else { BTreeSet::new() },
            tokenizer: tokenizer(&section),
            quality: section.section("quality").map(quality).unwrap_or_default(),
            prices,
            quotas,
            free,
            disabled: section.text("disabled"),
        };
        if provider.is_some() {
            self.tell_apart(&section, &backend);
        }
        section.finish();
        backend
    }

    /// What it is asked for where that is no conversation, at an endpoint that its provider must have.
    fn serves(&self, section: &Section<'_, '_>, provider: Option<ProviderIndex>) -> Option<&'static Direct> {
        let word = section.text("serves")?;
        let Some(direct) = Direct::named(&word) else {
            let near = nearest(&word, SERVES).map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
            let accepted = format!("{}; nothing for a model that is asked in conversations", SERVES.join(", "));
            section.problem("serves", format!("{word:?} is not implemented{near}"), accepted);
            return None;
        };
        let asked_there = |provider: &Provider| provider.disabled.is_some() || provider.shapes().contains(Shape::OpenAiChat);
        if provider.is_some_and(|p| !asked_there(&self.providers[p.0 as usize])) {
            let accepted = format!("a provider with {} as its dialect or among its endpoints", Shape::OpenAiChat.word());
            section.problem("serves", "its provider has no address of OpenAI's shape", accepted);
        }
        Some(direct)
    }

    fn provider(&self, section: &Section<'_, '_>) -> Option<ProviderIndex> {
        const ACCEPTED: &str = "the id of a table [providers.ID]";
        let id = section.required_text("provider", ACCEPTED)?;
        let index = self.providers.iter().zip(0..).find(|(p, _)| p.id == id).map(|(_, n)| ProviderIndex(n));
        if index.is_none() {
            let near = nearest(&id, self.providers.iter().map(|p| p.id.as_str()));
            let hint = near.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
            section.problem("provider", format!("there is no provider {id:?}{hint}"), ACCEPTED);
        }
        index
    }

    fn prices(
        &mut self,
        section: &Section<'_, '_>,
        provider: Option<ProviderIndex>,
        id: &BackendId,
        Terms { free, writes, piece }: Terms,
    ) -> PriceSchedule {
        let currency = provider.map_or(Currency::Usd, |p| self.providers[p.0 as usize].currency);
        let setting = Setting { id: id.as_str(), currency, free, writes, piece, calendars: self.calendars };
        let schedule = price::schedule(section, &setting);
        for currency in schedule.rows().iter().map(PriceRow::currency) {
            let known = self.fx.rates().iter().any(|r| r.rate.currency() == currency);
            if currency != Currency::Usd && !known && self.without_rate.insert(currency) {
                let accepted = format!("[[fx]] with currency = \"{currency}\"");
                section.problem("prices", format!("there is no exchange rate for {currency}"), accepted);
            }
        }
        schedule
    }

    /// A name must lead to one backend of a provider; two providers may well share it.
    fn tell_apart(&mut self, section: &Section<'_, '_>, backend: &Backend) {
        if !self.ids.insert(backend.id.clone()) {
            let wrong = format!("there are two backends {}", backend.id);
            section.problem("upstream_model", wrong, "another upstream_model, or one backend");
        }
        for (member, name) in [("model", &backend.model), ("upstream_model", &backend.upstream_model)] {
            if section.has(member) {
                check_name(section, member, name);
            }
        }
        for alias in &backend.aliases {
            check_name(section, "aliases", alias);
            if !self.aliases.insert((backend.provider, alias.clone())) {
                let wrong = format!("{alias:?} stands twice at this provider");
                section.problem("aliases", wrong, "an alias leads to one backend of a provider");
            }
        }
    }
}

/// How the prices of a backend are to be read.
#[derive(Clone, Copy)]
struct Terms {
    /// The operator says that it costs nothing.
    free: bool,
    /// What of its answers has tokens, which have a price.
    writes: Writes,
    /// What of it may be billed by the piece.
    piece: Option<Piece>,
}

fn check_name(section: &Section<'_, '_>, member: &str, name: &str) {
    let reserved = name == "auto" || name.starts_with("auto:");
    let plain = !name.is_empty() && name.len() <= 200 && name.bytes().all(|b| b.is_ascii_graphic());
    if reserved || !plain {
        section.problem(member, format!("{name:?} cannot name a model"), NAME);
    }
}

fn limits(section: &Section<'_, '_>, writes: Writes, prices: &PriceSchedule) -> Limits {
    let tokens = |name| section.whole(name, 1..=MOST_TOKENS);
    let whole = if writes == Writes::Text { "input and output together" } else { "the longest single input" };
    let context = required(section, "context_tokens", whole, |_, name| tokens(name));
    let longest = || required(section, "max_output_tokens", "the longest answer", |_, name| tokens(name));
    let billed = || prices.rows().iter().any(|row| row.sheets.iter().any(|sheet| sheet.bills_output()));
    let max_output = match writes {
        Writes::Nothing => None,
        Writes::Text => longest(),
        // What no token is billed for has as many as it likes.
        Writes::Media if billed() => longest(),
        Writes::Media => tokens("max_output_tokens"),
    };
    let priced_input = tokens("priced_input_tokens");
    for (name, bound) in [("max_output_tokens", max_output), ("priced_input_tokens", priced_input)] {
        if let (Some(bound), Some(context)) = (bound, context)
            && bound > context
        {
            section.problem(name, format!("{bound} is more than the context"), format!("at most {context}"));
        }
    }
    Limits {
        context: Tokens::new(context.unwrap_or_default()),
        max_output: Tokens::new(max_output.unwrap_or_default()),
        priced_input: priced_input.map(Tokens::new),
    }
}

fn reasoning(section: &Section<'_, '_>) -> Reasoning {
    required(section, "reasoning", "how it thinks", |s, name| s.word(name, &REASONING)).unwrap_or(Reasoning::Never)
}

/// The length of its vectors, and the least that they may be cut to where the model allows it.
fn dimensions(section: &Section<'_, '_>) -> Option<Dimensions> {
    let length = |name| section.whole(name, 1..=MOST_DIMENSIONS).and_then(|length| u32::try_from(length).ok());
    let (most, least) = (length("dimensions"), length("dimensions_from"));
    let Some(most) = most else {
        if section.has("dimensions_from") && !section.has("dimensions") {
            section.problem("dimensions", "missing", "the length of its vectors where none is asked for");
        }
        return None;
    };
    if least.is_some_and(|least| least > most) {
        section.problem("dimensions_from", "it is more than the dimensions", format!("at most {most}"));
    }
    Some(Dimensions { least: least.unwrap_or(most), most })
}

fn steering(section: &Section<'_, '_>) -> Steering {
    let tokens = |name| section.whole(name, 0..=MOST_TOKENS).map(Tokens::new);
    let (least, most) = (tokens("thinking_least_tokens"), tokens("thinking_most_tokens"));
    let bounds = BudgetBounds { least: least.unwrap_or(Tokens::ZERO), most: most.unwrap_or(Tokens::new(MOST_TOKENS)) };
    let ordered = bounds.least <= bounds.most;
    if !ordered {
        let wrong = format!("{} is less than thinking_least_tokens", bounds.most);
        section.problem("thinking_most_tokens", wrong, format!("at least {}", bounds.least));
    }
    Steering {
        efforts: words(section, "thinking_efforts", &Effort::ALL.map(|effort| (effort, effort.word()))).into_iter().collect(),
        budget: Some(bounds).filter(|_| ordered && (least.is_some() || most.is_some())),
        switch: section.word("thinking_switch", &THINKING_SWITCHES),
        sampling: section.truth("sampling").unwrap_or(true),
        sampling_without_thinking: section.truth("sampling_without_thinking").unwrap_or(false),
        prefill: section.truth("prefill").unwrap_or(true),
        converse: section.word("converse_fields", &ConverseFields::WORDS).unwrap_or_default(),
        cache_marks: section.truth("cache_marks").unwrap_or(false),
        form_beside_tools: section.truth("form_beside_tools").unwrap_or(true),
        chat_tools: section.truth("chat_tools").unwrap_or(true),
    }
}

fn features(section: &Section<'_, '_>) -> Features {
    let abilities = words(section, "features", &ABILITIES).into_iter();
    let inputs = words(section, "input", &INPUTS).into_iter().flatten();
    let outputs = words(section, "output", &OUTPUTS).into_iter().flatten();
    abilities.chain(inputs).chain(outputs).collect()
}

/// What it can do, with what is done for it: a schema that is asked for by hand can be asked for.
fn abilities(section: &Section<'_, '_>) -> (Features, SchemaBy) {
    let features = features(section);
    let by = section.word("schema_by", &SchemaBy::BY_HAND).unwrap_or_default();
    let needs = match by {
        SchemaBy::Native => return (features, by),
        SchemaBy::Tool => Feature::ForcedTool,
        SchemaBy::JsonObject => Feature::JsonObject,
    };
    if !features.contains(needs) {
        let accepted = format!("`{}` among `features`, or another way", needs.word());
        section.problem("schema_by", format!("{:?} needs what the backend does not have", by.word()), accepted);
    }
    (features.with(Feature::JsonSchema), by)
}

fn languages(section: &Section<'_, '_>) -> BTreeSet<String> {
    const ACCEPTED: &str = "codes of two or three small letters (ISO 639), or \"*\"";
    let languages: BTreeSet<String> = section.texts("languages").into_iter().collect();
    let is_code = |l: &str| (2..=3).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_lowercase());
    for language in languages.iter().filter(|l| *l != "*" && !is_code(l)) {
        section.problem("languages", format!("{language:?} is no language code"), ACCEPTED);
    }
    if !section.has("languages") {
        section.problem("languages", "missing", ACCEPTED);
    }
    languages
}

fn tokenizer(section: &Section<'_, '_>) -> TokenizerFamily {
    let family = required(section, "tokenizer", "a family, or \"unknown\"", |s, name| s.word(name, &TokenizerFamily::WORDS));
    family.unwrap_or(TokenizerFamily::Unknown)
}

fn quality(section: Section<'_, '_>) -> Quality {
    let signals = section.sections("signals").into_iter().map(signal).collect::<Vec<_>>();
    let score = section.whole("score", 0..=100).and_then(|score| u8::try_from(score).ok());
    if score.is_some() && signals.is_empty() {
        section.problem("score", "no signal supports the score", "a score with the signals it was derived from");
    }
    section.finish();
    Quality { score, signals }
}

fn signal(section: Section<'_, '_>) -> QualitySignal {
    let signal = QualitySignal {
        metric: section.required_text("metric", "what was measured").unwrap_or_default(),
        value: section.required_text("value", "the figure in quotes, as its source writes it").unwrap_or_default(),
        measured: date(&section, "measured").map(|date| date.to_string()),
        source: section.required_text("source", "who measured or published it").unwrap_or_default(),
    };
    section.finish();
    signal
}
