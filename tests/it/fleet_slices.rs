//! The scripts by which Redis hands out slices of budgets, against a model: gateways that ask, spend, give back, die, come back and
//! lose answers, and a server that loses its data, in random order. Whatever happens, what all of them may use and have used is
//! never more than the limit.

use std::collections::BTreeSet;

use tokenbroker::fleet::resp::{Reply, decode, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::seeded::Seeded;
use crate::harness::stores::{PASSWORD, Redis};

const LEASE: &str = include_str!("../../src/fleet/lease.lua");
const BASE: &str = include_str!("../../src/fleet/base.lua");
const EPOCH: &str = include_str!("../../src/fleet/epoch.lua");
const SEED: u64 = 0x0073_6c69_6365;
const ROUNDS: usize = 60;
const STEPS: usize = 120;

/// A number below another.
fn below(dice: &mut Seeded, end: u64) -> u64 {
    dice.between(0, end - 1)
}

/// One connection, a command at a time.
struct Server {
    stream: TcpStream,
    read: Vec<u8>,
    scripts: [String; 3],
}

impl Server {
    async fn of(redis: &Redis) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", redis.port)).await.unwrap();
        let mut server = Self { stream, read: Vec::new(), scripts: [const { String::new() }; 3] };
        server.tell(&["AUTH", PASSWORD]).await;
        for (at, script) in [LEASE, BASE, EPOCH].into_iter().enumerate() {
            let loaded = server.tell(&["SCRIPT", "LOAD", script]).await;
            loaded.text().unwrap().clone_into(&mut server.scripts[at]);
        }
        server
    }

    async fn tell(&mut self, words: &[&str]) -> Reply {
        let mut bytes = Vec::new();
        encode(words, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
        loop {
            match decode(&self.read).unwrap() {
                Some((Reply::Error(error), _)) => panic!("{words:?}: {error}"),
                Some((reply, taken)) => {
                    self.read.drain(..taken);
                    return reply;
                }
                None => assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0),
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Gateway {
    name: String,
    settled: i64,
    held: i64,
    granted: i64,
    epoch: String,
    fence: String,
    dead: bool,
    /// An answer was lost, and with it the connection.
    cut: bool,
}

impl Gateway {
    fn used(&self) -> i64 {
        self.settled + self.held
    }
}

/// Words whose answer was lost, and which may still be on their way.
type Late = (String, String, String, i64, i64);

struct Model {
    server: Server,
    gateways: Vec<Gateway>,
    limit: i64,
    epochs: u64,
    late: Vec<Late>,
}

impl Model {
    async fn join(&mut self, at: usize) {
        self.epochs += 1;
        let candidate = format!("e{}", self.epochs);
        let script = self.server.scripts[2].clone();
        let awaited = format!("awaited:{candidate}");
        let mut said = vec!["EVALSHA", &script, "2", "epoch", &awaited, "run", &candidate, "1"];
        let names: Vec<String> = self.gateways.iter().map(|gateway| gateway.name.clone()).collect();
        let mut told = self.server.tell(&said).await;
        if told.entries()[0].text() == Some("") {
            said.extend(names.iter().map(String::as_str));
            told = self.server.tell(&said).await;
        }
        let epoch = told.entries()[0].text().unwrap().to_owned();
        let name = names[at].clone();
        let fence = self.server.tell(&["INCR", &format!("fence:{epoch}:{name}")]).await.number().unwrap().to_string();
        let gateway = &mut self.gateways[at];
        (gateway.epoch, gateway.fence, gateway.cut) = (epoch.clone(), fence, false);
        self.say(at, 0, 0).await;
        self.server.tell(&["SREM", &format!("awaited:{epoch}"), &name]).await;
    }

    async fn lease(&mut self, (name, epoch, fence, claim, used): Late, need: i64, parts: i64) -> Reply {
        let keys = ["awaited", "account", "pressed"].map(|key| format!("{key}:{epoch}"));
        let fence_key = format!("fence:{epoch}:{name}");
        let figures = [self.limit, used, claim, need, parts, 1_000, 1_000].map(|figure| figure.to_string());
        let script = self.server.scripts[0].clone();
        let mut said = vec!["EVALSHA", &script, "5", "epoch", &keys[0], &keys[1], &keys[2], &fence_key, &epoch, &name];
        said.extend(figures.iter().map(String::as_str));
        said.extend(["account", &fence]);
        self.server.tell(&said).await
    }

    fn words(&self, at: usize) -> Late {
        let gateway = &self.gateways[at];
        let claim = gateway.granted.max(gateway.used());
        (gateway.name.clone(), gateway.epoch.clone(), gateway.fence.clone(), claim, gateway.used())
    }

    /// Whether the epoch is still the same.
    async fn say(&mut self, at: usize, need: i64, parts: i64) -> bool {
        let words = self.words(at);
        let reply = self.lease(words, need, parts).await;
        let (state, slice) = (reply.entries()[0].text().unwrap(), reply.entries()[1].number().unwrap());
        match state {
            "epoch" => return false,
            "base" => {
                let epoch = self.gateways[at].epoch.clone();
                let spent: Vec<(String, String)> =
                    self.gateways.iter().map(|gateway| (gateway.name.clone(), gateway.settled.to_string())).collect();
                let (script, account) = (self.server.scripts[1].clone(), format!("account:{epoch}"));
                let mut said = vec!["EVALSHA", &script, "2", "epoch", &account, &epoch];
                said.extend(spent.iter().flat_map(|(name, spent)| [name.as_str(), spent.as_str()]));
                self.server.tell(&said).await;
            }
            _ => {}
        }
        self.gateways[at].granted = slice;
        true
    }

    async fn sync(&mut self, at: usize, need: i64) {
        let parts = i64::try_from(self.gateways.len()).unwrap();
        if self.gateways[at].cut || self.gateways[at].epoch.is_empty() || !self.say(at, need, parts).await {
            self.join(at).await;
            self.say(at, need, parts).await;
        }
    }

    async fn step(&mut self, dice: &mut Seeded) {
        let at = usize::try_from(below(dice, self.gateways.len() as u64)).unwrap();
        let choice = below(dice, 100);
        if self.gateways[at].dead {
            if choice < 20 {
                // What was under way is booked as lost.
                let gateway = &mut self.gateways[at];
                (gateway.settled, gateway.held, gateway.granted, gateway.dead) = (gateway.used(), 0, 0, false);
                self.join(at).await;
            }
            return;
        }
        match choice {
            0..45 => {
                let wanted = i64::try_from(below(dice, u64::try_from(self.limit / 8 + 1).unwrap())).unwrap();
                let lacks = wanted - (self.gateways[at].granted - self.gateways[at].used());
                if lacks > 0 {
                    self.sync(at, lacks).await;
                }
                let gateway = &mut self.gateways[at];
                if gateway.granted - gateway.used() >= wanted {
                    gateway.held += wanted;
                }
            }
            45..60 => {
                let gateway = &mut self.gateways[at];
                let cost = i64::try_from(below(dice, u64::try_from(gateway.held + 1).unwrap())).unwrap();
                (gateway.settled, gateway.held) = (gateway.settled + cost, 0);
            }
            60..70 if !self.gateways[at].epoch.is_empty() && !self.gateways[at].cut => {
                // It gives back. The words may be lost, their answer may be, or they come late.
                self.gateways[at].granted = self.gateways[at].used();
                let words = self.words(at);
                match below(dice, 3) {
                    0 => self.late.push(words),
                    1 => drop(self.lease(words, 0, 0).await),
                    _ => {
                        self.sync(at, 0).await;
                        return;
                    }
                }
                self.gateways[at].cut = true;
            }
            70..76 => {
                if let Some(words) = self.late.pop() {
                    self.lease(words, 0, 0).await;
                }
            }
            76..81 => drop(self.server.tell(&["FLUSHALL"]).await),
            81..87 => self.gateways[at].dead = true,
            _ => self.sync(at, 0).await,
        }
    }

    /// What is used, and what those who live may use.
    fn out(&self) -> i64 {
        let of = |gateway: &Gateway| if gateway.dead { gateway.used() } else { gateway.granted.max(gateway.used()) };
        self.gateways.iter().map(of).sum()
    }
}

#[tokio::test]
async fn whatever_happens_all_slices_together_never_exceed_the_limit() {
    let Some(redis) = Redis::start().await else { return };
    let mut dice = Seeded::new(SEED);
    let mut served = BTreeSet::new();
    let mut model = Model { server: Server::of(&redis).await, gateways: Vec::new(), limit: 0, epochs: 0, late: Vec::new() };
    for round in 0..ROUNDS {
        model.server.tell(&["FLUSHALL"]).await;
        model.limit = [10, 1_000, 1_000_000_000, 9_000_000_000_000][round % 4];
        let gateways = [1, 2, 3, 5][usize::try_from(below(&mut dice, 4)).unwrap()];
        model.gateways = (0..gateways).map(|at| Gateway { name: format!("g{at}"), ..Gateway::default() }).collect();
        model.late.clear();
        for step in 0..STEPS {
            model.step(&mut dice).await;
            let (out, limit) = (model.out(), model.limit);
            assert!(out <= limit, "round {round}, step {step}: {out} of {limit}: {:?}", model.gateways);
        }
        served.insert(model.gateways.iter().map(Gateway::used).sum::<i64>());
    }
    assert!(served.len() > ROUNDS / 2, "much was handed out");
}
