//! Who has no endpoint for the client's words, or would be asked in others where that cannot be done.

use super::super::testing::{Case, Spec};
use super::*;
use crate::canonical::{Feature, Parameter};
use crate::catalog::{KeyHeader, MoreEndpoint};

/// `north/mist`, after a change.
fn check(change: impl FnOnce(&mut Case), expected: Option<(Unfit, &str)>) {
    let mut case = Case::of(vec![Spec::named("north/mist")]);
    change(&mut case);
    let unfit = case.unfit("north/mist");
    assert_eq!(unfit, expected.map(|(unfit, _)| unfit));
    assert_eq!(unfit.map(|unfit| unfit.to_string()), expected.map(|(_, text)| text.to_owned()));
}

/// A known defect: such rows were asked in vain.
#[test]
fn a_schema_by_hand_is_screened_out_where_it_cannot_be_asked_for() {
    let by_hand = |change: fn(&mut Case)| {
        move |c: &mut Case| {
            let schema = Features::NONE.with(Feature::JsonSchema);
            c.specs[0].features = schema.with(Feature::ManyChoices).with(Feature::Logprobs);
            (c.specs[0].schema_by, c.request.features, c.translated) = (SchemaBy::Tool, schema, true);
            change(c);
        }
    };
    let unfit = |change, why, what: &str| {
        let text = format!("made to answer by a schema by tool, which leaves no room for {what}");
        check(by_hand(change), Some((Unfit::SchemaByHand(SchemaBy::Tool, why), &text)));
    };
    check(by_hand(|_| {}), None);
    unfit(|c| c.request.no_object = true, NotByHand::NoObject, "a schema of no object");
    unfit(|c| c.request.features = c.specs[0].features, NotByHand::ManyChoices, "many_choices");
    let probable = |c: &mut Case| c.request.features = c.request.features.with(Feature::Logprobs);
    unfit(probable, NotByHand::Logprobs, "logprobs");
    unfit(|c| c.translated = false, NotByHand::OwnWords, "a request that cannot be said in other words");
    // A backend that takes the schema itself is asked for all of it.
    check(by_hand(|c| (c.specs[0].schema_by, c.request.no_object) = (SchemaBy::Native, true)), None);
    check(by_hand(|c| (c.request.features, c.request.no_object) = (Features::NONE, true)), None);
}

#[test]
fn who_would_leave_out_what_must_not_be_is_told_after_the_rules_of_the_table() {
    let lost: Parameters = [Parameter::Seed].into_iter().collect();
    let mute = |lost| move |c: &mut Case| c.unsaid = vec![(BackendIndex(0), lost)];
    let told = |lost| Unfit::LeavesOut(lost, Shape::OpenAiChat);
    check(mute(lost), Some((told(lost), "asked in words that leave out seed")));
    let none = Parameters::NONE;
    check(mute(none), Some((told(none), "asked in words that leave out what must not be left out")));
    let unpriced = |c: &mut Case| {
        mute(lost)(c);
        c.specs[0].price = None;
    };
    check(unpriced, Some((Unfit::Unpriced, "no price in force")));
}

/// Reported: with a budget nobody was asked for what some would leave out anyway.
#[test]
fn what_has_no_price_in_the_clients_own_words_is_asked_in_others_only() {
    let shape = |dialect: &'static str| {
        move |c: &mut Case| {
            c.request.shape = Shape::OpenAiResponses;
            (c.translated, c.other_words_only) = (true, true);
            c.provider("north").dialect = dialect.into();
        }
    };
    let told = Some((Unfit::OwnWordsUnpriced, "no price for a tool that it would run itself"));
    check(shape("openai-responses"), told);
    check(shape("openai-chat"), None);
    check(shape("anthropic-messages"), None);
    let named = |c: &mut Case| {
        shape("openai-responses")(c);
        c.target = "north/mist".into();
    };
    check(named, told);
    let own_words = |c: &mut Case| {
        shape("openai-chat")(c);
        c.translated = false;
    };
    let unfit = Unfit::DialectUnsupported(Shape::OpenAiResponses);
    check(own_words, Some((unfit, "it has no endpoint for openai-responses")));
}

#[test]
fn a_provider_without_an_endpoint_for_the_shape_is_left_out() {
    let messages = |c: &mut Case| c.request.shape = Shape::AnthropicMessages;
    let unfit = Unfit::DialectUnsupported(Shape::AnthropicMessages);
    check(messages, Some((unfit, "it has no endpoint for anthropic-messages")));
    let only_messages = |c: &mut Case| c.provider("north").dialect = "anthropic-messages".into();
    let unfit = Unfit::DialectUnsupported(Shape::OpenAiChat);
    check(only_messages, Some((unfit, "it has no endpoint for openai-chat")));
    for shape in [Shape::OpenAiChat, Shape::AnthropicMessages] {
        let mut case = Case::of(vec![Spec::named("north/mist")]);
        case.request.shape = shape;
        let endpoint = MoreEndpoint {
            shape: Shape::AnthropicMessages,
            base_url: "https://north.example/anthropic/v1".into(),
            auth: KeyHeader::XApiKey,
        };
        case.provider("north").more_endpoints = vec![endpoint];
        assert_eq!(case.unfit("north/mist"), None, "{shape:?}");
    }
}
