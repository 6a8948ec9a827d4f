//! What travels on a connection between members.
//!
//! Each side first sends a hello, a length of four bytes (big-endian) and CBOR. Then come frames both ways: a length of four
//! bytes, the number of the request in eight, and a request or its answer, which are opaque here.

use bytes::{Bytes, BytesMut};
use craton_types::{FormatVersion, NodeId, Region, decode_whole};
use minicbor::{Decode, Encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version of hello and frames.
pub(super) const VERSION: u8 = 1;
/// The longest hello.
const HELLO_BYTES_MAX: usize = 4 * 1024;
/// The longest request or answer: the largest command, and what is around it.
pub(super) const MESSAGE_BYTES_MAX: usize = 160 * 1024 * 1024;
const REQUEST_NUMBER_BYTES: usize = 8;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a message of {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("a message that is none: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    #[error("a frame without a number")]
    TooShort,
}

/// Who connects, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Hello {
    #[n(0)]
    pub(super) version: u8,
    #[n(1)]
    pub(super) cluster_id: String,
    #[n(2)]
    pub(super) from: NodeId,
    #[n(3)]
    pub(super) to: NodeId,
    /// The newest version of the formats that its build knows; the first one when it does not say.
    #[n(4)]
    pub(super) format_newest: Option<FormatVersion>,
    /// Where it is, if it was told.
    #[n(5)]
    pub(super) region: Option<Region>,
}

/// What the other end says to it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Welcome {
    #[n(0)]
    Accepted {
        /// As in [`Hello`].
        #[n(0)]
        format_newest: Option<FormatVersion>,
    },
    #[n(1)]
    Refused(#[n(0)] String),
    /// The build of whoever connects does not know the version of the formats that the cluster uses.
    #[n(2)]
    Outdated(#[n(0)] FormatVersion),
}

pub(super) async fn write_hello(
    stream: &mut (impl AsyncWrite + Unpin),
    hello: &impl Encode<()>,
) -> Result<(), WireError> {
    let bytes = minicbor::to_vec(hello).expect("writing to memory does not fail");
    let length = u32::try_from(bytes.len()).expect("a hello is short");
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}

pub(super) async fn read_hello<T: for<'b> Decode<'b, ()>>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, WireError> {
    let bytes = read_message(stream, HELLO_BYTES_MAX).await?;
    Ok(decode_whole(&bytes)?)
}

async fn read_message(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Result<BytesMut, WireError> {
    let bytes = stream.read_u32().await? as usize;
    if bytes > bytes_max {
        return Err(WireError::TooLong { bytes, bytes_max });
    }
    let mut message = BytesMut::zeroed(bytes);
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// A request or answer and the number of the request.
pub(super) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<(u64, Bytes), WireError> {
    let mut message = read_message(stream, MESSAGE_BYTES_MAX + REQUEST_NUMBER_BYTES).await?;
    if message.len() < REQUEST_NUMBER_BYTES {
        return Err(WireError::TooShort);
    }
    let number = message.split_to(REQUEST_NUMBER_BYTES);
    let number = u64::from_be_bytes(number[..].try_into().expect("eight bytes"));
    Ok((number, message.freeze()))
}

pub(super) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    number: u64,
    message: &[u8],
) -> Result<(), WireError> {
    let (bytes, bytes_max) = (message.len(), MESSAGE_BYTES_MAX);
    if bytes > bytes_max {
        return Err(WireError::TooLong { bytes, bytes_max });
    }
    let length = u32::try_from(bytes + REQUEST_NUMBER_BYTES).expect("messages are limited to far less");
    let mut head = [0; 4 + REQUEST_NUMBER_BYTES];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4..].copy_from_slice(&number.to_be_bytes());
    stream.write_all(&head).await?;
    stream.write_all(message).await?;
    Ok(stream.flush().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_and_hellos_survive_the_way() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let hello = Hello {
            version: VERSION,
            cluster_id: "clu_1".to_owned(),
            from: NodeId::new(1),
            to: NodeId::new(2),
            format_newest: Some(FormatVersion::NEWEST),
            region: Some("eu-central".parse().expect("a region")),
        };
        let sent = hello.clone();
        let send = tokio::spawn(async move {
            write_hello(&mut near, &sent).await.expect("sent");
            write_frame(&mut near, 7, b"request").await.expect("sent");
            write_frame(&mut near, u64::MAX, b"").await.expect("sent");
        });
        assert_eq!(read_hello::<Hello>(&mut far).await.expect("a hello"), hello);
        let (number, message) = read_frame(&mut far).await.expect("a frame");
        assert_eq!((number, &message[..]), (7, &b"request"[..]));
        let (number, message) = read_frame(&mut far).await.expect("a frame");
        assert_eq!((number, message.len()), (u64::MAX, 0));
        send.await.expect("no panic");
    }

    #[tokio::test]
    async fn lengths_are_checked_before_memory_is_taken() {
        for (length, what) in [(u32::MAX, "too long"), (7, "too short")] {
            let (mut near, mut far) = tokio::io::duplex(64);
            near.write_u32(length).await.expect("sent");
            near.write_all(&[0; 16]).await.expect("sent");
            let read = read_frame(&mut far).await;
            assert!(
                matches!(read, Err(WireError::TooLong { .. } | WireError::TooShort)),
                "{what}: {read:?}"
            );
        }
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_u32(5_000).await.expect("sent");
        let read = read_hello::<Hello>(&mut far).await;
        assert!(matches!(read, Err(WireError::TooLong { .. })), "{read:?}");
    }
}
