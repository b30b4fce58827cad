//! The table at the top of the repository: that it is read without a problem, sells something of everybody it should, and
//! says what the collected facts say.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::tests::{damages, inflict};
use crate::canonical::{Feature, QualityTier};
use crate::catalog::capability::OutputBoundField;
use crate::catalog::{Backend, Snapshot};
use crate::units::TokenPrice;

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

#[test]
fn what_is_off_says_why() {
    let table = shipped();
    let reasons = table.providers().iter().map(|p| (p.id.as_str(), p.disabled.as_deref()));
    let reasons = reasons.chain(table.backends().iter().map(|b| (b.id.as_str(), b.disabled.as_deref())));
    for (id, reason) in reasons {
        assert!(reason.is_none_or(|reason| reason.len() > 10), "{id}: {reason:?}");
    }
    // Nothing is sent to an address that is not complete.
    for provider in table.providers().iter().filter(|p| p.base_url.chars().any(|c| c.is_ascii_uppercase())) {
        assert!(provider.disabled.is_some(), "{}: {}", provider.id, provider.base_url);
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
    for backend in table.backends().iter().filter(|b| !b.free) {
        let provider = &table.provider_of(backend).id;
        let of_backend = |m: &&Value| m["provider"] == provider.as_str() && m["id"] == backend.upstream_model.as_str();
        let model = facts["models"].as_array().unwrap().iter().find(of_backend);
        let Some(model) = model else { panic!("{} is not among the facts", backend.id) };
        let of_history = |c: &&Value| c["provider"] == model["provider"] && c["model"] == model["id"];
        let changes = facts["history"]["id_level_changes"].as_array().unwrap().iter().filter(of_history).cloned();
        let told = Value::Array([model["prices"].clone()].into_iter().chain(changes).collect());
        for row in backend.prices.rows() {
            let tariff = &row.list().cells()[0].tariff;
            let inputs = prices_named(&told, "input");
            let unsaid = |price: TokenPrice| price == tariff.input;
            // Implicit cache reads cost a fifth of the input where the catalogue has an explicit one's price (alibaba).
            let implicit = |price: TokenPrice| inputs.iter().any(|input| input.pico() == price.pico() * 5);
            let cells = [
                ("input", tariff.input, false),
                ("output", tariff.output, false),
                ("cached_input", tariff.cache_read, unsaid(tariff.cache_read) || implicit(tariff.cache_read)),
                ("cache_write", tariff.cache_write, unsaid(tariff.cache_write)),
            ];
            for (cell, price, excused) in cells {
                let known = excused || prices_named(&told, cell).contains(&price);
                assert!(known, "{}: {cell} {} is not a fact", backend.id, price.to_per_million());
            }
        }
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

/// Every price of a cell in a model's facts, in tiers, cells and modes as well, and what it becomes within time windows.
fn prices_named(facts: &Value, cell: &str) -> Vec<TokenPrice> {
    let mut found = Vec::new();
    match facts {
        Value::Array(items) => items.iter().for_each(|item| found.extend(prices_named(item, cell))),
        Value::Object(members) => {
            if let Some(price) = members.get(cell).and_then(Value::as_number) {
                let price = TokenPrice::per_million(&price.to_string()).unwrap();
                found.push(price);
                let windows = facts["time_windows"]["windows"].as_array().map(Vec::as_slice).unwrap_or_default();
                if windows.iter().any(|window| window["multiplier"] == 2.0) {
                    found.push(TokenPrice::from_pico(price.pico() * 2));
                }
            }
            members.values().for_each(|member| found.extend(prices_named(member, cell)));
        }
        _ => {}
    }
    found
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
