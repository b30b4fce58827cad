//! JSON web tokens (RFC 7515, 7519), as far as providers want them: two JSON objects, and a signature over both.

use serde_json::Value;

use crate::upstream::proxy::base64;

/// A token, signed by `sign`.
///
/// # Errors
/// Those of `sign`.
pub(super) fn signed<E>(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> Result<String, E> {
    let said = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature = sign(said.as_bytes())?;
    Ok(format!("{said}.{}", base64url(&signature)))
}

/// In the alphabet for addresses, without what fills up the end (RFC 4648, 5).
fn base64url(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_addresses() {
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe, 0x00]), "-__-AA");
    }

    #[test]
    fn a_token_is_three_parts() {
        let token = signed(&serde_json::json!({"alg": "x"}), &serde_json::json!({}), |_| Ok::<_, ()>(vec![1])).unwrap();
        assert_eq!(token, "eyJhbGciOiJ4In0.e30.AQ");
    }
}
