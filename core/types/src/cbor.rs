//! Reading CBOR that is one value and nothing else.

use minicbor::decode::Error;
use minicbor::{Decode, Decoder};

/// Decodes a value that the bytes hold from their first to their last. Bytes behind it were written by nobody.
///
/// # Errors
/// When the bytes are no such value, or go on behind it.
pub fn decode_whole<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Result<T, Error> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode()?;
    match bytes.len() - decoder.position() {
        0 => Ok(value),
        _ => Err(Error::message("bytes follow the value").at(decoder.position())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_value() {
        assert_eq!(decode_whole::<u64>(&[7]).ok(), Some(7));
        assert!(decode_whole::<u64>(&[7, 0]).is_err());
        assert!(decode_whole::<u64>(&[]).is_err());
    }
}
