//! The way of a request, as one function. Each stage takes what the one before gave it, so the order cannot be wrong.
//!
//! Nothing here knows a vendor, a wire format's inside or an HTTP framework.

mod affinity;
pub mod appraise;
mod bounds;
mod brown_out;
mod closing;
mod counting;
mod entry;
mod in_force;
mod in_turn;
pub mod learning;
mod makers;
mod names;
mod not_served;
mod pages;
mod passing;
mod said;
mod shown;
mod stored;
mod taking;
mod told;
mod weighed;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use self::affinity::{Heard, Lesson, Trace};
use self::appraise::{Appraisal, allowances_at, limits_of, thinks_on};
use self::brown_out::Lesser;
use self::closing::InWords;
pub use self::in_force::{AliasWishes, InForce, PipelineSettings, asked};
use self::in_turn::wait_for_turn;
use self::learning::Learning;
pub use self::names::NotAllowed;
pub use self::not_served::NotServed;
use self::not_served::no_plan;
use self::pages::Pages;
use self::passing::{PASSING, headers, passing};
use self::said::Said;
use self::stored::Thread;
pub use self::stored::{Stored, StoredSettings};
use self::told::{Told, second};
pub use self::weighed::ExploreRule;
use crate::canonical::{Request, Shape, Untranslatable};
use crate::clock::SharedClock;
use crate::dispatch::{Answered, AttemptFailure, Cause, Dispatcher, Journey, Opening, RunFailure, Wording, Written};
use crate::frontend::{BadRequest, FrontendRef, Seen};
use crate::ledger::{Ending, Ledger, LedgerError, OpenAttempt, Outcome, Tab, Unwritable};
use crate::market::{Makers, Market};
use crate::meter::Class;
use crate::policy::{Admission, Exploring, Full, Lender, NotAdmitted, OverBudget, Places, Portfolio, Standing, TooMany};
use crate::relay::{Account, AccountOpening, AnswerBasis, Compared, Desk, Learn, Media, Pump, Settlement, WholeAnswer};
use crate::route::{self, Ask, Decision, Facts, Plan, PlanError, PlannedAttempt, Target, UnknownModel};
use crate::telemetry::Route;
use crate::units::{BackendId, Pieces, RequestId, Tokens, Usd};

/// A request as it came in.
#[derive(Debug)]
pub struct InboundCall {
    pub id: RequestId,
    /// The path that it came by.
    pub route: Route,
    /// Whose words it is in.
    pub frontend: FrontendRef,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When it arrived, on the monotonic clock.
    pub arrived: Duration,
}

/// What a client gets.
pub enum Reply {
    /// A whole answer: the provider's bytes.
    Whole { receipt: Receipt, body: Bytes },
    /// A stream that has begun.
    Stream { receipt: Receipt, pump: Box<Pump> },
    /// A decision, explained; nothing was sent.
    Decision(Box<Decision>),
}

/// What an answer says of itself in its headers.
#[derive(Debug)]
pub struct Receipt {
    pub backend: BackendId,
    /// What the request cost; not known yet for a stream.
    pub cost: Option<Usd>,
    /// The decision in a few words.
    pub decision: String,
    /// What the budgets made of the request, where they did not bear it as it was asked.
    pub budget: Option<String>,
    /// What the answer is, where that is not what all answers of its shape are; a stream of it has no event that could tell an end.
    pub media_type: Option<HeaderValue>,
    /// Parameters that the backend's API has no word for and that were left out, by the client's names.
    pub dropped: Vec<String>,
    /// How the tightest limits of what may be asked stood when it was let in.
    pub standing: Standing,
}

/// Why a client gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error(transparent)]
    UnknownModel(#[from] UnknownModel),
    #[error("{0}, and nobody who speaks this shape can serve the request")]
    Untranslatable(Untranslatable),
    #[error("{error}")]
    NoPlan { error: PlanError, decision: Box<Decision> },
    #[error("{0}")]
    NotServed(NotServed),
    #[error(transparent)]
    NotAllowed(NotAllowed),
    #[error("{over}")]
    OverBudget {
        over: Box<OverBudget>,
        /// How long it is until the budget refills, if it ever does.
        refills_in: Option<Duration>,
        /// The status that the operator wants told.
        status: u16,
    },
    #[error(transparent)]
    TooMany(#[from] Box<TooMany>),
    #[error(transparent)]
    Full(#[from] Full),
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    #[error("no attempt was answered")]
    Failed(RunFailure),
    #[error("the books cannot be written: {0}")]
    Books(#[from] LedgerError),
}

/// The stages, joined.
pub struct Pipeline {
    pub in_force: ArcSwap<InForce>,
    pub places: Places,
    pub learning: Arc<Learning>,
    /// Who got which share of spend and requests.
    pub portfolio: Arc<Portfolio>,
    pub exploring: Exploring,
    pub dispatcher: Dispatcher,
    /// Where more of a budget comes from that gateways share.
    pub lender: Option<Arc<dyn Lender>>,
    /// Answers that a later request may go on from.
    pub stored: Arc<Stored>,
    pub ledger: Ledger,
    pub desk: Arc<Desk>,
    pub clock: SharedClock,
}

/// A request that was let in, with everything that decides about it.
#[derive(Clone)]
struct Admitted {
    admission: Admission,
    request: Request,
    /// The bound on its answer that the client itself set.
    client_bound: Option<Tokens>,
    /// What its budgets made of it.
    lesser: Lesser,
    /// Taken once: what changes after this does not concern the request.
    in_force: Arc<InForce>,
    target: Target,
    /// In the client's own words it would cost what its bound on money does not cover.
    other_words_only: bool,
    /// Its conversation, where the answer is to be kept.
    thread: Option<Thread>,
}

/// What is to be done.
struct Decided {
    plan: Arc<Plan>,
    /// What it was made from, to be explained by.
    facts: Vec<u8>,
    /// The prompt among those that are remembered.
    trace: Trace,
    /// Who answered the turns of a conversation that holds thoughts.
    makers: Makers,
    /// What is sent first, where that is known already.
    written: Option<Box<Written>>,
}

impl Admitted {
    fn market(&self) -> &Market {
        &self.in_force.market
    }

    /// How the request is said to whom a plan asks.
    fn wording<'a>(&'a self, told: &'a Told<'_>, makers: &'a Makers) -> Wording<'a> {
        Wording {
            market: self.market(),
            request: &self.request,
            translation: told,
            makers,
            strict: self.admission.limits.strict,
            bounded: self.is_bounded(),
            other_words_only: self.other_words_only,
        }
    }

    fn settings(&self) -> &PipelineSettings {
        &self.in_force.settings
    }

    /// The decision in a few words.
    fn reason(&self, plan: &Plan) -> String {
        let reason = plan.reason(&self.market().snapshot);
        if self.lesser.is_any() { format!("{reason}; budget: {}", self.lesser) } else { reason }
    }

    /// Money is bounded: the output bound that the quote counts with must reach the provider.
    fn is_bounded(&self) -> bool {
        let Self { admission, request, .. } = self;
        admission.budgeted || admission.limits.bounds_money() || request.wishes.max_cost.is_some()
    }
}

impl Pipeline {
    /// Answers a request, or says why not.
    pub async fn answer(&self, call: InboundCall) -> Result<Reply, GatewayError> {
        // Apart, so that what waits for an answer stays small.
        let admitted = Box::new(self.admit(&call).inspect_err(|error| self.show_refusal(&call, None, error))?);
        // Decided and sent in one go, by facts of that moment; all that can be read are read before.
        if self.places.taken() > 0 {
            wait_for_turn().await;
        }
        let mut course = self.course(&call, &admitted);
        let answered = loop {
            let answered = self.serve(&call, course.of(&admitted)).await;
            match answered {
                Err(error) if course.goes_on_after(&error) => match self.lessen(&call, &admitted, course, error) {
                    Ok(next) => course = next,
                    Err(over) => break Err(over),
                },
                answered => break answered,
            }
        };
        answered.inspect_err(|error| self.show_refusal(&call, Some(&admitted.request.model), error))
    }

    async fn serve(&self, call: &InboundCall, admitted: &Admitted) -> Result<Reply, GatewayError> {
        if admitted.request.wishes.dry_run {
            return Ok(Reply::Decision(Box::new(self.explain(call, admitted))));
        }
        self.look(admitted)?;
        let told = Told::of(call, &admitted.request);
        let Decided { plan, facts, trace, makers, written } = self.plan(call, admitted, &told)?;
        let place = self.places.take(admitted.settings().most_under_way)?;
        let passage = self.pass(admitted, &plan).await?;
        let hold = self.hold(admitted, &plan).await?;
        self.tell_cap_cost(&plan);
        // What the books do not keep is explained as long as the feed remembers it.
        let (booked, remembered) = if self.ledger.keeps_facts_of(call.id) { (facts, Vec::new()) } else { (Vec::new(), facts) };
        let (entry, comparison) = entry::opening(call, admitted, &plan, booked);
        let tab = Arc::new(self.ledger.begin(entry)?);
        let shown = self.desk.feed.begin(|| shown::planned(&tab, &plan, admitted, remembered));
        let key = admitted.admission.key.clone();
        let tab_of_account = Arc::clone(&tab);
        let opening = AccountOpening {
            key,
            route: call.route,
            arrived: call.arrived,
            tab: tab_of_account,
            hold,
            place,
            passage,
            baseline: comparison,
            shown,
        };
        let account = Account::open(Arc::clone(&self.desk), opening);
        match self.dispatch(call, (admitted, &told), (&plan, &makers, written), &tab, &account).await {
            Ok(answered) => self.relay(answered, account, &tab, (call, admitted, &told), (&plan, &trace)).await,
            Err(failure) => {
                account.close(Outcome::Failed, (admitted.settings().failure_status)(&failure), None).await?;
                Err(GatewayError::Failed(failure))
            }
        }
    }

    /// Decides and explains; nothing is sent.
    pub fn decide(&self, call: &InboundCall) -> Result<Decision, GatewayError> {
        let admitted = self.admit(call)?;
        Ok(self.explain(call, &admitted))
    }

    fn admit(&self, call: &InboundCall) -> Result<Admitted, GatewayError> {
        let in_force = self.in_force.load_full();
        let admission = in_force.keys.admit(&call.headers)?;
        let (body, thread) = self.joined(call, &admission.key, &in_force.settings)?;
        let mut request = call.frontend.parse(body, &call.headers)?;
        request.wishes.or(&admission.wishes);
        let client_bound = request.output_bound;
        let budgeted = admission.budgeted.then_some(in_force.settings.budgeted_output);
        bounds::output(&mut request, admission.limits.max_output, budgeted)?;
        let target = route::resolve(&request.model, &in_force.market.snapshot, &in_force.settings.aliases)?;
        bounds::named(&request, &target)?;
        bounds::vectors(&request, &target, &in_force.market.snapshot)?;
        let (lesser, other_words_only) = (Lesser::default(), false);
        let admitted = Admitted { admission, request, client_bound, lesser, in_force, target, other_words_only, thread };
        let other_words_only = admitted.is_bounded() && bounds::priced(call.frontend, &admitted.request)?;
        Ok(Admitted { other_words_only, ..admitted })
    }

    fn plan(&self, call: &InboundCall, admitted: &Admitted, told: &Told<'_>) -> Result<Decided, GatewayError> {
        self.with_facts(call, admitted, |facts, trace| {
            let makers = self.makers(admitted, &trace);
            let (facts, said) = self.said(facts, admitted.settings(), &admitted.wording(told, &makers));
            let Said { planned, ask, why, written } = said;
            match planned {
                Ok(plan) => {
                    let remembered = self.ledger.keeps_facts_of(call.id) || self.desk.feed.is_on();
                    let facts = Facts { ask: ask.as_ref().unwrap_or(facts.ask), ..facts };
                    let facts = if remembered { facts.keep() } else { Vec::new() };
                    Ok(Decided { plan, facts, trace, makers, written })
                }
                Err(error) => Err(no_plan(admitted, error, why)),
            }
        })
    }

    fn explain(&self, call: &InboundCall, admitted: &Admitted) -> Decision {
        let told = Told::of(call, &admitted.request);
        self.with_facts(call, admitted, |facts, trace| {
            let planned = route::explained(&facts);
            let makers = self.makers(admitted, &trace);
            let wording = admitted.wording(&told, &makers);
            let said = match planned {
                Ok(whole) if said::rewords(&whole.plan, &facts, &wording) => {
                    said::settled(whole, &facts, &wording, |whole| &whole.plan, route::explained)
                }
                planned => Said::as_planned(planned),
            };
            said.told(&facts, &wording)
        })
    }

    /// What keeps a run that nobody could be told from being for good: that somebody who is left alone only for now, and was not
    /// planned for that, could be.
    fn left_alone(&self, call: &InboundCall, admitted: &Admitted, told: &Told<'_>) -> Option<AttemptFailure> {
        self.with_facts(call, admitted, |facts, trace| {
            let makers = self.makers(admitted, &trace);
            let wording = admitted.wording(told, &makers);
            let rejected = match route::explained(&facts) {
                Ok(whole) => whole.plan.rejected.all(),
                Err(error) => error.rejected().to_vec(),
            };
            let passing = rejected.into_iter().filter(|(_, unfit)| unfit.is_passing());
            let told = passing.filter(|(backend, _)| wording.can_tell(*backend));
            told.map(|(backend, unfit)| {
                let retry_after = unfit.remaining();
                let cause = if retry_after.is_some() { Cause::Cooling } else { Cause::Saturated };
                AttemptFailure::idle(&facts.snapshot.backend(backend).id, cause, unfit.to_string(), retry_after)
            })
            .min_by_key(|failure| failure.retry_after.unwrap_or(Duration::MAX))
        })
    }

    /// Gathers everything that the decision depends on.
    fn with_facts<T>(&self, call: &InboundCall, admitted: &Admitted, decide: impl FnOnce(Facts<'_>, Trace) -> T) -> T {
        let Admitted { admission, request, in_force, target, .. } = admitted;
        let InForce { market, settings, allowances, .. } = &**in_force;
        let (snapshot, at) = (&market.snapshot, self.clock.wall());
        let Learning { reports, .. } = &*self.learning;
        let appraisal =
            Appraisal::by((request, target), &mut self.learning.lengths(Class::of(request)), reports, snapshot, second(at));
        let now = self.clock.monotonic();
        let (affinity, trace) = affinity::look(&self.learning, request, &admission.key, snapshot, &appraisal.input, now);
        let limits = limits_of(&admission.limits);
        let ask = Ask { other_words_only: admitted.other_words_only, ..asked(request, &settings.alias_wishes) };
        let facts = Facts {
            ask: &ask,
            snapshot,
            board: &market.board_at(at),
            target,
            input: &appraisal.input,
            expected_output: appraisal.output,
            learned: &appraisal.learned,
            limits: &limits,
            usable: market.usable(),
            health: &weighed::health(market, &ask, &limits),
            affinity: &affinity,
            caps: &self.caps(market, at),
            explore: self.leave_to_explore(call, settings, at),
            allowances: &allowances_at(allowances, at),
            at,
            settings: &settings.routing,
        };
        decide(facts, trace)
    }

    async fn dispatch(
        &self,
        call: &InboundCall,
        (admitted, told): (&Admitted, &Told<'_>),
        (plan, makers, written): (&Plan, &Makers, Option<Box<Written>>),
        tab: &Tab,
        account: &Account,
    ) -> Result<Box<Answered<Box<OpenAttempt>>>, RunFailure> {
        let Admitted { request, .. } = admitted;
        let market = admitted.market();
        let book = Pages {
            tab,
            fx: &market.snapshot.fx,
            allowances: &admitted.in_force.allowances,
            at: plan.at,
            clock: &self.clock,
            longest: admitted.settings().routing.longest,
            metrics: &self.desk.metrics,
            choices: request.choices,
            bound_told: request.output_bound.is_some() || admitted.is_bounded(),
            image: request.image,
            account,
            lender: self.lender.as_ref(),
            portfolio: &self.portfolio,
            most: plan.needs.max_cost,
            committed: Mutex::default(),
        };
        let journey = Journey {
            wording: admitted.wording(told, makers),
            written: Mutex::new(written),
            book: &book,
            passing: &passing(call),
            common: &headers(call, &PASSING),
            patience: admitted.settings().patience,
            ends: ends(call, admitted.settings()),
            deadline: request.wishes.deadline_ms.map(|wait| call.arrived.saturating_add(Duration::from_millis(wait))),
        };
        let ran = self.dispatcher.run(&plan.root, &journey).await;
        let failures = match &ran {
            Ok(answered) => &answered.failures,
            Err(failure) => &failure.failures,
        };
        // The last failure of a failed run moved on to nothing.
        let moved_on = failures.len() - usize::from(ran.is_err() && !failures.is_empty());
        failures[..moved_on].iter().for_each(|failure: &AttemptFailure| self.desk.metrics.failover(failure.cause));
        account.shown().failed(failures, moved_on);
        ran.map_err(|mut failure| {
            if failure.told_nobody() {
                failure.failures.extend(self.left_alone(call, admitted, told));
            }
            failure
        })
    }

    /// What an attempt's answer will teach, should it come whole.
    fn learn(&self, admitted: &Admitted, attempt: &PlannedAttempt, trace: &Trace) -> Learn {
        let Admitted { request, .. } = admitted;
        if request.shape.direct().is_some() {
            return Box::new(|_| ());
        }
        let backend = admitted.market().snapshot.backend(attempt.backend);
        let told = admitted.is_bounded().then_some(attempt.quote.output_bound);
        let lesson = Lesson {
            class: Class::of(request),
            backend: backend.id.clone(),
            model: backend.model.clone(),
            thinks: thinks_on(backend, request),
            choices: request.choices,
            bound: told.or(request.output_bound),
            expected: attempt.quote.usage,
            surely_read: trace.surely_read(attempt.backend),
        };
        let (learning, desk) = (Arc::clone(&self.learning), Arc::clone(&self.desk));
        Box::new(move |answer: &WholeAnswer| {
            let WholeAnswer { usage, provenance, too_long, flagged, at } = *answer;
            if flagged {
                return learning.noted();
            }
            let heard = Heard { usage, provenance, cut_at_bound: too_long, at };
            lesson.take(&learning, &desk.metrics, &heard);
        })
    }

    async fn relay(
        &self,
        answered: Box<Answered<Box<OpenAttempt>>>,
        account: Box<Account>,
        tab: &Tab,
        (call, admitted, told): (&InboundCall, &Admitted, &Told<'_>),
        (plan, trace): (&Plan, &Trace),
    ) -> Result<Reply, GatewayError> {
        let Admitted { request, in_force, .. } = admitted;
        let market = admitted.market();
        let quote = answered.planned.quote;
        let backend = market.snapshot.backend(answered.planned.backend);
        self.desk.metrics.first_token(&backend.id, answered.first_byte);
        if answered.refused_seals {
            self.seals_refused(admitted, &backend.id);
        }
        if request.shape.direct().is_none() {
            trace.remember(&self.learning, &backend.id, self.clock.monotonic());
        }
        let receipt = Receipt {
            backend: backend.id.clone(),
            cost: None,
            decision: admitted.reason(plan),
            budget: admitted.lesser.is_any().then(|| admitted.lesser.to_string()),
            media_type: None,
            dropped: answered.dropped,
            standing: account.standing(),
        };
        let (sheet, counted) = (backend.prices.point(quote.price), request.shape == Shape::OpenAiImages);
        let sheet = sheet.map(|(_, sheet)| sheet);
        let media = request.shape.is_media().then(|| Media::new(quote.usage, quote.most_pieces, sheet, counted));
        let basis = AnswerBasis {
            backend: backend.id.clone(),
            endpoint: answered.shape,
            asked_model: answered.model,
            family: backend.tokenizer,
            says_lifetimes: answered.shape == request.shape || answered.shape.says_lifetimes(),
            input_estimate: quote.usage.input(),
            compared: Compared::of(request, backend.tokenizer),
            factors: self.learning.reports.factors(&backend.id),
            asked_in: request.shape,
            prompt: if request.reads_as_it_stands() && media.is_none() { request.body.clone() } else { Bytes::new() },
            first_byte: answered.first_byte,
            sent: answered.sent,
            thinking: quote.thinking,
            pieces: Pieces { expected: quote.usage.pieces, most: quote.most_pieces },
            media,
            learn: self.learn(admitted, &answered.planned, trace),
        };
        let now = self.clock.monotonic();
        let hears = || Trace::hears_seals(&self.learning, (request.shape, &admitted.admission.key), &backend.id, now);
        let mut hear = request.shape.direct().is_none().then(hears);
        let keep = self.keeping(admitted.thread.as_ref(), admitted.settings().stored);
        let mut settlement = Settlement::new(answered.page, account, answered.running, answered.turn, basis);
        match answered.opening {
            Opening::Whole { body, facts, media_type } => {
                settlement.add_text(&facts.text);
                settlement.reported(facts.usage, facts.lifetimes_told);
                settlement.heard_reasoning(facts.reasoning_bytes);
                settlement.too_long(facts.too_long);
                settlement.served_model(facts.served_model);
                let cost = settlement.end(Ending::Complete).await?;
                if let Some(hear) = &mut hear {
                    hear(&body);
                }
                let body = keep.and_then(|keep| keep.ends(&body)).unwrap_or(body);
                Ok(Reply::Whole { receipt: Receipt { cost: Some(cost), media_type, ..receipt }, body })
            }
            Opening::Stream(stream) => {
                // No answer outruns the books: the opening was written while the provider worked.
                settlement.begins(&stream.held).await?;
                tab.journaled().await?;
                let in_force = Arc::clone(in_force);
                let (index, shape) = (answered.planned.backend, answered.shape);
                let endpoint = move |bytes: &[u8]| in_force.market.endpoint(index, shape).is_some_and(|it| it.quotes_key(bytes));
                let quotes_key = Box::new(endpoint);
                let left = ends(call, admitted.settings()).saturating_sub(self.clock.monotonic());
                let (frontend, stream_error) = (call.frontend, admitted.settings().stream_error);
                let about = told.about(&backend.upstream_model);
                let (media_type, silent) = (stream.media_type.clone(), stream.media_type.is_some());
                let closing = Box::new(InWords { frontend, about, stream_error, silent, seen: Seen::default() });
                let pump = Pump::new(stream, settlement, request.wants_usage_frame, left, closing, quotes_key);
                let pump = pump.keeping(keep).heard_by(hear).heard_out_for(admitted.settings().heard_out);
                Ok(Reply::Stream { receipt: Receipt { media_type, ..receipt }, pump: Box::new(pump) })
            }
        }
    }
}

/// When a request must be over, on the monotonic clock.
fn ends(call: &InboundCall, settings: &PipelineSettings) -> Duration {
    call.arrived.saturating_add(settings.total)
}
