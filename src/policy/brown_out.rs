//! What becomes of a request that a budget does not bear as it was asked: it is refused, its answer is bounded shorter, or it is served
//! by something cheaper. Whatever it is, it is held against the same budgets.

use crate::units::Usd;

use super::budget::BudgetReport;

/// The steps that may be taken; each includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhenEmpty {
    Refuse,
    /// The answer may be bounded by what the budget bears, also where the client set a larger bound.
    Shorten,
    /// Something cheaper may serve it.
    Degrade,
}

impl WhenEmpty {
    pub const WORDS: [(WhenEmpty, &'static str); 3] =
        [(WhenEmpty::Refuse, "refuse"), (WhenEmpty::Shorten, "shorten"), (WhenEmpty::Degrade, "degrade")];
}

/// What a key, a project, a team or the gateway says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrownOut {
    /// Where nobody says, an answer is bounded shorter only where its client set no bound.
    pub when_empty: Option<WhenEmpty>,
    /// What serves instead: the name of a model as clients use it.
    pub to: Option<String>,
    /// It serves already while less than so much of a budget is left.
    pub below_percent: Option<u8>,
}

/// What serves where nobody says.
const ECONOMY: &str = "auto:economy";

impl BrownOut {
    /// Takes what this level does not say from the one above it.
    pub fn or(&mut self, above: &BrownOut) {
        self.when_empty = self.when_empty.or(above.when_empty);
        self.to = self.to.take().or_else(|| above.to.clone());
        self.below_percent = self.below_percent.or(above.below_percent);
    }

    /// What serves instead, where something does.
    pub fn degrades_to(&self) -> Option<&str> {
        (self.when_empty == Some(WhenEmpty::Degrade)).then(|| self.to.as_deref().unwrap_or(ECONOMY))
    }

    /// Whether an answer may be bounded shorter than its client asked for.
    pub fn shortens(&self, client_set_a_bound: bool) -> bool {
        self.when_empty.map_or(!client_set_a_bound, |when| when >= WhenEmpty::Shorten)
    }

    /// Whether so little of a budget is left that something cheaper serves already.
    pub fn is_near(&self, budgets: &[BudgetReport]) -> bool {
        let percent = i128::from(self.below_percent.unwrap_or(0));
        let near = |budget: &BudgetReport| budget.left().pico().saturating_mul(100) < budget.limit.pico().saturating_mul(percent);
        budgets.iter().any(near)
    }
}

/// What is left of the emptiest of these; `None` without any.
pub fn least_left(budgets: &[BudgetReport]) -> Option<Usd> {
    budgets.iter().map(BudgetReport::left).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{BudgetWindow, Payer};

    fn report(limit: i128, spent: i128, held: i128) -> BudgetReport {
        let [limit, spent, held] = [limit, spent, held].map(Usd::from_pico);
        let window = BudgetWindow::Day.utc();
        BudgetReport { payer: Payer::Gateway, limit, topped_up: Usd::ZERO, window, spent, held, refills_at: None }
    }

    #[test]
    fn the_narrowest_level_that_says_something_counts() {
        let mut key = BrownOut { to: Some("tiny".into()), ..BrownOut::default() };
        key.or(&BrownOut { when_empty: Some(WhenEmpty::Degrade), to: Some("small".into()), below_percent: Some(10) });
        assert_eq!((key.degrades_to(), key.below_percent), (Some("tiny"), Some(10)));
        let refuses = BrownOut { when_empty: Some(WhenEmpty::Refuse), ..BrownOut::default() };
        let mut key = refuses.clone();
        key.or(&BrownOut { when_empty: Some(WhenEmpty::Degrade), ..BrownOut::default() });
        assert_eq!(key, refuses);
    }

    #[test]
    fn an_answer_is_shortened_unasked_only_where_its_client_set_no_bound() {
        let check = |when_empty, expected: [bool; 2]| {
            let rule = BrownOut { when_empty, ..BrownOut::default() };
            assert_eq!([true, false].map(|bounded| rule.shortens(bounded)), expected, "{when_empty:?}");
        };
        check(None, [false, true]);
        check(Some(WhenEmpty::Refuse), [false, false]);
        check(Some(WhenEmpty::Shorten), [true, true]);
        check(Some(WhenEmpty::Degrade), [true, true]);
    }

    #[test]
    fn a_budget_is_nearly_empty_below_its_share() {
        let rule = BrownOut { below_percent: Some(10), ..BrownOut::default() };
        assert!(!rule.is_near(&[report(100, 80, 10)]) && rule.is_near(&[report(100, 80, 11)]));
        assert!(rule.is_near(&[report(100, 0, 0), report(10, 12, 0)]), "any of them");
        assert!(!BrownOut::default().is_near(&[report(100, 100, 0)]), "where nobody asks for it");
        assert_eq!(least_left(&[report(100, 0, 0), report(10, 12, 0)]), Some(Usd::ZERO));
    }
}
