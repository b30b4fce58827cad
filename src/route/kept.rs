//! Facts as bytes: what is kept of a decision so that it can be made, and explained, again. A plan of two hundred
//! candidates would be a hundred times as much; the facts are a few hundred bytes, cost a fraction of a microsecond to
//! write, and [`explained`] does the rest when somebody asks.
//!
//! The table is not among them: they belong to one version of it, which must be kept beside them. Indexes (of backends,
//! of providers) are that version's. What is ordinary (a healthy backend, an absent wish) takes a bit or nothing.
//!
//! The bytes name their own [`FORMAT`]. A member more, another order, a word list that changed elsewhere (tokenizer
//! families, tiers, features): each is a new format, and a test holds the present one to its bytes.

mod allowances;
mod bytes;
mod learned;
mod shape;
mod weighed;

use jiff::Timestamp;

use self::bytes::{Reader, Writer};
use super::affinity::Affinity;
use super::ask::Ask;
use super::board::Board;
use super::caps::Caps;
use super::explain::Decision;
use super::facts::{
    Allowances, Availability, BackendHealth, Explore, Facts, InputEstimate, InputTokens, Limits, OutputForecast, Settings,
};
use super::learned::LearnedOutput;
use super::plan::explained;
use super::target::Target;
use super::usable::Usable;
use crate::canonical::{Features, ReasoningWish};
use crate::catalog::{BackendIndex, Snapshot, TokenizerFamily};

/// The form of the bytes; their first byte.
const FORMAT: u8 = 5;
/// The first form: nothing learned, one warm backend by its id, nothing weighed beside the price but failures, and not how
/// long a request may take.
const FIRST: u8 = 1;
/// The first form in which learned answers have a spread over lengths; before it their mean decided.
const WITH_SPREAD: u8 = 3;
/// The first form that tells the request's shape; before it every request was one for chat completions.
const WITH_SHAPE: u8 = 4;
/// The first form with what single backends count of the prompt; before it the family's estimate was everybody's.
const WITH_OWN_INPUT: u8 = 5;
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
    board: Board,
    health: Vec<BackendHealth>,
    learned: LearnedOutput,
    affinity: Affinity,
    caps: Caps,
    explore: Option<Explore>,
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
        let first = format == FIRST;
        // In the order of `keep`.
        let mut kept = Self {
            ask: read_ask(from)?,
            target: read_target(from, snapshot)?,
            input: read_input(from)?,
            expected_output: OutputForecast { plain: from.tokens()?, thinking: from.tokens()? },
            learned: if first { LearnedOutput::default() } else { learned::read_output(from, snapshot, format)? },
            limits: read_limits(from)?,
            usable: Usable::of(snapshot, read_availability(from)?),
            board: Board::default(),
            health: read_health(from, snapshot)?,
            affinity: if first { learned::read_first_affinity(from, snapshot)? } else { learned::read_affinity(from, snapshot)? },
            caps: Caps::NONE,
            explore: None,
            at: from.instant()?,
            settings: read_settings(from, format)?,
            allowances: Allowances::default(),
        };
        if !first {
            weighed::read(from, &mut kept, snapshot)?;
            kept.allowances = allowances::read(from)?;
        }
        if format >= WITH_SHAPE {
            shape::read(from, &mut kept, snapshot)?;
        }
        if format >= WITH_OWN_INPUT {
            kept.input = kept.input.with_own(read_own_input(from, snapshot)?);
        }
        kept.board = Board::of(snapshot, kept.at);
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
            board: &self.board,
            usable: &self.usable,
            health: &self.health,
            learned: &self.learned,
            affinity: &self.affinity,
            caps: &self.caps,
            explore: self.explore,
            allowances: &self.allowances,
            at: self.at,
            settings: &self.settings,
        }
    }

    /// Decides again and explains it.
    pub fn decision(&self, snapshot: &Snapshot) -> Decision {
        Decision::of(explained(&self.facts(snapshot)).as_ref(), snapshot)
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
        learned::put_output(&mut out, self.learned);
        put_limits(&mut out, self.limits);
        put_availability(&mut out, self.usable.availability());
        put_health(&mut out, self.health);
        learned::put_affinity(&mut out, self.affinity);
        out.instant(self.at);
        out.number(u64::from(self.settings.risk_weight_percent));
        out.tier(Some(self.settings.default_quality));
        out.number(self.settings.max_attempts as u64);
        out.duration(self.settings.longest);
        weighed::put(&mut out, self);
        allowances::put(&mut out, self.allowances);
        shape::put(&mut out, self);
        put_own_input(&mut out, self.input);
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
        ..Ask::default()
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

/// Those backends that have figures of their own; each place counts from the one before it.
fn put_own_input(out: &mut Writer, input: &InputEstimate) {
    out.number(input.all_own().len() as u64);
    let mut next = 0;
    for (BackendIndex(n), tokens) in input.all_own() {
        out.number(u64::from(*n - next));
        next = n + 1;
        out.tokens(tokens.expected());
        out.tokens(tokens.upper().saturating_sub(tokens.expected()));
    }
}

fn read_own_input(from: &mut Reader<'_>, snapshot: &Snapshot) -> Result<Vec<(BackendIndex, InputTokens)>, Unreadable> {
    let (mut own, mut next) = (Vec::new(), 0_u32);
    for _ in 0..from.number()? {
        let n = next.checked_add(from.small()?).filter(|n| (*n as usize) < snapshot.backends().len()).ok_or(Unreadable)?;
        next = n + 1;
        let expected = from.tokens()?;
        own.push((BackendIndex(n), InputTokens::new(expected, expected + from.tokens()?)));
    }
    Ok(own)
}

fn put_limits(out: &mut Writer, limits: &Limits) {
    let Limits { providers, excluded_providers, regions, jurisdictions, quality, max_cost, may_train, .. } = limits;
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
        ..Limits::default()
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
    let ails = |one: &BackendHealth| one.failure_share > 0 || one.waiting_full || one.cooling.is_some();
    let ailing = || health.iter().enumerate().filter(|(_, one)| ails(one));
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
            ..BackendHealth::default()
        });
    }
    Ok(health)
}

fn read_settings(from: &mut Reader<'_>, format: u8) -> Result<Settings, Unreadable> {
    Ok(Settings {
        risk_weight_percent: from.small()?,
        default_quality: from.tier()?.ok_or(Unreadable)?,
        max_attempts: usize::try_from(from.number()?).map_err(|_| Unreadable)?,
        longest: if format == FIRST { Settings::default().longest } else { from.duration()? },
        // Not weighed in the first form.
        price_risk_weight_percent: 0,
    })
}

#[cfg(test)]
mod tests;
