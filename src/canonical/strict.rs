//! Which schemas an API that holds a model to them takes as they are.

use serde_json::{Map, Value};

/// Words that every such API knows, beside those that are looked into.
const PLAIN: [&str; 7] = ["type", "description", "title", "enum", "const", "$ref", "$schema"];
/// Deeper ones are refused.
const MOST_DEPTH: usize = 10;

/// Whether a schema keeps to what `OpenAI` demands of a strict one: an object at the top, all members of objects required and no
/// others allowed, and no words but the usual ones (dialects.md 5.2). One that does not is taken where nobody asks for strictness.
pub fn keeps_to_strict_rules(schema: &str) -> bool {
    let Ok(Value::Object(top)) = serde_json::from_str(schema) else { return false };
    top.get("type").is_some_and(|kind| kind == "object") && is_strict(&top, 0)
}

fn is_strict(schema: &Map<String, Value>, depth: usize) -> bool {
    let strict = |value: &Value| value.as_object().is_some_and(|schema| is_strict(schema, depth + 1));
    let known = schema.iter().all(|(word, value)| match word.as_str() {
        "properties" | "$defs" | "definitions" => value.as_object().is_some_and(|all| all.values().all(strict)),
        "items" => strict(value),
        "anyOf" => value.as_array().is_some_and(|all| all.iter().all(strict)),
        "additionalProperties" | "required" => true,
        word => PLAIN.contains(&word),
    });
    depth <= MOST_DEPTH && known && (!is_object(schema) || is_closed(schema))
}

fn is_object(schema: &Map<String, Value>) -> bool {
    let named = schema.get("type").is_some_and(|kind| match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        kind => kind == "object",
    });
    named || schema.contains_key("properties")
}

/// No other members than its own, and all of these.
fn is_closed(schema: &Map<String, Value>) -> bool {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let members = schema.get("properties").and_then(Value::as_object);
    schema.get("additionalProperties") == Some(&Value::Bool(false))
        && members.into_iter().flatten().all(|(name, _)| required.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_schemas_are_closed_and_say_all_they_want() {
        let check = |schema: &str, expected| assert_eq!(keeps_to_strict_rules(schema), expected, "{schema}");
        check(r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#, true);
        check(r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#, false);
        check(r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#, false);
        let within = |inner: &str| {
            format!(r#"{{"type":"object","properties":{{"a":{inner}}},"required":["a"],"additionalProperties":false}}"#)
        };
        check(&within(r#"{"type":["object","null"]}"#), false);
        check(&within(r#"{"type":"array","items":{"anyOf":[{"type":"null"},{"enum":[1]}]}}"#), true);
        check(&within(r#"{"type":"string","minLength":1}"#), false);
        check(&within(r#"{"allOf":[{"type":"string"}]}"#), false);
        check(&within("true"), false);
        for other in ["[]", "{", r#"{"type":"string"}"#, r#"{"anyOf":[]}"#] {
            check(other, false);
        }
    }
}
