//! Reading an answer as deltas, whole or frame by frame: both come as messages with what is new in them.

use serde_json::value::RawValue;

use super::answer::{End, FunctionCall, Message, Part, end_of};
use super::frames::data_of;
use super::usage::Counts;
use crate::canonical::Delta;
use crate::canonical::conversation::{Seal, SealKind};
use crate::dialect::DeltaReader;

/// So much of an answer's id goes into the ids of its calls: with what stands around it they stay below 40 characters, beyond
/// which OpenAI takes none.
const ID_CHARS: usize = 24;

/// Reads one answer.
#[derive(Default)]
pub(super) struct Deltas {
    begun: bool,
    counts: Counts,
    /// The answer's id, as far as it goes into the ids of calls.
    id: String,
    /// How many calls there were.
    calls: u32,
}

impl Deltas {
    /// Reads what a message adds.
    pub(super) fn message(&mut self, message: Message<'_>, out: &mut Vec<Delta>) {
        self.begin(&message, out);
        if let Some(told) = &message.usage_metadata {
            let before = self.counts.usage();
            self.counts.update(told);
            out.extend(self.counts.usage().filter(|usage| before != Some(*usage)).map(Delta::Usage));
        }
        let (parts, reason) = message.into_first();
        for part in parts {
            self.part(part, out);
        }
        match end_of(reason.as_deref().unwrap_or_default()) {
            Some(End::Ended(finish)) => out.push(Delta::Finish(finish)),
            Some(End::Broke) | None => {}
        }
    }

    fn begin(&mut self, message: &Message<'_>, out: &mut Vec<Delta>) {
        let told = message.response_id.is_some() || message.model_version.is_some();
        if told && !self.begun {
            self.begun = true;
            let id = message.response_id.as_deref().unwrap_or_default();
            self.id = id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(ID_CHARS).collect();
            let of = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
            out.push(Delta::Begin { id: of(message.response_id.as_deref()), model: of(message.model_version.as_deref()) });
        }
    }

    fn part(&mut self, part: Part<'_>, out: &mut Vec<Delta>) {
        let thinks = part.is_thought();
        if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            out.push(if thinks { Delta::Thought(text.into_owned()) } else { Delta::Text(text.into_owned()) });
        }
        let value = part.thought_signature.filter(|value| !value.is_empty());
        let seal = value.map(|value| Seal { kind: SealKind::GeminiSignature, value: value.into_owned() });
        match part.function_call {
            Some(call) => self.call(call, seal, out),
            None => out.extend(seal.map(Delta::Sealed)),
        }
    }

    fn call(&mut self, call: FunctionCall<'_>, seal: Option<Seal>, out: &mut Vec<Delta>) {
        let slot = self.calls;
        self.calls += 1;
        let (name, arguments) = (call.name.unwrap_or_default(), call.args.map(RawValue::get).filter(|args| *args != "null"));
        let given = call.id.filter(|id| !id.is_empty()).map(std::borrow::Cow::into_owned);
        // Where the answer has no id either, one is made up by whoever writes it.
        let id = given.or_else(|| (!self.id.is_empty()).then(|| format!("call_{}_{slot}", self.id)));
        out.push(Delta::Call { slot, id, name: name.into_owned(), seal });
        out.extend(arguments.map(|arguments| Delta::Arguments { slot, piece: arguments.to_owned() }));
    }
}

impl DeltaReader for Deltas {
    fn read(&mut self, frame: &[u8], out: &mut Vec<Delta>) {
        if let Ok(message) = serde_json::from_slice::<Message<'_>>(data_of(frame).trim_ascii()) {
            self.message(message, out);
        }
    }

    /// Nothing is held back.
    fn end(&mut self, _: &mut Vec<Delta>) {}

    fn held(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;
