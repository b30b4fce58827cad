//! `[[portfolio]]`: caps on the share that a provider, an owner or a law gets. What a cap does is `policy`'s.

use super::reference;
use super::setting::Kind;
use crate::document::Section;
use crate::policy::ShareCap;
use crate::units::money::PICO;
use crate::units::{ShareBy, ShareKind, ShareOf, Usd};

/// As many as a decision looks at.
const MOST: usize = 32;
/// What a window is taken to hold at least where nothing is said: a dollar, or a hundred requests.
const LEAST_SPEND: i128 = PICO;
const LEAST_REQUESTS: i128 = 100;
const NAME: &str = "the id of a provider, an owner or the code of a law, as in the table";

/// One cap as it is written, each value by itself.
pub(super) struct Raw {
    pub(super) by: Option<ShareBy>,
    pub(super) name: Option<String>,
    pub(super) share_percent: Option<u8>,
    pub(super) of: ShareOf,
    pub(super) window: Window,
    pub(super) kind: ShareKind,
    pub(super) least: Option<Usd>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            by: None,
            name: None,
            share_percent: None,
            of: ShareOf::Spend,
            window: Window { seconds: 86_400 },
            kind: ShareKind::Hard,
            least: None,
        }
    }
}

/// Reads every `[[portfolio]]`.
pub(super) fn read(root: &Section<'_, '_>) -> Vec<ShareCap> {
    let mut caps: Vec<ShareCap> = Vec::new();
    for section in root.sections("portfolio") {
        let Some(cap) = one(&section) else {
            section.finish();
            continue;
        };
        let same = |other: &ShareCap| {
            (other.by, &other.name, other.of, other.window_seconds) == (cap.by, &cap.name, cap.of, cap.window_seconds)
        };
        if caps.iter().any(|other| same(other) && other.kind == cap.kind) {
            section.problem(
                "name",
                "another cap bounds the same share over the same window",
                "one cap, or another window or kind",
            );
        } else if caps.len() == MOST {
            section.problem("name", format!("this is one cap more than {MOST}"), format!("at most {MOST} caps"));
        } else {
            caps.push(cap);
        }
        section.finish();
    }
    caps
}

fn one(section: &Section<'_, '_>) -> Option<ShareCap> {
    let mut raw = Raw::default();
    reference::portfolio().read(section, &mut raw);
    for (member, accepted) in [("by", "provider, owner or jurisdiction"), ("name", NAME), ("share_percent", "0 to 99")] {
        if !section.has(member) {
            section.problem(member, "missing", accepted);
        }
    }
    let given = raw.least.map(Usd::pico);
    let least = match raw.of {
        ShareOf::Spend => given.unwrap_or(LEAST_SPEND),
        ShareOf::Requests => given.map_or(LEAST_REQUESTS, |pico| pico / PICO),
    };
    if raw.of == ShareOf::Requests && given.is_some_and(|pico| pico % PICO != 0) {
        section.problem("least", "this is no number of requests", "a whole number above zero, for `of = \"requests\"`");
    }
    Some(ShareCap {
        by: raw.by?,
        name: raw.name?,
        percent: raw.share_percent?,
        of: raw.of,
        kind: raw.kind,
        window_seconds: raw.window.seconds,
        least,
    })
}

/// A length of time with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    seconds: u32,
}

/// Hours or days, from one hour to 31 days.
pub(super) struct Hours;

impl Kind for Hours {
    type Value = Window;

    fn read(&self, section: &Section<'_, '_>, name: &'static str) -> Option<Window> {
        let text = section.text(name)?;
        let seconds =
            text.strip_suffix('h').map(|count| (count, 3_600)).or_else(|| text.strip_suffix('d').map(|count| (count, 86_400)));
        let seconds = seconds.and_then(|(count, unit)| count.parse::<u32>().ok()?.checked_mul(unit));
        let window = seconds.filter(|seconds| (3_600..=31 * 86_400).contains(seconds)).map(|seconds| Window { seconds });
        if window.is_none() {
            section.problem(name, format!("{text:?} is no window"), self.accepted());
        }
        window
    }

    fn accepted(&self) -> String {
        "hours or days, such as \"24h\" or \"7d\", at most \"31d\"".to_owned()
    }

    fn written(&self, value: &Window) -> Option<String> {
        Some(format!("\"{}h\"", value.seconds / 3_600))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;

    fn check(text: &str, expected: Result<&[ShareCap], &[&str]>) {
        let found = Config::load(Some(("t.toml", text)), &BTreeMap::new());
        let found = found.map(|config| config.portfolio).map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => {
                assert_eq!(found.len(), expected.len(), "{found:#?}");
                assert!(found.iter().zip(expected).all(|(found, part)| found.contains(part)), "{found:#?}");
            }
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_cap_has_a_name_a_share_and_defaults() {
        let (by, name, percent) = (ShareBy::Jurisdiction, "CN".to_owned(), 60);
        let plain = ShareCap {
            by,
            name,
            percent,
            of: ShareOf::Spend,
            kind: ShareKind::Hard,
            window_seconds: 86_400,
            least: 1_000_000_000_000,
        };
        check("[[portfolio]]\nby = \"jurisdiction\"\nname = \"CN\"\nshare_percent = 60\n", Ok(std::slice::from_ref(&plain)));
        let other =
            ShareCap { of: ShareOf::Requests, kind: ShareKind::Soft, window_seconds: 7 * 86_400, least: 20, ..plain.clone() };
        let text = "[[portfolio]]\nby = \"jurisdiction\"\nname = \"CN\"\nshare_percent = 60\nof = \"requests\"\nkind = \"soft\"\n\
                    window = \"7d\"\nleast = 20\n";
        check(text, Ok(&[other]));
        check("", Ok(&[]));
    }

    #[test]
    fn what_is_wrong_is_told() {
        check("[[portfolio]]\n", Err(&["portfolio", "portfolio", "portfolio"]));
        let with = |line: &str| format!("[[portfolio]]\nby = \"owner\"\nname = \"A\"\nshare_percent = 60\n{line}\n");
        check(&with("window = \"30m\""), Err(&["\"30m\" is no window; accepted: hours or days"]));
        check(&with("window = \"32d\""), Err(&["no window"]));
        check(&with("least = 0"), Err(&["least: this is no amount"]));
        check(&with("of = \"requests\"\nleast = 2.5"), Err(&["least: this is no number of requests"]));
        check(&with("kind = \"sft\""), Err(&["did you mean \"soft\"?"]));
        check(&with("shar_percent = 3"), Err(&["unknown name"]));
        check(&with("").replace("60", "100"), Err(&["share_percent"]));
        check(&(with("") + &with("")), Err(&["another cap bounds the same share"]));
    }
}
