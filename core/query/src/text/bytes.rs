//! `bytea` and `uuid`.

use craton_types::ColumnType;

use super::invalid;
use crate::{SqlError, SqlState};

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

const fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn push_hex(byte: u8, out: &mut String) {
    out.push(char::from(HEX_DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(HEX_DIGITS[usize::from(byte & 15)]));
}

/// Both input formats: `\x` and hexadecimal digits, or text with `\\` and `\ooo`.
pub(super) fn parse_bytea(text: &str) -> Result<Vec<u8>, SqlError> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escape(text.as_bytes()),
    }
}

fn parse_hex(hex: &str) -> Result<Vec<u8>, SqlError> {
    let bad = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut out = Vec::with_capacity(hex.len() / 2);
    let mut high = None;
    for character in hex.chars() {
        if high.is_none() && character.is_ascii_whitespace() {
            continue;
        }
        let digit = u8::try_from(character)
            .ok()
            .and_then(hex_value)
            .ok_or_else(|| bad(format!("invalid hexadecimal digit: \"{character}\"")))?;
        match high.take() {
            None => high = Some(digit),
            Some(high) => out.push(high << 4 | digit),
        }
    }
    if high.is_some() {
        return Err(bad("invalid hexadecimal data: odd number of digits".to_owned()));
    }
    Ok(out)
}

fn parse_escape(text: &[u8]) -> Result<Vec<u8>, SqlError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Ok(out),
            [b'\\', b'\\', tail @ ..] => {
                out.push(b'\\');
                tail
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            [b'\\', ..] => {
                return Err(SqlError::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

pub(super) fn write_bytea(bytes: &[u8], out: &mut String) {
    out.reserve(2 + 2 * bytes.len());
    out.push_str("\\x");
    for &byte in bytes {
        push_hex(byte, out);
    }
}

/// 32 hexadecimal digits, optionally in braces and with hyphens after any group of four (RFC 9562 and looser).
pub(super) fn parse_uuid(text: &str) -> Result<[u8; 16], SqlError> {
    parse_uuid_digits(text.as_bytes()).ok_or_else(|| invalid(text, ColumnType::Uuid))
}

fn parse_uuid_digits(text: &[u8]) -> Option<[u8; 16]> {
    let digits = match text {
        [b'{', inner @ .., b'}'] => inner,
        _ => text,
    };
    let mut out = [0; 16];
    let mut count = 0;
    for (index, &byte) in digits.iter().enumerate() {
        let is_separator = byte == b'-' && count > 0 && count % 4 == 0 && count < 32 && digits[index - 1] != b'-';
        if is_separator {
            continue;
        }
        let digit = hex_value(byte)?;
        *out.get_mut(count / 2)? |= if count % 2 == 0 { digit << 4 } else { digit };
        count += 1;
    }
    (count == 32).then_some(out)
}

pub(super) fn write_uuid(bytes: &[u8; 16], out: &mut String) {
    for (index, &byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        push_hex(byte, out);
    }
}
