//! Tables that mean something, tables that are wrong in one place each, and tables damaged at random.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::canonical::{Direct, Feature, SchemaBy, Shape};
use crate::catalog::{Backend, Dimensions, KeyHeader, PriceChanges, Reasoning, Retention};
use crate::units::TokenPrice;

const SMALL: &str = include_str!("../../../tests/fixtures/tables/small.toml");

fn small() -> Snapshot {
    Snapshot::parse("small.toml", SMALL).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    match Snapshot::parse("t.toml", text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Replaces one place of the small table and expects exactly these problems (each by its beginning after file and line).
fn check(old: &str, new: &str, expected: &[&str]) {
    assert!(SMALL.contains(old), "the fixture has no {old:?}");
    let found = problems(&SMALL.replacen(old, new, 1));
    let tails: Vec<&str> = found.iter().map(|p| p.splitn(4, ':').nth(3).unwrap_or_default().trim_start()).collect();
    let fits = tails.len() == expected.len() && tails.iter().zip(expected).all(|(tail, start)| tail.starts_with(start));
    assert!(fits, "{new:?}: expected {expected:#?}, found {tails:#?}");
}

/// Found by a reader: such a provider was asked without any key.
#[test]
fn a_token_that_is_had_with_a_key_wants_the_keys_variable() {
    let told = "providers.home.api_key_env: missing: `auth` says that a token is had with a key";
    for auth in ["signed-jwt", "service-account"] {
        check("[providers.home]\n", &format!("[providers.home]\nauth = \"{auth}\"\n"), &[told]);
        let keyed = format!("[providers.home]\nauth = \"{auth}\"\napi_key_env = \"HOME_KEY\"\n");
        check("[providers.home]\n", &keyed, &[]);
    }
}

#[test]
fn the_small_table_means_what_it_says() {
    let table = small();
    let [east, home, west] = table.providers() else { panic!("{:?}", table.providers()) };
    assert_eq!((east.id.as_str(), home.id.as_str(), west.id.as_str()), ("east", "home", "west"));
    assert_eq!(east.base_url, "https://east.example/v1");
    assert_eq!(west.extra_headers, [("X-Title".to_owned(), "tests".to_owned())]);
    assert!(west.quirks.developer_role && west.sandbox.is_some() && home.api_key_env.is_none());

    let jade = table.backend_named("east/jade").unwrap();
    assert_eq!(table.provider_of(jade).id, "east");
    assert_eq!((jade.limits.context.get(), jade.reasoning, jade.quality.score), (131_072, Reasoning::Switchable, Some(55)));
    let summit = table.backend_named("west/summit").unwrap();
    assert!(Feature::ALL.into_iter().filter(|f| *f != Feature::AudioInput).all(|f| summit.features.contains(f)));
    assert!(!summit.features.contains(Feature::AudioInput));
    let serving: Vec<&Backend> = table.serving("open-20b").iter().map(|b| table.backend(*b)).collect();
    assert_eq!(serving.iter().map(|b| b.id.as_str()).collect::<Vec<_>>(), ["east/open/open-20b", "home/open-20b-q4"]);
}

#[test]
fn prices_follow_their_dates_and_default_to_the_input_price() {
    let table = small();
    let price = |id: &str, at: &str| {
        let at: Timestamp = at.parse().unwrap();
        table.backend_named(id).unwrap().prices.at(at).map(|row| row.list().cells()[0].tariff)
    };
    let per_million = |p: &str| TokenPrice::per_million(p).unwrap();
    assert_eq!(price("east/jade", "2026-10-31T15:59:59Z").unwrap().input, per_million("1"));
    let now = price("east/jade", "2026-10-31T16:00:00Z").unwrap();
    assert_eq!((now.currency, now.input, now.cache_read), (Currency::Cny, per_million("2"), per_million("0.2")));
    assert_eq!((now.cache_write, now.output), (per_million("2"), per_million("8")));
    assert_eq!(price("home/open-20b-q4", "2026-11-22T00:00:00Z").unwrap().output, TokenPrice::FREE);
    assert_eq!(price("west/summit-preview", "2026-11-22T00:00:00Z"), None);
    let rate = table.fx.at(Currency::Cny, "2026-11-19T12:00:00Z".parse().unwrap());
    assert_eq!(rate.unwrap().per_usd(), "7");
}

#[test]
fn a_schema_by_hand_needs_what_it_is_asked_for_by() {
    let jade = "features = [\"tools\", \"json_object\"]";
    let with = |more: &str| SMALL.replacen(jade, &format!("{jade}\n{more}"), 1);
    let read = |text: &str| {
        let table = Snapshot::parse("t", text).unwrap();
        let jade = table.backend_named("east/jade").unwrap();
        (jade.schema_by, jade.features.contains(Feature::JsonSchema))
    };
    assert_eq!(read(SMALL), (SchemaBy::Native, false));
    assert_eq!(read(&with("schema_by = \"json_object\"")), (SchemaBy::JsonObject, true));
    let lacks = &["backends[0].schema_by: \"tool\" needs what the backend does not have"];
    check(jade, &format!("{jade}\nschema_by = \"tool\""), lacks);
    check(jade, &format!("{jade}\nschema_by = \"toll\""), &["backends[0].schema_by: \"toll\" is not known"]);
}

#[test]
fn the_version_tells_two_edits_apart() {
    let (one, other) = (small().version, Snapshot::parse("t", &format!("{SMALL}\n")).unwrap().version);
    assert!(one.starts_with("2026-11-22+") && one.len() == "2026-11-22+".len() + 12, "{one}");
    assert_ne!(one, other);
}

#[test]
fn unknown_models_get_near_names() {
    let table = small();
    assert_eq!(table.near_models("sumit", 1), ["summit"]);
    assert_eq!(table.near_models("west/sumit", 1), ["west/summit"]);
    assert_eq!(table.near_models("jade-chatt", 2), ["jade-chat", "jade"]);
    assert!(table.near_models("zzz", 3).is_empty());
}

#[test]
fn a_newer_schema_is_refused_before_anything_else() {
    check("schema = 1", "schema = 2\nnovelty = 3", &["schema: the table has schema 2, this gateway knows up to 1"]);
    check("schema = 1\n", "", &["schema: missing"]);
}

#[test]
fn wrong_providers_are_named() {
    check(
        "provider = \"home\"",
        "provider = \"hone\"",
        &["backends[4].provider: there is no provider \"hone\" (did you mean \"home\"?)"],
    );
    let expected =
        ["providers.Home: this is no fit id", "backends[4].provider: there is no provider \"home\" (did you mean \"Home\"?)"];
    check("[providers.home]", "[providers.Home]", &expected);
    check("http://127.0.0.1:8000/v1", "http://home.example/v1", &["providers.home.base_url: the key and the prompts"]);
    check("https://east.example", "https://a:b@east.example", &["providers.east.base_url: user info"]);
    check(
        "dialect = \"openai-chat\"",
        "dialect = \"openai-caht\"",
        &["providers.east.dialect: \"openai-caht\" is not implemented (did you mean"],
    );
    check("dialect = \"openai-chat\"", "dialect = \"other\"\ndisabled = \"no codec\"", &[]);
    check(
        "X-Title = \"tests\"",
        "Authorization = \"Bearer x\"",
        &["providers.west.extra_headers.Authorization: this header cannot"],
    );
    check("jurisdiction = \"CN\"", "jurisdiction = \"China\"", &["providers.east.jurisdiction: \"China\" is not known"]);
}

#[test]
fn a_provider_has_endpoints_by_dialect() {
    let line = "dialect = \"openai-chat\"";
    let endpoint = |name: &str, fields: &str| {
        SMALL.replacen(
            "[providers.west.quirks]",
            &format!("[providers.west.endpoints.{name}]\n{fields}\n[providers.west.quirks]"),
            1,
        )
    };
    let of = |text: &str| {
        let table = Snapshot::parse("t.toml", text).unwrap();
        let west = table.providers().iter().find(|provider| provider.id == "west").unwrap();
        west.endpoints().map(|(shape, url, auth)| (shape, url.to_owned(), auth)).collect::<Vec<_>>()
    };
    let main = of(SMALL);
    assert_eq!((main.len(), main[0].0, main[0].2), (1, Shape::OpenAiChat, KeyHeader::Bearer));
    let both = of(&endpoint("anthropic-messages", "base_url = \"https://west.example/anthropic/v1/\"\nauth = \"x-api-key\""));
    let more = (Shape::AnthropicMessages, "https://west.example/anthropic/v1".to_owned(), KeyHeader::XApiKey);
    assert_eq!(both, [main[0].clone(), more]);
    let gemini =
        of(&endpoint("gemini-generate-content", "base_url = \"https://west.example/v1beta\"\nauth = \"x-goog-api-key\""));
    let more = (Shape::GeminiGenerate, "https://west.example/v1beta".to_owned(), KeyHeader::XGoogApiKey);
    assert_eq!(gemini, [main[0].clone(), more]);
    let responses = of(&endpoint("openai-responses", "base_url = \"https://west.example/v1\""));
    let more = (Shape::OpenAiResponses, "https://west.example/v1".to_owned(), KeyHeader::Bearer);
    assert_eq!(responses, [main[0].clone(), more]);
    let wrong = |name: &str, fields: &str, expected: &str| {
        let problems = Snapshot::parse("t.toml", &endpoint(name, fields)).unwrap_err();
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        assert!(told.contains(expected), "{expected}: {told}");
    };
    let url = "base_url = \"https://west.example/v1\"";
    wrong(
        "anthropic-mesages",
        url,
        "providers.west.endpoints.anthropic-mesages: there is no codec for this dialect (did you mean",
    );
    wrong("openai-chat", url, "providers.west.endpoints.openai-chat: the provider's own endpoint speaks this dialect");
    wrong("anthropic-messages", "", "providers.west.endpoints.anthropic-messages.base_url");
    let plain = "base_url = \"http://west.example/v1\"";
    wrong("anthropic-messages", plain, "endpoints.anthropic-messages.base_url: the key and the prompts");
    wrong("anthropic-messages", &format!("{url}\nauth = \"basic\""), "endpoints.anthropic-messages.auth: \"basic\" is not known");
    check(line, &format!("{line}\nauth = \"x-key\""), &["providers.east.auth: \"x-key\" is not known"]);
}

#[test]
fn what_becomes_of_data_is_known_or_unknown_and_never_guessed() {
    let of = |line: &str| {
        let text = SMALL.replacen("trains_on_data = true", &format!("trains_on_data = true\n{line}"), 1);
        let table = Snapshot::parse("t.toml", &text).unwrap();
        (table.providers()[0].retention, table.providers()[0].registered)
    };
    assert_eq!(of(""), (None, None));
    assert_eq!(of("retention = \"none\"\nregistered = true"), (Some(Retention::None), Some(true)));
    assert_eq!(of("retention = \"days\"\nretention_days = 30"), (Some(Retention::Days(30)), None));
    assert_eq!(of("retention = \"kept\"\nregistered = false"), (Some(Retention::Kept), Some(false)));
    let wrong =
        |line: &str, expected: &str| check("trains_on_data = true", &format!("trains_on_data = true\n{line}"), &[expected]);
    wrong("retention = \"days\"", "providers.east.retention: the number of days is missing");
    wrong("retention_days = 30", "providers.east.retention_days: no number of days belongs here");
    wrong("retention = \"nun\"", "providers.east.retention: \"nun\" is not known; accepted: \"none\", \"days\", \"kept\"");
    wrong("retention = \"days\"\nretention_days = 0", "providers.east.retention_days: 0 is out of range");
}

#[test]
fn price_changes_are_counts_with_a_source() {
    let with = |lines: &str| {
        SMALL.replacen("[providers.west.quirks]", &format!("[providers.west.price_changes]\n{lines}\n[providers.west.quirks]"), 1)
    };
    let counts = "models = 7\nrises = 5\ncuts = 8\nlargest_rise_percent = 135\n";
    let table = Snapshot::parse("t.toml", &with(&format!("{counts}source = \"invented for tests\""))).unwrap();
    let expected = PriceChanges { models: 7, rises: 5, cuts: 8, largest_rise_percent: 135 };
    assert_eq!(table.provider_of(table.backend_named("west/summit").unwrap()).price_changes, Some(expected));
    assert!(problems(&with(counts))[0].contains("providers.west.price_changes.source: missing"));
    let missing = problems(&with("source = \"x\""));
    assert!(
        missing.len() == 4 && missing.iter().all(|problem| problem.ends_with("missing; accepted: a whole number")),
        "{missing:?}"
    );
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    let found = problems(&SMALL.replacen("EAST_API_KEY", "sk-4f0c1secret", 1));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("providers.east.api_key_env: this is no variable's name"), "{found:?}");
    assert!(!found[0].contains("secret"), "{found:?}");
}

#[test]
fn wrong_backends_are_named() {
    check(
        "upstream_model = \"open/open-20b\"",
        "upstream_model = \"jade\"",
        &["backends[1].upstream_model: there are two backends east/jade"],
    );
    let twice = "priced_input_tokens = 16_000\naliases = [\"jade-chat\"]";
    check("priced_input_tokens = 16_000", twice, &["backends[1].aliases: \"jade-chat\" stands twice at this provider"]);
    check(
        "aliases = [\"jade-chat\"]",
        "aliases = [\"auto:economy\"]",
        &["backends[0].aliases: \"auto:economy\" cannot name a model"],
    );
    check(
        "max_output_tokens = 8_192",
        "max_output_tokens = 200_000",
        &["backends[0].max_output_tokens: 200000 is more than the context"],
    );
    check("priced_input_tokens = 16_000", "priced_input_tokens = 40_000", &["backends[1].priced_input_tokens: 40000 is more"]);
    check(
        "languages = [\"en\", \"zh\"]",
        "languages = [\"english\"]",
        &["backends[0].languages: \"english\" is no language code"],
    );
    check(
        "\"json_object\"]",
        "\"json-object\"]",
        &["backends[0].features: \"json-object\" is not known (did you mean \"json_object\"?)"],
    );
    check(
        "signals = [{ metric = \"index\", value = \"40.1\", measured = 2026-09-07, source = \"invented for tests\" }]",
        "",
        &["backends[0].quality.score: no signal"],
    );
    check("reasoning = \"switchable\"\n", "", &["backends[0].reasoning: missing"]);
    let steered = |members: &str| format!("reasoning = \"switchable\"\n{members}\n");
    let beside = |members: &str, expected: &[&str]| check("reasoning = \"switchable\"\n", &steered(members), expected);
    beside("thinking_efforts = [\"low\"]\nthinking_least_tokens = 128\nthinking_most_tokens = 128\nsampling = false", &[]);
    beside("thinking_efforts = [\"lo\"]", &["backends[0].thinking_efforts: \"lo\" is not known"]);
    let ends = "backends[0].thinking_most_tokens: 127 is less than thinking_least_tokens";
    beside("thinking_least_tokens = 128\nthinking_most_tokens = 127", &[ends]);
    check(
        "tokenizer = \"deepseek_v3\"",
        "tokeniser = \"deepseek_v3\"",
        &["backends[0].tokenizer: missing", "backends[0].tokeniser: unknown name (did you mean \"tokenizer\"?)"],
    );
}

#[test]
fn prices_that_look_like_slips_are_refused() {
    check("input = 0.5", "input = 0", &["backends[1].prices[0].input: this costs nothing"]);
    check("output = 2\n", "output = 0.000\n", &["backends[1].prices[0].output: this costs nothing"]);
    check("cache_read = 0.1\n", "cache_read = 0.0\n", &["backends[0].prices[0].cache_read: this costs nothing"]);
    check("cache_write = 1.5625", "cache_write = 0", &["backends[2].prices[0].cache_write: this costs nothing"]);
    check("input = 0.5", "input = 10_001", &["backends[1].prices[0].input: 10001 is beyond belief"]);
    check("input = 0.5", "input = 0.0000001", &["backends[1].prices[0].input: 0.0000001 is no price"]);
    check("input = 0.5", "input = -1", &["backends[1].prices[0].input: -1 is no price"]);
    check("input = 0.5\n", "", &["backends[1].prices[0].input: missing"]);
    check(
        "input = 1.25",
        "input = 1.25\nfree = true",
        &["input", "cache_read", "cache_write", "output"]
            .map(|figure| format!("backends[2].prices[0].{figure}: the backend or the row is marked free"))
            .each_ref()
            .map(String::as_str),
    );
    check(
        "priced_input_tokens = 16_000",
        "free = true",
        &["backends[1].prices[0].input: the backend or the row is marked free", "backends[1].prices[0].output: the"],
    );
}

#[test]
fn price_dates_are_instants_in_order() {
    let from = "from = 2026-11-01T00:00:00+08:00";
    check(from, "", &["backends[0].prices[1].from: another row begins at the same instant"]);
    check("until = 2026-11-01T00:00:00+08:00", from, &["backends[0].prices[1].from: another row begins at the same instant"]);
    check(from, "from = 2026-11-01", &["backends[0].prices[1].from: 2026-11-01 is no instant"]);
    let empty = format!("{from}\nuntil = 2026-11-01T00:00:00+08:00");
    check(from, &empty, &["backends[0].prices[1].until: the row ends before it begins"]);
}

#[test]
fn every_currency_in_use_needs_a_rate_once() {
    check("currency = \"USD\"", "currency = \"EUR\"", &["backends[2].prices: there is no exchange rate for EUR"]);
    check("per_usd = 7.0", "per_usd = 0", &["fx[0].per_usd: 0 is no exchange rate"]);
    check("date = 2026-11-02", "date = 2026-11-20", &["fx[1].date: CNY has two rates on 2026-11-20"]);
    check("currency = \"CNY\"", "currency = \"USD\"", &["fx[0].currency: \"USD\" is not known"]);
}

/// What may happen to a file: cut, overwritten, lines lost, doubled or swapped.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    Cut(usize),
    Overwrite(usize, String),
    LoseLine(usize),
    DoubleLine(usize),
    SwapLines(usize, usize),
}

pub(super) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let junk = "[\\PC\\n\\x00\\x07]{0,6}|=|\\[|\\]|\"|[0-9]{1,30}|true|\\[\\[|\\{|\\}|#|\\.";
    let one = prop_oneof![
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), junk).prop_map(|(at, text)| Damage::Overwrite(at, text)),
        any::<usize>().prop_map(Damage::LoseLine),
        any::<usize>().prop_map(Damage::DoubleLine),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Damage::SwapLines(a, b)),
    ];
    proptest::collection::vec(one, 1..4)
}

pub(super) fn inflict(text: &str, damage: &Damage) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.is_empty() {
        return text.to_owned();
    }
    let (count, chars) = (lines.len(), text.char_indices().count());
    let place = |at: usize| text.char_indices().nth(at % chars).map_or(0, |(n, _)| n);
    match damage {
        Damage::Cut(at) => return text[..place(*at)].to_owned(),
        Damage::Overwrite(at, junk) => {
            let rest: String = text[place(*at)..].chars().skip(junk.chars().count().max(1)).collect();
            return format!("{}{junk}{rest}", &text[..place(*at)]);
        }
        Damage::LoseLine(at) => drop(lines.remove(at % count)),
        Damage::DoubleLine(at) => lines.insert(at % count, lines[at % count]),
        Damage::SwapLines(a, b) => lines.swap(a % count, b % count),
    }
    lines.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_damaged_table_parses_or_says_why(damages in damages()) {
        let text = damages.iter().fold(SMALL.to_owned(), |text, damage| inflict(&text, damage));
        if let Err(problems) = Snapshot::parse("t.toml", &text) {
            prop_assert!(!problems.is_empty());
        }
    }
}

const HOURS: &str = include_str!("../../../tests/fixtures/tables/hours.toml");

/// Replaces one place of the table with hours and cells and expects these problems.
fn check_hours(old: &str, new: &str, expected: &[&str]) {
    assert!(HOURS.contains(old), "the fixture has no {old:?}");
    let found = problems(&HOURS.replacen(old, new, 1));
    let told = |start: &&&str| found.iter().any(|problem| problem.contains(**start));
    assert!(
        found.len() == expected.len() && expected.iter().all(|e| told(&e)),
        "{new:?}: expected {expected:#?}, found {found:#?}"
    );
}

#[test]
fn hours_and_cells_mean_what_they_say() {
    check_hours("schema = 1", "schema = 1", &[]);
    let table = Snapshot::parse("hours.toml", HOURS).unwrap();
    let peak = &table.backend_named("east/peak").unwrap().prices.rows()[0];
    assert_eq!((peak.sheets.len(), &*peak.id), (2, "east/peak@2026-08-16T16:00:00Z"));
    let cells = &table.backend_named("east/cells").unwrap().prices.rows()[0];
    assert_eq!((cells.list().cells().len(), cells.batch.len(), cells.list().priced_input().get()), (4, 1, 128_000));
    assert_eq!(table.fx.rates().len(), 2);
    assert_eq!((table.past.len(), table.annotations[0].model.as_str()), (1, "Gone Pro"));
    assert!(table.prices_of("east", "gone").is_some() && table.prices_of("east", "never").is_none());
}

#[test]
fn cells_that_look_like_slips_are_refused() {
    check_hours("input_to = 128_000", "input_to = 32_000", &["the cell ends at 32000 before it begins"]);
    check_hours("input_to = 128_000", "input_to = 0", &["0 is out of range"]);
    check_hours("input_to = 128_000", "input_until = 128_000", &["cells[3].input_until: unknown name"]);
    check_hours("input = 1.2, ", "", &["cells[3].input: missing"]);
    check_hours("input = 1.2, ", "input = 0, ", &["cells[3].input: this costs nothing"]);
    check_hours("cells = [\n", "input = 1\ncells = [\n", &["prices[0].input: a price stands beside cells"]);
    check_hours("cells = [\n", "tiers = \"part\"\ncells = [\n", &["\"part\" is not known"]);
    check_hours(
        "cells = [\n",
        "tiers = \"marginal\"\ncells = [\n",
        &[
            "cells[0].thinking: a cell of marginal",
            "cells[1].thinking: a cell of marginal",
            "cells[2].thinking: a cell of marginal",
        ],
    );
    check_hours("input = 0.4\noutput = 1.6", "cells = []", &["batch.cells: there is no cell"]);
    check_hours(
        "source = \"a test\"\n\n[[annotations]]",
        "source = \"a test\"\nminimum = 101\n[[annotations]]",
        &["101 is no charge"],
    );
    check_hours("model = \"gone\"", "model = \"cells\"", &["there is a backend, or another past model, east/cells"]);
}

/// Prices the input of a backend by parts, with these bounds of its cells, and expects these problems.
fn check_parts(bounds: &[&str], expected: &[&str]) {
    let (before, rest) = HOURS.split_once("cells = [\n").unwrap();
    let (_, behind) = rest.split_once("]\n").unwrap();
    let cell = |bounds: &&str| format!("  {{ {bounds}input = 0.8, output = 8 }},\n");
    let cells: String = bounds.iter().map(cell).collect();
    let found = problems(&format!("{before}tiers = \"marginal\"\ncells = [\n{cells}]\n{behind}"));
    let fits = found.len() == expected.len() && found.iter().zip(expected).all(|(problem, e)| problem.ends_with(e));
    assert!(fits, "{bounds:?}: expected {expected:#?}, found {found:#?}");
}

#[test]
fn marginal_cells_with_a_gap_or_an_overlap_are_refused_with_what_would_join_them() {
    let (low, middle, rest) = ("input_to = 100, ", "input_above = 100, input_to = 300, ", "input_above = 300, ");
    check_parts(&[low, middle, rest], &[]);
    check_parts(&[rest, low, middle], &[]);
    check_parts(&[low, middle], &[]);
    check_parts(&[""], &[]);
    let joins = |n: usize, wrong: &str, accepted: &str| format!("cells[{n}].input_above: {wrong}; accepted: {accepted}");
    let gap = |from: u64, to: u64| format!("no cell of the marginal tiers prices the tokens from {from} to {to}");
    let twice = |from: u64| format!("another cell of the marginal tiers prices the tokens from {from} on too");
    let refused = |bounds: &[&str], problem: &str| check_parts(bounds, &[problem]);
    refused(&[low, rest], &joins(1, &gap(101, 300), "input_above = 100, where the cell before ends"));
    refused(&[rest, low], &joins(0, &gap(101, 300), "input_above = 100, where the cell before ends"));
    refused(&[middle, rest], &joins(0, &gap(1, 100), "no input_above, since the first cell begins at the first token"));
    refused(&[low, "input_above = 99, "], &joins(1, &twice(100), "input_above = 100, where the cell before ends"));
    refused(&[low, low], &joins(1, &twice(1), "input_above = 100, where the cell before ends"));
    refused(&["", rest], &joins(1, &twice(301), "an input_to in the cell before, at which this one begins"));
    // One that lies within another leaves no gap behind it.
    refused(
        &["input_to = 300, ", "input_above = 100, input_to = 200, ", rest],
        &joins(1, &twice(101), "input_above = 300, where the cell before ends"),
    );
}

#[test]
fn hours_that_nobody_keeps_are_refused() {
    check_hours("Asia/Shanghai", "Asia/Shangai", &["\"Asia/Shangai\" is not known", "there is no calendar \"peak\""]);
    check_hours("holidays = \"cn\"", "holidays = \"ch\"", &["there are no holidays \"ch\""]);
    check_hours("calendar = \"peak\"", "calendar = \"peek\"", &["there is no calendar \"peek\" (did you mean \"peak\"?)"]);
    check_hours("from = \"14:00\"", "from = \"25:00\"", &["\"25:00\" is no time of day"]);
    check_hours("to = \"18:00\"", "to = \"14:00\"", &["the window ends when it begins"]);
    check_hours("\"mon\"", "\"monday\"", &["\"monday\" is no weekday"]);
    check_hours("times = 2", "times = 0", &["0 is no factor"]);
    check_hours("times = 2", "times = 0.0000005", &["0.0000005 is no factor"]);
    check_hours("cache_read = 0.02", "cache_read = 0.000001\ncache_write = 0.000001", &[]);
    let halved = HOURS.replace("times = 2", "times = 0.5").replacen("cache_read = 0.02", "cache_read = 0.000001", 1);
    assert!(problems(&halved)[0].contains("a price times 0.5 is finer than six places"), "{:?}", problems(&halved));
    check_hours(
        "last = 2026-12-31",
        "last = 2025-12-31",
        &["the range ends before it begins", "is outside the range", "is outside", "is outside"],
    );
    check_hours("[\"2026-10-29\", 7.0]", "[\"2026-10-29\"]", &["a list of pairs"]);
    check_hours("[\"2026-10-29\", 7.0]", "[\"2026-10-30\", 7.0]", &["CNY has two rates on 2026-10-30"]);
}

/// The small table with a backend of vectors behind its others, of these members and prices.
fn with_vectors(members: &str, prices: &str) -> String {
    let backend = "[[backends]]\nprovider = \"west\"\nmodel = \"vectors\"\ncontext_tokens = 8_191\ntokenizer = \"cl100k\"";
    format!("{SMALL}\n{backend}\n{members}\n[[backends.prices]]\nsource = \"a test\"\n{prices}\n")
}

#[test]
fn a_model_of_vectors_has_a_price_of_its_input_and_the_lengths_it_makes() {
    let vectors = |members: &str| {
        let table =
            Snapshot::parse("t.toml", &with_vectors(&format!("serves = \"embeddings\"\n{members}"), "input = 0.13")).unwrap();
        let backend = table.backend_named("west/vectors").unwrap().clone();
        let only: Vec<Shape> = Shape::ALL.into_iter().filter(|shape| table.shapes_of(&backend).contains(*shape)).collect();
        assert_eq!((backend.serves, only), (Direct::named("embeddings"), vec![Shape::OpenAiEmbeddings]));
        let tariff = backend.prices.rows()[0].list().cells()[0].tariff;
        assert_eq!((tariff.input.to_per_million().as_str(), tariff.output), ("0.13", TokenPrice::FREE));
        backend.dimensions.map(|Dimensions { least, most }| (least, most))
    };
    assert_eq!(vectors(""), None);
    assert_eq!(vectors("dimensions = 1_536"), Some((1536, 1536)));
    assert_eq!(vectors("dimensions = 1_536\ndimensions_from = 256"), Some((256, 1536)));
}

#[test]
fn what_a_model_of_vectors_cannot_have_is_refused() {
    let check = |members: &str, prices: &str, expected: &[&str]| {
        let found = problems(&with_vectors(members, prices));
        let fits = found.len() == expected.len() && found.iter().zip(expected).all(|(problem, part)| problem.contains(part));
        assert!(fits, "{members} {prices}: expected {expected:#?}, found {found:#?}");
    };
    let serves = "serves = \"embeddings\"";
    let with = |more: &str| format!("{serves}\n{more}");
    check(serves, "input = 1\noutput = 1", &["output"]);
    check(serves, "input = 0", &["input: this costs nothing"]);
    check(serves, "", &["input: missing"]);
    check(&with("max_output_tokens = 9"), "input = 1", &["max_output_tokens"]);
    check(&with("dimensions = 256\ndimensions_from = 257"), "input = 1", &["dimensions_from: it is more than the dimensions"]);
    check(&with("dimensions_from = 257"), "input = 1", &["dimensions: missing"]);
    check(&with("dimensions = 0"), "input = 1", &["dimensions: 0"]);
    let talks = "max_output_tokens = 9\nreasoning = \"never\"\nlanguages = [\"*\"]";
    check(
        &format!("serves = \"embedings\"\n{talks}"),
        "input = 1\noutput = 2",
        &["\"embedings\" is not implemented (did you mean"],
    );
    check(&format!("dimensions = 9\n{talks}"), "input = 1\noutput = 2", &["dimensions"]);
    let elsewhere = with_vectors(serves, "input = 1");
    let (before, after) = elsewhere.split_at(elsewhere.find("[providers.west]").unwrap());
    let told = problems(&format!("{before}{}", after.replacen("\"openai-chat\"", "\"anthropic-messages\"", 1)));
    assert!(told.iter().any(|problem| problem.contains("serves: its provider has no address of OpenAI's shape")), "{told:#?}");
}

/// The small table with a backend that ranks, of these prices.
fn with_ranking(prices: &str) -> String {
    with_vectors("serves = \"rerank\"", prices)
}

#[test]
fn a_price_by_the_piece_stays_for_as_many_as_it_is_listed_for() {
    let check = |prices: &str, input: &str, (pico, per): (u64, u32)| {
        let table = Snapshot::parse("t.toml", &with_ranking(prices)).unwrap();
        let tariff = table.backend_named("west/vectors").unwrap().prices.rows()[0].list().cells()[0].tariff;
        let found = (tariff.input.to_per_million(), tariff.pieces.pico(), tariff.pieces.per());
        assert_eq!(found, (input.to_owned(), pico, per), "{prices}");
    };
    check("per_thousand_searches = 2.5", "0", (2_500_000_000_000, 1_000));
    check("input = 0.05\nper_thousand_searches = 1", "0.05", (1_000_000_000_000, 1_000));
    check("input = 0.05\nper_request = 0.001", "0.05", (0, 1));
    check("per_request = 0.001", "0", (0, 1));
    check("free = true", "0", (0, 1));
}

#[test]
fn a_price_by_the_piece_that_cannot_be_is_refused() {
    let check = |table: &str, expected: &[&str]| {
        let found = problems(table);
        let fits = found.len() == expected.len() && found.iter().zip(expected).all(|(problem, part)| problem.contains(part));
        assert!(fits, "{table}: expected {expected:#?}, found {found:#?}");
    };
    check(&with_ranking(""), &["input: missing"]);
    check(&with_ranking("per_thousand_searches = 0"), &["per_thousand_searches: this costs nothing"]);
    check(&with_ranking("per_thousand_searches = 10_001"), &["per_thousand_searches: 10001 is no such price"]);
    check(
        &with_ranking("per_thousand_searches = 1\nfree = true"),
        &["per_thousand_searches: the backend or the row is marked free"],
    );
    check(&with_vectors("serves = \"embeddings\"", "input = 1\nper_thousand_searches = 1"), &["per_thousand_searches"]);
}
