//! The dialect of what is no conversation: one for all of them, by the row of its shape ([`Direct`]). Bytes pass as they are but
//! for the model's name and our wishes; of an answer the usage is read, and that it is one. What is written in tokens is answered as
//! chat is, whole and streamed, and read as such; its bound goes out always, since without one each site has another default.

use bytes::Bytes;
use http::HeaderMap;

use super::frame::ChatFrames;
use super::media::{self, MediaFrames};
use super::reading::Reading;
use super::{BodyProblem, Dialect, FrameReader, Framing, OpenAiChat, Outgoing, Path, errors, splice};
use crate::canonical::event::AnswerFacts;
use crate::canonical::{Direct, ProviderError, Request, Shape, Takes, Writes, Yields};
use crate::catalog::capability::Quirks;

/// What sound comes as, by the beginnings of its content type.
const SOUND: [&str; 3] = ["audio/", "video/", "application/octet-stream"];

/// Embeddings, and what else is asked and answered at once.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiDirect(&'static Direct);

impl OpenAiDirect {
    /// One for each row.
    pub const ALL: [OpenAiDirect; Direct::ALL.len()] = {
        let mut all = [OpenAiDirect(&Direct::ALL[0]); Direct::ALL.len()];
        let mut place = 0;
        while place < all.len() {
            all[place] = OpenAiDirect(&Direct::ALL[place]);
            place += 1;
        }
        all
    };

    pub fn shape(self) -> Shape {
        self.0.shape
    }
}

impl Dialect for OpenAiDirect {
    fn path(&self) -> Path {
        Path::Fixed(self.0.path)
    }

    /// What an answer may be that is sound or has a form of its own is not said beforehand.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.0.answer {
            Yields::Sound | Yields::Transcript => &[("accept", "*/*")],
            Yields::List(_) => &[],
        }
    }

    fn arrives(&self, media_type: &str, streamed: bool) -> Option<Framing> {
        let sound = || SOUND.iter().any(|kind| media_type.starts_with(kind));
        match self.0.answer {
            Yields::Sound if sound() => Some(Framing::Bytes),
            _ => (streamed && media_type.starts_with(Framing::Events.media_type())).then_some(Framing::Events),
        }
    }

    /// Models that cannot tell what they hear as they hear it take no notice of the wish for a stream (OpenAI's reference of
    /// `POST /audio/transcriptions`, stored copy).
    fn may_come_whole(&self) -> bool {
        self.0.answer == Yields::Transcript
    }

    fn encode(&self, request: &Request, out: &Outgoing<'_>) -> Bytes {
        match self.0.takes {
            _ if self.0.writes == Writes::Text => splice::written(request, out),
            Takes::Sound => splice::form(request, out),
            Takes::Text | Takes::TextsOrTokens | Takes::Documents => splice::direct(request, out),
        }
    }

    fn read_typed(&self, body: &[u8], media_type: &str, quirks: Quirks) -> Result<AnswerFacts, BodyProblem> {
        match self.0.answer {
            Yields::Transcript => media::transcript(body, media_type, quirks),
            Yields::Sound => Err(media::no_sound(body, media_type)),
            Yields::List(_) => self.read_answer(body, quirks),
        }
    }

    fn read_answer(&self, body: &[u8], quirks: Quirks) -> Result<AnswerFacts, BodyProblem> {
        let list = match (self.0.answer, self.0.writes) {
            (_, Writes::Text) => return OpenAiChat.read_answer(body, quirks),
            (Yields::Transcript, _) => return media::transcript(body, "application/json", quirks),
            (Yields::Sound, _) => return Err(media::no_sound(body, "application/json")),
            (Yields::List(_), Writes::Media) => return media::images(body, quirks),
            (Yields::List(list), Writes::Nothing) => list,
        };
        let mut no_text = |_: &str| {};
        let (reading, outcome) = Reading::of(body.trim_ascii(), true, &mut no_text);
        outcome.map_err(|e| BodyProblem::Malformed(e.to_string()))?;
        let usage = reading.usage_of_input(quirks);
        if let Some(error) = reading.suspect.then(|| errors::in_good_status(body)).flatten() {
            return Err(BodyProblem::Provider { error, usage: usage.map(Box::new) });
        }
        if !reading.has_list(list) {
            return Err(BodyProblem::Malformed(format!("it has no list `{list}`")));
        }
        Ok(AnswerFacts { usage, served_model: reading.model, ..AnswerFacts::default() })
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        errors::classify(status, headers, body)
    }

    /// What is not written is not streamed; what comes as a stream all the same is refused before a frame is read.
    fn frame_reader(&self, quirks: Quirks, choices: u32) -> Box<dyn FrameReader> {
        if self.0.writes == Writes::Media {
            Box::new(MediaFrames::new(quirks))
        } else {
            Box::new(ChatFrames::new(quirks, choices))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn embeddings() -> &'static dyn Dialect {
        super::super::of(Shape::OpenAiEmbeddings)
    }

    #[test]
    fn there_is_a_dialect_for_each_row() {
        for direct in Direct::ALL {
            let dialect = super::super::of(direct.shape);
            assert!(matches!(dialect.path(), Path::Fixed(path) if path == direct.path), "{direct:?}");
        }
    }

    /// The input tokens that are booked of an answer with these members.
    fn check(members: &str, expected: Option<u64>) {
        let body = format!(
            r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[0.1]}}],"model":"m-1"{members}}}"#
        );
        let facts = embeddings().read_answer(body.as_bytes(), Quirks::default()).unwrap();
        assert_eq!(facts.usage.map(|usage| usage.input().get()), expected, "{members}");
        assert!(facts.usage.is_none_or(|usage| usage.output.get() == 0), "{members}");
        assert_eq!((facts.served_model.as_deref(), facts.text.as_str(), facts.too_long), (Some("m-1"), "", false));
    }

    #[test]
    fn usage_is_of_the_input_alone() {
        check(r#","usage":{"prompt_tokens":8,"total_tokens":8}"#, Some(8));
        check(r#","usage":{"total_tokens":8}"#, Some(8));
        check(r#","usage":{"prompt_tokens":8,"completion_tokens":0,"total_tokens":8}"#, Some(8));
        check(r#","usage":{"prompt_tokens":8,"total_tokens":10}"#, Some(8));
        check(r#","usage":{"prompt_tokens":0,"total_tokens":0}"#, None);
        check(r#","usage":null"#, None);
        check("", None);
    }

    #[test]
    fn searches_and_tokens_of_a_ranking_are_read_wherever_they_stand() {
        let check = |members: &str, expected: Option<(u64, u64)>| {
            let body = format!(r#"{{"results":[{{"index":0,"relevance_score":0.9}}]{members}}}"#);
            let facts = super::super::of(Shape::Rerank).read_answer(body.as_bytes(), Quirks::default()).unwrap();
            let found = facts.usage.map(|usage| (usage.input().get(), usage.pieces));
            assert_eq!(found, expected, "{members}");
            assert!(facts.usage.is_none_or(|usage| usage.output.get() == 0), "{members}");
        };
        check(r#","meta":{"api_version":{"version":"2"},"billed_units":{"search_units":2}}"#, Some((0, 2)));
        check(r#","meta":{"billed_units":{"search_units":1.0},"tokens":{"input_tokens":70}}"#, Some((70, 1)));
        check(
            r#","meta":{"billed_units":{"input_tokens":9,"output_tokens":0,"search_units":0},"tokens":{"input_tokens":70}}"#,
            Some((9, 0)),
        );
        check(r#","usage":{"total_tokens":815}"#, Some((815, 0)));
        check(r#","usage":{"prompt_tokens":815,"completion_tokens":0,"total_tokens":815}"#, Some((815, 0)));
        check(r#","meta":{"tokens":{"input_tokens":7,"output_tokens":1}},"usage":null"#, Some((7, 0)));
        check(r#","meta":null"#, None);
        check("", None);
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let read = |body: &str| embeddings().read_answer(body.as_bytes(), Quirks::default()).unwrap_err();
        for body in ["", "{}", r#"{"data":null}"#, r#"{"choices":[]}"#, "<html>", r#"{"data":"x"}"#] {
            assert!(matches!(read(body), BodyProblem::Malformed(_)), "{body}");
        }
        let failed = read(r#"{"error":{"message":"no","code":"rate_limit_exceeded"},"usage":{"total_tokens":3}}"#);
        let BodyProblem::Provider { error, usage } = failed else { panic!("{failed:?}") };
        assert_eq!((error.message.as_str(), usage.unwrap().input().get()), ("no", 3));
    }

    #[test]
    fn a_text_written_on_is_read_as_an_answer_with_tokens() {
        let completions = super::super::of(Shape::OpenAiCompletions);
        let body = r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"base-1","choices":[{"text":" there","index":0,"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
        let facts = completions.read_answer(body.as_bytes(), Quirks::default()).unwrap();
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input().get(), usage.output.get(), facts.text.as_str(), facts.too_long), (5, 7, " there", true));
        let frame =
            "data: {\"object\":\"text_completion\",\"choices\":[{\"text\":\"hi\",\"index\":0,\"finish_reason\":null}]}\n\n";
        let mut text = String::new();
        let facts = completions.frame_reader(Quirks::default(), 1).read(frame.as_bytes(), &mut |piece| text.push_str(piece));
        assert_eq!((text.as_str(), facts.kind), ("hi", crate::canonical::FrameKind::Content));
        assert!(matches!(completions.read_answer(br#"{"data":[]}"#, Quirks::default()), Err(BodyProblem::Malformed(_))));
    }

    proptest! {
        #[test]
        fn damage_is_survived(body in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..90) {
            let whole = br#"{"data":[{"embedding":[1,2]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#;
            let _ = embeddings().read_answer(&body, Quirks::default());
            let _ = embeddings().read_answer(&whole[..cut.min(whole.len())], Quirks::default());
        }
    }
}
