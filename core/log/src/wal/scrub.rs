//! Reading closed segments through while the log runs, to find damage before a restart needs them.

use super::format::SEGMENT_HEADER_LENGTH;
use super::segment::{Found, Segment};
use super::{Wal, WalError};

/// The segments that nothing is written to any more, as they were when [`Wal::scrub`] was called.
pub struct WalScrub(Vec<Segment>);

impl Wal {
    /// What checks the closed segments; it needs the log no more.
    #[must_use]
    pub fn scrub(&self) -> WalScrub {
        let open = self.active().header.sequence;
        let closed = self.segments.iter().filter(|segment| segment.header.sequence < open);
        WalScrub(closed.map(Segment::handle).collect())
    }
}

impl WalScrub {
    /// Reads and decrypts every record, and returns how many bytes they are.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] at the first record that is not what was written, or [`WalError::Io`].
    pub fn run(self) -> Result<u64, WalError> {
        let mut payload = Vec::new();
        let mut bytes = 0;
        for segment in self.0 {
            let mut position = SEGMENT_HEADER_LENGTH;
            while position < segment.end {
                let header = match segment.read_record(position, segment.end, &mut payload)? {
                    Found::Record(header) => header,
                    Found::Damage { reason, .. } => return Err(segment.corrupt(position, reason)),
                };
                segment.open_record(&header, &mut payload)?;
                bytes += header.end() - position;
                position = header.end();
            }
        }
        Ok(bytes)
    }
}
