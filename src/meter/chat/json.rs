//! JSON as templates write it: Python's `json.dumps` with the characters left as they are, of values as they came.

/// How a value is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A space after commas and colons.
    Spaced,
    /// No space at all.
    Dense,
    /// A line each, indented by four.
    Lines,
}

/// A JSON text in another layout. Numbers and the order of members stay as they came, escapes become what they stand for
/// where JSON allows it.
pub(super) fn laid_out(raw: &str, layout: Layout) -> String {
    let mut out = String::with_capacity(raw.len() + raw.len() / 8);
    let mut depth = 0;
    let mut rest = raw;
    let mut opened = false;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let end = string_end(rest);
            if std::mem::take(&mut opened) {
                line(&mut out, layout, depth);
            }
            write_string(&rest[..end], &mut out);
            rest = &rest[end..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth -= 1;
        }
        if closes != std::mem::take(&mut opened) {
            line(&mut out, layout, depth);
        }
        write_sign(c, &mut out, layout, &mut depth, &mut opened);
    }
    out
}

fn write_sign(c: char, out: &mut String, layout: Layout, depth: &mut usize, opened: &mut bool) {
    out.push(c);
    match c {
        '{' | '[' => {
            *depth += 1;
            *opened = true;
        }
        ',' if layout == Layout::Lines => *opened = true,
        ',' | ':' if layout != Layout::Dense => out.push(' '),
        _ => {}
    }
}

fn line(out: &mut String, layout: Layout, depth: usize) {
    if layout == Layout::Lines {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', 4 * depth));
    }
}

/// Where a string that a text begins with ends.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn write_string(raw: &str, out: &mut String) {
    if !raw.contains('\\') {
        out.push_str(raw);
        return;
    }
    // What cannot be read (half of a surrogate pair) is written as it came.
    match serde_json::from_str::<String>(raw).and_then(|text| serde_json::to_string(&text)) {
        Ok(text) => out.push_str(&text),
        Err(_) => out.push_str(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_laid_out_as_python_does_it() {
        let check = |raw, layout, expected: &str| assert_eq!(laid_out(raw, layout), expected);
        let raw = "{\"a\":[1,2.50 , {}],\n \"b\\u00e9\\n\":\"x:, \\\"{\\u4f60\", \"c\": [], \"d\":null}";
        check(raw, Layout::Spaced, "{\"a\": [1, 2.50, {}], \"bé\\n\": \"x:, \\\"{你\", \"c\": [], \"d\": null}");
        check(raw, Layout::Dense, "{\"a\":[1,2.50,{}],\"bé\\n\":\"x:, \\\"{你\",\"c\":[],\"d\":null}");
        check(
            "{\"a\":[1,2],\"b\":{\"c\":\"d\"},\"e\":{}}",
            Layout::Lines,
            "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"b\": {\n        \"c\": \"d\"\n    },\n    \"e\": {}\n}",
        );
        check("\"\\ud800\"", Layout::Spaced, "\"\\ud800\"");
        check("7", Layout::Lines, "7");
    }
}
