//! The table at the top of the repository: that it is read without a problem, sells something of everybody it should, and
//! says what the collected facts say.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::tests::{damages, inflict};
use crate::canonical::{Feature, Form, QualityTier, SchemaBy};
use crate::catalog::capability::{Hint, OutputBoundField, RefusedThoughts, ThinkingEffort, ThinkingSwitch};
use crate::catalog::price::PriceRow;
use crate::catalog::{Backend, Snapshot};
use crate::units::{Cell, Factor, Tariff, TokenPrice, Tokens};

const SHIPPED: &str = include_str!("../../../providers.toml");
const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/facts");

fn shipped() -> Snapshot {
    match Snapshot::parse("providers.toml", SHIPPED) {
        Ok(table) => table,
        Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn collected() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

#[test]
fn it_sells_something_of_everybody() {
    let table = shipped();
    assert!(table.backends().len() >= 200, "{} backends", table.backends().len());
    assert!(table.providers().len() >= 35, "{} sites", table.providers().len());
    let sellers = [
        "deepseek",
        "alibaba-cn",
        "alibaba",
        "volcengine",
        "zhipuai",
        "zai",
        "moonshotai-cn",
        "moonshotai",
        "baidu",
        "tencent-tokenhub",
        "minimax-cn",
        "minimax",
        "siliconflow-cn",
        "siliconflow",
        "openai",
        "google",
        "mistral",
        "xai",
        "groq",
        "openrouter",
        "anthropic",
        "ollama",
        "vllm",
    ];
    for seller in sellers {
        let sells = table.backends().iter().any(|b| table.provider_of(b).id == seller);
        assert!(sells, "{seller} sells nothing");
    }
    for provider in table.providers() {
        assert!(table.backends().iter().any(|b| table.provider_of(b).id == provider.id), "{} has no backend", provider.id);
    }
}

/// Found by a reviewer: what only some sites and models take was told to none, or to all.
#[test]
fn what_sites_and_models_take_of_a_translation_is_told_by_their_rows() {
    let table = shipped();
    let backend = |provider: &str, model: &str| {
        let sold = |b: &&Backend| table.provider_of(b).id == provider && b.model.as_str() == model;
        table.backends().iter().find(sold).unwrap_or_else(|| panic!("{provider} {model}"))
    };
    let quirks = |provider: &str| table.providers().iter().find(|p| p.id == provider).unwrap().quirks;
    let hints = |provider: &str| Hint::WORDS.map(|(hint, _)| quirks(provider).hints.contains(hint));
    assert_eq!([hints("openai"), hints("moonshotai"), hints("groq")], [[true; 3], [true, false, false], [false; 3]]);
    assert_eq!(["openai", "xai", "minimax", "vllm"].map(|id| quirks(id).instructions_anywhere), [true, true, false, false]);
    let refused = |provider: &str| RefusedThoughts::WORDS.map(|(member, _)| quirks(provider).thoughts_refused.contains(member));
    assert_eq!([refused("mistral"), refused("groq"), refused("deepseek")], [[true; 3], [true, false, true], [false; 3]]);
    assert_eq!(["openai", "azure", "deepseek"].map(|id| quirks(id).call_id_chars), [Some(40), Some(40), None]);
    let unsigned = |id: &&str| quirks(id).unsigned_thoughts;
    assert!(["deepseek", "zai", "zhipuai", "moonshotai", "xiaomi", "stepfun-ai"].iter().all(unsigned));
    assert!(!["anthropic", "amazon-bedrock", "openrouter", "xai"].iter().any(unsigned));
    assert_eq!(["gpt-5.6-sol", "gpt-5.5"].map(|model| backend("openai", model).steering.cache_marks), [true, false]);
    let takes_tools = |provider: &str, model: &str| backend(provider, model).steering.chat_tools;
    assert_eq!(
        ["gpt-6-sol", "gpt-5.6-sol", "gpt-5.4-nano", "gpt-5"].map(|model| takes_tools("openai", model)),
        [false, false, false, true]
    );
    assert!(!takes_tools("azure", "gpt-5.4-mini"));
    let reads_files = |b: &&Backend| b.features.contains(Feature::FileInput);
    let of_files =
        |provider: &str| table.backends().iter().filter(|b| table.provider_of(b).id == provider).filter(reads_files).count();
    assert!(["google", "amazon-bedrock", "anthropic"].into_iter().all(|provider| of_files(provider) > 2), "they take PDFs");
    let older = backend("google", "gemini-2.5-pro");
    assert_eq!((older.schema_by(true), older.schema_by(false)), (SchemaBy::Tool, SchemaBy::Native));
    assert!(older.by_hand(Form::Schema, true) && !older.by_hand(Form::Schema, false) && !older.by_hand(Form::Object, true));
    assert_eq!(backend("openai", "gpt-5.5").schema_by(true), SchemaBy::Native);
}

#[test]
fn what_is_off_says_why() {
    let table = shipped();
    let reasons = table.providers().iter().map(|p| (p.id.as_str(), p.disabled.as_deref()));
    let reasons = reasons.chain(table.backends().iter().map(|b| (b.id.as_str(), b.disabled.as_deref())));
    for (id, reason) in reasons {
        assert!(reason.is_none_or(|reason| reason.len() > 10), "{id}: {reason:?}");
    }
    // What an operator fills in stands in braces, never as a word that would be sent.
    for provider in table.providers() {
        assert!(!provider.base_url.chars().any(|c| c.is_ascii_uppercase()), "{}: {}", provider.id, provider.base_url);
    }
}

#[test]
fn every_backend_that_is_on_quotes_in_dollars() {
    let table = shipped();
    for backend in table.backends().iter().filter(|b| b.disabled.is_none()) {
        let row = backend.prices.at(collected());
        let rate = row.and_then(|row| table.fx.at(row.currency(), collected()));
        assert!(rate.is_some(), "{} has no price in dollars", backend.id);
    }
}

#[test]
fn a_standard_and_a_premium_request_have_a_choice_of_owners() {
    let table = shipped();
    for (tier, least) in [(QualityTier::Standard, 5), (QualityTier::Premium, 2)] {
        let on = |b: &&Backend| b.disabled.is_none() && table.provider_of(b).disabled.is_none() && b.quality.meets(tier);
        let mut owners: Vec<&str> = table.backends().iter().filter(on).map(|b| table.provider_of(b).owner.as_str()).collect();
        owners.sort_unstable();
        owners.dedup();
        assert!(owners.len() >= least, "{}: {owners:?}", tier.word());
    }
}

#[test]
fn nothing_without_a_key_is_on() {
    // Such a provider would be first choice everywhere, whether a server listens or not.
    for provider in shipped().providers() {
        assert!(provider.api_key_env.is_some() || provider.disabled.is_some(), "{}", provider.id);
    }
}

#[test]
fn an_alias_is_no_other_models_name() {
    let table = shipped();
    for backend in table.backends() {
        let taken = |alias: &&String| table.backends().iter().any(|other| other.model == **alias && other.model != backend.model);
        assert_eq!(backend.aliases.iter().find(taken), None, "{}", backend.id);
    }
}

#[test]
fn json_without_a_schema_is_offered_where_the_dialect_has_a_switch_for_it() {
    let table = shipped();
    let switchless = |b: &&Backend| ["anthropic-messages", "bedrock-converse"].contains(&table.provider_of(b).dialect.as_str());
    for backend in table.backends().iter().filter(switchless) {
        assert!(!backend.features.contains(Feature::JsonObject), "{}", backend.id);
    }
}

#[test]
fn a_tool_can_be_forced_wherever_the_facts_have_a_word_for_it() {
    let table = shipped();
    let forced = |id: &str| table.backend_named(id).unwrap().features.contains(Feature::ForcedTool);
    for id in ["google/gemini-3.5-flash", "mistral/mistral-large-4", "azure/gpt-5.4", "openai/gpt-5.4", "xai/grok-4.7"] {
        assert!(forced(id), "{id}");
    }
    for id in ["anthropic/claude-sonnet-5", "amazon-bedrock/amazon.nova-pro-v1:0", "amazon-bedrock/anthropic.claude-sonnet-5"] {
        assert!(forced(id), "{id}");
    }
    // Refused, refused by several, or not to be told to this one of the site.
    for id in ["zhipuai/glm-5.3", "minimax/MiniMax-M3", "moonshotai/kimi-k2.6", "amazon-bedrock/deepseek.v3.2"] {
        assert!(!forced(id), "{id}");
    }
    let any = table.providers().iter().filter(|provider| provider.quirks.required_is_any).map(|provider| provider.id.as_str());
    assert_eq!(any.collect::<Vec<_>>(), ["mistral"]);
}

#[test]
fn a_schema_is_asked_for_by_hand_where_no_provider_holds_a_model_to_it() {
    let table = shipped();
    let way = |id: &str| table.backend_named(id).unwrap().schema_by;
    for id in ["deepseek/deepseek-v4-pro", "zai/glm-5.3", "zhipuai/glm-5.3", "alibaba/qwen3.7-plus", "mistral/mistral-large-4"] {
        assert_eq!(way(id), SchemaBy::JsonObject, "{id}");
    }
    assert_eq!(way("amazon-bedrock/amazon.nova-pro-v1:0"), SchemaBy::Tool);
    for id in ["openai/gpt-5.4", "anthropic/claude-sonnet-5", "moonshotai/kimi-k3", "mistral/mistral-medium-2604"] {
        assert_eq!(way(id), SchemaBy::Native, "{id}");
    }
    // Whoever can be asked for some JSON, or be made to call a tool, can be asked for a schema.
    for backend in table.backends() {
        let able = [Feature::JsonObject, Feature::ForcedTool].iter().any(|feature| backend.features.contains(*feature));
        assert!(!able || backend.features.contains(Feature::JsonSchema), "{}", backend.id);
    }
}

#[test]
fn a_model_is_told_to_think_as_the_facts_say_of_it_and_not_of_its_site_alone() {
    let table = shipped();
    let switch = |id: &str| {
        let backend = table.backend_named(id).unwrap();
        backend.steering.switch.unwrap_or(table.provider_of(backend).quirks.thinking_switch)
    };
    for id in ["moonshotai/kimi-k3", "moonshotai-cn/kimi-k3", "moonshotai/kimi-k3.1-pro", "cohere/command-a-plus-05-2026"] {
        assert_eq!(switch(id), ThinkingSwitch::ReasoningEffort, "{id}");
    }
    for id in ["moonshotai/kimi-k2.6", "deepseek/deepseek-v4-pro", "minimax/MiniMax-M3"] {
        assert_eq!(switch(id), ThinkingSwitch::Thinking, "{id}");
    }
    assert_eq!(switch("minimax-cn/MiniMax-M2.7"), ThinkingSwitch::None);
    let beside = |id: &str| table.providers().iter().find(|p| p.id == id).unwrap().quirks.thinking_effort;
    for id in ["deepseek", "volcengine", "zhipuai", "zai", "tencent-tokenhub"] {
        assert_eq!(beside(id), ThinkingEffort::Beside, "{id}");
    }
    assert_eq!(["fireworks-ai", "byteplus"].map(beside), [ThinkingEffort::Instead, ThinkingEffort::Never]);
}

#[test]
fn the_newest_of_claude_go_on_with_no_answer_that_is_begun() {
    let table = shipped();
    let prefill = |id: &str| table.backend_named(id).unwrap().steering.prefill;
    for id in ["anthropic/claude-sonnet-4-6", "anthropic/claude-opus-5", "amazon-bedrock/anthropic.claude-sonnet-5"] {
        assert!(!prefill(id), "{id}");
    }
    assert!(prefill("anthropic/claude-haiku-4-5") && prefill("deepseek/deepseek-v4-pro"));
}

#[test]
fn where_an_output_bound_leaves_thinking_out_the_other_one_is_sent() {
    // A hold covers what the bound lets through: at Ark `max_tokens` lets any length of thinking through.
    let table = shipped();
    for id in ["volcengine", "byteplus"] {
        let site = table.providers().iter().find(|provider| provider.id == id).unwrap();
        assert_eq!(site.quirks.output_bound, OutputBoundField::MaxCompletionTokens, "{id}");
    }
}

#[test]
fn a_region_is_promised_where_the_facts_tell_one_place() {
    let Some(facts) = facts("providers.json") else { return };
    let table = shipped();
    for site in facts["providers"].as_array().unwrap() {
        let (id, told) = (site["id"].as_str().unwrap(), site["data_region"].as_str().unwrap());
        // "SG entity" is who the contract is with; "CN/SG", "as chosen" and "upstream varies" are no place.
        let place = if told.contains([' ', '/']) { "global" } else { told };
        let Some(provider) = table.providers().iter().find(|provider| provider.id == id) else { continue };
        assert_eq!(provider.region, place, "{id}: {told}");
    }
}

#[test]
fn no_terms_of_a_world_site_are_taken_for_those_of_china() {
    // The one reading of terms that was collected is of the companies' world entities, and of DeepSeek, which has one site.
    for provider in shipped().providers().iter().filter(|provider| provider.region == "CN") {
        assert_ne!(provider.trains_on_data, Some(false), "{}", provider.id);
    }
}

#[test]
fn prices_are_those_of_the_collected_facts() {
    let Some(facts) = facts("prices.json") else { return };
    let table = shipped();
    let mut compared = 0;
    for backend in table.backends() {
        let Some(model) = model_of(&facts, &table, backend) else { continue };
        let Some(told) = model["prices"].get(0) else { continue };
        let row = backend.prices.at(collected()).unwrap();
        assert_eq!(row.currency().code(), told["currency"], "{}", backend.id);
        let windows = told["time_windows"]["windows"].as_array().map_or(0, Vec::len);
        assert_eq!(row.calendar.as_ref().map_or(0, |calendar| calendar.windows().len()), windows, "{}", backend.id);
        if told["input"].as_f64() == Some(0.0) {
            let nothing = Cell::any(Tariff::free(row.currency()));
            assert_eq!(row.list().cells(), [nothing], "{}", backend.id);
            continue;
        }
        let batch = &told["modes"]["batch"];
        assert_eq!(row.batch.is_empty(), batch.is_null(), "{}", backend.id);
        for (input, output, thinking) in lengths(told) {
            let cell = row.list().cell(Tokens::new(input), Tokens::new(output), thinking);
            let is = Asked { backend, input, output, thinking, told };
            is.priced(cell, is.in_facts());
            if let Some(sheet) = row.batch.first() {
                is.priced(sheet.cell(Tokens::new(input), Tokens::new(output), thinking), Some(by_tier(batch, input)));
            }
            compared += 1;
        }
    }
    assert!(compared > 2000, "{compared}");
}

/// Lengths on both sides of every edge that a price of the facts has, and of an answer of 200 tokens.
fn lengths(told: &Value) -> Vec<(u64, u64, bool)> {
    let edges = |list: &Value, name: &str| -> Vec<u64> {
        list.as_array().into_iter().flatten().filter_map(|item| item[name].as_u64()).collect()
    };
    let modes = &told["modes"];
    let tiers = [&told["tiers"], &modes["batch"]["tiers"], &modes["thinking"]["tiers"]];
    let mut edges: Vec<u64> = tiers.iter().flat_map(|list| edges(list, "above_input_tokens")).collect::<Vec<_>>();
    edges.extend(told["matrix"].as_array().into_iter().flatten().filter_map(|cell| cell["input_tokens_to"].as_u64()));
    let inputs = edges.into_iter().flat_map(|edge| [edge, edge + 1]).chain([1, 1_000_000]);
    inputs.flat_map(|input| [200, 201].map(|output| [false, true].map(|thinking| (input, output, thinking)))).flatten().collect()
}

/// The part of a price of the facts that an input of this length falls into.
fn by_tier(price: &Value, input: u64) -> &Value {
    let tiers = price["tiers"].as_array().map(Vec::as_slice).unwrap_or_default();
    tiers.iter().rev().find(|tier| input > tier["above_input_tokens"].as_u64().unwrap()).unwrap_or(price)
}

/// A request, and the price row of the facts that its model has.
struct Asked<'f> {
    backend: &'f Backend,
    input: u64,
    output: u64,
    thinking: bool,
    told: &'f Value,
}

impl<'f> Asked<'f> {
    /// Its figures by the facts; `None` where they have none.
    fn in_facts(&self) -> Option<&'f Value> {
        let within = |count: u64, from: &Value, to: &Value| {
            from.as_u64().is_none_or(|from| from == 0 || count > from) && to.as_u64().is_none_or(|to| count <= to)
        };
        if let Some(cells) = self.told["matrix"].as_array() {
            return cells.iter().find(|cell| {
                within(self.input, &cell["input_tokens_from"], &cell["input_tokens_to"])
                    && within(self.output, &cell["output_tokens_from"], &cell["output_tokens_to"])
                    && cell["thinking"].as_bool().is_none_or(|thinking| thinking == self.thinking)
            });
        }
        let mode = &self.told["modes"]["thinking"];
        if !self.thinking || mode.is_null() {
            return Some(by_tier(self.told, self.input));
        }
        // A flat price with thinking on beside tiers is that of the first tier: beyond it none is told.
        let first = self.told["tiers"].get(0).and_then(|tier| tier["above_input_tokens"].as_u64());
        let beyond = mode["tiers"].is_null() && first.is_some_and(|edge| self.input > edge);
        (!beyond).then(|| by_tier(mode, self.input))
    }

    /// Whether a cell of the table says what the facts do, but for cache prices that are not believed.
    fn priced(&self, cell: Option<&Cell>, told: Option<&Value>) {
        let what = format!("{} ({} in, {} out, thinking: {})", self.backend.id, self.input, self.output, self.thinking);
        let (Some(cell), Some(told)) = (cell, told) else {
            return assert!(cell.is_none() && told.is_none(), "{what}: {cell:?}, {told}", told = told.is_some());
        };
        let figure = |name: &str| told[name].as_number().map(|price| TokenPrice::per_million(&price.to_string()).unwrap());
        let (input, tariff) = (figure("input").unwrap(), &cell.tariff);
        // Implicit cache reads cost a fifth of the input where the catalogue has an explicit one's price.
        let mixed = self.backend.id.as_str().starts_with("alibaba/");
        let fifth = TokenPrice::from_pico(if mixed { input.pico() / 5 } else { 0 });
        let read = figure("cached_input").map_or(input, |price| price.max(fifth));
        let write = figure("cache_write").filter(|price| *price >= input);
        let multiple = self.told["cache_write_1h_multiple_of_input"].as_number().map(|m| Factor::parse(&m.to_string()).unwrap());
        let long = write.map_or(input, |short| multiple.map_or(short, |multiple| multiple.of(input).unwrap()));
        let expected = [input, figure("output").unwrap(), read, write.unwrap_or(input), long];
        let said = [tariff.input, tariff.output, tariff.cache_read, tariff.cache_write, tariff.cache_write_long];
        assert_eq!(said.map(TokenPrice::to_per_million), expected.map(TokenPrice::to_per_million), "{what}");
    }
}

fn model_of<'f>(facts: &'f Value, table: &Snapshot, backend: &Backend) -> Option<&'f Value> {
    let provider = table.provider_of(backend);
    let of_backend = |m: &&Value| m["provider"] == provider.id.as_str() && m["id"] == backend.upstream_model.as_str();
    let model = facts["models"].as_array().unwrap().iter().find(of_backend);
    assert!(model.is_some() || provider.jurisdiction == "local", "{} is not among the facts", backend.id);
    model
}

#[test]
fn earlier_prices_are_those_of_the_history() {
    let Some(facts) = facts("prices.json") else { return };
    let (table, mut rows) = (shipped(), 0);
    for backend in table.backends() {
        let Some(model) = model_of(&facts, &table, backend) else { continue };
        let of_history = |c: &&Value| c["provider"] == model["provider"] && names(&c["model"], &backend.upstream_model);
        let history = ["id_level_changes", "events"].map(|list| facts["history"][list].as_array().unwrap());
        let told = Value::Array(history.into_iter().flatten().filter(of_history).cloned().collect());
        let told = Value::Array(vec![told, model["prices"].clone()]);
        let (_, earlier) = backend.prices.rows().split_last().unwrap_or((&PriceRow::free("none".into()), &[]));
        for cell in earlier.iter().flat_map(|row| row.list().cells()) {
            rows += 1;
            for (name, price) in [("input", cell.tariff.input), ("output", cell.tariff.output)] {
                // A launch offer is told as half of the list.
                let known = prices_named(&told, name);
                let known = known.contains(&price) || known.contains(&TokenPrice::from_pico(price.pico() * 2));
                assert!(known, "{}: {name} {} is not a fact", backend.id, price.to_per_million());
            }
        }
    }
    assert!(rows >= 40, "{rows}");
}

/// A name of the history, which may be written otherwise.
fn names(told: &Value, model: &str) -> bool {
    told.as_str().is_some_and(|told| told.eq_ignore_ascii_case(model))
}

#[test]
fn gaps_of_a_catalogue_are_no_history() {
    let table = shipped();
    let long_ago: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    for id in [
        "anthropic/claude-haiku-4-5",
        "moonshotai/kimi-k2.5",
        "zai/glm-5",
        "zai/glm-5.2",
        "mistral/devstral-2512",
        "openai/gpt-4o",
    ] {
        assert!(table.backend_named(id).unwrap().prices.at(long_ago).is_none(), "{id}");
    }
}

#[test]
fn reports_without_a_full_price_are_annotations() {
    let Some(facts) = facts("prices.json") else { return };
    let table = shipped();
    for event in facts["history"]["events"].as_array().unwrap() {
        let full = event["after"]["input"].is_number() && event["after"]["output"].is_number();
        let told = table.annotations.iter().any(|a| event["date"] == a.date.as_str() && event["model"] == a.model.as_str());
        assert_ne!(full, told, "{event}");
    }
}

#[test]
fn its_version_is_the_day_of_the_facts() {
    let Some(facts) = facts("prices.json") else { return };
    let (version, day) = (shipped().version, facts["generated"].as_str().unwrap().to_owned());
    assert!(version.starts_with(&format!("{day}+")), "{version}: the facts are of {day}");
}

#[test]
fn every_collected_model_is_in_or_left_out_with_a_reason() {
    let Some(facts) = facts("prices.json") else { return };
    let table = shipped();
    let (_, left_out) = SHIPPED.rsplit_once("# Left out\n").unwrap();
    for model in facts["models"].as_array().unwrap() {
        let id = format!("{}/{}", model["provider"].as_str().unwrap(), model["id"].as_str().unwrap());
        let told = left_out.lines().any(|line| line.strip_prefix(&format!("# {id}: ")).is_some_and(|why| why.len() > 10));
        assert!(told != table.backend_named(&id).is_some(), "{id}");
    }
}

/// A file of the collected facts; `None`, and a line that says so, where they are not beside the repository.
fn facts(name: &str) -> Option<Value> {
    let path = Path::new(FACTS).join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: not present ({})", path.display());
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

/// Every price of a cell in a model's facts, in tiers, cells and modes as well.
fn prices_named(facts: &Value, cell: &str) -> Vec<TokenPrice> {
    match facts {
        Value::Array(items) => items.iter().flat_map(|item| prices_named(item, cell)).collect(),
        Value::Object(members) => {
            let own = members.get(cell).and_then(Value::as_number);
            let own = own.map(|price| TokenPrice::per_million(&price.to_string()).unwrap());
            own.into_iter().chain(members.values().flat_map(|member| prices_named(member, cell))).collect()
        }
        _ => Vec::new(),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    #[test]
    fn damaged_it_parses_or_says_why(damages in damages()) {
        let text = damages.iter().fold(SHIPPED.to_owned(), |text, damage| inflict(&text, damage));
        if let Err(problems) = Snapshot::parse("providers.toml", &text) {
            proptest::prop_assert!(!problems.is_empty());
        }
    }
}
