//! Whether a backend can answer a request, and if not, the rule that excludes it with the figures that met.
//!
//! Rules are tried in a fixed order: what the provider is, what the model can do, what it costs, how it fares. So a
//! reason is stable while health comes and goes, and a backend that is left out for its health was fit in every other
//! way: waiting would help. A refusal is a small value without text, as most backends of a table are refused for most
//! requests; words are made of it when somebody asks.

use std::fmt;
use std::time::Duration;

use super::board::{Price, PriceBounds, Row};
use super::facts::{Availability, BackendHealth, Facts};
use super::needs::{Needs, NotByHand};
use super::rule::{Rule, Tally};
use crate::canonical::{Features, Parameters, ReasoningWish, SchemaBy, Shape};
use crate::catalog::{Backend, BackendIndex, Dimensions, Limits, Provider, Quality, Reasoning, Retention};
use crate::units::{Currency, ShareBy, Tokens, Usd};

/// Why a backend is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The table switches it, or its provider, off.
    Disabled,
    /// Its provider's key is missing, or a part of its address.
    NoKey,
    /// The key or the request names other providers.
    ProviderNotAllowed,
    /// The key or the request rules its provider out.
    ProviderExcluded,
    /// The key names other models.
    ModelNotAllowed,
    /// It is served elsewhere than allowed.
    OutsideRegions,
    /// Its data falls under another law than allowed.
    OutsideJurisdictions,
    /// Its provider trains on what it is sent, or does not say.
    TrainsOnData,
    /// Its provider keeps what it is sent for longer than allowed, or does not say for how long.
    RetainsData { kept: Option<Retention>, most: u32 },
    /// Its provider's models are not registered for public service, or nobody says so.
    NotRegistered,
    /// It cannot be asked in this shape, nor the request be said in another: its provider has no such endpoint, or it serves others.
    DialectUnsupported(Shape),
    /// Its vectors are of other lengths, or nobody says of which.
    DimensionsUnsupported(Option<Dimensions>, u32),
    /// It cannot do this.
    MissingFeatures(Features),
    /// It is made to answer by a schema by hand, which cannot be done here.
    SchemaByHand(SchemaBy, NotByHand),
    /// Thinking was refused, and it always thinks.
    ReasoningAlwaysOn,
    /// Thinking was asked for of anybody, and it never thinks.
    ReasoningMissing,
    /// It is not good at the prompt's language.
    LanguageUnsupported,
    /// Below the floor; no score counts as zero.
    BelowQuality { score: Option<u8>, floor: u8 },
    /// Prompt and answer may not fit its window.
    ContextTooSmall { window: Tokens, needed: Tokens },
    /// It writes less than the client's bound, and providers refuse a bound above their own.
    OutputTooSmall { max: Tokens, wanted: Tokens },
    /// The table has no price for so long a prompt.
    InputUnpriced { priced_up_to: Tokens, needed: Tokens },
    /// The table has no price in force: promise 4, it is not used.
    Unpriced,
    /// The same of images of such a kind.
    ImageUnpriced,
    /// It would be asked in the client's own words, in which something is that has no price.
    OwnWordsUnpriced,
    /// There is no exchange rate for its currency.
    NoExchangeRate(Currency),
    /// In its words, or of the client's own, something would be left out that must not be: these parameters of a client of this shape, or, without any, what
    /// has no place in other words at all.
    LeavesOut(Parameters, Shape),
    /// Even the least that could be held for it is above what the request may cost.
    TooDear { worst: Usd, max: Usd },
    /// A million tokens in the request's mix are expected to cost more than they may.
    PriceAboveMax { price: Usd, max: Usd },
    /// A hard cap on its provider's, owner's or law's share is used up; the share in millionths.
    OverShare { by: ShareBy, share: u32, percent: u8 },
    /// Its breaker is open.
    CoolingDown { remaining: Duration },
    /// Too many requests wait on it already.
    Saturated,
}

impl Unfit {
    /// The rule that it broke.
    pub const fn rule(self) -> Rule {
        match self {
            Unfit::Disabled => Rule::Disabled,
            Unfit::NoKey => Rule::NoKey,
            Unfit::ProviderNotAllowed => Rule::ProviderNotAllowed,
            Unfit::ProviderExcluded => Rule::ProviderExcluded,
            Unfit::ModelNotAllowed => Rule::ModelNotAllowed,
            Unfit::OutsideRegions => Rule::OutsideRegions,
            Unfit::OutsideJurisdictions => Rule::OutsideJurisdictions,
            Unfit::TrainsOnData => Rule::TrainsOnData,
            Unfit::RetainsData { .. } => Rule::RetainsData,
            Unfit::NotRegistered => Rule::NotRegistered,
            Unfit::DialectUnsupported(_) => Rule::DialectUnsupported,
            Unfit::DimensionsUnsupported(..) => Rule::DimensionsUnsupported,
            Unfit::MissingFeatures(_) => Rule::MissingFeatures,
            Unfit::SchemaByHand(..) => Rule::SchemaByHand,
            Unfit::ReasoningAlwaysOn => Rule::ReasoningAlwaysOn,
            Unfit::ReasoningMissing => Rule::ReasoningMissing,
            Unfit::LanguageUnsupported => Rule::LanguageUnsupported,
            Unfit::BelowQuality { .. } => Rule::BelowQuality,
            Unfit::ContextTooSmall { .. } => Rule::ContextTooSmall,
            Unfit::OutputTooSmall { .. } => Rule::OutputTooSmall,
            Unfit::InputUnpriced { .. } => Rule::InputUnpriced,
            Unfit::Unpriced | Unfit::ImageUnpriced | Unfit::OwnWordsUnpriced => Rule::Unpriced,
            Unfit::NoExchangeRate(_) => Rule::NoExchangeRate,
            Unfit::LeavesOut(..) => Rule::LeavesOut,
            Unfit::TooDear { .. } => Rule::TooDear,
            Unfit::PriceAboveMax { .. } => Rule::PriceAboveMax,
            Unfit::OverShare { .. } => Rule::OverShare,
            Unfit::CoolingDown { .. } => Rule::CoolingDown,
            Unfit::Saturated => Rule::Saturated,
        }
    }

    /// The rule in one word: label, summary and JSON.
    pub const fn word(self) -> &'static str {
        self.rule().word()
    }

    /// The backend was fit in every other way, and may be so again without anybody changing anything.
    pub const fn is_passing(self) -> bool {
        matches!(self, Unfit::CoolingDown { .. } | Unfit::Saturated | Unfit::OverShare { .. })
    }

    /// How long a backend is left alone for, where that is the rule and known.
    pub const fn remaining(self) -> Option<Duration> {
        if let Unfit::CoolingDown { remaining } = self { Some(remaining) } else { None }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Disabled => f.write_str("switched off in the table"),
            Unfit::NoKey => f.write_str("its provider's key, or a part of its address, is missing"),
            Unfit::ProviderNotAllowed => f.write_str("its provider is not among those allowed"),
            Unfit::ProviderExcluded => f.write_str("its provider is excluded"),
            Unfit::ModelNotAllowed => f.write_str("its model is not among those allowed"),
            Unfit::OutsideRegions => f.write_str("served outside the allowed regions"),
            Unfit::OutsideJurisdictions => f.write_str("under a law that is not allowed"),
            Unfit::TrainsOnData => f.write_str("its provider trains on data, or does not say"),
            Unfit::RetainsData { kept, most } => {
                match kept {
                    None => f.write_str("its provider does not say how long it keeps data")?,
                    Some(Retention::None) => f.write_str("its provider keeps no data")?,
                    Some(Retention::Days(days)) => write!(f, "its provider keeps data for {days} days")?,
                    Some(Retention::Kept) => f.write_str("its provider keeps data for good")?,
                }
                write!(f, ", at most {most} days allowed")
            }
            Unfit::NotRegistered => f.write_str("not known to be registered for public service"),
            Unfit::DialectUnsupported(shape) => write!(f, "it has no endpoint for {}", shape.word()),
            Unfit::DimensionsUnsupported(Some(made), wanted) => write!(f, "{wanted} dimensions wanted, it makes {made}"),
            Unfit::DimensionsUnsupported(None, wanted) => write!(f, "{wanted} dimensions wanted, of it none are known"),
            Unfit::MissingFeatures(missing) => {
                f.write_str("cannot do")?;
                missing.iter().try_for_each(|feature| write!(f, " {}", feature.word()))
            }
            Unfit::SchemaByHand(by, why) => {
                write!(f, "made to answer by a schema by {}, which leaves no room for {}", by.word(), why.word())
            }
            Unfit::ReasoningAlwaysOn => f.write_str("always thinks, and thinking was refused"),
            Unfit::ReasoningMissing => f.write_str("never thinks, and thinking was asked for"),
            Unfit::LanguageUnsupported => f.write_str("not good at Chinese"),
            Unfit::BelowQuality { score: Some(score), floor } => write!(f, "quality {score} is below the floor of {floor}"),
            Unfit::BelowQuality { score: None, floor } => write!(f, "quality unknown, the floor is {floor}"),
            Unfit::ContextTooSmall { window, needed } => write!(f, "window of {window} tokens, {needed} may be needed"),
            Unfit::OutputTooSmall { max, wanted } => write!(f, "writes at most {max} tokens, {wanted} wanted"),
            Unfit::InputUnpriced { priced_up_to, needed } => {
                write!(f, "no price above {priced_up_to} input tokens, {needed} may be needed")
            }
            Unfit::Unpriced => f.write_str("no price in force"),
            Unfit::ImageUnpriced => f.write_str("no price for images of this size and quality"),
            Unfit::OwnWordsUnpriced => f.write_str("no price for a tool that it would run itself"),
            Unfit::NoExchangeRate(currency) => write!(f, "no exchange rate for {currency}"),
            Unfit::LeavesOut(lost, _) if lost.is_empty() => {
                f.write_str("asked in words that leave out what must not be left out")
            }
            Unfit::LeavesOut(lost, client) => {
                f.write_str("asked in words that leave out")?;
                lost.iter().try_for_each(|parameter| write!(f, " {}", parameter.word(*client)))
            }
            Unfit::TooDear { worst, max } => write!(f, "could cost ${}, at most ${} allowed", worst.to_exact(), max.to_exact()),
            Unfit::PriceAboveMax { price, max } => {
                write!(f, "${} per million tokens of this request, at most ${} allowed", price.to_exact(), max.to_exact())
            }
            Unfit::OverShare { by, share, percent } => {
                let (whole, tenth) = (share / 10_000, share / 1_000 % 10);
                write!(f, "the share of its {} is {whole}.{tenth} %, at the cap of {percent} %", by.word())
            }
            Unfit::CoolingDown { remaining } => write!(f, "cooling down for {} s more", remaining.as_millis().div_ceil(1000)),
            Unfit::Saturated => f.write_str("too many requests wait on it"),
        }
    }
}

/// What a request requires of what a backend can and what the table says of its price, before its quote and its health.
/// Whether its provider may be asked is [`permitted`](super::permit::permitted)'s.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'n> {
    needs: &'n Needs,
    forbidden: Option<Reasoning>,
    floor: u8,
    /// The least that may be written: the client's bound, else a token.
    output: Tokens,
    /// The client's bound, else none.
    bound: Tokens,
}

impl<'n> Rules<'n> {
    pub fn of(needs: &'n Needs) -> Self {
        let forbidden = match needs.reasoning {
            ReasoningWish::Off => Some(Reasoning::Always),
            ReasoningWish::On if needs.thinks => Some(Reasoning::Never),
            ReasoningWish::On | ReasoningWish::Unsaid => None,
        };
        let (floor, bound) = (Quality::floor_of(needs.quality), needs.output_bound.unwrap_or(Tokens::ZERO));
        Self { needs, forbidden, floor, output: needs.output_bound.unwrap_or(Tokens::new(1)), bound }
    }

    /// The first rule that a backend breaks. `input` is the prompt's upper bound: a prompt that might not fit is not tried.
    pub fn judge(&self, row: &Row, input: Tokens) -> Result<(), Unfit> {
        self.able(row)?;
        self.roomy(&row.limits, input)?;
        match row.price {
            Price::Unlisted => Err(Unfit::Unpriced),
            Price::Unconverted(currency) => Err(Unfit::NoExchangeRate(currency)),
            Price::Bounded(PriceBounds { priced_input, .. }) if input > priced_input => {
                Err(Unfit::InputUnpriced { priced_up_to: priced_input, needed: input })
            }
            Price::Bounded(_) => Ok(()),
        }
    }

    fn able(&self, row: &Row) -> Result<(), Unfit> {
        if !(row.shapes.contains(self.needs.shape) || self.needs.translated && row.shapes.converses()) {
            return Err(Unfit::DialectUnsupported(self.needs.shape));
        }
        if let Some(wanted) = self.needs.dimensions.filter(|wanted| !row.dimensions.is_some_and(|d| d.offer(*wanted))) {
            return Err(Unfit::DimensionsUnsupported(row.dimensions, wanted));
        }
        let missing = self.needs.features.missing_from(row.features);
        if !missing.is_empty() {
            return Err(Unfit::MissingFeatures(missing));
        }
        if let Err(why) = self.needs.by_hand
            && row.schema_by != SchemaBy::Native
        {
            return Err(Unfit::SchemaByHand(row.schema_by, why));
        }
        match self.forbidden {
            Some(Reasoning::Always) if row.reasoning == Reasoning::Always => return Err(Unfit::ReasoningAlwaysOn),
            Some(Reasoning::Never) if row.reasoning == Reasoning::Never => return Err(Unfit::ReasoningMissing),
            Some(_) | None => {}
        }
        if self.needs.chinese && !row.speaks_chinese {
            return Err(Unfit::LanguageUnsupported);
        }
        if row.quality.unwrap_or(0) < self.floor {
            return Err(Unfit::BelowQuality { score: row.quality, floor: self.floor });
        }
        Ok(())
    }

    fn roomy(&self, limits: &Limits, input: Tokens) -> Result<(), Unfit> {
        if self.bound > limits.max_output {
            return Err(Unfit::OutputTooSmall { max: limits.max_output, wanted: self.bound });
        }
        let needed = input + self.output;
        if needed > limits.context && !self.needs.apart {
            return Err(Unfit::ContextTooSmall { window: limits.context, needed });
        }
        match limits.priced_input {
            Some(priced_up_to) if input > priced_up_to => Err(Unfit::InputUnpriced { priced_up_to, needed: input }),
            Some(_) | None => Ok(()),
        }
    }
}

/// What a backend would leave out, where that must not be, or would be told that must not.
pub(super) fn says_all(index: BackendIndex, facts: &Facts<'_>) -> Result<(), Unfit> {
    let ask = facts.ask;
    if ask.other_words_only && !facts.board.row(index).rewords(ask.manner()) {
        return Err(Unfit::OwnWordsUnpriced);
    }
    match ask.unsaid.iter().find(|(mute, _)| *mute == index) {
        Some((_, lost)) => Err(Unfit::LeavesOut(*lost, ask.shape)),
        None => Ok(()),
    }
}

/// Whether no request at all may have it: first, so that it need not be asked for each of them.
pub(super) fn barred(backend: &Backend, provider: &Provider, availability: Availability) -> Result<(), Unfit> {
    if backend.disabled.is_some() || provider.disabled.is_some() {
        return Err(Unfit::Disabled);
    }
    match availability {
        Availability::Ready => Ok(()),
        Availability::NoKey => Err(Unfit::NoKey),
    }
}

/// What its recent past says against it.
pub fn available(health: BackendHealth) -> Result<(), Unfit> {
    match health {
        BackendHealth { cooling: Some(remaining), .. } => Err(Unfit::CoolingDown { remaining }),
        BackendHealth { waiting_full: true, .. } => Err(Unfit::Saturated),
        BackendHealth { .. } => Ok(()),
    }
}

/// How often each rule excluded a backend: the most frequent first, then by word.
pub fn tally(rejected: &[(BackendIndex, Unfit)]) -> Vec<(&'static str, usize)> {
    rejected.iter().map(|(_, unfit)| unfit.rule()).collect::<Tally>().words()
}

#[cfg(test)]
mod reworded;
#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, Spec};
    use super::*;
    use crate::canonical::{Feature, QualityTier, TextProfile};

    /// One backend, `north/mist`, that is adequate until `change` makes it unfit.
    fn check(change: impl FnOnce(&mut Case), expected: Unfit, text: &str) {
        let mut case = Case::of(vec![Spec::named("north/mist")]);
        assert_eq!(case.unfit("north/mist"), None, "adequate before the change");
        change(&mut case);
        assert_eq!(case.unfit("north/mist"), Some(expected));
        assert_eq!(expected.to_string(), text);
        assert!(Rule::WORDS.contains(&expected.word()), "{}", expected.word());
    }

    fn list(item: &str) -> Vec<String> {
        vec![item.to_owned()]
    }

    #[test]
    fn a_provider_that_may_not_be_used_is_left_out() {
        check(|c| c.specs[0].disabled = true, Unfit::Disabled, "switched off in the table");
        check(|c| c.provider("north").disabled = Some("moved".into()), Unfit::Disabled, "switched off in the table");
        check(|c| c.keyless = list("north"), Unfit::NoKey, "its provider's key, or a part of its address, is missing");
        let (word, text) = (Unfit::ProviderNotAllowed, "its provider is not among those allowed");
        check(|c| c.limits.providers = list("south"), word, text);
        check(|c| c.request.wishes.providers = list("south"), word, text);
        check(|c| c.limits.excluded_providers = list("north"), Unfit::ProviderExcluded, "its provider is excluded");
        let (other, text) = (Unfit::ModelNotAllowed, "its model is not among those allowed");
        for patterns in ["fog", "south/*", "mis", "nort*t/"] {
            check(|c| c.limits.models = vec![list(patterns)], other, text);
        }
        check(|c| c.request.wishes.excluded_providers = list("north"), Unfit::ProviderExcluded, "its provider is excluded");
    }

    #[test]
    fn data_stays_where_it_may() {
        check(|c| c.limits.regions = list("EU"), Unfit::OutsideRegions, "served outside the allowed regions");
        check(|c| c.request.wishes.regions = list("EU"), Unfit::OutsideRegions, "served outside the allowed regions");
        check(|c| c.limits.jurisdictions = list("EU"), Unfit::OutsideJurisdictions, "under a law that is not allowed");
        check(|c| c.request.wishes.jurisdictions = list("EU"), Unfit::OutsideJurisdictions, "under a law that is not allowed");
        let text = "its provider trains on data, or does not say";
        for trains in [None, Some(true)] {
            check(
                |c| {
                    c.limits.may_train = false;
                    c.provider("north").trains_on_data = trains;
                },
                Unfit::TrainsOnData,
                text,
            );
        }
    }

    #[test]
    fn what_is_kept_and_what_is_registered_must_be_known() {
        let kept = |most, kept| {
            move |c: &mut Case| {
                c.request.wishes.data.max_retention_days = Some(most);
                c.provider("north").retention = kept;
            }
        };
        let retains = |kept, most| Unfit::RetainsData { kept, most };
        let text = "its provider does not say how long it keeps data, at most 30 days allowed";
        check(kept(30, None), retains(None, 30), text);
        let text = "its provider keeps data for 31 days, at most 30 days allowed";
        check(kept(30, Some(Retention::Days(31))), retains(Some(Retention::Days(31)), 30), text);
        let text = "its provider keeps data for good, at most 36500 days allowed";
        check(kept(36_500, Some(Retention::Kept)), retains(Some(Retention::Kept), 36_500), text);
        for (most, fine) in [(0, Retention::None), (30, Retention::Days(30))] {
            let mut case = Case::of(vec![Spec::named("north/mist")]);
            kept(most, Some(fine))(&mut case);
            assert_eq!(case.unfit("north/mist"), None);
        }
        for registered in [None, Some(false)] {
            let change = |c: &mut Case| {
                c.limits.registered = true;
                c.provider("north").registered = registered;
            };
            check(change, Unfit::NotRegistered, "not known to be registered for public service");
        }
    }

    #[test]
    fn who_does_not_think_is_left_out_where_anybody_would_do_and_another_thinks() {
        let thinker = Spec { reasoning: Reasoning::Switchable, ..Spec::named("south/fog").costing("9", "9") };
        let mut case = Case::of(vec![Spec::named("north/mist"), thinker]);
        case.request.reasoning = ReasoningWish::On;
        assert_eq!((case.unfit("north/mist"), case.shape()), (Some(Unfit::ReasoningMissing), Ok("south/fog".to_owned())));
        assert_eq!(Unfit::ReasoningMissing.to_string(), "never thinks, and thinking was asked for");
        for named in ["north/mist", "mist"] {
            let case = Case { target: named.into(), ..case.clone() };
            assert_eq!((case.unfit("north/mist"), case.shape()), (None, Ok("north/mist".to_owned())), "{named}");
        }
        let mut ill = case.clone();
        ill.specs[1].health.cooling = Some(Duration::from_secs(9));
        assert_eq!((ill.unfit("north/mist"), ill.shape()), (None, Ok("north/mist".to_owned())));
        let alone = Case { keyless: list("south"), ..case };
        assert_eq!((alone.unfit("north/mist"), alone.shape()), (None, Ok("north/mist".to_owned())));
    }

    #[test]
    fn a_price_per_million_is_of_the_requests_own_mix() {
        // 1,000 tokens in at a dollar and 200 out at 4: 1.5 dollars a million.
        let dear = |max: &'static str| {
            move |c: &mut Case| {
                c.specs[0] = Spec::named("north/mist").costing("1", "4");
                c.request.wishes.max_price = Some(Usd::parse(max).unwrap());
            }
        };
        let usd = |text| Usd::parse(text).unwrap();
        let above = Unfit::PriceAboveMax { price: usd("1.5"), max: usd("1.49") };
        check(dear("1.49"), above, "$1.5 per million tokens of this request, at most $1.49 allowed");
        let mut case = Case::of(vec![Spec::named("north/mist")]);
        dear("1.5")(&mut case);
        assert_eq!(case.unfit("north/mist"), None);
    }

    #[test]
    fn a_key_and_a_request_must_both_allow_a_region() {
        check(
            |c| {
                c.limits.regions = list("EU");
                c.request.wishes.regions = list("US");
            },
            Unfit::OutsideRegions,
            "served outside the allowed regions",
        );
    }

    #[test]
    fn a_model_that_cannot_do_it_is_left_out() {
        let wanted = Features::NONE.with(Feature::Tools).with(Feature::ImageInput);
        check(
            |c| {
                c.request.features = wanted;
                c.specs[0].features = Features::NONE.with(Feature::Tools);
            },
            Unfit::MissingFeatures(Features::NONE.with(Feature::ImageInput)),
            "cannot do image_input",
        );
        check(
            |c| {
                c.request.reasoning = ReasoningWish::Off;
                c.specs[0].reasoning = Reasoning::Always;
            },
            Unfit::ReasoningAlwaysOn,
            "always thinks, and thinking was refused",
        );
        check(
            |c| {
                c.request.text = TextProfile::of("你好，世界");
                c.specs[0].languages = vec!["en"];
            },
            Unfit::LanguageUnsupported,
            "not good at Chinese",
        );
    }

    #[test]
    fn quality_is_a_floor() {
        let ask = |score| {
            move |c: &mut Case| {
                c.request.wishes.quality = Some(QualityTier::Standard);
                c.specs[0].quality = score;
            }
        };
        let below = |score| Unfit::BelowQuality { score, floor: 40 };
        check(ask(Some(39)), below(Some(39)), "quality 39 is below the floor of 40");
        check(ask(None), below(None), "quality unknown, the floor is 40");
        let mut case = Case::of(vec![Spec::named("north/mist")]);
        ask(Some(40))(&mut case);
        assert_eq!(case.unfit("north/mist"), None);
    }

    #[test]
    fn prompt_and_answer_must_fit() {
        let t = Tokens::new;
        check(
            |c| {
                c.input = (900, 1000);
                c.specs[0].context = 1000;
            },
            Unfit::ContextTooSmall { window: t(1000), needed: t(1001) },
            "window of 1000 tokens, 1001 may be needed",
        );
        check(
            |c| {
                c.request.output_bound = Some(t(200));
                c.specs[0].max_output = 199;
            },
            Unfit::OutputTooSmall { max: t(199), wanted: t(200) },
            "writes at most 199 tokens, 200 wanted",
        );
        check(
            |c| {
                c.input = (900, 1000);
                c.specs[0].priced_input = Some(999);
            },
            Unfit::InputUnpriced { priced_up_to: t(999), needed: t(1000) },
            "no price above 999 input tokens, 1000 may be needed",
        );
    }

    #[test]
    fn a_prompt_that_just_fits_is_adequate() {
        let mut case = Case::of(vec![Spec::named("north/mist")]);
        (case.input, case.specs[0].context, case.specs[0].priced_input) = ((900, 1000), 1200, Some(1000));
        (case.request.output_bound, case.specs[0].max_output) = (Some(Tokens::new(200)), 200);
        assert_eq!(case.unfit("north/mist"), None);
    }

    #[test]
    fn health_is_looked_at_last() {
        let remaining = Duration::from_millis(1200);
        let cooling = Unfit::CoolingDown { remaining };
        check(|c| c.specs[0].health.cooling = Some(remaining), cooling, "cooling down for 2 s more");
        check(|c| c.specs[0].health.waiting_full = true, Unfit::Saturated, "too many requests wait on it");
        check(
            |c| {
                c.specs[0].health.cooling = Some(remaining);
                c.specs[0].price = None;
            },
            Unfit::Unpriced,
            "no price in force",
        );
        assert!(cooling.is_passing() && !Unfit::Unpriced.is_passing());
    }
}
