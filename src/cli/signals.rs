//! What a command is told while it runs: to stop (Ctrl-C at a terminal, SIGTERM from whoever started it) or to read its
//! files again (SIGHUP). Listened for before a command says that it is ready, so that no signal is lost or kills it.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::{SharedClock, SystemClock};

/// Who signals a process and its group, as `timeout` does, says the same twice in an instant, and means it once. No finger is as
/// fast.
const ECHO: Duration = Duration::from_millis(100);

/// The signals, listened for.
pub(super) struct Signals {
    /// When it was last told to stop, echoes aside, on the monotonic clock.
    stopped: Option<Duration>,
    clock: SharedClock,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Stop,
    Reload,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            stopped: None,
            clock: SystemClock::shared(),
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them.
    pub(super) async fn next(&mut self) -> Told {
        loop {
            let told = tokio::select! {
                _got = self.interrupt.recv() => Told::Stop,
                _got = self.terminate.recv() => Told::Stop,
                _got = self.hangup.recv() => Told::Reload,
            };
            if told == Told::Reload {
                return told;
            }
            let now = self.clock.monotonic();
            if self.stopped.is_none_or(|before| now.saturating_sub(before) >= ECHO) {
                self.stopped = Some(now);
                return told;
            }
        }
    }

    /// Waits until it is told to stop; nothing else matters any more.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}
