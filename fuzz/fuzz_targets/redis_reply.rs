//! Any bytes as a reply of Redis: read, waited for or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::fleet::resp::decode;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((reply, taken))) = decode(bytes) {
        assert!(taken <= bytes.len());
        // The same whatever comes after it, and not known before its last byte is there.
        assert_eq!(decode(&bytes[..taken]), Ok(Some((reply, taken))));
        assert_eq!(decode(&bytes[..taken - 1]), Ok(None));
    }
});
