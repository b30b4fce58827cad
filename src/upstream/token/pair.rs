//! A key of two parts, `id.secret`: what is sent is a JSON web token that names the id and is signed with the secret, as older
//! keys of GLM's sites want it (providers.md 5.14, 2026-11-22: HS256, the header member `sign_type` is `SIGN`; times in
//! milliseconds). Nobody is asked for it.

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{Fresh, TokenError, jwt};
use crate::upstream::mac::hmac_sha256;

/// How long a token holds.
const LIFETIME: Duration = Duration::from_mins(30);

/// Both parts.
pub struct Pair {
    id: String,
    secret: String,
}

impl Pair {
    /// Reads `id.secret`.
    pub fn parse(key: &str) -> Result<Self, TokenError> {
        let (id, secret) =
            key.split_once('.').filter(|(id, secret)| !id.is_empty() && !secret.is_empty()).ok_or(TokenError::Pair)?;
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// A token from an instant on.
    pub(super) fn token(&self, now: Timestamp) -> Fresh {
        let (from, lifetime) = (now.as_millisecond(), i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX));
        let header = json!({"alg": "HS256", "sign_type": "SIGN"});
        let claims = json!({"api_key": self.id, "exp": from.saturating_add(lifetime), "timestamp": from});
        let sign = |said: &[u8]| Ok::<_, Infallible>(hmac_sha256(self.secret.as_bytes(), said).to_vec());
        let Ok(text) = jwt::signed(&header, &claims, sign);
        Fresh { text, lifetime: LIFETIME }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_names_the_id_and_hides_the_secret() {
        let pair = Pair::parse("my-id.my-secret.with-a-dot").unwrap();
        let token = pair.token(Timestamp::from_millisecond(1_700_000_000_123).unwrap()).text;
        // Worked out by another program (Python's hmac).
        let claims = "eyJhcGlfa2V5IjoibXktaWQiLCJleHAiOjE3MDAwMDE4MDAxMjMsInRpbWVzdGFtcCI6MTcwMDAwMDAwMDEyM30";
        let expected =
            format!("eyJhbGciOiJIUzI1NiIsInNpZ25fdHlwZSI6IlNJR04ifQ.{claims}.yIZDUAicVhXoWY3RZ8QfIzDlWWmaM2xA0bnagJhpCUE");
        assert_eq!(token, expected);
    }

    #[test]
    fn a_key_without_two_parts_is_none() {
        for wrong in ["", "id", ".secret", "id."] {
            assert_eq!(Pair::parse(wrong).err(), Some(TokenError::Pair), "{wrong}");
        }
    }
}
