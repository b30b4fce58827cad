//! The words of Redis (RESP2): a command as bytes, bytes as a reply. By our own hand, because a dozen commands are needed and the
//! well-kept crate for it brings twenty-three others with it (tables of Unicode for host names among them).
//!
//! The decoder is total: any bytes are a reply, the beginning of one, or refused; a reply is bounded in size and depth.

use std::str;

/// No text in a reply is longer,
const MOST_TEXT: usize = 1 << 20;
/// no list has more entries,
const MOST_ENTRIES: usize = 1 << 16;
/// none stands deeper in another,
const MOST_DEPTH: usize = 4;
/// and no line is longer.
const MOST_LINE: usize = 4_096;

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(String),
    Error(String),
    Integer(i64),
    Text(Vec<u8>),
    List(Vec<Reply>),
    Nothing,
}

/// Bytes that are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was answered is not the protocol of Redis")]
pub struct Malformed;

impl Reply {
    /// The text or status, where it is one of UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => str::from_utf8(bytes).ok(),
            Self::Status(text) => Some(text),
            Self::Error(_) | Self::Integer(_) | Self::List(_) | Self::Nothing => None,
        }
    }

    /// The number, also where it is written as a text.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            other => other.text()?.parse().ok(),
        }
    }

    /// The entries of a list; none of anything else.
    pub fn entries(&self) -> &[Reply] {
        if let Self::List(entries) = self { entries } else { &[] }
    }
}

/// Adds a command to what is sent.
pub fn encode<A: AsRef<[u8]>>(words: &[A], into: &mut Vec<u8>) {
    into.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        let word = word.as_ref();
        into.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        into.extend_from_slice(word);
        into.extend_from_slice(b"\r\n");
    }
}

/// The first reply of some bytes and how many of them it takes; `None` where more must come.
pub fn decode(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let mut at = 0;
    Ok(reply(bytes, &mut at, 0)?.map(|reply| (reply, at)))
}

fn reply(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Reply>, Malformed> {
    let Some(line) = line(bytes, at)? else { return Ok(None) };
    let (kind, rest) = line.split_first().ok_or(Malformed)?;
    let text = || str::from_utf8(rest).map(str::to_owned).map_err(|_| Malformed);
    match kind {
        b'+' => Ok(Some(Reply::Status(text()?))),
        b'-' => Ok(Some(Reply::Error(text()?))),
        b':' => Ok(Some(Reply::Integer(number(rest)?))),
        b'$' => match length(rest, MOST_TEXT)? {
            None => Ok(Some(Reply::Nothing)),
            Some(length) => Ok(body(bytes, at, length)?.map(|body| Reply::Text(body.to_vec()))),
        },
        b'*' => match length(rest, MOST_ENTRIES)? {
            None => Ok(Some(Reply::Nothing)),
            Some(_) if depth >= MOST_DEPTH => Err(Malformed),
            Some(length) => {
                let mut entries = Vec::new();
                for _ in 0..length {
                    let Some(entry) = reply(bytes, at, depth + 1)? else { return Ok(None) };
                    entries.push(entry);
                }
                Ok(Some(Reply::List(entries)))
            }
        },
        _ => Err(Malformed),
    }
}

fn line<'b>(bytes: &'b [u8], at: &mut usize) -> Result<Option<&'b [u8]>, Malformed> {
    let rest = bytes.get(*at..).unwrap_or_default();
    match memchr::memchr(b'\r', &rest[..rest.len().min(MOST_LINE)]) {
        Some(end) => match rest.get(end + 1) {
            Some(b'\n') => {
                *at += end + 2;
                Ok(Some(&rest[..end]))
            }
            Some(_) => Err(Malformed),
            None => Ok(None),
        },
        None if rest.len() >= MOST_LINE => Err(Malformed),
        None => Ok(None),
    }
}

fn body<'b>(bytes: &'b [u8], at: &mut usize, length: usize) -> Result<Option<&'b [u8]>, Malformed> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let Some(with_end) = rest.get(..length + 2) else { return Ok(None) };
    let (body, end) = with_end.split_at(length);
    if end != b"\r\n" {
        return Err(Malformed);
    }
    *at += length + 2;
    Ok(Some(body))
}

fn number(text: &[u8]) -> Result<i64, Malformed> {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

/// `None` for -1, which is what stands for nothing.
fn length(text: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    match number(text)? {
        -1 => Ok(None),
        length => usize::try_from(length).ok().filter(|length| *length <= most).map(Some).ok_or(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &str, expected: Reply) {
        let told = decode(bytes.as_bytes());
        let all = told.as_ref().ok().and_then(Option::as_ref).is_none_or(|(_, taken)| *taken == bytes.len());
        assert!(all, "{bytes:?}: {told:?}");
        assert_eq!(told.map(|told| told.map(|(reply, _)| reply)), Ok(Some(expected)), "{bytes:?}");
    }

    #[test]
    fn replies_are_read_or_refused() {
        check("+OK\r\n", Reply::Status("OK".into()));
        check("-ERR no\r\n", Reply::Error("ERR no".into()));
        check(":-7\r\n", Reply::Integer(-7));
        check("$3\r\na\r\n\r\n", Reply::Text(b"a\r\n".to_vec()));
        check("$-1\r\n", Reply::Nothing);
        check("*-1\r\n", Reply::Nothing);
        let list = vec![Reply::Integer(1), Reply::List(vec![Reply::Text(b"x".to_vec())])];
        check("*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", Reply::List(list));
        for wrong in
            ["x\r\n", "\r\n", ":1x\r\n", "$-2\r\n", "$9999999\r\n", "$1\r\nabc\r\n", "+a\rb", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"]
        {
            assert_eq!(decode(wrong.as_bytes()), Err(Malformed), "{wrong:?}");
        }
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            "[ -~]{0,20}".prop_map(Reply::Status),
            "[ -~]{0,20}".prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Integer),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Reply::Text),
            Just(Reply::Nothing),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| prop::collection::vec(inner, 0..5).prop_map(Reply::List))
    }

    fn write(reply: &Reply, into: &mut Vec<u8>) {
        match reply {
            Reply::Status(text) => into.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Reply::Error(text) => into.extend_from_slice(format!("-{text}\r\n").as_bytes()),
            Reply::Integer(number) => into.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Reply::Text(text) => {
                into.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
                into.extend_from_slice(text);
                into.extend_from_slice(b"\r\n");
            }
            Reply::List(entries) => {
                into.extend_from_slice(format!("*{}\r\n", entries.len()).as_bytes());
                for entry in entries {
                    write(entry, into);
                }
            }
            Reply::Nothing => into.extend_from_slice(b"$-1\r\n"),
        }
    }

    proptest! {
        #[test]
        fn any_reply_is_read_whole_and_its_beginnings_wait(reply in replies()) {
            let mut bytes = Vec::new();
            write(&reply, &mut bytes);
            for end in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..end]), Ok(None));
            }
            let taken = bytes.len();
            bytes.extend_from_slice(b"+next");
            prop_assert_eq!(decode(&bytes), Ok(Some((reply, taken))));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, taken))) = decode(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
        }

        #[test]
        fn a_command_is_a_list_of_texts(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6)) {
            let mut bytes = Vec::new();
            encode(&words, &mut bytes);
            let expected = Reply::List(words.into_iter().map(Reply::Text).collect());
            prop_assert_eq!(decode(&bytes), Ok(Some((expected, bytes.len()))));
        }
    }
}
