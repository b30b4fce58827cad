//! Any bytes in any pieces: the same frames as in one piece, and no byte lost.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tokenbroker::dialect::sse::{Framer, data_of};

fn frames<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Vec<Bytes> {
    let (mut framer, mut out) = (Framer::default(), Vec::new());
    for piece in pieces {
        framer.push(&Bytes::copy_from_slice(piece), &mut out).expect("below the limit");
    }
    out.extend(framer.finish());
    out
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    let whole = frames(std::iter::once(stream));
    assert_eq!(frames(stream.chunks(usize::from(piece).max(1))), whole);
    assert_eq!(whole.concat(), stream);
    for frame in &whole {
        let _ = data_of(frame);
    }
});
