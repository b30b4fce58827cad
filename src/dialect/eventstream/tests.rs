//! Messages of AWS's own test suites, and any cutting of them.

use proptest::prelude::*;

use super::*;

/// Those of botocore's `test_eventstream.py` that are read.
const GOOD: [&[u8]; 6] = [
    b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff",
    b"\x00\x00\x00\x17\x00\x00\x00\x07)\x86\x01X\x04byte\x02\xff\xc2\xf8i\xdc",
    b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'}\xc3e96",
    b"\x00\x00\x00=\x00\x00\x00 \x07\xfd\x83\x96\x0ccontent-type\x07\x00\x10application/json{'foo':'bar'}\x8d\x9c\x08\xb1",
    b"\x00\x00\x00\x62\x00\x00\x00\x52\x03\xb5\xcb\x9c\x010\x00\x011\x01\x012\x02\x02\x013\x03\x00\x03\x014\x04\x00\x00\x00\x04\x015\x05\x00\x00\x00\x00\x00\x00\x00\x05\x016\x06\x00\x05bytes\x017\x07\x00\x04utf8\x018\x08\x00\x00\x00\x00\x00\x00\x00\x08\x019\x090123456789abcdef\x63\x35\x36\x71",
    b"\x00\x00\x00\x52\x00\x00\x00\x42\xbf\x23\x63\x7e\x0d:message-type\x07\x00\x05error\x0b:error-code\x07\x00\x04code\x0e:error-message\x07\x00\x07message\x6b\x6c\xea\x3d",
];

fn read(pieces: &[&[u8]], limit: usize) -> Result<Vec<Bytes>, EventStreamError> {
    let (mut decoder, mut messages) = (Decoder::with_limit(limit), Vec::new());
    for piece in pieces {
        decoder.push(&Bytes::copy_from_slice(piece), &mut messages)?;
    }
    Ok(messages)
}

#[test]
fn the_messages_of_the_test_suite_are_read() {
    for bytes in GOOD {
        assert_eq!(read(&[bytes], 1_000).unwrap(), [bytes]);
    }
    let [_, byte, plain, typed, all, error] = GOOD.map(|bytes| Message::of(bytes).unwrap());
    assert_eq!((byte.header("byte"), byte.payload), (None, &b""[..]));
    assert_eq!((plain.header("content-type"), plain.payload), (None, &b"{'foo':'bar'}"[..]));
    assert_eq!((typed.header("content-type"), typed.payload), (Some("application/json"), &b"{'foo':'bar'}"[..]));
    // Of every type: the text is found behind the others, and nothing else is one.
    let texts: Vec<Option<&str>> = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"].map(|name| all.header(name)).into();
    assert_eq!(texts.iter().flatten().collect::<Vec<_>>(), [&"utf8"]);
    assert_eq!((error.header(":message-type"), error.header(":error-message")), (Some("error"), Some("message")));
}

#[test]
fn damaged_messages_end_the_stream() {
    let check = |bytes: &[u8], expected| assert_eq!(read(&[bytes], 1 << 26), Err(expected), "{bytes:?}");
    // The suite's own: a length, the lengths of headers, a header and a payload that are not what was summed up.
    check(b"\x01\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'}\xc3e96", EventStreamError::Checksum);
    check(b"\x00\x00\x00=\xff\x00\x01\x02\x07\xfd\x83\x96\x0ccontent-type\x07\x00", EventStreamError::Checksum);
    check(
        b"\x00\x00\x00=\x00\x00\x00 \x07\xfd\x83\x96\x0ccontent+type\x07\x00\x10application/json{'foo':'bar'}\x8d\x9c\x08\xb1",
        EventStreamError::Checksum,
    );
    check(b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'\x8d\xc3e96", EventStreamError::Checksum);
    let summed = |total: u32, headers: u32| {
        let lengths = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        [lengths.clone(), crc32fast::hash(&lengths).to_be_bytes().to_vec()].concat()
    };
    check(&summed(15, 0), EventStreamError::Lengths);
    check(&summed(20, 5), EventStreamError::Lengths);
    check(&summed(20, u32::MAX), EventStreamError::Lengths);
    check(&summed(1 << 27, 0), EventStreamError::TooLarge { limit: 1 << 26 });
    // Before its bytes are waited for.
    assert_eq!(read(&[&summed(101, 0)], 100), Err(EventStreamError::TooLarge { limit: 100 }));
    assert_eq!(read(&[&summed(100, 0)], 100), Ok(Vec::new()));
}

#[test]
fn what_comes_before_the_damage_is_good() {
    let (mut decoder, mut messages) = (Decoder::with_limit(100), Vec::new());
    let damaged = Bytes::from([GOOD[2], b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cY"].concat());
    assert_eq!(decoder.push(&damaged, &mut messages), Err(EventStreamError::Checksum));
    assert_eq!(messages, [GOOD[2]]);
}

#[test]
fn a_whole_message_is_not_copied() {
    let chunk = Bytes::from([GOOD[2], GOOD[3]].concat());
    let mut messages = Vec::new();
    Decoder::with_limit(100).push(&chunk, &mut messages).unwrap();
    assert_eq!(messages[1].as_ptr(), chunk[GOOD[2].len()..].as_ptr());
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_messages(
        which in prop::collection::vec(0_usize..GOOD.len(), 0..12),
        cuts in prop::collection::vec(1_usize..40, 1..12),
        left in 0_usize..16,
    ) {
        let expected: Vec<&[u8]> = which.into_iter().map(|which| GOOD[which]).collect();
        // Behind them stands one that never ends.
        let stream = [expected.concat(), GOOD[4][..left].to_vec()].concat();
        let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
        for length in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        prop_assert_eq!(read(&pieces, 1_000).unwrap(), expected);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = read(&[&bytes], 1_000);
        if let Some(message) = Message::of(&bytes) {
            let _ = message.header(":event-type");
            prop_assert!(message.payload.len() <= bytes.len());
        }
    }
}
