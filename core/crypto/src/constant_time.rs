//! Comparison whose duration does not depend on where two secrets differ.

use subtle::ConstantTimeEq;

/// Whether two byte strings are equal. The time taken depends on their lengths only, which are public.
#[must_use]
pub fn constant_time_equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::constant_time_equal;

    #[test]
    fn compares_content_and_length() {
        assert!(constant_time_equal(b"", b""));
        assert!(constant_time_equal(b"secret", b"secret"));
        assert!(!constant_time_equal(b"secret", b"secreT"));
        assert!(!constant_time_equal(b"secret", b"secre"));
    }
}
