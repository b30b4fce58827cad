//! What was learned, as bytes: the figures a decision used, of answers and of caches. Results only: no hash of a prompt and
//! no histogram is kept.

use super::super::affinity::{Affinity, Session, Warm};
use super::super::learned::{LearnedOutput, OutputFigures, OutputStretch};
use super::{Reader, Unreadable, WITH_SPREAD, Writer};
use crate::catalog::{BackendIndex, Snapshot};
use crate::units::Tokens;

/// Each set of figures with its spread and the backends it is of; each place counts from the one before it.
pub(super) fn put_output(out: &mut Writer, learned: &LearnedOutput) {
    let known = learned.known();
    let alike = || known.chunk_by(|one, next| one.0 == next.0);
    out.number(alike().count() as u64);
    for theirs in alike() {
        let (_, first) = theirs[0];
        let OutputFigures { mean, reasoning, p50, p90 } = learned.of(first).copied().unwrap_or_default();
        for tokens in [mean, reasoning, p50, p90] {
            out.tokens(tokens);
        }
        let spread = learned.spread_of(first);
        out.number(spread.clone().count() as u64);
        for OutputStretch { share, mean } in spread {
            out.number(u64::from(share));
            out.tokens(mean);
        }
        out.number(theirs.len() as u64);
        let mut next = 0;
        for (_, BackendIndex(n)) in theirs {
            out.number(u64::from(n - next));
            next = n + 1;
        }
    }
}

pub(super) fn read_output(from: &mut Reader<'_>, snapshot: &Snapshot, format: u8) -> Result<LearnedOutput, Unreadable> {
    let mut learned = LearnedOutput::default();
    for _ in 0..from.number()? {
        let mut tokens = || from.tokens();
        let figures = OutputFigures { mean: tokens()?, reasoning: tokens()?, p50: tokens()?, p90: tokens()? };
        let spread = if format < WITH_SPREAD { Vec::new() } else { read_spread(from)? };
        let (mut backends, mut next) = (Vec::new(), 0_u64);
        for _ in 0..from.number()? {
            let place = next.saturating_add(from.number()?);
            backends.push(index(place, snapshot)?);
            next = place + 1;
        }
        learned.set(backends, figures, spread);
    }
    Ok(learned)
}

/// Stretches whose shares are the whole, or none.
fn read_spread(from: &mut Reader<'_>) -> Result<Vec<OutputStretch>, Unreadable> {
    let (mut spread, mut left) = (Vec::new(), OutputStretch::WHOLE);
    for _ in 0..from.number()? {
        let stretch = OutputStretch { share: from.small()?, mean: from.tokens()? };
        left = left.checked_sub(stretch.share).ok_or(Unreadable)?;
        spread.push(stretch);
    }
    if spread.is_empty() || left == 0 { Ok(spread) } else { Err(Unreadable) }
}

pub(super) fn put_affinity(out: &mut Writer, affinity: &Affinity) {
    out.number(affinity.warm.len() as u64);
    for Warm { backend, known, likely } in &affinity.warm {
        out.number(u64::from(backend.0));
        out.tokens(*known);
        out.tokens(*likely);
    }
    out.number(u64::from(affinity.marked));
    out.option(affinity.session.as_ref(), |out, session| {
        out.number(u64::from(session.home.0));
        out.number(u64::from(session.turn));
        out.number(session.remaining);
        out.number(u64::from(session.rate));
        out.number(session.rates.len() as u64);
        for (backend, rate) in &session.rates {
            out.number(u64::from(backend.0));
            out.number(u64::from(*rate));
        }
    });
}

pub(super) fn read_affinity(from: &mut Reader<'_>, snapshot: &Snapshot) -> Result<Affinity, Unreadable> {
    let mut warm = Vec::new();
    for _ in 0..from.number()? {
        warm.push(Warm { backend: index(from.number()?, snapshot)?, known: from.tokens()?, likely: from.tokens()? });
    }
    Ok(Affinity { warm, marked: from.small()?, session: from.option(|from| read_session(from, snapshot))? })
}

fn read_session(from: &mut Reader<'_>, snapshot: &Snapshot) -> Result<Session, Unreadable> {
    let home = index(from.number()?, snapshot)?;
    let (turn, remaining, rate) = (from.small()?, from.number()?, from.small()?);
    let mut rates = Vec::new();
    for _ in 0..from.number()? {
        rates.push((index(from.number()?, snapshot)?, from.small()?));
    }
    Ok(Session { home, sealed: false, turn, remaining, rates, rate })
}

/// What the first format knew of a warm prompt: one backend, by its id, and its tokens.
pub(super) fn read_first_affinity(from: &mut Reader<'_>, snapshot: &Snapshot) -> Result<Affinity, Unreadable> {
    let warm = from.option(|from| Ok((from.text()?, from.tokens()?)))?;
    let of = |(id, tokens): (String, Tokens)| {
        let backend = snapshot.backend_named(&id)?.index;
        Some(Warm { backend, known: tokens, likely: tokens })
    };
    Ok(Affinity { warm: warm.and_then(of).into_iter().collect(), ..Affinity::default() })
}

fn index(place: u64, snapshot: &Snapshot) -> Result<BackendIndex, Unreadable> {
    let fits = u32::try_from(place).ok().filter(|place| (*place as usize) < snapshot.backends().len());
    fits.map(BackendIndex).ok_or(Unreadable)
}
