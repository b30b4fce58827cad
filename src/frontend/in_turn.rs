//! The pieces of an answer in the order of its parts: what comes while a call is not whole yet, and does not belong to it, waits.
//!
//! A provider may tell several calls at once, a piece of this and a piece of that. Where parts come one after the other at the shape's
//! maker, clients count on it.

use std::collections::VecDeque;

use super::extent::Extent;
use crate::canonical::Delta;

/// Puts the deltas of one stream in order.
#[derive(Debug, Default)]
pub(super) struct InTurn {
    /// The call that is being told.
    open: Option<(u32, Extent)>,
    /// What waits for its end, in the order in which it began.
    waiting: VecDeque<Waiting>,
}

/// The beginning of a part, and all that has come for it where it is a call.
#[derive(Debug)]
struct Waiting {
    delta: Delta,
    arguments: String,
}

impl InTurn {
    /// Takes the next delta, and tells what may be told now.
    pub(super) fn take(&mut self, delta: Delta, tell: &mut dyn FnMut(Delta)) {
        let open = self.open.as_ref().filter(|(_, extent)| !extent.is_whole()).map(|(slot, _)| *slot);
        match (open, delta) {
            (Some(open), Delta::Arguments { slot, piece }) if slot == open => {
                self.tell_arguments(slot, piece, tell);
                self.go_on(false, tell);
            }
            (Some(_), Delta::Arguments { slot, piece }) => self.put_by(slot, &piece),
            // Of the answer as a whole: these are parts of nothing.
            (Some(_), delta @ (Delta::Begin { .. } | Delta::Finish(_) | Delta::Usage(_))) => tell(delta),
            (Some(_), delta) => self.waiting.push_back(Waiting { delta, arguments: String::new() }),
            (None, delta) => self.tell(delta, tell),
        }
    }

    /// The answer has ended: tells all that waits.
    pub(super) fn end(&mut self, tell: &mut dyn FnMut(Delta)) {
        self.go_on(true, tell);
    }

    fn tell(&mut self, delta: Delta, tell: &mut dyn FnMut(Delta)) {
        if let Delta::Call { slot, .. } = &delta {
            self.open = Some((*slot, Extent::default()));
        }
        tell(delta);
    }

    fn tell_arguments(&mut self, slot: u32, piece: String, tell: &mut dyn FnMut(Delta)) {
        if let Some((_, extent)) = &mut self.open {
            extent.take(&piece);
        }
        tell(Delta::Arguments { slot, piece });
    }

    /// Keeps a piece for a call that waits; for no other can there be any.
    fn put_by(&mut self, to: u32, piece: &str) {
        let of_call = |waiting: &&mut Waiting| matches!(waiting.delta, Delta::Call { slot, .. } if slot == to);
        if let Some(waiting) = self.waiting.iter_mut().rev().find(of_call) {
            waiting.arguments.push_str(piece);
        }
    }

    /// Tells what waits, up to a call that is not whole; `all` where nothing more comes.
    fn go_on(&mut self, all: bool, tell: &mut dyn FnMut(Delta)) {
        while all || self.open.as_ref().is_none_or(|(_, extent)| extent.is_whole()) {
            let Some(Waiting { delta, arguments }) = self.waiting.pop_front() else { return };
            let slot = if let Delta::Call { slot, .. } = &delta { Some(*slot) } else { None };
            self.tell(delta, tell);
            if let Some(slot) = slot.filter(|_| !arguments.is_empty()) {
                self.tell_arguments(slot, arguments, tell);
            }
        }
    }
}
