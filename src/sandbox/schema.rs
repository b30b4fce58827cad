//! An instance of a JSON Schema, as a model under a grammar would write it: what tools' arguments and structured
//! answers are made of.
//!
//! Understood: types (also lists of them), `required`, `properties`, `enum`, `const`, bounds of numbers, lengths and
//! common formats of strings, `items`, `prefixItems`, `minItems`, `$ref` into the same document, `allOf`, and the first
//! of `anyOf` or `oneOf`. Not understood: `pattern`, `not`, `if`, and references to other documents.

use serde_json::{Map, Value};

use super::dice::Dice;
use super::speech;

/// From this depth on only what is required is written, and the last alternative is taken: recursive schemas put the
/// end of the recursion there.
const SHALLOW: u8 = 4;
/// The depth at which a schema that never ends is cut.
const DEEPEST: u8 = 24;
/// The most values one instance holds: a small schema can describe a forest.
const LARGEST: u32 = 10_000;

/// A value that satisfies the schema.
pub(super) fn instance(schema: &Value, dice: &mut Dice) -> Value {
    Writer { root: schema, dice, written: 0 }.value(schema, 0)
}

struct Writer<'s> {
    root: &'s Value,
    dice: &'s mut Dice,
    written: u32,
}

impl<'s> Writer<'s> {
    fn value(&mut self, schema: &'s Value, depth: u8) -> Value {
        self.written += 1;
        let Some(members) = schema.as_object().filter(|_| depth < DEEPEST && self.written < LARGEST) else {
            return Value::Null;
        };
        if let Some(constant) = members.get("const") {
            return constant.clone();
        }
        if let Some(choices) = list(schema, "enum").filter(|choices| !choices.is_empty()) {
            return self.dice.pick(&choices.iter().collect::<Vec<_>>()).clone();
        }
        if let Some(target) = members.get("$ref").and_then(Value::as_str).and_then(|path| self.resolve(path)) {
            return self.value(target, depth + 1);
        }
        if let Some(alternatives) = list(schema, "anyOf").or_else(|| list(schema, "oneOf")) {
            let chosen = if depth < SHALLOW { alternatives.first() } else { alternatives.last() };
            return chosen.map_or(Value::Null, |chosen| self.value(chosen, depth + 1));
        }
        if let Some(parts) = list(schema, "allOf") {
            return self.all_of(schema, parts, depth);
        }
        self.typed(schema, depth)
    }

    fn typed(&mut self, schema: &'s Value, depth: u8) -> Value {
        match kind(schema) {
            "object" => Value::Object(self.object(schema, depth)),
            "array" => Value::Array(self.array(schema, depth)),
            "integer" | "number" => self.number(schema),
            "boolean" => Value::Bool(self.dice.below(2) == 1),
            "null" => Value::Null,
            _ => Value::String(self.string(schema)),
        }
    }

    fn object(&mut self, schema: &'s Value, depth: u8) -> Map<String, Value> {
        let required: Vec<&str> = list(schema, "required").into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut object = Map::new();
        for (name, inner) in properties.into_iter().flatten() {
            if depth < SHALLOW || required.contains(&name.as_str()) {
                object.insert(name.clone(), self.value(inner, depth + 1));
            }
        }
        for name in required {
            object.entry(name).or_insert_with(|| Value::String(speech::phrase(self.dice)));
        }
        object
    }

    fn array(&mut self, schema: &'s Value, depth: u8) -> Vec<Value> {
        let bound = |name, default| whole(schema, name).unwrap_or(default);
        let least = bound("minItems", 0);
        let wanted = if depth < SHALLOW { least.max(1 + self.dice.below(2)) } else { least };
        let count = usize::try_from(wanted.min(bound("maxItems", u64::MAX)).min(256)).unwrap_or(0);
        let first: Vec<&Value> = list(schema, "prefixItems").into_iter().flatten().collect();
        let count = count.max(first.len());
        let rest = schema.get("items").filter(|items| items.is_object());
        (0..count).map_while(|n| first.get(n).copied().or(rest)).map(|inner| self.value(inner, depth + 1)).collect()
    }

    fn number(&mut self, schema: &Value) -> Value {
        let fraction = |name: &&str| schema.get(name).filter(|bound| bound.is_f64());
        if let Some(bound) = ["minimum", "maximum"].iter().find_map(fraction) {
            return bound.clone();
        }
        let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
        let least = bound("minimum").or(bound("exclusiveMinimum").map(|n| n.saturating_add(1)));
        let most = bound("maximum").or(bound("exclusiveMaximum").map(|n| n.saturating_sub(1)));
        let step = bound("multipleOf").filter(|step| *step > 0).unwrap_or(1);
        let least = least.unwrap_or_else(|| most.map_or(1, |most| most.min(1)));
        let most = most.unwrap_or(least.saturating_add(99));
        let first = least.saturating_add(step - 1).div_euclid(step).saturating_mul(step);
        let room = u64::try_from(most.saturating_sub(first) / step).unwrap_or(0);
        let steps = i64::try_from(self.dice.below(room.saturating_add(1).min(1_000))).unwrap_or(0);
        Value::from(first.saturating_add(steps.saturating_mul(step)))
    }

    fn string(&mut self, schema: &Value) -> String {
        if let Some(format) = schema.get("format").and_then(Value::as_str).and_then(formatted) {
            return format.to_owned();
        }
        let mut text = speech::phrase(self.dice);
        let least = usize::try_from(whole(schema, "minLength").unwrap_or(0).min(100_000)).unwrap_or(0);
        let length = text.chars().count();
        text.extend(std::iter::repeat_n('.', least.saturating_sub(length)));
        match whole(schema, "maxLength").and_then(|most| usize::try_from(most).ok()) {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        }
    }

    fn all_of(&mut self, schema: &'s Value, parts: &'s [Value], depth: u8) -> Value {
        let mut whole = Map::new();
        let own = schema.get("properties").is_some().then(|| self.typed(schema, depth));
        for part in parts {
            match self.value(part, depth + 1) {
                Value::Object(members) => whole.extend(members),
                other => return other,
            }
        }
        if let Some(Value::Object(members)) = own {
            whole.extend(members);
        }
        Value::Object(whole)
    }

    fn resolve(&self, path: &str) -> Option<&'s Value> {
        self.root.pointer(path.strip_prefix('#')?)
    }
}

fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null"),
        _ if schema.get("properties").is_some() || schema.get("required").is_some() => "object",
        _ if schema.get("items").is_some() || schema.get("prefixItems").is_some() => "array",
        _ => "string",
    }
}

fn formatted(format: &str) -> Option<&'static str> {
    Some(match format {
        "date" => "2026-11-22",
        "time" => "08:30:00Z",
        "date-time" => "2026-11-22T08:30:00Z",
        "duration" => "PT5M",
        "email" => "sandbox@example.com",
        "hostname" => "sandbox.example.com",
        "ipv4" => "192.0.2.7",
        "ipv6" => "2001:db8::7",
        "uuid" => "00000000-0000-4000-8000-000000000007",
        "uri" => "https://sandbox.example.com/",
        _ => return None,
    })
}

fn list<'v>(schema: &'v Value, name: &str) -> Option<&'v [Value]> {
    schema.get(name).and_then(Value::as_array).map(Vec::as_slice)
}

fn whole(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Whether a value satisfies a schema, for the words the tests use; written apart from the generator.
    fn satisfies(root: &Value, schema: &Value, value: &Value) -> bool {
        let inner = |schema: &Value, value: &Value| satisfies(root, schema, value);
        if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            return inner(root.pointer(&path[1..]).unwrap(), value);
        }
        if let Some(parts) = list(schema, "anyOf").or(list(schema, "oneOf")) {
            return parts.iter().any(|part| inner(part, value));
        }
        if !list(schema, "allOf").unwrap_or_default().iter().all(|part| inner(part, value)) {
            return false;
        }
        if schema.get("const").is_some_and(|constant| constant != value) {
            return false;
        }
        if list(schema, "enum").is_some_and(|choices| !choices.contains(value)) {
            return false;
        }
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return true,
        };
        kinds.iter().any(|kind| is_of(root, schema, value, kind))
    }

    fn is_of(root: &Value, schema: &Value, value: &Value, kind: &str) -> bool {
        match (kind, value) {
            ("null", Value::Null) | ("boolean", Value::Bool(_)) => true,
            ("string", Value::String(text)) => {
                let length = text.chars().count() as u64;
                whole(schema, "minLength").is_none_or(|n| length >= n) && whole(schema, "maxLength").is_none_or(|n| length <= n)
            }
            ("integer" | "number", Value::Number(number)) => {
                let number = number.as_i64().unwrap();
                let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
                bound("minimum").is_none_or(|n| number >= n)
                    && bound("maximum").is_none_or(|n| number <= n)
                    && bound("multipleOf").is_none_or(|n| number % n == 0)
            }
            ("array", Value::Array(items)) => {
                let count = items.len() as u64;
                whole(schema, "minItems").is_none_or(|n| count >= n)
                    && whole(schema, "maxItems").is_none_or(|n| count <= n)
                    && schema.get("items").is_none_or(|inner| items.iter().all(|item| satisfies(root, inner, item)))
            }
            ("object", Value::Object(members)) => {
                let known = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
                let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
                list(schema, "required").unwrap_or_default().iter().all(|name| members.contains_key(name.as_str().unwrap()))
                    && members.iter().all(|(name, value)| match known.get(name) {
                        Some(inner) => satisfies(root, inner, value),
                        None => !closed,
                    })
            }
            _ => false,
        }
    }

    fn check(schema: &Value) {
        for seed in 0..50 {
            let value = instance(schema, &mut Dice::new(seed));
            assert!(satisfies(schema, schema, &value), "seed {seed}: {value} is no instance of {schema}");
        }
    }

    #[test]
    fn instances_satisfy_their_schema() {
        check(&json!({"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"], "additionalProperties": false}));
        check(&json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 9, "multipleOf": 3},
            "m": {"type": ["number", "null"], "maximum": -5}, "ok": {"type": "boolean"}, "k": {"const": 7}}, "required": ["n"]}));
        check(&json!({"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "string", "minLength": 40}}));
        check(&json!({"type": "string", "maxLength": 5}));
        check(
            &json!({"anyOf": [{"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}, {"type": "string"}]}),
        );
        check(&json!({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}],
            "type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}));
        check(&json!({"type": "object", "required": ["free"]}));
    }

    #[test]
    fn references_and_recursion_end() {
        let tree = json!({"$defs": {"node": {"type": "object", "properties": {
            "name": {"type": "string"},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["name", "next", "children"], "additionalProperties": false}}, "$ref": "#/$defs/node"});
        check(&tree);
        let endless = json!({"type": "object", "properties": {"again": {"$ref": "#"}}, "required": ["again"]});
        assert!(instance(&endless, &mut Dice::new(1)).is_object());
        let forest = json!({"type": "array", "minItems": 9, "items": {"$ref": "#"}});
        assert!(instance(&forest, &mut Dice::new(1)).is_array());
    }

    #[test]
    fn a_seed_decides_the_instance() {
        let schema = json!({"type": "integer", "minimum": 0, "maximum": 100_000});
        assert_eq!(instance(&schema, &mut Dice::new(3)), instance(&schema, &mut Dice::new(3)));
    }
}
