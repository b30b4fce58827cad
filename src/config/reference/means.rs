//! Entries of what a key, a team, a project and the whole gateway may spend and ask: the same for each.

use std::ops::RangeInclusive;

use super::Group;
use super::limits::limits;
use crate::config::means::{Amounts, HasMeans, Raw, Zone};
use crate::config::reference::ALIAS_TARGET;
use crate::config::setting::{Dollars, Maybe, Setting, Text, Word, setting, whole};
use crate::policy::{BudgetWindow, WhenEmpty};

/// What they have in common.
pub(super) fn means<S: HasMeans>() -> Vec<Setting<S>> {
    vec![
        setting("budget_usd", Maybe(Dollars), |s: &mut S| &mut s.means().budget)
            .means("What all requests together may cost.")
            .unset("no bound", "25.00"),
        setting("budget_window", Word(&BudgetWindow::WORDS), |s: &mut S| &mut s.means().window)
            .means("When the budget begins anew, by the clocks of `budget_zone`; a week on Monday, a total one never."),
        setting("budgets", Amounts, |s: &mut S| &mut s.means().budgets)
            .means("Further budgets in other windows, all of which hold.")
            .unset("none", "{ hour = 1.00, week = 10.00 }"),
        setting("budget_zone", Zone, |s: &mut S| &mut s.means().zone)
            .means("By whose clocks hours, days, weeks and months begin."),
        setting("when_empty", Maybe(Word(&WhenEmpty::WORDS)), |s: &mut S| &mut s.means().brown_out.when_empty)
            .means(
                "What becomes of a request that a budget does not bear: \"refuse\" it; \"shorten\" its answer to what the budget bears, \
                 where that is twice what is expected of it at least; or \"degrade\" it to `degrade_to` where that does not do. The \
                 narrowest level that says so counts.",
            )
            .unset("\"shorten\" where the client bounds its answer by nothing, else \"refuse\"", "\"degrade\""),
        setting("degrade_to", Maybe(Text(ALIAS_TARGET)), |s: &mut S| &mut s.means().brown_out.to)
            .means("What serves then, at no wished quality: within what the key may ask for and what is left of every budget.")
            .unset("auto:economy", "\"auto:economy\""),
        setting("degrade_below_percent", Maybe(whole(0..=100)), |s: &mut S| &mut s.means().brown_out.below_percent)
            .means("Degrade already while less than this share of a budget is left.")
            .unset("0", "10"),
        setting("requests_per_minute", Maybe(whole(RATES)), |s: &mut S| &mut s.means().rates.requests_per_minute)
            .means("Requests per minute: a minute's worth may come at once and comes back evenly. Further ones get 429 with `retry-after`.")
            .unset("no limit", "600"),
        setting("tokens_per_minute", Maybe(whole(RATES)), |s: &mut S| &mut s.means().rates.tokens_per_minute)
            .means("The same for tokens, input and output together: as estimated when a request is let in, set right when it ends.")
            .unset("no limit", "200000"),
    ]
}

/// What may be asked in a minute.
const RATES: RangeInclusive<u64> = 1..=1_000_000_000;

/// The same, and how many requests may be under way.
pub(super) fn means_at_once<S: HasMeans>() -> Vec<Setting<S>> {
    let at_once = setting("max_concurrent_requests", Maybe(whole(1..=1_000_000)), |s: &mut S| &mut s.means().rates.at_once)
        .means("Requests under way; further ones get 429.")
        .unset("no limit but that of [limits]", "8");
    means().into_iter().chain([at_once]).collect()
}

/// What may be asked for too.
fn all_at_once() -> Vec<Setting<Raw>> {
    limits().into_iter().chain(means_at_once()).collect()
}

/// `[teams.NAME]`, once for each team; what `[projects.NAME]` holds is the same.
pub(crate) fn team() -> Group<Raw> {
    let about = "What the keys that name this team (`team` in [keys.NAME]) may spend and ask together, and what each of them may ask for, \
                 beside what each may by itself: the strictest of key, project, team and gateway counts, of lists what stands in all.";
    Group { name: "teams.NAME", about, settings: all_at_once() }
}

/// `[projects.NAME]`, once for each project.
pub(crate) fn project() -> Group<Raw> {
    let about = "The same for the keys that name this project (`project` in [keys.NAME]), of whatever team.";
    Group { name: "projects.NAME", about, settings: all_at_once() }
}

/// `[gateway]`.
pub(crate) fn gateway() -> Group<Raw> {
    Group {
        name: "gateway",
        about: "What all keys may spend and ask together, and everybody where none is asked for; and what anybody may ask for.",
        settings: limits().into_iter().chain(means()).collect(),
    }
}
