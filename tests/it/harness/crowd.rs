//! Many clients of one budget at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::provider::{Script, Step, then};
use super::{Call, Gate, Gateway, Provider, Whole, until};

/// What became of them.
pub(crate) struct Crowd {
    pub(crate) answered: Vec<Whole>,
    /// Those that were told that there is no money left, or that they ask too often.
    pub(crate) refused: Vec<Whole>,
}

fn is_refused(answer: &Whole) -> bool {
    matches!(answer.status, 402 | 429)
}

/// So many clients ask for the same at once. The provider gives this answer to each, but not before money is held for, or refused to,
/// all of them; when this returns, what was answered is booked.
pub(crate) async fn crowd(gateway: &Gateway, provider: &Provider, (call, clients): (&Call, usize), answer: Script) -> Crowd {
    crowd_of(gateway, provider, &vec![call; clients], answer).await
}

/// The same for clients that each ask for something of their own.
pub(crate) async fn crowd_of(gateway: &Gateway, provider: &Provider, calls: &[&Call], answer: Script) -> Crowd {
    let gate = Gate::shut();
    provider.always(then(vec![Step::Wait(gate.clone())], answer));
    let turned_away = AtomicUsize::new(0);
    let asked = join_all(calls.iter().map(async |call| {
        let answer = gateway.ask(call).await;
        turned_away.fetch_add(usize::from(is_refused(&answer)), Ordering::Relaxed);
        answer
    }));
    let director = async {
        let all = async || (provider.calls().len() + turned_away.load(Ordering::Relaxed) == calls.len()).then_some(());
        until("every request to be held or refused", all).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(asked, director);
    let (refused, answered): (Vec<_>, Vec<_>) = answers.into_iter().partition(is_refused);
    for answer in &answered {
        assert_eq!(answer.status, 200, "{}", answer.text());
        gateway.row_of(answer).await;
    }
    Crowd { answered, refused }
}
