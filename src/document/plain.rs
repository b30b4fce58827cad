//! TOML as plain values, for lists of somebody else's making that are read leniently: what nobody asks for is no problem, and
//! an entry can be judged by itself. The strict way, where every slip is a problem with its place, is [`super::Section`].
//!
//! The same values are made of JSON (`catalog/feed/json.rs`), so one reader serves both.

use std::borrow::Cow;

use toml::de::{DeTable, DeValue};

/// How deep a document may nest.
const DEEPEST: u8 = 16;

/// A value with its numbers as their text.
#[derive(Debug, Clone, PartialEq)]
pub enum Plain<'a> {
    Nothing,
    Truth(bool),
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    List(Vec<Plain<'a>>),
    Table(Vec<(Cow<'a, str>, Plain<'a>)>),
}

impl<'a> Plain<'a> {
    /// The last member of this name, as every reader of JSON takes it; `null` is as absent.
    pub fn get(&self, name: &str) -> Option<&Plain<'a>> {
        let found = self.members().iter().rev().find(|(key, _)| key == name).map(|(_, value)| value);
        found.filter(|value| **value != Plain::Nothing)
    }

    pub fn members(&self) -> &[(Cow<'a, str>, Plain<'a>)] {
        if let Plain::Table(members) = self { members } else { &[] }
    }

    pub fn items(&self) -> &[Plain<'a>] {
        if let Plain::List(items) = self { items } else { &[] }
    }

    pub fn text(&self) -> Option<&str> {
        if let Plain::Text(text) = self { Some(text) } else { None }
    }

    pub fn truth(&self) -> Option<bool> {
        if let Plain::Truth(truth) = self { Some(*truth) } else { None }
    }

    /// The text of a number, which some lists put in quotes.
    pub fn number(&self) -> Option<&str> {
        match self {
            Plain::Number(text) | Plain::Text(text) => Some(text),
            Plain::Nothing | Plain::Truth(_) | Plain::List(_) | Plain::Table(_) => None,
        }
    }

    /// A whole TOML document. Fails with its first fault, and where that is.
    pub fn from_toml(text: &'a str) -> Result<Self, String> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if let Some(error) = errors.first() {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            return Err(format!("line {}: {}", before.matches('\n').count() + 1, error.message()));
        }
        table(root.get_ref(), 0)
    }
}

fn table<'a>(members: &DeTable<'a>, depth: u8) -> Result<Plain<'a>, String> {
    if depth > DEEPEST {
        return Err(format!("this nests deeper than {DEEPEST}"));
    }
    let member = |(name, inner): (&toml::Spanned<Cow<'a, str>>, &toml::Spanned<DeValue<'a>>)| {
        Ok((name.get_ref().clone(), value(inner.get_ref(), depth + 1)?))
    };
    members.iter().map(member).collect::<Result<_, String>>().map(Plain::Table)
}

fn value<'a>(value: &DeValue<'a>, depth: u8) -> Result<Plain<'a>, String> {
    Ok(match value {
        DeValue::String(text) => Plain::Text(text.clone()),
        DeValue::Integer(number) if number.radix() == 10 => Plain::Number(number.as_str().to_owned().into()),
        DeValue::Integer(number) => Plain::Text(number.as_str().to_owned().into()),
        DeValue::Float(number) => Plain::Number(number.as_str().to_owned().into()),
        DeValue::Boolean(truth) => Plain::Truth(*truth),
        DeValue::Datetime(instant) => Plain::Text(instant.to_string().into()),
        DeValue::Array(items) if depth < DEEPEST => {
            Plain::List(items.iter().map(|item| self::value(item.get_ref(), depth + 1)).collect::<Result<_, String>>()?)
        }
        DeValue::Array(_) => return Err(format!("this nests deeper than {DEEPEST}")),
        DeValue::Table(members) => table(members, depth)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_text_and_dates_are_texts() {
        let read = Plain::from_toml("a = 1.50e-7\nb = 1_000\nc = [2026-11-22, true]\n[[d]]\ne = 'x'\n").unwrap();
        assert_eq!(read.get("a").and_then(Plain::number), Some("1.50e-7"));
        assert_eq!(read.get("b").and_then(Plain::number), Some("1000"));
        assert_eq!(read.get("c").unwrap().items(), [Plain::Text("2026-11-22".into()), Plain::Truth(true)]);
        assert_eq!(read.get("d").unwrap().items()[0].get("e").and_then(Plain::text), Some("x"));
    }

    #[test]
    fn faults_and_depth_are_refused() {
        assert!(Plain::from_toml("a = 1\nb = = 2\n").unwrap_err().starts_with("line 2: "));
        for deep in [format!("a = {}{}", "[".repeat(40), "]".repeat(40)), format!("{}a = 1", "a.".repeat(40))] {
            assert!(Plain::from_toml(&deep).is_err(), "{deep}");
        }
        for deeper in [format!("a = {}", "[".repeat(100_000)), format!("{}a = 1", "a.".repeat(100_000))] {
            assert!(Plain::from_toml(&deeper).is_err());
        }
    }
}
