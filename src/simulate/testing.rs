//! A small table for the tests of this folder.

use std::fmt::Write;

use crate::catalog::Snapshot;
use crate::route::Settings;
use crate::simulate::draw::Seed;
use crate::simulate::texts::Texts;
use crate::simulate::workload::{Plan, Turn, generate};

const HEAD: &str = "schema = 1\nversion = \"2026-11-22\"\n\
    [[fx]]\ncurrency = \"CNY\"\nper_usd = 8\ndate = 2026-01-01\nsource = \"test\"\n";

/// A backend: its id, its currency, and its price rows as TOML.
#[derive(Clone, Copy)]
pub(crate) struct Row(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

/// A table of these rows, all of quality 70.
pub(crate) fn table(rows: &[Row]) -> Snapshot {
    let mut text = HEAD.to_owned();
    for Row(id, currency, _) in rows {
        let (provider, _) = id.split_once('/').unwrap();
        write!(
            text,
            "[providers.{provider}]\nname = \"{provider}\"\nbase_url = \"https://{provider}.example/v1\"\n\
             dialect = \"openai-chat\"\napi_key_env = \"KEY\"\nowner = \"{provider}\"\njurisdiction = \"US\"\n\
             region = \"US\"\ncurrency = \"{currency}\"\nsource = \"test\"\n"
        )
        .unwrap();
    }
    for Row(id, _, prices) in rows {
        let (provider, model) = id.split_once('/').unwrap();
        write!(
            text,
            "[[backends]]\nprovider = \"{provider}\"\nmodel = \"{model}\"\ncontext_tokens = 200000\n\
             max_output_tokens = 8000\ninput = [\"text\"]\nfeatures = [\"tools\", \"json_object\"]\nreasoning = \"never\"\n\
             languages = [\"*\"]\ntokenizer = \"o200k\"\n[backends.quality]\nscore = 70\n\
             signals = [{{ metric = \"index\", value = \"1\", measured = 2026-01-01, source = \"test\" }}]\n{prices}\n"
        )
        .unwrap();
    }
    Snapshot::parse("test", &text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Requests of half a year.
pub(crate) fn workload(requests: usize, seed: u64) -> (Plan, Vec<Turn>) {
    let at = |text: &str| text.parse().unwrap();
    let (from, until) = (at("2026-05-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
    let plan = Plan { from, until, requests, seed: Seed::new(seed) };
    (plan, generate(plan, &Texts::shipped().unwrap()))
}

pub(crate) fn settings() -> Settings {
    Settings::default()
}
