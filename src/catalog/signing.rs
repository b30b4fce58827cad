//! Requests that are signed in the place of a key that is sent (AWS's Signature Version 4): what a provider's row says of it.

/// How a provider's requests are signed, where its key is not there or it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// What the service is called in signatures (`bedrock`).
    pub service: String,
    /// Where it runs (`eu-central-1`); `None` where that stands at the place [`REGION`] of the address.
    pub region: Option<String>,
    /// The variable of the key's id.
    pub access_key_env: String,
    /// The variable of its secret.
    pub secret_key_env: String,
    /// The variable of the token of credentials that hold for a while; it may be unset.
    pub session_token_env: Option<String>,
}

/// The place of an address that names the region.
pub const REGION: &str = "region";

impl Signing {
    /// The variables that it needs, and the one that it may do without.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        [&self.access_key_env, &self.secret_key_env].into_iter().chain(&self.session_token_env).map(String::as_str)
    }

    /// The first of the variables that it needs which has no value.
    pub fn missing(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        [&self.access_key_env, &self.secret_key_env].into_iter().map(String::as_str).find(|variable| !has(variable))
    }

    /// Whether some of what it needs is there.
    fn is_begun(&self, has: impl Fn(&str) -> bool) -> bool {
        has(&self.access_key_env) || has(&self.secret_key_env)
    }
}

/// The variable that keeps a provider from being asked: its key's, or, where its requests can be signed, one of that. A key that is
/// there is sent, whatever could be signed.
pub(super) fn key_missing<'p>(key: Option<&'p str>, signing: Option<&'p Signing>, has: impl Fn(&str) -> bool) -> Option<&'p str> {
    let missing_key = key.filter(|key| !has(key));
    match signing {
        _ if key.is_some() && missing_key.is_none() => None,
        None => missing_key,
        Some(signing) => {
            let missing = signing.missing(&has)?;
            // Where one half of the pair is set, it is the other one that was forgotten.
            missing_key.filter(|_| !signing.is_begun(&has)).or(Some(missing))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_or_a_pair_is_enough_and_what_was_forgotten_is_named() {
        let signing = Signing {
            service: "s".into(),
            region: None,
            access_key_env: "ID".into(),
            secret_key_env: "SECRET".into(),
            session_token_env: Some("TOKEN".into()),
        };
        let check = |key, set: &[&str], expected: Option<&str>| {
            assert_eq!(key_missing(key, Some(&signing), |variable| set.contains(&variable)), expected, "{key:?} {set:?}");
        };
        check(Some("KEY"), &[], Some("KEY"));
        check(Some("KEY"), &["KEY"], None);
        check(Some("KEY"), &["KEY", "ID"], None);
        check(Some("KEY"), &["ID", "SECRET"], None);
        check(Some("KEY"), &["ID"], Some("SECRET"));
        check(Some("KEY"), &["SECRET", "TOKEN"], Some("ID"));
        check(Some("KEY"), &["TOKEN"], Some("KEY"));
        check(None, &[], Some("ID"));
        check(None, &["ID", "SECRET"], None);
        assert_eq!(key_missing(None, None, |_| false), None);
        assert_eq!(key_missing(Some("KEY"), None, |_| false), Some("KEY"));
    }
}
