//! Who made what a conversation holds that its maker alone can read (signatures of thoughts, encrypted thoughts), and what of it
//! a backend is therefore sent: another's seal is refused, and without its own a model goes on without its thoughts.
//!
//! A seal does not name its maker. Who told it is remembered, or at least who answered the turns that it may stand in, and each API has
//! seals of its own kind: where nobody else was asked in the API of a backend, all of that kind are the backend's own. Where others were, a
//! backend is sent those alone that it is known to have told. What it may have made itself, and what nobody remembers (after a restart, at
//! another gateway of a fleet), goes out as it is: whoever refuses it is asked again without (`dispatch/run.rs`), and from then on is sent at
//! once what it told behind what it refused, and no other.

use super::{Market, Offer};
use crate::canonical::{Manner, Shape};
use crate::catalog::BackendIndex;

/// Who answered the turns of a conversation that holds thoughts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Makers {
    /// Of each seal or turn whoever may have made it, as far as that is remembered; several where conversations began alike. Empty as well
    /// where the conversation holds no thoughts.
    pub known: Vec<Vec<BackendIndex>>,
    /// Some of it was told in words of ours, which no provider has made.
    pub told: bool,
    /// Some of its thoughts have no seal.
    pub unsigned: bool,
    /// Some of it stands where Google's endpoint for chat tells its seals. Where nobody is remembered they are Google's or ours, and
    /// nobody else's chat is sent them.
    pub google: bool,
    /// The conversation holds seals, whoever made them.
    pub sealed: bool,
    /// The seals by their hashes (`canonical/prefix.rs`), in their order, and who has told each, where that is known.
    pub made: Vec<(u64, Option<BackendIndex>)>,
    /// What they are hashed with.
    pub seed: u64,
    /// Who has refused its seals before and did without them, with how many stand behind those that it refused.
    pub refused_by: Vec<(BackendIndex, usize)>,
    /// Who may have answered each turn of a conversation in whose texts thoughts stand. These pass like any text, so nothing else hangs
    /// on it.
    pub answered: Vec<Vec<BackendIndex>>,
}

/// What of the seals a backend is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seals {
    /// The conversation as it is: nothing is known to be another's.
    AsTheyAre,
    /// Those of its own kind.
    OfItsKind,
    /// Those that it is known to have told ([`Makers::own_seals`]), of which there are some.
    ItsOwn,
    None,
}

impl Makers {
    /// What a backend is sent of a request's seals.
    pub fn seals_for(&self, offer: &Offer<'_>, asked: Manner, market: &Market) -> Seals {
        let snapshot = &market.snapshot;
        let told_itself = || if self.own_seals(offer, market).is_empty() { Seals::None } else { Seals::ItsOwn };
        if self.refusal(offer).is_some() {
            return told_itself();
        }
        let is_own = |maker: &BackendIndex| is_made_by(*maker, offer, market);
        let mut others = self.known.iter().filter(|makers| !makers.iter().any(is_own));
        // Whatever was asked of it before: another form of answer, with tools or without, to think or not.
        let asked_alike = |maker: &BackendIndex| {
            let endpoint = |manner| snapshot.endpoint_for(snapshot.backend(*maker), manner);
            asked.any_of_its_shape().any(|manner| endpoint(manner) == Some(offer.shape))
        };
        let of_its_kind = |makers: &Vec<BackendIndex>| makers.iter().any(asked_alike);
        match others.next() {
            None if self.told || self.is_anothers_chat(offer) => Seals::OfItsKind,
            // An answer without a signature may be its own; it is taken for another's where nobody is sure.
            None if self.unsigned && !offer.takes_unsigned() && !self.is_all(is_own) => Seals::OfItsKind,
            None => Seals::AsTheyAre,
            Some(first) if of_its_kind(first) || others.any(of_its_kind) => told_itself(),
            Some(_) => Seals::OfItsKind,
        }
    }

    /// Whether nobody else is remembered to have answered a turn of a conversation in whose texts thoughts stand. What nobody remembers
    /// may be its own, and passes like any text.
    pub fn answered_alone(&self, offer: &Offer<'_>, market: &Market) -> bool {
        let is_own = |maker: &BackendIndex| is_made_by(*maker, offer, market);
        self.answered.iter().all(|makers| makers.iter().any(is_own))
    }

    /// The seals that a backend is known to have told, by their hashes, and has not refused since.
    pub fn own_seals(&self, offer: &Offer<'_>, market: &Market) -> Vec<u64> {
        let behind = self.refusal(offer).unwrap_or(self.made.len());
        let taken = &self.made[self.made.len().saturating_sub(behind)..];
        let is_own = |maker: &Option<BackendIndex>| maker.is_some_and(|maker| is_made_by(maker, offer, market));
        taken.iter().filter(|(_, maker)| is_own(maker)).map(|(seal, _)| *seal).collect()
    }

    /// How many seals stand behind those that a backend has refused, where it has.
    fn refusal(&self, offer: &Offer<'_>) -> Option<usize> {
        self.refused_by.iter().find(|(backend, _)| *backend == offer.backend.index).map(|(_, behind)| *behind)
    }

    /// Whether makers are known, and all of them are so.
    fn is_all(&self, is_so: impl Fn(&BackendIndex) -> bool) -> bool {
        !self.known.is_empty() && self.known.iter().flatten().all(is_so)
    }

    /// Whether a conversation with Google's seals, whose makers nobody remembers, is to go to a chat that is not Google's: one
    /// without Gemini's own API beside it.
    fn is_anothers_chat(&self, offer: &Offer<'_>) -> bool {
        let anothers = || offer.shape == Shape::OpenAiChat && !offer.provider.shapes().contains(Shape::GeminiGenerate);
        self.google && self.known.is_empty() && anothers()
    }
}

/// Whether what one backend made another can read: a signature holds for the model that made it, wherever its provider serves it.
fn is_made_by(maker: BackendIndex, offer: &Offer<'_>, market: &Market) -> bool {
    let maker = market.snapshot.backend(maker);
    maker.provider == offer.backend.provider && maker.model == offer.backend.model
}

#[cfg(test)]
mod tests {
    use crate::config::Deployments;
    use crate::upstream::Tokens;
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::catalog::Snapshot;
    use crate::clock::{ManualClock, SharedClock};
    use crate::config::secret::ProviderKeys;
    use crate::dispatch::health::{HealthByShape, HealthSettings};

    /// A provider, its API, another endpoint, and its backends.
    type Listed = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

    const UNSIGNED: &str = "[providers.ID.endpoints.anthropic-messages]\nbase_url = \"https://ID.test/anthropic\"\n\
                            [providers.ID.quirks]\nunsigned_thoughts = true";
    const GEMINI: &str = "[providers.ID.endpoints.gemini-generate-content]\nbase_url = \"https://ID.test/v1beta\"";
    const RESPONSES: &str = "[providers.ID.endpoints.openai-responses]\nbase_url = \"https://ID.test/v1\"";
    /// Providers by their API, with another endpoint where they have one, and their backends: upstream names of a model each.
    const TABLE: [Listed; 8] = [
        ("sealer", "anthropic-messages", "", &[("large", "large-1"), ("large", "large-fast"), ("small", "small-1")]),
        ("other", "anthropic-messages", "", &[("large", "large-1")]),
        ("signer", "gemini-generate-content", "", &[("ruby", "ruby-1")]),
        ("plain", "openai-chat", "", &[("jade", "jade-1")]),
        ("google", "openai-chat", GEMINI, &[("topaz", "topaz-1")]),
        ("both", "openai-chat", UNSIGNED, &[("opal", "opal-1")]),
        ("twofold", "openai-chat", RESPONSES, &[("pearl", "pearl-1")]),
        ("replier", "openai-responses", "", &[("agate", "agate-1")]),
    ];

    fn market() -> Market {
        let provider = |(id, dialect, endpoint, backends): &Listed| {
            let backends = backends.iter().map(|(model, upstream)| {
                format!(
                    "[[backends]]\nprovider = \"{id}\"\nmodel = \"{model}\"\nupstream_model = \"{upstream}\"\ncontext_tokens = 9_000\n\
                     max_output_tokens = 900\nfeatures = []\nreasoning = \"switchable\"\nlanguages = [\"*\"]\ntokenizer = \"o200k\"\nchat_tools = false\n\
                     [[backends.prices]]\ninput = 1\noutput = 2\nsource = \"invented\"\n"
                )
            });
            format!(
                "[providers.{id}]\nname = \"{id}\"\nbase_url = \"https://{id}.test/v1\"\ndialect = \"{dialect}\"\nowner = \"{id}\"\n\
                 jurisdiction = \"US\"\nregion = \"US\"\ntrains_on_data = false\ncurrency = \"USD\"\nsource = \"invented\"\n{}\n{}",
                endpoint.replace("ID", id),
                backends.collect::<String>()
            )
        };
        let table = format!("schema = 1\nversion = \"test\"\n{}", TABLE.iter().map(provider).collect::<String>());
        let snapshot = Snapshot::parse("providers.toml", &table).unwrap();
        let clock: SharedClock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
        let health = HealthByShape::new(&clock, HealthSettings::default());
        Market::open(Arc::new(snapshot), &ProviderKeys::new(), &Deployments::new(), &Tokens::default(), &health).unwrap()
    }

    /// What a backend is sent of a conversation in Messages that these have answered; `told` as in [`Makers`].
    #[track_caller]
    fn check(backend: &str, known: &[&str], told: bool, expected: Seals) {
        check_asked(Shape::AnthropicMessages, backend, known, told, expected);
    }

    #[track_caller]
    fn check_asked(asked: Shape, backend: &str, known: &[&str], told: bool, expected: Seals) {
        let market = market();
        let named = |id: &str| market.snapshot.backend_named(id).unwrap().index;
        let makers = Makers { known: known.iter().map(|id| vec![named(id)]).collect(), told, ..Makers::default() };
        let asked = Manner::plain(asked);
        let offer = market.offer(named(backend), asked).unwrap();
        assert_eq!(makers.seals_for(&offer, asked, &market), expected, "{backend} after {known:?}, told: {told}");
    }

    #[test]
    fn where_nobody_else_is_known_the_conversation_goes_as_it_is() {
        check("sealer/large-1", &[], false, Seals::AsTheyAre);
        check("sealer/large-1", &["sealer/large-1"], false, Seals::AsTheyAre);
        check("signer/ruby-1", &["signer/ruby-1"], false, Seals::AsTheyAre);
        // The model made it, under whichever name its provider serves it.
        check("sealer/large-1", &["sealer/large-fast", "sealer/large-1"], false, Seals::AsTheyAre);
    }

    #[test]
    fn words_of_ours_are_told_again_and_seals_of_its_kind_stay() {
        check("sealer/large-1", &[], true, Seals::OfItsKind);
        check("sealer/large-1", &["sealer/large-1"], true, Seals::OfItsKind);
    }

    #[test]
    fn those_of_another_api_are_of_another_kind() {
        check("sealer/large-1", &["signer/ruby-1"], false, Seals::OfItsKind);
        check("sealer/large-1", &["sealer/large-1", "signer/ruby-1", "plain/jade-1"], false, Seals::OfItsKind);
        check("signer/ruby-1", &["sealer/large-1"], true, Seals::OfItsKind);
        check("plain/jade-1", &["sealer/large-1"], false, Seals::OfItsKind);
    }

    #[test]
    fn between_two_makers_of_one_kind_no_seal_is_sent() {
        check("sealer/large-1", &["other/large-1"], false, Seals::None);
        check("sealer/large-1", &["sealer/small-1"], false, Seals::None);
        check("sealer/large-1", &["other/large-1"], true, Seals::None);
        // Whoever of them answered first.
        check("sealer/large-1", &["signer/ruby-1", "sealer/large-1", "other/large-1"], false, Seals::None);
        check("sealer/large-1", &["other/large-1", "signer/ruby-1"], false, Seals::None);
    }

    /// A known defect: after a restart, seals that a client had from Gemini went to whoever speaks chat.
    #[test]
    fn seals_that_nobody_remembers_reach_no_chat_but_googles() {
        let market = market();
        let sent = |backend: &str, known: &[&str]| {
            let named = |id: &str| market.snapshot.backend_named(id).unwrap().index;
            let known = known.iter().map(|id| vec![named(id)]).collect();
            let (makers, asked) = (Makers { known, google: true, ..Makers::default() }, Manner::plain(Shape::OpenAiChat));
            makers.seals_for(&market.offer(named(backend), asked).unwrap(), asked, &market)
        };
        assert_eq!(sent("plain/jade-1", &[]), Seals::OfItsKind);
        assert_eq!(sent("google/topaz-1", &[]), Seals::AsTheyAre);
        assert_eq!(sent("signer/ruby-1", &[]), Seals::AsTheyAre);
        assert_eq!(sent("plain/jade-1", &["plain/jade-1"]), Seals::AsTheyAre);
        assert_eq!(sent("plain/jade-1", &["google/topaz-1"]), Seals::None);
    }

    /// Whoever made them, and whatever is told of them otherwise.
    #[test]
    fn who_refused_them_before_is_sent_none() {
        let (market, asked) = (market(), Manner::plain(Shape::AnthropicMessages));
        let named = |id: &str| market.snapshot.backend_named(id).unwrap().index;
        for known in [vec![], vec![vec![named("sealer/large-1")]], vec![vec![named("signer/ruby-1")]]] {
            let makers = Makers { known, refused_by: vec![(named("sealer/large-1"), 0)], ..Makers::default() };
            let sent = |backend| makers.seals_for(&market.offer(named(backend), asked).unwrap(), asked, &market);
            assert_eq!(sent("sealer/large-1"), Seals::None, "{:?}", makers.known);
            assert_ne!(sent("signer/ruby-1"), Seals::None, "{:?}", makers.known);
        }
    }

    /// What a backend is sent of a conversation in Messages whose seals these have told, and by their places which of them.
    #[track_caller]
    fn check_told(backend: &str, told: &[&str], refused_behind: Option<usize>, expected: (Seals, &[u64])) {
        let (market, asked) = (market(), Manner::plain(Shape::AnthropicMessages));
        let named = |id: &str| market.snapshot.backend_named(id).map(|backend| backend.index);
        let made: Vec<_> = (0..).zip(told.iter().map(|id| named(id))).collect();
        let known = made.iter().filter_map(|(_, maker)| Some(vec![(*maker)?])).collect();
        let refused_by = refused_behind.map(|behind| (named(backend).unwrap(), behind)).into_iter().collect();
        let makers = Makers { known, made, refused_by, ..Makers::default() };
        let offer = market.offer(named(backend).unwrap(), asked).unwrap();
        let sent = (makers.seals_for(&offer, asked, &market), makers.own_seals(&offer, &market));
        assert_eq!(sent, (expected.0, expected.1.to_vec()), "{backend} after {told:?}, refused before {refused_behind:?}");
    }

    /// A known defect: between two makers of one kind each lost its own, and who had refused another's was never sent its own again.
    #[test]
    fn its_own_are_known_among_others_of_the_kind() {
        let told = ["sealer/large-1", "other/large-1", "", "sealer/large-fast"];
        check_told("sealer/large-1", &told, None, (Seals::ItsOwn, &[0, 3]));
        check_told("other/large-1", &told, None, (Seals::ItsOwn, &[1]));
        check_told("sealer/small-1", &told, None, (Seals::None, &[]));
        check_told("signer/ruby-1", &told, None, (Seals::OfItsKind, &[]));
        // Of those that it refused any may have been at fault, and what it told since is not.
        check_told("sealer/large-1", &told, Some(0), (Seals::None, &[]));
        check_told("sealer/large-1", &told, Some(2), (Seals::ItsOwn, &[3]));
        check_told("sealer/large-1", &["", "sealer/large-1"], Some(1), (Seals::ItsOwn, &[1]));
        check_told("sealer/large-1", &["sealer/large-1"], None, (Seals::AsTheyAre, &[0]));
    }

    /// What a backend is sent of a conversation in Messages with an unsigned thought; a set is who may have answered a prompt.
    #[track_caller]
    fn check_unsigned(backend: &str, known: &[&[&str]], expected: Seals) {
        let market = market();
        let named = |id: &str| market.snapshot.backend_named(id).unwrap().index;
        let known = known.iter().map(|set| set.iter().map(|id| named(id)).collect()).collect();
        let (makers, asked) = (Makers { known, unsigned: true, ..Makers::default() }, Manner::plain(Shape::AnthropicMessages));
        let offer = market.offer(named(backend), asked).unwrap();
        assert_eq!(makers.seals_for(&offer, asked, &market), expected, "{backend} after {makers:?}");
    }

    #[test]
    fn an_unsigned_thought_goes_to_who_surely_made_it_or_takes_such() {
        check_unsigned("sealer/large-1", &[], Seals::OfItsKind);
        check_unsigned("sealer/large-1", &[&["sealer/large-1"]], Seals::AsTheyAre);
        check_unsigned("sealer/large-1", &[&["sealer/large-1", "both/opal-1"]], Seals::OfItsKind);
        check_unsigned("sealer/large-1", &[&["both/opal-1"]], Seals::None);
        check_unsigned("both/opal-1", &[], Seals::AsTheyAre);
        check_unsigned("both/opal-1", &[&["sealer/large-1", "both/opal-1"]], Seals::AsTheyAre);
        check_unsigned("both/opal-1", &[&["sealer/large-1"]], Seals::None);
    }

    #[test]
    fn what_was_thought_in_texts_is_the_backends_own_where_it_may_have_answered_every_turn() {
        let market = market();
        let named = |id: &str| market.snapshot.backend_named(id).unwrap().index;
        let own = |answered: &[&[&str]]| {
            let answered = answered.iter().map(|set| set.iter().map(|id| named(id)).collect()).collect();
            let offer = market.offer(named("plain/jade-1"), Manner::plain(Shape::OpenAiChat)).unwrap();
            Makers { answered, ..Makers::default() }.answered_alone(&offer, &market)
        };
        assert!(own(&[&["plain/jade-1"]]) && own(&[&["plain/jade-1"], &["google/topaz-1", "plain/jade-1"]]));
        assert!(!own(&[&["plain/jade-1"], &["google/topaz-1"]]) && own(&[]));
    }

    /// A known defect: whoever had answered the same opening was taken for a maker of the turn behind it.
    #[test]
    fn what_a_backend_may_have_made_itself_it_is_sent() {
        let market = market();
        let named = |id: &str| market.snapshot.backend_named(id).unwrap().index;
        let sent = |backend: &str, known: &[&[&str]]| {
            let known = known.iter().map(|set| set.iter().map(|id| named(id)).collect()).collect();
            let (makers, asked) = (Makers { known, ..Makers::default() }, Manner::plain(Shape::AnthropicMessages));
            makers.seals_for(&market.offer(named(backend), asked).unwrap(), asked, &market)
        };
        let both: &[&str] = &["sealer/large-1", "other/large-1"];
        assert_eq!((sent("sealer/large-1", &[both]), sent("other/large-1", &[both])), (Seals::AsTheyAre, Seals::AsTheyAre));
        assert_eq!(sent("sealer/small-1", &[both]), Seals::None);
        assert_eq!(sent("sealer/large-1", &[both, &["other/large-1"]]), Seals::None);
        assert_eq!(sent("sealer/large-1", &[both, &["signer/ruby-1"]]), Seals::OfItsKind);
    }

    /// A known defect: whether a maker has seals of a backend's kind was told by what this request would be asked of it, and its turns may
    /// have been asked otherwise: with tools, which go to Responses.
    #[test]
    fn what_was_asked_with_tools_may_be_of_another_kind_than_what_is_asked_without() {
        let of_twofold = &["twofold/pearl-1"];
        check_asked(Shape::OpenAiChat, "replier/agate-1", of_twofold, true, Seals::None);
        check_asked(Shape::OpenAiChat, "plain/jade-1", of_twofold, true, Seals::None);
        check_asked(Shape::OpenAiChat, "signer/ruby-1", of_twofold, true, Seals::OfItsKind);
    }

    /// A provider with endpoints of two APIs made its seals in that which the client's requests go to.
    #[test]
    fn an_api_is_that_in_which_the_client_is_answered() {
        let of_both = &["both/opal-1"];
        check_asked(Shape::AnthropicMessages, "sealer/large-1", of_both, false, Seals::None);
        check_asked(Shape::OpenAiChat, "sealer/large-1", of_both, false, Seals::OfItsKind);
        check_asked(Shape::OpenAiChat, "plain/jade-1", of_both, false, Seals::None);
        check_asked(Shape::OpenAiResponses, "sealer/large-1", of_both, false, Seals::None);
    }
}
