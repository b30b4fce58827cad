//! What this gateway shares with others: the books of its administrators, and what operators are told of the stores.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::admin::refused;
use super::routes::Front;
use crate::fleet::{Entry, Fleet, Line, Shelves, Step, Unshared};
use crate::frontend::errors::{ClientError, ErrorKind};
use crate::key_book::{BudgetBook, Change, KeyBook};

/// The books by what they are called there.
pub(super) const KEYS: &str = "keys";
pub(super) const BUDGETS: &str = "budgets";

/// What is wrong with the stores: the gateway serves all the same.
pub(super) fn troubles(front: &Front) -> String {
    front.fleet.as_ref().map(Fleet::troubles).unwrap_or_default()
}

/// How long a start waits for what the others have. A store that hangs must not keep a gateway from serving again within a second.
const START: Duration = Duration::from_millis(500);

/// Tells the metrics how they stand.
pub(super) fn tell(front: &Front) {
    let Some(fleet) = &front.fleet else { return };
    front.metrics.forwarding(fleet.status().waiting(), fleet.status().is_up());
    if let Some(up) = fleet.lends() {
        front.metrics.lending(up);
    }
}

/// Begins to keep the books of administrators alike at all gateways. What the others have is asked for before anybody is served, so that
/// a key that was revoked while this gateway was down lets nobody in; a store that does not answer soon is not waited for.
pub(super) async fn begin(front: &Arc<Front>) {
    let Some(fleet) = &front.fleet else { return };
    fleet.begin_to_share(Arc::new(SharedBooks(Arc::clone(front))));
    // Who is to hear of a failure hears of it from the task, which goes on asking.
    drop(timeout(START, fleet.shelving().agree()).await);
}

/// Takes a step of an administrator at all gateways, worked out on what holds at all of them. Answers what came of it, and whether it
/// was taken up here.
pub(super) async fn everywhere<T: Send + 'static, E: Send + 'static>(
    fleet: &Fleet,
    shelf: &'static str,
    mut plan: impl FnMut() -> Result<(Change, T), E> + Send + 'static,
) -> Result<Result<(T, bool), E>, Unshared> {
    let outcome = Arc::new(Mutex::new(None));
    let last = Arc::clone(&outcome);
    let planned = move || {
        let (step, told) = match plan() {
            Ok((Change { name, entry, line }, told)) => {
                let entry = Entry { shelf: shelf.to_owned(), name, text: entry };
                (Some(Step { entry, line: Line::of(shelf, line) }), Ok(told))
            }
            Err(error) => (None, Err(error)),
        };
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        step
    };
    let here = fleet.shelving().step(planned).await?;
    let told = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    let told = told.ok_or_else(|| Unshared::Away("it was not worked out".to_owned()))?;
    Ok(told.map(|told| (told, here)))
}

/// What an administrator is told whose step could not be taken at all gateways.
pub(super) fn not_shared(why: &Unshared) -> Response {
    let message =
        format!("keys and limits of budgets are those of all gateways, and the store that they share cannot be asked: {why}");
    refused(&ClientError::new(503, ErrorKind::Server, "fleet_unavailable", message))
}

/// The books of administrators, as a fleet keeps them alike.
struct SharedBooks(Arc<Front>);

impl Shelves for SharedBooks {
    fn all(&self) -> Result<(Vec<Entry>, Vec<Line>), String> {
        let Front { key_book, budget_book, .. } = &*self.0;
        let of = |shelf: &str, entries: Vec<(String, String)>| -> Vec<Entry> {
            entries.into_iter().map(|(name, text)| Entry { shelf: shelf.to_owned(), name, text }).collect()
        };
        let mut entries = of(KEYS, key_book.entries());
        entries.extend(of(BUDGETS, budget_book.entries()));
        let keys = key_book.audit_lines().map_err(|error| error.to_string())?;
        let budgets = budget_book.audit_lines().map_err(|error| error.to_string())?;
        let lines = keys.into_iter().map(|line| Line::of(KEYS, line));
        Ok((entries, lines.chain(budgets.into_iter().map(|line| Line::of(BUDGETS, line))).collect()))
    }

    fn merged(&self, there: &Entry, here: &Entry) -> Option<String> {
        let merged = if there.shelf == KEYS { KeyBook::merged } else { BudgetBook::merged };
        merged(&there.text, &here.text)
    }

    fn take(&self, entries: Vec<Entry>, lines: Vec<Line>) -> Result<(), String> {
        let of = |shelf: &str| -> (Vec<String>, Vec<String>) {
            let entries = entries.iter().filter(|entry| entry.shelf == shelf).map(|entry| entry.text.clone());
            (entries.collect(), lines.iter().filter(|line| line.shelf == shelf).map(|line| line.text.clone()).collect())
        };
        let ((keys, of_keys), (budgets, of_budgets)) = (of(KEYS), of(BUDGETS));
        // Each, whatever becomes of the other.
        let taken = [self.0.key_book.take(&keys, &of_keys), self.0.budget_book.take(&budgets, &of_budgets)];
        taken.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())
    }

    fn put_in_force(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.0.reloads.ask_keys().await;
        })
    }
}
