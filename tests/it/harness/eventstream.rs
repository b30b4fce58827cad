//! Amazon's event stream, written from lines that people can read: `contentBlockDelta {...}` is an event, `!throttlingException {...}`
//! an exception, `?code a message` an error, `#` a remark. A line that ends with `~` is cut in its middle, and one that begins with
//! `x` has a damaged byte.

/// The messages of a text.
pub(crate) fn written(text: &str) -> Vec<Vec<u8>> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(line).collect()
}

fn line(line: &str) -> Vec<u8> {
    if let Some(damaged) = line.strip_prefix('x') {
        let mut message = self::line(damaged);
        let middle = message.len() / 2;
        message[middle] ^= 0x20;
        return message;
    }
    if let Some(cut) = line.strip_suffix('~') {
        let mut message = self::line(cut);
        message.truncate(message.len() / 2);
        return message;
    }
    let (name, payload) = line.split_once(' ').unwrap_or((line, ""));
    if let Some(code) = name.strip_prefix('?') {
        return message(&[(":message-type", "error"), (":error-code", code), (":error-message", payload)], "");
    }
    let (kind, name, header) = match name.strip_prefix('!') {
        Some(exception) => ("exception", exception, ":exception-type"),
        None => ("event", name, ":event-type"),
    };
    message(&[(header, name), (":content-type", "application/json"), (":message-type", kind)], payload)
}

fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut told = Vec::new();
    for (name, value) in headers {
        told.push(u8::try_from(name.len()).unwrap());
        told.extend_from_slice(name.as_bytes());
        told.push(7);
        told.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        told.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    let mut out = [length(16 + told.len() + payload.len()), length(told.len())].concat();
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&told);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}
