//! Calls that nobody answered. Every API refuses a turn whose calls are not all answered right behind it, and clients leave such turns
//! behind: an agent that was stopped while its tools ran, a history that was cut. Where the client's words are told in others, what
//! is missing is said.

use std::collections::HashSet;

use super::conversation::{Call, Part, Role, ToolResult, Turn};

/// What stands for the answer of a tool that gave none.
const NO_RESULT: &str = "(no result)";

/// Answers the calls that have no answer, before the assistant speaks again, with one that says so. One that stands elsewhere is left
/// for the provider to judge, and so are calls at the end: their answers may be what is asked for.
pub fn answered(mut turns: Vec<Turn>) -> Vec<Turn> {
    let mut at = 0;
    while let Some(ahead) = turns.get(at..).and_then(|rest| rest.iter().position(|turn| turn.role == Role::Assistant)) {
        let begins = at + ahead;
        let behind = begins + turns[begins..].iter().take_while(|turn| turn.role == Role::Assistant).count();
        let next = behind + turns[behind..].iter().take_while(|turn| turn.role != Role::Assistant).count();
        let missing =
            if behind < turns.len() { missing(&turns[begins..behind], &turns[behind..next], &turns[next..]) } else { Vec::new() };
        at = next + usize::from(answer(&mut turns, behind, next, missing));
    }
    turns
}

/// The calls of some turns that neither those behind nor any later ones answer.
fn missing(called: &[Turn], behind: &[Turn], later: &[Turn]) -> Vec<String> {
    let answered: HashSet<&str> = behind.iter().flat_map(results).collect();
    let mut open: Vec<&str> = called.iter().flat_map(calls).filter(|id| !answered.contains(id)).collect();
    if !open.is_empty() {
        // Some sites count their ids anew with each turn, so a later answer may be that of a later call.
        let (late, again): (HashSet<&str>, HashSet<&str>) =
            (later.iter().flat_map(results).collect(), later.iter().flat_map(calls).collect());
        open.retain(|id| !late.contains(id) || again.contains(id));
    }
    open.into_iter().map(str::to_owned).collect()
}

/// Puts answers behind those that are there; whether a turn had to be made for them.
fn answer(turns: &mut Vec<Turn>, behind: usize, next: usize, missing: Vec<String>) -> bool {
    if missing.is_empty() {
        return false;
    }
    let result = |id| Part::Result(ToolResult { id, parts: vec![Part::text(NO_RESULT)], is_error: true, cached: None });
    let results = missing.into_iter().map(result);
    let user = turns[behind..next].iter().position(|turn| turn.role == Role::User);
    if let Some(user) = user {
        let parts = &mut turns[behind + user].parts;
        let place = parts.iter().rposition(|part| matches!(part, Part::Result(_))).map_or(0, |last| last + 1);
        parts.splice(place..place, results);
    } else {
        turns.insert(behind, Turn { role: Role::User, parts: results.collect() });
    }
    user.is_none()
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
}
