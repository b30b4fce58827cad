//! Checking an answer against the JSON schema that its client asked for, where the provider does not hold the model to it.
//!
//! Known are the keywords that structured output is described with (types, members, items, enumerations, bounds, combinations,
//! `$ref` within the document), by draft 2020-12 of JSON Schema; `items` as an array and `definitions` as older drafts have them.
//! What is not known constrains nothing, as that draft says of unknown keywords: of these clients use `pattern`, `format`,
//! `patternProperties` and `dependentSchemas`. A schema that is not one (a `type` that names none) constrains nothing there.
//!
//! Steps are bounded: schema and answer are both foreign, and a small schema of references can ask for endless work. What is not
//! decided within the bound counts as not kept to. Whatever is as long as they want it (enumerations, `required`, texts, names) is
//! counted by its length.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Steps that one check may take: far more than any answer of a model needs.
const MOST_STEPS: u32 = 500_000;
/// Bytes of a text that one step looks at: comparing and counting them is quick beside all else.
const STEP_BYTES: usize = 64;
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

    /// Takes so many steps.
    fn spend(&mut self, steps: usize) -> Checked {
        self.steps = self.steps.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        self.bounded()
    }

    /// Takes the steps of looking through so many bytes.
    fn spend_on(&mut self, bytes: usize) -> Checked {
        self.spend(bytes / STEP_BYTES)
    }

    fn value(&mut self, schema: &'s Value, value: &Value) -> Checked {
        self.spend(if self.depth > MOST_DEPTH { MOST_STEPS as usize } else { 1 })?;
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
        if let Some(reference) = rules.get("$ref").and_then(Value::as_str) {
            self.spend_on(reference.len())?;
            if let Some(target) = self.target(reference) {
                self.value(target, value)?;
            }
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

    fn kind(&mut self, rules: &Map<String, Value>, value: &Value) -> Checked {
        let named = match rules.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(some)) => {
                self.spend(some.len())?;
                some.iter().filter_map(Value::as_str).collect()
            }
            _ => Vec::new(),
        };
        if !named.is_empty() && !named.iter().any(|kind| is_of(value, kind)) {
            return Err(self.wrong(format!("{} is not of the type {}", shown(value), named.join(" or "))));
        }
        if let Some(only) = rules.get("const")
            && !self.same(only, value)?
        {
            return Err(self.wrong(format!("{} is not {}", shown(value), shown(only))));
        }
        if let Some(Value::Array(allowed)) = rules.get("enum")
            && !self.is_among(allowed, value)?
        {
            let list: Vec<String> = allowed.iter().take(8).map(shown).collect();
            return Err(self.wrong(format!("{} is none of {}", shown(value), list.join(", "))));
        }
        Ok(())
    }

    fn members(&mut self, rules: &'s Map<String, Value>, members: &Map<String, Value>) -> Checked {
        for name in rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.spend(1 + name.len() / STEP_BYTES)?;
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
            self.spend_on(name.len())?;
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
                if self.is_among(&items[..at], item)? {
                    return Err(self.wrong(format!("the item {} stands twice", shown(item))));
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, rules: &Map<String, Value>, text: &str) -> Checked {
        if !rules.contains_key("minLength") && !rules.contains_key("maxLength") {
            return Ok(());
        }
        self.spend_on(text.len())?;
        self.within(rules, ("minLength", "maxLength"), text.chars().count(), "characters")
    }

    fn is_among(&mut self, list: &[Value], value: &Value) -> Result<bool, Mismatch> {
        for one in list {
            if self.same(one, value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Numbers are the same by what they are worth: `1` and `1.0`.
    fn same(&mut self, a: &Value, b: &Value) -> Result<bool, Mismatch> {
        self.spend(1)?;
        match (a, b) {
            (Value::Number(x), Value::Number(y)) => {
                Ok(x == y || matches!((x.as_f64(), y.as_f64()), (Some(x), Some(y)) if x.to_bits() == y.to_bits()))
            }
            (Value::String(x), Value::String(y)) if x.len() == y.len() => {
                self.spend_on(x.len())?;
                Ok(x == y)
            }
            (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
                for (x, y) in x.iter().zip(y) {
                    if !self.same(x, y)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Object(x), Value::Object(y)) if x.len() == y.len() => {
                for (name, x) in x {
                    self.spend_on(name.len())?;
                    let Some(y) = y.get(name) else { return Ok(false) };
                    if !self.same(x, y)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Null, Value::Null) => Ok(true),
            (Value::Bool(x), Value::Bool(y)) => Ok(x == y),
            _ => Ok(false),
        }
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
            let mut first = None;
            let fits = some.iter().any(|rule| match self.tried(rule, value) {
                Ok(()) => true,
                Err(why) => {
                    first.get_or_insert(why);
                    false
                }
            });
            if let Some(first) = first.filter(|_| !fits) {
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
        // A complaint holds those of the alternatives within it: writing it down is work too.
        if let Err(Mismatch { at, what }) = &checked {
            self.spend_on(at.len() + what.len())?;
        }
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

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::String(text) => format!("{:?}", cut(text)),
        plain => cut(&plain.to_string()),
    }
}

/// Its beginning; the rest is not looked at.
fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
