//! What administrators set while gateways run (virtual keys, limits of budgets), the same at every gateway: each has it on its own disk
//! and works on that, and one task makes it agree with the shelf in PostgreSQL (`shelved`). It looks there four times a second; a
//! change is worked out on what the shelf holds, put there if that is still so, and taken up from there like anybody else's. So of
//! two changes at once one comes second and is worked out anew.
//!
//! When a connection is made, everything that is here and not there is offered: what this gateway had before it joined, what a
//! store that was put back to an older state lacks, a revocation that was made while it was away. What holds where both have
//! something is said by the books themselves ([`Shelves::merged`]).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::postgres::{Connected, Postgres, PostgresError};
pub use super::shelved::{Entry, Line};
use crate::config::keys::to_hex;
use crate::policy::keys::hash;

/// How often the shelf is looked at,
const EVERY: Duration = Duration::from_millis(250);
/// and after a failure.
const PAUSE: Duration = Duration::from_millis(500);
/// How long somebody who changes something waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// Steps that may wait.
const ASKS: usize = 64;
/// How often a step is worked out anew because another one came first.
const TRIES: usize = 8;
const CROSSED: &str = "other changes came first each time";
const LEFT: &str = "nobody waits for it any more";

impl Line {
    pub fn of(shelf: &str, text: String) -> Self {
        Self { shelf: shelf.to_owned(), id: to_hex(&hash(format!("{shelf}\n{text}").as_bytes())), text }
    }
}

/// The books of this gateway, which are to agree with the shelf. May block.
pub trait Shelves: Send + Sync {
    /// Everything that is here.
    fn all(&self) -> Result<(Vec<Entry>, Vec<Line>), String>;

    /// What is to stand there where this is here; `None`: what does.
    fn merged(&self, there: &Entry, here: &Entry) -> Option<String>;

    /// Takes up what stands there, and lines that are not here.
    fn take(&self, entries: Vec<Entry>, lines: Vec<Line>) -> Result<(), String>;

    /// Puts it in force.
    fn put_in_force(&self) -> BoxFuture<'_, ()>;
}

/// Why something was not put on the shelf.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unshared {
    /// Nothing was changed.
    #[error("{0}: nothing was changed")]
    Away(String),
    #[error("{0}: whether it was done shows when it answers again")]
    Unknown(String),
}

/// A change that was worked out.
#[derive(Debug)]
pub struct Step {
    pub entry: Entry,
    pub line: Line,
}

/// Works a step out on what holds now; `None` where it is not to be taken.
type Plan = Box<dyn FnMut() -> Option<Step> + Send>;

struct Ask {
    plan: Plan,
    told: oneshot::Sender<Result<bool, Unshared>>,
}

/// The way to the task.
pub struct Shelving {
    asks: mpsc::Sender<Ask>,
    standing: Arc<Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    /// Something was changed here that is to be offered.
    offer: AtomicBool,
    /// What is wrong, where something is.
    wrong: Mutex<Option<String>>,
}

impl Shelving {
    /// Takes a step at all gateways. It is worked out on what holds, again where another one came first. Answers whether it was taken up here
    /// too; where it was not, it will be.
    pub async fn step(&self, plan: impl FnMut() -> Option<Step> + Send + 'static) -> Result<bool, Unshared> {
        let (told, done) = oneshot::channel();
        let stopping = || Unshared::Away("the gateway is stopping".to_owned());
        let late = || format!("PostgreSQL did not answer within {} s", PATIENCE.as_secs());
        let asked = async {
            self.asks.send(Ask { plan: Box::new(plan), told }).await.map_err(|_| stopping())?;
            done.await.map_err(|_| stopping())?
        };
        timeout(PATIENCE, asked).await.map_err(|_| Unshared::Unknown(late()))?
    }

    /// Waits until what is here stands there too.
    pub async fn agree(&self) -> Result<(), Unshared> {
        self.step(|| None).await.map(|_| ())
    }

    /// What is here is offered again, as soon as that is possible.
    pub fn offer(&self) {
        self.standing.offer.store(true, Ordering::Release);
    }

    /// Why keys and limits cannot be shared now.
    pub fn wrong(&self) -> Option<String> {
        self.standing.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is known of the shelf while a connection stands.
struct Session {
    connected: Connected,
    revision: i64,
    /// With which revision each entry came.
    seen: HashMap<(String, String), i64>,
    /// Lines that are here.
    lines: HashSet<String>,
}

/// The task.
pub(super) struct ShelfKeeper {
    postgres: Postgres,
    asked: mpsc::Receiver<Ask>,
    standing: Arc<Standing>,
    session: Option<Session>,
}

impl ShelfKeeper {
    pub(super) fn new(postgres: Postgres) -> (Self, Shelving) {
        let (asks, asked) = mpsc::channel(ASKS);
        let standing = Arc::new(Standing::default());
        let keeper = Self { postgres, asked, standing: Arc::clone(&standing), session: None };
        (keeper, Shelving { asks, standing })
    }

    /// Keeps the books and the shelf alike until the gateway stops.
    pub(super) async fn run(self, shelves: Arc<dyn Shelves>, stopping: CancellationToken) {
        stopping.run_until_cancelled(self.keep(shelves)).await;
    }

    async fn keep(mut self, shelves: Arc<dyn Shelves>) {
        // What was revoked while this gateway was down is to be known soon.
        drop(self.agree(&shelves).await);
        loop {
            let wait = if self.session.is_some() { EVERY } else { PAUSE };
            let asked = tokio::select! {
                asked = self.asked.recv() => asked,
                () = sleep(wait) => None,
            };
            match asked {
                None => drop(self.agree(&shelves).await),
                Some(mut ask) => {
                    let done = self.step(&mut ask, &shelves).await;
                    // Whoever asked may have left.
                    let _ = ask.told.send(done);
                }
            }
        }
    }

    async fn step(&mut self, ask: &mut Ask, shelves: &Arc<dyn Shelves>) -> Result<bool, Unshared> {
        for _ in 0..TRIES {
            self.agree(shelves).await.map_err(Unshared::Away)?;
            let Some(session) = &self.session else { break };
            // What nobody waits for any more is not done.
            if ask.told.is_closed() {
                return Err(Unshared::Away(LEFT.to_owned()));
            }
            let Some(Step { entry, line }) = (ask.plan)() else { return Ok(true) };
            let over = session.seen.get(&(entry.shelf.clone(), entry.name.clone())).copied();
            match session.connected.put(&entry, Some(&line), over).await {
                Ok(Some(_)) => return Ok(self.agree(shelves).await.is_ok()),
                Ok(None) => {}
                Err(error) => {
                    self.session = None;
                    return Err(Unshared::Unknown(error.to_string()));
                }
            }
        }
        // What stands there may not be what is known of it: a store that was put back.
        self.session = None;
        Err(Unshared::Away(CROSSED.to_owned()))
    }

    /// Takes up what stands there, and offers what only is here.
    async fn agree(&mut self, shelves: &Arc<dyn Shelves>) -> Result<(), String> {
        if self.standing.offer.swap(false, Ordering::AcqRel) {
            self.session = None;
        }
        let agreed = self.try_to_agree(shelves).await;
        let mut wrong = self.standing.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match (&agreed, wrong.is_some()) {
            (Err(error), false) => tracing::error!(error, "virtual keys and limits of budgets are not shared"),
            (Ok(()), true) => tracing::info!("virtual keys and limits of budgets are shared again"),
            _ => {}
        }
        *wrong = agreed.as_ref().err().cloned();
        drop(wrong);
        agreed
    }

    async fn try_to_agree(&mut self, shelves: &Arc<dyn Shelves>) -> Result<(), String> {
        if let Some(session) = &mut self.session {
            match session.look(shelves).await {
                Ok(()) => return Ok(()),
                // Its server may be back under another connection.
                Err(error) => tracing::debug!(error, "the shelf is joined anew"),
            }
        }
        self.session = None;
        self.session = Some(self.join(shelves).await?);
        Ok(())
    }

    /// Connects, offers everything that is here, and takes up everything that is there.
    async fn join(&self, shelves: &Arc<dyn Shelves>) -> Result<Session, String> {
        let mut connected = self.postgres.connect().await.map_err(in_words)?;
        connected.set_up_shelf().await.map_err(in_words)?;
        let books = Arc::clone(shelves);
        let (entries, lines) = blocking(move || books.all()).await?;
        let mut tries = 1;
        while !offered(&connected, &entries, shelves).await.map_err(in_words)? {
            if tries == TRIES {
                return Err(CROSSED.to_owned());
            }
            tries += 1;
        }
        // Before anything is read: what comes while that is done comes again with the next look.
        let revision = connected.shelf_revision().await.map_err(in_words)?;
        let theirs = connected.line_ids().await.map_err(in_words)?;
        let ours: Vec<Line> = lines.iter().filter(|line| !theirs.contains(&line.id)).cloned().collect();
        if !ours.is_empty() {
            connected.put_lines(&ours).await.map_err(in_words)?;
        }
        let known: HashSet<String> = lines.into_iter().map(|line| line.id).collect();
        let there = connected.entries_after(i64::MIN).await.map_err(in_words)?;
        let missing: Vec<&str> = theirs.difference(&known).map(String::as_str).collect();
        let missing = connected.lines_of(&missing).await.map_err(in_words)?;
        let mut session = Session { connected, revision, seen: HashMap::new(), lines: known };
        session.take(there, missing, shelves).await?;
        Ok(session)
    }
}

/// Puts there what only is here. Answers whether nobody came between.
async fn offered(connected: &Connected, here: &[Entry], shelves: &Arc<dyn Shelves>) -> Result<bool, PostgresError> {
    let there = connected.entries_after(i64::MIN).await?;
    let known: HashMap<(&str, &str), &(Entry, i64)> =
        there.iter().map(|known| ((known.0.shelf.as_str(), known.0.name.as_str()), known)).collect();
    for entry in here {
        let (text, over) = match known.get(&(entry.shelf.as_str(), entry.name.as_str())) {
            None => (Some(entry.text.clone()), None),
            Some((known, revision)) => (shelves.merged(known, entry), Some(*revision)),
        };
        let Some(text) = text else { continue };
        if connected.put(&Entry { text, ..entry.clone() }, None, over).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Session {
    /// Takes up what came since the last look.
    async fn look(&mut self, shelves: &Arc<dyn Shelves>) -> Result<(), String> {
        let revision = self.connected.shelf_revision().await.map_err(in_words)?;
        if revision < self.revision {
            return Err("it is older than it was".to_owned());
        }
        if revision > self.revision {
            let entries = self.connected.entries_after(self.revision).await.map_err(in_words)?;
            let lines = self.connected.lines_after(self.revision).await.map_err(in_words)?;
            self.take(entries, lines, shelves).await?;
            self.revision = revision;
        }
        Ok(())
    }

    async fn take(&mut self, entries: Vec<(Entry, i64)>, mut lines: Vec<Line>, shelves: &Arc<dyn Shelves>) -> Result<(), String> {
        lines.retain(|line| !self.lines.contains(&line.id));
        if entries.is_empty() && lines.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = lines.iter().map(|line| line.id.clone()).collect();
        let (entries, revisions): (Vec<Entry>, Vec<i64>) = entries.into_iter().unzip();
        let seen: Vec<(String, String)> = entries.iter().map(|entry| (entry.shelf.clone(), entry.name.clone())).collect();
        let books = Arc::clone(shelves);
        let taken = blocking(move || books.take(entries, lines)).await;
        // Also where only a part of it could be taken: that may be a revocation.
        shelves.put_in_force().await;
        taken?;
        self.lines.extend(ids);
        self.seen.extend(seen.into_iter().zip(revisions));
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn in_words(error: PostgresError) -> String {
    error.to_string()
}

/// Off the reactor.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    spawn_blocking(run).await.map_err(|error| error.to_string())?
}
