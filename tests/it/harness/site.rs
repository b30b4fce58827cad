//! Rows of a providers table that lead to scripted providers. What a test does not name is the same for all of them.

use super::provider::Provider;

/// A provider with one backend, as the table has it.
#[derive(Clone)]
pub(crate) struct Site {
    id: String,
    url: String,
    key: Option<String>,
    region: String,
    dialect: &'static str,
    /// What follows its address, and the lines of its key's header.
    reached: (&'static str, &'static str),
    endpoints: String,
    reasoning: &'static str,
    quirks: String,
    facts: String,
    model: String,
    quality: u8,
    prices: (String, String),
    context: u64,
    minimum: u64,
    more: String,
    structured: String,
    upstream_model: Option<String>,
}

impl Site {
    /// Serves the model `jade` as `jade-v3`, at one dollar per million tokens in and two out.
    pub(crate) fn of(provider: &Provider) -> Self {
        Self {
            id: provider.id.to_owned(),
            url: format!("http://{}", provider.address),
            key: Some(provider.key()),
            region: "US".to_owned(),
            dialect: "openai-chat",
            reached: ("v1", ""),
            endpoints: String::new(),
            reasoning: "never",
            quirks: String::new(),
            facts: String::new(),
            model: "jade".to_owned(),
            quality: 55,
            prices: ("1".to_owned(), "2".to_owned()),
            context: 131_072,
            minimum: 1_024,
            more: String::new(),
            structured: String::new(),
            upstream_model: None,
        }
    }

    /// A schema is asked for by hand: `tool`, `json_object`.
    pub(crate) fn schema_by(mut self, way: &str) -> Self {
        self.structured = format!("schema_by = \"{way}\"");
        self
    }

    /// A line of its model's row: `sampling = false`.
    pub(crate) fn row(mut self, line: &str) -> Self {
        self.structured += line;
        self.structured.push('\n');
        self
    }

    /// Costs nothing, and is marked so.
    pub(crate) fn free(mut self) -> Self {
        self.structured.push_str("\nfree = true");
        self.price("0", "0")
    }

    /// Reached under another address: `https://east.test`.
    pub(crate) fn at(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    /// Speaks Messages too, under another path, with its key in `x-api-key`.
    pub(crate) fn and_messages(mut self) -> Self {
        let Self { id, url, .. } = &self;
        let table =
            format!("[providers.{id}.endpoints.anthropic-messages]\nbase_url = \"{url}/anthropic/v1\"\nauth = \"x-api-key\"\n");
        self.endpoints += &table;
        self
    }

    /// Its model can think.
    pub(crate) fn thinks(mut self) -> Self {
        self.reasoning = "switchable";
        self
    }

    /// Speaks nothing but Messages.
    pub(crate) fn only_messages(mut self) -> Self {
        self.dialect = "anthropic-messages";
        self
    }

    /// Speaks nothing but Responses, and tells thoughts encrypted where it is asked to.
    pub(crate) fn only_responses(mut self) -> Self {
        self.dialect = "openai-responses";
        self.quirks += "encrypted_reasoning = true\n";
        self
    }

    /// Speaks Responses too, under another path.
    pub(crate) fn and_responses(mut self) -> Self {
        let Self { id, url, .. } = &self;
        let table = format!("[providers.{id}.endpoints.openai-responses]\nbase_url = \"{url}/other/v1\"\n");
        self.endpoints += &table;
        self
    }

    /// Speaks nothing but Gemini's `generateContent`, under its own path and with its own header for the key.
    pub(crate) fn only_gemini(mut self) -> Self {
        (self.dialect, self.reached) = ("gemini-generate-content", ("v1beta", "auth = \"x-goog-api-key\""));
        self
    }

    /// Speaks nothing but Bedrock's Converse, under its own path; its model takes the words of Messages beside it.
    pub(crate) fn only_bedrock(mut self) -> Self {
        (self.dialect, self.reached) = ("bedrock-converse", ("bedrock", ""));
        self.structured += "converse_fields = \"messages\"\n";
        self
    }

    /// What it calls its model.
    pub(crate) fn upstream_model(mut self, name: &str) -> Self {
        self.upstream_model = Some(name.to_owned());
        self
    }

    /// Dollars per million tokens, in and out.
    pub(crate) fn price(mut self, input: &str, output: &str) -> Self {
        self.prices = (input.to_owned(), output.to_owned());
        self
    }

    pub(crate) fn region(mut self, region: &str) -> Self {
        region.clone_into(&mut self.region);
        self
    }

    /// The model's common name.
    pub(crate) fn model(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    /// Its quality score: standard from 40, premium from 65.
    pub(crate) fn quality(mut self, score: u8) -> Self {
        self.quality = score;
        self
    }

    /// A line of its quirks: `stream_usage = "never"`.
    pub(crate) fn quirk(mut self, line: &str) -> Self {
        self.quirks += line;
        self.quirks.push('\n');
        self
    }

    /// A line of its provider: `retention = "none"`.
    pub(crate) fn fact(mut self, line: &str) -> Self {
        self.facts += line;
        self.facts.push('\n');
        self
    }

    /// Dollars per million tokens that are read from its cache.
    pub(crate) fn cached(mut self, price: &str) -> Self {
        self.prices.0.extend(["\ncache_read = ", price]);
        self
    }

    /// A further line of its prices: `cache_write = 1.25`.
    pub(crate) fn price_line(mut self, line: &str) -> Self {
        self.prices.0.extend(["\n", line]);
        self
    }

    /// Caches prompts from so many tokens on.
    pub(crate) fn caches_from(mut self, tokens: u64) -> Self {
        self.minimum = tokens;
        self
    }

    /// Its key is not there, so it is off.
    pub(crate) fn without_key(mut self) -> Self {
        self.key = None;
        self
    }

    /// Another key than the usual one.
    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Lines in TOML that stand after its backend: further backends of this provider.
    pub(crate) fn more(mut self, lines: &str) -> Self {
        self.more += lines;
        self
    }

    /// Serves a model of embeddings too, as `MODEL-v1`, at so many dollars per million tokens; with further lines in TOML
    /// (`dimensions = 1_536`).
    pub(crate) fn embeds(self, model: &str, price: &str, lines: &str) -> Self {
        self.serves("embeddings", model, lines, &format!("input = {price}"))
    }

    /// Serves a model that is no conversation's too, as `MODEL-v1`, with further lines in TOML of it and of its price row.
    pub(crate) fn serves(self, what: &str, model: &str, lines: &str, prices: &str) -> Self {
        let row = format!(
            r#"
[[backends]]
provider = "{}"
model = "{model}"
upstream_model = "{model}-v1"
serves = "{what}"
context_tokens = 8_191
tokenizer = "cl100k"
{lines}

[[backends.prices]]
{prices}
source = "invented for tests"
"#,
            self.id
        );
        self.more(&row)
    }

    /// The variable that its key is read from, and the key.
    pub(super) fn key(&self) -> Option<(String, String)> {
        Some((self.variable(), self.key.clone()?))
    }

    fn variable(&self) -> String {
        format!("{}_API_KEY", self.id.to_uppercase())
    }

    fn rows(&self) -> String {
        let Self {
            id,
            url,
            dialect,
            reached: (version, auth),
            endpoints,
            reasoning,
            region,
            quirks,
            facts,
            model,
            quality,
            prices,
            context,
            minimum,
            more,
            structured,
            upstream_model,
            ..
        } = self;
        let upstream_model = upstream_model.clone().unwrap_or_else(|| format!("{model}-v3"));
        let (variable, (input, output)) = (self.variable(), prices);
        format!(
            r#"
[providers.{id}]
name = "{id}"
base_url = "{url}/{version}"
{auth}
dialect = "{dialect}"
api_key_env = "{variable}"
owner = "{id} company"
jurisdiction = "US"
region = "{region}"
trains_on_data = false
currency = "USD"
source = "invented for tests"
{facts}
{endpoints}
[providers.{id}.cache]
minimum_tokens = {minimum}
source = "invented for tests"

[providers.{id}.quirks]
{quirks}

[[backends]]
provider = "{id}"
model = "{model}"
upstream_model = "{upstream_model}"
context_tokens = {context}
max_output_tokens = 8_192
features = ["tools", "forced_tool", "json_schema", "json_object", "logprobs", "many_choices"]
{structured}
reasoning = "{reasoning}"
languages = ["*"]
tokenizer = "o200k"

[backends.quality]
score = {quality}
signals = [{{ metric = "index", value = "1", measured = 2026-09-07, source = "invented for tests" }}]

[[backends.prices]]
input = {input}
output = {output}
source = "invented for tests"
{more}
"#
        )
    }
}

/// The whole table.
pub(crate) fn table(sites: &[Site]) -> String {
    let rows: String = sites.iter().map(Site::rows).collect();
    format!("schema = 1\nversion = \"test\"\n{rows}")
}
