//! Images: billed by the piece, by their size and quality where vendors do so, or by the token; held for the dearest that they may be.
//!
//! Prices are of the tests' own table.

use serde_json::json;
use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{begun, status, stream, then, whole};
use crate::harness::{Call, Crowd, Gateway, Provider, Setup, Site, Step, Whole, chat, crowd, rows};

const PATH: &str = "/v1/images/generations";

/// An answer with so many images, and these members beside them.
fn drawn(images: usize, members: &str) -> String {
    let image = r#"{"b64_json":"iVBORw0KGgo=", "revised_prompt" : "a c\u0061t"}"#;
    format!(r#"{{ "created":1763000000,"data":[{}]{members} }}"#, vec![image; images].join(", "))
}

/// As OpenAI tells it.
fn tokens(input: u64, output: u64) -> String {
    let total = input + output;
    format!(
        r#","usage":{{"input_tokens":{input},"input_tokens_details":{{"image_tokens":0,"text_tokens":{input}}},"output_tokens":{output},"total_tokens":{total}}}"#
    )
}

fn ask(members: &str) -> Call {
    Call::post(PATH, format!(r#"{{"model":"brush","prompt":"a cat"{members}}}"#))
}

/// Four cents an image.
fn flat(provider: &Provider) -> Site {
    Site::of(provider).serves("images", "brush", "", "per_image = 0.04")
}

/// By size and quality; a plain square is the usual one.
fn graded(provider: &Provider) -> Site {
    let prices = r#"
unsaid_size = "1024x1024"
unsaid_quality = "standard"
images = [
  { size = "1024x1024", quality = "standard", per_image = 0.04 },
  { size = "1024x1024", quality = "hd", per_image = 0.08 },
  { size = "1024x1792", per_image = 0.12 },
]"#;
    Site::of(provider).serves("images", "brush", "", prices)
}

/// Five dollars a million tokens in, forty out; an image has 6,240 at most.
fn by_token(provider: &Provider) -> Site {
    Site::of(provider).serves("images", "brush", "max_output_tokens = 6_240", "input = 5\noutput = 40")
}

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

fn backend(answered: &Whole) -> &str {
    answered.header("x-tokenbroker-backend")
}

#[tokio::test]
async fn bytes_pass_both_ways_and_images_are_booked_at_their_price() {
    let east = Provider::start("east").await;
    east.always(whole(&drawn(2, "")));
    let gateway = Gateway::of([flat(&east)]);
    let body = r#"{"prompt" : "a c\u0061t","n":2, "model":"brush","style":"vivid","response_format":"b64_json","odd":[1, {}]}"#;

    let answered = gateway.ask(&Call::post(PATH, body)).await;

    assert_eq!((answered.status, answered.text()), (200, drawn(2, "").as_str()));
    assert_eq!(answered.header("content-type"), "application/json");
    let asked = east.call(0).await;
    assert_eq!((asked.path.as_str(), asked.text()), (PATH, body.replace(r#""brush""#, r#""brush-v1""#).as_str()));
    assert_eq!((backend(&answered), answered.header("x-tokenbroker-cost-usd")), ("east/brush-v1", "0.08"));
    let row = gateway.row_of(&answered).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.provenance.as_str(), attempt.usage.pieces), ("answered", "reported", 2));
    assert_eq!((attempt.cost, attempt.quoted), (usd("0.08"), usd("0.08")));
    let counted =
        gateway.sample(&format!(r#"requests_total{{backend="east/brush-v1",outcome="answered",route="{PATH}"}}"#)).await;
    assert_eq!(counted, Some(1.0));
    let path = format!("/v1/decisions/{}", answered.header("x-tokenbroker-request-id"));
    let told = gateway.ask(&Call::get(&path)).await.json();
    assert_eq!(told["outcome"]["attempts"][0]["prices"]["pieces"], json!({"price": "0.04", "per": 1}), "{told:#}");
    let priced = &told["decision"]["chosen"]["prices"]["pieces"];
    assert_eq!(*priced, json!({"price": "0.04", "per": 1, "expected": 2, "most": 2}), "{told:#}");
}

#[tokio::test]
async fn a_price_goes_by_size_and_quality_and_what_the_vendor_chooses_is_the_dearest() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([graded(&east)]);
    for (members, images, cost) in [
        ("", 1, "0.04"),
        (r#","size":null,"quality":"standard""#, 1, "0.04"),
        (r#","quality":"hd","n":3"#, 3, "0.24"),
        (r#","quality":"auto""#, 1, "0.08"),
        (r#","size":"1024x1792""#, 1, "0.12"),
        (r#","size":"1024x1792","quality":"odd""#, 1, "0.12"),
        (r#","size":"auto","quality":"auto","n":2"#, 2, "0.24"),
        // As many as came.
        (r#","quality":"hd","n":3"#, 2, "0.16"),
    ] {
        east.next(whole(&drawn(images, "")));
        let answered = gateway.ask(&ask(members)).await;
        assert_eq!((answered.status, answered.header("x-tokenbroker-cost-usd")), (200, cost), "{members}: {}", answered.text());
        let attempt = &gateway.row_of(&answered).await.attempts[0];
        assert_eq!((attempt.usage.pieces, attempt.provenance.as_str(), attempt.cost), (images as u64, "reported", usd(cost)));
    }
    let asked = east.calls().len();
    for members in [r#","size":"512x512""#, r#","quality":"low""#, r#","size":"odd""#] {
        let refused = gateway.ask(&ask(members)).await;
        assert_eq!((refused.status, refused.error("code")), (400, json!("no_adequate_backend")), "{members}");
        assert!(refused.text().contains("unpriced=1"), "{}", refused.text());
    }
    let why = gateway.ask(&ask(r#","size":"512x512","tokenbroker":{"dry_run":true}"#)).await;
    assert!(why.text().contains("no price for images of this size and quality"), "{}", why.text());
    assert_eq!(east.calls().len(), asked);
}

#[tokio::test]
async fn tokens_are_booked_as_they_are_told_and_else_at_the_most() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_token(&east)]);
    east.next(whole(&drawn(2, &tokens(13, 2_112))));
    let answered = gateway.ask(&ask(r#","n":2,"quality":"medium""#)).await;
    let attempt = &gateway.row_of(&answered).await.attempts[0];
    assert_eq!(
        (attempt.usage.fresh_input.get(), attempt.usage.output.get(), attempt.provenance.as_str()),
        (13, 2_112, "reported")
    );
    assert_eq!((attempt.cost, attempt.usage.pieces), (usd("0.084545"), 2));

    east.next(whole(&drawn(2, "")));
    let answered = gateway.ask(&ask(r#","n":2"#)).await;
    let attempt = &gateway.row_of(&answered).await.attempts[0];
    assert_eq!((attempt.usage.output, attempt.provenance.as_str()), (Tokens::new(12_480), "estimated"));
    assert_eq!(attempt.cost, attempt.quoted);
    let held = &rows::attempts(&gateway.setup.data())[1];
    assert!(held.held >= held.cost && held.output_bound == 12_480, "{held:?}");
}

#[tokio::test]
async fn the_cheapest_host_answers_and_no_other_model_stands_in() {
    let (east, west, south) = (Provider::start("east").await, Provider::start("west").await, Provider::start("south").await);
    east.always(whole(&drawn(1, "")));
    let other = Site::of(&south).serves("images", "pencil", "", "per_image = 0.001");
    let cheaper = Site::of(&west).serves("images", "brush", "", "per_image = 0.03");
    let gateway = Gateway::of([flat(&east), cheaper, other]);
    let said = r#"{"error":{"message":"against our rules","code":"moderation_blocked","type":"t","param":null}}"#;
    west.next(status(400, &[], said));
    let refused = gateway.ask(&ask("")).await;
    assert_eq!((refused.status, refused.text()), (400, said));
    for odd in [
        status(503, &[], &chat::error("no")),
        whole(r#"{"choices":[]}"#),
        whole(r#"{"data":7}"#),
        whole("<html>"),
        whole(&drawn(1, "")[..40]),
        whole(&chat::error("the server is overloaded, try again")),
    ] {
        west.next(odd);
        let answered = gateway.ask(&ask("")).await;
        assert_eq!((answered.status, backend(&answered)), (200, "east/brush-v1"), "{}", answered.text());
    }
    let open = gateway.ask(&Call::post(PATH, r#"{"model":"auto","prompt":"a"}"#)).await;
    assert_eq!((open.status, open.error("param")), (400, json!("model")), "{}", open.text());
    let talks = gateway.ask(&Call::post(PATH, r#"{"model":"jade","prompt":"a"}"#)).await;
    assert_eq!((talks.status, talks.error("code"), talks.error("param")), (400, json!("no_adequate_backend"), json!("model")));
    assert_eq!(talks.error("message"), json!("`jade` does not serve images; these models do: brush, pencil"));
    assert!(south.calls().is_empty());
}

#[tokio::test]
async fn wrong_requests_are_refused_before_anything_is_sent() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([flat(&east)]);
    for (members, code, param) in [
        (r#""prompt":["a"]"#, "invalid_type", "prompt"),
        (r#""prompt":null"#, "invalid_value", "prompt"),
        (r#""n":1"#, "missing_required_parameter", "prompt"),
        (r#""prompt":"a","n":0"#, "invalid_type", "n"),
        (r#""prompt":"a","n":"2""#, "invalid_type", "n"),
        (r#""prompt":"a","n":1,"n":9"#, "duplicate_parameter", "n"),
        (r#""prompt":"a","Quality":"hd""#, "unknown_parameter", "Quality"),
        (r#""prompt":"a","size":7"#, "invalid_type", "size"),
        (r#""prompt":"a","partial_images":4"#, "invalid_type", "partial_images"),
        (r#""prompt":"a","stream":true,"n":2"#, "invalid_value", "n"),
        // Nobody here knows what the images cost that are shown before one is done.
        (
            r#""prompt":"a","stream":true,"partial_images":1,"tokenbroker":{"max_cost_usd":9}"#,
            "unpriced_parameter",
            "partial_images",
        ),
    ] {
        let refused = gateway.ask(&Call::post(PATH, format!(r#"{{"model":"brush",{members}}}"#))).await;
        let told = (refused.status, refused.error("code"), refused.error("param"));
        assert_eq!(told, (400, json!(code), json!(param)), "{members}: {}", refused.text());
    }
    let dear = gateway.ask(&ask(r#","n":3,"tokenbroker":{"max_cost_usd":0.119}"#)).await;
    assert_eq!((dear.status, dear.error("code")), (400, json!("no_adequate_backend")), "{}", dear.text());
    assert!(east.calls().is_empty());
}

/// An image that comes as a stream of events.
fn event(kind: &str, members: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"b64_json\":\"iVBORw0KGgo=\"{members}}}\n\n")
}

#[tokio::test]
async fn a_stream_of_one_image_passes_and_is_booked_by_its_last_event() {
    let east = Provider::start("east").await;
    let frames = [
        event("image_generation.partial_image", r#","partial_image_index":0"#),
        event("image_generation.completed", &tokens(9, 1_156)),
    ];
    let members = r#","stream":true,"partial_images":1"#;
    for (site, cost) in [(by_token(&east), "0.046285"), (flat(&east), "0.04")] {
        let gateway = Gateway::of([site]);
        east.next(stream(&frames));
        let answered = gateway.ask(&ask(members)).await;
        assert_eq!((answered.status, answered.complete, answered.text()), (200, true, frames.concat().as_str()));
        assert!(answered.header("content-type").starts_with("text/event-stream"));
        let row = gateway.row_of(&answered).await;
        assert_eq!((row.outcome.as_str(), row.cost), ("answered", usd(cost)));
        assert_eq!((row.attempts[0].usage.pieces, row.attempts[0].provenance.as_str()), (1, "reported"));
    }
    let gateway = Gateway::of([by_token(&east)]);
    east.next(then(begun(&frames[..1]), [Step::Close]));
    let cut = gateway.ask(&ask(members)).await;
    assert!(cut.text().starts_with(&frames[0]) && cut.text().contains("\"error\""), "{}", cut.text());
    let row = gateway.row_of(&cut).await;
    assert_eq!((row.outcome.as_str(), row.attempts[0].usage.output), ("cut", Tokens::new(6_240)));
}

#[tokio::test]
async fn images_of_many_megabytes_pass() {
    let east = Provider::start("east").await;
    let large = format!(r#"{{"data":[{{"b64_json":"{}"}}],"created":1}}"#, "iVBORw0K".repeat(3 << 20));
    east.next(whole(&large));
    let gateway = Gateway::of([flat(&east)]);
    let answered = gateway.ask(&ask("")).await;
    assert!(answered.status == 200 && answered.body == large && answered.complete, "{} bytes", answered.body.len());
    assert_eq!(gateway.row_of(&answered).await.cost, usd("0.04"));
}

#[tokio::test]
async fn requests_at_the_same_time_hold_the_dearest_and_never_overrun_the_budget() {
    let east = Provider::start("east").await;
    let setup = Setup::of([graded(&east)]).key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "0.9").set("keys.team.budget_window", "total").start();
    let call = ask(r#","n":2,"size":"auto","quality":"auto""#).key("tb-team");
    let Crowd { answered, refused } = crowd(&gateway, &east, (&call, 8), whole(&drawn(2, ""))).await;
    let booked = rows::attempts(&gateway.setup.data());
    assert_eq!((answered.len(), refused.len()), (3, 5), "24 cents each");
    assert!(booked.iter().all(|row| (row.held, row.cost) == (240_000_000_000, 240_000_000_000)), "{booked:?}");
}

/// Promise 1: what a kill interrupts is booked at the next start, with what is billed by the piece.
#[tokio::test]
async fn a_killed_gateways_images_are_in_the_books_of_the_next() {
    let east = Provider::start("east").await;
    east.next(vec![Step::Stall]);
    let gateway = Gateway::of([graded(&east)]);
    let client = gateway.sent(&ask(r#","n":3,"quality":"hd""#)).await;
    east.call(0).await;
    gateway.journaled("east/brush-v1").await;
    let again = gateway.kill().start();
    drop(client);
    let row = again.all_booked(1).await.remove(0);
    assert_eq!((row.outcome.as_str(), row.attempts[0].usage.pieces, row.cost), ("lost", 3, usd("0.24")));
}
