//! Any bytes in a coding: decoded within the bound or refused, and however they arrive, with the same outcome.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::coding::{Coding, Decoder};

const MOST: usize = 1 << 20;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (gzip, piece, bytes) = input;
    let coding = if gzip { Coding::Gzip } else { Coding::Brotli };
    let whole = coding.decode(bytes, MOST);
    assert!(whole.as_ref().map_or(true, |plain| plain.len() <= MOST));
    let (mut decoder, mut joined) = (Decoder::new(coding), Vec::new());
    let pushed = bytes.chunks(usize::from(piece) + 1).try_for_each(|chunk| {
        let left = MOST - joined.len();
        decoder.push(chunk, left).map(|plain| joined.extend_from_slice(&plain))
    });
    let arrived = pushed.and_then(|()| decoder.finish(MOST - joined.len())).map(|rest| joined.extend_from_slice(&rest));
    assert_eq!(whole.is_ok(), arrived.is_ok());
    if let Ok(plain) = whole {
        assert_eq!(plain, joined);
    }
});
