//! Caps on shares, as a decision meets them: who is inside each, how it stands, and what follows for a candidate.
//!
//! A closed hard cap refuses whoever is inside. A soft one makes them dearer by a share of their expected cost that grows
//! with its pressure (how much of the cap is used): nothing up to four fifths of the cap, as much again as the request
//! costs at the cap, and on in the same curve, `((pressure - 0.8) / 0.2)²`. A curve without a step moves traffic away
//! before the cap is reached, and no further than prices say: where the next provider is 2 % dearer, the share settles at
//! 83 % of the cap; where it costs twice as much, at the cap. A soft cap is thus exceeded only by what is worth it.
//!
//! What a cap cost is the expected cost of the choice less that of the one which would have been chosen without any cap.
//! It is told for the cap that stood against that one: a closed one before a dear one.
//!
//! Shares are counted elsewhere, and so is the play that keeps two nearly equal providers from taking turns at every
//! request. Nothing is remembered here.

use crate::catalog::{BackendIndex, Provider, ProviderIndex, Snapshot};
use crate::units::{ShareBy, ShareKind, ShareOf, Usd};

/// Millionths in one.
const ONE: u64 = 1_000_000;
/// The pressure from which a soft cap counts.
const FROM: u64 = 800_000;
/// As many caps as a decision looks at; more are not configured.
pub const MOST_CAPS: usize = 32;

/// One cap and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    pub by: ShareBy,
    /// The provider's id, the owner's name or the law's code.
    pub name: String,
    /// Of all that goes through.
    pub percent: u8,
    pub of: ShareOf,
    pub kind: ShareKind,
    /// What those inside have in the window: 10⁻¹² dollars, or requests.
    pub inside: i128,
    /// What the share is of.
    pub total: i128,
    /// A hard cap that lets nobody in.
    pub closed: bool,
    /// How much of the cap is used, in millionths.
    pub pressure: u32,
}

impl Cap {
    /// What being inside adds to a cost, in millionths of it.
    pub fn penalty(&self) -> u64 {
        match self.kind {
            ShareKind::Hard => 0,
            ShareKind::Soft => {
                let beyond = u64::from(self.pressure).saturating_sub(FROM);
                beyond * beyond / ((ONE - FROM) * (ONE - FROM) / ONE)
            }
        }
    }

    /// The share in millionths.
    pub fn share(&self) -> u32 {
        let millionths = self.inside.saturating_mul(i128::from(ONE)).checked_div(self.total).unwrap_or(0);
        u32::try_from(millionths.clamp(0, i128::from(ONE))).unwrap_or(0)
    }
}

/// Whether a provider is inside a cap.
pub fn covers(by: ShareBy, name: &str, provider: &Provider) -> bool {
    let own = match by {
        ShareBy::Provider => &provider.id,
        ShareBy::Owner => &provider.owner,
        ShareBy::Jurisdiction => &provider.jurisdiction,
    };
    own == name
}

/// Every cap in force, and who is inside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caps {
    caps: Vec<Cap>,
    /// By [`ProviderIndex`]: a bit for each cap that covers it.
    members: Vec<u32>,
}

impl Caps {
    /// No cap at all.
    pub const NONE: Caps = Caps { caps: Vec::new(), members: Vec::new() };

    /// Looks up who is inside. Of more than [`MOST_CAPS`] the rest is dropped.
    pub fn of(mut caps: Vec<Cap>, snapshot: &Snapshot) -> Self {
        caps.truncate(MOST_CAPS);
        if caps.is_empty() {
            return Self::NONE;
        }
        let bits = |provider: &Provider| {
            let inside = caps.iter().enumerate().filter(|(_, cap)| covers(cap.by, &cap.name, provider));
            inside.fold(0, |bits, (place, _)| bits | 1_u32 << place)
        };
        Self { members: snapshot.providers().iter().map(bits).collect(), caps }
    }

    /// The caps, in their order.
    pub fn all(&self) -> &[Cap] {
        &self.caps
    }

    /// What the caps say about one provider.
    pub fn on(&self, ProviderIndex(provider): ProviderIndex) -> Ruling {
        let bits = self.members.get(provider as usize).copied().unwrap_or(0);
        if bits == 0 {
            return Ruling::default();
        }
        let inside = || self.caps.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
        let closed = inside().find(|(_, cap)| cap.closed).map(|(place, _)| place);
        let dearest = inside().filter(|(_, cap)| cap.penalty() > 0).max_by_key(|(_, cap)| cap.penalty());
        Ruling {
            closed: closed.and_then(|place| u8::try_from(place).ok()),
            dearest: dearest.and_then(|(place, _)| u8::try_from(place).ok()),
            penalty: inside().map(|(_, cap)| cap.penalty()).sum(),
        }
    }
}

/// What the caps say about one provider. Caps are told by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ruling {
    /// The closed cap that refuses it.
    pub closed: Option<u8>,
    /// The soft cap that makes it dearest.
    pub dearest: Option<u8>,
    /// What all soft caps add to its cost, in millionths of it.
    pub penalty: u64,
}

/// What caps did to a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapCost {
    /// The cap that stood against it.
    pub cap: Cap,
    /// What would have been chosen without caps.
    pub instead_of: BackendIndex,
    /// What that was expected to cost.
    pub expected: Usd,
    /// How much more the choice is expected to cost; below zero where it costs less and is chosen for its lower risk.
    pub more: Usd,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    use super::super::testing::{Spec, table};
    use super::*;
    use crate::policy::{Portfolio, ShareCap};

    fn cap(kind: ShareKind, pressure: u32, closed: bool) -> Cap {
        let (by, name, of) = (ShareBy::Provider, "north".to_owned(), ShareOf::Spend);
        Cap { by, name, percent: 60, of, kind, inside: 0, total: 1, closed, pressure }
    }

    #[test]
    fn a_soft_cap_costs_nothing_at_first_and_as_much_again_at_the_cap() {
        let penalty = |pressure| cap(ShareKind::Soft, pressure, false).penalty();
        assert_eq!(
            [0, 800_000, 828_284, 900_000, 1_000_000, 1_400_000].map(penalty),
            [0, 0, 19_999, 250_000, 1_000_000, 9_000_000]
        );
        assert_eq!(cap(ShareKind::Hard, 2_000_000, true).penalty(), 0);
    }

    #[test]
    fn who_is_inside_is_said_by_id_owner_or_law() {
        let snapshot = table(&["north/a", "south/a", "east/a"].map(Spec::named));
        let caps = |by, name: &str| Caps::of(vec![Cap { by, name: name.into(), ..cap(ShareKind::Hard, 0, true) }], &snapshot);
        let inside = |caps: Caps| [0, 1, 2].map(|n| caps.on(ProviderIndex(n)).closed.is_some());
        assert_eq!(inside(caps(ShareBy::Provider, "south")), [false, true, false]);
        assert_eq!(inside(caps(ShareBy::Owner, "east")), [false, false, true]);
        assert_eq!(inside(caps(ShareBy::Jurisdiction, "US")), [true, true, true]);
        assert_eq!(inside(caps(ShareBy::Jurisdiction, "north")), [false, false, false]);
        assert_eq!(Caps::NONE.on(ProviderIndex(7)), Ruling::default());
    }

    #[test]
    fn several_caps_add_up_and_a_closed_one_is_named() {
        let snapshot = table(&[Spec::named("north/a")]);
        let soft = |pressure| cap(ShareKind::Soft, pressure, false);
        let all = vec![soft(900_000), cap(ShareKind::Hard, 0, false), soft(1_000_000), cap(ShareKind::Hard, 0, true)];
        let ruling = Caps::of(all, &snapshot).on(ProviderIndex(0));
        assert_eq!(ruling, Ruling { closed: Some(3), dearest: Some(2), penalty: 1_250_000 });
    }

    /// What came of a virtual day with two providers.
    struct Day {
        /// The share of the first in thousandths, after each request of the second half.
        shares: Vec<i128>,
        /// How often the choice was another than before.
        switches: usize,
    }

    /// Sends 6,000 requests of a cent to whichever costs less after its penalty; `dearer` is in millionths.
    fn day(kind: ShareKind, percent: u8, dearer: u64, open: usize) -> Day {
        let snapshot = table(&["north/a", "south/a"].map(Spec::named));
        let start: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let (by, name, of, minimum) = (ShareBy::Provider, "north".to_owned(), ShareOf::Spend, 1_000_000_000_000);
        let rule = ShareCap { by, name: name.clone(), percent, of, kind, window_seconds: 86_400, least: minimum };
        let portfolio = Arc::<Portfolio>::default();
        portfolio.bind(vec![(rule, vec![name.clone()])], start);
        let (mut under_way, mut last, mut day) = (std::collections::VecDeque::new(), None, Day { shares: vec![], switches: 0 });
        for n in 0..6000 {
            let now = start + SignedDuration::from_secs(n * 14);
            let (_, standing) = portfolio.standings(now)[0].clone();
            let (inside, total, closed, pressure) = (standing.inside, standing.total, standing.closed, standing.pressure);
            let cap = Cap { by, name: name.clone(), percent, of, kind, inside, total, closed, pressure };
            let ruling = Caps::of(vec![cap], &snapshot).on(ProviderIndex(0));
            let north = ruling.closed.is_none() && ruling.penalty <= dearer;
            let (provider, cents) = if north { ("north", 1_000_000) } else { ("south", 1_000_000 + dearer) };
            let cost = Usd::from_pico(i128::from(cents) * 10_000);
            under_way.push_back((portfolio.hold(provider, cost, cost, now).unwrap(), cost));
            if under_way.len() > open {
                let (hold, cost) = under_way.pop_front().unwrap();
                hold.settle(cost, now);
            }
            day.switches += usize::from(last.replace(north).is_some_and(|last| last != north));
            if n >= 3000 {
                day.shares.push(inside * 1000 / total);
            }
        }
        day
    }

    /// Expects the share of the first to stay in a range, and few switches.
    fn check(kind: ShareKind, percent: u8, dearer: u64, expected: std::ops::RangeInclusive<i128>, most_switches: usize) {
        for open in [0, 25] {
            let day = day(kind, percent, dearer, open);
            let (least, most) = (day.shares.iter().min().unwrap(), day.shares.iter().max().unwrap());
            let what = format!("{least} to {most} thousandths with {} switches, {open} open", day.switches);
            assert!(expected.contains(least) && expected.contains(most), "{what}");
            assert!((1..=most_switches).contains(&day.switches), "{what}");
        }
    }

    #[test]
    fn shares_settle_below_a_cap_and_providers_take_turns_in_runs() {
        // 2 % dearer: at 83 % of the cap of 60 %, within its play; doubled: at the cap.
        check(ShareKind::Soft, 60, 20_000, 470..=530, 300);
        check(ShareKind::Soft, 60, 1_000_000, 580..=615, 300);
        check(ShareKind::Soft, 30, 500, 230..=260, 300);
        check(ShareKind::Hard, 60, 20_000, 580..=601, 300);
    }

    proptest! {
        #[test]
        fn the_nearer_the_cap_the_dearer(a: u32, b: u32) {
            let penalty = |pressure| cap(ShareKind::Soft, pressure, false).penalty();
            prop_assert!(penalty(a.min(b)) <= penalty(a.max(b)));
        }
    }
}
