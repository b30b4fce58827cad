//! Budgets that gateways share by Redis: whatever is asked anywhere at once, whoever is away or killed and whatever is lost, all
//! gateways together spend no more than the budget.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tokenbroker::config::keys::to_hex;
use tokenbroker::policy::keys::hash;
use tokenbroker::units::Usd;
use tokio::sync::Notify;

use crate::harness::rows;
use crate::harness::seeded::Seeded;
use crate::harness::stores::{Postgres, Redis};
use crate::harness::{Call, Gate, Gateway, Provider, Setup, Site, Step, Whole, chat, provider, until};

const KEY: &str = "tb-team";
/// 9 tokens in at one millionth of a dollar each, 400 out at two: in 10⁻¹² dollars.
const ONE: i64 = 809_000_000;

const SEED: u64 = 0x6c6f_7373_6573;

struct Fleet {
    postgres: Postgres,
    redis: Redis,
    east: Provider,
}

impl Fleet {
    async fn start() -> Option<Self> {
        let (postgres, redis) = (Postgres::start().await?, Redis::start().await?);
        let east = Provider::start("east").await;
        east.always(provider::whole(&chat::answer("Hello.", 9, 400)));
        Some(Self { postgres, redis, east })
    }

    fn setup(&self, budget: &str) -> Setup {
        let setup = Setup::of([Site::of(&self.east)]).key("team", KEY);
        let setup = setup.set("keys.team.budget_usd", budget).set("keys.team.budget_window", "\"total\"");
        self.redis.for_gateway(self.postgres.for_gateway(setup))
    }

    fn gateway(&self, budget: &str) -> Gateway {
        self.setup(budget).start()
    }
}

fn call() -> Call {
    call_of(KEY)
}

fn call_of(key: &str) -> Call {
    Call::chat(chat::ask_with("auto", r#""max_tokens":400"#)).key(key)
}

async fn asked(gateway: &Gateway) -> Whole {
    gateway.ask(&call()).await
}

fn spent(gateways: &[&Gateway]) -> i64 {
    gateways.iter().flat_map(|gateway| rows::attempts(&gateway.setup.data())).map(|row| row.cost).sum()
}

fn pico(budget: &str) -> i64 {
    Usd::parse(budget).unwrap().pico().try_into().unwrap()
}

/// Asks until it is refused, and answers how often it was served.
async fn exhaust(gateway: &Gateway) -> (usize, Whole) {
    let mut served = 0;
    loop {
        let answer = gateway.ask(&call()).await;
        match answer.status {
            200 => gateway.row_of(&answer).await,
            _ => return (served, answer),
        };
        served += 1;
    }
}

/// Asks at both until the budget is used up, but for less than a request of each. On a busy machine a store that answers late is a
/// refusal as well, of one request and not of what is left.
async fn use_up(gateways: [&Gateway; 2], budget: &str) {
    let is_used_up = || spent(&gateways) > pico(budget) - 2 * ONE;
    loop {
        join_all(gateways.map(exhaust)).await;
        if is_used_up() {
            break;
        }
        let any_served = async || join_all(gateways.map(asked)).await.iter().any(|answer| answer.status == 200);
        until("more to be had", async || (is_used_up() || any_served().await).then_some(())).await;
    }
    assert!(spent(&gateways) <= pico(budget), "{} of {}", spent(&gateways), pico(budget));
}

#[tokio::test]
async fn a_hundred_at_once_at_two_gateways_overspend_nothing_and_eighteen_are_served() {
    let Some(fleet) = Fleet::start().await else { return };
    let budget = "0.01618";
    let gateways = [fleet.gateway(budget), fleet.gateway(budget)];
    for gateway in &gateways {
        Redis::lends(gateway).await;
    }
    let gate = Gate::shut();
    fleet.east.always(provider::then(vec![Step::Wait(gate.clone())], provider::whole(&chat::answer("Hello.", 9, 400))));
    let refused = AtomicUsize::new(0);
    let asked = join_all((0..100).map(async |number: usize| {
        let answer = gateways[number % 2].ask(&call()).await;
        refused.fetch_add(usize::from(answer.status == 402), Ordering::Relaxed);
        answer
    }));
    let director = async {
        let all = async || (fleet.east.calls().len() + refused.load(Ordering::Relaxed) == 100).then_some(());
        until("every request to be held or refused", all).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(asked, director);
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((18..=20).contains(&served), "{served} served");
    until("the rows", async || (spent(&[&gateways[0], &gateways[1]]) == ONE * i64::try_from(served).unwrap()).then_some(()))
        .await;
    assert!(spent(&[&gateways[0], &gateways[1]]) <= pico(budget));
}

/// What one does not need the other gets, to the last request.
#[tokio::test]
async fn one_gateway_after_the_other_uses_a_budget_up() {
    let Some(fleet) = Fleet::start().await else { return };
    let budget = "0.0162";
    let (one, two) = (fleet.gateway(budget), fleet.gateway(budget));
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    let (first, refused) = exhaust(&one).await;
    assert!((19..=20).contains(&first) && refused.status == 402, "{first}: {}", refused.text());
    assert_eq!(exhaust(&two).await.0, 0);
    assert_eq!(spent(&[&one, &two]), i64::try_from(first).unwrap() * ONE);
    // A stop gives back and forwards; the next life knows what was spent by whom.
    let (status, setup) = one.drain().await;
    assert!(status.success(), "{}", setup.log());
    assert_eq!(fleet.postgres.number("SELECT count(*) FROM tokenbroker.gateways WHERE member").await, 1);
    let one = setup.start();
    Redis::lends(&one).await;
    assert_eq!(exhaust(&one).await.0, 0);
}

#[tokio::test]
async fn without_redis_a_gateway_uses_its_slice_up_and_says_why_it_refuses() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let budget = "0.0809";
    let (one, two) = (fleet.gateway(budget), fleet.gateway(budget));
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    assert_eq!(one.ask(&call()).await.status, 200);
    assert_eq!(two.ask(&call()).await.status, 200);
    until("slices ahead of need", async || (one.ask(&call()).await.status == 200).then_some(())).await;

    fleet.redis.stop();
    let ((first, refused), (second, _)) = tokio::join!(exhaust(&one), exhaust(&two));
    assert!(first > 2 && second > 2, "there were slices in advance: {first} and {second}");
    assert_eq!(refused.status, 402);
    assert!(refused.text().contains("of its slice here"), "{}", refused.text());
    assert!(one.readiness().await.contains("budgets cannot be shared"), "{}", one.readiness().await);
    assert!(spent(&[&one, &two]) < pico(budget));

    // It is back and knows nothing: what both have spent and hold is known before anything is handed out.
    fleet.redis.resume().await;
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    use_up([&one, &two], budget).await;
}

/// A request waits for more of a budget less long than a connection to Redis is thought to be well: it was told that the budget had
/// nothing left.
#[tokio::test]
async fn who_is_refused_because_redis_is_late_is_not_told_that_the_budget_is_spent() {
    let Some(fleet) = Fleet::start().await else { return };
    let budget = "0.0809";
    let (one, two) = (fleet.gateway(budget), fleet.gateway(budget));
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    fleet.redis.signal(Signal::STOP);
    // The budget would bear them all, and a slice in advance some of them.
    let answers = join_all((0..60).map(async |_: usize| asked(&one).await)).await;
    let refused: Vec<&Whole> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        assert!(answer.status == 402 && answer.text().contains("of its slice here"), "{}", answer.text());
    }
    fleet.redis.signal(Signal::CONT);
    until("what is left to be had", async || (asked(&one).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn redis_that_loses_its_data_under_load_hands_out_nothing_twice() {
    let Some(fleet) = Fleet::start().await else { return };
    let budget = "0.1618";
    let gateways = [fleet.gateway(budget), fleet.gateway(budget), fleet.gateway(budget)];
    for gateway in &gateways {
        Redis::lends(gateway).await;
    }
    // After how many requests, answered anywhere, each loss falls.
    let mut dice = Seeded::new(SEED);
    let losses: Vec<usize> = (0..6).map(|_| usize::try_from(dice.between(1, 40)).unwrap()).collect();
    let (answered, answers) = (AtomicUsize::new(0), Notify::new());
    let loss = async {
        let mut due = 0;
        for more in losses {
            due += more;
            while answered.load(Ordering::Relaxed) < due {
                answers.notified().await;
            }
            assert!(fleet.redis.tell("FLUSHALL").await.contains("+OK"));
        }
    };
    let load = join_all(gateways.iter().map(async |gateway| {
        for _ in 0..24 {
            join_all((0..4).map(async |_| {
                asked(gateway).await;
                answered.fetch_add(1, Ordering::Relaxed);
                answers.notify_one();
            }))
            .await;
        }
    }));
    tokio::join!(loss, load);
    let all: Vec<&Gateway> = gateways.iter().collect();
    for gateway in &gateways {
        Redis::lends(gateway).await;
    }
    // One may be refused because another has not said yet what it holds; and what the last requests of the others held as each of
    // them was refused may be left.
    let used_up = async || {
        join_all(gateways.iter().map(exhaust)).await;
        (spent(&all) > pico(budget) - 4 * ONE).then_some(())
    };
    until("the budget to be used up", used_up).await;
    assert!(spent(&all) <= pico(budget), "{} of {}", spent(&all), pico(budget));
}

/// What a killed gateway had leased counts until it is back, also where Redis lost its data meanwhile.
#[tokio::test]
async fn a_slice_of_a_killed_gateway_counts_until_it_is_back() {
    let Some(fleet) = Fleet::start().await else { return };
    let budget = "0.0809";
    let (one, two) = (fleet.gateway(budget), fleet.gateway(budget));
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    for _ in 0..5 {
        assert_eq!(one.ask(&call()).await.status, 200);
    }
    // Something is under way as it dies: it is booked at the next start.
    fleet.east.next(provider::then(provider::begun(&[chat::role(), chat::text("Hel")]), [Step::Stall]));
    let stream = Call::chat(chat::ask_with("auto", r#""max_tokens":400,"stream":true"#)).key(KEY);
    let mut open = one.call(&stream).await;
    open.read_past("Hel").await;
    let setup = one.kill();
    let (served, _) = exhaust(&two).await;
    assert!(served > 50, "{served}");
    let without = rows::attempts(&two.setup.data()).iter().map(|row| row.cost).sum::<i64>();
    assert!(without <= pico(budget) - 6 * ONE, "{without}: what the other had spent and held counts");

    fleet.redis.tell("FLUSHALL").await;
    assert_eq!(exhaust(&two).await.0, 0, "nothing is handed out before it has said what it holds");
    let one = setup.start();
    Redis::lends(&one).await;
    use_up([&one, &two], budget).await;
}

#[tokio::test]
async fn both_stores_stopped_and_cut_off_under_load_overspend_nothing_and_lose_no_row() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let budget = "0.2427";
    let (one, two) = (fleet.gateway(budget), fleet.gateway(budget));
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    let burst = async |gateways: &[&Gateway]| {
        let asked = (0..24)
            .map(|number| gateways[number % gateways.len()])
            .map(|gateway| async move { gateway.ask(&call()).await.status });
        join_all(asked).await.into_iter().filter(|status| *status == 200).count()
    };
    assert!(burst(&[&one, &two]).await > 0);
    fleet.redis.signal(Signal::STOP);
    fleet.postgres.cut_off();
    burst(&[&one, &two]).await;
    fleet.redis.signal(Signal::CONT);
    fleet.postgres.go_on();
    burst(&[&one, &two]).await;
    fleet.postgres.stop();
    let two = two.kill().start();
    burst(&[&one, &two]).await;
    fleet.redis.stop();
    burst(&[&one, &two]).await;
    fleet.postgres.resume().await;
    fleet.redis.resume().await;
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    use_up([&one, &two], budget).await;
    let total = spent(&[&one, &two]);
    let rows = async || {
        (fleet.postgres.number("SELECT coalesce(sum(cost_pico_usd), 0)::bigint FROM tokenbroker.attempts").await == total)
            .then_some(())
    };
    until("every row in PostgreSQL", rows).await;
}

/// Found by reading: what a gateway that is gone had spent for a team counted, after a loss of Redis's data, by the keys that the team has
/// now only.
#[tokio::test]
async fn what_a_key_spent_for_a_team_that_it_left_counts_for_it_when_redis_lost_its_data() {
    let Some(fleet) = Fleet::start().await else { return };
    // Five requests of the team, by whichever key.
    let setup = |keys: &[(&str, &str, &str)]| {
        let setup = Setup::of([Site::of(&fleet.east)]).set("teams.web.budget_usd", "0.0046");
        let setup = setup.set("teams.web.budget_window", "\"total\"").set("teams.other.budget_usd", "1");
        let setup = keys.iter().fold(setup, |setup, (name, secret, team)| {
            setup.key(name, secret).set(&format!("keys.{name}.team"), &format!("\"{team}\""))
        });
        fleet.redis.for_gateway(fleet.postgres.for_gateway(setup))
    };
    let one = setup(&[("moves", "tb-moves", "web"), ("goes", "tb-goes", "web")]).start();
    Redis::lends(&one).await;
    for key in ["tb-moves", "tb-goes", "tb-moves"] {
        let answer = one.ask(&call_of(key)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        one.row_of(&answer).await;
    }
    let (status, ended) = one.drain().await;
    assert!(status.success(), "{}", ended.log());
    fleet.redis.tell("FLUSHALL").await;

    let two = setup(&[("moves", "tb-moves", "other"), ("team", KEY, "web")]).start();
    Redis::lends(&two).await;
    assert_eq!(exhaust(&two).await.0, 2, "three of five were spent");
    assert_eq!(two.ask(&call_of("tb-moves")).await.status, 200, "another team's money");
}

/// Found by reading: an attempt beside one that may have been billed was refused where this gateway's slice was too small for both,
/// whatever was left of the budget.
#[tokio::test]
async fn a_further_attempt_asks_for_what_its_gateways_slice_lacks_and_gets_no_more_than_there_is() {
    // At most: 1,000 tokens out at 6 dollars a million, some 0.0061 with the prompt. The time-out: some 0.0008. A slice ahead of need
    // is an eighth of what is left.
    for (budget, status, calls) in [("0.0065", 504, 0), ("0.0090", 200, 1)] {
        let Some(fleet) = Fleet::start().await else { return };
        let (east, west) = (Provider::start("east").await, Provider::start("west").await);
        let start = || {
            let setup = Setup::of([Site::of(&east), Site::of(&west).price("3", "6")]).set("timeouts.total_ms", "2000");
            let setup = setup.key("once", KEY).set("keys.once.budget_usd", budget).set("keys.once.budget_window", "\"total\"");
            fleet.redis.for_gateway(fleet.postgres.for_gateway(setup)).start()
        };
        let (one, two) = (start(), start());
        Redis::lends(&one).await;
        Redis::lends(&two).await;
        east.next(vec![Step::Stall]);
        let answer = one.ask(&Call::chat(chat::ask_with("auto", r#""max_tokens":1000"#)).key(KEY)).await;
        assert_eq!((answer.status, west.calls().len()), (status, calls), "{budget}: {}", answer.text());
        let row = one.row_of(&answer).await;
        assert_eq!((row.attempts.len(), row.attempts[0].ending.as_str()), (1 + calls, "timed_out"));
        assert!(spent(&[&one, &two]) <= pico(budget));
    }
}

/// All slices of the one budget there is, as Redis has them.
async fn slices(redis: &Redis) -> i64 {
    let script = "local sum = 0 for _, key in ipairs(redis.call('KEYS', 'tokenbroker:budget:*')) do \
        local fields = redis.call('HGETALL', key) for at = 1, #fields, 2 do \
        if string.sub(fields[at], 1, 2) == 'g:' then sum = sum + tonumber(fields[at + 1]) end end end return sum";
    let told = redis.tell(&format!("EVAL \"{script}\" 0")).await;
    let sum = told.lines().find_map(|line| line.strip_prefix(':')).unwrap_or_else(|| panic!("{told}"));
    sum.parse::<i64>().unwrap() * 1_000_000
}

/// What was handed out under a limit before is given back under a smaller one.
#[tokio::test]
async fn a_limit_that_is_lowered_binds_all_gateways_together() {
    const ADMIN: &str = "tb-an-administrators-key";
    let Some(fleet) = Fleet::start().await else { return };
    let start = || {
        let setup = fleet.setup("0.4045").set("reload.watch", "false");
        let path = setup.path("tokenbroker.toml");
        fs::write(&path, format!("[admins.ann]\nsha256 = \"{}\"\n", to_hex(&hash(ADMIN.as_bytes())))).unwrap();
        setup.variable("TOKENBROKER_CONFIG", path.to_str().unwrap()).start()
    };
    let (one, two) = (start(), start());
    for gateway in [&one, &two] {
        Redis::lends(gateway).await;
        until("slices ahead of need", async || (gateway.ask(&call()).await.status == 200).then_some(())).await;
    }
    // Some fifty requests at each are in the slices of before.
    let lowered = "0.0202";
    let wish = json!({"of": "key", "name": "team", "window": "total", "usd": lowered, "why": "a test"});
    let answer = one.operator(&Call::post("/admin/budgets/set", wish.to_string()).key(ADMIN)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = async || {
        let list = two.operator(&Call::get("/admin/budgets").key(ADMIN)).await.json();
        (list["budgets"][0]["limit_usd"] == lowered).then_some(())
    };
    until("the other to hear of it", told).await;
    until("what is too much to be given back", async || (slices(&fleet.redis).await <= pico(lowered)).then_some(())).await;
    use_up([&one, &two], lowered).await;
}

/// A provider that told one gateway to wait is not asked by the others either, for a while.
#[tokio::test]
async fn what_one_gateway_finds_of_a_backend_the_others_take_as_a_hint() {
    let Some(fleet) = Fleet::start().await else { return };
    let west = Provider::start("west").await;
    let start = || {
        let sites = [Site::of(&fleet.east).price("0.5", "1"), Site::of(&west).price("2", "4")];
        fleet.redis.for_gateway(fleet.postgres.for_gateway(Setup::of(sites).set("server.open", "true"))).start()
    };
    let (one, two) = (start(), start());
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    let explained = async |gateway: &Gateway| gateway.ask(&Call::post("/v1/route", chat::ask("auto"))).await.text().to_owned();
    assert!(!explained(&two).await.contains("cooling_down"));
    fleet.east.next(provider::status(429, &[("retry-after", "25")], &chat::error("slow down")));
    assert_eq!(one.chat(&chat::ask("auto")).await.status, 200);
    assert_eq!(fleet.east.calls().len(), 1);
    until("the hint", async || explained(&two).await.contains("cooling_down").then_some(())).await;
    assert_eq!(two.chat(&chat::ask("auto")).await.status, 200);
    assert_eq!((fleet.east.calls().len(), west.calls().len()), (1, 2));
}

/// A limit on requests a minute is one for all gateways: whoever needs its slices gets them, and together they let in what one would.
#[tokio::test]
async fn a_limit_on_rates_is_shared_and_passed_nowhere() {
    let Some(fleet) = Fleet::start().await else { return };
    fleet.east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let start = || {
        let setup = Setup::of([Site::of(&fleet.east)]).key("team", KEY).set("keys.team.requests_per_minute", "12");
        fleet.redis.for_gateway(fleet.postgres.for_gateway(setup)).start()
    };
    let (one, two) = (start(), start());
    Redis::lends(&one).await;
    Redis::lends(&two).await;
    let began = tokio::time::Instant::now();
    let answers =
        join_all((0..36).map(async |number: usize| asked(if number.is_multiple_of(2) { &one } else { &two }).await)).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    // One more is due every five seconds.
    let due = 12 + usize::try_from(began.elapsed().as_secs() / 5).unwrap() + 1;
    assert!((10..=due).contains(&passed), "{passed} of at most {due}");
    let refused = answers.iter().find(|answer| answer.status != 200).expect("a refusal");
    assert_eq!((refused.status, refused.error("code").as_str()), (429, Some("rate_limit_exceeded")), "{}", refused.text());
    assert_eq!(refused.header("x-ratelimit-limit-requests"), "12");
}
