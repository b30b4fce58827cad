//! What real prompts are made of: for each of some texts its byte classes and how many tokens each tokenizer makes of it.
//! So the gateway's estimate meets a truth that it was not told. A text itself is not needed and not kept; the sample
//! that ships has none.
//!
//! One JSON object a line: `class`, `tokens` by tokenizer family, and either `text` or `profile` (its counts). Other
//! members are passed over, so the public metering set can be read as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::draw::Draws;
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::meter::estimate;

/// The sample that ships: every class of the public metering set, the counts only.
const SHIPPED: &str = include_str!("texts.jsonl");

/// How many tokenizer families there are.
pub const FAMILIES: usize = TokenizerFamily::WORDS.len();

/// Tokens by the family's discriminant.
pub type ByFamily = [u64; FAMILIES];

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    English,
    Chinese,
    Code,
    /// Tool schemas, payloads of services.
    Json,
    Mixed,
}

impl Kind {
    /// By the class of the metering set; what is not known there is mixed.
    fn of(class: &str) -> Self {
        match class {
            "en_prose" | "chat_en" => Kind::English,
            "zh_prose" | "zh_tech" | "zh_hant" | "chat_zh" => Kind::Chinese,
            "code" => Kind::Code,
            "json" => Kind::Json,
            _ => Kind::Mixed,
        }
    }
}

/// One text, as far as anybody who counts tokens can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub kind: Kind,
    pub profile: TextProfile,
    pub tokens: ByFamily,
}

impl Text {
    /// Its tokens by the first family, the yardstick of lengths.
    pub const fn length(&self) -> u64 {
        self.tokens[TokenizerFamily::O200k as usize]
    }
}

/// A text on its line.
#[derive(Debug, Deserialize)]
struct Line {
    class: String,
    text: Option<String>,
    profile: Option<[u32; 16]>,
    #[serde(default)]
    tokens: BTreeMap<String, u64>,
}

/// The same without the text: what ships.
#[derive(Debug, Serialize)]
pub struct Bare<'a> {
    pub class: &'a str,
    pub profile: [u32; 16],
    pub tokens: &'a BTreeMap<String, u64>,
}

/// Some texts, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts(Vec<Text>);

impl Texts {
    /// The sample that ships.
    pub fn shipped() -> Result<Self, String> {
        Self::parse("the built-in sample", SHIPPED)
    }

    /// Reads lines; tells the first that is wrong.
    pub fn parse(name: &str, lines: &str) -> Result<Self, String> {
        let numbered = (1..).zip(lines.lines()).filter(|(_, line)| !line.trim().is_empty());
        let texts: Vec<Text> = numbered
            .map(|(number, line)| read(line).map_err(|error| format!("{name}:{number}: {error}")))
            .collect::<Result<_, _>>()?;
        if texts.is_empty() { Err(format!("{name}: no text in it")) } else { Ok(Self(texts)) }
    }

    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// One of a kind; any where there is none of it.
    pub fn draw(&self, kind: Kind, draws: &mut Draws) -> &Text {
        let of_kind: Vec<&Text> = self.0.iter().filter(|text| text.kind == kind).collect();
        draws.pick(&of_kind).copied().or_else(|| draws.pick(&self.0)).unwrap_or(&self.0[0])
    }
}

fn read(line: &str) -> Result<Text, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let profile = profile_of(&line)?;
    let expected = |family| estimate::expected(&profile, family).get();
    let known = |family: TokenizerFamily| line.tokens.get(family.word()).copied();
    let mut tokens = [0; FAMILIES];
    for (family, _) in TokenizerFamily::WORDS {
        // Of a vendor without a public tokenizer nobody knows; it is taken for the family that it is estimated by.
        let counted_as = if family == TokenizerFamily::Unknown { TokenizerFamily::O200k } else { family };
        tokens[family as usize] = known(family).or_else(|| known(counted_as)).unwrap_or_else(|| expected(family)).max(1);
    }
    Ok(Text { kind: Kind::of(&line.class), profile, tokens })
}

fn profile_of(line: &Line) -> Result<TextProfile, String> {
    let of_text = || line.text.as_deref().map(|text| TextProfile::of_counts(TextProfile::of(text).counts()));
    let profile = line.profile.map(TextProfile::of_counts).or_else(of_text);
    profile.ok_or_else(|| "neither `text` nor `profile` (16 counts) in it".to_owned())
}

/// A line of the metering set without its text; `None` where it has none.
pub fn bare(line: &str) -> Option<String> {
    let line: Line = serde_json::from_str(line).ok()?;
    let profile = profile_of(&line).ok()?.counts();
    serde_json::to_string(&Bare { class: &line.class, profile, tokens: &line.tokens }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::draw::Seed;

    #[test]
    fn a_text_and_its_counts_are_read_alike() {
        let line = r#"{"id":"x","class":"chat_zh","text":"今天天气很好 and so on","tokens":{"o200k":8,"qwen2_3":7}}"#;
        let bare = bare(line).unwrap();
        assert!(!bare.contains("今天"), "{bare}");
        let texts = Texts::parse("t", &format!("{line}\n\n{bare}\n")).unwrap();
        assert_eq!(texts.0[0], texts.0[1]);
        let text = &texts.0[0];
        assert_eq!((text.kind, text.length()), (Kind::Chinese, 8));
        assert_eq!(text.tokens[TokenizerFamily::Qwen23 as usize], 7);
        assert_eq!(text.tokens[TokenizerFamily::Unknown as usize], 8, "estimated as o200k, so taken for it");
        assert!(text.tokens[TokenizerFamily::Llama3 as usize] > 1, "what nobody counted is estimated");
    }

    #[test]
    fn a_line_that_is_wrong_is_told_with_its_place() {
        let check = |lines: &str, told: &str| {
            let error = Texts::parse("file", lines).unwrap_err();
            assert!(error.starts_with(told), "{error}");
        };
        check("\n{\"class\":1}", "file:2: ");
        check("{\"class\":\"code\"}", "file:1: neither");
        check("", "file: no text");
    }

    #[test]
    fn the_shipped_sample_has_every_kind_and_no_text() {
        let texts = Texts::shipped().unwrap();
        assert!(!SHIPPED.contains("\"text\""));
        let mut draws = Seed::new(1).draws();
        for kind in [Kind::English, Kind::Chinese, Kind::Code, Kind::Json, Kind::Mixed] {
            assert_eq!(texts.draw(kind, &mut draws).kind, kind);
        }
        assert!(texts.count() > 100 && SHIPPED.len() < 100_000, "{} {}", texts.count(), SHIPPED.len());
    }

    #[test]
    fn where_a_kind_is_missing_another_text_serves() {
        let texts = Texts::parse("t", r#"{"class":"code","text":"let x = 1;"}"#).unwrap();
        assert_eq!(texts.draw(Kind::Chinese, &mut Seed::new(1).draws()).kind, Kind::Code);
    }
}
