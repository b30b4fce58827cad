//! How a request is said to the backends of a plan: in the client's own bytes (without what the model refuses of them), or written anew in the words of an endpoint. Known
//! before anything is sent, booked or paid with a retry; what is written to see whether it can be said is what goes out.

use std::collections::HashSet;

use bytes::Bytes;

use super::names::Names;
use super::structured::{Structured, Unfolding};
use crate::canonical::conversation::BEGUN;
use crate::canonical::prefix::seal_hash;
use crate::canonical::{
    Conversation, Feature, IdForms, Parameter, Parameters, Request, SchemaBy, Shape, Translation, Untranslatable,
};
use crate::catalog::BackendIndex;
use crate::dialect::{Outgoing, loses_template_arguments, loses_thinking};
use crate::market::{Makers, Market, Offer, Seals};
use crate::route::PlannedAttempt;
use crate::units::Tokens;

/// One request, to be said to whom a plan asks.
#[derive(Clone, Copy)]
pub struct Wording<'a> {
    pub market: &'a Market,
    pub request: &'a Request,
    /// Of the request and its answer, for backends that are asked in another shape.
    pub translation: &'a dyn Translation,
    /// Who can read what is sealed in the conversation.
    pub makers: &'a Makers,
    /// What would be left out in other words is refused instead.
    pub strict: bool,
    /// Money is bounded: the output bound that the quote counts with must reach the provider.
    pub bounded: bool,
    /// Nobody may be sent the client's own words: something in them costs what no bound on money covers.
    pub other_words_only: bool,
}

/// What goes out.
pub struct Letter {
    pub(super) body: Bytes,
    /// Parameters that could not be said, by the client's names.
    pub(super) dropped: Vec<String>,
    /// How the answer is to be read, where a schema is asked for by hand: seldom, so it takes little room where it is not.
    pub(super) unfolding: Option<Box<Unfolding>>,
    /// What its tools are called that the client calls otherwise.
    pub(super) names: Names,
    /// Some of its tools are told as functions that the client declared as something else.
    pub(super) own_tools: bool,
}

/// A letter that was written before its turn, to see whether it can be.
pub struct Written {
    planned: PlannedAttempt,
    /// The endpoint's.
    shape: Shape,
    letter: Letter,
}

/// Why a backend cannot be told a request.
#[derive(Debug, Clone)]
pub struct Unsaid {
    pub what: Untranslatable,
    /// It could, but for something that a strict client wants said as well.
    strictly: bool,
}

impl From<Untranslatable> for Unsaid {
    fn from(what: Untranslatable) -> Self {
        Self { what, strictly: false }
    }
}

/// A way to say it to one backend.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub offer: Offer<'a>,
    /// What the backend is sent of what is sealed in the conversation, if anything is.
    seals: Seals,
    wording: Wording<'a>,
}

impl<'a> Wording<'a> {
    /// The ways in which a backend may be asked, the best first: at the endpoint that knows the form of the answer and takes the tools,
    /// and, where that cannot be told the request, at those that know less.
    pub fn ways(&self, index: BackendIndex) -> impl Iterator<Item = Way<'a>> + use<'a> {
        let (wording, manner) = (*self, self.request.manner());
        let first = self.market.offer(index, manner);
        let others = move || wording.market.other_offers(index, manner);
        let offers = first.into_iter().chain(std::iter::once_with(others).flatten());
        offers.map(move |offer| Way { offer, seals: wording.makers.seals_for(&offer, manner, wording.market), wording })
    }

    /// Looks for the first way to tell a backend of a plan, of all that are tried in its turn, and keeps what was written. `None`
    /// where nothing has to be written.
    ///
    /// # Errors
    /// Why the first of them cannot be told, where nobody can.
    pub fn first_of<'p>(
        &self,
        plan: impl Iterator<Item = &'p PlannedAttempt>,
    ) -> Result<Option<Box<Written>>, Option<Untranslatable>> {
        let mut why = None;
        for planned in plan {
            match self.tell(planned, |way| {
                if way.in_clients_words() { way.says_all().map(|()| None) } else { way.letter(planned).map(Some) }
            }) {
                Ok((way, letter)) => {
                    let shape = way.offer.shape;
                    return Ok(letter.map(|letter| Box::new(Written { planned: *planned, shape, letter })));
                }
                Err(unsaid) => why = why.or(unsaid),
            }
        }
        Err(why)
    }

    /// Asks each way to a backend until one serves. A strict client's wish is not met by leaving out the form instead.
    pub(super) fn tell<T>(
        &self,
        planned: &PlannedAttempt,
        mut say: impl FnMut(&Way<'a>) -> Result<T, Unsaid>,
    ) -> Result<(Way<'a>, T), Option<Untranslatable>> {
        let mut why = None;
        for way in self.ways(planned.backend) {
            match say(&way) {
                Ok(said) => return Ok((way, said)),
                Err(Unsaid { what, strictly: true }) => return Err(Some(why.unwrap_or(what))),
                Err(Unsaid { what, strictly: false }) => why = why.or(Some(what)),
            }
        }
        Err(why)
    }

    /// What of the request a backend cannot be told, if there is anything.
    pub fn unsaid(&self, index: BackendIndex) -> Option<Untranslatable> {
        let way = self.ways(index).next()?;
        let said = if way.in_clients_words() { way.says_all() } else { way.write(&way.offer.outgoing()).map(drop) };
        said.err().map(|unsaid| unsaid.what)
    }

    /// Whether a backend could be told the request, were it asked.
    pub fn can_tell(&self, index: BackendIndex) -> bool {
        self.ways(index).any(|way| way.in_clients_words() && way.says_all().is_ok() || way.write(&way.offer.outgoing()).is_ok())
    }

    /// Whether a backend that is asked in the client's words refuses some of them that must be said: an answer that is begun, or
    /// what a strict client says.
    pub fn refuses(&self, index: BackendIndex) -> bool {
        let unsaid = |way: Way<'_>| way.in_clients_words() && way.says_all().is_err();
        let members = &self.request.members;
        (members.begun || !members.rare.is_empty() || self.strict && (!members.drawn.is_empty() || members.thinking.is_some()))
            && self.ways(index).next().is_some_and(unsaid)
    }

    /// Whether a backend that speaks the client's shape is told its tools in other words.
    pub fn retells(&self, index: BackendIndex) -> bool {
        let retold = |way: Way<'_>| way.speaks_alike() && !way.in_clients_words();
        self.request.members.own_tools && self.ways(index).next().is_some_and(retold)
    }

    /// What a backend would not be told: parameters that its words lack, none of them where the request as a whole has something
    /// that no other words have. `None` where it is told all.
    pub fn leaves_out(&self, index: BackendIndex) -> Option<Parameters> {
        let way = self.ways(index).next()?;
        if way.in_clients_words() {
            if way.begins_in_vain() || way.refused_member().is_some() {
                return Some(Parameters::NONE);
            }
            return Some(way.taken_out()).filter(|lost| !lost.is_empty());
        }
        let conversation = match self.translation.conversation(true) {
            Ok(conversation) if conversation.unsaid.is_empty() => conversation,
            Ok(_) | Err(_) => return Some(Parameters::NONE),
        };
        let lost = match way.structured(conversation) {
            Ok(Some((_, asked))) => way.lost(&asked, &way.offer.outgoing()),
            Ok(None) => way.lost(conversation, &way.offer.outgoing()),
            Err(_) => return Some(Parameters::NONE),
        };
        (!lost.is_empty()).then_some(lost)
    }
}

impl Written {
    /// Whether it is what this attempt sends in this way.
    pub(super) fn is_to(&self, planned: &PlannedAttempt, way: &Way<'_>) -> bool {
        self.planned == *planned && self.shape == way.offer.shape
    }

    pub(super) fn letter(self) -> Letter {
        self.letter
    }
}

impl Way<'_> {
    /// The same way without any seal of the conversation, where it sends some that the backend may not have made.
    pub(super) fn unsealed(&self) -> Option<Self> {
        (self.wording.makers.sealed && self.seals != Seals::None).then_some(Self { seals: Seals::None, ..*self })
    }

    /// What goes out, if it can be said in the endpoint's words.
    pub(super) fn letter(&self, planned: &PlannedAttempt) -> Result<Letter, Unsaid> {
        let outgoing = self.offer.outgoing();
        let bound = planned.quote.output_bound;
        let max_output: Tokens = bound.min(outgoing.max_output);
        let client_bytes = self.wording.request.body.len();
        let own_thoughts = self.wording.makers.answered_alone(&self.offer, self.wording.market);
        let output_bound = self.wording.bounded.then_some(bound);
        self.write(&Outgoing { output_bound, max_output, client_bytes, own_thoughts, ..outgoing })
    }

    /// The client's bytes, or the same said in the words of the endpoint.
    fn write(&self, outgoing: &Outgoing<'_>) -> Result<Letter, Unsaid> {
        if self.in_clients_words() {
            return self.own_words(outgoing);
        }
        let written = self.reworded(outgoing);
        // Of its own shape it may well understand what another has no words for; but not the seals and ids of another.
        let may_pass = !self.by_hand() && !self.offer.shape.checks_seals() && self.takes_call_ids() && self.takes_tools();
        if written.is_err() && self.speaks_alike() && may_pass {
            return self.own_words(outgoing);
        }
        written
    }

    fn own_words(&self, outgoing: &Outgoing<'_>) -> Result<Letter, Unsaid> {
        self.says_all()?;
        let body = self.offer.dialect.encode(self.wording.request, outgoing);
        let dropped = self.words(self.taken_out()).collect();
        Ok(Letter { body, dropped, unfolding: None, names: Names::default(), own_tools: false })
    }

    /// Whether the client's own words are taken, and nothing is taken out of them that a strict one wants said.
    fn says_all(&self) -> Result<(), Unsaid> {
        if self.wording.other_words_only {
            let what = "what has no price, of a request whose money is bounded,".to_owned();
            return Err(Untranslatable { what, shape: self.wording.request.shape.word() }.into());
        }
        if self.begins_in_vain() {
            return Err(Untranslatable { what: BEGUN.to_owned(), shape: Untranslatable::THIS_MODEL }.into());
        }
        if let Some(member) = self.refused_member() {
            return Err(Untranslatable { what: format!("`{member}`"), shape: Untranslatable::THIS_SITE }.into());
        }
        let lost = if self.wording.strict { self.taken_out() } else { Parameters::NONE };
        if lost.is_empty() {
            return Ok(());
        }
        let dropped: Vec<String> = self.words(lost).collect();
        let shape = self.wording.request.shape;
        Err(Unsaid { what: Untranslatable::strictly(&dropped, shape.word(), shape), strictly: true })
    }

    /// Whether the client began the answer, and the model goes on with none.
    fn begins_in_vain(&self) -> bool {
        self.wording.request.members.begun && !self.offer.backend.steering.prefill
    }

    /// A member that the site refuses, and without which the answer would be another.
    fn refused_member(&self) -> Option<&'static str> {
        let refuses = self.offer.provider.quirks.refuses;
        self.wording.request.members.rare.first_in(refuses).filter(|_| self.offer.shape == Shape::OpenAiChat)
    }

    /// What is taken out of the client's own bytes: what the model refuses of how the client wants to draw, and how deep it is to
    /// think where its site has another word and none for that, and what is for a template that nobody there fills in.
    fn taken_out(&self) -> Parameters {
        let (request, out) = (self.wording.request, self.offer.outgoing());
        let refused = !request.members.drawn.is_empty() && !out.draws(request.reasoning);
        let drawn = if refused { request.draws() } else { Parameters::NONE };
        drawn
            .with_if(loses_thinking(request, &out), Parameter::Thinking)
            .with_if(loses_template_arguments(request, &out), Parameter::TemplateArguments)
    }

    /// Parameters by the client's names.
    fn words(&self, lost: Parameters) -> impl Iterator<Item = String> + use<> {
        let client = self.wording.request.shape;
        lost.iter().map(move |parameter| parameter.word(client).to_owned())
    }

    fn reworded(&self, outgoing: &Outgoing<'_>) -> Result<Letter, Unsaid> {
        let with_its_own: Conversation;
        let (translation, makers) = (self.wording.translation, self.wording.makers);
        let conversation = match self.seals {
            Seals::AsTheyAre | Seals::OfItsKind => translation.conversation(true)?,
            Seals::ItsOwn => {
                let own: HashSet<u64> = makers.own_seals(&self.offer, self.wording.market).into_iter().collect();
                with_its_own = translation.conversation_with(&|written| own.contains(&seal_hash(makers.seed, written)))?;
                &with_its_own
            }
            Seals::None => translation.conversation(false)?,
        };
        let by_hand = self.structured(conversation)?;
        let asked = by_hand.as_ref().map_or(conversation, |(_, asked)| asked);
        let dropped = self.dropped(asked, outgoing);
        if self.wording.strict && !dropped.is_empty() {
            let what = Untranslatable::strictly(&dropped, self.offer.shape.word(), self.wording.request.shape);
            return Err(Unsaid { what, strictly: true });
        }
        let own_tools = !asked.own_tools.is_empty();
        let renamed = Names::fit(asked, self.offer.shape);
        let body = self.offer.dialect.write(renamed.as_ref().map_or(asked, |(_, renamed)| renamed), outgoing)?;
        let names = renamed.map(|(names, _)| names).unwrap_or_default();
        let unfolding = by_hand.and_then(|(structured, _)| structured).map(|structured| Box::new(structured.reader()));
        Ok(Letter { body, dropped, unfolding, names, own_tools })
    }

    /// Parameters that are left out of what is written, by the client's names.
    fn dropped(&self, conversation: &Conversation, outgoing: &Outgoing<'_>) -> Vec<String> {
        conversation.unsaid.iter().cloned().chain(self.words(self.lost(conversation, outgoing))).collect()
    }

    fn lost(&self, conversation: &Conversation, outgoing: &Outgoing<'_>) -> Parameters {
        self.offer.dialect.leaves_out(conversation, outgoing)
    }

    /// Whether the client's bytes go out as they are, but for what must differ.
    pub fn in_clients_words(&self) -> bool {
        self.speaks_alike() && self.seals == Seals::AsTheyAre && !self.by_hand() && self.takes_call_ids() && self.takes_tools()
    }

    /// Whether tools may go out as they are.
    fn takes_tools(&self) -> bool {
        !self.wording.request.members.own_tools || self.offer.provider.quirks.custom_tools
    }

    /// Whether the ids of calls may go out as they are: another site may have made them.
    fn takes_call_ids(&self) -> bool {
        let ids = self.wording.request.members.call_ids;
        let quirks = self.offer.provider.quirks;
        match self.offer.shape {
            Shape::AnthropicMessages => !ids.odd,
            Shape::OpenAiResponses => ids.longest <= IdForms::MOST_CHARS,
            _ => {
                let fit = quirks.call_id_chars.is_none_or(|most| ids.longest <= usize::from(most));
                fit && !(ids.long && quirks.short_call_ids)
            }
        }
    }

    /// What is asked instead of a schema that the backend takes not at all, or not whole; `None` where nothing is.
    fn structured(&self, conversation: &Conversation) -> Result<Option<(Option<Structured>, Conversation)>, Untranslatable> {
        if self.by_hand() {
            return Structured::ask(conversation, self.schema_by());
        }
        let forces_tools = self.offer.backend.features.contains(Feature::ForcedTool);
        Ok(if self.offer.shape.closes_schemas() { Structured::held(conversation, forces_tools) } else { None })
    }

    /// Whether a schema is asked for that the backend does not take.
    fn by_hand(&self) -> bool {
        self.offer.backend.by_hand(self.wording.request.manner().form, self.offers_tools())
    }

    fn schema_by(&self) -> SchemaBy {
        self.offer.backend.schema_by(self.offers_tools())
    }

    fn offers_tools(&self) -> bool {
        self.wording.request.features.contains(Feature::Tools)
    }

    /// Whether the endpoint's shape is the client's.
    fn speaks_alike(&self) -> bool {
        self.offer.shape == self.wording.request.shape
    }
}
