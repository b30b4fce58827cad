//! What tells a command to stop: Ctrl-C at a terminal, SIGTERM from whoever started it. Listened for before a command
//! says that it is ready, so that no signal is lost.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, listened for.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for either.
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _got = self.interrupt.recv() => {}
            _got = self.terminate.recv() => {}
        }
    }
}
