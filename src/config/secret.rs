//! Provider keys, and what belongs at the places of providers' addresses. They come from the environment by the name the
//! table gives, or from a file that the same name with `_FILE` points to (as container platforms mount them), and they are
//! never printed: not by `Debug`, not in a problem, not by serde, for which there is no implementation.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::files;
use crate::catalog::address::is_label;
use crate::catalog::{KeyHeader, Provider, Signing};
use crate::document::{Place, Problem};
use crate::upstream::{Grant, TokenError};

/// A value that must not be shown. No `PartialEq`: what must be compared is compared by its hash.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// Whether both are the same, by their hashes.
    pub fn is_same(&self, other: &Self) -> bool {
        let hash = |secret: &Self| Sha256::digest(secret.0.as_bytes());
        hash(self) == hash(other)
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// What was found, by the name of its variable: keys, and what belongs at the places of addresses.
pub type ProviderKeys = BTreeMap<String, Secret>;

/// What a variable is looked up for, and so what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A header carries it, or it signs what is sent.
    Key,
    /// A token is had with it.
    Grant(Grant),
    /// It stands at a place of an address ([`is_label`]).
    Place,
}

/// How a token is had with a key that is sent so; `None` where the key itself is sent.
pub const fn grant_of(auth: KeyHeader) -> Option<Grant> {
    match auth {
        KeyHeader::SignedJwt => Some(Grant::Pair),
        KeyHeader::ServiceAccount => Some(Grant::ServiceAccount),
        KeyHeader::Bearer | KeyHeader::XApiKey | KeyHeader::ApiKey | KeyHeader::XGoogApiKey => None,
    }
}

/// What the variables of a provider are looked up for.
pub fn purposes(provider: &Provider) -> impl Iterator<Item = (&str, Purpose)> {
    let grant = provider.endpoints().find_map(|(_, _, auth)| grant_of(auth));
    let key = provider.api_key_env.as_deref().map(|variable| (variable, grant.map_or(Purpose::Key, Purpose::Grant)));
    let signing = provider.signing.iter().flat_map(Signing::variables).map(|variable| (variable, Purpose::Key));
    let places = provider.placeholders.iter().map(|(_, variable)| (variable.as_str(), Purpose::Place));
    key.into_iter().chain(signing).chain(places)
}

/// Looks under each name: the variable itself, else the file that `NAME_FILE` points to. A name that is not set, or set to
/// nothing, is simply absent; what is there but unusable is a problem.
pub fn provider_keys<'n>(
    names: impl IntoIterator<Item = (&'n str, Purpose)>,
    environment: &BTreeMap<String, String>,
) -> (ProviderKeys, Vec<Problem>) {
    let mut keys = ProviderKeys::new();
    let mut problems = Vec::new();
    for (name, purpose) in names {
        match provider_key(name, purpose, environment) {
            Ok(Some(key)) => {
                keys.insert(name.to_owned(), key);
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    problems.sort();
    problems.dedup();
    (keys, problems)
}

/// Whether anything is said of a name, be it right or wrong.
pub fn is_set(name: &str, environment: &BTreeMap<String, String>) -> bool {
    let set = |variable: &str| environment.get(variable).is_some_and(|value| !value.trim().is_empty());
    set(name) || set(&format!("{name}_FILE"))
}

/// Whether two sets of keys are the same.
pub fn same_keys(one: &ProviderKeys, other: &ProviderKeys) -> bool {
    one.len() == other.len() && one.iter().all(|(name, key)| other.get(name).is_some_and(|there| there.is_same(key)))
}

/// The file that a name's key is read from, where its variable says so.
pub fn key_file<'e>(name: &str, environment: &'e BTreeMap<String, String>) -> Option<&'e str> {
    environment.get(&format!("{name}_FILE")).map(String::as_str).filter(|path| !path.trim().is_empty())
}

fn provider_key(name: &str, purpose: Purpose, environment: &BTreeMap<String, String>) -> Result<Option<Secret>, Problem> {
    let set = |variable: &str| environment.get(variable).filter(|value| !value.trim().is_empty());
    let file_variable = format!("{name}_FILE");
    match (set(name), set(&file_variable)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(problem(&file_variable, format!("{name} is set too"), "one of the two")),
        (Some(value), None) => usable(name, purpose, value).map(Some),
        (None, Some(path)) => match files::text(Path::new(path), files::MOST_KEY) {
            Ok(value) => usable(&file_variable, purpose, &value).map(Some),
            Err(error) => Err(problem(&file_variable, format!("cannot read {path}: {error}"), "the path of a readable file")),
        },
    }
}

fn usable(variable: &str, purpose: Purpose, value: &str) -> Result<Secret, Problem> {
    const ACCEPTED: &str = "a key of visible ASCII characters (its value is not shown)";
    const LABEL: &str = "1 to 63 letters, digits and dashes, no dash at either end (the value is not shown)";
    let value = value.trim();
    if value.is_empty() {
        return Err(problem(variable, "the file is empty".into(), ACCEPTED));
    }
    if purpose == Purpose::Place {
        // Not shown all the same: somebody may have put the key here.
        let wrong = || problem(variable, "this cannot be a part of a provider's address".into(), LABEL);
        return if is_label(value) { Ok(Secret::new(value.to_owned())) } else { Err(wrong()) };
    }
    if let Purpose::Grant(grant) = purpose {
        let wrong = |error: TokenError| problem(variable, error.to_string(), grant.accepted());
        return grant.check(value).map(|()| Secret::new(value.to_owned())).map_err(wrong);
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(problem(variable, "the key holds a character that no header can carry".into(), ACCEPTED));
    }
    // What a shell takes off, a container's file of variables passes on.
    if value.len() > 1 && ['"', '\''].iter().any(|quote| value.starts_with(*quote) && value.ends_with(*quote)) {
        return Err(problem(variable, "the key stands in quotes, and they would be sent with it".into(), "the key alone"));
    }
    Ok(Secret::new(value.to_owned()))
}

fn problem(variable: &str, wrong: String, accepted: &str) -> Problem {
    let place = Place::Environment { variable: variable.to_owned() };
    Problem { place, path: String::new(), wrong, accepted: accepted.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: Result<Option<&str>, &str>) {
        let environment = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (keys, problems) = provider_keys([("A_KEY", Purpose::Key)], &environment);
        match expected {
            Ok(value) => {
                assert_eq!(problems, []);
                assert_eq!(keys.get("A_KEY").map(Secret::expose), value, "{variables:?}");
            }
            Err(wrong) => {
                let shown = problems.iter().map(ToString::to_string).collect::<String>();
                assert!(shown.contains(wrong), "{shown}");
                assert!(keys.is_empty() && !shown.contains("s3cret"), "{shown}");
            }
        }
    }

    #[test]
    fn a_key_comes_from_its_variable_or_from_the_file_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let good = path("good", " s3cret\n");
        check(&[], Ok(None));
        check(&[("A_KEY", " ")], Ok(None));
        check(&[("A_KEY", "s3cret")], Ok(Some("s3cret")));
        check(&[("A_KEY_FILE", &good)], Ok(Some("s3cret")));
        check(&[("A_KEY", ""), ("A_KEY_FILE", &good)], Ok(Some("s3cret")));
        check(&[("A_KEY", "s3cret"), ("A_KEY_FILE", &good)], Err("A_KEY_FILE: A_KEY is set too"));
        check(&[("A_KEY", "\"s3cret\"")], Err("A_KEY: the key stands in quotes"));
        check(&[("A_KEY_FILE", &path("quoted", "'s3cret'\n"))], Err("A_KEY_FILE: the key stands in quotes"));
        check(&[("A_KEY", "s3cret\r\nx: y")], Err("A_KEY: the key holds a character"));
        check(&[("A_KEY_FILE", &path("two", "s3cret\ns3cret"))], Err("no header can carry"));
        check(&[("A_KEY_FILE", &path("empty", "\n"))], Err("the file is empty"));
        let absent = directory.path().join("absent");
        check(&[("A_KEY_FILE", absent.to_str().unwrap())], Err("absent"));
    }

    #[test]
    fn what_belongs_in_an_address_is_one_label_and_is_not_shown_where_it_is_none() {
        let look = |value: &str| {
            let environment = [("A_REGION".to_owned(), value.to_owned())].into();
            provider_keys([("A_REGION", Purpose::Place)], &environment)
        };
        let (found, problems) = look(" eu-west-1 ");
        assert_eq!((found["A_REGION"].expose(), problems), ("eu-west-1", Vec::new()));
        assert_eq!(look("").0.len(), 0);
        for wrong in ["s3cret.example.com", "s3cret/..", "s3cret@x", "\"s3cret\""] {
            let (found, problems) = look(wrong);
            let told = problems[0].to_string();
            assert!(found.is_empty() && told.starts_with("environment variable A_REGION: this cannot be a part"), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }

    #[test]
    fn a_key_that_gives_no_token_is_a_problem_and_is_not_shown() {
        let look = |grant, value: &str| {
            let environment = [("A_KEY".to_owned(), value.to_owned())].into();
            provider_keys([("A_KEY", Purpose::Grant(grant))], &environment)
        };
        let file = include_str!("../../tests/fixtures/keys/service-account.json");
        for (grant, right, wrong) in
            [(Grant::ServiceAccount, file, "{\"private_key\": \"s3cret\"}"), (Grant::Pair, "id.s3cret", "s3cret")]
        {
            let (found, problems) = look(grant, right);
            assert_eq!((found["A_KEY"].expose(), problems), (right.trim(), Vec::new()));
            let (found, problems) = look(grant, wrong);
            assert!(found.is_empty() && problems.len() == 1 && !problems[0].to_string().contains("s3cret"), "{problems:?}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("s3cret".into());
        assert!(!format!("{secret} {secret:?}").contains("s3cret"));
    }

    #[test]
    fn keys_are_the_same_by_name_and_value() {
        let keys = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), Secret::new((*v).into()))).collect();
        let (one, other): (ProviderKeys, ProviderKeys) = (keys(&[("A", "x"), ("B", "y")]), keys(&[("A", "x"), ("B", "z")]));
        assert!(same_keys(&one, &one.clone()) && !same_keys(&one, &other));
        assert!(!same_keys(&one, &keys(&[("A", "x")])) && !same_keys(&one, &keys(&[("A", "x"), ("C", "y")])));
    }
}
