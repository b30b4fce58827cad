//! Reading the wishes: from the body's `tokenbroker` object and from `x-tokenbroker-*` headers. The body wins.
//!
//! A wish that is misspelt must not be dropped in silence (a lost `max_cost_usd` costs money), so unknown names are
//! refused, with the nearest one that exists. Money is read from the number's own digits, never through a float.

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::errors::BadRequest;
use crate::canonical::{MOST_TAGS, Preference, QualityTier, TAGS_SHAPE, Wishes, is_tag};
use crate::document::nearest;
use crate::units::Usd;

const HEADER_PREFIX: &str = "x-tokenbroker-";
/// Ours to set on answers; a client that echoes it back wishes nothing.
const HEADER_IGNORED: &str = "request-id";
const MAX_ITEMS: usize = 64;
const MAX_ITEM_BYTES: usize = 64;
const MAX_SESSION_BYTES: usize = 256;
const MAX_DEADLINE_MS: u64 = 3_600_000;
const MAX_RACE: u8 = 4;
const MAX_DAYS: u32 = 36_500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Quality,
    MaxCostUsd,
    Regions,
    Providers,
    Exclude,
    Session,
    DeadlineMs,
    Race,
    DryRun,
    Jurisdictions,
    MayTrain,
    MaxRetentionDays,
    Registered,
    Prefer,
    MaxPricePerMillionUsd,
    Tags,
}

/// Every wish, with its name in the body and in a header.
const WISHES: [(Wish, &str, &str); 16] = [
    (Wish::Quality, "quality", "quality"),
    (Wish::MaxCostUsd, "max_cost_usd", "max-cost-usd"),
    (Wish::Regions, "regions", "regions"),
    (Wish::Providers, "providers", "providers"),
    (Wish::Exclude, "exclude", "exclude"),
    (Wish::Session, "session", "session"),
    (Wish::DeadlineMs, "deadline_ms", "deadline-ms"),
    (Wish::Race, "race", "race"),
    (Wish::DryRun, "dry_run", "dry-run"),
    (Wish::Jurisdictions, "jurisdictions", "jurisdictions"),
    (Wish::MayTrain, "may_train", "may-train"),
    (Wish::MaxRetentionDays, "max_retention_days", "max-retention-days"),
    (Wish::Registered, "registered", "registered"),
    (Wish::Prefer, "prefer", "prefer"),
    (Wish::MaxPricePerMillionUsd, "max_price_per_million_usd", "max-price-per-million-usd"),
    (Wish::Tags, "tags", "tags"),
];

/// Every wish by its names in the body and in a header, for what describes them.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    WISHES.iter().map(|(_, body, header)| (*body, *header))
}

/// A wish's value, wherever it came from.
enum Given<'v> {
    /// A header's value, or a JSON string.
    Text(Cow<'v, str>),
    /// A JSON number's digits.
    Number(&'v str),
    Truth(bool),
    List(Vec<String>),
    /// Something that no wish takes.
    Other,
}

/// Lays the wishes in the headers over `wishes`.
pub(super) fn from_headers(headers: &HeaderMap, wishes: &mut Wishes) -> Result<(), BadRequest> {
    for name in headers.keys() {
        let Some(word) = name.as_str().strip_prefix(HEADER_PREFIX) else {
            continue;
        };
        if word == HEADER_IGNORED {
            continue;
        }
        let Some((wish, _, _)) = WISHES.into_iter().find(|(_, _, header)| *header == word) else {
            return Err(unknown(name.as_str(), word, WISHES.iter().map(|(_, _, header)| *header)));
        };
        let value = header_value(headers, name).map_err(|wrong| refused(name.as_str(), wrong))?;
        apply(wish, &Given::Text(value.into()), wishes).map_err(|accepted| refused(name.as_str(), accepted))?;
    }
    Ok(())
}

/// Lays the wishes in the raw value of `tokenbroker` over `wishes`.
pub(super) fn from_body(value: &str, wishes: &mut Wishes) -> Result<(), BadRequest> {
    if !value.starts_with('{') {
        return Err(BadRequest::new("invalid_type", "tokenbroker", "`tokenbroker` must be an object"));
    }
    let read = serde_json::from_str::<Raw>(value);
    let raw = read.map_err(|e| BadRequest::new("invalid_value", "tokenbroker", format!("`tokenbroker` cannot be read: {e}")))?;
    let mut seen = Vec::new();
    for (name, value) in raw.0 {
        let param = format!("tokenbroker.{name}");
        let Some((wish, _, _)) = WISHES.into_iter().find(|(_, body, _)| *body == name) else {
            return Err(unknown(&param, &name, WISHES.iter().map(|(_, body, _)| *body)));
        };
        if seen.contains(&wish) {
            return Err(BadRequest::new("duplicate_parameter", &param, format!("`{param}` stands twice")));
        }
        seen.push(wish);
        if value.get() != "null" {
            apply(wish, &given(value.get()), wishes).map_err(|accepted| refused(&param, accepted))?;
        }
    }
    Ok(())
}

fn unknown(param: &str, word: &str, known: impl Iterator<Item = &'static str> + Clone) -> BadRequest {
    let known_list = known.clone().collect::<Vec<_>>().join(", ");
    let hint = nearest(word, known).map_or(format!("there are {known_list}"), |near| format!("did you mean `{near}`?"));
    BadRequest::new("unknown_parameter", param, format!("there is no wish `{param}`; {hint}"))
}

fn refused(param: &str, accepted: &str) -> BadRequest {
    BadRequest::new("invalid_value", param, format!("`{param}` must be {accepted}"))
}

fn header_value(headers: &HeaderMap, name: &http::HeaderName) -> Result<String, &'static str> {
    let values: Result<Vec<_>, _> = headers.get_all(name).iter().map(http::HeaderValue::to_str).collect();
    // Repeated headers mean one comma list (RFC 9110, section 5.2); what takes no list refuses it then.
    values.map(|v| v.join(",")).map_err(|_| "visible ASCII")
}

fn given(value: &str) -> Given<'_> {
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(value).map_or(Given::Other, |text| Given::Text(text.into())),
        Some(b'[') => serde_json::from_str(value).map_or(Given::Other, Given::List),
        Some(b't' | b'f') => Given::Truth(value == "true"),
        Some(b'-' | b'0'..=b'9') => Given::Number(value),
        _ => Given::Other,
    }
}

/// Sets one wish, or says what would be accepted.
fn apply(wish: Wish, given: &Given<'_>, wishes: &mut Wishes) -> Result<(), &'static str> {
    match wish {
        Wish::Quality => wishes.quality = Some(quality(given)?),
        Wish::MaxCostUsd => wishes.max_cost = Some(dollars(given)?),
        Wish::Regions => wishes.regions = list(given)?,
        Wish::Providers => wishes.providers = list(given)?,
        Wish::Exclude => wishes.excluded_providers = list(given)?,
        Wish::Session => wishes.session = Some(session(given)?),
        Wish::DeadlineMs => wishes.deadline_ms = Some(deadline(given)?),
        Wish::Race => wishes.race = Some(race(given)?),
        Wish::DryRun => wishes.dry_run = truth(given)?,
        Wish::Jurisdictions => wishes.jurisdictions = list(given)?,
        Wish::MayTrain => (wishes.data.no_training, wishes.says_training) = (!truth(given)?, true),
        Wish::MaxRetentionDays => wishes.data.max_retention_days = Some(days(given)?),
        Wish::Registered => (wishes.data.registered, wishes.says_registered) = (truth(given)?, true),
        Wish::Prefer => wishes.prefer = Some(preference(given)?),
        Wish::MaxPricePerMillionUsd => wishes.max_price = Some(dollars(given)?),
        Wish::Tags => wishes.tags = tags(given)?,
    }
    Ok(())
}

fn quality(given: &Given<'_>) -> Result<QualityTier, &'static str> {
    let Given::Text(word) = given else {
        return Err("one of economy, standard, premium");
    };
    QualityTier::from_word(word.trim()).ok_or("one of economy, standard, premium")
}

fn preference(given: &Given<'_>) -> Result<Preference, &'static str> {
    let word = if let Given::Text(word) = given { word.trim() } else { "" };
    Preference::from_word(word).ok_or("one of cheapest, balanced, fastest")
}

fn days(given: &Given<'_>) -> Result<u32, &'static str> {
    let days = whole(given).and_then(|days| u32::try_from(days).ok());
    days.filter(|days| *days <= MAX_DAYS).ok_or("whole days from 0 to 36500")
}

fn dollars(given: &Given<'_>) -> Result<Usd, &'static str> {
    const ACCEPTED: &str = "dollars of zero or more, with at most twelve decimals, such as 0.02";
    let digits = match given {
        Given::Text(text) => text.trim(),
        Given::Number(digits) => digits,
        Given::Truth(_) | Given::List(_) | Given::Other => return Err(ACCEPTED),
    };
    let plain = plain_decimal(digits).ok_or(ACCEPTED)?;
    Usd::parse(&plain).map_err(|_| ACCEPTED)
}

/// A decimal without its exponent, exact: JSON writers turn 0.00001 into `1e-05`.
fn plain_decimal(digits: &str) -> Option<Cow<'_, str>> {
    if digits.len() > 40 {
        return None;
    }
    let Some((mantissa, exponent)) = digits.split_once(['e', 'E']) else {
        return Some(digits.into());
    };
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent).parse::<i32>().ok().filter(|e| e.abs() <= 20)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    // 32 zeros on both sides leave room for the point to move by any accepted exponent.
    let padded = format!("{zeros}{whole}{fraction}{zeros}", zeros = "0".repeat(32));
    let point = usize::try_from(32 + i32::try_from(whole.len()).ok()? + exponent).ok()?;
    let (whole, fraction) = padded.split_at_checked(point)?;
    Some(format!("{}.{}", whole, fraction.trim_end_matches('0')).into())
}

fn list(given: &Given<'_>) -> Result<Vec<String>, &'static str> {
    const ACCEPTED: &str = "a list of at most 64 names of at most 64 letters, digits, dots, dashes or underscores";
    let items = items(given).ok_or(ACCEPTED)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let fits = |item: &String| (1..=MAX_ITEM_BYTES).contains(&item.len()) && item.bytes().all(plain);
    if items.len() <= MAX_ITEMS && items.iter().all(fits) { Ok(items) } else { Err(ACCEPTED) }
}

fn tags(given: &Given<'_>) -> Result<Vec<String>, &'static str> {
    let fits = |items: &Vec<String>| items.len() <= MOST_TAGS && items.iter().all(|item| is_tag(item));
    items(given).filter(fits).ok_or(TAGS_SHAPE)
}

/// A list, or a text with commas.
fn items(given: &Given<'_>) -> Option<Vec<String>> {
    match given {
        Given::List(items) => Some(items.clone()),
        Given::Text(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
        Given::Number(_) | Given::Truth(_) | Given::Other => None,
    }
}

fn session(given: &Given<'_>) -> Result<String, &'static str> {
    match given {
        Given::Text(text) if (1..=MAX_SESSION_BYTES).contains(&text.len()) && !text.contains(char::is_control) => {
            Ok(text.clone().into_owned())
        }
        _ => Err("a text of 1 to 256 bytes without control characters"),
    }
}

fn deadline(given: &Given<'_>) -> Result<u64, &'static str> {
    let range = 1..=MAX_DEADLINE_MS;
    whole(given).filter(|ms| range.contains(ms)).ok_or("whole milliseconds from 1 to 3600000")
}

fn race(given: &Given<'_>) -> Result<u8, &'static str> {
    let count = whole(given).and_then(|n| u8::try_from(n).ok());
    count.filter(|n| (1..=MAX_RACE).contains(n)).ok_or("a whole number from 1 to 4")
}

fn whole(given: &Given<'_>) -> Option<u64> {
    match given {
        Given::Text(text) => text.trim().parse().ok(),
        Given::Number(digits) => digits.parse().ok(),
        Given::Truth(_) | Given::List(_) | Given::Other => None,
    }
}

fn truth(given: &Given<'_>) -> Result<bool, &'static str> {
    match given {
        Given::Truth(truth) => Ok(*truth),
        Given::Text(text) if matches!(text.trim(), "true" | "1") => Ok(true),
        Given::Text(text) if matches!(text.trim(), "false" | "0") => Ok(false),
        _ => Err("true or false"),
    }
}

/// The members of the object in their order, doubles included.
struct Raw<'b>(Vec<(String, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Raw<'b> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_map(RawMembers)
    }
}

struct RawMembers;

impl<'de> Visitor<'de> for RawMembers {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of wishes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Raw<'de>, A::Error> {
        let mut raw = Vec::new();
        while let Some(member) = members.next_entry()? {
            raw.push(member);
            if raw.len() > 2 * WISHES.len() {
                return Err(A::Error::custom("it has more members than there are wishes"));
            }
        }
        Ok(Raw(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::DataRules;
    use proptest::prelude::*;

    fn body(json: &str) -> Result<Wishes, BadRequest> {
        let mut wishes = Wishes::default();
        from_body(json, &mut wishes).map(|()| wishes)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> Result<Wishes, BadRequest> {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        let mut wishes = Wishes::default();
        from_headers(&map, &mut wishes).map(|()| wishes)
    }

    fn all() -> Wishes {
        Wishes {
            quality: Some(QualityTier::Premium),
            max_cost: Some(Usd::parse("0.02").unwrap()),
            regions: vec!["CN".into(), "EU".into()],
            providers: vec!["north".into()],
            excluded_providers: vec!["south-2".into()],
            session: Some("chat 7".into()),
            deadline_ms: Some(2500),
            race: Some(2),
            dry_run: true,
            jurisdictions: vec!["DE".into()],
            max_price: Some(Usd::parse("1.5").unwrap()),
            data: DataRules { no_training: true, max_retention_days: Some(30), registered: true },
            says_training: true,
            says_registered: true,
            prefer: Some(Preference::Fastest),
            tags: vec!["cost-centre:42".into(), "a/b=c_d.e".into()],
        }
    }

    #[test]
    fn body_and_headers_say_the_same() {
        let json = r#"{"quality":"premium","max_cost_usd":0.02,"regions":["CN","EU"],"providers":["north"],
            "exclude":["south-2"],"session":"chat 7","deadline_ms":2500,"race":2,"dry_run":true,
            "jurisdictions":["DE"],"may_train":false,"max_retention_days":30,"registered":true,"prefer":"fastest",
            "max_price_per_million_usd":1.5,"tags":["cost-centre:42","a/b=c_d.e"]}"#;
        assert_eq!(body(json), Ok(all()));
        let pairs = [
            ("x-tokenbroker-quality", "premium"),
            ("x-tokenbroker-max-cost-usd", "0.02"),
            ("x-tokenbroker-regions", "CN , EU"),
            ("x-tokenbroker-providers", "north"),
            ("x-tokenbroker-exclude", "south-2"),
            ("x-tokenbroker-session", "chat 7"),
            ("x-tokenbroker-deadline-ms", "2500"),
            ("x-tokenbroker-race", "2"),
            ("x-tokenbroker-dry-run", "true"),
            ("x-tokenbroker-jurisdictions", "DE"),
            ("x-tokenbroker-may-train", "false"),
            ("x-tokenbroker-max-retention-days", "30"),
            ("x-tokenbroker-registered", "true"),
            ("x-tokenbroker-prefer", "fastest"),
            ("x-tokenbroker-max-price-per-million-usd", "1.5"),
            ("x-tokenbroker-tags", "cost-centre:42, a/b=c_d.e"),
            ("x-tokenbroker-request-id", "echoed"),
            ("content-type", "application/json"),
        ];
        assert_eq!(headers(&pairs), Ok(all()));
        assert_eq!(headers(&[("x-tokenbroker-regions", "CN"), ("x-tokenbroker-regions", "EU")]).unwrap().regions, ["CN", "EU"]);
    }

    #[test]
    fn nulls_and_an_empty_object_wish_nothing() {
        assert_eq!(body("{}"), Ok(Wishes::default()));
        assert_eq!(body(r#"{"quality":null,"race":null}"#), Ok(Wishes::default()));
    }

    #[test]
    fn a_misspelt_wish_is_refused_with_the_near_name() {
        let bad = body(r#"{"max_cost":1}"#).unwrap_err();
        assert_eq!((bad.code, bad.param.as_deref()), ("unknown_parameter", Some("tokenbroker.max_cost")));
        assert!(bad.message.ends_with("did you mean `max_cost_usd`?"), "{}", bad.message);
        let bad = headers(&[("x-tokenbroker-qualty", "premium")]).unwrap_err();
        assert_eq!(bad.param.as_deref(), Some("x-tokenbroker-qualty"));
        assert!(bad.message.ends_with("did you mean `quality`?"), "{}", bad.message);
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let long = format!(r#"{{"session":"{}"}}"#, "x".repeat(257));
        let many = format!(r#"{{"regions":[{}"CN"]}}"#, r#""CN","#.repeat(64));
        for json in [
            r#"{"quality":"best"}"#,
            r#"{"quality":1}"#,
            r#"{"max_cost_usd":-1}"#,
            r#"{"max_cost_usd":1e-13}"#,
            r#"{"max_cost_usd":1e99}"#,
            r#"{"max_cost_usd":true}"#,
            r#"{"regions":["C N"]}"#,
            r#"{"regions":[""]}"#,
            r#"{"regions":[1]}"#,
            r#"{"session":""}"#,
            r#"{"session":"a\nb"}"#,
            r#"{"deadline_ms":0}"#,
            r#"{"deadline_ms":1.5}"#,
            r#"{"race":5}"#,
            r#"{"prefer":"best"}"#,
            r#"{"prefer":1}"#,
            r#"{"max_retention_days":-1}"#,
            r#"{"max_retention_days":36501}"#,
            r#"{"registered":"maybe"}"#,
            r#"{"dry_run":"maybe"}"#,
            r#"{"tags":["a,b"]}"#,
            r#"{"tags":["ä"]}"#,
            r#"{"tags":["1","2","3","4","5","6","7","8","9"]}"#,
            r#"{"race":2,"race":3}"#,
            "[]",
            "true",
            &long,
            &many,
        ] {
            assert!(body(json).is_err(), "{json}");
        }
        assert!(headers(&[("x-tokenbroker-race", "2"), ("x-tokenbroker-race", "2")]).is_err());
    }

    #[test]
    fn money_is_read_from_its_own_digits() {
        for (json, exact) in
            [("0.1", "0.1"), ("1e-05", "0.00001"), ("1.25E+1", "12.5"), ("3", "3"), ("\"0.000000000001\"", "0.000000000001")]
        {
            let wishes = body(&format!(r#"{{"max_cost_usd":{json}}}"#)).unwrap();
            assert_eq!(wishes.max_cost.unwrap().to_exact(), exact, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(json in "\\{?[\\PC\"{}:,\\[\\]0-9eE.+-]{0,80}\\}?", digits in "[0-9.eE+-]{0,45}") {
            let _ = body(&json);
            let _ = plain_decimal(&digits);
        }
    }
}
