//! What a vendor reports as usage, brought into the disjoint parts that are billed.
//!
//! The names were collected from the vendors' answers (`prompt_tokens_details.cached_tokens`, `prompt_cache_hit_tokens`,
//! a bare `cached_tokens`, ...). Reading is lenient: a count that is null, missing or of an odd type is no count; one
//! that contradicts the others is clamped, so that nothing is ever billed below zero.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::walk::{KeyAs, says_nothing};
use crate::catalog::capability::Quirks;
use crate::units::{Tokens, Usage};

/// The counts of one usage object, by what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reported {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
    cache_write_short: Option<u64>,
    cache_write_long: Option<u64>,
    image_input: Option<u64>,
    audio_input: Option<u64>,
    audio_output: Option<u64>,
    pieces: Option<u64>,
    /// Whose details are being read: sound is called the same on both sides.
    side: Side,
}

/// Which part of a usage object is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Side {
    #[default]
    Neither,
    Input,
    Output,
}

impl Reported {
    /// The parts that are billed; `None` when the object says nothing. All zeros say nothing either: some sites send
    /// them in every chunk but the last, and no answered request costs no token.
    pub(super) fn usage(&self, quirks: Quirks) -> Option<Usage> {
        let (input, mut output) = self.sides()?;
        let mut reasoning = self.reasoning.unwrap_or(0);
        if quirks.reasoning_outside_output {
            let unaccounted = self.total.map_or(0, |total| total.saturating_sub(input.saturating_add(output)));
            reasoning = self.reasoning.unwrap_or(unaccounted);
            output = output.saturating_add(reasoning);
        }
        let cache_read = self.cache_read.unwrap_or(0).min(input);
        let cache_write = self.written().min(input - cache_read);
        let fresh_input = input - cache_read - cache_write;
        let part = |part: Option<u64>, whole: u64| Tokens::new(part.unwrap_or(0).min(whole));
        (input > 0 || output > 0).then_some(Usage {
            fresh_input: Tokens::new(fresh_input),
            cache_read: Tokens::new(cache_read),
            cache_write: Tokens::new(cache_write),
            output: Tokens::new(output),
            reasoning: Tokens::new(reasoning.min(output)),
            cache_write_long: part(self.written_long(cache_write), cache_write),
            image_input: part(self.image_input, fresh_input),
            audio_input: part(self.audio_input, fresh_input),
            audio_output: part(self.audio_output, output),
            pieces: 0,
        })
    }

    /// Leaves out what it says of the answer.
    pub(super) fn without_output(self) -> Self {
        Self { output: None, reasoning: None, total: None, audio_output: None, ..self }
    }

    /// What is billed by the piece, where that is told.
    pub(super) fn pieces(&self) -> Option<u64> {
        self.pieces
    }

    /// Of an answer that has no tokens of its own: some sites tell the total alone.
    pub(super) fn of_input(self) -> Self {
        Self { input: self.input.filter(|input| *input > 0).or(self.total), output: Some(0), ..self.without_output() }
    }

    /// The same of a report in Anthropic's words, in which what a cache was read or written stands beside the input.
    pub(super) fn usage_beside_cache(&self) -> Option<Usage> {
        let (fresh_input, cache_read, cache_write) = (self.input.unwrap_or(0), self.cache_read.unwrap_or(0), self.written());
        let output = self.output.unwrap_or(0);
        let long = self.written_long(cache_write).unwrap_or(0).min(cache_write);
        (fresh_input > 0 || cache_read > 0 || cache_write > 0 || output > 0).then(|| Usage {
            fresh_input: Tokens::new(fresh_input),
            cache_read: Tokens::new(cache_read),
            cache_write: Tokens::new(cache_write),
            output: Tokens::new(output),
            reasoning: Tokens::new(self.reasoning.unwrap_or(0).min(output)),
            cache_write_long: Tokens::new(long),
            ..Usage::default()
        })
    }

    /// Takes a later report on the same answer: its counts replace those before, but for zeros, with which some sites fill
    /// what they do not tell.
    pub(super) fn update(&mut self, later: &Reported) {
        self.merge(later, |known, told| told.filter(|count| *count > 0).or(known).or(told));
    }

    /// Takes what another says where it is more.
    fn raise(&mut self, other: &Reported) {
        self.merge(other, Ord::max);
    }

    /// Adds what another says.
    fn add(&mut self, other: &Reported) {
        self.merge(other, |own, others| match (own, others) {
            (Some(own), Some(others)) => Some(own.saturating_add(others).min(MOST)),
            (own, others) => own.or(others),
        });
    }

    fn merge(&mut self, other: &Reported, both: impl Fn(Option<u64>, Option<u64>) -> Option<u64>) {
        let pairs = [
            (&mut self.input, other.input),
            (&mut self.output, other.output),
            (&mut self.total, other.total),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.reasoning, other.reasoning),
            (&mut self.cache_write_short, other.cache_write_short),
            (&mut self.cache_write_long, other.cache_write_long),
            (&mut self.image_input, other.image_input),
            (&mut self.audio_input, other.audio_input),
            (&mut self.audio_output, other.audio_output),
            (&mut self.pieces, other.pieces),
        ];
        for (own, others) in pairs {
            *own = both(*own, others);
        }
    }

    fn written(&self) -> u64 {
        let by_lifetime = self.cache_write_short.unwrap_or(0).saturating_add(self.cache_write_long.unwrap_or(0));
        self.cache_write.unwrap_or(by_lifetime)
    }

    /// What is told not to be written for minutes was written for longer.
    fn written_long(&self, written: u64) -> Option<u64> {
        self.cache_write_long.or_else(|| Some(written.saturating_sub(self.cache_write_short?)))
    }

    /// Whether it says for how long what was written to a cache is kept.
    pub(super) fn tells_lifetimes(&self) -> bool {
        self.cache_write_short.is_some() || self.cache_write_long.is_some()
    }

    /// Input and output; one that is missing follows from the total.
    fn sides(&self) -> Option<(u64, u64)> {
        let rest = |known: u64| self.total.map_or(0, |total| total.saturating_sub(known));
        match (self.input, self.output) {
            (None, None) => None,
            (Some(input), None) => Some((input, rest(input))),
            (None, Some(output)) => Some((rest(output), output)),
            (Some(input), Some(output)) => Some((input, output)),
        }
    }

    fn slot(&mut self, key: Key) -> Option<&mut Option<u64>> {
        match key {
            Key::Input => Some(&mut self.input),
            Key::Output => Some(&mut self.output),
            Key::Total => Some(&mut self.total),
            Key::CacheRead => Some(&mut self.cache_read),
            Key::Pieces => Some(&mut self.pieces),
            Key::CacheWrite => Some(&mut self.cache_write),
            Key::Reasoning => Some(&mut self.reasoning),
            Key::CacheWriteShort => Some(&mut self.cache_write_short),
            Key::CacheWriteLong => Some(&mut self.cache_write_long),
            Key::Image if self.side == Side::Input => Some(&mut self.image_input),
            Key::Audio if self.side == Side::Input => Some(&mut self.audio_input),
            Key::Audio if self.side == Side::Output => Some(&mut self.audio_output),
            Key::Seconds | Key::Image | Key::Audio | Key::Details(_) | Key::Hops | Key::Other => None,
        }
    }
}

/// Reads a usage object of any shape into a [`Reported`].
pub(super) struct ReadUsage<'r>(pub(super) &'r mut Reported);

impl<'de> DeserializeSeed<'de> for ReadUsage<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ReadUsage<'_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);
    says_nothing!(array);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key_seed(KeyAs(Key::of))? {
            if let Key::Details(side) = key {
                let around = std::mem::replace(&mut self.0.side, side);
                members.next_value_seed(ReadUsage(self.0))?;
                self.0.side = around;
                continue;
            }
            if key == Key::Hops {
                let mut sum = Reported::default();
                members.next_value_seed(Hops(&mut sum))?;
                self.0.raise(&sum);
                continue;
            }
            if key == Key::Seconds {
                let milliseconds = members.next_value_seed(Milliseconds)?;
                self.0.pieces = self.0.pieces.max(milliseconds);
                continue;
            }
            match self.0.slot(key) {
                // The same count may stand in two places; the larger one is what the other left out.
                Some(slot) => *slot = (*slot).max(members.next_value_seed(Count)?),
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Adds up the usage of all hops of one answer: each is billed (compaction, an advisor, a fall back), and what stands beside
/// them may be the last one's only (`dialects.md` section 3, 2026-11-22).
struct Hops<'r>(&'r mut Reported);

impl<'de> DeserializeSeed<'de> for Hops<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Hops<'_> {
    type Value = ();
    says_nothing!();
    says_nothing!(text);

    fn visit_seq<A: SeqAccess<'de>>(self, mut hops: A) -> Result<(), A::Error> {
        let mut hop = Reported::default();
        while hops.next_element_seed(ReadUsage(&mut hop))?.is_some() {
            self.0.add(&std::mem::take(&mut hop));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Input,
    Output,
    Total,
    CacheRead,
    CacheWrite,
    Reasoning,
    CacheWriteShort,
    CacheWriteLong,
    Pieces,
    /// How long sound is, which is billed by its thousandths.
    Seconds,
    Image,
    Audio,
    /// An object whose members are parts of one side, or of what was written to a cache.
    Details(Side),
    /// An array of such objects, one for each hop of the answer.
    Hops,
    Other,
}

impl Key {
    fn of(key: &str) -> Self {
        match key {
            "prompt_tokens" | "input_tokens" => Self::Input,
            "completion_tokens" | "output_tokens" => Self::Output,
            "total_tokens" => Self::Total,
            "cached_tokens" | "prompt_cache_hit_tokens" | "cached_prompt_text_tokens" | "cache_read_input_tokens" => {
                Self::CacheRead
            }
            "cache_write_tokens" | "cache_creation_input_tokens" => Self::CacheWrite,
            "reasoning_tokens" | "thinking_tokens" => Self::Reasoning,
            "ephemeral_5m_input_tokens" => Self::CacheWriteShort,
            "ephemeral_1h_input_tokens" => Self::CacheWriteLong,
            "search_units" => Self::Pieces,
            "seconds" => Self::Seconds,
            "image_tokens" => Self::Image,
            "audio_tokens" => Self::Audio,
            "prompt_tokens_details" | "input_tokens_details" | "input_token_details" => Self::Details(Side::Input),
            "completion_tokens_details" | "output_tokens_details" | "output_token_details" => Self::Details(Side::Output),
            "cache_creation" => Self::Details(Side::Neither),
            "iterations" => Self::Hops,
            _ => Self::Other,
        }
    }
}

/// No count is taken for more: far above what any model takes, and sums of such stay whole.
const MOST: u64 = 1_000_000_000_000;

/// Thousandths of a second, where the value is a number of seconds; a part of one counts as one.
pub(super) struct Milliseconds;

impl<'de> DeserializeSeed<'de> for Milliseconds {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Option<u64>, D::Error> {
        let raw = <&RawValue>::deserialize(value)?.get();
        Ok(milliseconds(raw.trim_matches('"')))
    }
}

/// Beyond a millionth of a second a number is what its writer's arithmetic left there.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, and the sign was looked at")]
fn milliseconds(seconds: &str) -> Option<u64> {
    let seconds: f64 = seconds.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)?;
    let micros = (seconds * 1_000_000.0).round() as u64;
    Some(micros.div_ceil(1_000).min(MOST))
}

/// A count, where the value is one.
pub(super) struct Count;

impl<'de> DeserializeSeed<'de> for Count {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Option<u64>, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Option<u64>, E> {
        Ok(Some(count.min(MOST)))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Option<u64>, E> {
        Ok(Some(u64::try_from(count).unwrap_or(0).min(MOST)))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, which is the clamp wanted")]
    fn visit_f64<E>(self, count: f64) -> Result<Option<u64>, E> {
        Ok(Some((count as u64).min(MOST)))
    }

    fn visit_str<E>(self, count: &str) -> Result<Option<u64>, E> {
        Ok(count.parse().ok().map(|count: u64| count.min(MOST)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<u64>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<u64>, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_are_told_by_the_thousandth() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(milliseconds(text), expected, "{text}");
        check("9", Some(9_000));
        check("9.2", Some(9_200));
        check("8.470000267028809", Some(8_470));
        check("0.0001", Some(1));
        check("1e3", Some(1_000_000));
        check("1e300", Some(MOST));
        for odd in ["-1", "x", "", "null", "NaN", "inf"] {
            check(odd, None);
        }
    }

    const OUTSIDE: bool = true;
    const INSIDE: bool = false;

    #[test]
    fn parts_that_may_have_prices_of_their_own_are_told_apart() {
        let json = r#"{"prompt_tokens":100,"completion_tokens":50,"cache_creation_input_tokens":30,
            "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},
            "prompt_tokens_details":{"audio_tokens":15,"image_tokens":5},
            "completion_tokens_details":{"audio_tokens":40,"image_tokens":9,"reasoning_tokens":3},"audio_tokens":1}"#;
        let mut reported = Reported::default();
        ReadUsage(&mut reported).deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
        let usage = reported.usage(Quirks::default()).unwrap();
        let parts = [usage.cache_write, usage.cache_write_long, usage.audio_input, usage.image_input, usage.audio_output];
        assert_eq!(parts.map(Tokens::get), [30, 20, 15, 5, 40]);
        assert_eq!((usage.fresh_input.get(), usage.reasoning.get()), (70, 3));
    }

    /// `[fresh, read, write, output, reasoning]`, or `None`.
    fn read(json: &str, reasoning_outside_output: bool) -> Option<[u64; 5]> {
        let mut reported = Reported::default();
        ReadUsage(&mut reported).deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
        let usage = reported.usage(Quirks { reasoning_outside_output, ..Quirks::default() })?;
        Some([usage.fresh_input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning].map(Tokens::get))
    }

    #[test]
    fn every_vendors_names_mean_the_same() {
        for (json, expected) in [
            (r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}"#, [9, 0, 0, 4, 0]),
            (r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":6}}"#, [3, 6, 0, 4, 0]),
            (
                r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_cache_hit_tokens":6,"prompt_cache_miss_tokens":3}"#,
                [3, 6, 0, 4, 0],
            ),
            (r#"{"prompt_tokens":9,"completion_tokens":4,"cached_tokens":6}"#, [3, 6, 0, 4, 0]),
            (
                r#"{"prompt_tokens":9,"completion_tokens":4,"cached_tokens":6,"prompt_tokens_details":{"cached_tokens":0}}"#,
                [3, 6, 0, 4, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":3}}"#,
                [4, 2, 3, 4, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cache_creation_input_tokens":3}}"#,
                [6, 0, 3, 4, 0],
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0}}"#,
                [9, 0, 0, 4, 3],
            ),
            (r#"{"input_tokens":9,"output_tokens":4,"input_tokens_details":null}"#, [9, 0, 0, 4, 0]),
            (r#"{"prompt_tokens":9,"total_tokens":13}"#, [9, 0, 0, 4, 0]),
            (r#"{"prompt_tokens":"9","completion_tokens":4.0}"#, [9, 0, 0, 4, 0]),
        ] {
            assert_eq!(read(json, INSIDE), Some(expected), "{json}");
        }
    }

    #[test]
    fn the_lifetimes_of_what_was_written_to_a_cache_are_told_or_not() {
        let check = |members: &str, written: [u64; 2], told: bool| {
            let json = format!(r#"{{"prompt_tokens":100,"completion_tokens":1,{members}}}"#);
            let mut reported = Reported::default();
            ReadUsage(&mut reported).deserialize(&mut serde_json::Deserializer::from_str(&json)).unwrap();
            let usage = reported.usage(Quirks::default()).unwrap();
            let found = [usage.cache_write, usage.cache_write_long].map(Tokens::get);
            assert_eq!((found, reported.tells_lifetimes()), (written, told), "{members}");
        };
        check(r#""cache_creation_input_tokens":30"#, [30, 0], false);
        check(r#""cache_creation_input_tokens":30,"cache_creation":null"#, [30, 0], false);
        check(r#""cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":30}"#, [30, 0], true);
        check(r#""cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10}"#, [30, 20], true);
        check(r#""cache_creation_input_tokens":30,"cache_creation":{"ephemeral_1h_input_tokens":30}"#, [30, 30], true);
        check(r#""cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}"#, [30, 20], true);
    }

    /// Fixed once: a count of nonsense went on as it was, and sums of such wrapped around or stopped the gateway.
    #[test]
    fn a_count_beyond_belief_is_clamped_and_sums_of_such_stay_whole() {
        for most in ["18446744073709551615", "1e30", "\"18446744073709551615\"", "1000000000001"] {
            let json = format!(
                r#"{{"prompt_tokens":{most},"completion_tokens":{most},"reasoning_tokens":{most},"total_tokens":{most}}}"#
            );
            assert_eq!(read(&json, INSIDE), Some([MOST, 0, 0, MOST, MOST]), "{most}");
            assert_eq!(read(&json, OUTSIDE), Some([MOST, 0, 0, 2 * MOST, MOST]), "{most}");
        }
        assert_eq!(read(r#"{"prompt_tokens":1,"completion_tokens":-9223372036854775808}"#, INSIDE), Some([1, 0, 0, 0, 0]));
        assert_eq!(read(r#"{"prompt_tokens":1,"completion_tokens":-1e30}"#, INSIDE), Some([1, 0, 0, 0, 0]));
    }

    #[test]
    fn reasoning_beside_the_output_is_added() {
        let with =
            r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":23,"completion_tokens_details":{"reasoning_tokens":10}}"#;
        assert_eq!(read(with, OUTSIDE), Some([9, 0, 0, 14, 10]));
        assert_eq!(read(with, INSIDE), Some([9, 0, 0, 4, 4]), "clamped: a part is never larger than the whole");
        let only_total = r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":23}"#;
        assert_eq!(read(only_total, OUTSIDE), Some([9, 0, 0, 14, 10]));
        assert_eq!(read(only_total, INSIDE), Some([9, 0, 0, 4, 0]));
    }

    #[test]
    fn in_anthropics_words_the_cache_stands_beside_the_input() {
        let check = |json: &str, expected: Option<[u64; 6]>| {
            let mut reported = Reported::default();
            ReadUsage(&mut reported).deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
            let parts = |u: Usage| [u.fresh_input, u.cache_read, u.cache_write, u.cache_write_long, u.output, u.reasoning];
            assert_eq!(reported.usage_beside_cache().map(|usage| parts(usage).map(Tokens::get)), expected, "{json}");
        };
        check(r#"{"input_tokens":31,"output_tokens":7}"#, Some([31, 0, 0, 0, 7, 0]));
        check(
            r#"{"input_tokens":3,"cache_read_input_tokens":900,"cache_creation_input_tokens":50,"output_tokens":7,
            "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30},"output_tokens_details":{"thinking_tokens":4},
            "server_tool_use":{"web_search_requests":2},"service_tier":"standard","iterations":null}"#,
            Some([3, 900, 50, 30, 7, 4]),
        );
        // What stands beside the hops is the last one's, or all of them together.
        let hops = r#""iterations":[{"type":"compaction","input_tokens":180,"output_tokens":35,"cache_creation":{"ephemeral_1h_input_tokens":5}},{"type":"message","input_tokens":23,"cache_read_input_tokens":7,"output_tokens":10}]"#;
        let all = Some([203, 7, 5, 5, 45, 0]);
        check(&format!(r#"{{"input_tokens":23,"output_tokens":10,{hops}}}"#), all);
        check(&format!(r#"{{{hops},"input_tokens":203,"output_tokens":45}}"#), all);
        check(&format!(r#"{{{hops},"input_tokens":204,"output_tokens":45}}"#), Some([204, 7, 5, 5, 45, 0]));
        check(r#"{"input_tokens":3,"output_tokens":7,"iterations":{"input_tokens":9}}"#, Some([3, 0, 0, 0, 7, 0]));
        check(
            r#"{"input_tokens":0,"cache_read_input_tokens":900,"cache_creation_input_tokens":null,"output_tokens":1}"#,
            Some([0, 900, 0, 0, 1, 0]),
        );
        check(
            r#"{"input_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":30},"output_tokens":1}"#,
            Some([1, 0, 30, 30, 1, 0]),
        );
        check(r#"{"input_tokens":0,"output_tokens":0}"#, None);
    }

    #[test]
    fn a_later_report_replaces_what_it_tells() {
        let read = |json: &str| {
            let mut reported = Reported::default();
            ReadUsage(&mut reported).deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
            reported
        };
        let mut so_far = read(r#"{"input_tokens":31,"cache_read_input_tokens":900,"output_tokens":1}"#);
        so_far.update(&read(r#"{"input_tokens":0,"cache_read_input_tokens":null,"output_tokens":25}"#));
        let usage = so_far.usage_beside_cache().unwrap();
        assert_eq!([usage.fresh_input, usage.cache_read, usage.output].map(Tokens::get), [31, 900, 25]);
        so_far.update(&read(r#"{"input_tokens":33}"#));
        assert_eq!(so_far.usage_beside_cache().unwrap().fresh_input.get(), 33);
    }

    #[test]
    fn contradictions_are_clamped() {
        let more_cached_than_read = r#"{"prompt_tokens":5,"completion_tokens":1,"cached_tokens":9,"cache_write_tokens":9}"#;
        assert_eq!(read(more_cached_than_read, INSIDE), Some([0, 5, 0, 1, 0]));
        assert_eq!(read(r#"{"prompt_tokens":-5,"completion_tokens":1}"#, INSIDE), Some([0, 0, 0, 1, 0]));
    }

    #[test]
    fn what_says_nothing_is_no_usage() {
        for json in
            ["null", "{}", "7", "[]", "\"n/a\"", "true", r#"{"prompt_tokens":0,"completion_tokens":0}"#, r#"{"total_tokens":4}"#]
        {
            assert_eq!(read(json, INSIDE), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn the_parts_never_exceed_the_whole(input in 0_u64..1000, output in 0_u64..1000, read_ in any::<i32>(), write in any::<i32>(), reason in 0_u64..2000, outside in any::<bool>()) {
            let json = format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"cached_tokens":{read_},"cache_write_tokens":{write},"reasoning_tokens":{reason}}}"#);
            if let Some([fresh, cached, written, out, reasoning]) = read(&json, outside) {
                prop_assert_eq!(fresh + cached + written, input);
                prop_assert_eq!(out, if outside { output + reason } else { output });
                prop_assert!(reasoning <= out);
            }
        }
    }
}
