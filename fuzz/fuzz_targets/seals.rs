//! Any bytes as a conversation, and as what is told of one, in the shape of each client: seals are found without a panic, the same in
//! whatever reads them, bounded in number, and known to nobody whose seed is another.
#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use tokenbroker::canonical::{Request, Shape};
use tokenbroker::frontend::{self, prefix};

/// Seals of one conversation that are looked up.
const MOST: usize = 1_024;
/// Seeds of two gateway keys.
const SEEDS: [u64; 2] = [7, 8];

/// Of each seal that can be read its hash, and how many cannot.
fn hashed(shape: Shape, said: &[u8], seed: u64) -> (Vec<u64>, usize) {
    let (mut hashes, mut unread) = (Vec::new(), 0);
    frontend::hash_seals(shape, said, seed, |hash| match hash {
        Some(hash) => hashes.push(hash),
        None => unread += 1,
    });
    (hashes, unread)
}

/// What the parts of the gateway that look for seals make of the same request.
fn agree(request: &Request) {
    let messages = request.body.get(request.members.messages.clone()).unwrap_or_default();
    let looked = if request.may_hold_thoughts { messages } else { &[] };
    let (hashes, unread) = hashed(request.shape, looked, SEEDS[0]);

    let found = prefix::chain(request, SEEDS[0]).seals;
    assert_eq!(found.len(), (hashes.len() + unread).min(MOST));
    assert!(found.iter().all(|seal| *seal == 0 || hashes.contains(seal)), "looked up as they were remembered");
    let [chain, other] = SEEDS.map(|seed| frontend::seal_chain(request, seed));
    assert_eq!(chain.len(), hashes.len().min(MOST));
    assert!(chain.iter().all(|hash| !other.contains(hash)), "of another key none is known");

    let sealed = frontend::is_sealed(request);
    // In chat a signature may stand outside of what is looked at there.
    assert!(sealed || hashes.is_empty() || request.shape == Shape::OpenAiChat, "what holds a seal is sealed");
    let holds = frontend::holds_thoughts(request);
    assert!(holds || !(sealed || frontend::holds_unsigned_thoughts(request)), "seals and thoughts without one are thoughts");
    assert!(request.may_hold_thoughts || !frontend::holds_told_thoughts(request));
    assert!(holds || !frontend::holds_google_seals(request));
}

fuzz_target!(|input: (u8, &[u8])| {
    let (client, bytes) = input;
    let shape = Shape::CLIENTS[usize::from(client) % Shape::CLIENTS.len()];
    // An answer is handed over in pieces: whole frames.
    let [told, other] = SEEDS.map(|seed| hashed(shape, bytes, seed));
    assert_eq!((told.0.len(), told.1), (other.0.len(), other.1));
    assert!(told.0.iter().all(|hash| !other.0.contains(hash)), "of another key none is known");
    let frontend = frontend::of(Some(shape), true, &HeaderMap::new());
    if let Ok(request) = frontend.parse(Bytes::copy_from_slice(bytes), &HeaderMap::new()) {
        agree(&request);
    }
});
