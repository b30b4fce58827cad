//! Slices of budgets out of Redis: one task gets them ahead of need, gives back what others want, and asks at once for requests
//! that a slice does not bear. What a slice is and why nothing can be overspent stands in `policy/budget/lease.rs`; that a slice
//! is counted at Redis before it is used here, and given back there only after it is given up here, is this task's part.
//!
//! What Redis holds counts for one run of one server. After another start, another server's taking over or a loss of its data
//! it is a new *epoch*: every gateway says what it holds, and nothing is handed out before all have. Who may hold anything is known from PostgreSQL, and what was spent by gateways that are gone too.

mod epoch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::forwarding::Status;
use super::hints::{self, Hints};
use super::postgres::{Postgres, PostgresError};
use super::redis::{Connected, Redis, RedisError, Words, words};
use super::resp::Reply;
use super::rhythm::{ALIVE_MS, ASKS, EVERY, GIVEN_BACK, LOT, PAUSE};
use crate::clock::SharedClock;
use crate::policy::{Budget, Budgets, Leased, Loan, SharedBudgets, lease_up};
use crate::units::Usd;

/// How often hints about backends are exchanged.
const HINT_EVERY: Duration = Duration::from_millis(500);
/// How long a request waits for more of a budget, all rounds together.
const PATIENCE: Duration = Duration::from_millis(800);
/// How long an account is kept after its window.
const KEPT: Duration = Duration::from_hours(48);
/// The longest that Redis takes, for windows that never end: some hundred years.
const FOR_EVER_SECONDS: i64 = 3_000_000_000;
const EPOCH: &str = "tokenbroker:epoch";
const ALIVE: &str = "tokenbroker:alive";
/// What hands slices out, what begins an account, what begins an epoch.
const SCRIPTS: [&str; 3] = [include_str!("lease.lua"), include_str!("base.lua"), include_str!("epoch.lua")];

/// Why slices cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("budgets are to be rebuilt from the books of all gateways: {0}")]
    Books(#[from] PostgresError),
    #[error("the books of all gateways do not know this one yet")]
    Stranger,
    #[error("the system gives no random bytes: {0}")]
    Randomness(#[from] getrandom::Error),
    #[error("Redis began anew meanwhile")]
    Anew,
    #[error("what this gateway has spent could not be read from its own books")]
    Unread,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// There is more now.
    More,
    /// Others have some to spare, and were asked for it.
    Wait,
    /// There is none.
    Nothing,
    /// Redis could not be asked.
    Unheard,
}

struct Ask {
    budgets: Arc<Budgets>,
    wanted: i64,
    told: oneshot::Sender<Told>,
}

impl Ask {
    /// Whoever asked may have left.
    fn tell(self, told: Told) {
        let _ = self.told.send(told);
    }
}

/// The way to the task.
pub(super) struct Leases {
    asks: mpsc::Sender<Ask>,
    up: Arc<AtomicBool>,
}

impl Leases {
    /// Asks for so much more of every budget that does not bear it now.
    pub(super) async fn lend(&self, budgets: &Arc<Budgets>, wanted: Usd) -> Loan {
        let mut waits = false;
        let rounds = async {
            loop {
                let (told, answer) = oneshot::channel();
                let ask = Ask { budgets: Arc::clone(budgets), wanted: lease_up(wanted), told };
                if self.asks.send(ask).await.is_err() {
                    return Loan::Unheard;
                }
                match answer.await {
                    Ok(Told::More) => return Loan::Granted,
                    Ok(Told::Wait) => {
                        waits = true;
                        sleep(GIVEN_BACK).await;
                    }
                    Ok(Told::Nothing) => return Loan::Nothing,
                    Ok(Told::Unheard) | Err(_) => return Loan::Unheard,
                }
            }
        };
        let told = timeout(PATIENCE, rounds).await;
        // It was heard where others were asked for what they have to spare.
        told.unwrap_or(if waits { Loan::Nothing } else { Loan::Unheard })
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
}

/// What Redis said while this connection stood.
struct Session {
    connected: Connected,
    epoch: String,
    /// Which connection of this gateway it is.
    fence: String,
    /// When the epoch began.
    born: i64,
    /// Gateways that were heard of just now.
    parts: i64,
}

/// What is to be said of one window.
struct Wish {
    budget: Arc<Budget>,
    leased: Leased,
    need: i64,
    /// Whether something to spare is wanted beside that.
    spare: bool,
}

/// The task.
pub(super) struct LeaseKeeper {
    redis: Redis,
    postgres: Postgres,
    status: Arc<Status>,
    gateway: String,
    budgets: SharedBudgets,
    clock: SharedClock,
    asked: mpsc::Receiver<Ask>,
    up: Arc<AtomicBool>,
    session: Option<Session>,
    /// By account, below how much to spare more is asked for, and the limit that was said last.
    low: HashMap<String, (i64, i64)>,
    /// When Redis may be tried again, and when those who are waited for are looked at again, on the monotonic clock.
    again: Duration,
    look_again: Duration,
    /// And when hints are exchanged again.
    hint_again: Duration,
}

impl LeaseKeeper {
    pub(super) fn new(
        (redis, postgres): (Redis, Postgres),
        (gateway, status): (String, Arc<Status>),
        budgets: SharedBudgets,
        clock: SharedClock,
    ) -> (Self, Leases) {
        let (asks, asked) = mpsc::channel(ASKS);
        let up = Arc::new(AtomicBool::new(false));
        let leases = Leases { asks, up: Arc::clone(&up) };
        let (session, low, hint_again) = (None, HashMap::new(), Duration::ZERO);
        let (again, look_again) = (hint_again, hint_again);
        let keeper =
            Self { redis, postgres, status, gateway, budgets, clock, asked, up, session, low, again, look_again, hint_again };
        (keeper, leases)
    }

    /// Keeps slices until the gateway stops, and gives all back then: `returned` says whether that went well.
    pub(super) async fn run(mut self, hints: Arc<dyn Hints>, stopping: CancellationToken, returned: Arc<AtomicBool>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stopping.is_cancelled() {
            let mut asks = Vec::new();
            tokio::select! {
                () = stopping.cancelled() => break,
                ask = self.asked.recv() => asks.extend(ask),
                _ = ticks.tick() => {}
            }
            while let Ok(ask) = self.asked.try_recv() {
                asks.push(ask);
            }
            self.round(asks).await;
            self.hint(&*hints).await;
        }
        let given_back = self.give_all_back().await;
        if let Err(error) = &given_back {
            tracing::warn!(%error, "what was leased could not be given back; it counts until this gateway starts again");
        }
        returned.store(given_back.is_ok(), Ordering::Release);
    }

    async fn round(&mut self, asks: Vec<Ask>) {
        let now = self.clock.monotonic();
        if now < self.again {
            for ask in asks {
                ask.tell(Told::Unheard);
            }
            return;
        }
        let mut told = self.lend(&asks).await;
        if matches!(told, Err(LeaseError::Anew)) {
            self.session = None;
            told = self.lend(&asks).await;
        }
        let was_up = self.up.swap(told.is_ok(), Ordering::Relaxed);
        match told {
            Ok(answers) => {
                if !was_up {
                    tracing::info!("budgets are shared by Redis");
                }
                for (ask, told) in asks.into_iter().zip(answers) {
                    ask.tell(told);
                }
            }
            Err(error) => {
                (self.session, self.again) = (None, now + PAUSE);
                if was_up {
                    tracing::error!(%error, "budgets cannot be shared: this gateway works on the slices that it has");
                } else {
                    tracing::debug!(%error, "budgets cannot be shared yet");
                }
                for ask in asks {
                    ask.tell(Told::Unheard);
                }
            }
        }
    }

    /// Tells others which backends are left alone, and hears it of them.
    async fn hint(&mut self, hints: &dyn Hints) {
        let monotonic = self.clock.monotonic();
        let Some(session) = self.session.as_mut().filter(|_| monotonic >= self.hint_again) else { return };
        self.hint_again = monotonic + HINT_EVERY;
        let now = self.clock.wall().as_millisecond();
        match session.connected.ask(&hints::commands(&self.gateway, &hints.cooling(), now)).await {
            Ok(told) => {
                let heard = told.last().map(|reply| hints::heard(&self.gateway, reply, now)).unwrap_or_default();
                for (name, time) in &heard {
                    hints.heard(name, *time);
                }
            }
            // What was asked on it may still be answered.
            Err(error) => {
                tracing::debug!(%error, "no hints");
                self.session = None;
            }
        }
    }

    /// One round: what is asked for, what others want back, what runs low.
    async fn lend(&mut self, asks: &[Ask]) -> Result<Vec<Told>, LeaseError> {
        self.join().await?;
        let now = self.clock.wall();
        let pressed = self.look(now).await?;
        let mut wishes: BTreeMap<String, Wish> = BTreeMap::new();
        for (budget, _) in self.budgets.all() {
            for leased in budget.leased(now) {
                let name = account(&leased);
                let left = leased.granted.saturating_sub(leased.used);
                // What is not used goes back where somebody lacks it, to the last of it.
                let spare = !pressed.contains(&name);
                let (low, limit) = *self.low.get(&name).unwrap_or(&(i64::MAX, leased.limit));
                let told = limit != leased.limit || if spare { left < low } else { left > 0 };
                let kept = if spare { Some(leased) } else { budget.keep(&leased, 0, now) };
                if let Some(leased) = kept.filter(|_| told) {
                    wishes.insert(name, Wish { budget: Arc::clone(&budget), leased, need: 0, spare });
                }
            }
        }
        for ask in asks {
            for (budget, leased) in ask.budgets.leased(now) {
                let (name, left) = (account(&leased), leased.granted.saturating_sub(leased.used));
                let spare = !pressed.contains(&name);
                let wish = wishes.entry(name).or_insert(Wish { budget, leased, need: -left.max(0), spare });
                wish.need = wish.need.saturating_add(ask.wanted);
            }
        }
        let spare_elsewhere = self.say(wishes, now).await?;
        Ok(asks.iter().map(|ask| told(ask, &spare_elsewhere, now)).collect())
    }

    /// Says that this gateway lives, and hears who lacks something.
    async fn look(&mut self, now: Timestamp) -> Result<BTreeSet<String>, LeaseError> {
        let gateway = self.gateway.clone();
        let session = self.session.as_mut().ok_or(LeaseError::Anew)?;
        let now = now.as_millisecond();
        let (since, now) = ((now - ALIVE_MS).to_string(), now.to_string());
        let pressed = pressed(&session.epoch);
        let commands = [
            words(["ZADD", ALIVE, &now, &gateway]),
            words(["ZCOUNT", ALIVE, &since, "+inf"]),
            words(["ZRANGEBYSCORE", &pressed, &now, "+inf"]),
        ];
        let told = session.connected.ask(&commands).await?;
        session.parts = told.get(1).and_then(Reply::number).unwrap_or(1).max(1);
        Ok(told.get(2).map(Reply::entries).unwrap_or_default().iter().filter_map(Reply::text).map(str::to_owned).collect())
    }

    /// Says what is kept and wanted of these windows, and takes what is handed out. Answers what others have to spare, by account.
    async fn say(&mut self, wishes: BTreeMap<String, Wish>, now: Timestamp) -> Result<HashMap<String, i64>, LeaseError> {
        let mut elsewhere = HashMap::new();
        let mut wishes: Vec<(String, Wish)> = wishes.into_iter().collect();
        // A second time for those that were not begun yet.
        for _ in 0..2 {
            let mut unbegun = Vec::new();
            while !wishes.is_empty() {
                let lot: Vec<(String, Wish)> = wishes.drain(..wishes.len().min(LOT)).collect();
                let replies = self.exchange(&lot, now).await?;
                for ((name, wish), reply) in lot.into_iter().zip(replies) {
                    match self.take(&name, &wish, &reply, &mut elsewhere)? {
                        Said::Done => {}
                        Said::Unbegun => unbegun.push((name, wish)),
                        Said::Awaited => self.look_for_the_missing().await?,
                    }
                }
            }
            if unbegun.is_empty() {
                break;
            }
            self.begin(&unbegun).await?;
            wishes = unbegun;
        }
        Ok(elsewhere)
    }

    async fn exchange(&mut self, lot: &[(String, Wish)], now: Timestamp) -> Result<Vec<Reply>, LeaseError> {
        let gateway = self.gateway.clone();
        let session = self.session.as_mut().ok_or(LeaseError::Anew)?;
        let commands: Vec<Words> = lot
            .iter()
            .map(|(name, Wish { leased, need, spare, .. })| {
                let claim = leased.granted.max(leased.used);
                let parts = if *spare { session.parts } else { 0 };
                let kept = leased.ends.map_or(FOR_EVER_SECONDS, |ends| {
                    ends.duration_since(now).as_secs().max(0) + i64::try_from(KEPT.as_secs()).unwrap_or(0)
                });
                let figures = [leased.limit, leased.used, claim, (*need).max(0), parts, now.as_millisecond(), kept];
                let figures: Vec<String> = figures.iter().map(ToString::to_string).collect();
                let epoch = &session.epoch;
                let keys = [awaited(epoch), key(epoch, name), pressed(epoch), fence(epoch, &gateway)];
                let said = ["EVALSHA", &session.connected.scripts[0], "5", EPOCH].into_iter();
                let said = said.chain(keys.iter().map(String::as_str)).chain([epoch.as_str(), &gateway]);
                words(said.chain(figures.iter().map(String::as_str)).chain([name.as_str(), &session.fence]))
            })
            .collect();
        Ok(session.connected.ask(&commands).await?)
    }

    fn take(&mut self, name: &str, wish: &Wish, reply: &Reply, elsewhere: &mut HashMap<String, i64>) -> Result<Said, LeaseError> {
        let [state, slice, used, spare] = reply.entries() else { return Err(RedisError::Unexpected.into()) };
        let state = state.text().ok_or(RedisError::Unexpected)?;
        if state == "epoch" {
            return Err(LeaseError::Anew);
        }
        let figure = |reply: &Reply| reply.number().ok_or(RedisError::Unexpected);
        let (slice, used, spare) = (figure(slice)?, figure(used)?, figure(spare)?);
        wish.budget.grant(&wish.leased, slice, used);
        elsewhere.insert(name.to_owned(), spare);
        // Where others lack something, or there is nothing to spare, a request asks by itself.
        let low = match state {
            "ok" if wish.spare => slice.saturating_sub(wish.leased.used).max(0) / 2,
            "ok" => 0,
            _ => i64::MAX,
        };
        self.low.insert(name.to_owned(), (low, wish.leased.limit));
        Ok(match state {
            "base" => Said::Unbegun,
            "awaited" => Said::Awaited,
            _ => Said::Done,
        })
    }

    async fn give_all_back(&mut self) -> Result<(), LeaseError> {
        self.join().await?;
        let now = self.clock.wall();
        let mut wishes = BTreeMap::new();
        for (budget, _) in self.budgets.all() {
            for leased in budget.leased(now) {
                if let Some(leased) = budget.keep(&leased, 0, now) {
                    wishes.insert(account(&leased), Wish { budget: Arc::clone(&budget), leased, need: 0, spare: false });
                }
            }
        }
        self.say(wishes, now).await?;
        let session = self.session.as_mut().ok_or(LeaseError::Anew)?;
        session.connected.ask(&[words(["ZREM", ALIVE, &self.gateway])]).await?;
        Ok(())
    }
}

/// What an account said.
enum Said {
    Done,
    /// It has to be begun first.
    Unbegun,
    /// Nothing is handed out of it yet.
    Awaited,
}

/// What a window is called at Redis.
fn account(leased: &Leased) -> String {
    let zone = leased.window.zone.iana_name().unwrap_or("fixed");
    let start = leased.starts.map_or_else(|| "ever".to_owned(), |start| start.as_second().to_string());
    format!("{}|{}|{}|{zone}|{start}", leased.payer.kind(), leased.payer.name().unwrap_or_default(), leased.window.every.word())
}

fn key(epoch: &str, account: &str) -> String {
    format!("tokenbroker:budget:{epoch}:{account}")
}

fn awaited(epoch: &str) -> String {
    format!("tokenbroker:awaited:{epoch}")
}

fn fence(epoch: &str, gateway: &str) -> String {
    format!("tokenbroker:fence:{epoch}:{gateway}")
}

fn pressed(epoch: &str) -> String {
    format!("tokenbroker:pressed:{epoch}")
}

/// What one who asked is told.
fn told(ask: &Ask, elsewhere: &HashMap<String, i64>, now: Timestamp) -> Told {
    let mut told = Told::More;
    for (_, leased) in ask.budgets.leased(now) {
        let lacks = ask.wanted.saturating_sub(leased.granted.saturating_sub(leased.used));
        if lacks > 0 {
            let there = elsewhere.get(&account(&leased)).copied().unwrap_or(0);
            told = if told != Told::Nothing && there >= lacks { Told::Wait } else { Told::Nothing };
        }
    }
    told
}
