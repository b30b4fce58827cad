//! What is said of a request that nobody can serve, and of a model that is asked for something else than it serves: which models
//! serve that.

use std::collections::BTreeSet;
use std::fmt;

use super::{Admitted, GatewayError, NotAllowed, bounds};
use crate::canonical::{Direct, Untranslatable};
use crate::route::{Decision, PlanError, Target, Unfit};

/// So many models are named.
const NAMED: usize = 10;

/// Why a request has no plan. `unsaid` is why it could not be said to those who would have been asked.
pub(super) fn no_plan(admitted: &Admitted, error: PlanError, unsaid: Option<Untranslatable>) -> GatewayError {
    let for_good = !error.is_passing();
    let unpriced = || unsaid.is_some() || error.rejected().iter().any(|(_, unfit)| *unfit == Unfit::OwnWordsUnpriced);
    if for_good && admitted.other_words_only && unpriced() {
        return bounds::hosted(unsaid.as_ref()).into();
    }
    if let Some(unsaid) = unsaid.filter(|_| for_good) {
        return GatewayError::Untranslatable(unsaid);
    }
    if let Some(other) = NotServed::of(admitted) {
        return GatewayError::NotServed(other);
    }
    if let Some(forbidden) = NotAllowed::of(admitted) {
        return GatewayError::NotAllowed(forbidden);
    }
    let decision = Box::new(Decision::of(Err(&error), &admitted.market().snapshot));
    GatewayError::NoPlan { error, decision }
}

/// A model that does not serve what it is asked for.
#[derive(Debug)]
pub struct NotServed {
    model: String,
    direct: &'static Direct,
    /// Models that can be asked for it, in the order of their names.
    serving: BTreeSet<String>,
}

impl NotServed {
    /// `None` where the model serves what it is asked for, or is asked in a conversation.
    pub(super) fn of(admitted: &Admitted) -> Option<Self> {
        let Admitted { request, target, .. } = admitted;
        let (direct, market) = (request.shape.direct()?, admitted.market());
        let table = &market.snapshot;
        let does = |index| table.backend(index).serves.is_some_and(|other| other.shape == direct.shape);
        let served = match target {
            Target::Backend(index) => does(*index),
            Target::Model(name) => table.serving(name).iter().any(|index| does(*index)),
            Target::Auto(_) => true,
        };
        let able = market.usable().ready().iter().filter(|index| does(**index));
        let serving = able.map(|index| table.backend(*index).model.clone()).collect();
        (!served).then(|| Self { model: request.model.clone(), direct, serving })
    }
}

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, direct, serving } = self;
        write!(f, "`{model}` does not serve {}", direct.word)?;
        if serving.is_empty() {
            return write!(f, ", and no other model here does: a row of the table with serves = {:?} would", direct.word);
        }
        let named: Vec<&str> = serving.iter().take(NAMED).map(String::as_str).collect();
        write!(f, "; these models do: {}", named.join(", "))?;
        let more = serving.len() - named.len();
        if more > 0 { write!(f, ", and {more} more") } else { Ok(()) }
    }
}
