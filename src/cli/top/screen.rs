//! The terminal while `top` has it: its own screen, no echo, keys as they are pressed. Everything is put back when the
//! guard goes, whichever way that is.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::draw::Size;

/// To the other screen, the cursor hidden.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Back, the cursor shown.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const ESCAPE: u8 = 0x1b;
const CTRL_C: u8 = 0x03;
/// How long a read of the keyboard waits, in tenths of a second: so soon the reader sees that nobody listens any more.
const READ_WAIT: u8 = 1;

/// The terminal's size, where there is a terminal.
pub(super) fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0)?;
    Some(Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

/// As many entries as can be of use on it.
pub(super) fn rows() -> usize {
    size().map_or(200, |size| size.rows)
}

/// What somebody at the terminal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Quit,
    /// The terminal has another size.
    Resized,
}

/// The terminal, taken over.
pub(super) struct Screen {
    /// How the keyboard was; `None` where the input is no terminal.
    before: Option<Termios>,
    keys: Receiver<u8>,
    resized: Signal,
    /// What is on it: the same is not written again.
    shown: Vec<String>,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn enter() -> io::Result<Self> {
        let resized = signal(SignalKind::window_change())?;
        let (pressed, keys) = channel(16);
        let before = if io::stdin().is_terminal() { Some(take_keyboard()?) } else { None };
        let screen = Self { before, keys, resized, shown: Vec::new() };
        if screen.before.is_some() {
            tokio::task::spawn_blocking(move || read_keys(&pressed));
        }
        write(ENTER)?;
        Ok(screen)
    }

    /// Shows these lines, each cut to the screen already.
    pub(super) fn show(&mut self, lines: &[String]) -> io::Result<()> {
        if self.shown == lines {
            return Ok(());
        }
        // To the corner, each line cleared behind its end, then all that is below: no flicker.
        write(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")))?;
        self.shown = lines.to_vec();
        Ok(())
    }

    /// Waits for q, Escape or Ctrl-C (which also comes as a signal where the terminal makes one of it), or for another size.
    pub(super) async fn next(&mut self) -> Told {
        loop {
            tokio::select! {
                _ = self.resized.recv() => {
                    // A terminal may have wrapped or cleared what was there.
                    self.shown.clear();
                    return Told::Resized;
                }
                key = self.keys.recv(), if self.before.is_some() => match key {
                    Some(b'q' | b'Q' | ESCAPE | CTRL_C) | None => return Told::Quit,
                    Some(_) => {}
                },
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.keys.close();
        // Where the terminal is gone there is nothing to put back.
        let _ = write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// Keys at once and without an echo; Ctrl-C stays a signal, Ctrl-Z is off, since nothing would put the screen back.
fn take_keyboard() -> io::Result<Termios> {
    let before = tcgetattr(io::stdin())?;
    let mut taken = before.clone();
    taken.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    taken.special_codes[SpecialCodeIndex::VSUSP] = 0;
    taken.special_codes[SpecialCodeIndex::VMIN] = 0;
    taken.special_codes[SpecialCodeIndex::VTIME] = READ_WAIT;
    tcsetattr(io::stdin(), OptionalActions::Flush, &taken)?;
    Ok(before)
}

/// Passes keys on until nobody listens.
fn read_keys(pressed: &Sender<u8>) {
    let mut keys = [0; 16];
    while !pressed.is_closed() {
        let Ok(count) = io::stdin().lock().read(&mut keys) else { return };
        for key in &keys[..count] {
            // Sixteen keys that nobody took yet are enough to know what was wanted.
            let _ = pressed.try_send(*key);
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
