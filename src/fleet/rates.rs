//! Slices of limits on rates out of Redis, by a task of its own: as `leases` gets slices of budgets, and simpler, for a limit that is
//! passed for a moment is no money lost. A gateway that is not heard of for a minute has no slice any more, and for two seconds after
//! Redis lost its data nobody gets more than an even share. Without Redis each gateway keeps to the slice that it has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::redis::{Connected, Redis, RedisError, Words, words};
use super::resp::Reply;
use super::rhythm::{ALIVE_MS, ASKS, EVERY, GIVEN_BACK, LOT, PAUSE};
use crate::clock::SharedClock;
use crate::policy::{Counted, SharedThrottles, SlicedLimit, Throttle, Throttles};

/// How long a request waits for more, all rounds together.
const PATIENCE: Duration = Duration::from_millis(500);
/// What is held is said again at least so often, or it would be forgotten.
const SAID_EVERY: Duration = Duration::from_secs(10);

const SCRIPT: &str = include_str!("rate.lua");
const ALIVE: &str = "tokenbroker:rates-alive";
const PRESSED: &str = "tokenbroker:rates-pressed";

struct Ask {
    throttles: Arc<Throttles>,
    tokens: u64,
    /// Whether to try again now; `None` after a moment.
    told: oneshot::Sender<Option<bool>>,
}

/// The way to the task.
pub(super) struct RateSlices(mpsc::Sender<Ask>);

impl RateSlices {
    /// Asks for what one more request of so many tokens lacks. Answers whether to try again.
    pub(super) async fn ask(&self, throttles: &Arc<Throttles>, tokens: u64) -> bool {
        let rounds = async {
            loop {
                let (told, answer) = oneshot::channel();
                if self.0.send(Ask { throttles: Arc::clone(throttles), tokens, told }).await.is_err() {
                    return false;
                }
                match answer.await {
                    Ok(Some(again)) => return again,
                    Ok(None) => sleep(GIVEN_BACK).await,
                    Err(_) => return false,
                }
            }
        };
        timeout(PATIENCE, rounds).await.unwrap_or(false)
    }
}

struct Wish {
    throttle: Arc<Throttle>,
    counted: Counted,
    limit: u64,
    used: u64,
    claim: u64,
    need: u64,
    spare: bool,
}

/// The task.
pub(super) struct RateKeeper {
    redis: Redis,
    gateway: String,
    throttles: SharedThrottles,
    clock: SharedClock,
    asked: mpsc::Receiver<Ask>,
    connected: Option<Connected>,
    /// Gateways that were heard of just now.
    parts: i64,
    /// By limit, below how much to spare more is asked for, and when it was last said.
    low: HashMap<String, (u64, Duration)>,
    /// When Redis may be tried again, on the monotonic clock.
    again: Duration,
}

impl RateKeeper {
    pub(super) fn new(redis: Redis, gateway: String, throttles: SharedThrottles, clock: SharedClock) -> (Self, RateSlices) {
        let (asks, asked) = mpsc::channel(ASKS);
        let (connected, parts, low, again) = (None, 1, HashMap::new(), Duration::ZERO);
        (Self { redis, gateway, throttles, clock, asked, connected, parts, low, again }, RateSlices(asks))
    }

    /// Keeps slices until the gateway stops. They are forgotten by themselves then.
    pub(super) async fn run(mut self, stopping: CancellationToken) {
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
            let now = self.clock.monotonic();
            let told = if now < self.again { Ok(vec![Some(false); asks.len()]) } else { self.round(&asks).await };
            let answers = told.unwrap_or_else(|error| {
                tracing::debug!(%error, "rate limits cannot be shared: this gateway works on the slices that it has");
                (self.connected, self.again) = (None, now + PAUSE);
                vec![Some(false); asks.len()]
            });
            for (ask, told) in asks.into_iter().zip(answers) {
                // Whoever asked may have left.
                let _ = ask.told.send(told);
            }
        }
    }

    async fn round(&mut self, asks: &[Ask]) -> Result<Vec<Option<bool>>, RedisError> {
        let all = self.throttles.all();
        if self.connected.is_none() && asks.is_empty() && all.iter().all(|throttle| throttle.sliced(Duration::ZERO).is_empty()) {
            return Ok(Vec::new());
        }
        let pressed = self.look().await?;
        let now = self.clock.monotonic();
        let mut wishes: BTreeMap<String, Wish> = BTreeMap::new();
        for throttle in all {
            for seen in throttle.sliced(now) {
                let name = account(&seen);
                let (low, said) = self.low.get(&name).copied().unwrap_or((u64::MAX, Duration::ZERO));
                let (left, spare) = (seen.granted.saturating_sub(seen.used), !pressed.contains(&name));
                let due = now.saturating_sub(said) >= SAID_EVERY;
                let calls = if spare { left < low } else { left > 0 };
                if due || calls {
                    let kept = if spare { seen.granted } else { throttle.keep(seen.counted, now) };
                    wishes.insert(name, Wish::of(Arc::clone(&throttle), &seen, kept, 0, spare));
                }
            }
        }
        for ask in asks {
            for (throttle, seen) in ask.throttles.sliced(now) {
                let (name, wanted) = (account(&seen), wanted(seen.counted, ask.tokens));
                let (left, spare) = (seen.granted.saturating_sub(seen.used), !pressed.contains(&name));
                let lacks = wanted.saturating_sub(left);
                let wish = wishes.entry(name).or_insert_with(|| Wish::of(throttle, &seen, seen.granted, 0, spare));
                // Who asks beside another finds less than is left.
                wish.need = wish.need.saturating_add(if wish.need == 0 { lacks } else { wanted });
            }
        }
        let elsewhere = self.say(wishes, now).await?;
        Ok(asks.iter().map(|ask| told(ask, &elsewhere, now)).collect())
    }

    /// Says that this gateway lives, and hears who lacks something.
    async fn look(&mut self) -> Result<BTreeSet<String>, RedisError> {
        if self.connected.is_none() {
            self.connected = Some(self.redis.connect(&[SCRIPT]).await?);
            self.low.clear();
        }
        let connected = self.connected.as_mut().ok_or(RedisError::Unexpected)?;
        let now = self.clock.wall().as_millisecond();
        let (since, now) = ((now - ALIVE_MS).to_string(), now.to_string());
        let commands = [
            words(["ZADD", ALIVE, &now, &self.gateway]),
            words(["ZCOUNT", ALIVE, &since, "+inf"]),
            words(["ZRANGEBYSCORE", PRESSED, &now, "+inf"]),
        ];
        let told = connected.ask(&commands).await?;
        self.parts = told.get(1).and_then(Reply::number).unwrap_or(1).max(1);
        Ok(told.get(2).map(Reply::entries).unwrap_or_default().iter().filter_map(Reply::text).map(str::to_owned).collect())
    }

    /// Says what is kept and wanted, and takes what is handed out. Answers what others have to spare, by limit.
    async fn say(&mut self, wishes: BTreeMap<String, Wish>, now: Duration) -> Result<HashMap<String, u64>, RedisError> {
        let mut elsewhere = HashMap::new();
        let wishes: Vec<(String, Wish)> = wishes.into_iter().collect();
        let wall = self.clock.wall().as_millisecond();
        for lot in wishes.chunks(LOT) {
            let connected = self.connected.as_mut().ok_or(RedisError::Unexpected)?;
            let script = connected.scripts[0].clone();
            let command = |(name, wish): &(String, Wish)| -> Words {
                let parts = if wish.spare { self.parts } else { 0 };
                let figures = [wish.limit, wish.used, wish.claim, wish.need].map(|figure| figure.to_string());
                let (parts, wall, key) = (parts.to_string(), wall.to_string(), format!("tokenbroker:rate:{name}"));
                let said = ["EVALSHA", &script, "2", &key, PRESSED, &self.gateway];
                words(said.into_iter().chain(figures.iter().map(String::as_str)).chain([parts.as_str(), &wall, name]))
            };
            let commands: Vec<Words> = lot.iter().map(command).collect();
            let replies = connected.ask(&commands).await?;
            for ((name, wish), reply) in lot.iter().zip(replies) {
                let figure =
                    |at: usize| reply.entries().get(at).and_then(Reply::number).and_then(|figure| u64::try_from(figure).ok());
                let (slice, spare) = (figure(0).ok_or(RedisError::Unexpected)?, figure(1).ok_or(RedisError::Unexpected)?);
                wish.throttle.grant(wish.counted, slice, now);
                let low = if wish.spare { slice.saturating_sub(wish.used) / 2 } else { 0 };
                self.low.insert(name.clone(), (low, now));
                elsewhere.insert(name.clone(), spare);
            }
        }
        Ok(elsewhere)
    }
}

impl Wish {
    fn of(throttle: Arc<Throttle>, seen: &SlicedLimit, kept: u64, need: u64, spare: bool) -> Self {
        let SlicedLimit { counted, limit, used, .. } = *seen;
        Self { throttle, counted, limit, used, claim: kept.max(used), need, spare }
    }
}

/// What one who asked is told.
fn told(ask: &Ask, elsewhere: &HashMap<String, u64>, now: Duration) -> Option<bool> {
    let mut told = Some(true);
    for (_, seen) in ask.throttles.sliced(now) {
        let lacks = wanted(seen.counted, ask.tokens).saturating_sub(seen.granted.saturating_sub(seen.used));
        if lacks > 0 {
            let there = elsewhere.get(&account(&seen)).copied().unwrap_or(0);
            told = if told != Some(false) && there >= lacks { None } else { Some(false) };
        }
    }
    told
}

/// What a request takes of a limit.
const fn wanted(counted: Counted, tokens: u64) -> u64 {
    match counted {
        Counted::Requests | Counted::AtOnce => 1,
        Counted::Tokens => tokens,
    }
}

/// What a limit is called at Redis.
fn account(seen: &SlicedLimit) -> String {
    let counted = match seen.counted {
        Counted::Requests => "requests",
        Counted::Tokens => "tokens",
        Counted::AtOnce => "at_once",
    };
    format!("{}|{}|{counted}", seen.payer.kind(), seen.payer.name().unwrap_or_default())
}
