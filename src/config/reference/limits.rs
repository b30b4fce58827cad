//! Entries of what a key, a team, a project and the whole gateway may ask for, and of what their requests wish where they do not
//! say: the same for each.

use super::Group;
use crate::config::means::{DefaultWishes, HasMeans, MayTrain, RawWishes};
use crate::config::setting::{Dollars, Maybe, Setting, Texts, TokenCount, Truth, Word, setting, whole};
use crate::config::settings::{PREFERENCE_WORDS, QUALITY_WORDS};

const PROVIDERS: &str = "providers of the table";
const MODELS: &str = "models of the table, or provider/model, with `*` for any run of characters";

/// What they may ask for. Of several levels the strictest counts, of lists what stands in all of them.
pub(super) fn limits<S: HasMeans>() -> Vec<Setting<S>> {
    vec![
        setting("providers", Texts(PROVIDERS), |s: &mut S| &mut s.means().limits.providers)
            .means("Only these providers.")
            .unset("any", "[\"deepseek\", \"openai\"]"),
        setting("exclude_providers", Texts(PROVIDERS), |s: &mut S| &mut s.means().limits.excluded_providers)
            .means("Not these providers.")
            .unset("none", "[\"openrouter\"]"),
        setting("models", Texts(MODELS), |s: &mut S| &mut s.means().models)
            .means("Only these models; `auto` chooses among them.")
            .unset("any", "[\"gpt-*\", \"deepseek/*\"]"),
        setting("regions", Texts("regions of the table"), |s: &mut S| &mut s.means().limits.regions)
            .means("Only backends that serve from these regions.")
            .unset("any", "[\"EU\", \"US\", \"local\"]"),
        setting("jurisdictions", Texts("jurisdictions of the table"), |s: &mut S| &mut s.means().limits.jurisdictions)
            .means("Only providers whose data falls under one of these laws.")
            .unset("any", "[\"FR\", \"US\", \"local\"]"),
        setting("quality", Maybe(Word(&QUALITY_WORDS)), |s: &mut S| &mut s.means().limits.quality)
            .means("At least this quality, whatever a request asks for.")
            .unset("no floor", "\"standard\""),
        setting("max_cost_usd", Maybe(Dollars), |s: &mut S| &mut s.means().limits.max_cost)
            .means("What one request may cost at most.")
            .unset("no bound", "0.50"),
        setting("max_output_tokens", Maybe(TokenCount(1..=10_000_000)), |s: &mut S| &mut s.means().limits.max_output)
            .means("What one answer may be long at most.")
            .unset("no bound", "8192"),
        setting("may_train", MayTrain, |s: &mut S| &mut s.means().limits.no_training)
            .means("Whether providers that train on API data, or do not say, may be used."),
        setting("max_retention_days", Maybe(whole(0..=36_500)), |s: &mut S| &mut s.means().limits.max_retention_days)
            .means("Only providers known to keep prompts for no longer than this; 0 wants those that keep none.")
            .unset("any", "30"),
        setting("registered", Truth, |s: &mut S| &mut s.means().limits.registered)
            .means("Only providers whose models are known to be registered for public service."),
        setting("max_price_per_million_usd", Maybe(Dollars), |s: &mut S| &mut s.means().limits.max_price)
            .means("What a million tokens in a request's own mix may be expected to cost at most.")
            .unset("no bound", "5.00"),
        setting("strict", Truth, |s: &mut S| &mut s.means().limits.strict).means(
            "Refuse a request with a parameter that no adequate backend's API can express (`seed`, `top_k`, \
                 `verbosity`). Otherwise it is left out, and `x-tokenbroker-dropped` names it.",
        ),
        setting("wishes", DefaultWishes, |s: &mut S| &mut s.means().wishes)
            .means(
                "What requests wish that do not say so themselves, by the names of the `tokenbroker` object; a request may say \
                 otherwise. The narrowest level that says a wish counts.",
            )
            .unset("none", "{ quality = \"standard\", deadline_ms = 20000 }"),
    ]
}

/// What may stand in `wishes`: what a request can wish but for what is its own (a session, a dry run).
pub(crate) fn wishes() -> Group<RawWishes> {
    let settings = vec![
        setting("quality", Maybe(Word(&QUALITY_WORDS)), |w: &mut RawWishes| &mut w.0.quality),
        setting("max_cost_usd", Maybe(Dollars), |w: &mut RawWishes| &mut w.0.max_cost),
        setting("regions", Texts("regions of the table"), |w: &mut RawWishes| &mut w.0.regions),
        setting("providers", Texts(PROVIDERS), |w: &mut RawWishes| &mut w.0.providers),
        setting("exclude", Texts(PROVIDERS), |w: &mut RawWishes| &mut w.0.excluded_providers),
        setting("deadline_ms", Maybe(whole(1..=3_600_000)), |w: &mut RawWishes| &mut w.0.deadline_ms),
        setting("race", Maybe(whole(1..=4)), |w: &mut RawWishes| &mut w.0.race),
        setting("jurisdictions", Texts("jurisdictions of the table"), |w: &mut RawWishes| &mut w.0.jurisdictions),
        setting("may_train", MayTrain, |w: &mut RawWishes| &mut w.0.data.no_training),
        setting("max_retention_days", Maybe(whole(0..=36_500)), |w: &mut RawWishes| &mut w.0.data.max_retention_days),
        setting("registered", Truth, |w: &mut RawWishes| &mut w.0.data.registered),
        setting("prefer", Maybe(Word(&PREFERENCE_WORDS)), |w: &mut RawWishes| &mut w.0.prefer),
        setting("max_price_per_million_usd", Maybe(Dollars), |w: &mut RawWishes| &mut w.0.max_price),
    ];
    Group { name: "wishes", about: "", settings }
}
