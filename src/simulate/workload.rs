//! The requests of the war: sessions of a few kinds, put together from [`Texts`] and spread over the virtual time.
//!
//! | kind | of a hundred sessions | what it is |
//! | --- | --- | --- |
//! | chat | 40 | a system prompt and a question, up to six turns, minutes apart |
//! | extraction | 25 | a text and a JSON answer, thinking off, one turn |
//! | code | 12 | code and a question about it, up to three turns |
//! | agent | 15 | tools and their results, four to sixteen turns, seconds apart, now and then a pause |
//! | document | 8 | some ten to some eighty thousand tokens and a question |
//!
//! The mix, the floors and the pauses are judgement. A later turn's prompt is the one before it, an answer and something
//! new: as recorded, so what a backend answers here changes no prompt, and every policy meets the same requests.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::draw::{Draws, Seed};
use super::texts::{ByFamily, FAMILIES, Kind, Text, Texts};
use crate::canonical::{Feature, Features, Members, QualityTier, ReasoningWish, Request, Shape, TextProfile, Wishes};
use crate::catalog::TokenizerFamily;
use crate::meter::Estimate;
use crate::units::{ImageWish, Pieces, Tokens};

/// What a session is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Chat,
    Extraction,
    Code,
    Agent,
    Document,
}

/// One request, and what nobody knows of it before it has ended.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Its place among all of the workload.
    pub number: u64,
    /// Its session's place, and its own there.
    pub session: usize,
    pub place: usize,
    pub at: Timestamp,
    pub task: Task,
    /// As the gateway reads it.
    pub request: Request,
    /// The tokens that each tokenizer makes of the prompt.
    pub input: ByFamily,
    /// Bytes of text that the session's prompt had at each turn up to this one: where its beginnings end.
    pub bytes: Vec<u64>,
    /// Tokens of a thousand of the yardstick's, by family: how an answer in the same words is counted.
    pub words: ByFamily,
}

impl Turn {
    /// The floor under the quality.
    pub fn floor(&self) -> QualityTier {
        self.request.wishes.quality.unwrap_or(QualityTier::Economy)
    }
}

/// When, how many and from which seed.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub from: Timestamp,
    pub until: Timestamp,
    pub requests: usize,
    pub seed: Seed,
}

/// Sessions over a time, of as many requests; in the order of time.
pub fn generate(plan: Plan, texts: &Texts) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::with_capacity(plan.requests);
    let mut session = 0;
    while turns.len() < plan.requests {
        let draws = plan.seed.named("session").numbered(turns.len() as u64).draws();
        let opened = Opening::draw(session, plan, texts, draws);
        turns.extend(opened.play().into_iter().take(plan.requests - turns.len()));
        session += 1;
    }
    turns.sort_by_key(|turn| (turn.at, turn.session, turn.place));
    for (turn, number) in turns.iter_mut().zip(0..) {
        turn.number = number;
    }
    turns
}

/// A session before it is played.
struct Opening<'a> {
    session: usize,
    texts: &'a Texts,
    draws: Draws,
    at: Timestamp,
    task: Task,
    language: Kind,
    floor: QualityTier,
}

/// What the prompt is so far.
#[derive(Clone)]
struct Prompt {
    profile: TextProfile,
    tokens: ByFamily,
    messages: u32,
    tools: u32,
}

impl Prompt {
    const EMPTY: Prompt = Prompt { profile: TextProfile::of_counts([0; 16]), tokens: [0; FAMILIES], messages: 0, tools: 0 };

    fn add(&mut self, text: &Text) {
        self.profile.merge(&text.profile);
        self.tokens.iter_mut().zip(text.tokens).for_each(|(sum, more)| *sum += more);
    }

    fn say(&mut self, text: &Text) {
        self.add(text);
        self.messages += 1;
    }
}

impl<'a> Opening<'a> {
    fn draw(session: usize, plan: Plan, texts: &'a Texts, mut draws: Draws) -> Self {
        let task = match draws.below(100) {
            0..40 => Task::Chat,
            40..65 => Task::Extraction,
            65..77 => Task::Code,
            77..92 => Task::Agent,
            _ => Task::Document,
        };
        let language = if draws.percent(50) { Kind::Chinese } else { Kind::English };
        let tiers = [(QualityTier::Economy, 46), (QualityTier::Standard, 50), (QualityTier::Premium, 4)];
        let floor = draws.weighted(&tiers);
        let at = moment(plan, &mut draws);
        Self { session, texts, draws, at, task, language, floor }
    }

    fn play(mut self) -> Vec<Turn> {
        let mut prompt = Prompt::EMPTY;
        let first = self.begin(&mut prompt);
        let count = usize::try_from(self.count()).unwrap_or(1);
        let mut turns: Vec<Turn> = Vec::with_capacity(count);
        for place in 0..count {
            if place > 0 {
                self.go_on(&mut prompt);
            }
            let mut turn = self.turn(place, &prompt, &first);
            turn.bytes = turns.last().map_or_else(Vec::new, |before| before.bytes.clone());
            turn.bytes.push(turn.request.text.bytes());
            turns.push(turn);
            let pause = SignedDuration::from_secs(self.pause());
            self.at += pause;
        }
        turns
    }

    fn count(&mut self) -> u64 {
        match self.task {
            Task::Chat => self.draws.between(1, 6),
            Task::Code => self.draws.between(1, 3),
            Task::Agent => self.draws.between(4, 16),
            Task::Extraction | Task::Document => 1,
        }
    }

    /// Seconds until the next turn.
    fn pause(&mut self) -> i64 {
        let away = self.draws.percent(8);
        let (least, most) = match self.task {
            _ if away => (400, 3000),
            Task::Agent => (4, 45),
            Task::Chat | Task::Code | Task::Extraction | Task::Document => (20, 240),
        };
        i64::try_from(self.draws.between(least, most)).unwrap_or(60)
    }

    fn text(&mut self, kind: Kind) -> &'a Text {
        self.texts.draw(kind, &mut self.draws)
    }

    /// The first turn's messages; answers with the text in whose words the session is held.
    fn begin(&mut self, prompt: &mut Prompt) -> Text {
        prompt.say(self.text(self.language));
        let (kind, more) = match self.task {
            Task::Extraction => (if self.draws.percent(50) { Kind::Json } else { self.language }, self.draws.between(0, 2)),
            Task::Code => (Kind::Code, self.draws.between(1, 6)),
            Task::Chat | Task::Agent | Task::Document => (self.language, 0),
        };
        let words = self.text(self.language).clone();
        prompt.say(self.text(kind));
        for _ in 0..more {
            prompt.add(self.text(kind));
        }
        if self.task == Task::Agent {
            prompt.tools = u32::try_from(self.draws.between(3, 10)).unwrap_or(3);
            for _ in 0..prompt.tools {
                prompt.add(self.text(Kind::Json));
            }
        }
        if self.task == Task::Document {
            self.fill(prompt);
        }
        words
    }

    /// Adds texts until the document is as long as was drawn.
    fn fill(&mut self, prompt: &mut Prompt) {
        let thousands = [8, 12, 16, 24, 30, 34, 40, 60, 80];
        let wanted = self.draws.pick(&thousands).copied().unwrap_or(8) * 1000;
        while prompt.tokens[TokenizerFamily::O200k as usize] < wanted {
            let kind = if self.draws.percent(70) { self.language } else { Kind::Mixed };
            prompt.add(self.text(kind));
        }
    }

    /// The answer that is on record, and what came after it.
    fn go_on(&mut self, prompt: &mut Prompt) {
        let (answer, next) = match self.task {
            Task::Agent => (Kind::Json, *self.draws.pick(&[Kind::Code, Kind::Json, Kind::Mixed]).unwrap_or(&Kind::Json)),
            Task::Code => (Kind::Code, self.language),
            Task::Chat | Task::Extraction | Task::Document => (self.language, self.language),
        };
        prompt.say(self.text(answer));
        prompt.say(self.text(next));
    }

    fn turn(&mut self, place: usize, prompt: &Prompt, words: &Text) -> Turn {
        let reasoning = match self.task {
            Task::Extraction => ReasoningWish::Off,
            Task::Agent if self.draws.percent(50) => ReasoningWish::Off,
            Task::Code if self.draws.percent(30) => ReasoningWish::On,
            Task::Chat if self.draws.percent(40) => ReasoningWish::Off,
            Task::Agent | Task::Code | Task::Chat | Task::Document => ReasoningWish::Unsaid,
        };
        let (features, bound) = match self.task {
            Task::Extraction => (Features::NONE.with(Feature::JsonObject), Some(1000)),
            Task::Agent => (Features::NONE.with(Feature::Tools), None),
            Task::Chat if self.draws.percent(40) => (Features::NONE, Some(2000)),
            Task::Code | Task::Chat | Task::Document => (Features::NONE, None),
        };
        let mut request = request(prompt, self.floor, format!("s{}", self.session));
        (request.features, request.reasoning, request.output_bound) = (features, reasoning, bound.map(Tokens::new));
        let length = words.length().max(1);
        Turn {
            number: 0,
            session: self.session,
            place,
            at: self.at,
            task: self.task,
            input: with_framing(prompt, &request),
            request,
            bytes: Vec::new(),
            words: words.tokens.map(|tokens| tokens * 1000 / length),
        }
    }
}

/// An instant of the time, more likely by day in China and by day in America.
fn moment(plan: Plan, draws: &mut Draws) -> Timestamp {
    let seconds = u64::try_from(plan.until.as_second() - plan.from.as_second()).unwrap_or(0);
    let mut at = plan.from;
    // The busier the hour, the likelier it is taken; after a few draws any is.
    for _ in 0..8 {
        let second = i64::try_from(draws.below(seconds)).unwrap_or(0);
        at = plan.from.saturating_add(SignedDuration::from_secs(second)).unwrap_or(plan.from);
        let hour = at.as_second().rem_euclid(86_400) / 3600;
        let busy = match hour {
            1..=10 => 90,
            13..=21 => 70,
            _ => 30,
        };
        if draws.percent(busy) {
            break;
        }
    }
    at
}

fn request(prompt: &Prompt, floor: QualityTier, session: String) -> Request {
    Request {
        shape: Shape::OpenAiChat,
        body: Bytes::new(),
        members: Members::default(),
        model: "auto".to_owned(),
        stream: true,
        wants_usage_frame: false,
        output_bound: None,
        choices: 1,
        features: Features::NONE,
        token_input: Tokens::ZERO,
        dimensions: None,
        pieces: Pieces::default(),
        image: ImageWish::default(),
        thinking_budget: None,
        no_object: false,
        may_hold_thoughts: false,
        unpriced: None,
        reasoning: ReasoningWish::Unsaid,
        text: prompt.profile,
        messages: prompt.messages,
        tools: prompt.tools,
        images: 0,
        wishes: Wishes { quality: Some(floor), session: Some(session), ..Wishes::default() },
    }
}

/// The prompt's tokens with what the templates put around them. Nobody counted the framing of hosted models, so it is what
/// the meter says of a request without any text.
fn with_framing(prompt: &Prompt, request: &Request) -> ByFamily {
    let framing = Estimate::of(&Request { text: TextProfile::default(), ..request.clone() });
    let mut tokens = prompt.tokens;
    for (family, _) in TokenizerFamily::WORDS {
        tokens[family as usize] += framing.expected(family).get();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn plan(requests: usize, seed: u64) -> Plan {
        let at = |text: &str| text.parse().unwrap();
        Plan { from: at("2026-05-01T00:00:00Z"), until: at("2026-12-01T00:00:00Z"), requests, seed: Seed::new(seed) }
    }

    fn told(turns: &[Turn]) -> Vec<(Timestamp, usize, ByFamily)> {
        turns.iter().map(|turn| (turn.at, turn.session, turn.input)).collect()
    }

    #[test]
    fn the_seed_decides_and_nothing_else() {
        let texts = Texts::shipped().unwrap();
        let of = |seed| told(&generate(plan(300, seed), &texts));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1).len(), 300);
    }

    #[test]
    fn sessions_grow_and_every_kind_of_request_comes() {
        let turns = generate(plan(2000, 1), &Texts::shipped().unwrap());
        let mut sessions: BTreeMap<usize, Vec<&Turn>> = BTreeMap::new();
        for turn in &turns {
            sessions.entry(turn.session).or_default().push(turn);
        }
        for session in sessions.values() {
            for pair in session.windows(2) {
                assert_eq!(pair[1].place, pair[0].place + 1);
                assert!(pair[1].at > pair[0].at);
                assert!(pair[0].input.iter().zip(pair[1].input).all(|(before, after)| *before < after));
            }
        }
        assert!(turns.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let tasks: BTreeSet<String> = turns.iter().map(|turn| format!("{:?}", turn.task)).collect();
        assert_eq!(tasks.len(), 5);
        let chinese = turns.iter().filter(|turn| turn.request.text.lead3_han > 100).count();
        assert!((600..1700).contains(&chinese), "{chinese}");
        assert!(turns.iter().map(|turn| turn.input[0]).max().unwrap() > 60_000);
    }

    #[test]
    fn the_gateway_estimates_what_it_is_not_told() {
        let turns = generate(plan(500, 3), &Texts::shipped().unwrap());
        let family = TokenizerFamily::DeepseekV3;
        let off = |turn: &Turn| {
            let truth = turn.input[family as usize];
            Estimate::of(&turn.request).expected(family).get().abs_diff(truth) * 1000 / truth
        };
        let mut errors: Vec<u64> = turns.iter().map(off).collect();
        errors.sort_unstable();
        let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
        assert!((1..100).contains(&median) && worst > 20, "median {median}, worst {worst} of 1000");
    }
}
