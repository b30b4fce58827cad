//! Checking an answer against the JSON schema that its client asked for, where the provider does not hold the model to it.
//!
//! Known are the keywords that structured output is described with (types, members, items, enumerations, bounds, combinations,
//! `$ref` within the document), by draft 2020-12 of JSON Schema; `items` as an array and `definitions` as older drafts have them.
//! What is not known constrains nothing, as that draft says of unknown keywords: of these clients use `pattern`, `format`,
//! `patternProperties` and `dependentSchemas`. A schema that is not one (a `type` that names none) constrains nothing there.
//!
//! Steps are bounded: schema and answer are both foreign, and a small schema of references can ask for endless work. What is not
//! decided within the bound counts as not kept to. A step looks at a whole enumeration or text, whose lengths are not counted yet.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Steps that one check may take: far more than any answer of a model needs.
const MOST_STEPS: u32 = 500_000;
/// References within references.
const MOST_DEPTH: u32 = 256;
/// Shown of a value in a complaint.
const SHOWN: usize = 40;

/// How a backend is made to answer by a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SchemaBy {
    /// It takes the schema and holds its model to it.
    #[default]
    Native,
    /// By a tool that must be called, whose arguments are the answer.
    Tool,
    /// By its mode that promises some JSON, and the schema in words.
    JsonObject,
}

impl SchemaBy {
    /// Those that the table can ask for (`schema_by = "tool"`).
    pub const BY_HAND: [(SchemaBy, &'static str); 2] =
        [(SchemaBy::Tool, SchemaBy::Tool.word()), (SchemaBy::JsonObject, SchemaBy::JsonObject.word())];

    pub const fn word(self) -> &'static str {
        match self {
            SchemaBy::Native => "native",
            SchemaBy::Tool => "tool",
            SchemaBy::JsonObject => "json_object",
        }
    }
}

/// Whether what keeps to a schema may be an object, by what the schema says at its root. Read without all the rest: each request
/// for a schema is asked this.
pub fn may_be_an_object(schema: &str) -> bool {
    #[derive(Deserialize)]
    struct Root {
        #[serde(rename = "type")]
        kind: Option<Value>,
    }
    let root = schema.trim_ascii_start().starts_with('{').then(|| serde_json::from_str::<Root>(schema).ok()).flatten();
    match root.map(|root| root.kind) {
        None => false,
        Some(Some(Value::String(one))) => one == "object",
        Some(Some(Value::Array(some))) => some.iter().any(|kind| kind == "object"),
        Some(_) => true,
    }
}

/// A schema, read once.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Value,
}

/// Where an answer does not keep to its schema, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// A path of members and items (`/city/0`); empty for the whole.
    pub at: String,
    pub what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, what } = self;
        if at.is_empty() { f.write_str(what) } else { write!(f, "{what} (at {at})") }
    }
}

impl Schema {
    /// Reads a schema; `None` where the text is no JSON.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(|root| Self { root })
    }

    /// Checks a text that should be JSON and keep to the schema.
    ///
    /// # Errors
    /// With the first place where it does not.
    pub fn check_text(&self, text: &str) -> Result<(), Mismatch> {
        let none = |error: serde_json::Error| Mismatch { at: String::new(), what: format!("it is no JSON: {error}") };
        self.check(&serde_json::from_str(text).map_err(none)?)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// With the first place where it does not keep to the schema.
    pub fn check(&self, value: &Value) -> Result<(), Mismatch> {
        let mut check = Check { root: &self.root, steps: 0, depth: 0, path: String::new() };
        check.value(&self.root, value)
    }
}

struct Check<'s> {
    root: &'s Value,
    steps: u32,
    depth: u32,
    /// Where the check stands in the value.
    path: String,
}

type Checked = Result<(), Mismatch>;

/// A question that ran out of work was not answered, whatever came of it: once over the bound, every check fails.
const TOO_MUCH: &str = "the schema asks for more work than a check may take";

impl<'s> Check<'s> {
    fn wrong(&self, what: impl Into<String>) -> Mismatch {
        Mismatch { at: self.path.clone(), what: what.into() }
    }

    fn bounded(&self) -> Checked {
        if self.steps > MOST_STEPS { Err(self.wrong(TOO_MUCH)) } else { Ok(()) }
    }

    fn value(&mut self, schema: &'s Value, value: &Value) -> Checked {
        self.steps = self.steps.saturating_add(if self.depth > MOST_DEPTH { MOST_STEPS } else { 1 });
        self.bounded()?;
        match schema {
            Value::Bool(false) => Err(self.wrong("nothing may stand here")),
            Value::Object(rules) => {
                self.depth += 1;
                let checked = self.rules(rules, value);
                self.depth -= 1;
                checked
            }
            _ => Ok(()),
        }
    }

    fn rules(&mut self, rules: &'s Map<String, Value>, value: &Value) -> Checked {
        if let Some(reference) = rules.get("$ref").and_then(Value::as_str)
            && let Some(target) = self.target(reference)
        {
            self.value(target, value)?;
        }
        self.kind(rules, value)?;
        match value {
            Value::Object(members) => self.members(rules, members)?,
            Value::Array(items) => self.items(rules, items)?,
            Value::String(text) => self.text(rules, text)?,
            Value::Number(_) => self.number(rules, value)?,
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(rules, value)
    }

    /// A place in the document: `#`, `#/$defs/x`. What leads elsewhere constrains nothing.
    fn target(&self, reference: &str) -> Option<&'s Value> {
        let pointer = reference.strip_prefix('#')?;
        self.root.pointer(pointer)
    }

    fn kind(&self, rules: &Map<String, Value>, value: &Value) -> Checked {
        let named = match rules.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !named.is_empty() && !named.iter().any(|kind| is_of(value, kind)) {
            return Err(self.wrong(format!("{} is not of the type {}", shown(value), named.join(" or "))));
        }
        if let Some(only) = rules.get("const")
            && !same(only, value)
        {
            return Err(self.wrong(format!("{} is not {}", shown(value), shown(only))));
        }
        if let Some(Value::Array(allowed)) = rules.get("enum")
            && !allowed.iter().any(|one| same(one, value))
        {
            let list: Vec<String> = allowed.iter().take(8).map(shown).collect();
            return Err(self.wrong(format!("{} is none of {}", shown(value), list.join(", "))));
        }
        Ok(())
    }

    fn members(&mut self, rules: &'s Map<String, Value>, members: &Map<String, Value>) -> Checked {
        for name in rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                return Err(self.wrong(format!("the member `{name}` is missing")));
            }
        }
        self.within(rules, ("minProperties", "maxProperties"), members.len(), "members")?;
        let known = rules.get("properties").and_then(Value::as_object);
        // Names that match a pattern cannot be told from others here.
        let by_pattern = rules.get("patternProperties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
        let others = rules.get("additionalProperties").filter(|_| !by_pattern);
        for (name, value) in members {
            let rule = known.and_then(|known| known.get(name)).or(others);
            if let Some(rule) = rule {
                if *rule == Value::Bool(false) {
                    return Err(self.wrong(format!("there may be no member `{}`", cut(name))));
                }
                self.deeper(name, rule, value)?;
            }
        }
        Ok(())
    }

    fn items(&mut self, rules: &'s Map<String, Value>, items: &[Value]) -> Checked {
        self.within(rules, ("minItems", "maxItems"), items.len(), "items")?;
        let older = rules.get("items").and_then(Value::as_array);
        let first = rules.get("prefixItems").and_then(Value::as_array).or(older);
        let rest = if older.is_some() { rules.get("additionalItems") } else { rules.get("items") };
        for (at, item) in items.iter().enumerate() {
            let rule = first.and_then(|first| first.get(at)).or(rest);
            if let Some(rule) = rule {
                self.deeper(&at.to_string(), rule, item)?;
            }
        }
        if rules.get("uniqueItems") == Some(&Value::Bool(true)) {
            for (at, item) in items.iter().enumerate() {
                self.steps = self.steps.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
                self.bounded()?;
                if items[..at].iter().any(|other| same(other, item)) {
                    return Err(self.wrong(format!("the item {} stands twice", shown(item))));
                }
            }
        }
        Ok(())
    }

    fn text(&self, rules: &Map<String, Value>, text: &str) -> Checked {
        self.within(rules, ("minLength", "maxLength"), text.chars().count(), "characters")
    }

    fn number(&self, rules: &Map<String, Value>, value: &Value) -> Checked {
        let Some(number) = value.as_f64() else { return Ok(()) };
        let bound = |name: &str| rules.get(name).and_then(Value::as_f64);
        let low = bound("minimum").is_some_and(|least| number < least)
            || bound("exclusiveMinimum").is_some_and(|least| number <= least);
        let high =
            bound("maximum").is_some_and(|most| number > most) || bound("exclusiveMaximum").is_some_and(|most| number >= most);
        if low || high {
            return Err(self.wrong(format!("{number} is {}", if low { "too small" } else { "too large" })));
        }
        let multiple = bound("multipleOf").filter(|step| *step > 0.0);
        if multiple.is_some_and(|step| ((number / step).round() - number / step).abs() > 1e-9) {
            return Err(self.wrong(format!("{number} is not a multiple of what it should be")));
        }
        Ok(())
    }

    fn within(&self, rules: &Map<String, Value>, (least, most): (&str, &str), count: usize, of: &str) -> Checked {
        let bound = |name: &str| rules.get(name).and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "a count that large is beyond every bound")]
        let counted = count as f64;
        if bound(least).is_some_and(|least| counted < least) {
            return Err(self.wrong(format!("{count} {of} are too few")));
        }
        if bound(most).is_some_and(|most| counted > most) {
            return Err(self.wrong(format!("{count} {of} are too many")));
        }
        Ok(())
    }

    fn combined(&mut self, rules: &'s Map<String, Value>, value: &Value) -> Checked {
        let list = |name| rules.get(name).and_then(Value::as_array);
        for rule in list("allOf").into_iter().flatten() {
            self.value(rule, value)?;
        }
        if let Some(some) = list("anyOf").filter(|some| !some.is_empty()) {
            let mut wrong = Vec::new();
            for rule in some {
                match self.tried(rule, value) {
                    Ok(()) => break,
                    Err(why) => wrong.push(why),
                }
            }
            if wrong.len() == some.len() {
                let first = wrong.swap_remove(0);
                return Err(self.wrong(format!("{} fits none of the alternatives; by the first: {first}", shown(value))));
            }
        }
        if let Some(some) = list("oneOf").filter(|some| !some.is_empty()) {
            let fit = some.iter().filter(|rule| self.tried(rule, value).is_ok()).count();
            if fit != 1 {
                return Err(self.wrong(format!("{} fits {fit} of the alternatives, not one", shown(value))));
            }
        }
        if let Some(not) = rules.get("not")
            && self.tried(not, value).is_ok()
        {
            return Err(self.wrong(format!("{} is what it may not be", shown(value))));
        }
        if let Some(condition) = rules.get("if") {
            let then = if self.tried(condition, value).is_ok() { "then" } else { "else" };
            if let Some(rule) = rules.get(then) {
                self.value(rule, value)?;
            }
        }
        self.bounded()
    }

    /// A check whose failure is no failure of the whole.
    fn tried(&mut self, rule: &'s Value, value: &Value) -> Checked {
        let (path, depth) = (self.path.len(), self.depth);
        let checked = self.value(rule, value);
        self.path.truncate(path);
        self.depth = depth;
        checked
    }

    fn deeper(&mut self, name: &str, rule: &'s Value, value: &Value) -> Checked {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(&cut(name));
        self.value(rule, value)?;
        self.path.truncate(length);
        Ok(())
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        // No type of JSON: nothing is said.
        _ => true,
    }
}

/// Numbers are the same by what they are worth: `1` and `1.0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y || matches!((x.as_f64(), y.as_f64()), (Some(x), Some(y)) if x.to_bits() == y.to_bits())
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::String(text) => format!("{:?}", cut(text)),
        plain => cut(&plain.to_string()),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN { text.to_owned() } else { text.chars().take(SHOWN).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_root_says_whether_it_may_be_an_object() {
        for may in ["{}", r#"{"type":"object"}"#, r#" {"type":["null","object"]}"#, r##"{"$ref":"#/$defs/a"}"##, r#"{"type":7}"#]
        {
            assert!(may_be_an_object(may), "{may}");
        }
        for may_not in ["true", "", "7", r#"{"type":"array"}"#, r#"{"type":["null","string"]}"#, r#"["object"]"#, r#"{"type":"#] {
            assert!(!may_be_an_object(may_not), "{may_not}");
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a literal reads better")]
    fn check(schema: Value, fits: &[Value], not: &[(Value, &str)]) {
        let rules = Schema::parse(&schema.to_string()).unwrap();
        for value in fits {
            assert_eq!(rules.check(value), Ok(()), "{schema} {value}");
        }
        for (value, why) in not {
            let told = rules.check(value).unwrap_err().to_string();
            assert!(told.contains(why), "{schema} {value}: {told}");
        }
    }

    #[test]
    fn an_object_has_its_members_and_no_others() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"], "additionalProperties": false});
        let fits = [json!({"city": "Oslo"}), json!({"city": "Oslo", "days": 3}), json!({"city": "", "days": 3.0})];
        check(
            schema,
            &fits,
            &[
                (json!({"days": 3}), "`city` is missing"),
                (json!({"city": 4}), "4 is not of the type string (at /city)"),
                (json!({"city": "Oslo", "days": 3.5}), "integer"),
                (json!({"city": "Oslo", "more": 1}), "no member `more`"),
                (json!([]), "an array is not of the type object"),
            ],
        );
        check(json!({"additionalProperties": {"type": "null"}}), &[json!({"a": null})], &[(json!({"a": 1}), "null")]);
        let pattern = json!({"patternProperties": {"^x": {}}, "additionalProperties": false});
        check(pattern, &[json!({"xa": 1})], &[]);
    }

    #[test]
    fn items_texts_and_numbers_have_bounds() {
        let items = json!({"type": "array", "items": {"enum": ["a", 1]}, "minItems": 1, "maxItems": 2, "uniqueItems": true});
        let wrong = [
            (json!([]), "too few"),
            (json!(["a", 1, "a"]), "too many"),
            (json!(["b"]), "none of \"a\", 1 (at /0)"),
            (json!(["a", "a"]), "twice"),
        ];
        check(items, &[json!(["a", 1.0]), json!(["a"])], &wrong);
        let pair = json!({"prefixItems": [{"type": "string"}], "items": false});
        check(pair, &[json!(["a"])], &[(json!([1]), "/0"), (json!(["a", 1]), "nothing may stand here (at /1)")]);
        check(
            json!({"items": [{"type": "string"}], "additionalItems": {"type": "null"}}),
            &[json!(["a", null])],
            &[(json!(["a", 1]), "/1")],
        );
        check(json!({"minLength": 2, "maxLength": 3}), &[json!("éé"), json!(7)], &[(json!("é"), "few"), (json!("éééé"), "many")]);
        let number = json!({"minimum": 0, "exclusiveMaximum": 10, "multipleOf": 0.1});
        check(
            number,
            &[json!(0), json!(9.9), json!(0.3)],
            &[(json!(10), "large"), (json!(-1), "small"), (json!(0.25), "multiple")],
        );
    }

    #[test]
    fn schemas_are_combined_and_referred_to() {
        let either = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
        check(
            either,
            &[json!("a"), json!(null)],
            &[(json!(1), "none of the alternatives; by the first: 1 is not of the type string")],
        );
        let one = json!({"oneOf": [{"type": "integer"}, {"minimum": 5}]});
        check(one, &[json!(3), json!(7.5)], &[(json!(7), "fits 2")]);
        check(json!({"not": {"type": "string"}}), &[json!(1)], &[(json!("a"), "may not be")]);
        check(json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), &[json!(1)], &[(json!(3), "large")]);
        let branch = json!({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"type": "number"}});
        check(branch, &[json!("ab"), json!(1)], &[(json!("a"), "few"), (json!(null), "number")]);
        let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties":
            {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["next"]}}});
        check(tree, &[json!({"next": {"next": null}})], &[(json!({"next": {}}), "alternatives")]);
        check(json!({"$ref": "https://example.com/other.json"}), &[json!(1)], &[]);
        check(
            json!({"type": ["string", "null"], "const": "a"}),
            &[json!("a")],
            &[(json!(null), "null is not \"a\""), (json!(1), "string or null")],
        );
    }

    #[test]
    fn what_is_no_schema_constrains_nothing_and_no_json_is_told() {
        for schema in ["true", "{}", "[]", "7", r#"{"type":"banana","pattern":"^a","format":"email","required":7}"#] {
            assert_eq!(Schema::parse(schema).unwrap().check_text(r#"{"a":[1]}"#), Ok(()), "{schema}");
        }
        assert!(Schema::parse("{").is_none());
        let told = Schema::parse("{}").unwrap().check_text("Sure! {}").unwrap_err().to_string();
        assert!(told.contains("it is no JSON"), "{told}");
        assert!(Schema::parse("false").unwrap().check_text("1").is_err());
    }

    #[test]
    fn a_schema_that_asks_for_endless_work_is_not_kept_to() {
        let round = Schema::parse(r##"{"$ref":"#"}"##).unwrap();
        assert!(round.check(&json!(1)).unwrap_err().to_string().contains("more work"));
        let twice = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
        assert!(Schema::parse(&twice.to_string()).unwrap().check(&json!(1)).unwrap_err().to_string().contains("more work"));
        // Nor does a question that could not be answered turn into its opposite.
        let not = json!({"not": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]},
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}});
        assert!(Schema::parse(&not.to_string()).unwrap().check(&json!(1)).is_err());
        let many = json!((0..2_000).collect::<Vec<_>>());
        assert!(Schema::parse(r#"{"uniqueItems":true}"#).unwrap().check(&many).is_err());
    }

    proptest! {
        #[test]
        fn foreign_schemas_and_answers_never_panic(schema in "[ -~]{0,60}", answer in "[ -~]{0,60}") {
            if let Some(schema) = Schema::parse(&schema) {
                let _ = schema.check_text(&answer);
            }
        }

        /// What is made by a schema keeps to it, and what lacks a required member does not.
        #[test]
        fn objects_keep_to_the_schema_of_their_members(members in prop::collection::btree_map("[a-z]{1,6}", any::<i32>(), 1..6)) {
            let names: Vec<&String> = members.keys().collect();
            let properties: Map<String, Value> =
                names.iter().map(|name| ((*name).clone(), json!({"type": "integer"}))).collect();
            let schema = json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false});
            let schema = Schema::parse(&schema.to_string()).unwrap();
            let mut value = json!(members);
            prop_assert_eq!(schema.check(&value), Ok(()));
            value.as_object_mut().unwrap().remove(names[0]);
            prop_assert!(schema.check(&value).is_err());
        }
    }
}
