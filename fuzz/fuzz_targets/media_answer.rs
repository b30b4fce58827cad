//! Any bytes as an answer that is images, sound or a transcript, whole (of a type that the first byte chooses) and as a frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{Dialect, OpenAiDirect};

const TYPES: [&str; 4] = ["application/json", "text/plain", "text/html", ""];

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, body) = input;
    let kind = TYPES[usize::from(choice) % TYPES.len()];
    for dialect in OpenAiDirect::ALL {
        if let Ok(facts) = dialect.read_typed(body, kind, Quirks::default())
            && let Some(usage) = facts.usage
        {
            assert!(usage.reasoning <= usage.output && usage.image_input.get() + usage.audio_input.get() <= 2 * usage.fresh_input.get());
        }
        let mut reader = dialect.frame_reader(Quirks::default(), 1);
        let _ = reader.read(body, &mut |_| {});
    }
});
