//! Whole messages over a byte stream, with a bound on each and on how long a client may leave output unread.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use pgwire::messages::Message as Encode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frontend::{MessageError, Opening, parse_opening};
use crate::limits::{OPENING_BYTES_MAX, OUTPUT_FLUSH_BYTES};

/// Bytes that one read asks for.
const READ_BYTES: usize = 16 * 1024;
/// Type byte and length.
const HEADER_BYTES: usize = 5;

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The client closed the connection between two messages.
    #[error("the client closed the connection")]
    Closed,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The length is shorter than itself.
    #[error("message {tag:?} has an invalid length of {length}")]
    Length {
        /// The message's type byte; NUL for the messages before authentication.
        tag: char,
        /// The length that it claims.
        length: i32,
    },
    /// The message is longer than allowed.
    #[error("message {tag:?} of {bytes} bytes exceeds the limit of {bytes_max}")]
    TooLong {
        /// The message's type byte.
        tag: char,
        /// The bytes that it claims to have.
        bytes: usize,
        /// The bytes that it may have.
        bytes_max: usize,
    },
    /// The content is malformed.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// A message that was received whole and not parsed yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The type byte.
    pub(crate) tag: u8,
    /// What follows the length.
    pub(crate) body: Bytes,
}

/// Reads the first message of a connection, before or after TLS. Takes no byte more than the message has, so that
/// a TLS handshake behind it is left alone.
///
/// # Errors
/// When the connection ends, or the message is too long or malformed.
pub(crate) async fn receive_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<Opening, ReceiveError> {
    let length = match stream.read_i32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ReceiveError::Closed),
        Err(error) => return Err(error.into()),
    };
    let bytes = body_bytes(0, length, OPENING_BYTES_MAX)?;
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body).await?;
    Ok(parse_opening(body.into())?)
}

/// The content's length, from a length field that counts itself.
fn body_bytes(tag: u8, length: i32, bytes_max: usize) -> Result<usize, ReceiveError> {
    let bytes = length
        .checked_sub(4)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or(ReceiveError::Length {
            tag: char::from(tag),
            length,
        })?;
    if bytes > bytes_max {
        return Err(ReceiveError::TooLong {
            tag: char::from(tag),
            bytes,
            bytes_max,
        });
    }
    Ok(bytes)
}

/// A connection's messages in both directions. Output is gathered until [`Transport::flush`].
pub(crate) struct Transport<S> {
    stream: S,
    input: BytesMut,
    output: BytesMut,
    message_bytes_max: usize,
    write_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    /// Wraps a stream; messages are bounded as before authentication.
    pub(crate) fn new(stream: S, write_timeout: Duration) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            message_bytes_max: OPENING_BYTES_MAX,
            write_timeout,
        }
    }

    /// Changes the bound on messages.
    pub(crate) fn set_message_bytes_max(&mut self, bytes: usize) {
        self.message_bytes_max = bytes;
    }

    /// The next message. Dropping the future loses nothing: what was read stays in the buffer.
    ///
    /// # Errors
    /// When the connection ends or a length is out of bounds.
    pub(crate) async fn receive(&mut self) -> Result<Frame, ReceiveError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(if self.input.is_empty() {
                    ReceiveError::Closed
                } else {
                    io::Error::from(io::ErrorKind::UnexpectedEof).into()
                });
            }
        }
    }

    /// Cuts the next message out of what was read already.
    ///
    /// # Errors
    /// When a length is out of bounds.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>, ReceiveError> {
        let Some(mut header) = self.input.get(..HEADER_BYTES) else {
            return Ok(None);
        };
        let tag = header.get_u8();
        let bytes = body_bytes(tag, header.get_i32(), self.message_bytes_max)?;
        if self.input.len() < HEADER_BYTES + bytes {
            return Ok(None);
        }
        self.input.advance(HEADER_BYTES);
        Ok(Some(Frame {
            tag,
            body: self.input.split_to(bytes).freeze(),
        }))
    }

    /// Appends a message to the output.
    ///
    /// # Errors
    /// When the message is longer than the protocol allows.
    pub(crate) fn put(&mut self, message: &impl Encode) -> io::Result<()> {
        message.encode(&mut self.output).map_err(io::Error::other)
    }

    /// Appends a message that `body` writes: its type byte, a length that is filled in afterwards, the content. What
    /// was written is taken back when `body` fails.
    ///
    /// # Errors
    /// When `body` fails.
    pub(crate) fn put_with<E>(&mut self, tag: u8, body: impl FnOnce(&mut BytesMut) -> Result<(), E>) -> Result<(), E> {
        let start = self.output.len();
        self.output.put_u8(tag);
        self.output.put_i32(0);
        if let Err(error) = body(&mut self.output) {
            self.output.truncate(start);
            return Err(error);
        }
        let length = self.output.len() - start - 1;
        let length = i32::try_from(length).expect("results are bounded far below 2 GiB");
        self.output[start + 1..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Sends the output gathered so far.
    ///
    /// # Errors
    /// When the connection fails, or the client does not read for too long.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let write = async {
            while !self.output.is_empty() {
                // The timeout restarts with each part that the client takes.
                let written = timeout(self.write_timeout, self.stream.write_buf(&mut self.output)).await??;
                if written == 0 {
                    return Err(io::Error::from(io::ErrorKind::WriteZero));
                }
            }
            timeout(self.write_timeout, self.stream.flush()).await?
        };
        write.await
    }

    /// Sends the output when there is enough of it to be worth a packet.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub(crate) async fn flush_when_large(&mut self) -> io::Result<()> {
        if self.output.len() >= OUTPUT_FLUSH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what is left and closes the stream; a client that has gone already is no error.
    pub(crate) async fn close(mut self) {
        let closing = async {
            self.flush().await?;
            timeout(self.write_timeout, self.stream.shutdown()).await?
        };
        if let Err(error) = closing.await {
            tracing::debug!(%error, "closing a connection");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn transport(client_bytes: usize) -> (tokio::io::DuplexStream, Transport<tokio::io::DuplexStream>) {
        let (client, server) = duplex(client_bytes);
        (client, Transport::new(server, Duration::from_millis(50)))
    }

    #[tokio::test]
    async fn messages_come_whole_however_they_are_cut() {
        let (mut client, mut server) = transport(64);
        let sent = b"Q\0\0\0\x06a\0S\0\0\0\x04";
        let writer = tokio::spawn(async move {
            for byte in sent {
                client.write_all(&[*byte]).await.expect("open");
                tokio::task::yield_now().await;
            }
            client
        });
        let query = server.receive().await.expect("a message");
        assert_eq!((query.tag, &query.body[..]), (b'Q', &b"a\0"[..]));
        let sync = server.receive().await.expect("a message");
        assert_eq!((sync.tag, sync.body.len()), (b'S', 0));
        drop(writer.await);
        assert!(matches!(server.receive().await, Err(ReceiveError::Closed)));
    }

    #[tokio::test]
    async fn lengths_are_bounded_at_the_edge() {
        for (length, accepted) in [(4 + 100, true), (4 + 101, false), (3, false), (-1, false)] {
            let (mut client, mut server) = transport(1_024);
            server.set_message_bytes_max(100);
            client.write_u8(b'Q').await.expect("open");
            client.write_i32(length).await.expect("open");
            client.write_all(&[0; 101]).await.expect("open");
            assert_eq!(server.receive().await.is_ok(), accepted, "{length}");
        }
    }

    #[tokio::test]
    async fn a_message_cut_off_is_no_clean_end() {
        let (mut client, mut server) = transport(64);
        client.write_all(b"Q\0\0\0").await.expect("open");
        drop(client);
        assert!(matches!(server.receive().await, Err(ReceiveError::Io(_))));
    }

    #[tokio::test]
    async fn an_opening_takes_no_byte_more_than_it_has() {
        let (mut client, mut server) = duplex(64);
        client
            .write_all(&[0, 0, 0, 8, 4, 210, 22, 47, 0x16])
            .await
            .expect("open");
        assert_eq!(receive_opening(&mut server).await.expect("a request"), Opening::Tls);
        assert_eq!(server.read_u8().await.expect("the handshake's first byte"), 0x16);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (_client, mut server) = transport(8);
        server
            .put_with::<io::Error>(b'D', |out| {
                out.put_slice(&[0; 64]);
                Ok(())
            })
            .expect("fits");
        let error = server.flush().await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_message_that_fails_half_way_is_taken_back() {
        let (_client, mut server) = transport(64);
        let failed = server.put_with(b'D', |out| {
            out.put_u8(1);
            Err("cannot be encoded")
        });
        assert_eq!(failed, Err("cannot be encoded"));
        assert!(server.output.is_empty());
    }
}
