//! `FORMAT text`: PostgreSQL's own, fields between delimiters with backslash escapes.

use super::{Fields, as_text, in_line, not_utf8};
use crate::plan::{CopyFormat, CopyIn};
use crate::{SqlError, SqlState};

pub(super) fn for_each_line(
    copy: &CopyIn,
    data: &[u8],
    store: &mut dyn FnMut(u64, &Fields<'_>) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    as_text(copy, data)?;
    let format = &copy.format;
    let mut rest = data;
    let mut line = 1;
    let mut header_left = format.header;
    while !rest.is_empty() {
        let end = line_end(rest);
        let bytes = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        let line_breaks = rest[..end].iter().filter(|&&byte| byte == b'\n').count() as u64;
        rest = rest.get(end + 1..).unwrap_or_default();
        if bytes == b"\\." {
            break;
        }
        if !std::mem::take(&mut header_left) {
            let mut fields = Vec::with_capacity(copy.places.len());
            for raw in split(bytes, format.delimiter) {
                fields.push(unescape(format, raw).map_err(|failure| match failure {
                    Failure::Encoding => not_utf8(copy, line),
                    Failure::Escape => in_line(
                        SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "a line ends with a backslash"),
                        copy,
                        line,
                    ),
                })?);
            }
            let fields: Vec<Option<&str>> = fields.iter().map(Option::as_deref).collect();
            store(line, &fields)?;
        }
        line += line_breaks + 1;
    }
    Ok(())
}

/// Where the line ends: at the first line feed that no backslash precedes, or at the end of the data.
fn line_end(bytes: &[u8]) -> usize {
    let mut escaped = false;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte == b'\n' && !escaped {
            return index;
        }
        escaped = byte == b'\\' && !escaped;
    }
    bytes.len()
}

fn split(line: &[u8], delimiter: u8) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, &byte) in line.iter().enumerate() {
        if byte == delimiter && !escaped {
            fields.push(&line[start..index]);
            start = index + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    fields.push(&line[start..]);
    fields
}

enum Failure {
    Encoding,
    Escape,
}

/// A field's text; `None` when it is the null text, which is compared before escapes are read.
fn unescape(format: &CopyFormat, raw: &[u8]) -> Result<Option<String>, Failure> {
    if raw == format.null.as_bytes() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw;
    while let [byte, tail @ ..] = bytes {
        bytes = tail;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let [escaped, tail @ ..] = bytes else {
            return Err(Failure::Escape);
        };
        bytes = tail;
        out.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => digits(*escaped, &mut bytes, 8, 2),
            b'x' if bytes.first().is_some_and(u8::is_ascii_hexdigit) => digits(b'0', &mut bytes, 16, 2),
            other => *other,
        });
    }
    String::from_utf8(out).map(Some).map_err(|_| Failure::Encoding)
}

/// The byte that a first digit and up to `more_max` more spell.
fn digits(first: u8, bytes: &mut &[u8], radix: u32, more_max: usize) -> u8 {
    let mut number = char::from(first).to_digit(radix).unwrap_or(0);
    for _ in 0..more_max {
        let Some(digit) = bytes.first().and_then(|&byte| char::from(byte).to_digit(radix)) else {
            break;
        };
        number = number * radix + digit;
        *bytes = &bytes[1..];
    }
    // Three octal digits can pass 255; PostgreSQL keeps the low eight bits, too.
    u8::try_from(number & 0xFF).unwrap_or(u8::MAX)
}

/// Writes a field with its delimiters, line breaks and backslashes escaped.
pub(super) fn write_field(format: &CopyFormat, field: &str, out: &mut String) {
    for character in field.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{B}' => out.push_str("\\v"),
            '\u{C}' => out.push_str("\\f"),
            other => {
                if other == char::from(format.delimiter) {
                    out.push('\\');
                }
                out.push(other);
            }
        }
    }
}
