//! The books of several gateways in one PostgreSQL: every row once, whatever becomes of the server or a gateway meanwhile, and
//! nobody waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::Notify;

use crate::harness::rows;
use crate::harness::seeded::Seeded;
use crate::harness::stores::Postgres;
use crate::harness::{Call, Gateway, Provider, Setup, Site, chat, provider, until};

const SEED: u64 = 0x6b69_6c6c_7321;

async fn ask(gateway: &Gateway, times: usize) {
    for _ in 0..times {
        let answer = gateway.ask(&Call::chat(chat::ask("auto")).key("tb-web")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        gateway.row_of(&answer).await;
    }
}

fn gateway(postgres: &Postgres, east: &Provider) -> Gateway {
    postgres.for_gateway(Setup::of([Site::of(east)]).key("web", "tb-web")).start()
}

async fn requests(gateway: &Gateway) -> u64 {
    let answer = gateway.ask(&Call::get("/v1/usage").key("tb-web")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["total"]["requests"].as_u64().unwrap()
}

#[tokio::test]
async fn two_gateways_have_one_set_of_books_and_each_tells_all() {
    let Some(postgres) = Postgres::start().await else { return };
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let (one, two) = (gateway(&postgres, &east), gateway(&postgres, &east));
    ask(&one, 3).await;
    ask(&two, 2).await;
    // At once: what a client has seen the end of is in the sums of the gateway that it asks.
    assert!(requests(&one).await >= 3);
    postgres.has_all(&[&one.setup, &two.setup]).await;
    assert_eq!((requests(&one).await, requests(&two).await), (5, 5));
    let told = two.operator(&Call::get("/usage?group_by=key,provider")).await.json();
    assert_eq!(told["total"]["requests"].as_u64(), Some(5), "{told}");
    assert_eq!(one.sample("fleet_store_up{store=\"postgres\"}").await, Some(1.0));
    // A provider may name its model by what a text of PostgreSQL cannot hold.
    east.next(provider::whole(&chat::answer("Hello.", 9, 4).replace("\"model\":\"", "\"model\":\"\\u0000")));
    ask(&one, 1).await;
    postgres.has_all(&[&one.setup, &two.setup]).await;
    let odd = "SELECT count(*) FROM tokenbroker.attempts WHERE served_model LIKE U&'\\FFFD%'";
    assert_eq!(postgres.number(odd).await, 1);
    assert_eq!(postgres.number("SELECT count(*) FROM tokenbroker.gateways").await, 2);
}

#[tokio::test]
async fn nobody_waits_for_a_server_that_is_away_and_what_waited_flows_when_it_is_back() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let one = gateway(&postgres, &east);
    ask(&one, 2).await;
    postgres.has_all(&[&one.setup]).await;

    postgres.stop();
    ask(&one, 3).await;
    until("the readiness to tell it", async || one.readiness().await.contains("not forwarded").then_some(())).await;
    assert!(one.readiness().await.starts_with("ready\n"), "it serves all the same");
    until("what waits to be counted", async || (one.sample("fleet_waiting_requests").await == Some(3.0)).then_some(())).await;
    assert_eq!(one.sample("fleet_store_up{store=\"postgres\"}").await, Some(0.0));
    let refused = one.ask(&Call::get("/v1/usage").key("tb-web")).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (503, Some("books_unavailable")));
    // A start without the server, too.
    let one = one.kill().start();
    ask(&one, 1).await;
    postgres.resume().await;
    postgres.has_all(&[&one.setup]).await;

    // Cut off in the middle: its connections stand and answer nothing.
    let two = gateway(&postgres, &east);
    ask(&two, 1).await;
    postgres.cut_off();
    ask(&two, 3).await;
    ask(&one, 3).await;
    postgres.go_on();
    postgres.has_all(&[&one.setup, &two.setup]).await;
    until("all to be well", async || {
        (one.sample("fleet_waiting_requests").await == Some(0.0) && !one.readiness().await.contains("not forwarded"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn kills_of_gateways_while_rows_flow_lose_and_double_nothing() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let mut one = gateway(&postgres, &east);
    let mut dice = Seeded::new(SEED);
    let mut booked = 0;
    for round in 0..4 {
        // So many are answered when it dies, and when the server did before it; the others are under way, and their rows anywhere.
        let dies = usize::try_from(dice.between(1, 24)).unwrap();
        let stops = usize::try_from(dice.between(1, u64::try_from(dies).unwrap())).unwrap();
        let (answered, answers) = (AtomicUsize::new(0), Notify::new());
        let asked = futures_util::future::join_all((0..24).map(async |_| {
            let answer = one.chat_with_key("tb-web").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answered.fetch_add(1, Ordering::Relaxed);
            answers.notify_one();
        }));
        let reached = async |count: usize| {
            while answered.load(Ordering::Relaxed) < count {
                answers.notified().await;
            }
        };
        let until_it_dies = async {
            reached(stops).await;
            if round % 2 == 1 {
                postgres.stop();
            }
            reached(dies).await;
        };
        tokio::select! {
            () = until_it_dies => {}
            () = async { asked.await; std::future::pending::<()>().await } => {}
        }
        booked += dies;
        one = one.kill().start();
        if round % 2 == 1 {
            postgres.resume().await;
        }
    }
    postgres.has_all(&[&one.setup]).await;
    let rows = rows::requests(&one.setup.data()).len();
    assert!((booked..=96).contains(&rows), "{rows}: {booked} had been answered");
    let (status, setup) = one.drain().await;
    assert!(status.success(), "{}", setup.log());
}

#[tokio::test]
async fn a_server_that_lost_its_data_gets_everything_again() {
    let Some(postgres) = Postgres::start().await else { return };
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    // What was there before there was a fleet is taken up too.
    let alone = Setup::of([Site::of(&east)]).key("web", "tb-web").start();
    ask(&alone, 2).await;
    let one = postgres.for_gateway(alone.kill()).start();
    ask(&one, 1).await;
    postgres.has_all(&[&one.setup]).await;
    postgres.ask("DROP SCHEMA tokenbroker CASCADE").await;
    let one = one.kill().start();
    postgres.has_all(&[&one.setup]).await;
    // Put back to an older state: fewer lots than were sent.
    postgres.ask("DELETE FROM tokenbroker.attempts").await;
    postgres.ask("DELETE FROM tokenbroker.requests").await;
    postgres.ask("UPDATE tokenbroker.gateways SET lots = 0").await;
    let one = one.kill().start();
    postgres.has_all(&[&one.setup]).await;
}

#[tokio::test]
async fn too_much_that_waits_takes_nothing_new_on_until_it_flows() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let setup = Setup::of([Site::of(&east)]).key("web", "tb-web").set("fleet.most_waiting", "2");
    let one = postgres.for_gateway(setup).start();
    ask(&one, 1).await;
    postgres.stop();
    let refused = until("a refusal", async || {
        let answer = one.chat_with_key("tb-web").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!((refused.status, refused.error("code").as_str()), (503, Some("books_unwritable")), "{}", refused.text());
    assert!(one.readiness().await.contains("wait for PostgreSQL"), "{}", one.readiness().await);
    postgres.resume().await;
    until("new requests to be taken on", async || (one.chat_with_key("tb-web").await.status == 200).then_some(())).await;
    postgres.has_all(&[&one.setup]).await;
}

#[tokio::test]
async fn a_report_is_of_all_gateways_and_no_password_is_shown() {
    let Some(postgres) = Postgres::start().await else { return };
    let east = Provider::start("east").await;
    east.always(provider::whole(&chat::answer("Hello.", 9, 4)));
    let (one, two) = (gateway(&postgres, &east), gateway(&postgres, &east));
    ask(&one, 1).await;
    ask(&two, 2).await;
    postgres.has_all(&[&one.setup, &two.setup]).await;
    one.signal(Signal::HUP);
    let told: Value = serde_json::from_slice(&one.setup.report(&["--format", "json"]).stdout).unwrap();
    assert_eq!(told["total"]["requests"].as_u64(), Some(3), "{told}");
    for gateway in [one, two] {
        let (status, setup) = gateway.drain().await;
        assert!(status.success() && !setup.log().contains(crate::harness::stores::PASSWORD), "{}", setup.log());
    }
}
