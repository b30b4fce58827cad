//! From the books of this gateway to those of all: one task takes lots from the spool, oldest first, and strikes them out when
//! PostgreSQL has them. While that is away the spool grows on the disk and nobody waits for it; only when more waits than was
//! configured is no new request taken on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::postgres::{Connected, Postgres, PostgresError};
use crate::ledger::{Ledger, LedgerError, Outbox, Standing, StoreError};

/// How often the spool is looked at.
const EVERY: Duration = Duration::from_millis(200);
/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Requests in one lot: one transaction there.
const LOT: usize = 1_000;
/// How often what waits is counted while the store is away.
const COUNT_EVERY: u32 = 5;
/// Questions that may wait for a round.
const ASKS: usize = 256;

/// Why something was not forwarded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the books are behind: {0}")]
    Behind(#[source] LedgerError),
    #[error("{0}")]
    Away(String),
}

/// How forwarding stands.
#[derive(Debug, Default)]
pub struct Status {
    waiting: AtomicU64,
    up: AtomicBool,
    member: AtomicBool,
    /// What is wrong, where something is.
    wrong: Mutex<Option<String>>,
}

impl Status {
    /// Requests that wait to be forwarded, as far as they were counted last.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether the last try went well.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether the store knows this gateway as one that may hold leases.
    pub(super) fn is_member(&self) -> bool {
        self.member.load(Ordering::Acquire)
    }

    pub fn wrong(&self) -> Option<String> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, wrong: Option<String>) {
        self.up.store(wrong.is_none(), Ordering::Relaxed);
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
    }
}

type Ask = oneshot::Sender<Result<(), String>>;

/// The way to the task.
#[derive(Clone)]
pub struct Forwarding {
    ledger: Ledger,
    asks: mpsc::Sender<Ask>,
    pub status: Arc<Status>,
}

impl Forwarding {
    /// Returns when everything that ended before this call is in the store of all.
    pub async fn flush(&self) -> Result<(), ForwardError> {
        self.ledger.flush().await.map_err(ForwardError::Behind)?;
        let (told, done) = oneshot::channel();
        let stopping = || ForwardError::Away("the gateway is stopping".to_owned());
        self.asks.send(told).await.map_err(|_| stopping())?;
        done.await.map_err(|_| stopping())?.map_err(ForwardError::Away)
    }
}

/// The task.
pub struct Forwarder {
    ledger: Ledger,
    outbox: Arc<Mutex<Outbox>>,
    gateway: String,
    postgres: Postgres,
    /// Whether leases of budgets are to be held.
    leases: bool,
    most_waiting: u64,
    asked: mpsc::Receiver<Ask>,
    status: Arc<Status>,
    connected: Option<(Connected, i64)>,
}

impl Forwarder {
    pub fn new(ledger: &Ledger, postgres: Postgres, leases: bool, most_waiting: u64) -> Result<(Self, Forwarding), StoreError> {
        let outbox = ledger.outbox()?;
        let (asks, asked) = mpsc::channel(ASKS);
        let status = Arc::new(Status::default());
        status.member.store(outbox.standing()?.member, Ordering::Release);
        let forwarding = Forwarding { ledger: ledger.clone(), asks, status: Arc::clone(&status) };
        let (ledger, gateway) = (ledger.clone(), outbox.gateway().to_owned());
        let outbox = Arc::new(Mutex::new(outbox));
        let forwarder = Self { ledger, outbox, gateway, postgres, leases, most_waiting, asked, status, connected: None };
        Ok((forwarder, forwarding))
    }

    /// What this gateway is called in what it shares.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Forwards until the gateway stops, and then what is left, once. Where the leases were given back by then, it is no member
    /// any more.
    pub async fn run(mut self, stopping: CancellationToken, returned: Arc<AtomicBool>) {
        let mut failures = 0;
        while !stopping.is_cancelled() {
            let mut asks = Vec::new();
            let wait = if failures == 0 { EVERY } else { PAUSE };
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
                ask = self.asked.recv() => asks.extend(ask),
            }
            while let Ok(ask) = self.asked.try_recv() {
                asks.push(ask);
            }
            let round = self.round().await;
            failures = if round.is_ok() { 0 } else { failures + 1 };
            self.tell(&round, failures).await;
            let answer = round.map_err(|error| error.to_string());
            for ask in asks {
                // Whoever asked may have left.
                let _ = ask.send(answer.clone());
            }
        }
        let left = self.round().await.is_ok() && returned.load(Ordering::Acquire) && self.leave().await.is_ok();
        tracing::debug!(left, "forwarding ends");
    }

    /// Forwards everything that waits.
    async fn round(&mut self) -> Result<(), ForwardError> {
        let round = self.forward().await;
        if round.is_err() {
            // It may be half way through a lot.
            self.connected = None;
        }
        round
    }

    async fn forward(&mut self) -> Result<(), ForwardError> {
        loop {
            let lot = self.spool(|outbox| outbox.next(LOT)).await?;
            if lot.requests.is_empty() && self.connected.is_some() {
                return Ok(());
            }
            let Some((mut connected, lots)) = self.connected.take() else {
                // It may be that there is more to send then.
                self.connected = Some(self.connect().await?);
                continue;
            };
            let lots = lots + 1;
            connected.take(&self.gateway, &lot, lots).await?;
            self.spool(move |outbox| outbox.sent(&lot, lots)).await?;
            self.connected = Some((connected, lots));
        }
    }

    /// Connects, and begins anew where the store is not the one that took what was sent, or not as it was then.
    async fn connect(&self) -> Result<(Connected, i64), ForwardError> {
        let mut connected = self.postgres.connect().await?;
        let tables = self.spool(|outbox| Ok(outbox.tables().to_vec())).await?;
        let known = connected.set_up(&self.gateway, self.leases, &tables).await?;
        let Standing { ledger, lots, .. } = self.spool(|outbox| outbox.standing()).await?;
        if ledger.as_deref() != Some(known.ledger.as_str()) || lots > known.lots {
            tracing::warn!(
                sent = lots,
                there = known.lots,
                "the books in PostgreSQL lack what was sent: everything is sent again"
            );
            let (ledger, lots) = (known.ledger.clone(), known.lots);
            self.spool(move |outbox| outbox.all_again(&ledger, lots)).await?;
        }
        let leases = self.leases;
        self.spool(move |outbox| outbox.set_member(leases)).await?;
        self.status.member.store(leases, Ordering::Release);
        Ok((connected, known.lots))
    }

    async fn leave(&mut self) -> Result<(), ForwardError> {
        if let Some((connected, _)) = &self.connected {
            connected.leave(&self.gateway).await?;
            self.spool(|outbox| outbox.set_member(false)).await?;
        }
        Ok(())
    }

    async fn tell(&self, round: &Result<(), ForwardError>, failures: u32) {
        let wrong = round.as_ref().err().map(ToString::to_string);
        match (&wrong, self.status.is_up()) {
            (Some(error), _) if failures == 1 => tracing::error!(error, "the books are not forwarded; they wait on the disk"),
            (None, false) => tracing::info!("the books are forwarded to PostgreSQL"),
            _ => {}
        }
        self.status.set(wrong);
        if failures % COUNT_EVERY == 1 || failures == 0 {
            let most = self.most_waiting;
            let Ok(waiting) = self.spool(move |outbox| outbox.waiting(most.saturating_add(1))).await else { return };
            self.status.waiting.store(waiting, Ordering::Relaxed);
            let reason = || format!("more than {most} requests wait for PostgreSQL (fleet.most_waiting)");
            self.ledger.hold_back((waiting > most).then(reason));
        }
    }

    /// Does something with the spool, off the reactor.
    async fn spool<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Outbox) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ForwardError> {
        let outbox = Arc::clone(&self.outbox);
        let ran = spawn_blocking(move || run(&mut outbox.lock().unwrap_or_else(PoisonError::into_inner)));
        Ok(ran.await.map_err(|error| ForwardError::Away(error.to_string()))??)
    }
}
