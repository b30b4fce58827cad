//! Settings of a virtual key: given as JSON, kept as the lines that would stand in `[keys.NAME]`, and read by the reader of the
//! configuration, so that they mean the same and are refused for the same.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::config::keys::of_settings;
use crate::config::{Config, GatewayKey};
use crate::document::Problem;

/// Settings by name, as JSON has them. Numbers are not read, so that an amount keeps its digits.
type Given = BTreeMap<String, Box<RawValue>>;

/// The lines of settings that were given as an object, or as one text that holds the lines. Null stands for one that is not given.
pub fn to_toml(given: &RawValue) -> Result<String, String> {
    let text = given.get();
    if let Ok(lines) = serde_json::from_str::<String>(text) {
        return Ok(lines);
    }
    let given: Given = serde_json::from_str(text)
        .map_err(|_| "settings: an object, or a text of lines as in [keys.NAME], is asked for".to_owned())?;
    let mut lines = String::new();
    for (name, value) in &given {
        if let Some(value) = toml_value(value).map_err(|error| format!("{name}: {error}"))? {
            lines.extend([&quoted(name), " = ", &value, "\n"]);
        }
    }
    Ok(lines)
}

/// The value in TOML; `None` for null.
fn toml_value(value: &RawValue) -> Result<Option<String>, serde_json::Error> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') => None,
        Some(b'"') => Some(quoted(&serde_json::from_str::<String>(text)?)),
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text)?;
            let items: Vec<String> = items.iter().filter_map(|item| toml_value(item).transpose()).collect::<Result<_, _>>()?;
            Some(format!("[{}]", items.join(", ")))
        }
        Some(b'{') => {
            let members: Given = serde_json::from_str(text)?;
            let members = members.iter().filter_map(|(name, value)| {
                let value = toml_value(value).transpose()?;
                Some(value.map(|value| format!("{} = {value}", quoted(name))))
            });
            Some(format!("{{ {} }}", members.collect::<Result<Vec<_>, _>>()?.join(", ")))
        }
        // A number or a truth, as it stands.
        _ => Some(text.to_owned()),
    })
}

/// What JSON escapes, TOML escapes in the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The key as the configuration would have it.
pub(super) fn read(name: &str, sha256: &str, settings: &str, config: &Config) -> Result<GatewayKey, Vec<Problem>> {
    of_settings(name, &format!("sha256 = \"{sha256}\"\n{settings}"), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Option<&str>) {
        let given: Box<RawValue> = serde_json::from_str(json).unwrap();
        assert_eq!(to_toml(&given).ok().as_deref(), expected, "{json}");
    }

    #[test]
    fn what_json_says_toml_says_to_the_last_digit() {
        check("{}", Some(""));
        check(r#""strict = true\n""#, Some("strict = true\n"));
        check("[]", None);
        check(r#"{"budget_usd": 0.10, "strict": true}"#, Some("\"budget_usd\" = 0.10\n\"strict\" = true\n"));
        check(r#"{"team": "a\"\\\u00e9\nb"}"#, Some("\"team\" = \"a\\\"\\\\é\\nb\"\n"));
        check(r#"{"regions": ["EU", "US"], "quality": null}"#, Some("\"regions\" = [\"EU\", \"US\"]\n"));
        check(r#"{"budgets": {"day": 5, "week": 20.50}}"#, Some("\"budgets\" = { \"day\" = 5, \"week\" = 20.50 }\n"));
    }
}
