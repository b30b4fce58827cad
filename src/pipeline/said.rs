//! Whether a plan that begins with somebody who is asked in other words than the client's can be said to whom it asks, and what is
//! planned instead where it cannot. Only then, since reading a whole conversation takes as long as all the rest.

use std::sync::Arc;

use super::{Pipeline, PipelineSettings};
use crate::canonical::{Parameters, Untranslatable};
use crate::catalog::BackendIndex;
use crate::dispatch::{Wording, Written};
use crate::route::{self, Ask, Decision, Facts, Plan, PlanError, Rule, Whole};

/// A decision that can be said.
pub(super) struct Said<P> {
    pub(super) planned: Result<P, PlanError>,
    /// What it was made for, where that is less than was first asked.
    pub(super) ask: Option<Ask>,
    /// Why another one was not kept.
    pub(super) why: Option<Untranslatable>,
    /// What the first one who can be told is sent, where it had to be written to know that.
    pub(super) written: Option<Box<Written>>,
}

impl<P> Said<P> {
    pub(super) const fn as_planned(planned: Result<P, PlanError>) -> Self {
        Self { planned, ask: None, why: None, written: None }
    }
}

impl Pipeline {
    /// What is asked, in words in which it can be; explored only where that is paid for. With the facts that it was decided from.
    pub(super) fn said<'a>(
        &self,
        mut facts: Facts<'a>,
        settings: &PipelineSettings,
        wording: &Wording<'_>,
    ) -> (Facts<'a>, Said<Arc<Plan>>) {
        let mut planned = route::plan(&facts);
        if let Ok(plan) = &planned
            && !self.may_explore(plan, settings)
        {
            facts.explore = None;
            planned = route::plan(&facts);
        }
        let said = match planned {
            Ok(plan) if rewords(&plan, &facts, wording) => settled(plan, &facts, wording, |plan| plan, route::plan),
            planned => Said::as_planned(planned),
        };
        (facts, said)
    }
}

/// Where more than so many cannot be told a request, those that speak the client's shape are asked: to look costs writing it.
const MOST_MUTE: usize = 24;

impl Said<Whole> {
    /// The decision in words, with what cannot be said to those who are left out for that.
    pub(super) fn told(&self, facts: &Facts<'_>, wording: &Wording<'_>) -> Decision {
        let mut decision = Decision::of(self.planned.as_ref(), facts.snapshot);
        let named = |id: &str| facts.snapshot.backend_named(id).map(|backend| backend.index);
        for refusal in &mut decision.rejected {
            let unsaid = match refusal.rule {
                rule if rule == Rule::LeavesOut.word() => named(&refusal.backend).and_then(|index| wording.unsaid(index)),
                rule if rule == Rule::DialectUnsupported.word() => self.why.clone(),
                _ => None,
            };
            if let Some(unsaid) = unsaid {
                refusal.why = format!("{}: {unsaid}", refusal.why);
            }
        }
        decision
    }
}

/// Whether the first attempt is asked in other words than the client's, or without some that a strict one wants said: of a later one
/// it is soon enough to know when it is made.
pub(super) fn rewords(plan: &Plan, facts: &Facts<'_>, wording: &Wording<'_>) -> bool {
    let reworded = |backend: BackendIndex| {
        facts.board.row(backend).rewords(facts.ask.manner()) || wording.refuses(backend) || wording.retells(backend)
    };
    facts.ask.translated && plan.root.attempts().next().is_some_and(|attempt| reworded(attempt.backend))
}

/// Decides anew, for less, until what is decided can be said. Each time fewer may be asked, so it ends.
pub(super) fn settled<P>(
    planned: P,
    facts: &Facts<'_>,
    wording: &Wording<'_>,
    plan_of: fn(&P) -> &Plan,
    decide: impl Fn(&Facts<'_>) -> Result<P, PlanError>,
) -> Said<P> {
    let mut said = Said::as_planned(Ok(planned));
    loop {
        let now = Facts { ask: said.ask.as_ref().unwrap_or(facts.ask), ..facts.clone() };
        let Some(plan) = said.planned.as_ref().ok().map(plan_of).filter(|plan| rewords(plan, &now, wording)) else { return said };
        let (ask, why) = match look(plan, &now, wording) {
            Ok(written) => {
                said.written = written;
                return said;
            }
            Err(less) => *less,
        };
        said.planned = decide(&Facts { ask: &ask, ..now });
        said.ask = Some(ask);
        said.why = said.why.or(why);
    }
}

/// What is asked instead, and why.
type Less = (Ask, Option<Untranslatable>);

/// What the first one who can be told is sent; or what is to be asked instead, and why.
fn look(plan: &Plan, facts: &Facts<'_>, wording: &Wording<'_>) -> Result<Option<Box<Written>>, Box<Less>> {
    let ask = facts.ask;
    let own_words = |why| Box::new((Ask { translated: false, ..ask.clone() }, why));
    let members = &wording.request.members;
    if (wording.strict || members.begun || !members.rare.is_empty()) && ask.unsaid.is_empty() {
        let unsaid = unsaid(facts, wording);
        let mute = |backend| unsaid.binary_search_by_key(&backend, |(index, _)| *index).is_ok();
        if let Some(first) = plan.root.attempts().find(|attempt| mute(attempt.backend)) {
            let why = wording.first_of(std::iter::once(first)).err().flatten();
            return Err(Box::new((Ask { unsaid, ..ask.clone() }, why)));
        }
    }
    if (!wording.strict || !ask.unsaid.is_empty())
        && let Err(why) = wording.translation.conversation(true)
    {
        return Err(own_words(Some(why)));
    }
    wording.first_of(plan.root.attempts()).map_err(|why| {
        if ask.unsaid.len() > MOST_MUTE {
            return own_words(why);
        }
        // None of these can be told it; others may have words for it.
        let mute = plan.root.attempts().map(|attempt| (attempt.backend, Parameters::NONE));
        let mut unsaid: Vec<_> = ask.unsaid.iter().copied().chain(mute).collect();
        unsaid.sort_unstable_by_key(|(index, _)| *index);
        Box::new((Ask { unsaid, ..ask.clone() }, why))
    })
}

/// Whoever can be asked and would not be told all, by the index; of what a client may do without only where it is strict.
fn unsaid(facts: &Facts<'_>, wording: &Wording<'_>) -> Vec<(BackendIndex, Parameters)> {
    let ready = facts.usable.ready().iter();
    let lost = |index| {
        if wording.strict { wording.leaves_out(index) } else { wording.refuses(index).then_some(Parameters::NONE) }
    };
    ready.filter_map(|index| lost(*index).map(|lost| (*index, lost))).collect()
}
