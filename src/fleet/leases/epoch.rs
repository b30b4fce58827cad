//! How an epoch begins, and a connection within one: every gateway says what it holds of every window, what the books of all say of
//! gateways that are gone is counted, and nobody is handed anything before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{EPOCH, LeaseError, LeaseKeeper, SCRIPTS, Session, Wish, account, awaited, fence, key};
use crate::fleet::postgres::PostgresError;
use crate::fleet::reading::Spending;
use crate::fleet::redis::{Words, words};
use crate::fleet::resp::Reply;
use crate::fleet::rhythm::LOT;
use crate::policy::{Budget, Whose, lease_up};

/// How often it is looked whether a gateway that is waited for was struck out.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Windows that began so long after an epoch did began within it by everybody's clock.
const SKEW: Duration = Duration::from_mins(1);

impl LeaseKeeper {
    /// Accounts of which nothing was handed out in this epoch: what the books say of gateways that hold nothing there counts.
    pub(super) async fn begin(&mut self, accounts: &[(String, Wish)]) -> Result<(), LeaseError> {
        let starts: BTreeSet<Option<Timestamp>> = accounts.iter().map(|(_, wish)| wish.leased.starts).collect();
        let spent = match self.read(&starts).await {
            Ok(spent) => spent,
            Err(error) => {
                // In a window that began since, nobody has spent anything that was not handed out.
                let born = self.session.as_ref().map_or(i64::MAX, |session| session.born);
                let since = born.saturating_add(i64::try_from(SKEW.as_millis()).unwrap_or(0));
                if starts.iter().any(|start| start.is_none_or(|start| start.as_millisecond() < since)) {
                    return Err(error.into());
                }
                BTreeMap::new()
            }
        };
        let commands = self.bases(accounts, &spent)?;
        let session = self.session.as_mut().ok_or(LeaseError::Anew)?;
        session.connected.ask(&commands).await?;
        Ok(())
    }

    /// What is said of each account that is begun.
    fn bases(
        &self,
        accounts: &[(String, Wish)],
        spent: &BTreeMap<Option<Timestamp>, Spending>,
    ) -> Result<Vec<Words>, LeaseError> {
        let session = self.session.as_ref().ok_or(LeaseError::Anew)?;
        let all = self.budgets.all();
        let whose: HashMap<*const Budget, &Whose> = all.iter().map(|(budget, whose)| (Arc::as_ptr(budget), whose)).collect();
        let mut commands = Vec::new();
        for (name, wish) in accounts {
            let ours = whose.get(&Arc::as_ptr(&wish.budget)).and_then(|whose| whose.as_ref());
            let of = |spending: &Spending| -> Vec<(String, String)> {
                let by_gateway = spending.of(&wish.leased.payer, ours.map(|ours| &**ours));
                by_gateway.into_iter().map(|(gateway, cost)| (gateway.to_owned(), lease_up(cost).to_string())).collect()
            };
            let account = key(&session.epoch, name);
            let amounts = spent.get(&wish.leased.starts).map(of).unwrap_or_default();
            let said = ["EVALSHA", &session.connected.scripts[1], "2", EPOCH, &account, &session.epoch];
            commands.push(words(
                said.into_iter().chain(amounts.iter().flat_map(|(gateway, cost)| [gateway.as_str(), cost.as_str()])),
            ));
        }
        Ok(commands)
    }

    async fn read(&self, starts: &BTreeSet<Option<Timestamp>>) -> Result<BTreeMap<Option<Timestamp>, Spending>, PostgresError> {
        let books = self.postgres.connect().await?;
        let mut spent = BTreeMap::new();
        for start in starts {
            spent.insert(*start, books.spent(*start).await?);
        }
        Ok(spent)
    }

    /// Connects where there is no connection, and learns the epoch. Whoever finds that Redis began anew begins an epoch.
    pub(super) async fn join(&mut self) -> Result<(), LeaseError> {
        if self.session.is_some() {
            return Ok(());
        }
        if !self.status.is_member() {
            return Err(LeaseError::Stranger);
        }
        let mut connected = self.redis.connect(&SCRIPTS).await?;
        let now = self.clock.wall();
        let (run, candidate) = (connected.run.clone(), format!("{:016x}", getrandom::u64()?));
        let script = connected.scripts[2].clone();
        let ask = |members: &[String]| {
            let (awaited, now) = (awaited(&candidate), now.as_millisecond().to_string());
            let said = ["EVALSHA", &script, "2", EPOCH, &awaited, &run, &candidate, &now];
            words(said.into_iter().chain(members.iter().map(String::as_str)))
        };
        let epoch_of = |told: &[Reply]| {
            let id = told.first().and_then(|reply| reply.entries().first()).and_then(Reply::text).unwrap_or_default().to_owned();
            (!id.is_empty()).then_some(id)
        };
        let mut epoch = epoch_of(&connected.ask(&[ask(&[])]).await?);
        if epoch.is_none() {
            let members = self.postgres.connect().await?.members().await?;
            epoch = epoch_of(&connected.ask(&[ask(&members)]).await?);
        }
        let epoch = epoch.ok_or(LeaseError::Anew)?;
        let told = connected.ask(&[words(["HGET", EPOCH, "born"]), words(["INCR", &fence(&epoch, &self.gateway)])]).await?;
        let [born, fence] = [told.first(), told.get(1)].map(|reply| reply.and_then(Reply::number));
        let (born, fence) = (born.ok_or(LeaseError::Anew)?, fence.ok_or(LeaseError::Anew)?.to_string());
        self.session = Some(Session { connected, epoch: epoch.clone(), fence, born, parts: 1 });
        self.declare(now).await?;
        let session = self.session.as_mut().ok_or(LeaseError::Anew)?;
        session.connected.ask(&[words(["SREM", &awaited(&epoch), &self.gateway])]).await?;
        Ok(())
    }

    /// Says what is held here, of every window.
    async fn declare(&mut self, now: Timestamp) -> Result<(), LeaseError> {
        self.low.clear();
        if self.budgets.all().iter().any(|(budget, _)| budget.is_unread()) {
            return Err(LeaseError::Unread);
        }
        let mut wishes = BTreeMap::new();
        for (budget, _) in self.budgets.all() {
            for leased in budget.leased(now) {
                wishes.insert(account(&leased), Wish { budget: Arc::clone(&budget), leased, need: 0, spare: false });
            }
        }
        let lot: Vec<(String, Wish)> = wishes.into_iter().collect();
        for lot in lot.chunks(LOT) {
            let replies = self.exchange(lot, now).await?;
            let mut elsewhere = HashMap::new();
            for ((name, wish), reply) in lot.iter().zip(replies) {
                self.take(name, wish, &reply, &mut elsewhere)?;
                self.low.insert(name.clone(), (i64::MAX, wish.leased.limit));
            }
        }
        Ok(())
    }

    /// Strikes those out who are waited for and were declared gone (`member` in the table of gateways).
    pub(super) async fn look_for_the_missing(&mut self) -> Result<(), LeaseError> {
        let now = self.clock.monotonic();
        if now < self.look_again {
            return Ok(());
        }
        self.look_again = now + LOOK_EVERY;
        let session = self.session.as_mut().ok_or(LeaseError::Anew)?;
        let awaited = awaited(&session.epoch);
        let told = session.connected.ask(&[words(["SMEMBERS", &awaited])]).await?;
        let missing: Vec<String> = told.iter().flat_map(Reply::entries).filter_map(Reply::text).map(str::to_owned).collect();
        let members = self.postgres.connect().await?.members().await?;
        tracing::warn!(?missing, "budgets wait for gateways that have not said what they hold since Redis began anew");
        let session = self.session.as_mut().ok_or(LeaseError::Anew)?;
        for gone in missing.iter().filter(|gateway| !members.contains(gateway)) {
            session.connected.ask(&[words(["SREM", &awaited, gone])]).await?;
        }
        Ok(())
    }
}
