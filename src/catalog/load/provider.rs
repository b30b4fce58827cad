//! The `[providers.ID]` tables. Adding a site that speaks a dialect we have is a table here and no code.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Uri};

use super::{CURRENCIES, allowance, required, signing, words};
use crate::canonical::{RareMembers, Shape};
use crate::catalog::address::{self, DEPLOYMENT};
use crate::catalog::capability::{
    CacheRules, Hint, KeyHeader, MoreEndpoint, OutputBoundField, PriceChanges, Provider, Quirks, RefusedThoughts, Retention,
    SandboxTraits, StreamUsage, ThinkingDepth, ThinkingEffort, ThinkingSwitch,
};
use crate::catalog::snapshot::ProviderIndex;
use crate::document::{Section, nearest};
use crate::units::{Currency, Tokens};

/// The dialects there is a codec for.
const DIALECTS: [&str; Shape::ENDPOINTS.len()] = [
    Shape::OpenAiChat.word(),
    Shape::AnthropicMessages.word(),
    Shape::OpenAiResponses.word(),
    Shape::GeminiGenerate.word(),
    Shape::BedrockConverse.word(),
];

const KEY_HEADERS: [(KeyHeader, &str); 6] = [
    (KeyHeader::Bearer, "bearer"),
    (KeyHeader::XApiKey, "x-api-key"),
    (KeyHeader::ApiKey, "api-key"),
    (KeyHeader::XGoogApiKey, "x-goog-api-key"),
    (KeyHeader::SignedJwt, "signed-jwt"),
    (KeyHeader::ServiceAccount, "service-account"),
];

/// Headers that carry secrets or that the HTTP client sets itself.
const RESERVED_HEADERS: [&str; 11] = [
    "authorization",
    "proxy-authorization",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "cookie",
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
];

const OUTPUT_BOUNDS: [(OutputBoundField, &str); 3] = [
    (OutputBoundField::MaxTokens, "max_tokens"),
    (OutputBoundField::MaxCompletionTokens, "max_completion_tokens"),
    (OutputBoundField::Either, "either"),
];

const STREAM_USAGES: [(StreamUsage, &str); 3] =
    [(StreamUsage::OnRequest, "on_request"), (StreamUsage::Always, "always"), (StreamUsage::Never, "never")];

/// Of a site, or of a model that differs from its site.
pub(super) const THINKING_SWITCHES: [(ThinkingSwitch, &str); 6] = [
    (ThinkingSwitch::ReasoningEffort, "reasoning_effort"),
    (ThinkingSwitch::Thinking, "thinking"),
    (ThinkingSwitch::EnableThinking, "enable_thinking"),
    (ThinkingSwitch::Reasoning, "reasoning"),
    (ThinkingSwitch::TemplateArguments, "chat_template_kwargs"),
    (ThinkingSwitch::None, "none"),
];

const THINKING_EFFORTS: [(ThinkingEffort, &str); 3] =
    [(ThinkingEffort::Never, "never"), (ThinkingEffort::Beside, "beside"), (ThinkingEffort::Instead, "instead")];

const THINKING_DEPTHS: [(ThinkingDepth, &str); 2] = [(ThinkingDepth::Tokens, "tokens"), (ThinkingDepth::Level, "level")];

/// How long prompts are kept, as the table says it; the number of days stands beside it.
const RETENTIONS: [(Retention, &str); 3] = [(Retention::None, "none"), (Retention::Days(0), "days"), (Retention::Kept, "kept")];

/// Where a server of one's own is.
const LOCAL: &str = "local";
const COUNTRY: &str = "a country code of two capitals, or \"local\"";
const REGION: &str = "a country code of two capitals, \"EU\", \"local\", or \"global\" where it may be served anywhere";

/// Every provider, in the order of their ids.
pub(super) fn read_all(root: &Section<'_, '_>) -> Vec<Provider> {
    let Some(table) = required(root, "providers", "a table [providers.ID] for each site", Section::section) else {
        return Vec::new();
    };
    let mut ids: Vec<&str> = table.names().collect();
    ids.sort_unstable();
    for id in ids.iter().filter(|id| !id_is_fit(id)) {
        table.problem(id, "this is no fit id", "lower-case letters, digits, dots, dashes and underscores");
    }
    ids.into_iter().filter_map(|id| Some(provider(id, table.named_section(id)?))).collect()
}

fn provider(id: &str, section: Section<'_, '_>) -> Provider {
    let disabled = section.text("disabled");
    let currency = required(&section, "currency", "a currency", |s, name| s.word(name, &CURRENCIES)).unwrap_or(Currency::Usd);
    let base_url = base_url(&section);
    let more_endpoints = section.section("endpoints").map(|endpoints| more_endpoints(&endpoints, &section)).unwrap_or_default();
    let addresses = || [base_url.as_str()].into_iter().chain(more_endpoints.iter().map(|more| more.base_url.as_str()));
    let places: Vec<String> = addresses().filter_map(address::places).flatten().map(str::to_owned).collect();
    let placeholders = placeholders(&section, &addresses().filter_map(address::places).flatten().collect());
    let region = place(&section, "region", REGION, &[LOCAL, "global"]);
    let (auth, api_key_env) = (section.word("auth", &KEY_HEADERS).unwrap_or_default(), api_key_env(&section));
    if api_key_env.is_none()
        && !section.has("api_key_env")
        && (auth.is_grant() || more_endpoints.iter().any(|more| more.auth.is_grant()))
    {
        let accepted = "the name (never the value) of a variable: EXAMPLE_API_KEY; or another `auth`";
        section.problem("api_key_env", "missing: `auth` says that a token is had with a key", accepted);
    }
    let own = region == LOCAL;
    let provider = Provider {
        index: ProviderIndex(0),
        id: id.to_owned(),
        name: section.required_text("name", "what a person reads").unwrap_or_default(),
        base_url,
        dialect: dialect(&section, disabled.is_some()),
        auth,
        more_endpoints,
        placeholders,
        query: section.section("query").map(|query| self::query(&query)).unwrap_or_default(),
        api_key_env,
        signing: section.section("sigv4").map(|sigv4| signing::read(sigv4, &places)),
        owner: section.required_text("owner", "who controls the site").unwrap_or_default(),
        jurisdiction: place(&section, "jurisdiction", COUNTRY, &["local"]),
        region,
        trains_on_data: section.truth("trains_on_data"),
        retention: retention(&section),
        registered: section.truth("registered"),
        price_changes: section.section("price_changes").map(price_changes),
        currency,
        cache: section.section("cache").map(cache).unwrap_or_default(),
        prepaid: section.section("prepaid").and_then(|section| allowance::prepaid(section, currency)),
        quirks: quirks(section.section("quirks"), own),
        extra_headers: section.section("extra_headers").map(|s| extra_headers(&s)).unwrap_or_default(),
        disabled,
        sandbox: section.section("sandbox").map(sandbox),
    };
    // For whoever reads the file: nothing in the gateway shows where the facts about a site are from.
    section.required_text("source", "the document these facts are from, and its date");
    section.finish();
    provider
}

/// An id stands before the slash of a backend's id, in labels and in headers.
fn id_is_fit(id: &str) -> bool {
    let fit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    !id.is_empty() && id.bytes().all(fit)
}

fn dialect(section: &Section<'_, '_>, disabled: bool) -> String {
    let Some(dialect) = section.required_text("dialect", &DIALECTS.join(", ")) else {
        return String::new();
    };
    if !disabled && !DIALECTS.contains(&dialect.as_str()) {
        let near = nearest(&dialect, DIALECTS);
        let hint = near.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
        let accepted = format!("{}; or disabled = \"reason\" beside it", DIALECTS.join(", "));
        section.problem("dialect", format!("{dialect:?} is not implemented{hint}"), accepted);
    }
    dialect
}

/// The endpoints for other dialects, each a table by the dialect's word.
fn more_endpoints(section: &Section<'_, '_>, provider: &Section<'_, '_>) -> Vec<MoreEndpoint> {
    let main = provider.text("dialect");
    let word = provider.text("auth");
    let of_main =
        KEY_HEADERS.iter().find(|(_, known)| word.as_deref() == Some(known)).map_or(KeyHeader::Bearer, |(auth, _)| *auth);
    let endpoint = |name: &str| {
        let fields = section.named_section(name)?;
        // What a token is had with must not go out as a key, so nothing else stands in its place unsaid.
        let unsaid = if of_main.is_grant() { of_main } else { KeyHeader::Bearer };
        let auth = fields.word("auth", &KEY_HEADERS).unwrap_or(unsaid);
        if auth.is_grant() != of_main.is_grant() || auth.is_grant() && auth != of_main {
            fields.problem(
                "auth",
                "one key cannot be sent here and have a token fetched there",
                "what the provider's own endpoint has",
            );
        }
        let made = (base_url(&fields), auth);
        fields.finish();
        let accepted = format!("one of {}, other than the provider's own dialect", DIALECTS.join(", "));
        let Some(shape) = Shape::of_endpoint(name) else {
            let near = nearest(name, DIALECTS);
            let hint = near.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
            section.problem(name, format!("there is no codec for this dialect{hint}"), accepted);
            return None;
        };
        if main.as_deref() == Some(name) {
            section.problem(name, "the provider's own endpoint speaks this dialect", accepted);
        }
        Some(MoreEndpoint { shape, base_url: made.0, auth: made.1 })
    };
    let mut names: Vec<&str> = section.names().collect();
    names.sort_unstable();
    names.into_iter().filter_map(endpoint).collect()
}

/// The name of a variable. What stands here wrongly is not repeated: it may be the key itself.
fn api_key_env(section: &Section<'_, '_>) -> Option<String> {
    let name = section.text("api_key_env")?;
    if !is_variable(&name) {
        section.problem("api_key_env", "this is no variable's name", "the name (never the value) of a variable: EXAMPLE_API_KEY");
    }
    Some(name)
}

pub(super) fn is_variable(name: &str) -> bool {
    let fit = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(fit)
}

/// The variables of the places that the addresses of a site have (`places`): one for each of them, and no other.
fn placeholders(provider: &Section<'_, '_>, places: &BTreeSet<&str>) -> Vec<(String, String)> {
    let told = provider.section("placeholders");
    let variable = |section: &Section<'_, '_>, name: &str| {
        let variable = section.named_text(name)?;
        if !is_variable(&variable) {
            section.problem(name, "this is no variable's name", "the name (never the value) of a variable: EXAMPLE_REGION");
        }
        if name == DEPLOYMENT || !places.contains(name) {
            let accepted = "a place of an address: base_url = \"https://{region}.example.com\"; a deployment is named in the \
                 configuration, under [deployments]";
            section.problem(name, "no address has such a place to fill", accepted);
        }
        Some((name.to_owned(), variable))
    };
    let named: Vec<_> = told.iter().flat_map(|section| section.names().filter_map(|name| variable(section, name))).collect();
    for place in places.iter().filter(|place| **place != DEPLOYMENT && !named.iter().any(|(name, _)| name == *place)) {
        let accepted = format!("placeholders = {{ {place} = \"EXAMPLE_{}\" }}, the name of a variable", place.to_uppercase());
        provider.problem("placeholders", format!("nothing says what belongs at {{{place}}} of an address"), accepted);
    }
    named
}

/// What stands in the query of every address: never a secret, since addresses are logged.
fn query(section: &Section<'_, '_>) -> Vec<(String, String)> {
    let fit = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let member = |name: &str| {
        let value = section.named_text(name)?;
        if !fit(name) || !fit(&value) {
            section.problem(name, "this cannot stand in a query as it is", "letters, digits, dashes, underscores and dots");
        }
        Some((name.to_owned(), value))
    };
    section.names().filter_map(member).collect()
}

fn place(section: &Section<'_, '_>, name: &'static str, accepted: &str, words: &[&str]) -> String {
    let Some(place) = section.required_text(name, accepted) else {
        return String::new();
    };
    let country = place.len() == 2 && place.bytes().all(|b| b.is_ascii_uppercase());
    if !country && !words.contains(&place.as_str()) {
        section.problem(name, format!("{place:?} is not known"), accepted);
    }
    place
}

/// Without the slash at its end, since the dialect appends a path that begins with one.
fn base_url(section: &Section<'_, '_>) -> String {
    const ACCEPTED: &str = "an https:// address without user info, query or fragment (http:// on this machine and in private \
         networks); what an operator fills in stands in braces: {region}";
    let text = section.required_text("base_url", ACCEPTED).unwrap_or_default();
    if let Some(wrong) = address_fault(&text).filter(|_| section.has("base_url")) {
        section.problem("base_url", wrong, ACCEPTED);
    }
    text.trim_end_matches('/').to_owned()
}

fn address_fault(text: &str) -> Option<&'static str> {
    if address::places(text).is_none() {
        return Some("a brace stands alone, or holds no name of small letters, digits and underscores");
    }
    // A deployment may be called what no host can: it belongs in the path, where braces can be read.
    let example = address::filled(text, |name| (name != DEPLOYMENT).then_some("x"));
    let Ok(uri) = example.parse::<Uri>() else {
        return Some("this is no address");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Some("the address is not absolute");
    };
    if authority.as_str().contains('@') {
        return Some("user info stands in the address");
    }
    if uri.query().is_some() || text.contains('#') {
        return Some("a query or a fragment stands in the address");
    }
    match scheme {
        "https" => None,
        "http" if is_private(authority.host()) => None,
        "http" => Some("the key and the prompts would travel unencrypted"),
        _ => Some("the scheme is not known"),
    }
}

/// Whether a host can only be this machine or one in a private network. A name without a dot is how containers and
/// cluster services are called.
fn is_private(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => {
            let last = bare.rsplit('.').next().unwrap_or(bare);
            !bare.contains('.') || ["localhost", "local", "internal"].contains(&last)
        }
    }
}

/// Unknown where nothing is said, and where it is said wrongly: who asks for a bound is then refused.
fn retention(section: &Section<'_, '_>) -> Option<Retention> {
    const DAYS: &str = "retention_days = 1 to 36500 beside retention = \"days\", and nowhere else";
    let days = section.whole("retention_days", 1..=36_500).and_then(|days| u32::try_from(days).ok());
    match (section.word("retention", &RETENTIONS), days) {
        (Some(Retention::Days(_)), Some(days)) => Some(Retention::Days(days)),
        (Some(Retention::Days(_)), None) => {
            if !section.has("retention_days") {
                section.problem("retention", "the number of days is missing", DAYS);
            }
            None
        }
        (known, Some(_)) => {
            section.problem("retention_days", "no number of days belongs here", DAYS);
            known
        }
        (known, None) => known,
    }
}

fn price_changes(section: Section<'_, '_>) -> PriceChanges {
    let count = |name| {
        let whole = required(&section, name, "a whole number", |s, name| s.whole(name, 0..=1_000_000));
        whole.and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
    };
    let changes = PriceChanges {
        models: count("models"),
        rises: count("rises"),
        cuts: count("cuts"),
        largest_rise_percent: count("largest_rise_percent"),
    };
    section.required_text("source", "where the changes were counted, and when");
    section.finish();
    changes
}

/// `own`: a server of one's own, as those are that run a model for oneself.
fn quirks(section: Option<Section<'_, '_>>, own: bool) -> Quirks {
    let plain = Quirks { template_arguments: own, ..Quirks::default() };
    let Some(section) = section else { return plain };
    let quirks = Quirks {
        output_bound: section.word("output_bound", &OUTPUT_BOUNDS).unwrap_or(plain.output_bound),
        developer_role: section.truth("developer_role").unwrap_or(plain.developer_role),
        stream_usage: section.word("stream_usage", &STREAM_USAGES).unwrap_or(plain.stream_usage),
        reasoning_outside_output: section.truth("reasoning_outside_output").unwrap_or(plain.reasoning_outside_output),
        messages_input_includes_cache: section
            .truth("messages_input_includes_cache")
            .unwrap_or(plain.messages_input_includes_cache),
        thinking_switch: section.word("thinking_switch", &THINKING_SWITCHES).unwrap_or(plain.thinking_switch),
        thinking_effort: section.word("thinking_effort", &THINKING_EFFORTS).unwrap_or(plain.thinking_effort),
        template_arguments: section.truth("template_arguments").unwrap_or(plain.template_arguments),
        reasoning_returned: section.truth("reasoning_returned").unwrap_or(plain.reasoning_returned),
        thoughts_refused: words(&section, "thoughts_refused", &RefusedThoughts::WORDS).into_iter().collect(),
        custom_tools: section.truth("custom_tools").unwrap_or(plain.custom_tools),
        refuses: words(&section, "refuses", &RareMembers::WORDS).into_iter().collect(),
        thinking_depth: section.word("thinking_depth", &THINKING_DEPTHS).unwrap_or(plain.thinking_depth),
        adaptive_thinking: section.truth("adaptive_thinking").unwrap_or(plain.adaptive_thinking),
        short_call_ids: section.truth("short_call_ids").unwrap_or(plain.short_call_ids),
        call_id_chars: section.whole("call_id_chars", 20..=200).and_then(|chars| u8::try_from(chars).ok()),
        random_seed: section.truth("random_seed").unwrap_or(plain.random_seed),
        required_is_any: section.truth("required_is_any").unwrap_or(plain.required_is_any),
        messages_formats: section.truth("messages_formats").unwrap_or(plain.messages_formats),
        unsigned_thoughts: section.truth("unsigned_thoughts").unwrap_or(plain.unsigned_thoughts),
        unopened_thoughts: section.truth("unopened_thoughts").unwrap_or(plain.unopened_thoughts),
        hints: words(&section, "hints", &Hint::WORDS).into_iter().collect(),
        instructions_anywhere: section.truth("instructions_anywhere").unwrap_or(plain.instructions_anywhere),
        encrypted_reasoning: section.truth("encrypted_reasoning").unwrap_or(plain.encrypted_reasoning),
    };
    section.finish();
    quirks
}

fn cache(section: Section<'_, '_>) -> CacheRules {
    let plain = CacheRules::default();
    let lifetime = section.whole("lifetime_seconds", 1..=7 * 24 * 3600).and_then(|seconds| u32::try_from(seconds).ok());
    let minimum = section.whole("minimum_tokens", 0..=1_000_000).map(Tokens::new);
    section.required_text("source", "the document the rules are from, and its date");
    section.finish();
    CacheRules { lifetime_seconds: lifetime.unwrap_or(plain.lifetime_seconds), minimum: minimum.unwrap_or(plain.minimum) }
}

fn extra_headers(section: &Section<'_, '_>) -> Vec<(String, String)> {
    let header = |name: &str| {
        let value = section.named_text(name)?;
        let reserved = RESERVED_HEADERS.contains(&name.to_lowercase().as_str());
        if reserved || HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(&value).is_err() {
            let accepted = format!("a header other than {}", RESERVED_HEADERS.join(", "));
            section.problem(name, "this header cannot be set here", accepted);
        }
        Some((name.to_owned(), value))
    };
    section.names().filter_map(header).collect()
}

fn sandbox(section: Section<'_, '_>) -> SandboxTraits {
    let number = |name, range| {
        let whole = required(&section, name, "a whole number", |s, name| s.whole(name, range));
        whole.and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
    };
    let traits = SandboxTraits {
        latency_ms: number("latency_ms", 0..=600_000),
        tokens_per_second: number("tokens_per_second", 1..=1_000_000),
        failures_permille: number("failures_permille", 0..=1000),
    };
    section.finish();
    traits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_prompts_cross_foreign_networks_encrypted_only() {
        let fine = [
            "https://api.example.com/v1",
            "http://127.0.0.1:11434/v1",
            "http://[::1]:8000",
            "http://localhost",
            "http://10.1.2.3/v1",
            "http://[fd00::1]/",
            "http://vllm:8000/v1",
            "http://vllm.models.svc.cluster.local/v1",
            "https://{workspace}.example.com/v1",
            "https://example.com/{project}/{deployment}",
        ];
        for address in fine {
            assert_eq!(address_fault(address), None, "{address}");
        }
        let wrong = [
            "http://api.example.com",
            "http://8.8.8.8/v1",
            "https://user:word@example.com",
            "https://example.com/v1?key=1",
            "https://example.com/v1#a",
            "ftp://example.com",
            "/v1",
            "https://{workspace.example.com",
            "https://{WORKSPACE}.example.com",
            "https://{deployment}.example.com/v1",
            "http://{workspace}.example.com",
            "",
        ];
        for address in wrong {
            assert!(address_fault(address).is_some(), "{address}");
        }
    }
}
