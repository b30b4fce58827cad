//! Which backends a gateway leaves alone for a while, for the others as a hint: one that a provider has told to wait, or that has
//! failed again and again, need not be found out by each of them. A hint is best effort and never more: it is believed for half a
//! minute at most, and what was only heard is not passed on.

use std::time::Duration;

use super::redis::{Words, words};
use super::resp::Reply;

const COOLING: &str = "tokenbroker:cooling";
/// The longest that a hint is believed.
pub(super) const MOST: Duration = Duration::from_secs(30);

/// What there is to say of backends, and who is told what was heard.
pub trait Hints: Send + Sync {
    /// Those that were found to be left alone here, by a name that all gateways have for them, and for how much longer.
    fn cooling(&self) -> Vec<(String, Duration)>;

    /// Another gateway leaves one alone for so much longer.
    fn heard(&self, name: &str, time: Duration);
}

/// Says what is left alone here, and asks what others leave alone; the last reply is theirs.
pub(super) fn commands(gateway: &str, cooling: &[(String, Duration)], now_ms: i64) -> Vec<Words> {
    let until = |time: &Duration| now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)).to_string();
    let said = cooling.iter().map(|(name, time)| words(["ZADD", COOLING, "GT", &until(time), &format!("{gateway}|{name}")]));
    let now = now_ms.to_string();
    let asked =
        [words(["ZREMRANGEBYSCORE", COOLING, "-inf", &now]), words(["ZRANGEBYSCORE", COOLING, &now, "+inf", "WITHSCORES"])];
    said.chain(asked).collect()
}

/// What others leave alone, for how much longer.
pub(super) fn heard(gateway: &str, reply: &Reply, now_ms: i64) -> Vec<(String, Duration)> {
    let pairs = reply.entries().as_chunks::<2>().0;
    let told = pairs.iter().filter_map(|[member, until]| {
        let (from, name) = member.text()?.split_once('|')?;
        let left = u64::try_from(until.number()?.saturating_sub(now_ms)).ok()?;
        (from != gateway).then(|| (name.to_owned(), Duration::from_millis(left).min(MOST)))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_heard_for_a_while_and_ones_own_words_are_not() {
        let text = |text: &str| Reply::Text(text.as_bytes().to_vec());
        let told = [
            ("me|chat|p/a", "5000"),
            ("you|chat|p/b", "4000"),
            ("you|messages|p/b", "900000"),
            ("you|chat|p/c", "999"),
            ("nobody", "5000"),
            ("you|chat|p/d", "soon"),
        ];
        let reply = Reply::List(told.iter().flat_map(|(member, until)| [text(member), text(until)]).collect());
        let expected = [("chat|p/b".to_owned(), Duration::from_secs(3)), ("messages|p/b".to_owned(), MOST)];
        assert_eq!(heard("me", &reply, 1_000), expected);
        assert_eq!(
            commands("me", &[("chat|p/a".into(), Duration::from_secs(2))], 1_000)[0].concat(),
            b"ZADDtokenbroker:coolingGT3000me|chat|p/a"
        );
    }
}
