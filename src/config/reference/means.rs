//! Entries of what a key, a team, a project and the whole gateway may spend: the same for each.

use super::Group;
use crate::config::means::{Amounts, HasMeans, Raw, Zone};
use crate::config::setting::{Dollars, Maybe, Setting, Word, setting};
use crate::policy::BudgetWindow;

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
    ]
}

/// `[teams.NAME]`, once for each team; what `[projects.NAME]` holds is the same.
pub(crate) fn team() -> Group<Raw> {
    let about = "What the keys that name this team (`team` in [keys.NAME]) may spend together, beside what each may by itself. \
                 After a restart it counts what keys spent that are in the team then.";
    Group { name: "teams.NAME", about, settings: means() }
}

/// `[projects.NAME]`, once for each project.
pub(crate) fn project() -> Group<Raw> {
    let about = "The same for the keys that name this project (`project` in [keys.NAME]), of whatever team.";
    Group { name: "projects.NAME", about, settings: means() }
}

/// `[gateway]`.
pub(crate) fn gateway() -> Group<Raw> {
    Group {
        name: "gateway",
        about: "What all keys may spend together, and everybody where none is asked for.",
        settings: means(),
    }
}
