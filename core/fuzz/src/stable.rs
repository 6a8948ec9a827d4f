//! Round trips through CBOR.

use craton_types::decode_whole;
use minicbor::{Decode, Encode};

/// Decodes a value; what it is encoded to must decode to the same encoding. Says whether the bytes were a value.
pub(crate) fn is_stable<T: Encode<()> + for<'a> Decode<'a, ()>>(bytes: &[u8]) -> bool {
    let Ok(value) = decode_whole::<T>(bytes) else {
        return false;
    };
    assert_stable(
        &value,
        |value| minicbor::to_vec(value).expect("in memory"),
        |bytes| decode_whole(bytes).ok(),
    );
    true
}

/// What a value is encoded to must decode to something of the same encoding. Encodings are compared, since a value that
/// is not a number equals nothing.
pub(crate) fn assert_stable<T>(value: &T, encode: impl Fn(&T) -> Vec<u8>, decode: impl Fn(&[u8]) -> Option<T>) {
    let encoded = encode(value);
    let again = decode(&encoded).expect("what was encoded decodes");
    assert_eq!(encode(&again), encoded, "an encoding is stable");
    assert!(
        decode(&[&encoded[..], &[0]].concat()).is_none(),
        "nothing follows an encoding"
    );
}
