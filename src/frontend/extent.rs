//! How far the arguments of a call have come.

/// Whole when the brackets that were opened are closed. What begins with none is no JSON, of which nobody knows where it ends.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub(super) struct Extent {
    depth: usize,
    in_string: bool,
    escaped: bool,
    begun: bool,
    unbracketed: bool,
}

impl Extent {
    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if self.in_string {
                self.in_string = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                continue;
            }
            self.unbracketed |= !self.begun && !byte.is_ascii_whitespace() && !matches!(byte, b'{' | b'[');
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    self.begun = true;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.begun && self.depth == 0 && !self.in_string && !self.unbracketed
    }
}
