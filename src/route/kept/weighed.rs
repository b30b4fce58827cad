//! The part of kept facts that began with format 2: what is weighed beside the price, and what is asked about data. It
//! stands behind the older parts, so that these stay as they were; facts without it mean what they meant, that nothing of
//! it was asked or known.

use super::{Kept, Reader, Unreadable, Writer};
use crate::canonical::Preference;
use crate::catalog::Snapshot;
use crate::route::ask::Ask;
use crate::route::caps::{Cap, Caps, MOST_CAPS};
use crate::route::facts::{BackendHealth, Explore, Facts, Headroom, Limits, Wait};
use crate::units::{ShareBy, ShareKind, ShareOf, Tokens};

pub(super) fn put(out: &mut Writer, facts: &Facts<'_>) {
    put_ask(out, facts.ask);
    put_limits(out, facts.limits);
    put_health(out, facts.health);
    put_caps(out, facts.caps);
    out.option(facts.explore, |out, explore| {
        out.number(explore.seed);
        out.number(u64::from(explore.permille));
        out.usd(explore.left);
    });
    out.number(u64::from(facts.settings.price_risk_weight_percent));
}

/// Reads it over what the older parts said. In the order of [`put`].
pub(super) fn read(from: &mut Reader<'_>, kept: &mut Kept, snapshot: &Snapshot) -> Result<(), Unreadable> {
    read_ask(from, &mut kept.ask)?;
    read_limits(from, &mut kept.limits)?;
    read_health(from, &mut kept.health, snapshot)?;
    kept.caps = read_caps(from, snapshot)?;
    kept.explore = from.option(|from| Ok(Explore { seed: from.number()?, permille: from.small()?, left: from.usd()? }))?;
    kept.settings.price_risk_weight_percent = from.small()?;
    Ok(())
}

fn put_ask(out: &mut Writer, ask: &Ask) {
    out.texts(&ask.jurisdictions);
    out.option(ask.max_price, Writer::usd);
    for truth in [ask.data.no_training, ask.data.registered, ask.session, ask.stream] {
        out.byte(u8::from(truth));
    }
    out.option(ask.data.max_retention_days, |out, days| out.number(u64::from(days)));
    put_preference(out, ask.prefer);
    out.option(ask.deadline_ms, Writer::number);
}

fn read_ask(from: &mut Reader<'_>, ask: &mut Ask) -> Result<(), Unreadable> {
    ask.jurisdictions = from.texts()?;
    ask.max_price = from.option(Reader::usd)?;
    for truth in [&mut ask.data.no_training, &mut ask.data.registered, &mut ask.session, &mut ask.stream] {
        *truth = from.truth()?;
    }
    ask.data.max_retention_days = from.option(Reader::small)?;
    ask.prefer = read_preference(from)?;
    ask.deadline_ms = from.option(Reader::number)?;
    Ok(())
}

fn put_limits(out: &mut Writer, limits: &Limits) {
    out.option(limits.max_price, Writer::usd);
    out.option(limits.max_retention_days, |out, days| out.number(u64::from(days)));
    out.byte(u8::from(limits.registered));
    put_preference(out, limits.prefer);
}

fn read_limits(from: &mut Reader<'_>, limits: &mut Limits) -> Result<(), Unreadable> {
    limits.max_price = from.option(Reader::usd)?;
    limits.max_retention_days = from.option(Reader::small)?;
    limits.registered = from.truth()?;
    limits.prefer = read_preference(from)?;
    Ok(())
}

/// Its place among all preferences, from one on.
fn put_preference(out: &mut Writer, preference: Option<Preference>) {
    let place = Preference::ALL.iter().position(|known| Some(*known) == preference);
    out.number(place.map_or(0, |place| place as u64 + 1));
}

fn read_preference(from: &mut Reader<'_>) -> Result<Option<Preference>, Unreadable> {
    let place: usize = from.small()?;
    match place.checked_sub(1) {
        None => Ok(None),
        Some(place) => Preference::ALL.get(place).copied().map(Some).ok_or(Unreadable),
    }
}

/// Those backends of which something is known; each place counts from the one before it.
fn put_health(out: &mut Writer, health: &[BackendHealth]) {
    let known = || health.iter().enumerate().filter(|(_, one)| one.headroom != Headroom::default() || one.wait.is_some());
    out.number(known().count() as u64);
    let mut next = 0;
    for (place, one) in known() {
        out.number((place - next) as u64);
        next = place + 1;
        out.number(u64::from(one.headroom.left));
        out.option(one.headroom.tokens, Writer::tokens);
        out.option(one.wait, |out, wait| {
            out.number(u64::from(wait.mean_ms));
            out.number(u64::from(wait.spread_ms));
        });
    }
}

fn read_health(from: &mut Reader<'_>, health: &mut Vec<BackendHealth>, snapshot: &Snapshot) -> Result<(), Unreadable> {
    let mut next = 0;
    for _ in 0..from.number()? {
        let place = from.number()?.saturating_add(next);
        next = place.saturating_add(1);
        let place = usize::try_from(place).ok().filter(|place| *place < snapshot.backends().len()).ok_or(Unreadable)?;
        if health.len() <= place {
            health.resize(place + 1, BackendHealth::default());
        }
        health[place].headroom = Headroom { left: from.small()?, tokens: from.option(|from| from.number().map(Tokens::new))? };
        health[place].wait = from.option(|from| Ok(Wait { mean_ms: from.small()?, spread_ms: from.small()? }))?;
    }
    Ok(())
}

fn put_caps(out: &mut Writer, caps: &Caps) {
    out.number(caps.all().len() as u64);
    for cap in caps.all() {
        out.byte(place_of(&cap.by, &ShareBy::WORDS));
        out.byte(place_of(&cap.of, &ShareOf::WORDS));
        out.byte(place_of(&cap.kind, &ShareKind::WORDS));
        out.text(&cap.name);
        out.byte(cap.percent);
        out.sixteen(cap.inside);
        out.sixteen(cap.total);
        out.byte(u8::from(cap.closed));
        out.number(u64::from(cap.pressure));
    }
}

fn read_caps(from: &mut Reader<'_>, snapshot: &Snapshot) -> Result<Caps, Unreadable> {
    let count: usize = from.small()?;
    if count > MOST_CAPS {
        return Err(Unreadable);
    }
    let cap = |from: &mut Reader<'_>| {
        Ok(Cap {
            by: at_place(from.byte()?, &ShareBy::WORDS)?,
            of: at_place(from.byte()?, &ShareOf::WORDS)?,
            kind: at_place(from.byte()?, &ShareKind::WORDS)?,
            name: from.text()?,
            percent: from.byte()?,
            inside: from.sixteen()?,
            total: from.sixteen()?,
            closed: from.truth()?,
            pressure: from.small()?,
        })
    };
    let caps = (0..count).map(|_| cap(from)).collect::<Result<Vec<_>, _>>()?;
    Ok(Caps::of(caps, snapshot))
}

/// The place of a value among all of its kind.
fn place_of<T: PartialEq>(value: &T, all: &[(T, &str)]) -> u8 {
    all.iter().zip(0..).find(|((known, _), _)| known == value).map_or(0, |(_, place)| place)
}

fn at_place<T: Copy>(place: u8, all: &[(T, &str)]) -> Result<T, Unreadable> {
    all.get(usize::from(place)).map(|(value, _)| *value).ok_or(Unreadable)
}
