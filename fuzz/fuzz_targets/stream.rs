//! Any bytes as a stream: every frame is read without a panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::sse::Framer;
use tokenbroker::dialect::{Dialect, OpenAiChat};

fuzz_target!(|input: (bool, &[u8])| {
    let (reasoning_outside_output, stream) = input;
    let mut found = Vec::new();
    let mut framer = Framer::default();
    framer.push(&Bytes::copy_from_slice(stream), &mut found).expect("below the limit");
    found.extend(framer.finish());
    let mut reader = OpenAiChat.frame_reader(Quirks { reasoning_outside_output, ..Quirks::default() }, 1);
    for frame in &found {
        let mut bytes = 0;
        reader.read(frame, &mut |text| bytes += text.len());
        assert!(bytes <= frame.len(), "text comes out of the frame, nothing is made up");
    }
});
