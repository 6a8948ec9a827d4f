//! What a consensus entry holds: a batch of commands, the time, and who waits for them.

use std::sync::Arc;

use craton_kernel::Command;
use craton_types::{Timestamp, decode_whole};

/// A batch of commands as one consensus entry. The commands were encoded by the clients' own tasks, so the
/// proposer only copies bytes.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The proposer's clock.
    pub(crate) timestamp: Timestamp,
    /// The commands in order.
    pub(crate) commands: Vec<Arc<Command>>,
}

/// Why a committed entry cannot be read. It was written by a newer version, or by nobody.
#[derive(Debug, thiserror::Error)]
#[error("a committed entry does not decode")]
pub struct EntryDecodeError(#[from] minicbor::decode::Error);

const ENTRY_VERSION: u8 = 1;
/// The most commands that one entry carries.
pub(crate) const ENTRY_COMMANDS_MAX: usize = 1_024;
/// Once the commands so far take this many bytes, the entry is closed.
pub(crate) const ENTRY_BYTES_TARGET: usize = 4 * 1024 * 1024;

/// Encodes an entry of commands that are encoded already.
pub(crate) fn encode_entry(boot: u64, sequence: u64, timestamp: Timestamp, commands: &[Vec<u8>]) -> Vec<u8> {
    let length = commands.iter().map(|command| command.len() + 9).sum::<usize>();
    let mut encoder = minicbor::Encoder::new(Vec::with_capacity(length + 48));
    let written = (|| {
        encoder
            .array(5)?
            .u8(ENTRY_VERSION)?
            .u64(boot)?
            .u64(sequence)?
            .u64(timestamp.get())?;
        encoder.array(commands.len() as u64)?;
        commands.iter().try_for_each(|command| encoder.bytes(command)?.ok())
    })();
    written.expect("writing to memory does not fail");
    encoder.into_writer()
}

/// The process that proposed an entry, its number among that process's entries, and its time. The process
/// draws its number at every start, so that its waiting clients, and nobody else's, are found again.
pub(crate) fn decode_entry_head(payload: &[u8]) -> Result<(u64, u64, Timestamp), EntryDecodeError> {
    decode_head(&mut minicbor::Decoder::new(payload))
}

/// Decodes an entry and its commands.
pub(crate) fn decode_entry(payload: &[u8]) -> Result<Entry, EntryDecodeError> {
    let mut decoder = minicbor::Decoder::new(payload);
    let (_, _, timestamp) = decode_head(&mut decoder)?;
    let count = decoder
        .array()?
        .ok_or_else(|| minicbor::decode::Error::message("an entry has a length"))?;
    let commands = (0..count)
        .map(|_| Ok(Arc::new(decode_whole(decoder.bytes()?)?)))
        .collect::<Result<_, minicbor::decode::Error>>()?;
    if decoder.position() != payload.len() {
        return Err(minicbor::decode::Error::message("bytes follow the entry").into());
    }
    Ok(Entry { timestamp, commands })
}

fn decode_head(decoder: &mut minicbor::Decoder<'_>) -> Result<(u64, u64, Timestamp), EntryDecodeError> {
    if decoder.array()? != Some(5) || decoder.u8()? != ENTRY_VERSION {
        return Err(minicbor::decode::Error::message("not an entry of version 1").into());
    }
    Ok((decoder.u64()?, decoder.u64()?, Timestamp::new(decoder.u64()?)))
}

/// An entry of the consensus log, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn entry(bytes: &[u8]) -> bool {
    let decoded = decode_entry(bytes);
    if let Ok(entry) = &decoded {
        let (boot, sequence, timestamp) = decode_entry_head(bytes).expect("an entry has a head");
        assert_eq!(timestamp, entry.timestamp);
        let commands = |entry: &Entry| -> Vec<Vec<u8>> {
            let encode = |command: &Arc<Command>| minicbor::to_vec(&**command).expect("in memory");
            entry.commands.iter().map(encode).collect()
        };
        let encoded = encode_entry(boot, sequence, timestamp, &commands(entry));
        let again = decode_entry(&encoded).expect("what was encoded decodes");
        assert_eq!(commands(&again), commands(entry));
    }
    decoded.is_ok()
}

/// An entry of these encoded commands, to begin fuzzing with.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn entry_of(commands: &[Vec<u8>]) -> Vec<u8> {
    encode_entry(1, 2, Timestamp::new(3), commands)
}
