//! What a command is told while it runs: to stop (Ctrl-C at a terminal, SIGTERM from whoever started it) or to read its
//! files again (SIGHUP). Listened for before a command says that it is ready, so that no signal is lost or kills it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals, listened for.
pub(super) struct Signals {
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
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _got = self.interrupt.recv() => Told::Stop,
            _got = self.terminate.recv() => Told::Stop,
            _got = self.hangup.recv() => Told::Reload,
        }
    }

    /// Waits until it is told to stop; nothing else matters any more.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}
