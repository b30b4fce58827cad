//! What the pretend models say: seeded sentences without meaning, in English or Chinese, that begin with `[sandbox]`.

use super::dice::Dice;
use super::tokens;

/// What every text of the sandbox begins with.
pub(super) const LABEL: &str = "[sandbox]";

/// How much of a tool's result an answer quotes, in characters.
const QUOTED: usize = 200;

const OPENINGS: [&str; 5] = [
    " This answer is pretend.",
    " No model has thought about this.",
    " A pretend provider replies.",
    " These words come from a seeded generator.",
    " Nothing here is advice.",
];
const SUBJECTS: [&str; 8] =
    ["The river", "A lantern", "The second ledger", "An old bridge", "The market", "A quiet engine", "The harbour", "This map"];
const VERBS: [&str; 8] = ["follows", "counts", "carries", "remembers", "crosses", "weighs", "repairs", "outlasts"];
const OBJECTS: [&str; 8] =
    ["the tide", "every coin", "seven boats", "the morning", "a longer road", "its own echo", "the winter", "the scale"];

const OPENINGS_ZH: [&str; 4] =
    [" 这是沙盒里的虚构回答。", " 没有真实的模型参与。", " 以下文字由种子生成。", " 此处内容不构成建议。"];
const SUBJECTS_ZH: [&str; 6] = ["江水", "灯笼", "旧桥", "集市", "港口", "这张地图"];
const VERBS_ZH: [&str; 6] = ["记得", "越过", "称量", "守着", "数着", "带走"];
const OBJECTS_ZH: [&str; 6] = ["潮声", "每一枚铜钱", "七条小船", "清晨", "更长的路", "冬天"];

/// The language an answer is given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    English,
    Chinese,
}

impl Tongue {
    /// Chinese where at least one character in eight is Han.
    pub(super) fn of(text: &str) -> Self {
        let (mut all, mut han) = (0_usize, 0_usize);
        for character in text.chars().take(4_000) {
            all += 1;
            han += usize::from(('\u{4e00}'..='\u{9fff}').contains(&character));
        }
        if han * 8 >= all && han > 0 { Tongue::Chinese } else { Tongue::English }
    }
}

/// An answer of about `wanted` tokens, ended at a sentence. It begins with what tools have answered, where they have, so
/// that whoever runs an agent's loop sees that their results arrived.
pub(super) fn answer(tongue: Tongue, results: &[String], wanted: u64, dice: &mut Dice) -> String {
    let mut text = String::from(LABEL);
    for result in results {
        text.push_str(match tongue {
            Tongue::English => " A tool said: ",
            Tongue::Chinese => " 工具说：",
        });
        text.extend(result.chars().take(QUOTED));
        text.push('.');
    }
    text.push_str(match tongue {
        Tongue::English => dice.pick(&OPENINGS),
        Tongue::Chinese => dice.pick(&OPENINGS_ZH),
    });
    ramble(text, tongue, wanted, dice)
}

/// A pretend train of thought of about `wanted` tokens.
pub(super) fn thought(tongue: Tongue, wanted: u64, dice: &mut Dice) -> String {
    let opening = match tongue {
        Tongue::English => " Pretending to think.",
        Tongue::Chinese => " 假装在思考。",
    };
    ramble(format!("{LABEL}{opening}"), tongue, wanted, dice)
}

/// Two words for a free text inside generated JSON.
pub(super) fn phrase(dice: &mut Dice) -> String {
    format!("{LABEL} {}", dice.pick(&OBJECTS))
}

fn ramble(mut text: String, tongue: Tongue, wanted: u64, dice: &mut Dice) -> String {
    let mut counted = tokens::count(&text);
    while counted < wanted {
        let sentence = sentence(tongue, dice);
        counted += tokens::count(&sentence);
        text.push_str(&sentence);
    }
    text
}

fn sentence(tongue: Tongue, dice: &mut Dice) -> String {
    match tongue {
        Tongue::English => format!(" {} {} {}.", dice.pick(&SUBJECTS), dice.pick(&VERBS), dice.pick(&OBJECTS)),
        Tongue::Chinese => format!("{}{}{}。", dice.pick(&SUBJECTS_ZH), dice.pick(&VERBS_ZH), dice.pick(&OBJECTS_ZH)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_labelled_seeded_and_long_enough() {
        for tongue in [Tongue::English, Tongue::Chinese] {
            let text = answer(tongue, &[], 200, &mut Dice::new(5));
            assert!(text.starts_with(LABEL), "{text}");
            assert!((200..230).contains(&tokens::count(&text)), "{}", tokens::count(&text));
            assert_eq!(text, answer(tongue, &[], 200, &mut Dice::new(5)));
            assert_ne!(text, answer(tongue, &[], 200, &mut Dice::new(6)));
            assert_eq!(Tongue::of(&text), tongue);
        }
    }

    #[test]
    fn the_language_follows_the_prompt() {
        assert_eq!(Tongue::of("用中文写一首关于 Rust 的诗"), Tongue::Chinese);
        assert_eq!(Tongue::of("What does 你 mean, and how is it used in a sentence?"), Tongue::English);
        assert_eq!(Tongue::of(""), Tongue::English);
    }
}
