//! What a provider reports of sound and images, as a client of chat is told it where the answer is told in other words.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::canonical::{Answer, Delta, Shape};
use crate::catalog::capability::Quirks;
use crate::dialect::{self, Dialect};
use crate::frontend::{About, Frontend, OpenAiChat};
use crate::units::{Tokens, Usage};

fn about() -> About {
    let (id, model) = ("req_1".to_owned(), "up".to_owned());
    About { id, model, created: 1_790_000_000, wants_usage: true, asked: Bytes::new(), own_tools: Vec::new() }
}

/// What a client of chat reads of a provider's whole answer; of the same told as a stream it reads the same.
fn told(provider: Shape, body: &Value) -> (Usage, Usage) {
    let (dialect, body) = (dialect::of(provider), body.to_string());
    let reported = dialect.read_answer(body.as_bytes(), Quirks::default()).unwrap().usage.unwrap();
    // As `dispatch/attempt.rs` has it: what the reader of usage found goes before what stands among the deltas.
    let mut deltas = dialect.read_deltas(body.as_bytes()).unwrap();
    deltas.push(Delta::Usage(reported));
    let whole = OpenAiChat.answer_body(&Answer::of(deltas.clone()), &about());
    let heard = dialect::OpenAiChat.read_answer(&whole, Quirks::default()).unwrap().usage.unwrap();

    let (mut writer, mut stream) = (OpenAiChat.stream_writer(about()), BytesMut::new());
    for delta in deltas {
        writer.write(delta, &mut stream);
    }
    writer.end(&mut stream);
    let (mut cutter, mut frames) = (dialect::OpenAiChat.framing().cutter(), Vec::new());
    cutter.push(&Bytes::from(stream), &mut frames).unwrap();
    let mut reader = dialect::OpenAiChat.frame_reader(Quirks::default(), 1);
    let last = frames.iter().filter_map(|frame| reader.read(frame, &mut |_| {}).usage).next_back();
    assert_eq!(last, Some(heard));
    (reported, heard)
}

#[test]
fn sound_and_images_of_gemini_reach_a_client_of_chat() {
    let modality = |kind: &str, count: u64| json!({"modality": kind, "tokenCount": count});
    let body = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}], "usageMetadata": {
        "promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120,
        "promptTokensDetails": [modality("TEXT", 30), modality("AUDIO", 50), modality("IMAGE", 20)],
        "candidatesTokensDetails": [modality("AUDIO", 15), modality("TEXT", 5)]}});
    let (reported, heard) = told(Shape::GeminiGenerate, &body);
    let media = [heard.audio_input, heard.image_input, heard.audio_output].map(Tokens::get);
    assert_eq!((media, heard), ([50, 20, 15], reported));
}

proptest! {
    #[test]
    fn a_report_comes_out_at_a_client_of_chat_as_it_came(
        [prompt, cached, audio, image] in [1..9_000_u64, 0..9_000, 0..9_000, 0..9_000],
        [said, spoken, thought] in [1..9_000_u64, 0..9_000, 0..9_000],
    ) {
        let modality = |kind: &str, count: u64| json!({"modality": kind, "tokenCount": count});
        let gemini = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}], "usageMetadata": {
            "promptTokenCount": prompt, "cachedContentTokenCount": cached, "candidatesTokenCount": said, "thoughtsTokenCount": thought,
            "promptTokensDetails": [modality("AUDIO", audio), modality("IMAGE", image)],
            "candidatesTokensDetails": [modality("AUDIO", spoken)]}});
        let chat = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}], "usage": {
            "prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio, "image_tokens": image},
            "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": spoken}}});
        for (provider, body) in [(Shape::GeminiGenerate, gemini), (Shape::OpenAiChat, chat)] {
            let (reported, heard) = told(provider, &body);
            prop_assert_eq!(heard, reported, "{}", body);
        }
    }
}
