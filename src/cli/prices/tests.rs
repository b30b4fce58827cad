//! `tokenbroker prices` from the options to the bytes: every filter, order, currency and format on one small table.

use clap::Parser;
use serde_json::{Value, json};

use super::{PricesArgs, run};
use crate::cli::output::Exit;
use crate::cli::output::testing::captured;
use crate::cli::setup::testing::environment;

#[derive(Debug, Parser)]
struct Typed {
    #[command(flatten)]
    prices: PricesArgs,
}

/// Two sites in two currencies, one without a key, one that is off; dated, announced, missing and free prices.
const TABLE: &str = r#"
schema = 1
version = "2026-11-22"
[[fx]]
currency = "CNY"
per_usd = 8
date = 2026-10-30
source = "a bank"
[[fx]]
currency = "CNY"
per_usd = 4
date = 2026-11-30
source = "a bank"
[[fx]]
currency = "EUR"
per_usd = 0.5
date = 2026-10-30
source = "a bank"
[providers.east]
name = "East \"one\""
base_url = "https://east.example/v1"
dialect = "openai-chat"
api_key_env = "EAST_KEY"
owner = "East"
jurisdiction = "CN"
region = "CN"
currency = "CNY"
source = "test"
[providers.west]
name = "West"
base_url = "https://west.example/v1"
dialect = "openai-chat"
api_key_env = "WEST_KEY"
owner = "West"
jurisdiction = "US"
region = "EU"
currency = "USD"
source = "test"
[providers.gone]
name = "Gone"
base_url = "https://gone.example/v1"
dialect = "openai-chat"
owner = "Gone"
jurisdiction = "US"
region = "US"
currency = "USD"
source = "test"
disabled = "closed its doors"
"#;

fn backend(provider: &str, model: &str, rest: &str) -> String {
    format!(
        "[[backends]]\nprovider = \"{provider}\"\nmodel = \"{model}\"\ncontext_tokens = 8000\nmax_output_tokens = 4000\n\
         input = [\"text\"]\nfeatures = []\nreasoning = \"never\"\nlanguages = [\"*\"]\ntokenizer = \"o200k\"\n{rest}\n"
    )
}

fn price(figures: &str) -> String {
    format!("[[backends.prices]]\n{figures}\nsource = \"a \\\"page\\\", 2026-01-02\"\n")
}

fn quality(score: u8) -> String {
    format!("[backends.quality]\nscore = {score}\n[[backends.quality.signals]]\nmetric = \"m\"\nvalue = \"1\"\nsource = \"s\"\n")
}

fn table() -> String {
    let dated = price("from = 2026-01-02T00:00:00Z\nuntil = 2026-12-01T00:00:00Z\ninput = 1\ncache_read = 0.1\noutput = 5")
        + &price("from = 2026-12-01T00:00:00Z\ninput = 2\ncache_read = 0.1\noutput = 5");
    [
        TABLE.to_owned(),
        backend("east", "fog-large", &(quality(70) + &dated)),
        backend("east", "fog-mini", &price("from = 2027-01-01T00:00:00Z\ninput = 1\noutput = 1")),
        backend(
            "west",
            "fog-large",
            &("aliases = [\"mist\"]\n".to_owned() + &quality(41) + &price("input = 3\noutput = 0.000007")),
        ),
        backend("west", "rain", "free = true\n"),
        "[[backends]]\nprovider = \"west\"\nmodel = \"vane\"\nserves = \"embeddings\"\ncontext_tokens = 8000\ntokenizer = \"cl100k\"\n"
            .to_owned(),
        price("input = 0.02"),
        backend("gone", "rain", &price("input = 9\noutput = 9")),
    ]
    .concat()
}

fn prices(options: &str) -> (Exit, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    std::fs::write(&file, table()).unwrap();
    let at = if options.contains("--at") { "" } else { "--at 2026-11-22" };
    let words = format!("prices {at} {options}");
    let typed = words.split_whitespace().map(str::to_owned).chain(["--providers".to_owned(), file.display().to_string()]);
    let args = Typed::try_parse_from(typed).unwrap_or_else(|error| panic!("{options}: {error}")).prices;
    captured(|output| run(&args, &environment(&[("EAST_KEY", "k")]), output))
}

fn json(options: &str) -> Value {
    let (exit, out, err) = prices(&format!("--json {options}"));
    assert_eq!(exit, Exit::Success, "{options}: {out}{err}");
    serde_json::from_str(&out).unwrap()
}

/// Expects these backends in this order.
#[track_caller]
fn check(options: &str, expected: &[&str]) {
    let report = json(options);
    let found: Vec<&str> = report["prices"].as_array().unwrap().iter().map(|row| row["backend"].as_str().unwrap()).collect();
    assert_eq!(found, expected, "{options}");
}

#[test]
fn each_option_narrows_the_list() {
    check("", &["west/rain", "east/fog-large", "west/fog-large"]);
    check("--provider east", &["east/fog-large"]);
    check("--provider ?est", &["west/rain", "west/fog-large"]);
    check("--provider east --provider west --limit 2", &["west/rain", "east/fog-large"]);
    check("--model FOG", &["east/fog-large", "west/fog-large"]);
    check("--model fog*", &["east/fog-large", "west/fog-large"]);
    check("--model mist", &["west/fog-large"]);
    check("--model east/*", &["east/fog-large"]);
    check("--region eu", &["west/rain", "west/fog-large"]);
    check("--jurisdiction CN", &["east/fog-large"]);
    check("--on", &["east/fog-large"]);
    check("--quality standard", &["east/fog-large", "west/fog-large"]);
    check("--quality 42", &["east/fog-large"]);
    check("--search page", &["east/fog-large", "west/fog-large"]);
    check("--search cny", &["east/fog-large"]);
    check("--model rain --region CN", &[]);
    check("--provider gone", &[]);
    check("--provider gone --all", &["gone/rain"]);
    check("--search doors --all", &["gone/rain"]);
}

#[test]
fn each_order_is_by_its_figure_and_what_lacks_it_comes_last() {
    check("--sort input --all", &["west/rain", "east/fog-large", "west/fog-large", "gone/rain", "east/fog-mini"]);
    check("--sort output", &["west/rain", "west/fog-large", "east/fog-large"]);
    check("--sort cache", &["west/rain", "east/fog-large", "west/fog-large"]);
    check("--sort blend --blend 0:1", &["west/rain", "west/fog-large", "east/fog-large"]);
    check("--sort blend --reverse --all", &["gone/rain", "west/fog-large", "east/fog-large", "west/rain", "east/fog-mini"]);
    check("--sort provider", &["east/fog-large", "west/fog-large", "west/rain"]);
    check("--sort model", &["east/fog-large", "west/fog-large", "west/rain"]);
    check("--sort quality", &["east/fog-large", "west/fog-large", "west/rain"]);
}

#[test]
fn programs_get_exact_amounts_with_their_provenance() {
    let report = json("--provider east --all --sort model");
    assert_eq!(
        (&report["per"], &report["blend"], &report["at"]),
        (&json!("million tokens"), &json!("3:1"), &json!("2026-11-22T00:00:00Z"))
    );
    assert_eq!(report["rates"], json!([{"currency": "CNY", "per_usd": "8", "date": "2026-10-30", "source": "a bank"}]));
    let row = &report["prices"][0];
    let vendor = json!({"currency": "CNY", "input": "1", "cache_read": "0.1", "cache_write": "1", "output": "5", "blended": "2"});
    let dollars = json!({"currency": "USD", "input": "0.125", "cache_read": "0.0125", "cache_write": "0.125", "output": "0.625", "blended": "0.25"});
    assert_eq!((&row["price"], &row["converted"]), (&vendor, &dollars));
    assert_eq!(row["source"], "a \"page\", 2026-01-02");
    assert_eq!((&row["from"], &row["until"]), (&json!("2026-01-02T00:00:00Z"), &json!("2026-12-01T00:00:00Z")));
    assert_eq!((&row["key"], &row["why"], &row["quality"]), (&json!("set"), &Value::Null, &json!(70)));
    let unpriced = &report["prices"][1];
    assert_eq!(
        (&unpriced["price"], &unpriced["why"]),
        (&Value::Null, &json!("no price yet: the next one begins at 2027-01-01T00:00:00Z"))
    );
    assert_eq!(json("--model fog-large --provider west")["prices"][0]["price"]["output"], "0.000007");
}

#[test]
fn prices_are_those_of_the_instant_and_so_are_the_rates() {
    let input = |options: &str| json(&format!("--provider east {options}"))["prices"][0]["converted"]["input"].clone();
    assert_eq!((input("--at 2026-11-30T23:59:59Z"), input("--at 2026-12-01")), (json!("0.25"), json!("0.5")));
    check("--at 2027-01-01 --model mini", &["east/fog-mini"]);
    check("--at 2025-01-01", &["west/rain", "west/fog-large"]);
    let told = json("--at 2025-01-01 --provider east --all");
    assert!(told["prices"].as_array().unwrap().iter().all(|row| row["price"].is_null()));
}

#[test]
fn a_currency_may_be_chosen() {
    let of = |options: &str| {
        let report = json(&format!("--model fog-large --sort provider {options}"));
        let rows = report["prices"].as_array().unwrap().clone();
        let sums = |n: usize| (rows[n]["converted"]["currency"].clone(), rows[n]["converted"]["input"].clone());
        (sums(0), sums(1), report["rates"].as_array().unwrap().len())
    };
    let pair = |currency: &str, amount: &str| (json!(currency), json!(amount));
    assert_eq!(of("--currency usd"), (pair("USD", "0.125"), pair("USD", "3"), 1));
    assert_eq!(of("--currency eur"), (pair("EUR", "0.0625"), pair("EUR", "1.5"), 2));
    assert_eq!(of("--currency cny"), (pair("CNY", "1"), pair("CNY", "24"), 1));
    assert_eq!(of("--currency vendor"), ((Value::Null, Value::Null), (Value::Null, Value::Null), 0));
}

#[test]
fn people_get_a_table_that_says_what_its_figures_are() {
    let (exit, out, err) = prices("");
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>().join(" "), "backend input cached output cur $ in $ out $ blend q");
    assert_eq!(
        lines[2].split_whitespace().collect::<Vec<_>>(),
        ["east/fog-large", "1", "0.1", "5", "CNY", "0.1250", "0.6250", "0.2500", "70"]
    );
    assert!(lines[3].contains("<0.0001"), "{out}");
    assert!(out.contains("1 USD = 8 CNY (a bank, 2026-10-30)"), "{out}");
    assert!(out.contains("3 backends, prices of 2026-11-22T00:00:00Z, table 2026-11-22+"), "{out}");
    assert!(out.contains("Not listed: 1 switched off, 1 without a price"), "{out}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{out}");

    let (_, out, _) = prices("--all --currency vendor");
    assert!(out.contains("  gone/rain      gone is switched off: closed its doors\n"), "{out}");
    assert!(out.contains("  east/fog-mini  no price yet") && !out.contains("Not listed") && !out.contains("USD ="), "{out}");
    let (_, out, _) = prices("--limit 1");
    assert!(out.contains("1 backend, prices") && out.contains("\n2 more were cut off by --limit."), "{out}");
    let (_, out, _) = prices("--model rain --region CN");
    assert!(out.contains("0 backends, prices"), "{out}");
}

#[test]
fn a_table_takes_the_room_there_is() {
    let long = "a-company/a-model-with-a-name-that-goes-on-and-on-and-on-and-on-and-on-0123";
    let text = table() + &backend("west", long, &price("input = 1\noutput = 1"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    std::fs::write(&file, text).unwrap();
    let args = Typed::parse_from(["prices".to_owned(), "--all".to_owned(), "--providers".to_owned(), file.display().to_string()])
        .prices
        .list;
    let setup = crate::cli::setup::load(&args.gateway, &environment(&[])).unwrap();
    let listing = super::Listing::of(&args, &setup, "2026-11-22T00:00:00Z".parse().unwrap());
    for (columns, whole) in [(90, false), (100, false), (200, true)] {
        let shown = super::show::table(&listing, None, columns);
        assert!(shown.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{shown}");
        assert_eq!((shown.contains(long), shown.contains("region")), (whole, whole), "{columns}:\n{shown}");
        assert!(shown.contains("0123 "), "{columns}:\n{shown}");
    }
}

#[test]
fn csv_is_quoted_where_it_is_text_and_ends_its_lines_as_the_standard_says() {
    let (exit, out, err) = prices("--format csv --model fog --all --sort provider");
    assert_eq!(exit, Exit::Success);
    let lines: Vec<&str> = out.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 4, "{out}");
    let heading: Vec<&str> = lines[0].split(',').collect();
    assert!(lines[1].starts_with("\"east/fog-large\",\"east\",\"fog-large\","), "{out}");
    assert!(
        lines[1].contains(",\"CNY\",1,0.1,1,5,2,\"USD\",0.125,0.0125,0.125,0.625,0.25,\"8 CNY per USD, 2026-10-30\","),
        "{out}"
    );
    assert!(lines[1].contains(",\"a \"\"page\"\", 2026-01-02\",\"set\","), "{out}");
    assert!(lines[2].contains(",false,,,,,,,,,,,,,,,,,\"set\",\"no price yet: "), "{out}");
    assert!(err.contains("1 USD = 8 CNY"), "{err}");
    for line in &lines[1..] {
        assert_eq!(cells(line), heading.len(), "{line}");
    }
}

/// How many cells a line of CSV has.
fn cells(line: &str) -> usize {
    let mut within = false;
    let separators = line.chars().filter(|c| {
        within ^= *c == '"';
        *c == ',' && !within
    });
    separators.count() + 1
}

#[test]
fn a_name_that_the_table_lacks_is_answered_with_near_ones() {
    let told = |options: &str| {
        let (exit, out, err) = prices(options);
        assert_eq!((exit, out.as_str()), (Exit::Failure, ""), "{options}");
        err
    };
    assert!(told("--provider eest").contains("no provider \"eest\" (did you mean \"east\"?); it knows: east, gone, west"));
    assert!(told("--provider nobody*").contains("no provider \"nobody*\""));
    assert!(told("--region mars").contains("no region \"mars\"; it knows: CN, EU, US"));
    assert!(told("--jurisdiction UX").contains("no jurisdiction \"UX\""));
    assert!(told("--model fog-lrage").contains("no model of the table fits \"fog-lrage\"; near names: \"fog-large\""));
}

#[test]
fn the_subcommand_is_the_same_and_wrong_options_are_refused() {
    let listed = prices("list --provider east --at 2026-11-22 --json");
    assert_eq!(listed, prices("--provider east --json"));
    let parse = |options: &str| Typed::try_parse_from(format!("prices {options}").split_whitespace().map(str::to_owned));
    for bad in
        ["--blend 0:0", "--at tomorrow", "--quality best", "--sort price", "--currency yen", "hsitory", "--json --format csv"]
    {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_serves_no_conversation_is_listed_where_it_is_asked_for() {
    // The cheapest of all by far, and no use in a conversation.
    check("--serves embeddings", &["west/vane"]);
    check("--model vane", &["west/vane"]);
    check("--provider west", &["west/rain", "west/fog-large"]);
}
