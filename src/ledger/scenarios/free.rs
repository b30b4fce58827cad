//! What a free quota bears, in the books and after a kill.

use super::*;
use crate::units::{Amount, Counted, Free, FreePart, FreeTokens};

/// A purse of 40 tokens, which tells what it was to pay.
struct FortyTokens(Arc<std::sync::Mutex<Vec<i128>>>);

impl Purse for FortyTokens {
    fn bear(&mut self, _: &Usage) -> Option<Free> {
        let part = FreePart::Tokens(FreeTokens { any: Tokens::new(40), ..FreeTokens::default() });
        Some(Free { quota: "acme/fast/day".into(), part })
    }

    fn pay(&mut self, amount: Amount) {
        self.0.lock().unwrap().push(amount.pico());
    }
}

#[tokio::test]
async fn what_a_free_quota_bears_is_not_charged_also_after_a_kill_and_a_lost_attempt_is_charged_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let tab = ledger.begin(request_opened(1)).unwrap();
    let paid = Arc::default();
    let [mut ended, mut lost] = [(); 2].map(|()| tab.attempt(attempt_opened()));
    ended.borne_by(Box::new(FortyTokens(Arc::clone(&paid))));
    lost.borne_by(Box::new(FortyTokens(Arc::clone(&paid))));
    assert_eq!(lost.progress(usage(100, 50), Provenance::Reported), Pace::Go);
    // 60 of the 100 tokens in at 2, and 50 out at 8.
    assert_eq!(ended.end(attempt_end(100, 50)).await.unwrap().cost.amount.pico(), 520_000_000);
    assert_eq!(*paid.lock().unwrap(), [520_000_000]);
    lost.caught_up().await.unwrap();

    let killed = crashed(folder.path());
    drop(open(killed.path()));
    let books = Books::open(killed.path()).unwrap();
    let booked = books.request(request_id(1)).unwrap().unwrap();
    let rows: Vec<_> = booked.attempts.iter().map(|a| (a.quota.as_deref(), a.amount_pico, a.spared_pico)).collect();
    let in_full = 200_000_000 + (50 + i64::try_from(MARGIN_TOKENS).unwrap()) * 8_000_000;
    assert_eq!(rows, [(Some("acme/fast/day"), 520_000_000, 80_000_000), (None, in_full, 0)]);

    let drawn = books.drawn_since(attempt_opened().started_at, Duration::ZERO).unwrap();
    let tokens: Vec<_> = drawn.iter().map(|drawn| (drawn.quota.as_deref(), drawn.draw.get(Counted::Tokens))).collect();
    assert_eq!(tokens, [(None, 150 + MARGIN_TOKENS), (Some("acme/fast/day"), 150)]);
    let charged = books.charged_since(attempt_opened().started_at, Duration::ZERO).unwrap();
    assert_eq!(charged[0].pico, i128::from(520_000_000 + in_full));
    let later = attempt_opened().started_at.checked_add(Duration::from_secs(1)).unwrap();
    assert_eq!(
        (books.drawn_since(later, Duration::from_secs(9)).unwrap(), books.charged_since(later, Duration::ZERO).unwrap()),
        (vec![], vec![])
    );
}
