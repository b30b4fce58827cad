//! Calls that nobody answered. Every API refuses a turn whose calls are not all answered right behind it, and clients leave such turns
//! behind: an agent that was stopped while its tools ran, a history that was cut. Where the client's words are told in others, what
//! is missing is said.

use std::collections::{HashMap, HashSet};

use super::conversation::{Call, Part, Role, ToolResult, Turn};

/// What stands for the answer of a tool that gave none.
const NO_RESULT: &str = "(no result)";

/// Answers the calls that have no answer, before the assistant speaks again, with one that says so. One that stands elsewhere is left
/// for the provider to judge, and so are calls at the end: their answers may be what is asked for.
pub fn answered(mut turns: Vec<Turn>) -> Vec<Turn> {
    let mut made = Vec::new();
    for gap in gaps(&turns) {
        made.extend(answer(&mut turns, gap));
    }
    if made.is_empty() {
        return turns;
    }
    // Put in all at once: each by itself would move all behind it.
    let mut out = Vec::with_capacity(turns.len() + made.len());
    let mut made = made.into_iter().peekable();
    for (at, turn) in turns.into_iter().enumerate() {
        out.extend(made.next_if(|(behind, _)| *behind == at).map(|(_, turn)| turn));
        out.push(turn);
    }
    out
}

/// Calls without answers, and the turns from the one behind them to the assistant's next.
struct Gap {
    missing: Vec<String>,
    behind: usize,
    next: usize,
}

/// All of a conversation, in their order.
fn gaps(turns: &[Turn]) -> Vec<Gap> {
    let (mut gaps, mut lasts, mut at) = (Vec::new(), None, 0);
    while let Some(ahead) = turns[at..].iter().position(|turn| turn.role == Role::Assistant) {
        let begins = at + ahead;
        let behind = begins + turns[begins..].iter().take_while(|turn| turn.role == Role::Assistant).count();
        let next = behind + turns[behind..].iter().take_while(|turn| turn.role != Role::Assistant).count();
        at = next;
        if behind == turns.len() {
            break;
        }
        let answered: HashSet<&str> = turns[behind..next].iter().flat_map(results).collect();
        let mut open: Vec<&str> = turns[begins..behind].iter().flat_map(calls).filter(|id| !answered.contains(id)).collect();
        if !open.is_empty() {
            let lasts = lasts.get_or_insert_with(|| Lasts::of(turns));
            open.retain(|id| !lasts.is_answered_from(next, id));
        }
        if !open.is_empty() {
            gaps.push(Gap { missing: open.into_iter().map(str::to_owned).collect(), behind, next });
        }
    }
    gaps
}

/// The last turns that have a result or a call of an id. Read once for all turns: to look through all that are later for each one
/// takes minutes for a conversation that is made so.
struct Lasts<'t> {
    results: HashMap<&'t str, usize>,
    calls: HashMap<&'t str, usize>,
}

impl<'t> Lasts<'t> {
    fn of(turns: &'t [Turn]) -> Self {
        let numbered = || turns.iter().enumerate();
        Self {
            results: numbered().flat_map(|(at, turn)| results(turn).map(move |id| (id, at))).collect(),
            calls: numbered().flat_map(|(at, turn)| calls(turn).map(move |id| (id, at))).collect(),
        }
    }

    /// Whether a call is answered by one of the turns from some on. Some sites count their ids anew with each turn, so a later answer
    /// may be that of a later call.
    fn is_answered_from(&self, next: usize, id: &str) -> bool {
        let is_later = |lasts: &HashMap<&str, usize>| lasts.get(id).is_some_and(|last| *last >= next);
        is_later(&self.results) && !is_later(&self.calls)
    }
}

/// Puts answers behind those that are there; the turn that has to be made for them where nobody spoke, and its place.
fn answer(turns: &mut [Turn], gap: Gap) -> Option<(usize, Turn)> {
    let Gap { missing, behind, next } = gap;
    let result = |id| Part::Result(ToolResult { id, parts: vec![Part::text(NO_RESULT)], is_error: true, cached: None });
    let results = missing.into_iter().map(result);
    let Some(user) = turns[behind..next].iter_mut().find(|turn| turn.role == Role::User) else {
        return Some((behind, Turn { role: Role::User, parts: results.collect() }));
    };
    let place = user.parts.iter().rposition(|part| matches!(part, Part::Result(_))).map_or(0, |last| last + 1);
    user.parts.splice(place..place, results);
    None
}

fn calls(turn: &Turn) -> impl Iterator<Item = &str> {
    turn.parts.iter().filter_map(|part| if let Part::Call(Call { id, .. }) = part { Some(id.as_str()) } else { None })
}

fn results(turn: &Turn) -> impl Iterator<Item = &str> {
    turn.parts.iter().filter_map(|part| if let Part::Result(ToolResult { id, .. }) = part { Some(id.as_str()) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A turn in a line: who speaks, then `text`, `+call` and `-result`; a result that says nothing was given is `!result`.
    fn turn(line: &str) -> Turn {
        let mut words = line.split(' ');
        let role = match words.next() {
            Some("user") => Role::User,
            Some("model") => Role::Assistant,
            _ => Role::System,
        };
        let result = |id: &str, text: &str, is_error| {
            Part::Result(ToolResult { id: id.into(), parts: vec![Part::text(text)], is_error, cached: None })
        };
        let part = |word: &str| match word.split_at(1) {
            ("+", id) => Part::Call(Call { id: id.into(), name: "f".into(), arguments: "{}".into(), seal: None, cached: None }),
            ("-", id) => result(id, "4", false),
            ("!", id) => result(id, "(no result)", true),
            _ => Part::text(word),
        };
        Turn { role, parts: words.map(part).collect() }
    }

    #[track_caller]
    fn check(turns: &[&str], expected: &[&str]) {
        let turns = answered(turns.iter().map(|line| turn(line)).collect());
        assert_eq!(turns, expected.iter().map(|line| turn(line)).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_missing_is_said_behind_what_is_there() {
        check(&["user hi", "model +a +b", "user -a go"], &["user hi", "model +a +b", "user -a !b go"]);
        check(&["model +a", "user go", "model ok", "user -z"], &["model +a", "user !a go", "model ok", "user -z"]);
        check(&["model +a", "model +b", "user -b"], &["model +a", "model +b", "user -b !a"]);
        check(&["model +a", "system now", "user go"], &["model +a", "system now", "user !a go"]);
        check(&["model +a", "system now", "model ok", "user go"], &["model +a", "user !a", "system now", "model ok", "user go"]);
    }

    #[test]
    fn what_is_answered_stays_as_it_is() {
        for turns in [
            &["user hi", "model +a +b", "user -b", "user -a", "model +a", "user -a"][..],
            &["user hi", "model text", "user go"],
            // Nobody has answered yet.
            &["user hi", "model +a"],
            // Out of its place, which is for the provider to judge.
            &["model +a", "user go", "model ok", "user -a"],
        ] {
            check(turns, turns);
        }
        // The second call by this id is answered, and the first one not.
        check(&["model +a", "user go", "model +a", "user -a"], &["model +a", "user !a go", "model +a", "user -a"]);
    }

    /// Minutes, where all later turns are looked through for each call, or are moved for each answer.
    #[test]
    fn many_calls_that_nobody_answered_are_answered_in_one_go() {
        let groups = 80_000;
        for (behind, expected) in [("user x", 2 * groups + 1), ("system x", 3 * groups + 1)] {
            let turns = (0..groups).flat_map(|at| [turn(&format!("model +a{at}")), turn(behind)]);
            let turns = answered(turns.chain([turn("model ok")]).collect());
            assert!(turns.iter().flat_map(results).eq((0..groups).map(|at| format!("a{at}"))));
            assert_eq!(turns.len(), expected);
        }
    }

    /// The ids of the calls that are to be answered, with each looked for in all that comes later.
    fn by_the_rule(turns: &[Turn]) -> Vec<&str> {
        let speaks = |turn: &Turn| turn.role == Role::Assistant;
        let is_open = |at: usize, id: &str| {
            let behind = turns[at..].iter().position(|turn| !speaks(turn)).map(|behind| at + behind);
            let next = behind.map(|behind| turns[behind..].iter().position(speaks).map_or(turns.len(), |next| behind + next));
            let has = |turns: &[Turn]| turns.iter().flat_map(results).any(|result| result == id);
            behind.zip(next).is_some_and(|(behind, next)| {
                let again = turns[next..].iter().flat_map(calls).any(|call| call == id);
                !has(&turns[behind..next]) && (!has(&turns[next..]) || again)
            })
        };
        let said = turns.iter().enumerate().filter(|(_, turn)| speaks(turn));
        said.flat_map(|(at, turn)| calls(turn).filter(move |id| is_open(at, id)).collect::<Vec<_>>()).collect()
    }

    proptest::proptest! {
        #[test]
        fn what_has_no_answer_is_answered_and_nothing_else_changes(
            lines in proptest::collection::vec("(user|system|model)( [-][abc]){0,2}( go)?|model( [+][abc]){1,3}", 0..12),
        ) {
            let before: Vec<Turn> = lines.iter().map(|line| turn(line)).collect();
            let mut after = answered(before.clone());
            let is_ours = |part: &Part| matches!(part, Part::Result(result) if result.is_error);
            let parts = after.iter().flat_map(|turn| turn.parts.iter().filter(|part| is_ours(part)).cloned()).collect();
            let ours = Turn { role: Role::User, parts };
            proptest::prop_assert_eq!(results(&ours).collect::<Vec<_>>(), by_the_rule(&before));
            after.retain_mut(|turn| {
                let were = turn.parts.len();
                turn.parts.retain(|part| !is_ours(part));
                turn.parts.len() == were || !turn.parts.is_empty()
            });
            let kept = |turns: &[Turn]| turns.iter().filter(|turn| !turn.parts.is_empty()).cloned().collect::<Vec<_>>();
            proptest::prop_assert_eq!(kept(&after), kept(&before));
        }
    }
}
