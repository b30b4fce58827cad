//! Conversations that go on at a provider of another API when theirs fails: with everything that was said and no result of a tool
//! lost, each provider with the seals that it made and none of another's, and without the client noticing.

mod alike;
mod unsigned;

use std::time::Duration;

use serde_json::json;

use crate::harness::provider::{self, status};
use crate::harness::talk::{Api, Said, Talk};
use crate::harness::thinker::{Heard, Step, Thinker, Thought};
use crate::harness::{Gateway, Provider, Setup, Site, chat, messages};

/// Where a conversation begins, and where it goes on: each API to each other one, and from one provider of a shape to another.
const WAYS: [(Thinker, Thinker); 9] = [
    (Thinker::Chat, Thinker::Messages),
    (Thinker::Chat, Thinker::Gemini),
    (Thinker::Chat, Thinker::StrictChat),
    (Thinker::Messages, Thinker::Chat),
    (Thinker::Messages, Thinker::StrictChat),
    (Thinker::Messages, Thinker::Gemini),
    (Thinker::Messages, Thinker::Messages),
    (Thinker::Gemini, Thinker::Chat),
    (Thinker::Gemini, Thinker::Messages),
];

/// What stands for the seal that a call never had (ai.google.dev, "Thought signatures", FAQ).
const FILLER: &str = "skip_thought_signature_validator";

const EAST: Thought = Thought { of: "east", tools: ["weather", "tide"] };
const WEST: Thought = Thought { of: "west", tools: ["tide", "weather"] };

fn result(tool: &str) -> &'static str {
    if tool == "tide" { "2 metres" } else { "4 degrees" }
}

fn by(said: &Said) -> &str {
    said.answer.header("x-tokenbroker-backend")
}

/// The tools that were called, each for Oslo.
fn tools(said: &Said) -> Vec<&str> {
    assert!(said.calls.iter().all(|call| call.arguments == json!({"place": "Oslo"})), "{}", said.answer.text());
    said.calls.iter().map(|call| call.tool.as_str()).collect()
}

/// The tools answer, the last call first.
fn answer_in_reverse(talk: &mut Talk, said: &Said) {
    talk.answer(said.calls.iter().rev().map(|call| (call, result(&call.tool))));
}

/// A turn with these calls and what they brought.
fn step(thought: &Thought, told: Option<String>, seals: Vec<String>) -> Step {
    Step { answered: thought.tools.map(|tool| (tool.to_owned(), result(tool).to_owned())).into(), thought: told, seals }
}

/// How a turn that was thought elsewhere is told: in words where they are wanted, without a seal. Gemini wants something in the
/// place of a seal while the calls of the turn are being answered.
fn of_another(thinker: Thinker, thought: &Thought, under_way: bool) -> Step {
    let told = (thinker == Thinker::Chat).then(|| thought.text());
    let filler = (thinker == Thinker::Gemini && under_way).then(|| FILLER.to_owned());
    step(thought, told, filler.into_iter().collect())
}

/// How a turn comes back to whoever thought it. Gemini's thoughts are behind their seal, and their text goes nowhere.
fn of_its_own(thinker: Thinker, thought: &Thought) -> Step {
    match thinker {
        Thinker::Chat => step(thought, Some(thought.text()), Vec::new()),
        Thinker::StrictChat => step(thought, None, Vec::new()),
        Thinker::Messages => step(thought, Some(thought.text()), vec![thought.seal()]),
        Thinker::Gemini => step(thought, None, vec![thought.seal()]),
    }
}

/// East thinks and calls, and fails from then on; west answers, is asked again, thinks and calls, and is told what came of it.
async fn check(api: Api, streamed: bool, (begins, goes_on): (Thinker, Thinker)) {
    let way = format!("{api:?} over {begins:?} and {goes_on:?}, streamed: {streamed}");
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([begins.site(&east), goes_on.site(&west).price("3", "6")]);
    east.next(begins.calls(streamed, &EAST)).always(status(503, &[], &chat::error("It is down.")));
    west.next(goes_on.says(streamed, "Wait for the tide."));
    west.next(goes_on.calls(streamed, &WEST));
    west.next(goes_on.says(streamed, "Go now."));
    let mut talk = Talk::begin(api, streamed, &EAST.tools, "May I sail?");

    let called = talk.ask(&gateway).await;
    assert_eq!((by(&called), tools(&called)), ("east/jade-v3", EAST.tools.to_vec()), "{way}");
    answer_in_reverse(&mut talk, &called);
    let waited = talk.ask(&gateway).await;
    assert_eq!((by(&waited), waited.text.as_str()), ("west/jade-v3", "Wait for the tide."), "{way}");
    talk.say("And now?");
    let called = talk.ask(&gateway).await;
    assert_eq!((by(&called), tools(&called)), ("west/jade-v3", WEST.tools.to_vec()), "{way}");
    answer_in_reverse(&mut talk, &called);
    let done = talk.ask(&gateway).await;
    assert_eq!((by(&done), done.text.as_str()), ("west/jade-v3", "Go now."), "{way}");

    let heard: Vec<Heard> = west.calls().iter().map(|arrived| goes_on.heard(arrived)).collect();
    assert_eq!(heard.len(), 3, "{way}");
    assert_eq!(heard[0].steps(), [of_another(goes_on, &EAST, true)], "{way}");
    assert_eq!(heard[1].steps(), [of_another(goes_on, &EAST, false)], "{way}");
    assert_eq!(heard[2].steps(), [of_another(goes_on, &EAST, false), of_its_own(goes_on, &WEST)], "{way}");
    if goes_on == Thinker::Messages {
        // It refuses to think on where the turn that is being answered does not begin with a thought of its own.
        let thinks = [&heard[0], &heard[1], &heard[2]].map(|heard| heard.body["thinking"]["type"] == "enabled");
        assert_eq!(thinks, [false, true, true], "{way}");
    }
    if goes_on == Thinker::StrictChat {
        let refused = ["\"reasoning_content\"", "\"reasoning\"", "\"reasoning_details\""];
        let told = west.calls().iter().any(|arrived| refused.iter().any(|member| arrived.text().contains(member)));
        assert!(!told, "{way}: {}", heard[2].body);
    }
    assert!(heard[1..].iter().all(|heard| heard.body.to_string().contains("Wait for the tide.")), "{way}");
    assert!(west.calls().iter().all(|arrived| !arrived.text().contains(&EAST.seal())), "{way}");
    assert!(east.calls().iter().all(|arrived| !arrived.text().contains(&WEST.seal())), "{way}");
}

async fn check_all(api: Api) {
    for streamed in [false, true] {
        for way in WAYS {
            check(api, streamed, way).await;
        }
    }
}

#[tokio::test]
async fn a_client_of_chat_goes_on_at_any_other_provider() {
    check_all(Api::Chat).await;
}

#[tokio::test]
async fn a_client_of_messages_goes_on_at_any_other_provider() {
    check_all(Api::Messages).await;
}

#[tokio::test]
async fn a_client_of_responses_goes_on_at_any_other_provider() {
    check_all(Api::Responses).await;
}

/// It was doubted that a thought without a seal, beside a known seal of another maker, would pass for that maker's own.
#[tokio::test]
async fn a_signed_thought_and_anothers_unsigned_one_go_back_each_to_who_thought_it() {
    for api in [Api::Chat, Api::Messages, Api::Responses] {
        for streamed in [false, true] {
            let way = format!("{api:?}, streamed: {streamed}");
            let (east, west) = (Provider::start("east").await, Provider::start("west").await);
            let gateway = Gateway::of([Thinker::Messages.site(&east), Thinker::Chat.site(&west)]);
            east.next(Thinker::Messages.calls(streamed, &EAST)).next(Thinker::Messages.says(streamed, "Go east."));
            west.next(Thinker::Chat.calls(streamed, &WEST)).next(Thinker::Chat.says(streamed, "Go west."));
            let mut talk = Talk::begin(api, streamed, &EAST.tools, "May I sail?").at("east/jade-v3");
            let called = talk.ask(&gateway).await;
            answer_in_reverse(&mut talk, &called);
            talk = talk.at("west/jade-v3");
            let called = talk.ask(&gateway).await;
            answer_in_reverse(&mut talk, &called);

            talk = talk.at("east/jade-v3");
            assert_eq!(talk.ask(&gateway).await.text, "Go east.", "{way}");
            talk.say("And the other?");
            talk = talk.at("west/jade-v3");
            assert_eq!(talk.ask(&gateway).await.text, "Go west.", "{way}");

            let heard = |thinker: Thinker, provider: &Provider| thinker.heard(&provider.calls()[1]).steps();
            let at_east = [of_its_own(Thinker::Messages, &EAST), of_another(Thinker::Messages, &WEST, true)];
            assert_eq!(heard(Thinker::Messages, &east), at_east, "{way}");
            let at_west = [of_another(Thinker::Chat, &EAST, false), of_its_own(Thinker::Chat, &WEST)];
            assert_eq!(heard(Thinker::Chat, &west), at_west, "{way}");
        }
    }
}

/// What Anthropic says of a signature that it did not make.
const INVALID: &str = "messages.1.content.0: Invalid `signature` in `thinking` block";

/// The backend, and how the cause in the books begins, of each attempt.
async fn attempts(gateway: &Gateway, said: &Said) -> Vec<(String, String)> {
    let row = gateway.row_of(&said.answer).await;
    let cause = |cause: &Option<String>| cause.as_deref().unwrap_or("").split(':').next().unwrap_or("").to_owned();
    row.attempts.iter().map(|attempt| (attempt.backend.as_str().to_owned(), cause(&attempt.cause))).collect()
}

/// Two sites of Messages at these prices: of two gateways that differ in them, neither knows what the other was told, and each asks another.
fn sites(east: (&Provider, &str), west: (&Provider, &str)) -> [Site; 2] {
    [east, west].map(|(provider, price)| Thinker::Messages.site(provider).price(price, price))
}

/// A known defect: after a restart, or at another gateway, the signature of one maker went to another, whose 400 was final and came again
/// with every question.
#[tokio::test]
async fn a_seal_that_nobody_remembers_is_taken_out_where_it_is_refused() {
    for streamed in [false, true] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let (first, next) = (Gateway::of(sites((&east, "1"), (&west, "3"))), Gateway::of(sites((&east, "3"), (&west, "1"))));
        east.next(Thinker::Messages.calls(streamed, &EAST));
        west.next(status(400, &[], &messages::error("invalid_request_error", INVALID)));
        west.next(Thinker::Messages.calls(streamed, &WEST)).next(Thinker::Messages.says(streamed, "Go now."));
        let mut talk = Talk::begin(Api::Messages, streamed, &EAST.tools, "May I sail?");

        let called = talk.ask(&first).await;
        assert_eq!(by(&called), "east/jade-v3");
        answer_in_reverse(&mut talk, &called);
        let called = talk.ask(&next).await;
        let both = [("bad_request"), ("")].map(|cause| ("west/jade-v3".to_owned(), cause.to_owned()));
        assert_eq!((by(&called), attempts(&next, &called).await), ("west/jade-v3", both.to_vec()));
        answer_in_reverse(&mut talk, &called);
        // That the other's is refused is known by now, and its own, behind that, comes back to it.
        let done = talk.ask(&next).await;
        assert_eq!((done.text.as_str(), attempts(&next, &done).await), ("Go now.", both[1..].to_vec()));

        let heard = west.calls();
        let seals = heard.iter().map(|arrived| [&EAST, &WEST].map(|thought| arrived.text().contains(&thought.seal())));
        assert_eq!(seals.collect::<Vec<_>>(), [[true, false], [false, false], [false, true]]);
        let heard: Vec<Heard> = heard.iter().map(|arrived| Thinker::Messages.heard(arrived)).collect();
        assert_eq!(heard[1].steps(), [of_another(Thinker::Messages, &EAST, true)]);
        let steps = [of_another(Thinker::Messages, &EAST, true), of_its_own(Thinker::Messages, &WEST)];
        assert_eq!((heard[2].steps(), &heard[2].body["thinking"]["type"]), (steps.into(), &json!("enabled")));
    }
}

/// What a gateway remembers of refused seals is of those alone: another conversation at the same provider keeps its own.
#[tokio::test]
async fn what_was_refused_of_one_conversation_is_not_kept_from_another() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let (first, next) = (Gateway::of(sites((&east, "1"), (&west, "3"))), Gateway::of(sites((&east, "3"), (&west, "1"))));
    east.next(Thinker::Messages.calls(false, &EAST));
    let mut foreign = Talk::begin(Api::Messages, false, &EAST.tools, "May I sail?");
    let called = foreign.ask(&first).await;
    answer_in_reverse(&mut foreign, &called);
    west.next(status(400, &[], &messages::error("invalid_request_error", INVALID)));
    west.next(Thinker::Messages.says(false, "Wait for the tide."));
    foreign.ask(&next).await;

    west.next(Thinker::Messages.calls(false, &WEST)).next(Thinker::Messages.says(false, "Go now."));
    let mut own = Talk::begin(Api::Messages, false, &WEST.tools, "And I?");
    let called = own.ask(&next).await;
    answer_in_reverse(&mut own, &called);
    let done = own.ask(&next).await;
    west.next(Thinker::Messages.says(false, "Not yet."));
    foreign.say("And now?");
    foreign.ask(&next).await;

    assert_eq!((by(&done), done.text.as_str()), ("west/jade-v3", "Go now."));
    let heard = west.calls();
    let seals = heard.iter().map(|arrived| [&EAST, &WEST].map(|thought| arrived.text().contains(&thought.seal())));
    let expected = [[true, false], [false, false], [false, false], [false, true], [false, false]];
    assert_eq!(seals.collect::<Vec<_>>(), expected);
}

/// Found by a reader: what is written anew without its seals lacks what the provider does not know, too.
#[tokio::test]
async fn a_refusal_of_something_else_is_not_kept_as_one_of_seals() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let (first, next) = (Gateway::of(sites((&east, "1"), (&west, "3"))), Gateway::of(sites((&east, "3"), (&west, "1"))));
    east.next(Thinker::Messages.calls(false, &EAST));
    let mut talk = Talk::begin(Api::Messages, false, &EAST.tools, "May I sail?");
    let called = talk.ask(&first).await;
    answer_in_reverse(&mut talk, &called);
    west.next(status(400, &[], &messages::error("invalid_request_error", "foo: Extra inputs are not permitted")));
    west.next(Thinker::Messages.says(false, "Wait for the tide.")).next(Thinker::Messages.says(false, "Not yet."));
    talk.ask(&next).await;
    talk.say("And now?");
    talk.ask(&next).await;

    let sealed: Vec<bool> = west.calls().iter().map(|arrived| arrived.text().contains(&EAST.seal())).collect();
    assert_eq!(sealed, [true, false, true]);
}

/// What is wrong all the same is told in the provider's words, after one more request and no other.
#[tokio::test]
async fn what_is_refused_without_its_seals_too_is_refused_for_good() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Thinker::Messages.site(&east), Thinker::Messages.site(&west).price("3", "6")]);
    east.next(Thinker::Messages.calls(false, &EAST));
    east.always(status(400, &[], &messages::error("invalid_request_error", "tools.0: wrong")));
    let mut talk = Talk::begin(Api::Messages, false, &EAST.tools, "May I sail?");
    let called = talk.ask(&gateway).await;
    answer_in_reverse(&mut talk, &called);

    let answer = gateway.ask(&talk.call()).await;

    assert_eq!((answer.status, answer.json()["error"]["message"].as_str()), (400, Some("tools.0: wrong")));
    assert_eq!((east.calls().len(), west.calls().len()), (3, 0));
}

/// Fixed once: what the provider had refused was told as a failure that may be tried again, or went to others, only because
/// it could not be asked once more.
#[tokio::test]
async fn what_was_refused_stays_refused_where_it_cannot_be_asked_once_more() {
    let no_retries: &[(&str, &str)] = &[("retries.share_percent", "0"), ("retries.floor_per_second", "0")];
    // Room for the question before and for one attempt: the cap shuts between the two.
    let cap = r#"[{ by = "provider", name = "east", share_percent = 50, of = "requests", least = 4 }]"#;
    for settings in [no_retries, &[("portfolio", cap)]] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let sites = [Thinker::Messages.site(&east), Thinker::Messages.site(&west).price("3", "6")];
        let setup = settings.iter().fold(Setup::of(sites), |setup, (path, value)| setup.set(path, value));
        let gateway = setup.start();
        let refusal = messages::error("invalid_request_error", INVALID);
        east.next(Thinker::Messages.calls(false, &EAST)).always(status(400, &[], &refusal));
        let mut talk = Talk::begin(Api::Messages, false, &EAST.tools, "May I sail?");
        let called = talk.ask(&gateway).await;
        answer_in_reverse(&mut talk, &called);

        let answer = gateway.ask(&talk.call()).await;

        assert_eq!((answer.status, answer.text()), (400, refusal.as_str()), "{settings:?}");
        assert_eq!((east.calls().len(), west.calls().len()), (2, 0), "{settings:?}");
    }
}

/// What was written here may be at fault, and not what the client asks: after both refusals the next provider is asked.
#[tokio::test]
async fn what_is_refused_in_words_of_ours_with_its_seals_and_without_goes_on_to_another() {
    // There is no room for a second attempt at the first provider: the first refusal moves on as it would have.
    let cap = r#"[{ by = "provider", name = "east", share_percent = 50, of = "requests", least = 4 }]"#;
    for (settings, refusals) in [(&[][..], 2), (&[("portfolio", cap)], 1)] {
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let sites = [Thinker::Messages.site(&east), Thinker::Messages.site(&west).price("3", "6")];
        let gateway = settings.iter().fold(Setup::of(sites), |setup, (path, value)| setup.set(path, value)).start();
        east.next(Thinker::Messages.calls(false, &EAST));
        east.always(status(400, &[], &messages::error("invalid_request_error", INVALID)));
        west.next(Thinker::Messages.says(false, "Go now."));
        let mut talk = Talk::begin(Api::Chat, false, &EAST.tools, "May I sail?");
        let called = talk.ask(&gateway).await;
        answer_in_reverse(&mut talk, &called);

        let done = talk.ask(&gateway).await;

        assert_eq!((by(&done), done.text.as_str()), ("west/jade-v3", "Go now."), "{settings:?}");
        let refused = ("east/jade-v3".to_owned(), "bad_request".to_owned());
        let expected = [vec![refused; refusals], vec![("west/jade-v3".to_owned(), String::new())]].concat();
        assert_eq!(attempts(&gateway, &done).await, expected, "{settings:?}");
        let sealed: Vec<bool> = east.calls()[1..].iter().map(|arrived| arrived.text().contains(&EAST.seal())).collect();
        assert_eq!(sealed, [true, false][..refusals], "{settings:?}");
        assert!(!west.calls()[0].text().contains(&EAST.seal()), "{settings:?}");
    }
}

/// Asked once more, a provider has what is left of the request's time and no second helping of it. Half of that time goes to one that
/// keeps silent and is asked first.
#[tokio::test]
async fn a_second_attempt_without_seals_ends_when_the_request_does() {
    const WHOLE: Duration = Duration::from_secs(3);
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let first = Gateway::of(sites((&east, "1"), (&west, "3")));
    let setup = Setup::of(sites((&east, "3"), (&west, "1"))).set("timeouts.total_ms", "3000");
    let next = setup.set("timeouts.first_byte_ms", "3000").start();
    east.next(Thinker::Messages.calls(false, &EAST));
    let mut talk = Talk::begin(Api::Messages, false, &EAST.tools, "May I sail?");
    let called = talk.ask(&first).await;
    answer_in_reverse(&mut talk, &called);
    west.next(vec![provider::Step::Stall]);
    east.next(status(400, &[], &messages::error("invalid_request_error", INVALID))).next(vec![provider::Step::Stall]);

    let answer = next.ask(&talk.call()).await;

    assert!(answer.status >= 500 && east.calls().len() == 3, "{}", answer.text());
    let row = next.row_of(&answer).await;
    let [silent, refused, second] = row.attempts.as_slice() else { panic!("{row:?}") };
    let timed_out = [silent, second].map(|attempt| attempt.cause.as_deref().unwrap_or_default().starts_with("timeout"));
    assert_eq!((timed_out, refused.backend.as_str()), ([true, true], "east/jade-v3"), "{row:?}");
    assert!(second.duration_ms.is_some_and(|took| Duration::from_millis(took) < WHOLE * 2 / 3), "{row:?}");
}
