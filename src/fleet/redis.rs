//! One connection to Redis or Valkey, on which commands are sent many at a time. What goes wrong ends it, and whoever uses it
//! opens another.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::resp::{Malformed, Reply, decode, encode};
use crate::config::{Secret, StoreAddress};
use crate::upstream::{Socket, Trust, UpstreamError, Way};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(2);
/// Until all commands of a lot are answered.
const ANSWER: Duration = Duration::from_secs(1);

/// Why Redis did not do something.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("Redis cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("Redis: {0}")]
    Refused(String),
    #[error("Redis did not answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("Redis: {0}")]
    Malformed(#[from] Malformed),
    #[error("Redis answered something else than was asked for")]
    Unexpected,
    /// Budgets that it may throw away are no bound.
    #[error("Redis throws data away when its memory is full (maxmemory-policy {0}): set it to noeviction")]
    Evicts(String),
}

/// The words of one command.
pub type Words = Vec<Vec<u8>>;

/// A command of these words.
pub fn words<'w>(words: impl IntoIterator<Item = &'w str>) -> Words {
    words.into_iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// The way to a server.
#[derive(Clone)]
pub struct Redis {
    way: Way,
    /// What is said first: who we are, and which database.
    greeting: Vec<Words>,
}

/// An open connection.
pub struct Connected {
    socket: Socket,
    read: Vec<u8>,
    /// Which run of which server this is: another one after each start, and another server's after a failover.
    pub run: String,
    /// By what the scripts are called, in the order in which they were given.
    pub scripts: Vec<String>,
}

impl Redis {
    pub fn at(address: &StoreAddress, password: Option<&Secret>, trust: &Trust) -> Result<Self, UpstreamError> {
        let mut way = Way::to(&address.host, address.port);
        if address.tls {
            way = way.secured(trust)?;
        }
        let mut greeting = Vec::new();
        if let Some(password) = password {
            greeting.push(words(["AUTH"].into_iter().chain(address.user.as_deref()).chain([password.expose()])));
        }
        if !address.database.is_empty() {
            greeting.push(words(["SELECT", &address.database]));
        }
        Ok(Self { way, greeting })
    }

    /// Connects, and loads these scripts.
    pub async fn connect(&self, scripts: &[&str]) -> Result<Connected, RedisError> {
        let socket = self.way.open(CONNECT).await?;
        let mut connected = Connected { socket, read: Vec::new(), run: String::new(), scripts: Vec::new() };
        let loads = scripts.iter().map(|script| words(["SCRIPT", "LOAD", script]));
        let greeting: Vec<Words> = self.greeting.iter().cloned().chain(loads).chain([words(["INFO"])]).collect();
        let told = connected.ask(&greeting).await?;
        let info = told.last().and_then(Reply::text).ok_or(RedisError::Unexpected)?;
        let about = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        match (about("maxmemory"), about("maxmemory_policy")) {
            (Some(most), Some(policy)) if most != "0" && policy != "noeviction" => {
                return Err(RedisError::Evicts(policy.to_owned()));
            }
            _ => {}
        }
        let loaded = &told[self.greeting.len()..told.len() - 1];
        connected.scripts = loaded.iter().filter_map(Reply::text).map(str::to_owned).collect();
        if connected.scripts.len() != scripts.len() {
            return Err(RedisError::Unexpected);
        }
        connected.run = about("run_id").map(str::to_owned).ok_or(RedisError::Unexpected)?;
        Ok(connected)
    }
}

impl Connected {
    /// Sends commands and answers their replies, in order. An error among them is an error of all.
    pub async fn ask(&mut self, commands: &[Words]) -> Result<Vec<Reply>, RedisError> {
        timeout(ANSWER, self.exchange(commands)).await.map_err(|_| RedisError::Late(ANSWER))?
    }

    async fn exchange(&mut self, commands: &[Words]) -> Result<Vec<Reply>, RedisError> {
        let mut bytes = Vec::new();
        for words in commands {
            encode(words, &mut bytes);
        }
        self.socket.write_all(&bytes).await?;
        self.socket.flush().await?;
        let mut replies = Vec::with_capacity(commands.len());
        while replies.len() < commands.len() {
            match decode(&self.read)? {
                Some((Reply::Error(error), _)) => return Err(RedisError::Refused(error)),
                Some((reply, taken)) => {
                    self.read.drain(..taken);
                    replies.push(reply);
                }
                None => {
                    if self.socket.read_buf(&mut self.read).await? == 0 {
                        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                    }
                }
            }
        }
        Ok(replies)
    }
}
