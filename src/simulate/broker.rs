//! tokenbroker's own policy in the war: the plan that [`route::plan`](crate::route::plan()) makes, from the facts that a
//! gateway would have at that moment and no others. What it learns of an answer it learns after it, as in service.

use std::time::Duration;

use jiff::Timestamp;

use super::workload::Turn;
use super::world::World;
use crate::catalog::BackendIndex;
use crate::meter::{Estimate, Forecast};
use crate::policy::{LastAnswer, Sessions};
use crate::route::{
    Ask, Facts, InputEstimate, InputTokens, Limits, OutputForecast, Plan, PlanError, Target, Warm, plan,
};
use crate::units::{KeyName, Tokens};

/// A gateway's memory.
#[derive(Debug)]
pub struct Broker {
    sessions: Sessions,
    key: KeyName,
    begun: Timestamp,
}

impl Broker {
    pub fn new(begun: Timestamp) -> Self {
        Self { sessions: Sessions::default(), key: KeyName::new("war"), begun }
    }

    /// The plan of a gateway that remembers.
    pub fn plan(&self, world: &World<'_>, turn: &Turn) -> Result<Plan, PlanError> {
        let session = turn.request.wishes.session.as_deref();
        let last = session.and_then(|session| self.sessions.last(&self.key, session, self.elapsed(turn.at)));
        decide(world, turn, last.map(|last| Warm { backend: last.backend, tokens: last.input }).as_ref())
    }

    /// Learns from an answer.
    pub fn answered(&self, world: &World<'_>, turn: &Turn, backend: BackendIndex, input: u64) {
        if let Some(session) = &turn.request.wishes.session {
            let id = world.snapshot.backend(backend).id.clone();
            let answer = LastAnswer { backend: id, input: Tokens::new(input) };
            self.sessions.answered(&self.key, session, answer, self.elapsed(turn.at));
        }
    }

    fn elapsed(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.begun)).unwrap_or_default()
    }
}

/// The plan of a gateway that knows nothing but table and request: its candidates are the backends that every policy may
/// choose among.
pub fn neutral(world: &World<'_>, turn: &Turn) -> Result<Plan, PlanError> {
    decide(world, turn, None)
}

/// The one place where facts are put together.
fn decide(world: &World<'_>, turn: &Turn, warm: Option<&Warm>) -> Result<Plan, PlanError> {
    let (estimate, forecast) = (Estimate::of(&turn.request), Forecast::of(&turn.request));
    let input = |family| InputTokens::new(estimate.expected(family), estimate.upper(family));
    plan(&Facts {
        ask: &Ask::of(&turn.request),
        snapshot: world.snapshot,
        target: &Target::Auto(None),
        input: &InputEstimate::by_family(input),
        expected_output: OutputForecast { plain: forecast.plain, thinking: forecast.thinking },
        limits: &Limits::default(),
        usable: &world.usable,
        health: &[],
        warm,
        at: turn.at,
        settings: &world.settings,
    })
}
