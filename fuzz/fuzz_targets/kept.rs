//! Any bytes as the kept facts of a decision: refused, or decided and explained, and written the same way once more.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::Snapshot;
use tokenbroker::route::Kept;

static TABLE: LazyLock<Snapshot> =
    LazyLock::new(|| Snapshot::parse("providers.toml", include_str!("../../providers.toml")).expect("the shipped table"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(kept) = Kept::read(bytes, &TABLE) else {
        return;
    };
    let decision = serde_json::to_string(&kept.decision(&TABLE)).expect("a decision is texts and numbers");
    let written = kept.facts(&TABLE).keep();
    let again = Kept::read(&written, &TABLE).expect("what was written can be read");
    assert_eq!(again.facts(&TABLE).keep(), written);
    assert_eq!(serde_json::to_string(&again.decision(&TABLE)).expect("a decision is texts and numbers"), decision);
});
