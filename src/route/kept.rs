//! Facts as bytes: what is kept of a decision so that it can be made, and explained, again. A plan of two hundred
//! candidates would be a hundred times as much; the facts are a few hundred bytes, cost a fraction of a microsecond to
//! write, and [`plan()`] does the rest when somebody asks.
//!
//! The table is not among them: they belong to one version of it, which must be kept beside them. Indexes (of backends,
//! of providers) are that version's. What is ordinary (a healthy backend, an absent wish) takes a bit or nothing.
//!
//! The bytes name their own [`FORMAT`]. A member more, another order, a word list that changed elsewhere (tokenizer
//! families, tiers, features): each is a new format, and a test holds the present one to its bytes.

mod allowances;

use std::time::Duration;

use jiff::Timestamp;

use self::allowances::{Allowances, put_allowances, read_allowances};
use super::affinity::Warm;
use super::ask::Ask;
use super::explain::Decision;
use super::facts::{Availability, BackendHealth, Facts, InputEstimate, InputTokens, Limits, OutputForecast, Settings};
use super::plan::plan;
use super::target::Target;
use super::usable::Usable;
use crate::canonical::{Features, QualityTier, ReasoningWish};
use crate::catalog::{BackendIndex, Snapshot, TokenizerFamily};
use crate::units::{BackendId, Tokens, Usd};

/// The form of the bytes; their first byte.
const FORMAT: u8 = 3;
/// The first form, which did not say how long a request may take.
const FIRST: u8 = 1;
/// What ordinary facts take, so that writing them allocates once.
const ORDINARY_BYTES: usize = 256;

/// Bytes that are no facts of this table, or those of a newer gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these are no facts of a decision that this gateway can read")]
pub struct Unreadable;

/// Facts that were read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    ask: Ask,
    target: Target,
    input: InputEstimate,
    expected_output: OutputForecast,
    limits: Limits,
    usable: Usable,
    health: Vec<BackendHealth>,
    warm: Option<Warm>,
    at: Timestamp,
    settings: Settings,
    allowances: Allowances,
}

impl Kept {
    /// Reads what [`Facts::keep`] wrote, in the version of the table that the facts belong to.
    pub fn read(bytes: &[u8], snapshot: &Snapshot) -> Result<Self, Unreadable> {
        let from = &mut Reader(bytes);
        let format = from.byte()?;
        if !(FIRST..=FORMAT).contains(&format) {
            return Err(Unreadable);
        }
        // In the order of `keep`.
        let kept = Self {
            ask: read_ask(from)?,
            target: read_target(from, snapshot)?,
            input: read_input(from)?,
            expected_output: OutputForecast { plain: from.tokens()?, thinking: from.tokens()? },
            limits: read_limits(from)?,
            usable: Usable::of(snapshot, read_availability(from)?),
            health: read_health(from, snapshot)?,
            warm: from.option(read_warm)?,
            at: from.instant()?,
            settings: read_settings(from, format)?,
            allowances: read_allowances(from, format)?,
        };
        if from.0.is_empty() { Ok(kept) } else { Err(Unreadable) }
    }

    /// The facts as they were, in the version of the table that they belong to.
    pub fn facts<'a>(&'a self, snapshot: &'a Snapshot) -> Facts<'a> {
        Facts {
            ask: &self.ask,
            snapshot,
            target: &self.target,
            input: &self.input,
            expected_output: self.expected_output,
            limits: &self.limits,
            usable: &self.usable,
            health: &self.health,
            warm: self.warm.as_ref(),
            allowances: &self.allowances,
            at: self.at,
            settings: &self.settings,
        }
    }

    /// Decides again and explains it.
    pub fn decision(&self, snapshot: &Snapshot) -> Decision {
        Decision::of(plan(&self.facts(snapshot)).as_ref(), snapshot)
    }
}

impl Facts<'_> {
    /// Everything but the table, as bytes for [`Kept::read`].
    pub fn keep(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(ORDINARY_BYTES));
        out.byte(FORMAT);
        put_ask(&mut out, self.ask);
        put_target(&mut out, self.target);
        put_input(&mut out, self.input);
        out.tokens(self.expected_output.plain);
        out.tokens(self.expected_output.thinking);
        put_limits(&mut out, self.limits);
        put_availability(&mut out, self.usable.availability());
        put_health(&mut out, self.health);
        out.option(self.warm, |out, warm| {
            out.text(warm.backend.as_str());
            out.tokens(warm.tokens);
        });
        out.instant(self.at);
        out.number(u64::from(self.settings.risk_weight_percent));
        out.tier(Some(self.settings.default_quality));
        out.number(self.settings.max_attempts as u64);
        out.duration(self.settings.longest);
        put_allowances(&mut out, self.allowances);
        out.0
    }
}

fn put_ask(out: &mut Writer, ask: &Ask) {
    out.number(u64::from(ask.features.bits()));
    out.byte(match ask.reasoning {
        ReasoningWish::Unsaid => 0,
        ReasoningWish::Off => 1,
        ReasoningWish::On => 2,
    });
    out.option(ask.output_bound, Writer::tokens);
    out.number(u64::from(ask.choices));
    out.byte(u8::from(ask.chinese));
    out.tier(ask.quality);
    out.option(ask.max_cost, Writer::usd);
    out.option(ask.race, Writer::byte);
    for list in [&ask.regions, &ask.providers, &ask.excluded_providers] {
        out.texts(list);
    }
}

fn read_ask(from: &mut Reader<'_>) -> Result<Ask, Unreadable> {
    Ok(Ask {
        features: from.small().and_then(|bits| Features::from_bits(bits).ok_or(Unreadable))?,
        reasoning: match from.byte()? {
            0 => ReasoningWish::Unsaid,
            1 => ReasoningWish::Off,
            2 => ReasoningWish::On,
            _ => return Err(Unreadable),
        },
        output_bound: from.option(Reader::tokens)?,
        choices: from.small()?,
        chinese: from.truth()?,
        quality: from.tier()?,
        max_cost: from.option(Reader::usd)?,
        race: from.option(Reader::byte)?,
        regions: from.texts()?,
        providers: from.texts()?,
        excluded_providers: from.texts()?,
    })
}

fn put_target(out: &mut Writer, target: &Target) {
    match target {
        Target::Auto(tier) => {
            out.byte(0);
            out.tier(*tier);
        }
        Target::Model(name) => {
            out.byte(1);
            out.text(name);
        }
        Target::Backend(index) => {
            out.byte(2);
            out.number(u64::from(index.0));
        }
    }
}

fn read_target(from: &mut Reader<'_>, snapshot: &Snapshot) -> Result<Target, Unreadable> {
    match from.byte()? {
        0 => from.tier().map(Target::Auto),
        1 => from.text().map(Target::Model),
        2 => {
            let index: u32 = from.small()?;
            if (index as usize) < snapshot.backends().len() { Ok(Target::Backend(BackendIndex(index))) } else { Err(Unreadable) }
        }
        _ => Err(Unreadable),
    }
}

/// Each family's expectation and what its bound is above it.
fn put_input(out: &mut Writer, input: &InputEstimate) {
    for (family, _) in TokenizerFamily::WORDS {
        let tokens = input.of(family);
        out.tokens(tokens.expected());
        out.tokens(tokens.upper().saturating_sub(tokens.expected()));
    }
}

fn read_input(from: &mut Reader<'_>) -> Result<InputEstimate, Unreadable> {
    let mut whole = Ok(());
    let estimate = InputEstimate::by_family(|_| {
        let read = from.tokens().and_then(|expected| Ok(InputTokens::new(expected, expected + from.tokens()?)));
        read.unwrap_or_else(|unreadable| {
            whole = Err(unreadable);
            InputTokens::default()
        })
    });
    whole.map(|()| estimate)
}

fn put_limits(out: &mut Writer, limits: &Limits) {
    let Limits { providers, excluded_providers, regions, jurisdictions, quality, max_cost, may_train } = limits;
    for list in [providers, excluded_providers, regions, jurisdictions] {
        out.texts(list);
    }
    out.tier(*quality);
    out.option(*max_cost, Writer::usd);
    out.byte(u8::from(*may_train));
}

fn read_limits(from: &mut Reader<'_>) -> Result<Limits, Unreadable> {
    Ok(Limits {
        providers: from.texts()?,
        excluded_providers: from.texts()?,
        regions: from.texts()?,
        jurisdictions: from.texts()?,
        quality: from.tier()?,
        max_cost: from.option(Reader::usd)?,
        may_train: from.truth()?,
    })
}

/// A bit for each provider.
fn put_availability(out: &mut Writer, availability: &[Availability]) {
    out.number(availability.len() as u64);
    for eight in availability.chunks(8) {
        let ready = eight.iter().enumerate().filter(|(_, one)| **one == Availability::Ready);
        out.byte(ready.fold(0, |bits, (place, _)| bits | 1 << place));
    }
}

fn read_availability(from: &mut Reader<'_>) -> Result<Vec<Availability>, Unreadable> {
    let count = usize::try_from(from.number()?).map_err(|_| Unreadable)?;
    let bytes = from.bytes(count.div_ceil(8))?;
    let of = |bit: u8| if bit == 0 { Availability::NoKey } else { Availability::Ready };
    let all = bytes.iter().flat_map(|byte| (0..8).map(move |place| of(byte >> place & 1)));
    Ok(all.take(count).collect())
}

/// Those backends that are not simply healthy; each place counts from the one before it.
fn put_health(out: &mut Writer, health: &[BackendHealth]) {
    let ailing = || health.iter().enumerate().filter(|(_, one)| **one != BackendHealth::default());
    out.number(ailing().count() as u64);
    let mut next = 0;
    for (place, one) in ailing() {
        out.number((place - next) as u64);
        next = place + 1;
        out.number(u64::from(one.failure_share));
        out.byte(u8::from(one.waiting_full));
        out.option(one.cooling, |out, cooling| {
            out.duration(cooling);
        });
    }
}

/// As long as the last one that is not healthy: a backend beyond the end is.
fn read_health(from: &mut Reader<'_>, snapshot: &Snapshot) -> Result<Vec<BackendHealth>, Unreadable> {
    let mut health = Vec::new();
    for _ in 0..from.number()? {
        let place = from.number()?.saturating_add(health.len() as u64);
        let place = usize::try_from(place).ok().filter(|place| *place < snapshot.backends().len()).ok_or(Unreadable)?;
        health.resize(place, BackendHealth::default());
        health.push(BackendHealth {
            failure_share: from.small()?,
            waiting_full: from.truth()?,
            cooling: from.option(Reader::duration)?,
        });
    }
    Ok(health)
}

fn read_warm(from: &mut Reader<'_>) -> Result<Warm, Unreadable> {
    let id = from.text()?;
    let (provider, model) = id.split_once('/').ok_or(Unreadable)?;
    Ok(Warm { backend: BackendId::new(provider, model), tokens: from.tokens()? })
}

fn read_settings(from: &mut Reader<'_>, format: u8) -> Result<Settings, Unreadable> {
    Ok(Settings {
        risk_weight_percent: from.small()?,
        default_quality: from.tier()?.ok_or(Unreadable)?,
        max_attempts: usize::try_from(from.number()?).map_err(|_| Unreadable)?,
        longest: if format == FIRST { Settings::default().longest } else { from.duration()? },
    })
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits a byte, the low ones first.
    fn number(&mut self, mut rest: u64) {
        while rest >= 0x80 {
            self.byte(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.byte(rest.to_le_bytes()[0]);
    }

    fn tokens(&mut self, tokens: Tokens) {
        self.number(tokens.get());
    }

    fn usd(&mut self, usd: Usd) {
        self.sixteen(usd.pico());
    }

    fn sixteen(&mut self, number: i128) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn duration(&mut self, duration: Duration) {
        self.number(duration.as_secs());
        self.number(u64::from(duration.subsec_nanos()));
    }

    fn instant(&mut self, at: Timestamp) {
        self.sixteen(at.as_nanosecond());
    }

    fn tier(&mut self, tier: Option<QualityTier>) {
        self.byte(match tier {
            None => 0,
            Some(QualityTier::Economy) => 1,
            Some(QualityTier::Standard) => 2,
            Some(QualityTier::Premium) => 3,
        });
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn texts(&mut self, list: &[String]) {
        self.number(list.len() as u64);
        for text in list {
            self.text(text);
        }
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }
}

/// Bytes not yet read. They come from a disk, so they may be anything.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn bytes(&mut self, count: usize) -> Result<&'b [u8], Unreadable> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn truth(&mut self) -> Result<bool, Unreadable> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable),
        }
    }

    fn number(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Unreadable> {
        T::try_from(self.number()?).map_err(|_| Unreadable)
    }

    fn tokens(&mut self) -> Result<Tokens, Unreadable> {
        self.number().map(Tokens::new)
    }

    fn sixteen(&mut self) -> Result<i128, Unreadable> {
        self.bytes(16)?.try_into().map(i128::from_le_bytes).map_err(|_| Unreadable)
    }

    fn usd(&mut self) -> Result<Usd, Unreadable> {
        self.sixteen().map(Usd::from_pico)
    }

    fn instant(&mut self) -> Result<Timestamp, Unreadable> {
        Timestamp::from_nanosecond(self.sixteen()?).map_err(|_| Unreadable)
    }

    fn duration(&mut self) -> Result<Duration, Unreadable> {
        let (seconds, nanos): (u64, u32) = (self.number()?, self.small()?);
        if nanos < 1_000_000_000 { Ok(Duration::new(seconds, nanos)) } else { Err(Unreadable) }
    }

    fn tier(&mut self) -> Result<Option<QualityTier>, Unreadable> {
        match self.byte()? {
            0 => Ok(None),
            1 => Ok(Some(QualityTier::Economy)),
            2 => Ok(Some(QualityTier::Standard)),
            3 => Ok(Some(QualityTier::Premium)),
            _ => Err(Unreadable),
        }
    }

    fn text(&mut self) -> Result<String, Unreadable> {
        let length = self.small()?;
        std::str::from_utf8(self.bytes(length)?).map(str::to_owned).map_err(|_| Unreadable)
    }

    fn texts(&mut self) -> Result<Vec<String>, Unreadable> {
        (0..self.number()?).map(|_| self.text()).collect()
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Unreadable>) -> Result<Option<T>, Unreadable> {
        if self.truth()? { read(self).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Case, Spec};
    use super::*;
    use crate::canonical::Feature;
    use crate::catalog::QuotaIndex;

    fn case() -> Case {
        let specs = ["north/mist", "south/fog", "east/dew", "east/rime"].map(Spec::named);
        Case::of(specs.to_vec())
    }

    /// Everything that differs from the ordinary.
    fn unusual() -> Case {
        let mut case = case();
        let list = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        case.specs[1].health = BackendHealth { failure_share: 250_000, cooling: None, waiting_full: true };
        case.specs[3].health = BackendHealth { cooling: Some(Duration::new(7, 500_000_001)), ..BackendHealth::default() };
        case.keyless = list(&["south"]);
        case.request.features = Features::NONE.with(Feature::Tools).with(Feature::AudioOutput);
        case.request.reasoning = ReasoningWish::Off;
        (case.request.output_bound, case.request.choices) = (Some(Tokens::new(300)), 3);
        case.request.text = crate::canonical::TextProfile::of("请用三句话解释什么是通货膨胀。");
        case.request.wishes.quality = Some(QualityTier::Standard);
        (case.request.wishes.max_cost, case.request.wishes.race) = (Some(Usd::from_pico(77)), Some(2));
        case.request.wishes.regions = list(&["US", "EU"]);
        case.request.wishes.providers = list(&["east"]);
        case.request.wishes.excluded_providers = list(&["west"]);
        case.limits = Limits {
            providers: list(&["east", "south"]),
            excluded_providers: list(&["north"]),
            regions: list(&["US"]),
            jurisdictions: list(&["US", "CN"]),
            quality: Some(QualityTier::Premium),
            max_cost: Some(Usd::from_pico(i128::MAX)),
            may_train: false,
        };
        case.warm = Some(Warm { backend: BackendId::new("east", "dew"), tokens: Tokens::new(u64::MAX) });
        case.specs[2].quotas = vec![QuotaIndex(1)];
        case.allowances = super::allowances::unusual();
        case.settings = Settings {
            risk_weight_percent: 350,
            default_quality: QualityTier::Premium,
            max_attempts: 9,
            longest: Duration::from_secs(90),
        };
        case
    }

    fn check(change: impl FnOnce(&mut Case)) {
        let mut case = unusual();
        change(&mut case);
        let table = case.table();
        case.with_facts_of(&table, |facts| {
            let bytes = facts.keep();
            let kept = Kept::read(&bytes, &table).unwrap();
            let again = kept.facts(&table);
            assert_eq!(again.ask, facts.ask);
            assert_eq!((again.target, again.input, again.limits), (facts.target, facts.input, facts.limits));
            assert_eq!((again.usable, again.warm, again.settings), (facts.usable, facts.warm, facts.settings));
            assert_eq!((again.expected_output, again.at, again.allowances), (facts.expected_output, facts.at, facts.allowances));
            for backend in table.backends() {
                assert_eq!(again.health_of(backend), facts.health_of(backend), "{}", backend.id);
            }
            assert_eq!(kept.decision(&table), Decision::of(plan(facts).as_ref(), &table));
            for cut in 0..bytes.len() {
                assert_eq!(Kept::read(&bytes[..cut], &table), Err(Unreadable), "cut at {cut}");
            }
        });
    }

    #[test]
    fn every_fact_reads_back_and_no_part_of_them_does() {
        check(|_| {});
        check(|case| *case = self::case());
        check(|case| case.target = "auto:standard".into());
        check(|case| case.target = "dew".into());
        check(|case| case.target = "east/rime".into());
    }

    #[test]
    fn facts_of_another_table_are_refused() {
        let case = Case { target: "east/rime".into(), ..unusual() };
        let smaller = Case::of(case.specs[..2].to_vec()).table();
        case.with_facts(|facts| assert_eq!(Kept::read(&facts.keep(), &smaller), Err(Unreadable)));
    }

    #[test]
    fn ordinary_facts_take_little() {
        case().with_facts(|facts| {
            let bytes = facts.keep();
            assert!(bytes.len() <= 150, "{} bytes", bytes.len());
        });
    }

    /// What books of today hold must be readable tomorrow: whoever changes these bytes gives them a new format, and keeps
    /// reading this one.
    #[test]
    fn the_format_is_what_it_was() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        unusual().with_facts(|facts| assert_eq!(hex(&facts.keep()), include_str!("kept_3.hex").trim()));
    }

    #[test]
    fn what_older_gateways_kept_still_reads() {
        let digit = |hex: &str| u8::from_str_radix(hex, 16).unwrap();
        let bytes = |hex: &str| (0..hex.len()).step_by(2).map(|at| digit(&hex[at..at + 2])).collect::<Vec<u8>>();
        let case = unusual();
        let table = case.table();
        let first = Settings { longest: Settings::default().longest, ..case.settings };
        for (hex, settings) in [(include_str!("kept_1.hex"), first), (include_str!("kept_2.hex"), case.settings)] {
            let kept = Kept::read(&bytes(hex.trim()), &table).unwrap();
            assert_eq!((kept.settings, &kept.allowances), (settings, &Allowances::default()));
            case.with_facts_of(&table, |facts| assert_eq!((&kept.ask, &kept.input), (facts.ask, facts.input)));
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(mut bytes: Vec<u8>) {
            let table = case().table();
            let _ = Kept::read(&bytes, &table);
            bytes.insert(0, FORMAT);
            if let Ok(kept) = Kept::read(&bytes, &table) {
                let _ = kept.decision(&table);
            }
        }

        #[test]
        fn damaged_facts_never_panic(at in 0_usize..400, to: u8) {
            let case = unusual();
            let table = case.table();
            let mut bytes = case.with_facts_of(&table, |facts: &Facts<'_>| facts.keep());
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(kept) = Kept::read(&bytes, &table) {
                let _ = kept.decision(&table);
            }
        }
    }
}
