//! Changes of files that an input asks for.

/// The bytes that say one change.
const EDIT_BYTES: usize = 5;
/// The most changes of one input.
const EDITS_MAX: usize = 16;
/// What [`Edit::Misplace`] copies, as a disk does that writes a sector to the wrong place.
const MISPLACED_BYTES: usize = 64;

/// A change of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Bits of a byte are flipped.
    Flip { at: usize, mask: u8 },
    /// A byte is replaced.
    Set { at: usize, value: u8 },
    /// The file ends here.
    Cut { at: usize },
    /// A byte follows the file.
    Append { value: u8 },
    /// Bytes of another place are here.
    Misplace { at: usize, from: usize },
}

/// The changes that an input asks for, each with the number of a file.
pub(crate) fn edits(input: &[u8]) -> Vec<(usize, Edit)> {
    let chunks = input.as_chunks::<EDIT_BYTES>().0.iter().take(EDITS_MAX);
    chunks
        .map(|&[operation, file, high, low, value]| {
            let at = usize::from(u16::from_be_bytes([high, low]));
            let edit = match operation % 5 {
                0 => Edit::Flip { at, mask: value },
                1 => Edit::Set { at, value },
                2 => Edit::Cut { at },
                3 => Edit::Append { value },
                _ => Edit::Misplace {
                    at,
                    from: usize::from(value) * MISPLACED_BYTES,
                },
            };
            (usize::from(file), edit)
        })
        .collect()
}

/// Changes a file; places past its end are not changed.
pub(crate) fn apply(edit: Edit, bytes: &mut Vec<u8>) {
    match edit {
        Edit::Flip { at, mask } => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        Edit::Set { at, value } => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        Edit::Cut { at } => bytes.truncate(at),
        Edit::Append { value } => bytes.push(value),
        Edit::Misplace { at, from } => {
            let copied = bytes.get(from..).unwrap_or_default();
            let copied = copied[..copied.len().min(MISPLACED_BYTES)].to_vec();
            for (byte, copied) in bytes.iter_mut().skip(at).zip(copied) {
                *byte = copied;
            }
        }
    }
}
