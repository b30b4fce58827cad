//! What a seed stands for: who asks what, how patient they are, what breaks, when the gateway dies and how. Worked out
//! before anything runs, so that a storm can be played again with less in it.

use std::collections::BTreeSet;

use super::dice::Dice;
use crate::ledger::SyncPolicy;

/// Ends of what dice are thrown for.
mod purpose {
    pub(super) const SCENE: u64 = 1;
    pub(super) const LIFE: u64 = 2;
    pub(super) const ASKING: u64 = 3;
    pub(super) const DISK: u64 = 4;
}

/// Everything that happens by plan.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) seed: u64,
    pub(super) sync: SyncPolicy,
    pub(super) segment_bytes: u64,
    /// Nobody reports more than the request could cost.
    pub(super) honest: bool,
    /// In millionths of a dollar: of the first two keys each, their team, and the gateway.
    pub(super) limits: [u64; 3],
    /// The last one ends in peace.
    pub(super) lives: Vec<Life>,
}

/// From one start to the next.
#[derive(Debug)]
pub(super) struct Life {
    /// What each client asks, one after the other.
    pub(super) clients: Vec<Vec<Asking>>,
    pub(super) end: End,
    pub(super) faults: Vec<Fault>,
    /// From this event on the disk takes nothing any more, until the gateway dies: streams must not run ahead of it.
    pub(super) hangs_at: Option<u64>,
    /// The first try to start fails after so many transactions of the recovery.
    pub(super) stumbles: Option<usize>,
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All clients are through.
    Peace,
    /// After so many events, with so many hundredths of the write that is under way.
    Kill { after: u64, torn: Option<usize> },
    /// The same, and what was not synced may be lost.
    PowerLoss { after: u64 },
}

impl End {
    /// The number of the event that is the last.
    pub(super) fn fatal(self) -> Option<u64> {
        match self {
            Self::Peace => None,
            Self::Kill { after, .. } | Self::PowerLoss { after } => Some(after),
        }
    }
}

/// Something that breaks for a while, in virtual milliseconds since the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) what: Broken,
    pub(super) from_ms: u64,
    pub(super) for_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// No new file.
    Full,
    /// A write leaves so many hundredths of itself.
    Writes(usize),
    /// Nothing is written and nothing fails.
    Hangs,
    Syncs,
    Store,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    /// Unique in a storm.
    pub(super) number: u64,
    pub(super) key: usize,
    pub(super) model: &'static str,
    pub(super) stream: bool,
    pub(super) wants_usage: bool,
    pub(super) most_output: Option<u64>,
    pub(super) most_cost: Option<&'static str>,
    pub(super) race: bool,
    pub(super) deadline_ms: Option<u64>,
    pub(super) words: u64,
    pub(super) pause_ms: u64,
    pub(super) patience: Patience,
    /// Between two pieces of a stream that it reads.
    pub(super) slow_ms: u64,
}

/// When a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Stays,
    /// So long after it asked, if there is no answer.
    Leaves {
        after_ms: u64,
    },
    /// Having read so many pieces of a stream.
    HasEnough {
        pieces: u64,
    },
}

/// From so many tokens on an answer is long.
pub(super) const LONG: u64 = 1_500;

const MODELS: [&str; 6] = ["jade", "jade", "jade", "auto", "onyx", "north/jade-v3"];

impl Scene {
    /// The storm of a seed, without some of its requests and with at most so many crashes.
    pub(super) fn of(seed: u64, without: &BTreeSet<u64>, crashes: usize) -> Self {
        let mut dice = Dice::of(seed, purpose::SCENE, 0);
        let honest = !dice.chance(15);
        let sync = if dice.chance(50) { SyncPolicy::Always } else { SyncPolicy::Second };
        let planned = if seed.is_multiple_of(3) { 0 } else { dice.size(1, 3) };
        let limits = [(300, 30_000), (500, 60_000), (1_000, 90_000)].map(|(low, high)| dice.between(low, high));
        let segment_bytes = dice.pick(&[1_024, 4_096, 65_536]);
        let broken = dice.chance(35);
        let lives = (0..=planned.min(crashes)).map(|number| {
            let mut end = Self::end(seed, number, planned);
            if number >= crashes {
                end = End::Peace;
            }
            Life::of(seed, number as u64, end, broken, without)
        });
        Self { seed, sync, segment_bytes, honest, limits, lives: lives.collect() }
    }

    fn end(seed: u64, number: usize, crashes: usize) -> End {
        let mut dice = Dice::of(seed, purpose::LIFE, number as u64);
        if number >= crashes {
            return End::Peace;
        }
        let most = dice.pick(&[60, 200, 500]);
        let after = dice.between(1, most);
        let torn = dice.chance(50).then(|| dice.size(0, 99));
        if dice.chance(25) { End::PowerLoss { after } } else { End::Kill { after, torn } }
    }

    pub(super) fn crashes(&self) -> usize {
        self.lives.iter().filter(|life| life.end != End::Peace).count()
    }

    pub(super) fn loses_power(&self) -> bool {
        self.lives.iter().any(|life| matches!(life.end, End::PowerLoss { .. }))
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.lives.iter().flat_map(|life| &life.clients).flatten().map(|asking| asking.number)
    }
}

impl Life {
    fn of(seed: u64, number: u64, end: End, broken: bool, without: &BTreeSet<u64>) -> Self {
        let mut dice = Dice::of(seed, purpose::LIFE, 100 + number);
        let clients = (1..=dice.between(1, 4)).map(|client| {
            let asked = (1..=dice.between(1, 3)).map(|turn| Asking::of(seed, number * 100 + client * 10 + turn));
            asked.filter(|asking| !without.contains(&asking.number)).collect()
        });
        let clients = clients.collect();
        let stumbles = dice.chance(15).then(|| dice.size(0, 2));
        let mut dice = Dice::of(seed, purpose::DISK, number);
        let faults = if broken { (0..dice.between(1, 2)).map(|_| Fault::of(&mut dice)).collect() } else { Vec::new() };
        let mut dice = Dice::of(seed, purpose::DISK, 100 + number);
        let hangs = end.fatal().filter(|_| dice.chance(15));
        let hangs_at = hangs.map(|fatal| fatal.saturating_sub(dice.between(20, 200)).max(1));
        let mut life = Self { clients, end, faults, hangs_at, stumbles };
        if life.hangs_at.is_some() {
            life.clients.iter_mut().flatten().for_each(|asking| asking.streams_at_length(&mut dice));
        }
        life
    }
}

impl Asking {
    /// Only a long stream can get further ahead of the books than the margin of a lost answer covers.
    fn streams_at_length(&mut self, dice: &mut Dice) {
        (self.stream, self.patience, self.slow_ms) = (true, Patience::Stays, 0);
        (self.most_output, self.most_cost) = (Some(dice.between(LONG, 4_000)), None);
    }
}

impl Fault {
    fn of(dice: &mut Dice) -> Self {
        let torn = dice.size(0, 100);
        let what = dice.pick(&[
            Broken::Full,
            Broken::Writes(torn),
            Broken::Hangs,
            Broken::Hangs,
            Broken::Syncs,
            Broken::Store,
            Broken::Store,
        ]);
        Self { what, from_ms: dice.between(0, 3_000), for_ms: dice.between(10, 5_000) }
    }
}

impl Asking {
    fn of(seed: u64, number: u64) -> Self {
        let mut dice = Dice::of(seed, purpose::ASKING, number);
        let patience = match dice.between(0, 9) {
            0 => Patience::Leaves { after_ms: dice.between(0, 3_000) },
            1 | 2 => Patience::HasEnough { pieces: dice.between(0, 12) },
            _ => Patience::Stays,
        };
        Self {
            number,
            key: dice.size(0, 2),
            model: dice.pick(&MODELS),
            stream: dice.chance(65),
            wants_usage: dice.chance(40),
            most_output: dice.chance(75).then(|| if dice.chance(25) { dice.between(LONG, 4_000) } else { dice.between(5, 400) }),
            most_cost: dice.chance(10).then(|| dice.pick(&["0.001", "0.01", "0.1"])),
            race: dice.chance(8),
            deadline_ms: dice.chance(6).then(|| dice.between(100, 3_000)),
            words: dice.between(2, 60),
            pause_ms: dice.between(0, 400),
            patience,
            slow_ms: if dice.chance(20) { dice.between(1, 80) } else { 0 },
        }
    }
}
