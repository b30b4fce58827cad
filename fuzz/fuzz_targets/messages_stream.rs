//! Any bytes as a stream of Messages: every frame is read without a panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::sse::Framer;
use tokenbroker::dialect::{AnthropicMessages, Dialect};

fuzz_target!(|input: (bool, &[u8])| {
    let (messages_input_includes_cache, stream) = input;
    let mut frames = Vec::new();
    let mut cutter = Framer::default();
    cutter.push(&Bytes::copy_from_slice(stream), &mut frames).expect("below the limit");
    frames.extend(cutter.finish());
    let mut reader = AnthropicMessages.frame_reader(Quirks { messages_input_includes_cache, ..Quirks::default() }, 1);
    for frame in &frames {
        let mut bytes = 0;
        reader.read(frame, &mut |text| bytes += text.len());
        assert!(bytes <= frame.len(), "text comes out of the frame, nothing is made up");
    }
});
