//! What one setting is: its name, the place of its value in the checked configuration, what is accepted there, what it
//! means and when a change of it counts.
//!
//! The reader ([`load`](super::load)) and the documents ([`pages`](super::pages)) go through the same rows, so that a
//! range, a list of words or a default is written once. The default is no part of a row: it is what the place holds in
//! `Default` of its type. Which settings there are stands in [`reference`](super::reference).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::document::Section;
use crate::units::{TokenPrice, Tokens, Usd};

/// When a changed setting counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applies {
    /// As soon as the running gateway has read its files anew.
    OnReload,
    /// In the next process only.
    OnRestart,
}

/// How the text of a setting becomes a value. What a kind accepts, it also says.
pub(super) trait Kind {
    type Value;

    /// The value, where the section has it; what cannot be read is noted as a problem.
    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Self::Value>;

    /// What is accepted, for people.
    fn accepted(&self) -> String;

    /// The value as it stands in a file; `None` where it stands for "not set".
    fn written(&self, value: &Self::Value) -> Option<String>;
}

/// One setting of the section whose values are an `S`.
pub(super) struct Setting<S> {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) applies: Applies,
    /// What holds where the setting is absent and has no default, and a value to show.
    pub(super) unset: Option<Unset>,
    place: Box<dyn Place<S>>,
}

/// A setting without a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unset {
    /// What its absence means: `none`, `any`.
    pub(super) means: &'static str,
    /// A value, as it would stand in a file.
    pub(super) example: &'static str,
}

/// A setting of a kind, whose value lies at a field.
pub(super) fn setting<S: 'static, K: Kind + 'static>(
    name: &'static str,
    kind: K,
    field: fn(&mut S) -> &mut K::Value,
) -> Setting<S> {
    let place = Box::new(Field { kind, field });
    Setting { name, meaning: "", applies: Applies::OnReload, unset: None, place }
}

impl<S> Setting<S> {
    /// What the setting does, in a sentence or two, with the unit.
    pub(super) fn means(self, meaning: &'static str) -> Self {
        Self { meaning, ..self }
    }

    /// A change counts in the next process only.
    pub(super) fn on_restart(self) -> Self {
        Self { applies: Applies::OnRestart, ..self }
    }

    /// There is no default: what absence means, and a value to show.
    pub(super) fn unset(self, means: &'static str, example: &'static str) -> Self {
        Self { unset: Some(Unset { means, example }), ..self }
    }

    /// Puts what the section says in its place; without a word, or with a wrong one, the place keeps what it holds.
    pub(super) fn read(&self, section: &Section<'_, '_>, values: &mut S) {
        self.place.read(section, self.name, values);
    }

    /// What is accepted, for people.
    pub(super) fn accepted(&self) -> String {
        self.place.accepted()
    }

    /// What `values` hold, as it stands in a file.
    pub(super) fn written(&self, values: &mut S) -> Option<String> {
        self.place.written(values)
    }
}

/// A [`Kind`] with its field, the type of the value forgotten.
trait Place<S> {
    fn read(&self, section: &Section<'_, '_>, name: &'static str, values: &mut S);
    fn accepted(&self) -> String;
    fn written(&self, values: &mut S) -> Option<String>;
}

struct Field<S, K: Kind> {
    kind: K,
    /// One way to the value for both, setting it and showing it: therefore mutable.
    field: fn(&mut S) -> &mut K::Value,
}

impl<S, K: Kind> Place<S> for Field<S, K> {
    fn read(&self, section: &Section<'_, '_>, name: &'static str, values: &mut S) {
        if let Some(value) = self.kind.read(section, name) {
            *(self.field)(values) = value;
        }
    }

    fn accepted(&self) -> String {
        self.kind.accepted()
    }

    fn written(&self, values: &mut S) -> Option<String> {
        self.kind.written((self.field)(values))
    }
}

// === kinds ===

/// Where to listen. A name would be resolved at a moment nobody sees, so an address is asked for.
pub(super) struct Address;

impl Kind for Address {
    type Value = SocketAddr;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<SocketAddr> {
        let text = section.text(name)?;
        let address = text.parse().ok();
        if address.is_none() {
            section.problem(name, format!("{text:?} is no address"), self.accepted());
        }
        address
    }

    fn accepted(&self) -> String {
        "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned()
    }

    fn written(&self, value: &SocketAddr) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

/// A file or a directory.
pub(super) struct FilePath;

impl Kind for FilePath {
    type Value = PathBuf;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<PathBuf> {
        let text = section.text(name)?;
        if text.is_empty() {
            section.problem(name, "this is empty", self.accepted());
            return None;
        }
        Some(PathBuf::from(text))
    }

    fn accepted(&self) -> String {
        "a path".to_owned()
    }

    fn written(&self, value: &PathBuf) -> Option<String> {
        Some(quoted(&value.to_string_lossy()))
    }
}

/// A whole number within a range; see [`whole`].
pub(super) struct Whole<T> {
    range: RangeInclusive<u64>,
    into: PhantomData<fn() -> T>,
}

/// A whole number within a range, as whichever integer its field is.
pub(super) fn whole<T>(range: RangeInclusive<u64>) -> Whole<T> {
    Whole { range, into: PhantomData }
}

impl<T: TryFrom<u64> + Display> Kind for Whole<T> {
    type Value = T;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<T> {
        section.whole(name, self.range.clone()).and_then(|number| T::try_from(number).ok())
    }

    fn accepted(&self) -> String {
        from_to(&self.range)
    }

    fn written(&self, value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

/// One of a few numbers.
pub(super) struct OneOf(pub(super) &'static [u16]);

impl Kind for OneOf {
    type Value = u16;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<u16> {
        let number = section.whole(name, 0..=u64::from(u16::MAX))?;
        let known = self.0.iter().copied().find(|known| u64::from(*known) == number);
        if known.is_none() {
            section.problem(name, format!("{number} is not known"), self.accepted());
        }
        known
    }

    fn accepted(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    }

    fn written(&self, value: &u16) -> Option<String> {
        Some(value.to_string())
    }
}

/// A number of tokens within a range.
pub(super) struct TokenCount(pub(super) RangeInclusive<u64>);

impl Kind for TokenCount {
    type Value = Tokens;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Tokens> {
        section.whole(name, self.0.clone()).map(Tokens::new)
    }

    fn accepted(&self) -> String {
        from_to(&self.0)
    }

    fn written(&self, value: &Tokens) -> Option<String> {
        Some(value.get().to_string())
    }
}

/// A duration in milliseconds: at least one, at most a day.
pub(super) struct Millis;

const MILLIS: RangeInclusive<u64> = 1..=86_400_000;

impl Kind for Millis {
    type Value = Duration;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Duration> {
        section.whole(name, MILLIS).map(Duration::from_millis)
    }

    fn accepted(&self) -> String {
        from_to(&MILLIS)
    }

    fn written(&self, value: &Duration) -> Option<String> {
        Some(value.as_millis().to_string())
    }
}

/// A duration in seconds, within a range.
pub(super) struct Seconds(pub(super) RangeInclusive<u64>);

impl Kind for Seconds {
    type Value = Duration;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Duration> {
        section.whole(name, self.0.clone()).map(Duration::from_secs)
    }

    fn accepted(&self) -> String {
        from_to(&self.0)
    }

    fn written(&self, value: &Duration) -> Option<String> {
        Some(value.as_secs().to_string())
    }
}

/// `true` or `false`.
pub(super) struct Truth;

impl Kind for Truth {
    type Value = bool;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<bool> {
        section.truth(name)
    }

    fn accepted(&self) -> String {
        "true or false".to_owned()
    }

    fn written(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

/// One of a closed list: every value with its word.
pub(super) struct Word<T: 'static>(pub(super) &'static [(T, &'static str)]);

impl<T: Copy + PartialEq> Kind for Word<T> {
    type Value = T;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<T> {
        section.word(name, self.0)
    }

    fn accepted(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(_, word)| quoted(word)).collect();
        match words.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => words.concat(),
        }
    }

    fn written(&self, value: &T) -> Option<String> {
        self.0.iter().find(|(known, _)| known == value).map(|(_, word)| quoted(word))
    }
}

/// A text, and what it should say: for what is judged later, beside other settings.
pub(super) struct Text(pub(super) &'static str);

impl Kind for Text {
    type Value = String;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<String> {
        section.text(name)
    }

    fn accepted(&self) -> String {
        self.0.to_owned()
    }

    fn written(&self, value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

/// A list of texts, and what they should name. The empty one stands for "not set".
pub(super) struct Texts(pub(super) &'static str);

impl Kind for Texts {
    type Value = Vec<String>;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Vec<String>> {
        let texts = section.texts(name);
        section.has(name).then_some(texts)
    }

    fn accepted(&self) -> String {
        format!("a list of {}", self.0)
    }

    fn written(&self, value: &Vec<String>) -> Option<String> {
        let texts: Vec<String> = value.iter().map(|text| quoted(text)).collect();
        (!texts.is_empty()).then(|| format!("[{}]", texts.join(", ")))
    }
}

/// An amount of money above zero.
pub(super) struct Dollars;

impl Kind for Dollars {
    type Value = Usd;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Usd> {
        match Usd::parse(&section.decimal(name)?) {
            Ok(amount) if amount > Usd::ZERO => Some(amount),
            _ => {
                section.problem(name, "this is no amount", self.accepted());
                None
            }
        }
    }

    fn accepted(&self) -> String {
        "US dollars above zero as a plain decimal, such as 0.25".to_owned()
    }

    fn written(&self, value: &Usd) -> Option<String> {
        Some(value.to_exact())
    }
}

/// A factor above one, in millionths.
pub(super) struct Times;

impl Kind for Times {
    type Value = u64;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<u64> {
        let text = section.decimal(name)?;
        let millionths = TokenPrice::per_million(&text).ok().map(TokenPrice::pico);
        let fit = millionths.filter(|millionths| (1_000_001..=1_000_000_000).contains(millionths));
        if fit.is_none() {
            section.problem(name, format!("{text} is no factor"), self.accepted());
        }
        fit
    }

    fn accepted(&self) -> String {
        "a decimal above 1 and at most 1000, such as 2.5".to_owned()
    }

    fn written(&self, value: &u64) -> Option<String> {
        Some(TokenPrice::from_pico(*value).to_per_million())
    }
}

/// Texts by names of the operator's own, and what they stand for. The empty one stands for "not set".
pub(super) struct Pairs(pub(super) &'static str);

impl Kind for Pairs {
    type Value = BTreeMap<String, String>;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<BTreeMap<String, String>> {
        let inner = section.section(name)?;
        Some(inner.names().filter_map(|key| Some((key.to_owned(), inner.named_text(key)?))).collect())
    }

    fn accepted(&self) -> String {
        format!("pairs: {}", self.0)
    }

    fn written(&self, value: &BTreeMap<String, String>) -> Option<String> {
        let pairs: Vec<String> = value.iter().map(|(key, text)| format!("{} = {}", quoted(key), quoted(text))).collect();
        (!pairs.is_empty()).then(|| format!("{{ {} }}", pairs.join(", ")))
    }
}

/// A backend of the table. Whether the table has it is judged by [`names`](super::names).
pub(super) struct BackendName;

impl Kind for BackendName {
    type Value = String;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<String> {
        let id = section.text(name)?;
        if !id.contains('/') {
            section.problem(name, "this names no backend", self.accepted());
        }
        Some(id)
    }

    fn accepted(&self) -> String {
        "provider/model, as in the table".to_owned()
    }

    fn written(&self, value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

/// A setting that may be absent, and then is nothing rather than a default.
pub(super) struct Maybe<K>(pub(super) K);

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Option<K::Value>> {
        self.0.read(section, name).map(Some)
    }

    fn accepted(&self) -> String {
        self.0.accepted()
    }

    fn written(&self, value: &Option<K::Value>) -> Option<String> {
        value.as_ref().and_then(|value| self.0.written(value))
    }
}

fn from_to(range: &RangeInclusive<u64>) -> String {
    format!("{} to {}", range.start(), range.end())
}

/// A text as TOML writes it. What Rust escapes in the texts that stand here, TOML escapes in the same way.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}
