//! JSON web tokens (RFC 7515, 7519), as far as providers want them: two JSON objects, and a signature over both.

use serde_json::Value;
use sha2::{Digest, Sha256};

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

/// HMAC-SHA-256 (RFC 2104).
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut padded = [0_u8; BLOCK];
    if key.len() > BLOCK {
        padded[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let with = |pad: u8| padded.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(with(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(with(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|half| char::from_digit(half.into(), 16)).collect()
    }

    /// RFC 4231, cases 1, 2 and 6.
    #[test]
    fn the_mac_is_that_of_the_standard() {
        let long = "Test Using Larger Than Block-Size Key - Hash Key First";
        for (key, message, expected) in [
            (vec![0x0b; 20], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (vec![0xaa; 131], long, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        ] {
            assert_eq!(hex(&hmac_sha256(&key, message.as_bytes())), expected);
        }
    }

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
