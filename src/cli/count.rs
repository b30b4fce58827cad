//! `tokenbroker count`: the tokens of texts and conversations, by the same code that counts for the books. Nothing is sent.

use std::io::BufRead;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::output::{Exit, Output};
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::meter::chat::{Chat, Framed, How};
use crate::meter::exact::Vocabularies;
use crate::meter::{calibrated, sampled};

pub const EXAMPLES: &str = "\
Examples:
  echo '{\"id\": 1, \"text\": \"hello there\"}' | tokenbroker count --family o200k
  tokenbroker count --family deepseek_v3 --messages < requests.jsonl

Each line of the input is a JSON object with `id` and `text`, or with --messages `messages` and `tools` as OpenAI's clients send \
them; other members are ignored. Each line of the output is {\"id\", \"tokens\", \"how\"} or {\"id\", \"error\"}. how is \
\"exact\" where the vendor's own vocabulary is at hand, \"calibrated\" where another one's count was fitted to it, \"estimate\" \
with --estimate.";

/// What `count` takes.
#[derive(Debug, Args)]
pub struct CountArgs {
    /// Whose tokens.
    #[arg(long, value_name = "NAME", value_parser = families())]
    pub family: TokenizerFamily,
    /// Within microseconds instead of exactly: what a decision rests on.
    #[arg(long)]
    pub estimate: bool,
    /// Count whole prompts: messages and tools with what the vendor's template puts around them.
    #[arg(long)]
    pub messages: bool,
}

fn families() -> impl TypedValueParser<Value = TokenizerFamily> {
    PossibleValuesParser::new(TokenizerFamily::WORDS.map(|(_, word)| word))
        .map(|word| TokenizerFamily::from_word(&word).unwrap_or(TokenizerFamily::Unknown))
}

#[derive(Serialize)]
struct Counted<'l> {
    id: Option<&'l RawValue>,
    tokens: u64,
    how: How,
}

#[derive(Serialize)]
struct Wrong<'l> {
    id: Option<&'l RawValue>,
    error: String,
}

/// The name of a line, whatever else it holds.
#[derive(Deserialize)]
struct Named<'l> {
    #[serde(borrow)]
    id: Option<&'l RawValue>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

/// Runs `tokenbroker count`. A line that cannot be counted fails the command, at its end.
pub fn run(args: &CountArgs, input: impl BufRead, output: &mut Output) -> anyhow::Result<Exit> {
    let vocabularies = Vocabularies::default();
    let mut exit = Exit::Success;
    for (at, line) in input.split(b'\n').enumerate() {
        let line = line?;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let id = serde_json::from_slice::<Named<'_>>(line).ok().and_then(|named| named.id);
        match counted(args, &vocabularies, line) {
            Ok((tokens, how)) => output.json(&Counted { id, tokens, how })?,
            Err(wrong) => {
                exit = Exit::Failure;
                output.json(&Wrong { id, error: format!("line {}: {wrong}", at + 1) })?;
            }
        }
    }
    Ok(exit)
}

fn counted(args: &CountArgs, vocabularies: &Vocabularies, line: &[u8]) -> Result<(u64, How), String> {
    let family = args.family;
    if args.messages {
        let chat: Chat = read(line, "an object with `messages` and, if there are any, `tools`, as OpenAI's clients send them")?;
        let framed = Framed::of(&chat, family);
        if args.estimate {
            return Ok((framed.estimate(vocabularies, family), How::Estimate));
        }
        return Ok(framed.count(vocabularies, family));
    }
    let Text { text } = read(line, "an object with `text`, a string (for `messages`, say --messages)")?;
    if args.estimate {
        return Ok((sampled::estimate(vocabularies, &text, family).get(), How::Estimate));
    }
    Ok(match vocabularies.counter(family) {
        Some(counter) => (counter.count(&text), How::Exact),
        None => (calibrated::count(vocabularies, &text, &TextProfile::of(&text), family), How::Calibrated),
    })
}

fn read<T: for<'l> Deserialize<'l>>(line: &[u8], accepted: &str) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| format!("{error}; accepted: {accepted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: CountArgs,
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn said(options: &str, input: &str) -> (Exit, String) {
        let args = Typed::try_parse_from(["count"].into_iter().chain(options.split_whitespace())).unwrap().args;
        let kept = Kept::default();
        let exit = run(&args, input.as_bytes(), &mut Output::to(kept.clone(), std::io::sink())).unwrap();
        let bytes = kept.0.lock().unwrap().clone();
        (exit, String::from_utf8(bytes).unwrap())
    }

    fn check(options: &str, input: &str, expected: &str) {
        assert_eq!(said(options, input), (Exit::Success, format!("{expected}\n")), "{options}");
    }

    #[test]
    fn a_line_of_input_is_a_line_of_output() {
        let hello = r#"{"id": "a", "text": "hello there", "class": "chat"}"#;
        check("--family o200k", hello, r#"{"id":"a","tokens":2,"how":"exact"}"#);
        check("--family claude47_recon", hello, r#"{"id":"a","tokens":3,"how":"calibrated"}"#);
        check("--family cl100k --estimate", hello, r#"{"id":"a","tokens":2,"how":"estimate"}"#);
        check("--family o200k", "\n{\"id\":7,\"text\":\"\"}\r\n\n", r#"{"id":7,"tokens":0,"how":"exact"}"#);
        let chat = r#"{"id":[1],"messages":[{"role":"user","content":"hello there"}],"tools":null}"#;
        check("--family o200k --messages", chat, r#"{"id":[1],"tokens":9,"how":"exact"}"#);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_and_the_rest_is_counted() {
        let input = "{\"id\":1,\"text\":5}\nnonsense\n{\"id\":3,\"messages\":[]}\n{\"id\":4,\"text\":\"hi\"}\n\u{ff}\n";
        let (exit, out) = said("--family o200k", input);
        assert_eq!(exit, Exit::Failure);
        let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 5);
        for (at, id) in [(0, 1.into()), (1, serde_json::Value::Null), (2, 3.into()), (4, serde_json::Value::Null)] {
            let error = lines[at]["error"].as_str().unwrap();
            assert_eq!(lines[at]["id"], id);
            assert!(error.starts_with(&format!("line {}: ", at + 1)) && error.contains("accepted: an object"), "{error}");
        }
        assert!(lines[2]["error"].as_str().unwrap().contains("--messages"), "{out}");
        assert_eq!(lines[3]["tokens"], 1);
    }

    #[test]
    fn a_family_nobody_knows_is_refused_with_a_near_name() {
        let Err(error) = Typed::try_parse_from(["count", "--family", "deepseek-v3"]) else { panic!("it was taken") };
        let text = error.to_string();
        assert!(text.contains("deepseek_v3") && text.contains("similar"), "{text}");
    }
}
