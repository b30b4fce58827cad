//! Feeds of prices and those who may change prices by hand, as the file tells them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::keys::{NAME_SHAPE, Raw as RawKey, is_key_name, sha256};
use super::reference;
use crate::catalog::feed::Format;
use crate::document::Section;
use crate::units::KeyName;

pub(super) const URL_SHAPE: &str = "a URL with http:// or https://";

/// What a feed holds, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedKind {
    Prices(Format),
    /// Exchange rates as lines of comma-separated values.
    Rates,
}

impl FeedKind {
    /// Every kind with its word in the file.
    pub const WORDS: [(FeedKind, &'static str); Format::WORDS.len() + 1] = {
        let mut words = [(FeedKind::Rates, "rates-csv"); Format::WORDS.len() + 1];
        let mut n = 0;
        while n < Format::WORDS.len() {
            words[n] = (FeedKind::Prices(Format::WORDS[n].0), Format::WORDS[n].1);
            n += 1;
        }
        words
    };
}

/// Where a feed is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedOrigin {
    Url(String),
    File(PathBuf),
}

/// One feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceFeed {
    pub name: String,
    pub kind: FeedKind,
    pub origin: FeedOrigin,
    pub interval: Duration,
    pub timeout: Duration,
    pub max_bytes: usize,
    /// In millionths.
    pub jump: u64,
    /// Whether it wins over figures of the operator's own table.
    pub overrules_table: bool,
    pub providers: BTreeMap<String, String>,
}

/// Who may change prices by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub name: KeyName,
    pub sha256: [u8; 32],
}

/// A feed's section as it is written.
pub(super) struct Raw {
    pub(super) kind: Option<FeedKind>,
    pub(super) url: Option<String>,
    pub(super) file: Option<PathBuf>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) max_bytes: usize,
    pub(super) jump: u64,
    pub(super) overrules_table: bool,
    pub(super) providers: BTreeMap<String, String>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            kind: None,
            url: None,
            file: None,
            interval: Duration::from_hours(6),
            timeout: Duration::from_mins(1),
            max_bytes: 32 << 20,
            jump: 4_000_000,
            overrules_table: false,
            providers: BTreeMap::new(),
        }
    }
}

/// An administrator's section as it is written.
#[derive(Default)]
pub(super) struct RawAdmin {
    pub(super) sha256: Option<String>,
    pub(super) sha256_file: Option<String>,
}

/// Reads `[feeds.NAME]` for every name, in the order of the names.
pub(super) fn read(root: &Section<'_, '_>) -> Vec<PriceFeed> {
    let mut feeds: Vec<PriceFeed> = named(root, "feeds", "a feed").filter_map(|(name, section)| feed(name, section)).collect();
    feeds.sort_by(|a, b| a.name.cmp(&b.name));
    feeds
}

/// Reads `[admins.NAME]` for every name.
pub(super) fn read_admins(root: &Section<'_, '_>) -> Vec<Admin> {
    named(root, "admins", "an administrator").filter_map(|(name, section)| admin(&name, section)).collect()
}

fn named<'d, 't>(
    root: &Section<'d, 't>,
    of: &'static str,
    what: &'static str,
) -> impl Iterator<Item = (String, Section<'d, 't>)> + use<'d, 't> {
    let all = root.section(of);
    let names: Vec<&'d str> = all.iter().flat_map(Section::names).collect();
    names.into_iter().filter_map(move |name| {
        let all = all.as_ref()?;
        if !is_key_name(name) {
            all.problem(name, format!("{name:?} cannot name {what}"), NAME_SHAPE);
        }
        Some((name.to_owned(), all.named_section(name)?))
    })
}

/// `None` only after a problem was noted.
fn feed(name: String, section: Section<'_, '_>) -> Option<PriceFeed> {
    let mut raw = Raw::default();
    reference::feed().read(&section, &mut raw);
    if !section.has("format") {
        section.problem("format", "missing", "what the feed is written in, such as \"litellm\"");
    }
    let origin = origin(&section, &raw);
    section.finish();
    Some(PriceFeed {
        name,
        kind: raw.kind?,
        origin: origin?,
        interval: raw.interval,
        timeout: raw.timeout,
        max_bytes: raw.max_bytes,
        jump: raw.jump,
        overrules_table: raw.overrules_table,
        providers: raw.providers,
    })
}

fn origin(section: &Section<'_, '_>, raw: &Raw) -> Option<FeedOrigin> {
    match (&raw.url, &raw.file) {
        (Some(_), Some(_)) => section.problem("file", "`url` is given too", "one of the two"),
        (None, None) => section.problem("url", "missing", format!("{URL_SHAPE}, or `file`")),
        (None, Some(file)) => return Some(FeedOrigin::File(file.clone())),
        (Some(url), None) if is_url(url) => return Some(FeedOrigin::Url(url.clone())),
        (Some(url), None) => section.problem("url", format!("{url:?} is no URL"), URL_SHAPE),
    }
    None
}

fn is_url(url: &str) -> bool {
    let uri: Option<http::Uri> = url.parse().ok();
    uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty()))
}

fn admin(name: &str, section: Section<'_, '_>) -> Option<Admin> {
    let mut raw = RawAdmin::default();
    reference::admin().read(&section, &mut raw);
    let raw = RawKey { sha256: raw.sha256, sha256_file: raw.sha256_file, ..RawKey::default() };
    let sha256 = sha256(&section, &raw);
    section.finish();
    Some(Admin { name: KeyName::new(name), sha256: sha256? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn check(text: &str, expected: &[&str]) {
        let found = Config::load(Some(("t.toml", text)), &BTreeMap::new()).err().unwrap_or_default();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
        assert!(found.iter().zip(expected).all(|(found, expected)| found.contains(expected)), "{found:#?}");
    }

    #[test]
    fn a_feed_is_a_format_and_one_place() {
        check("[feeds.a]\nformat = \"litellm\"\nurl = \"https://x.example/p.json\"\n", &[]);
        check("[feeds.a]\nformat = \"rates-csv\"\nfile = \"rates.csv\"\n", &[]);
        check("[feeds.a]\nfile = \"x\"\n", &["feeds.a.format: missing"]);
        check("[feeds.a]\nformat = \"toml\"\n", &["feeds.a.url: missing"]);
        check("[feeds.a]\nformat = \"toml\"\nurl = \"http://x\"\nfile = \"x\"\n", &["feeds.a.file: `url` is given too"]);
        check("[feeds.a]\nformat = \"litelm\"\nfile = \"x\"\n", &["did you mean \"litellm\"?"]);
        for bad in ["ftp://x", "/etc/x", "https://", "x y"] {
            check(&format!("[feeds.a]\nformat = \"toml\"\nurl = \"{bad}\"\n"), &["is no URL"]);
        }
        check("[feeds.a]\nformat = \"toml\"\nfile = \"x\"\njump_factor = 1\n", &["feeds.a.jump_factor: 1 is no factor"]);
        check(
            "[feeds.a]\nformat = \"toml\"\nfile = \"x\"\nproviders = { b = 1 }\n",
            &["feeds.a.providers.b: this is an integer"],
        );
        check("[feeds.\"a b\"]\nformat = \"toml\"\nfile = \"x\"\n", &["cannot name a feed"]);
        check("[admins.ann]\n", &["admins.ann.sha256: missing"]);
    }

    #[test]
    fn what_a_feed_says_is_read() {
        let text = "[feeds.b]\nformat = \"toml\"\nfile = \"x\"\n[feeds.a]\nformat = \"openrouter-models\"\nurl = \"http://h/p\"\n\
                    interval_seconds = 60\njump_factor = 2.5\nproviders = { \"*\" = \"west\" }\n";
        let config = Config::load(Some(("t.toml", text)), &BTreeMap::new()).unwrap();
        let [a, b] = config.feeds.as_slice() else { panic!("{:?}", config.feeds) };
        assert_eq!((a.kind, a.jump, a.interval.as_secs()), (FeedKind::Prices(Format::RouterModels), 2_500_000, 60));
        assert_eq!((a.providers["*"].as_str(), &b.origin, b.jump), ("west", &FeedOrigin::File("x".into()), 4_000_000));
    }
}
