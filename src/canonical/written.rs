//! Bodies that are written as JSON in one piece of memory. A writer that is not told how much there will be begins small and moves
//! what it has each time that it is too much.

use bytes::Bytes;
use serde::Serialize;

/// What a body has around what people and models say.
const AROUND: usize = 512;

/// Writes a body that has about so many bytes of what people and models say.
///
/// # Errors
/// When something in it is no JSON.
pub fn written(body: &impl Serialize, about: usize) -> serde_json::Result<Bytes> {
    // What must be escaped takes more.
    let mut bytes = Vec::with_capacity(about + about / 16 + AROUND);
    serde_json::to_writer(&mut bytes, body)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_whole_whatever_was_expected() {
        let said = "\"é\"\n".repeat(2_000);
        for about in [0, 10, said.len(), 100_000] {
            assert_eq!(written(&said, about).unwrap(), serde_json::to_vec(&said).unwrap());
        }
    }
}
