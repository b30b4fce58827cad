//! Gateway keys as the file tells them: who may ask, and what each may spend, reach and risk. Only hashes are
//! configured, so that neither the file nor a backup of it lets anybody in. What a key means at run time is `policy`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files;
use super::load::document;
use super::means::{self, HasMeans, Means};
use super::reference;
use super::settings::Config;
use crate::canonical::{MOST_TAGS, TAGS_SHAPE, Wishes, is_tag};
use crate::document::{Document, Problem, Section, nearest};
use crate::policy::{BrownOut, KeyLimits, NothingLeft, Payer};
use crate::units::KeyName;

/// The name that stands for clients of an open gateway, in rows and metrics; no key may have it.
pub const ANONYMOUS: &str = "anonymous";

pub(super) const NAME_SHAPE: &str = "a name of 1 to 64 letters, digits, `-`, `_` and `.`, other than `anonymous`";
pub(super) const HASH_SHAPE: &str = "the 64 hexadecimal digits that `tokenbroker keys new` prints";

/// One gateway key and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayKey {
    pub name: KeyName,
    /// SHA-256 of the key's text; see [`crate::policy::keys::hash`].
    pub sha256: [u8; 32],
    /// That of the text before it, while both let in.
    pub also: Option<[u8; 32]>,
    /// It lets nobody in: what it spent counts for its team all the same.
    pub shut: bool,
    /// Whose budgets its requests fall under beside its own; there are such.
    pub team: Option<String>,
    pub project: Option<String>,
    /// What its requests are tagged with.
    pub tags: Vec<String>,
    /// What it may ask for and spend by itself.
    pub means: Means,
}

impl GatewayKey {
    /// One that lets nobody in.
    pub fn shut(name: &str) -> Self {
        let means = Means::default();
        Self {
            name: KeyName::new(name),
            sha256: [0; 32],
            also: None,
            shut: true,
            team: None,
            project: None,
            tags: Vec::new(),
            means,
        }
    }

    /// Its project, its team and the gateway, from the narrowest on, with what each may.
    pub fn above<'c>(&'c self, config: &'c Config) -> impl Iterator<Item = (Payer, &'c Means)> {
        let named =
            |all: &'c BTreeMap<String, Means>, name: &'c Option<String>| name.as_ref().and_then(|name| all.get_key_value(name));
        let project = named(&config.projects, &self.project).map(|(name, means)| (Payer::Project(name.clone()), means));
        let team = named(&config.teams, &self.team).map(|(name, means)| (Payer::Team(name.clone()), means));
        [project, team, Some((Payer::Gateway, &config.gateway))].into_iter().flatten()
    }

    /// What it may ask for when all levels have had their say, and what its requests wish where they do not say: there the narrowest
    /// level counts.
    ///
    /// # Errors
    /// When a level above leaves nothing of what it may; with that level.
    pub fn standing(&self, config: &Config) -> Result<Standing, (Payer, NothingLeft)> {
        let mut own = self.means.clone();
        for (payer, means) in self.above(config) {
            own.limits = own.limits.within(&means.limits).map_err(|left| (payer, left))?;
            own.wishes.or(&means.wishes);
            own.brown_out.or(&means.brown_out);
        }
        Ok(Standing::of(own))
    }
}

/// What requests may ask for, and what they wish where they do not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    pub limits: KeyLimits,
    pub wishes: Wishes,
    /// What becomes of those that a budget does not bear.
    pub brown_out: BrownOut,
}

impl Standing {
    /// An alias says what matters before a default does, so that one stands among the limits, which are asked last.
    fn of(means: Means) -> Self {
        let Means { limits, mut wishes, brown_out, .. } = means;
        let prefer = limits.prefer.or(wishes.prefer.take());
        Self { limits: KeyLimits { prefer, ..limits }, wishes, brown_out }
    }

    /// Of a gateway that asks for no key.
    pub fn of_everybody(config: &Config) -> Self {
        Self::of(config.gateway.clone())
    }
}

/// Reads `[keys.NAME]` for every name.
pub(super) fn read(root: &Section<'_, '_>) -> Vec<GatewayKey> {
    let Some(keys) = root.section("keys") else {
        return Vec::new();
    };
    let mut found: Vec<GatewayKey> = Vec::new();
    for name in keys.names() {
        if !is_key_name(name) {
            keys.problem(name, format!("{name:?} cannot name a key"), NAME_SHAPE);
        }
        let Some(key) = keys.named_section(name).and_then(|section| one(name, section)) else {
            continue;
        };
        match found.iter().find(|other| other.sha256 == key.sha256) {
            Some(other) => keys.problem(name, format!("the same key as {:?}", other.name.as_str()), "a key of its own"),
            None => found.push(key),
        }
    }
    found
}

/// Whether a key may be called so: it stands in metrics, rows and environment variables.
pub fn is_key_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed) && name != ANONYMOUS
}

/// A key's section as it is written, each value by itself.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) sha256: Option<String>,
    pub(super) sha256_file: Option<String>,
    pub(super) team: Option<String>,
    pub(super) project: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) means: means::Raw,
}

impl HasMeans for Raw {
    fn means(&mut self) -> &mut means::Raw {
        &mut self.means
    }
}

fn one(name: &str, section: Section<'_, '_>) -> Option<GatewayKey> {
    let raw = reference::key().read_into(&section);
    let sha256 = sha256(&section, &raw);
    let means = raw.means.judged(&section);
    if raw.tags.len() > MOST_TAGS || !raw.tags.iter().all(|tag| is_tag(tag)) {
        section.problem("tags", "these cannot be tags", TAGS_SHAPE);
    }
    section.finish();
    let Raw { team, project, tags, .. } = raw;
    Some(GatewayKey { name: KeyName::new(name), sha256: sha256?, also: None, shut: false, team, project, tags, means })
}

/// Reads a key whose settings are kept outside the configuration, as `[keys.NAME]` would have them.
pub fn of_settings(name: &str, settings: &str, config: &Config) -> Result<GatewayKey, Vec<Problem>> {
    let document = Document::parse("settings", settings);
    let key = one(name, document.root());
    for (member, problem) in key.iter().flat_map(|key| problems_above(key, config)) {
        document.root().problem(member, problem.wrong, problem.accepted);
    }
    match (key, document.into_problems()) {
        (Some(key), problems) if problems.is_empty() => Ok(key),
        (_, problems) => Err(problems),
    }
}

/// Teams and projects that keys name must be there (a name that was misspelt would bound nothing), and leave them something.
pub(super) fn check_above(root: &Section<'_, '_>, config: &Config) {
    let Some(sections) = root.named_section("keys") else { return };
    for key in &config.keys {
        for (member, problem) in problems_above(key, config) {
            if let Some(section) = sections.named_section(key.name.as_str()) {
                section.problem(member, problem.wrong, problem.accepted);
            }
        }
    }
}

/// What is wrong between a key and those above it.
struct Above {
    wrong: String,
    accepted: String,
}

fn problems_above(key: &GatewayKey, config: &Config) -> Vec<(&'static str, Above)> {
    let groups = [("teams", "team", &config.teams, &key.team), ("projects", "project", &config.projects, &key.project)];
    let missing = groups.into_iter().filter_map(|(of, member, known, named)| {
        let named = named.as_ref().filter(|named| !known.contains_key(*named))?;
        let hint = nearest(named, known.keys().map(String::as_str));
        let hint = hint.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
        let wrong = format!("there is no [{of}.{named}]{hint}");
        Some((member, Above { wrong, accepted: format!("the NAME of a [{of}.NAME]") }))
    });
    let nothing = key.standing(config).err().map(|(payer, NothingLeft(what))| {
        let wrong = format!("nothing is left: none of these is allowed by {payer}");
        (what, Above { wrong, accepted: format!("{what} that all levels above allow") })
    });
    missing.chain(nothing).collect()
}

/// The files that hold hashes of keys (`sha256_file`), readable or not. The arguments are those of
/// [`Config::load`](super::Config::load).
pub fn hash_files(file: Option<(&str, &str)>, environment: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let document = document(file, environment);
    let root = document.root();
    let Some(keys) = root.named_section("keys") else { return Vec::new() };
    let sections = keys.names().filter_map(|name| keys.named_section(name));
    sections.filter_map(|key| key.named_text("sha256_file")).map(PathBuf::from).collect()
}

pub(super) fn sha256(section: &Section<'_, '_>, raw: &Raw) -> Option<[u8; 32]> {
    if section.has("sha256") && section.has("sha256_file") {
        section.problem("sha256_file", "`sha256` is given too", "one of the two");
        return None;
    }
    if !section.has("sha256") && !section.has("sha256_file") {
        section.problem("sha256", "missing", format!("{HASH_SHAPE}, or `sha256_file`, a file that holds them"));
        return None;
    }
    let (member, text) = match &raw.sha256_file {
        Some(path) => match files::text(Path::new(path), files::MOST_KEY) {
            Ok(text) => ("sha256_file", text),
            Err(error) => {
                section.problem("sha256_file", format!("cannot read {path}: {error}"), "a readable file");
                return None;
            }
        },
        None => ("sha256", raw.sha256.clone()?),
    };
    let hash = from_hex(text.trim());
    if hash.is_none() {
        // The value is not repeated: somebody may have put the key itself here.
        section.problem(member, "this is no SHA-256", HASH_SHAPE);
    }
    hash
}

/// A hash from its 64 hexadecimal digits.
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut hash = [0_u8; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// A hash as it stands in a configuration: 64 hexadecimal digits.
pub fn to_hex(sha256: &[u8; 32]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    sha256.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
