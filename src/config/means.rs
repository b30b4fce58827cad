//! What a key, a project, a team or the whole gateway may ask for and spend, how often it may ask, and what is wished for its
//! requests, as the file tells it: the same settings for each, but that requests of the whole gateway at once are `[limits]`.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::keys::{NAME_SHAPE, is_key_name};
use super::reference;
use super::setting::{Dollars, Kind};
use crate::canonical::Wishes;
use crate::document::Section;
use crate::policy::{Bound, BrownOut, BudgetWindow, KeyLimits, Rates};
use crate::units::Usd;

/// What may be spent and asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Means {
    /// What may be asked for.
    pub limits: KeyLimits,
    /// What requests wish that do not say so themselves.
    pub wishes: Wishes,
    /// What becomes of those that a budget does not bear.
    pub brown_out: BrownOut,
    /// In which window how much, each window once.
    pub budgets: Vec<Bound>,
    pub rates: Rates,
}

/// The settings as they are written, each value by itself.
pub(super) struct Raw {
    pub(super) limits: KeyLimits,
    pub(super) models: Vec<String>,
    pub(super) wishes: Wishes,
    pub(super) brown_out: BrownOut,
    pub(super) budget: Option<Usd>,
    pub(super) window: BudgetWindow,
    pub(super) budgets: BTreeMap<BudgetWindow, Usd>,
    pub(super) zone: TimeZone,
    pub(super) rates: Rates,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            limits: KeyLimits::default(),
            models: Vec::new(),
            wishes: Wishes::default(),
            brown_out: BrownOut::default(),
            budget: None,
            window: BudgetWindow::Month,
            budgets: BTreeMap::new(),
            zone: TimeZone::UTC,
            rates: Rates::default(),
        }
    }
}

impl Raw {
    /// What they come to together.
    pub(super) fn judged(self, section: &Section<'_, '_>) -> Means {
        let Self { limits, models, wishes, brown_out, budget, window, mut budgets, zone, rates } = self;
        let models = if models.is_empty() { Vec::new() } else { vec![models] };
        let limits = KeyLimits { models, ..limits };
        if let Some(both) = limits.providers.iter().find(|provider| limits.excluded_providers.contains(provider)) {
            section.problem(
                "exclude_providers",
                format!("{both:?} is allowed and excluded"),
                "each provider in one of the lists",
            );
        }
        if section.has("budget_window") && !section.has("budget_usd") {
            section.problem("budget_usd", "missing beside `budget_window`", "an amount in US dollars, such as 25.00");
        }
        if section.has("budget_zone") && !section.has("budget_usd") && !section.has("budgets") {
            section.problem("budget_usd", "missing beside `budget_zone`", "an amount in US dollars, or `budgets`");
        }
        if let Some(budget) = budget
            && budgets.insert(window, budget).is_some()
        {
            let wrong = format!("`budget_usd` gives one for the {} too", window.word());
            section.problem("budgets", wrong, "each window once");
        }
        let bound = |(window, limit): (BudgetWindow, Usd)| Bound::new(limit, window.in_zone(zone.clone()));
        Means { limits, wishes, brown_out, budgets: budgets.into_iter().map(bound).collect(), rates }
    }
}

/// What has these settings among its own.
pub(super) trait HasMeans: 'static {
    fn means(&mut self) -> &mut Raw;
}

impl HasMeans for Raw {
    fn means(&mut self) -> &mut Raw {
        self
    }
}

/// Reads `[teams.NAME]` or `[projects.NAME]` for every name.
pub(super) fn read_named(root: &Section<'_, '_>, of: &'static str, what: &str) -> BTreeMap<String, Means> {
    let Some(all) = root.section(of) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for name in all.names() {
        if !is_key_name(name) {
            all.problem(name, format!("{name:?} cannot name {what}"), NAME_SHAPE);
        }
        if let Some(section) = all.named_section(name) {
            let raw = reference::team().read_into(&section);
            found.insert(name.to_owned(), one(section, raw));
        }
    }
    found
}

/// Reads `[gateway]`.
pub(super) fn read_gateway(root: &Section<'_, '_>) -> Means {
    let Some(section) = root.section("gateway") else { return Means::default() };
    let raw = reference::gateway().read_into(&section);
    one(section, raw)
}

fn one(section: Section<'_, '_>, raw: Raw) -> Means {
    let means = raw.judged(&section);
    section.finish();
    means
}

/// Amounts by window.
pub(super) struct Amounts;

impl Kind for Amounts {
    type Value = BTreeMap<BudgetWindow, Usd>;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Self::Value> {
        let inner = section.section(name)?;
        let amount = |(window, word)| Some((window, Dollars.read(&inner, word)?));
        let amounts = BudgetWindow::WORDS.into_iter().filter_map(amount).collect();
        inner.finish();
        Some(amounts)
    }

    fn accepted(&self) -> String {
        let words = BudgetWindow::WORDS.map(|(_, word)| word).join(", ");
        format!("US dollars by window: any of {words}")
    }

    fn written(&self, value: &Self::Value) -> Option<String> {
        let pairs: Vec<String> = value.iter().map(|(window, usd)| format!("{} = {}", window.word(), usd.to_exact())).collect();
        (!pairs.is_empty()).then(|| format!("{{ {} }}", pairs.join(", ")))
    }
}

/// What requests wish that do not say so themselves, by the names that a request has for it.
pub(super) struct DefaultWishes;

impl Kind for DefaultWishes {
    type Value = Wishes;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Wishes> {
        let inner = section.section(name)?;
        let wishes = reference::wishes().read_into(&inner).0;
        let says_training = inner.has("may_train");
        let says_registered = inner.has("registered");
        inner.finish();
        Some(Wishes { says_training, says_registered, ..wishes })
    }

    fn accepted(&self) -> String {
        format!("wishes by name: any of {}", reference::wishes().names().collect::<Vec<_>>().join(", "))
    }

    fn written(&self, _: &Wishes) -> Option<String> {
        None
    }
}

/// Wishes, as the reader fills them.
#[derive(Default)]
pub(super) struct RawWishes(pub(super) Wishes);

/// `false` where data may be trained on, which is what the setting says the other way round.
pub(super) struct MayTrain;

impl Kind for MayTrain {
    type Value = bool;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<bool> {
        section.truth(name).map(|may| !may)
    }

    fn accepted(&self) -> String {
        "true or false".to_owned()
    }

    fn written(&self, value: &bool) -> Option<String> {
        Some((!value).to_string())
    }
}

/// A time zone by its name.
pub(super) struct Zone;

impl Kind for Zone {
    type Value = TimeZone;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<TimeZone> {
        let text = section.text(name)?;
        let zone = TimeZone::get(&text).ok();
        if zone.is_none() {
            section.problem(name, format!("{text:?} is no time zone"), self.accepted());
        }
        zone
    }

    fn accepted(&self) -> String {
        "the name of a time zone, such as \"Europe/Berlin\"".to_owned()
    }

    fn written(&self, value: &TimeZone) -> Option<String> {
        value.iana_name().map(|name| format!("{name:?}"))
    }
}
