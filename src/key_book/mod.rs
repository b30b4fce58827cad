//! Virtual keys: gateway keys that an administrator makes, rotates, lets expire and revokes while the gateway runs. They are kept
//! in the folder `keys` of the data directory, as hashes, with their settings in the words of `[keys.NAME]`; every step is a row
//! of the audit before it is in force. Who puts them in force is the server's.
//!
//! A key that was revoked or has expired stays on record: what it spent counts for its team, and its name is not given again.
//! A key of the configuration wins over a virtual one of the same name. Beside the keys stand the limits of budgets that are set
//! while the gateway runs (`budgets`). In a fleet both are the same at all gateways (`sharing`).

mod budgets;
mod settings;
mod sharing;
mod store;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::budgets::{BudgetBook, BudgetNotDone, BudgetRow, BudgetStep};
pub use self::settings::to_toml;
pub use self::sharing::Change;
use self::sharing::{Shared, after};
use self::store::Store;
pub use self::store::StoreError;
use crate::config::keys::{from_hex, is_key_name, to_hex};
use crate::config::{Config, GatewayKey};
use crate::document::Problem;
use crate::policy::keys::{hash, new_key};

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualKey {
    pub name: String,
    /// The 64 hexadecimal digits of its SHA-256.
    pub sha256: String,
    /// As they would stand in `[keys.NAME]`.
    pub settings: String,
    pub created: Timestamp,
    pub created_by: String,
    /// From when on it lets nobody in.
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
    /// What it was before it was rotated, as long as that lets in.
    pub before: Option<Before>,
    /// When the last step was taken, where one was since it was made; each is later than the one before, whatever the clocks of the
    /// gateways that take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
}

/// A key that was rotated away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub sha256: String,
    pub until: Timestamp,
}

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    Valid,
    Expired,
    Revoked,
    /// The configuration has one of this name.
    Shadowed,
}

impl Stand {
    pub fn word(self) -> &'static str {
        match self {
            Stand::Valid => "valid",
            Stand::Expired => "expired",
            Stand::Revoked => "revoked",
            Stand::Shadowed => "shadowed",
        }
    }
}

impl VirtualKey {
    fn changed(&self) -> Timestamp {
        self.changed.unwrap_or(self.created)
    }

    pub fn stand(&self, config: &Config, now: Timestamp) -> Stand {
        if self.revoked.is_some() {
            Stand::Revoked
        } else if config.keys.iter().any(|key| key.name.as_str() == self.name) {
            Stand::Shadowed
        } else if self.expires.is_some_and(|expires| now >= expires) {
            Stand::Expired
        } else {
            Stand::Valid
        }
    }

    /// The key as the configuration would have it, or what is wrong with it there.
    fn read(&self, config: &Config, now: Timestamp) -> Result<GatewayKey, Vec<Problem>> {
        let key = settings::read(&self.name, &self.sha256, &self.settings, config)?;
        let before = self.before.as_ref().filter(|before| now < before.until);
        let also = before.and_then(|before| from_hex(&before.sha256));
        Ok(GatewayKey { also, shut: self.stand(config, now) != Stand::Valid, ..key })
    }
}

/// A step that was taken, for whoever asks later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    pub at: Timestamp,
    /// The administrator.
    pub by: String,
    pub key: String,
    /// `created`, `rotated`, `expires` or `revoked`.
    pub step: String,
    /// The settings of a new key; until when a rotated one goes on; when one expires.
    pub detail: String,
    pub why: String,
}

/// Why an administrator's wish is not done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    #[error("{0:?} cannot name a key; accepted: 1 to 64 letters, digits, `-`, `_` and `.` (`anonymous` is taken)")]
    Name(String),
    #[error("there is a key {0:?} already, or there was one; a name is not given twice")]
    Taken(String),
    #[error("the configuration has a key {0:?}; keys of the configuration are changed there")]
    Configured(String),
    #[error("there is no virtual key {0:?}")]
    Unknown(String),
    #[error("the key {0:?} is {1} and stays so")]
    Ended(String, &'static str),
    #[error("the gateway asks for no key (server.open = true)")]
    Open,
    #[error("the key would expire before it begins")]
    Past,
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<Problem>),
    #[error("the system gives no random bytes: {0}")]
    Randomness(getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who wants a step, why and when.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub by: &'a str,
    pub why: &'a str,
    pub now: Timestamp,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub enum KeyStep<'a> {
    /// It is made, with settings as they would stand in `[keys.NAME]`.
    Create { settings: &'a str, expires: Option<Timestamp>, config: &'a Config },
    /// It gets another text; the one before goes on letting in for a while.
    Rotate { grace: Duration },
    /// It expires at an instant, which may be now.
    Expire { at: Timestamp },
    /// It lets in no more, nor does what it was before.
    Revoke,
}

/// The virtual keys of one data directory.
#[derive(Debug)]
pub struct KeyBook {
    store: Store,
    keys: Mutex<Vec<VirtualKey>>,
}

impl KeyBook {
    /// Reads those of a data directory; touches nothing.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let store = Store::new(data, "keys", "keys.json");
        let mut keys: Vec<VirtualKey> = store.all()?;
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { store, keys: Mutex::new(keys) })
    }

    /// Every key there is and was, by name.
    pub fn keys(&self) -> Vec<VirtualKey> {
        self.held().clone()
    }

    /// The keys as a configuration would have them. One whose settings the configuration does not bear (any more) is shut, and
    /// told with what is wrong.
    pub fn read(&self, config: &Config, now: Timestamp) -> (Vec<GatewayKey>, Vec<(String, Vec<Problem>)>) {
        let (mut read, mut wrong) = (Vec::new(), Vec::new());
        for key in self.held().iter() {
            match key.read(config, now) {
                // The configuration's own is bound by that name.
                Ok(_) if key.stand(config, now) == Stand::Shadowed => {}
                Ok(gateway_key) => read.push(gateway_key),
                Err(problems) => {
                    wrong.push((key.name.clone(), problems));
                    // Not left out: where there is no other, its being there keeps the gateway from being open.
                    read.push(GatewayKey::shut(&key.name));
                }
            }
        }
        (read, wrong)
    }

    /// When a key or what it was before stops letting in by itself, next.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = |key: &VirtualKey| [key.expires, key.before.as_ref().map(|before| before.until)];
        self.held().iter().filter(|key| key.revoked.is_none()).flat_map(ends).flatten().filter(|end| *end > now).min()
    }

    /// Takes a step; answers the text of a key, which is kept nowhere, where the step makes one.
    pub fn step(&self, name: &str, step: &KeyStep<'_>, wanted: Wanted<'_>) -> Result<Option<String>, NotDone> {
        let mut keys = self.held();
        let Planned { key, row, text } = planned(&keys, name, step, wanted)?;
        let next = with(&keys, key);
        // The audit before all.
        self.store.append(&row)?;
        self.store.keep(&next)?;
        *keys = next;
        Ok(text)
    }

    /// Works a step out, for whoever takes it at all gateways: [`Self::take`] is how it comes back.
    pub fn plan(&self, name: &str, step: &KeyStep<'_>, wanted: Wanted<'_>) -> Result<(Change, Option<String>), NotDone> {
        let Planned { key, row, text } = planned(&self.held(), name, step, wanted)?;
        Ok((Change::of(&key, &row), text))
    }

    /// Every step that was taken, oldest first; reads the disk.
    pub fn audit(&self) -> Result<Vec<AuditRow>, StoreError> {
        let mut rows: Vec<AuditRow> = self.store.audit()?;
        // Those of other gateways came when they came.
        rows.sort_by_key(|row| row.at);
        Ok(rows)
    }

    fn held(&self) -> MutexGuard<'_, Vec<VirtualKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared for VirtualKey {
    fn called(&self) -> String {
        self.name.clone()
    }

    /// A name that was given there is not given again: a key of the same name that was made apart gives way. Of one key the later
    /// step counts, and a revocation stays, whenever it came.
    fn merged(there: &Self, here: &Self) -> Self {
        if (there.created, &there.created_by) != (here.created, &here.created_by) {
            return there.clone();
        }
        let later = if here.changed() > there.changed() { here } else { there };
        let mut merged = later.clone();
        if let (None, Some(revoked)) = (merged.revoked, there.revoked.or(here.revoked)) {
            (merged.revoked, merged.before) = (Some(revoked), None);
        }
        merged
    }
}

/// A step that was worked out: how the key stands then, its row of the audit, and a text where one was made.
struct Planned {
    key: VirtualKey,
    row: AuditRow,
    text: Option<String>,
}

fn planned(keys: &[VirtualKey], name: &str, step: &KeyStep<'_>, wanted: Wanted<'_>) -> Result<Planned, NotDone> {
    let known = keys.iter().find(|key| key.name == name);
    if let KeyStep::Create { settings, expires, config } = step {
        return created(known, name, (*settings, *expires), config, wanted);
    }
    let mut key = known.ok_or_else(|| NotDone::Unknown(name.to_owned()))?.clone();
    if key.revoked.is_some() {
        return Err(NotDone::Ended(name.to_owned(), "revoked"));
    }
    if key.expires.is_some_and(|expires| expires <= wanted.now) {
        return Err(NotDone::Ended(name.to_owned(), "expired"));
    }
    key.changed = Some(after(key.changed(), wanted.now));
    let mut text = None;
    let (word, detail) = match step {
        KeyStep::Create { .. } => ("created", String::new()),
        KeyStep::Rotate { grace } => {
            let until = wanted.now.checked_add(*grace).unwrap_or(Timestamp::MAX);
            let made = new_key().map_err(NotDone::Randomness)?;
            let sha256 = std::mem::replace(&mut key.sha256, to_hex(&hash(made.as_bytes())));
            (key.before, text) = (Some(Before { sha256, until }), Some(made));
            ("rotated", format!("the one before goes on until {until}"))
        }
        KeyStep::Expire { at } => {
            key.expires = Some(*at);
            ("expires", at.to_string())
        }
        KeyStep::Revoke => {
            (key.revoked, key.before) = (Some(wanted.now), None);
            ("revoked", String::new())
        }
    };
    Ok(Planned { row: row(wanted, name, word, detail), key, text })
}

fn created(
    known: Option<&VirtualKey>,
    name: &str,
    (settings, expires): (&str, Option<Timestamp>),
    config: &Config,
    wanted: Wanted<'_>,
) -> Result<Planned, NotDone> {
    if config.server.open {
        return Err(NotDone::Open);
    }
    if !is_key_name(name) {
        return Err(NotDone::Name(name.to_owned()));
    }
    if config.keys.iter().any(|key| key.name.as_str() == name) {
        return Err(NotDone::Configured(name.to_owned()));
    }
    if expires.is_some_and(|expires| expires <= wanted.now) {
        return Err(NotDone::Past);
    }
    let text = new_key().map_err(NotDone::Randomness)?;
    let key = VirtualKey {
        name: name.to_owned(),
        sha256: to_hex(&hash(text.as_bytes())),
        settings: settings.to_owned(),
        created: wanted.now,
        created_by: wanted.by.to_owned(),
        expires,
        revoked: None,
        before: None,
        changed: None,
    };
    key.read(config, wanted.now).map_err(NotDone::Settings)?;
    if known.is_some() {
        return Err(NotDone::Taken(name.to_owned()));
    }
    let until = expires.map(|at| format!("expires {at}")).into_iter();
    let detail: Vec<String> = settings.lines().map(str::to_owned).chain(until).collect();
    Ok(Planned { row: row(wanted, name, "created", detail.join("; ")), key, text: Some(text) })
}

/// Keys by name, with one in the place of what it was.
fn with(keys: &[VirtualKey], key: VirtualKey) -> Vec<VirtualKey> {
    let mut next = keys.to_vec();
    match next.binary_search_by(|known| known.name.cmp(&key.name)) {
        Ok(place) => next[place] = key,
        Err(place) => next.insert(place, key),
    }
    next
}

fn row(wanted: Wanted<'_>, key: &str, step: &str, detail: String) -> AuditRow {
    let Wanted { by, why, now } = wanted;
    AuditRow { at: now, by: by.to_owned(), key: key.to_owned(), step: step.to_owned(), detail, why: why.to_owned() }
}

#[cfg(test)]
mod tests;
