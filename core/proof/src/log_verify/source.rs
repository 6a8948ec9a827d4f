//! Reading a segment with a known position and bounded look-ahead.

use std::io::{self, Read};

use super::fault::LogVerifyError;

/// How much is read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

pub(super) struct Source<R> {
    reader: R,
    pub(super) name: String,
    /// The position in the file of the first byte not yet consumed.
    pub(super) position: u64,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> Source<R> {
    pub(super) fn new(name: String, reader: R) -> Self {
        Self {
            reader,
            name,
            position: 0,
            buffer: vec![0; BUFFER_BYTES].into(),
            start: 0,
            end: 0,
        }
    }

    /// The next `length` bytes without consuming them; fewer only at the end of the file. At most 64 KiB.
    pub(super) fn peek(&mut self, length: usize) -> Result<&[u8], LogVerifyError> {
        debug_assert!(length <= BUFFER_BYTES);
        while self.end - self.start < length {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(LogVerifyError::Read {
                        file: self.name.clone(),
                        position: self.position + (self.end - self.start) as u64,
                        source,
                    });
                }
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + length)])
    }

    /// Moves past bytes that [`Self::peek`] gave.
    pub(super) fn consume(&mut self, length: usize) {
        debug_assert!(length <= self.end - self.start);
        self.start += length;
        self.position += length as u64;
    }

    /// The next `N` bytes, consumed, or the fewer that are left.
    pub(super) fn take<const N: usize>(&mut self) -> Result<Result<[u8; N], u64>, LogVerifyError> {
        let bytes = self.peek(N)?;
        match bytes.first_chunk::<N>() {
            Some(bytes) => {
                let bytes = *bytes;
                self.consume(N);
                Ok(Ok(bytes))
            }
            None => Ok(Err(bytes.len() as u64)),
        }
    }

    /// Consumes `length` bytes, piece by piece; gives how many there were.
    pub(super) fn for_each_piece(&mut self, length: u64, mut piece: impl FnMut(&[u8])) -> Result<u64, LogVerifyError> {
        let mut rest = length;
        while rest > 0 {
            let wanted = usize::try_from(rest).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let bytes = self.peek(wanted)?;
            if bytes.is_empty() {
                break;
            }
            piece(bytes);
            let count = bytes.len();
            self.consume(count);
            rest -= count as u64;
        }
        Ok(length - rest)
    }
}
