//! Any bytes as a stream of Bedrock's: cut or refused, and every message is read without a panic, for what the gateway acts on and as
//! deltas. Checksums refuse nearly all damage, so the bytes are read as one message beside that.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tokenbroker::canonical::Answer;
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{BedrockConverse, Dialect};

fuzz_target!(|stream: &[u8]| {
    let (mut frames, mut again) = (Vec::new(), Vec::new());
    let whole = BedrockConverse.framing().cutter().push(&Bytes::copy_from_slice(stream), &mut frames);
    let mut cutter = BedrockConverse.framing().cutter();
    let pieces = stream.chunks(7).try_for_each(|piece| cutter.push(&Bytes::copy_from_slice(piece), &mut again));
    assert_eq!((whole, &frames), (pieces, &again), "any cutting gives the same messages");
    frames.push(Bytes::copy_from_slice(stream));
    let mut reader = BedrockConverse.frame_reader(Quirks::default(), 1);
    let (mut deltas, mut out) = (BedrockConverse.delta_reader(), Vec::new());
    for frame in &frames {
        let mut bytes = 0;
        let facts = reader.read(frame, &mut |text| bytes += text.len());
        assert!(bytes <= frame.len(), "text comes out of the message, nothing is made up");
        assert!(facts.usage.is_none_or(|usage| usage.cache_write_long <= usage.cache_write));
        deltas.read(frame, &mut out);
    }
    deltas.end(&mut out);
    assert_eq!(deltas.held(), 0, "nothing is held back at the end");
    Answer::of(out);
});
