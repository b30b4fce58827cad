//! The key file of a Google service account: an assertion that is signed with its RSA key is exchanged for a token at the
//! address that the file names (RFC 7523; the members of the file and of the answer as Google's client libraries have them,
//! read 2026-11-28).
//!
//! The private key leaves this module in no form, and what the token endpoint says is told without what we sent it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde::Deserialize;
use serde_json::json;

use super::{Fresh, TokenError, jwt};
use crate::upstream::client::Upstream;

/// What the token may be used for: everything that the account itself may do.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion may be exchanged, in seconds: the longest that is taken.
const ASSERTION_SECONDS: i64 = 3_600;
/// A token endpoint says little.
const ANSWER_CAP: usize = 64 * 1024;
/// What is told of its refusal.
const MOST_TOLD: usize = 200;

/// The members of the file that matter.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: String,
}

/// An account whose tokens can be fetched.
pub struct ServiceAccount {
    email: String,
    key: Arc<dyn SigningKey>,
    key_id: Option<String>,
    token_uri: Uri,
    /// As the file writes it: what an assertion is for.
    audience: String,
}

impl ServiceAccount {
    /// Reads a key file.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let wrong = TokenError::ServiceAccount;
        let file = serde_json::from_str::<File>(text)
            .map_err(|_| wrong("it is no JSON with type, client_email, private_key and token_uri"))?;
        if file.kind != "service_account" {
            return Err(wrong("its type is not service_account"));
        }
        let der = PrivateKeyDer::from_pem_slice(file.private_key.as_bytes()).map_err(|_| wrong("its private_key is no PEM"))?;
        let key = ring::sign::any_supported_type(&der).map_err(|_| wrong("its private_key is of no known kind"))?;
        if key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_none() {
            return Err(wrong("its private_key is no RSA key"));
        }
        let token_uri = file.token_uri.parse::<Uri>().ok().filter(is_safe);
        let token_uri = token_uri.ok_or(wrong("its token_uri is no https:// address"))?;
        Ok(Self { email: file.client_email, key, key_id: file.private_key_id, token_uri, audience: file.token_uri })
    }

    /// What is exchanged.
    fn assertion(&self, now: Timestamp) -> Result<String, TokenError> {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = json!(id);
        }
        let issued = now.as_second();
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.audience,
            "iat": issued,
            "exp": issued.saturating_add(ASSERTION_SECONDS),
        });
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(TokenError::Signing)?;
        jwt::signed(&header, &claims, |said| signer.sign(said).map_err(|_| TokenError::Signing))
    }

    /// Fetches a token.
    pub(super) async fn exchange(&self, upstream: &Upstream, now: Timestamp) -> Result<Fresh, TokenError> {
        let assertion = self.assertion(now)?;
        // Both values hold nothing that a form would write otherwise, but for the colons.
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let broke = |error: &dyn std::fmt::Display| TokenError::Exchange(format!("the token endpoint: {error}"));
        let answer = upstream.post_form(&self.token_uri, Bytes::from(form)).await.map_err(|error| broke(&error))?;
        let status = answer.status();
        let body = answer.whole(ANSWER_CAP).await.map_err(|error| broke(&error))?;
        if !status.is_success() {
            return Err(TokenError::Exchange(refusal(status.as_u16(), &body, &assertion)));
        }
        read(&body)
    }
}

/// A token endpoint's answer.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// In seconds.
    expires_in: u64,
}

fn read(body: &[u8]) -> Result<Fresh, TokenError> {
    let granted =
        serde_json::from_slice::<Granted>(body).ok().filter(|granted| !granted.access_token.is_empty() && granted.expires_in > 0);
    let granted =
        granted.ok_or_else(|| TokenError::Exchange("the token endpoint's answer has no access_token with a lifetime".into()))?;
    Ok(Fresh { text: granted.access_token, lifetime: Duration::from_secs(granted.expires_in) })
}

/// What a refusal says (RFC 6749, 5.2), fit for a line of the log.
fn refusal(status: u16, body: &[u8], assertion: &str) -> String {
    #[derive(Default, Deserialize)]
    struct Refused {
        error: Option<String>,
        error_description: Option<String>,
    }
    let refused = serde_json::from_slice::<Refused>(body).unwrap_or_default();
    let said = [refused.error, refused.error_description].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let said = said.replace(assertion, "[assertion]");
    let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_TOLD).collect();
    format!("the token endpoint answered {status}{}{line}", if line.is_empty() { "" } else { ": " })
}

/// Over TLS, or to this machine.
fn is_safe(uri: &Uri) -> bool {
    let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => here,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invented for tests; the key opens nothing.
    const FILE: &str = include_str!("../../../tests/fixtures/keys/service-account.json");

    #[test]
    fn the_assertion_is_what_another_program_signs_with_the_same_key() {
        let account = ServiceAccount::parse(FILE).unwrap();
        let assertion = account.assertion(Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
        // Signed by openssl dgst -sha256 -sign over the same two parts: this signature has no random part.
        assert_eq!(assertion, include_str!("../../../tests/fixtures/keys/assertion.txt").trim_end());
    }

    #[test]
    fn a_file_that_is_none_is_told_without_its_key() {
        let check = |from: &str, to: &str, expected: &str| {
            let text = FILE.replace(from, to);
            assert_ne!(text, FILE, "{from}");
            let told = ServiceAccount::parse(&text).err().unwrap().to_string();
            assert!(told.ends_with(expected) && !told.contains("MII"), "{told}");
        };
        check("\"service_account\"", "\"authorized_user\"", "its type is not service_account");
        check("client_email", "email", "client_email, private_key and token_uri");
        check("BEGIN PRIVATE KEY", "BEGIN KEY", "its private_key is no PEM");
        check("https://oauth2", "http://oauth2", "its token_uri is no https:// address");
        check("https://oauth2", "https://user@oauth2", "its token_uri is no https:// address");
        check("{", "", "client_email, private_key and token_uri");
    }

    #[test]
    fn an_answer_has_a_token_and_its_lifetime() {
        let fresh = read(br#"{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}"#).unwrap();
        assert_eq!((fresh.text.as_str(), fresh.lifetime), ("ya29.x", Duration::from_secs(3_599)));
        for wrong in [
            "",
            "{}",
            r#"{"access_token":"","expires_in":1}"#,
            r#"{"access_token":"x","expires_in":0}"#,
            r#"{"id_token":"x"}"#,
            r#"{"access_token":"x"}"#,
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_is_one_short_line_without_what_was_sent() {
        let body = br#"{"error":"invalid_grant","error_description":"Invalid\nJWT: ey.the.assertion"}"#;
        let told = refusal(400, body, "ey.the.assertion");
        assert_eq!(told, "the token endpoint answered 400: invalid_grant: Invalid JWT: [assertion]");
        assert_eq!(refusal(502, b"<html>", "x"), "the token endpoint answered 502");
        assert!(refusal(400, format!("{{\"error\":\"{}\"}}", "é".repeat(999)).as_bytes(), "x").len() < 500);
    }
}
