//! The same with what a fleet shares: PostgreSQL and Redis are stopped, cut off or emptied under load, and one gateway of two dies. The
//! next one serves within a second, whatever is away, both go on, and all they spent together is within the budget.

use futures_util::future::join_all;
use rustix::process::Signal;
use tokenbroker::units::Usd;

use super::evidence::{Evidence, Mute, Tally};
use super::load::{Asked, Doom, Load};
use super::{SEED, kills, started};
use crate::harness::seeded::Seeded;
use crate::harness::stores::{Postgres, Redis};
use crate::harness::{Call, Gateway, Sandbox, Setup, chat, rows, until};

const KEY: &str = "tb-fleet";
/// A dollar in millionths.
const MICRO_USD: u64 = 1_000_000;
/// What may be left of a budget that is used up, in 10⁻¹² dollars: a few requests that no gateway alone could hold any more.
const LEFT: i64 = 4_000_000_000;

/// What befalls the stores.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    PostgresStops,
    RedisStops,
    PostgresHangs,
    RedisHangs,
    /// What was handed out is forgotten.
    RedisIsEmptied,
}

impl Trouble {
    /// Each in its turn.
    const ALL: [Self; 5] = [Self::PostgresStops, Self::RedisStops, Self::PostgresHangs, Self::RedisHangs, Self::RedisIsEmptied];
}

/// When that ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    Load,
    /// The gateway is dead, and the other one alone knows what is left.
    Death,
    /// The next start has to do without.
    Start,
}

impl Until {
    /// Each in its turn, and in time with each trouble.
    const ALL: [Self; 3] = [Self::Load, Self::Death, Self::Start];
}

struct Stores {
    postgres: Postgres,
    redis: Redis,
}

impl Stores {
    async fn start() -> Option<Self> {
        Some(Self { postgres: Postgres::start().await?, redis: Redis::start().await? })
    }

    async fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::PostgresStops => self.postgres.stop(),
            Trouble::RedisStops => self.redis.stop(),
            Trouble::PostgresHangs => self.postgres.cut_off(),
            Trouble::RedisHangs => self.redis.signal(Signal::STOP),
            Trouble::RedisIsEmptied => assert!(self.redis.tell("FLUSHALL").await.contains("+OK")),
        }
    }

    /// What stops or hangs is back.
    async fn recover(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::PostgresStops => self.postgres.resume().await,
            Trouble::RedisStops => self.redis.resume().await,
            Trouble::PostgresHangs => self.postgres.go_on(),
            Trouble::RedisHangs => self.redis.signal(Signal::CONT),
            // Once more.
            Trouble::RedisIsEmptied => self.suffer(trouble).await,
        }
    }

    fn for_gateway(&self, sandbox: &Sandbox) -> Setup {
        let setup = sandbox.gateway().set("retries.floor_per_second", "1000").variable("TOKENBROKER_LOG", "warn");
        self.redis.for_gateway(self.postgres.for_gateway(setup))
    }
}

fn call(model: &str) -> Call {
    Call::chat(chat::ask_with(model, r#""max_tokens":40,"sandbox":{"output_tokens":40}"#)).key(KEY)
}

/// Asks them until none has anything left to spend, and as much is spent as `enough` wants: what was lent twice would be overspent now.
async fn used_up(gateways: &[&Gateway], enough: impl Fn() -> bool) {
    let dear = call("auto:premium");
    let refused = async || {
        let answers = join_all((0..64).map(|number| gateways[number % gateways.len()].ask(&dear))).await;
        // What one gives back the other may just get: that goes on for a while with ever less.
        let served = answers.iter().filter(|answer| answer.status != 402).count();
        (served <= 4 && enough()).then_some(())
    };
    until("the budget to be used up", refused).await;
}

/// It answers, or has nothing left to spend.
async fn goes_on(gateway: &Gateway) {
    let answer = gateway.ask(&call("auto")).await;
    assert!(matches!(answer.status, 200 | 402), "{}", answer.text());
}

/// What all of them spent by this key, in 10⁻¹² dollars.
fn spent(gateways: &[&Setup], key: &str) -> i64 {
    let rows = gateways.iter().flat_map(|gateway| rows::requests(&gateway.data()));
    rows.filter(|request| request.key == key).map(|request| request.cost).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_outruns_the_books_nor_the_budget_when_a_gateway_is_killed_while_its_stores_fail() {
    let Some(mut stores) = Stores::start().await else { return };
    let mut dice = Seeded::new(SEED + 3);
    let sandbox = Sandbox::start(&["--seed", "9"]);
    // One dies again and again, on its own books; the other goes on.
    let (mortal, other) = (stores.for_gateway(&sandbox), stores.for_gateway(&sandbox));
    let (mut first, mut tally) = (1, Tally::default());
    let troubles = Trouble::ALL.into_iter().cycle().zip(Until::ALL.into_iter().cycle());
    for (round, (trouble, end)) in (0..kills()).zip(troubles) {
        // Each round has a budget of its own, which lasts for a part of it or for more than that.
        let budget = dice.between(MICRO_USD / 100, MICRO_USD / 20);
        let name = format!("round_{round}");
        let with_key = |setup: &Setup| {
            let setup = setup.clone().key(&name, KEY).set(&format!("keys.{name}.budget_window"), "\"total\"");
            setup.set(&format!("keys.{name}.budget_usd"), &format!("0.{budget:06}"))
        };
        let doomed = started(with_key(&mortal), &mut tally).await;
        let beside = with_key(&other).start();
        Redis::lends(&doomed).await;
        Redis::lends(&beside).await;

        let begins = dice.between(50, 1_000);
        let ends = begins + dice.between(50, 1_000);
        let doom = Doom::at(ends + dice.between(1, 1_000)).disarmed();
        let asked = Asked { doomed: &doomed, beside: Some(&beside), key: Some(KEY) };
        let director = async {
            doom.reached(begins).await;
            stores.suffer(trouble).await;
            doom.reached(ends).await;
            if let Until::Load = end {
                stores.recover(trouble).await;
            }
            doom.arm();
        };
        let load = Load::run(&asked, first, Seeded::new(dice.between(1, u64::from(u32::MAX))), &doom);
        let (loaded, ()) = tokio::join!(load, director);
        first += u64::try_from(loaded.seen.len()).unwrap();

        let dead = doomed.kill();
        if let Until::Death = end {
            stores.recover(trouble).await;
            Redis::lends(&beside).await;
            used_up(&[&beside], || true).await;
        }
        let next = started(dead, &mut tally).await;
        goes_on(&next).await;
        goes_on(&beside).await;
        if let Until::Start = end {
            stores.recover(trouble).await;
        }
        Redis::lends(&next).await;
        Redis::lends(&beside).await;
        let limit = i64::try_from(Usd::parse(&format!("0.{budget:06}")).unwrap().pico()).unwrap();
        used_up(&[&next, &beside], || spent(&[&next.setup, &beside.setup], &name) > limit - LEFT).await;
        let ((_, next), (_, beside)) = tokio::join!(next.drain(), beside.drain());
        let books = [next.data(), beside.data()];
        let evidence =
            Evidence::gather(&[&books[0], &books[1]], &sandbox, Mute { since_ms: loaded.died_ms, refuses: false }).await;
        evidence.judge(&loaded, &mut tally);
        let spent = spent(&[&next, &beside], &name);
        assert!(spent <= limit, "{trouble:?} until {end:?}: {spent} of {limit}");
        stores.postgres.has_all(&[&next, &beside]).await;
    }
    println!("{}", tally.tell("killed while a store fails"));
    assert!(tally.whole > 0 && tally.cut > 0 && tally.refused > 0, "the kills missed: {tally:?}");
}
