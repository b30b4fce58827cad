//! The invented providers of every storm, and what they charge, worked out again without any of the gateway's arithmetic.

use crate::units::{BackendId, Usage};

/// A backend as the table has it, with its prices in 10⁻¹² of its currency a token.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) provider: &'static str,
    pub(super) model: &'static str,
    quality: u8,
    currency: &'static str,
    input: i128,
    cache_read: i128,
    output: i128,
    /// Tells usage at the end of a stream.
    tells: bool,
}

/// Millionths of a yuan to a dollar.
const YUAN: i128 = 7_123_456;

pub(super) const BACKENDS: [Listed; 4] = [
    Listed::of("east", "jade", 55, "USD", (510_000, 110_000, 1_530_000), true),
    Listed::of("west", "jade", 55, "USD", (700_000, 700_000, 2_100_000), true),
    Listed::of("north", "jade", 55, "CNY", (4_100_000, 410_000, 12_300_000), true),
    Listed::of("south", "onyx", 70, "USD", (3_000_000, 300_000, 9_000_000), false),
];

impl Listed {
    const fn of(
        provider: &'static str,
        model: &'static str,
        quality: u8,
        currency: &'static str,
        (input, cache_read, output): (i128, i128, i128),
        tells: bool,
    ) -> Self {
        Self { provider, model, quality, currency, input, cache_read, output, tells }
    }

    pub(super) fn id(&self) -> BackendId {
        // A backend is called by what its provider calls the model.
        BackendId::new(self.provider, &format!("{}-v3", self.model))
    }

    /// What a usage costs, in 10⁻¹² dollars.
    pub(super) fn cost(&self, usage: &Usage) -> i128 {
        let [fresh, cached, output] = [usage.fresh_input, usage.cache_read, usage.output].map(|tokens| i128::from(tokens.get()));
        let amount = fresh * self.input + cached * self.cache_read + output * self.output;
        if self.currency == "USD" { amount } else { half_even(amount * 1_000_000, YUAN) }
    }

    /// Where its key is read from.
    pub(super) fn variable(&self) -> String {
        format!("{}_KEY", self.provider.to_uppercase())
    }

    fn rows(&self) -> String {
        let Self { provider, model, quality, currency, tells, .. } = self;
        let price = |pico: i128| format!("{}.{:06}", pico / 1_000_000, pico % 1_000_000);
        let [input, cache_read, output] = [self.input, self.cache_read, self.output].map(price);
        let variable = self.variable();
        let quirk = if *tells { "" } else { "stream_usage = \"never\"" };
        format!(
            r#"
[providers.{provider}]
name = "{provider}"
base_url = "https://{provider}.storm.test/v1"
dialect = "openai-chat"
api_key_env = "{variable}"
owner = "{provider} company"
jurisdiction = "US"
region = "US"
trains_on_data = false
currency = "{currency}"
source = "invented for tests"

[providers.{provider}.cache]
minimum_tokens = 1_024
source = "invented for tests"

[providers.{provider}.quirks]
{quirk}

[[backends]]
provider = "{provider}"
model = "{model}"
upstream_model = "{model}-v3"
context_tokens = 131_072
max_output_tokens = 8_192
features = ["tools", "json_object"]
reasoning = "never"
languages = ["*"]
tokenizer = "o200k"

[backends.quality]
score = {quality}
signals = [{{ metric = "index", value = "1", measured = 2026-09-07, source = "invented for tests" }}]

[[backends.prices]]
input = {input}
cache_read = {cache_read}
output = {output}
source = "invented for tests"
"#
        )
    }
}

/// The whole table.
pub(super) fn table() -> String {
    let rows: String = BACKENDS.iter().map(Listed::rows).collect();
    let rate = format!("{}.{:06}", YUAN / 1_000_000, YUAN % 1_000_000);
    format!(
        "schema = 1\nversion = \"storm\"\n\n[[fx]]\ncurrency = \"CNY\"\nper_usd = {rate}\ndate = 2026-11-20\nsource = \"invented for tests\"\n{rows}"
    )
}

/// Divides and rounds to the nearest, a tie to the even neighbour.
fn half_even(amount: i128, by: i128) -> i128 {
    let (whole, twice_rest) = (amount / by, amount % by * 2);
    whole + i128::from(twice_rest > by || (twice_rest == by && whole % 2 == 1))
}
