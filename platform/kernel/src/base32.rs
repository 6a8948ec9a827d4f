//! Crockford's base 32 in lower case, as TypeID 0.3 uses it: no padding, no lenient decoding.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Encodes the low `digits * 5` bits of `value`, most significant digit first.
pub(crate) fn encode_u128(value: u128, digits: usize) -> String {
    (0..digits)
        .rev()
        .map(|index| char::from(ALPHABET[(value >> (index * 5) & 31) as usize]))
        .collect()
}

/// Decodes digits into a number; `None` for a character outside the alphabet or a number over 128 bits.
pub(crate) fn decode_u128(text: &str) -> Option<u128> {
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        (value >> 123 == 0).then_some(value << 5 | digit as u128)
    })
}

/// Encodes bytes, five bits a digit, the last digit filled up with zero bits.
pub(crate) fn encode_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity((bytes.len() * 8).div_ceil(5));
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(char::from(ALPHABET[(buffer << (5 - bits) & 31) as usize]));
    }
    out
}
