//! A schema as an API takes it that holds its model to one by a grammar: Anthropic's Messages and Bedrock's Converse. There objects
//! are closed and what bounds numbers, lengths and lists is refused (platform.claude.com, "Structured outputs", JSON schema
//! limitations, 2026-11).
//!
//! What is left out is said in a description, so that the model knows of it; that an answer keeps to it is checked by whoever gets
//! one. Members keep their order, for models answer in it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::conversation::Json;

/// Words that are taken as they stand.
const KEPT: [&str; 7] = ["type", "title", "const", "required", "default", "$schema", "$id"];
/// Said of no answer, so nothing is lost without them.
const REMARKS: [&str; 4] = ["$comment", "readOnly", "writeOnly", "deprecated"];
/// What a text may be held to.
const FORMATS: [&str; 10] = ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];
/// Of patterns, what no grammar knows: what looks around, refers back, or asks for the border of a word.
const BEYOND_GRAMMAR: [&str; 4] = ["(?", "\\\\b", "\\\\B", "\\\\1"];
/// Deeper ones are not told.
const MOST_DEPTH: usize = 32;
/// Where more schemas have names, none is told: no grammar takes so many.
const MOST_NAMED: usize = 1_000;

/// How a schema can be told where objects are closed and nothing is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// As it is.
    AsItIs,
    /// So, and what is lacking is to be checked.
    Told(Json),
    /// Not at all: it refers to itself, names too many schemas, has objects whose members have no names, or asks
    /// for several at once.
    No,
}

/// How a schema can be told there.
pub fn closed(schema: &str) -> Closed {
    let Ok(top) = serde_json::from_str::<Members<'_>>(schema) else { return Closed::No };
    if !top.is_object() || top.refers_to_itself() {
        return Closed::No;
    }
    let mut telling = Telling { no_objects: top.no_objects(), changed: false };
    match told(&top, &mut telling, 0).and_then(|told| Json::parse(told.text)) {
        None => Closed::No,
        Some(_) if !telling.changed => Closed::AsItIs,
        Some(told) => Closed::Told(told),
    }
}

/// What is known while a schema is told.
struct Telling {
    /// References, as they are written, to what is certainly no object.
    no_objects: HashSet<String>,
    /// Whether it is told otherwise than it stands.
    changed: bool,
}

/// A schema as it is told.
struct Told {
    text: String,
    /// How many closed objects a value has to keep to at once: one or none.
    objects: usize,
}

/// `None` where it cannot be told.
fn told(schema: &Members<'_>, telling: &mut Telling, depth: usize) -> Option<Told> {
    if depth > MOST_DEPTH {
        return None;
    }
    let (mut out, mut lost, mut description) = (Vec::new(), Vec::new(), None);
    let mut objects = usize::from(schema.is_object());
    for (word, value) in &schema.0 {
        let text = value.get();
        match &**word {
            "properties" | "$defs" | "definitions" => out.push(member(word, &each(value, telling, depth)?)),
            "items" => out.push(member(word, &told(&Members::of(value)?, telling, depth + 1)?.text)),
            "allOf" => {
                let (text, among) = all(value, telling, depth)?;
                objects += among.into_iter().sum::<usize>();
                out.push(member(word, &text));
            }
            // One that fits is what either asks for; that no other fits is checked.
            "anyOf" | "oneOf" if word == "anyOf" || schema.get("anyOf").is_none() => {
                telling.changed |= word == "oneOf";
                let (text, among) = all(value, telling, depth)?;
                objects += among.into_iter().max().unwrap_or_default();
                out.push(member("anyOf", &text));
            }
            "$ref" if text.starts_with("\"#/$defs/") || text.starts_with("\"#/definitions/") => {
                objects += usize::from(!telling.no_objects.contains(text));
                out.push(member(word, text));
            }
            "oneOf" | "$ref" | "patternProperties" | "prefixItems" => return None,
            "additionalProperties" => {}
            "description" => description = serde_json::from_str::<Cow<'_, str>>(text).ok(),
            "enum" if is_plain(value) => out.push(member(word, text)),
            "format" if FORMATS.iter().any(|format| text.trim_matches('"') == *format) => out.push(member(word, text)),
            "pattern" if BEYOND_GRAMMAR.iter().all(|beyond| !text.contains(beyond)) => out.push(member(word, text)),
            "minItems" if matches!(text, "0" | "1") => out.push(member(word, text)),
            word if KEPT.contains(&word) => out.push(member(word, text)),
            word if REMARKS.contains(&word) => telling.changed = true,
            word => lost.push(member(word, text)),
        }
    }
    // Closed each by itself, they leave no value: what is a member of one is none of another.
    if objects > 1 {
        return None;
    }
    if schema.is_object() {
        telling.changed |= schema.closes()?;
        out.push("\"additionalProperties\":false".to_owned());
    }
    let described = [description.map(Cow::into_owned), (!lost.is_empty()).then(|| format!("{{{}}}", lost.join(",")))];
    telling.changed |= !lost.is_empty();
    let described: Vec<String> = described.into_iter().flatten().collect();
    if !described.is_empty() {
        out.push(member("description", &serde_json::Value::from(described.join(" ")).to_string()));
    }
    Some(Told { text: format!("{{{}}}", out.join(",")), objects })
}

fn member(word: &str, value: &str) -> String {
    format!("{}:{value}", serde_json::Value::from(word))
}

/// Schemas by their names.
fn each(value: &RawValue, telling: &mut Telling, depth: usize) -> Option<String> {
    let named = Members::of(value)?;
    let mut one = |schema: &RawValue| told(&Members::of(schema)?, telling, depth + 1);
    let all: Option<Vec<String>> = named.0.iter().map(|(name, schema)| Some(member(name, &one(schema)?.text))).collect();
    Some(format!("{{{}}}", all?.join(",")))
}

/// Schemas in a list, and how many objects each of them has.
fn all(value: &RawValue, telling: &mut Telling, depth: usize) -> Option<(String, Vec<usize>)> {
    let list: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
    let all: Option<Vec<Told>> = list.into_iter().map(|schema| told(&Members::of(schema)?, telling, depth + 1)).collect();
    let (texts, objects): (Vec<String>, _) = all?.into_iter().map(|told| (told.text, told.objects)).unzip();
    Some((format!("[{}]", texts.join(",")), objects))
}

/// Whether a list has nothing but texts, numbers and the like.
fn is_plain(list: &RawValue) -> bool {
    let list: Result<Vec<&RawValue>, _> = serde_json::from_str(list.get());
    list.is_ok_and(|list| list.iter().all(|value| !value.get().starts_with(['{', '['])))
}

/// The members of an object in their order, unread.
struct Members<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'b> Members<'b> {
    /// What is no object (`true` is a schema too) cannot be told.
    fn of(value: &'b RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    fn get(&self, wanted: &str) -> Option<&'b RawValue> {
        self.0.iter().find(|(word, _)| word == wanted).map(|(_, value)| *value)
    }

    fn is_object(&self) -> bool {
        self.get("type").is_some_and(|kind| kind.get().contains("\"object\"")) || self.get("properties").is_some()
    }

    /// Whether an object has to be closed that is not; `None` where that would leave it without the members that it is for.
    fn closes(&self) -> Option<bool> {
        let has_members = self.get("properties").and_then(Self::of).is_some_and(|members| !members.0.is_empty());
        match self.get("additionalProperties").map(RawValue::get) {
            Some("false") => Some(false),
            Some("true") | None if has_members => Some(true),
            Some(_) | None => None,
        }
    }

    /// The references to schemas that have a type which is none of objects.
    fn no_objects(&self) -> HashSet<String> {
        let tables = ["$defs", "definitions"].into_iter().filter_map(|table| Some((table, self.get(table).and_then(Self::of)?)));
        let named = tables.flat_map(|(table, named)| named.0.into_iter().map(move |(name, schema)| (table, name, schema)));
        let is_none = |schema: &Members<'_>| schema.get("type").is_some() && !schema.is_object();
        let no_objects = named.filter(|(_, _, schema)| Self::of(schema).is_some_and(|schema| is_none(&schema)));
        no_objects.map(|(table, name, _)| format!("\"#/{table}/{name}\"")).collect()
    }

    /// Whether one of the schemas that are referred to leads to itself, or there are too many to tell.
    fn refers_to_itself(&self) -> bool {
        let tables = ["$defs", "definitions"].into_iter().filter_map(|table| self.get(table).and_then(Self::of));
        let all: Vec<_> = tables.flat_map(|table| table.0).collect();
        if all.len() > MOST_NAMED {
            return true;
        }
        let mut named: HashMap<String, Vec<String>> = HashMap::new();
        for (name, schema) in all {
            named.entry(name.into_owned()).or_default().extend(references(schema.get()));
        }
        leads_back(&named)
    }
}

/// Whether one of the names leads to itself by those that each refers to. Each is gone through once, and not by recursion: how far
/// they lead is up to the client.
fn leads_back(named: &HashMap<String, Vec<String>>) -> bool {
    // By the names that were come by: whether the way leads through them still.
    let mut on_the_way: HashMap<&str, bool> = HashMap::new();
    for (start, to) in named {
        if on_the_way.contains_key(start.as_str()) {
            continue;
        }
        on_the_way.insert(start, true);
        let mut way = vec![(start, to.iter())];
        while let Some((at, to)) = way.last_mut() {
            let Some(next) = to.next() else {
                on_the_way.insert(at, false);
                way.pop();
                continue;
            };
            match (on_the_way.get(next.as_str()), named.get_key_value(next)) {
                (Some(true), _) => return true,
                (None, Some((next, to))) => {
                    on_the_way.insert(next, true);
                    way.push((next, to.iter()));
                }
                (Some(false), _) | (None, None) => {}
            }
        }
    }
    false
}

/// The last names of all references in a schema.
fn references(schema: &str) -> Vec<String> {
    fn within(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                let to = members.get("$ref").and_then(serde_json::Value::as_str).and_then(|to| to.rsplit('/').next());
                found.extend(to.map(str::to_owned));
                members.values().for_each(|value| within(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|value| within(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    within(&serde_json::from_str(schema).unwrap_or_default(), &mut found);
    found
}

impl<'de: 'b, 'b> Deserialize<'de> for Members<'b> {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<Self, D::Error> {
        object.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
        let mut all = Vec::new();
        while let Some((name, value)) = members.next_entry::<&RawValue, &RawValue>()? {
            let name: Cow<'de, str> = match serde_json::from_str::<&'de str>(name.get()) {
                Ok(plain) => Cow::Borrowed(plain),
                Err(_) => Cow::Owned(serde_json::from_str(name.get()).map_err(serde::de::Error::custom)?),
            };
            all.push((name, value));
        }
        Ok(Members(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expected: &str) {
        let told = match closed(schema) {
            Closed::AsItIs => "as it is".to_owned(),
            Closed::No => "no".to_owned(),
            Closed::Told(told) => told.get().to_owned(),
        };
        assert_eq!(told, expected, "{schema}");
    }

    /// An object with one member, which is required.
    fn with(member: &str) -> String {
        format!(r#"{{"type":"object","properties":{{"a":{member}}},"required":["a"],"additionalProperties":false}}"#)
    }

    #[test]
    fn what_keeps_to_the_rules_is_told_as_it_is() {
        for member in [
            r#"{"type":"string","description":"d","enum":["x"]}"#,
            r#"{"anyOf":[{"type":"null"},{"type":"number"}]}"#,
            r#"{"type":"array","minItems":1,"items":{"type":"string","format":"date","pattern":"^[0-9]+$"}}"#,
        ] {
            check(&with(member), "as it is");
        }
        check(
            r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"type":"string"}},"additionalProperties":false}"##,
            "as it is",
        );
    }

    #[test]
    fn bounds_are_said_and_objects_closed_with_their_members_in_order() {
        check(
            r#"{"type":"object","properties":{"z":{"type":"integer","minimum":1,"maximum":5},"a":{"description":"Of it.","type":"string","minLength":2}},"required":["z"]}"#,
            r#"{"type":"object","properties":{"z":{"type":"integer","description":"{\"minimum\":1,\"maximum\":5}"},"a":{"type":"string","description":"Of it. {\"minLength\":2}"}},"required":["z"],"additionalProperties":false}"#,
        );
        check(
            &with(r#"{"oneOf":[{"type":"null"},{"type":"array","minItems":2,"items":{"type":"string","format":"color"}}]}"#),
            &with(
                r#"{"anyOf":[{"type":"null"},{"type":"array","items":{"type":"string","description":"{\"format\":\"color\"}"},"description":"{\"minItems\":2}"}]}"#,
            ),
        );
        check(
            &with(r#"{"type":"string","pattern":"^(?=a)"}"#),
            &with(r#"{"type":"string","description":"{\"pattern\":\"^(?=a)\"}"}"#),
        );
        check(
            r#"{"type":"object","properties":{"a":{"type":"null"}},"additionalProperties":true}"#,
            r#"{"type":"object","properties":{"a":{"type":"null"}},"additionalProperties":false}"#,
        );
    }

    #[test]
    fn what_has_no_end_or_no_names_cannot_be_told() {
        for schema in [
            r##"{"type":"object","properties":{"a":{"$ref":"#"}}}"##,
            r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"type":"array","items":{"$ref":"#/$defs/c"}},"c":{"anyOf":[{"$ref":"#/$defs/b"}]}}}"##,
            r#"{"type":"object","properties":{"a":{"$ref":"https://example.com/a.json"}}}"#,
            r#"{"type":"object","additionalProperties":{"type":"integer"}}"#,
            r#"{"type":"object"}"#,
            r#"{"type":"object","properties":{"a":true}}"#,
            r#"{"type":"object","patternProperties":{"^a":{"type":"string"}}}"#,
            r#"{"type":"array","items":{"type":"string"}}"#,
            "[]",
            "{",
        ] {
            check(schema, "no");
        }
        let deep = (0..MOST_DEPTH + 9)
            .fold(r#"{"type":"string"}"#.to_owned(), |inner, _| format!(r#"{{"type":"array","items":{inner}}}"#));
        check(&with(&deep), "no");
    }

    /// Each would be closed by itself, and no answer could have the members of both.
    #[test]
    fn several_objects_at_once_cannot_be_told() {
        let object =
            |name: &str| format!(r#"{{"type":"object","properties":{{"{name}":{{"type":"null"}}}},"required":["{name}"]}}"#);
        let (a, b) = (object("a"), object("b"));
        let defined = |member: &str| {
            format!(
                r#"{{"type":"object","properties":{{"a":{member}}},"$defs":{{"a":{a},"b":{b},"text":{{"type":"string"}}}},"additionalProperties":false}}"#
            )
        };
        let (to_a, to_b, to_text) = (r##"{"$ref":"#/$defs/a"}"##, r##"{"$ref":"#/$defs/b"}"##, r##"{"$ref":"#/$defs/text"}"##);
        for member in [
            format!(r#"{{"allOf":[{a},{b}]}}"#),
            format!(r#"{{"allOf":[{to_a},{to_b}]}}"#),
            format!(r#"{{"allOf":[{{"anyOf":[{{"type":"null"}},{a}]}},{{"allOf":[{to_b}]}}]}}"#),
            format!(r#"{{"type":"object","properties":{{"c":{{"type":"null"}}}},"allOf":[{a}]}}"#),
            format!(r#"{{"properties":{{"c":{{"type":"null"}}}},"oneOf":[{a},{b}]}}"#),
            r##"{"properties":{"c":{"type":"null"}},"$ref":"#/$defs/a"}"##.to_owned(),
        ] {
            check(&defined(&member), "no");
        }
        for member in [
            format!(r#"{{"allOf":[{to_a}],"description":"d"}}"#),
            format!(r#"{{"allOf":[{a},{{"required":["a"]}}]}}"#),
            format!(r#"{{"anyOf":[{a},{to_b},{{"allOf":[{b}]}}]}}"#),
            format!(r#"{{"allOf":[{to_text},{{"pattern":"^a"}},{to_text}]}}"#),
        ] {
            assert!(matches!(closed(&defined(&member)), Closed::Told(_)), "{member}");
        }
    }

    /// As many schemas as are asked for, each of which refers to the next one, and the last to whatever is given.
    fn chain(length: usize, last: &str) -> String {
        let mut named: Vec<String> = (1..length).map(|at| format!(r##""d{at}":{{"$ref":"#/$defs/d{}"}}"##, at + 1)).collect();
        named.push(format!(r#""d{length}":{last}"#));
        let named = named.join(",");
        format!(
            r##"{{"type":"object","properties":{{"a":{{"$ref":"#/$defs/d1"}}}},"$defs":{{{named}}},"additionalProperties":false}}"##
        )
    }

    /// Minutes, where each way is gone from each of its steps.
    #[test]
    fn schemas_that_lead_far_are_followed_once() {
        check(&chain(MOST_NAMED, r#"{"type":"string"}"#), "as it is");
        check(&chain(MOST_NAMED, r##"{"$ref":"#/$defs/d1"}"##), "no");
        check(&chain(MOST_NAMED + 1, r#"{"type":"string"}"#), "no");
        check(&chain(3_000, r#"{"type":"string"}"#), "no");
        // Followed to its end, also if nobody counts.
        let long = |last: usize| (0..200_000).map(|at| (at.to_string(), vec![(at + 1).to_string(), last.to_string()])).collect();
        assert!(!leads_back(&long(200_000)));
        assert!(leads_back(&long(0)));
    }

    proptest::proptest! {
        /// Whether names lead back to themselves is as it is when each is followed from each.
        #[test]
        fn what_leads_back_is_found_wherever_it_begins(ways in proptest::collection::vec((0usize..7, 0usize..9), 0..9)) {
            let mut named: HashMap<String, Vec<String>> = HashMap::new();
            for (from, to) in &ways {
                named.entry(from.to_string()).or_default().push(to.to_string());
            }
            let mut reached: HashSet<(usize, usize)> = ways.iter().copied().collect();
            for _ in 0..9 {
                let pairs = reached.iter().flat_map(|(from, at)| ways.iter().map(move |way| (from, at, way)));
                let further: Vec<_> = pairs.filter(|(_, at, way)| **at == way.0).map(|(from, _, way)| (*from, way.1)).collect();
                reached.extend(further);
            }
            proptest::prop_assert_eq!(leads_back(&named), reached.iter().any(|(from, to)| from == to));
        }

        /// Whatever comes is told as JSON or not at all, and what was told once needs no more.
        #[test]
        fn what_is_told_keeps_to_the_rules(bound in 0u8..9, kind in "[a-z]{1,9}", text in ".{0,9}") {
            let text = serde_json::Value::from(text);
            let schema = with(&format!(r#"{{"type":"{kind}","maxLength":{bound},"title":{text},"x{kind}":{text}}}"#));
            let Closed::Told(told) = closed(&schema) else { panic!("{schema}") };
            proptest::prop_assert_eq!(closed(told.get()), Closed::AsItIs);
        }
    }
}
