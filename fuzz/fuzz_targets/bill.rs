//! Any bytes as a vendor's bill, by each mapping, as readings of a balance and as a mapping: read or refused, with sums that are those of
//! its rows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::reconcile::{Bill, Gathered, Mapping, compare, readings, shipped, vendors};

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    let count = vendors().count();
    let which = usize::from(which) % (count + 2);
    if which == count {
        let _ = readings(bytes, &jiff::tz::TimeZone::UTC);
        return;
    }
    if which > count {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = Mapping::read("any", text);
        }
        return;
    }
    let Some(Ok(mapping)) = vendors().nth(which).and_then(shipped).map(|text| Mapping::read("shipped", text)) else {
        panic!("a shipped mapping does not read");
    };
    let mut bill = Bill::default();
    if bill.add(&mapping, bytes).is_ok() {
        let comparison = compare(&bill, &Gathered::against(&bill));
        assert_eq!(comparison.lines.len(), bill.lines.len());
    }
});
