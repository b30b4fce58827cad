//! Any bytes as a stream of Responses: every frame is read without a panic, for what the gateway acts on and as deltas.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tokenbroker::canonical::Answer;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::sse::Framer;
use tokenbroker::dialect::{Dialect, OpenAiResponses};

fuzz_target!(|stream: &[u8]| {
    let mut frames = Vec::new();
    let mut cutter = Framer::default();
    cutter.push(&Bytes::copy_from_slice(stream), &mut frames).expect("below the limit");
    frames.extend(cutter.finish());
    let mut reader = OpenAiResponses.frame_reader(Quirks::default(), 1);
    let (mut deltas, mut out) = (OpenAiResponses.delta_reader(), Vec::new());
    for frame in &frames {
        let mut bytes = 0;
        let facts = reader.read(frame, &mut |text| bytes += text.len());
        assert!(bytes <= frame.len(), "text comes out of the frame, nothing is made up");
        assert!(facts.usage.is_none_or(|usage| usage.reasoning <= usage.output));
        deltas.read(frame, &mut out);
    }
    deltas.end(&mut out);
    // A call whose id is no good has none here: `retelling` sees to it that one is made up for the client.
    drop(Answer::of(out));
});
