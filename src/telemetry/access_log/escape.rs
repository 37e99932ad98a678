//! Bytes that a client chose, made harmless for a line of the log.
//!
//! Whatever comes in, what goes out has no control character and cannot end the field or the line
//! it stands in. Called by `format`.

use std::io::Write;

/// Appends `bytes` as a JSON string, quotes included.
///
/// Text stays readable; a byte that is not UTF-8 becomes `\u00XX`, so that it can still be told.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|c| json_char(c, out));
            for &byte in chunk.invalid() {
                json_unit(u32::from(byte), out);
            }
        }
    }
    out.push(b'"');
}

fn json_char(c: char, out: &mut Vec<u8>) {
    match c {
        '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
        // Some readers take these two for line breaks.
        '\u{2028}' | '\u{2029}' => json_unit(u32::from(c), out),
        c if c.is_control() => json_unit(u32::from(c), out),
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn json_unit(unit: u32, out: &mut Vec<u8>) {
    // Writing into memory cannot fail.
    let _ = write!(out, "\\u{unit:04x}");
}

/// Appends `bytes` as nginx does: `\xXX` for all but printable ASCII, and for `"` and `\`.
pub(super) fn nginx(bytes: &[u8], out: &mut Vec<u8>) {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for byte in bytes {
        if is_plain_byte(*byte) {
            out.push(*byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

/// Whether every byte stands for itself in both formats. Looks at all of them without a branch,
/// which the compiler turns into a few vector instructions; nearly every value is plain.
fn is_plain(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .fold(true, |plain, byte| plain & is_plain_byte(*byte))
}

fn is_plain_byte(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(escape: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_kind_of_byte_is_escaped() {
        for (bytes, as_json, as_nginx) in [
            (&b""[..], r#""""#, ""),
            (
                b"/plain?a=b&c=%20~",
                r#""/plain?a=b&c=%20~""#,
                "/plain?a=b&c=%20~",
            ),
            (br#"a"b\c"#, r#""a\"b\\c""#, r"a\x22b\x5Cc"),
            (
                b"a\nb\r\t\0",
                r#""a\u000ab\u000d\u0009\u0000""#,
                r"a\x0Ab\x0D\x09\x00",
            ),
            (b"\x1b[2J\x7f", r#""\u001b[2J\u007f""#, r"\x1B[2J\x7F"),
            (
                "é€🦀".as_bytes(),
                r#""é€🦀""#,
                r"\xC3\xA9\xE2\x82\xAC\xF0\x9F\xA6\x80",
            ),
            (
                "\u{9b}\u{2028}".as_bytes(),
                r#""\u009b\u2028""#,
                r"\xC2\x9B\xE2\x80\xA8",
            ),
            (b"a\xff\xc3(", r#""a\u00ff\u00c3(""#, r"a\xFF\xC3("),
        ] {
            assert_eq!(escaped(json, bytes), as_json);
            assert_eq!(escaped(nginx, bytes), as_nginx);
        }
    }

    proptest! {
        #[test]
        fn json_is_always_one_string_that_parses(bytes: Vec<u8>) {
            let text = escaped(json, &bytes);
            let parsed: String = serde_json::from_str(&text).unwrap();
            prop_assert!(!text.chars().any(char::is_control));
            if let Ok(valid) = String::from_utf8(bytes) {
                prop_assert_eq!(parsed, valid);
            }
        }

        #[test]
        fn nginx_is_always_printable_and_tells_every_byte(bytes: Vec<u8>) {
            let text = escaped(nginx, &bytes);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"'));
            let escapes = text.matches('\\').count();
            prop_assert_eq!(text.len() - 3 * escapes, bytes.len());
        }
    }
}
