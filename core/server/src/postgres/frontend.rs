//! The messages a client sends (PostgreSQL protocol 3, "Message Formats"), parsed without ever panicking.
//!
//! The caller has cut one whole message out of the stream; every read here is checked against its end, so a
//! malformed message costs an error and can never reach into the next one.

use bytes::{Buf, Bytes};

/// The code in place of a protocol version that asks for TLS.
const TLS_REQUEST_CODE: i32 = 80_877_103;
/// The code that asks for GSSAPI encryption.
const GSSAPI_REQUEST_CODE: i32 = 80_877_104;
/// The code that asks to cancel another connection's statement.
const CANCEL_REQUEST_CODE: i32 = 80_877_102;

/// Why a message was not understood. SQLSTATE 08P01, or 22021 for text that is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    /// The message ends before its content does.
    #[error("message {tag:?} ends early")]
    Short {
        /// The message's type byte; NUL for the messages before authentication.
        tag: char,
    },
    /// The content ends before the message does.
    #[error("message {tag:?} has {bytes} bytes too many")]
    Long {
        /// The message's type byte.
        tag: char,
        /// How many bytes are left.
        bytes: usize,
    },
    /// The type byte is none of the protocol's.
    #[error("invalid frontend message type {tag:?}")]
    Type {
        /// The message's type byte.
        tag: char,
    },
    /// A field has a value that the protocol does not allow.
    #[error("message {tag:?} has an invalid {field}")]
    Field {
        /// The message's type byte.
        tag: char,
        /// Which field.
        field: &'static str,
    },
    /// A text is not valid UTF-8.
    #[error("invalid byte sequence for encoding \"UTF8\" in message {tag:?}")]
    Encoding {
        /// The message's type byte.
        tag: char,
    },
}

/// What a connection may begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// `SSLRequest`.
    Tls,
    /// `GSSENCRequest`.
    Gssapi,
    /// `CancelRequest`: the process id and the secret key that the other connection was given.
    Cancel {
        /// Which connection.
        process_id: i32,
        /// Proof that the sender knows the connection.
        secret: Bytes,
    },
    /// `StartupMessage`.
    Startup {
        /// Major and minor protocol version.
        version: (u16, u16),
        /// Parameter names and values in the order sent.
        parameters: Vec<(String, String)>,
    },
}

/// What `Describe` and `Close` refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// How a value travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The type's text form.
    Text,
    /// The type's binary form.
    Binary,
}

impl Format {
    /// The format's code in messages.
    pub(crate) const fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// A message after the connection's opening.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// `Query`: one or more statements in one text.
    Query {
        /// The SQL text.
        sql: String,
    },
    /// `Parse`.
    Parse {
        /// The prepared statement's name; empty is the unnamed one.
        statement: String,
        /// The SQL text.
        sql: String,
        /// Object ids of the parameters' types; 0 leaves one open.
        parameter_types: Vec<u32>,
    },
    /// `Bind`.
    Bind {
        /// The portal's name; empty is the unnamed one.
        portal: String,
        /// The prepared statement's name.
        statement: String,
        /// None, one for all, or one for each parameter.
        parameter_formats: Vec<Format>,
        /// Values; `None` is NULL.
        parameters: Vec<Option<Bytes>>,
        /// None, one for all, or one for each result column.
        result_formats: Vec<Format>,
    },
    /// `Describe`.
    Describe {
        /// What kind of thing.
        target: Target,
        /// Its name.
        name: String,
    },
    /// `Execute`.
    Execute {
        /// The portal's name.
        portal: String,
        /// The most rows to return; `None` for all.
        rows_max: Option<usize>,
    },
    /// `Close`.
    Close {
        /// What kind of thing.
        target: Target,
        /// Its name.
        name: String,
    },
    /// `Flush`.
    Flush,
    /// `Sync`.
    Sync,
    /// `CopyData`.
    CopyData(Bytes),
    /// `CopyDone`.
    CopyDone,
    /// `CopyFail` with the client's reason.
    CopyFail(String),
    /// `PasswordMessage`, `SASLInitialResponse` or `SASLResponse`: the state of the exchange says which.
    Password(Bytes),
    /// `Terminate`.
    Terminate,
}

/// Parses the first message of a connection, given what follows its length.
///
/// # Errors
/// When the message is malformed.
pub(crate) fn parse_opening(body: Bytes) -> Result<Opening, MessageError> {
    let mut fields = Fields { tag: 0, body };
    let code = fields.i32()?;
    match code {
        TLS_REQUEST_CODE => {
            fields.finish()?;
            Ok(Opening::Tls)
        }
        GSSAPI_REQUEST_CODE => {
            fields.finish()?;
            Ok(Opening::Gssapi)
        }
        CANCEL_REQUEST_CODE => Ok(Opening::Cancel {
            process_id: fields.i32()?,
            secret: fields.rest(),
        }),
        _ => {
            let [major_high, major_low, minor_high, minor_low] = code.to_be_bytes();
            let mut parameters = Vec::new();
            loop {
                let name = fields.text()?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, fields.text()?));
            }
            fields.finish()?;
            Ok(Opening::Startup {
                version: (
                    u16::from_be_bytes([major_high, major_low]),
                    u16::from_be_bytes([minor_high, minor_low]),
                ),
                parameters,
            })
        }
    }
}

/// Parses a message, given its type byte and what follows its length.
///
/// # Errors
/// When the message is malformed or of no known type.
pub(crate) fn parse(tag: u8, body: Bytes) -> Result<Message, MessageError> {
    let mut fields = Fields { tag, body };
    let message = match tag {
        b'Q' => Message::Query { sql: fields.text()? },
        b'P' => Message::Parse {
            statement: fields.text()?,
            sql: fields.text()?,
            parameter_types: fields.list(|fields| fields.u32())?,
        },
        b'B' => Message::Bind {
            portal: fields.text()?,
            statement: fields.text()?,
            parameter_formats: fields.list(Fields::format)?,
            parameters: fields.list(Fields::value)?,
            result_formats: fields.list(Fields::format)?,
        },
        b'D' => Message::Describe {
            target: fields.target()?,
            name: fields.text()?,
        },
        b'E' => Message::Execute {
            portal: fields.text()?,
            // Zero, and for PostgreSQL a negative number too, means no limit.
            rows_max: usize::try_from(fields.i32()?).ok().filter(|&rows| rows > 0),
        },
        b'C' => Message::Close {
            target: fields.target()?,
            name: fields.text()?,
        },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'd' => Message::CopyData(fields.rest()),
        b'c' => Message::CopyDone,
        b'f' => Message::CopyFail(fields.text()?),
        b'p' => Message::Password(fields.rest()),
        b'X' => Message::Terminate,
        _ => return Err(MessageError::Type { tag: char::from(tag) }),
    };
    fields.finish()?;
    Ok(message)
}

/// Whether an error in a message of this type leaves the client waiting for its `Sync`.
pub(crate) const fn belongs_to_extended_protocol(tag: u8) -> bool {
    matches!(tag, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
}

/// Parses `SASLInitialResponse`: the mechanism and its first message.
///
/// # Errors
/// When the message is malformed.
pub(crate) fn parse_sasl_initial_response(body: Bytes) -> Result<(String, Bytes), MessageError> {
    let mut fields = Fields { tag: b'p', body };
    let mechanism = fields.text()?;
    let first = fields.value()?.unwrap_or_default();
    fields.finish()?;
    Ok((mechanism, first))
}

/// Parses `PasswordMessage`.
///
/// # Errors
/// When the message is malformed.
pub(crate) fn parse_password(body: Bytes) -> Result<String, MessageError> {
    let mut fields = Fields { tag: b'p', body };
    let password = fields.text()?;
    fields.finish()?;
    Ok(password)
}

/// A cursor over one message's content.
struct Fields {
    tag: u8,
    body: Bytes,
}

impl Fields {
    fn tag(&self) -> char {
        char::from(self.tag)
    }

    fn short(&self) -> MessageError {
        MessageError::Short { tag: self.tag() }
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        self.body.try_get_u8().map_err(|_| self.short())
    }

    fn u16(&mut self) -> Result<u16, MessageError> {
        self.body.try_get_u16().map_err(|_| self.short())
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        self.body.try_get_u32().map_err(|_| self.short())
    }

    fn i32(&mut self) -> Result<i32, MessageError> {
        self.body.try_get_i32().map_err(|_| self.short())
    }

    fn text(&mut self) -> Result<String, MessageError> {
        let end = self.body.iter().position(|&byte| byte == 0).ok_or(self.short())?;
        let bytes = self.body.split_to(end);
        self.body.advance(1);
        String::from_utf8(bytes.into()).map_err(|_| MessageError::Encoding { tag: self.tag() })
    }

    fn rest(&mut self) -> Bytes {
        self.body.split_off(0)
    }

    fn value(&mut self) -> Result<Option<Bytes>, MessageError> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| MessageError::Field {
                    tag: self.tag(),
                    field: "value length",
                })?;
                if length > self.body.remaining() {
                    return Err(self.short());
                }
                Ok(Some(self.body.split_to(length)))
            }
        }
    }

    fn format(&mut self) -> Result<Format, MessageError> {
        match self.u16()? {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            _ => Err(MessageError::Field {
                tag: self.tag(),
                field: "format code",
            }),
        }
    }

    fn target(&mut self) -> Result<Target, MessageError> {
        match self.u8()? {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            _ => Err(MessageError::Field {
                tag: self.tag(),
                field: "target",
            }),
        }
    }

    /// A count of 16 bits and as many elements. Every element takes at least two bytes of a message that is already
    /// in memory, so the list cannot grow past what the client has sent.
    fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, MessageError>,
    ) -> Result<Vec<T>, MessageError> {
        let count = self.u16()?;
        (0..count).map(|_| element(self)).collect()
    }

    fn finish(&self) -> Result<(), MessageError> {
        match self.body.remaining() {
            0 => Ok(()),
            bytes => Err(MessageError::Long { tag: self.tag(), bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_parse() {
        for (tag, body, expected) in [
            (b'Q', &b"SELECT 1\0"[..], Message::Query { sql: "SELECT 1".into() }),
            (
                b'P',
                b"s\0SELECT $1\0\0\x01\0\0\0\x17",
                Message::Parse {
                    statement: "s".into(),
                    sql: "SELECT $1".into(),
                    parameter_types: vec![23],
                },
            ),
            (
                b'B',
                b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0",
                Message::Bind {
                    portal: String::new(),
                    statement: "s".into(),
                    parameter_formats: vec![Format::Binary],
                    parameters: vec![Some(Bytes::from_static(b"x")), None],
                    result_formats: vec![],
                },
            ),
            (
                b'E',
                b"\0\0\0\0\x05",
                Message::Execute {
                    portal: String::new(),
                    rows_max: Some(5),
                },
            ),
            (
                b'E',
                b"\0\xff\xff\xff\xff",
                Message::Execute {
                    portal: String::new(),
                    rows_max: None,
                },
            ),
            (
                b'D',
                b"Pp\0",
                Message::Describe {
                    target: Target::Portal,
                    name: "p".into(),
                },
            ),
            (b'S', b"", Message::Sync),
            (b'd', b"a,b\n", Message::CopyData(Bytes::from_static(b"a,b\n"))),
            (b'f', b"why\0", Message::CopyFail("why".into())),
        ] {
            assert_eq!(parse(tag, Bytes::copy_from_slice(body)), Ok(expected));
        }
    }

    #[test]
    fn malformed_messages_are_named() {
        for (tag, body, expected) in [
            (b'Q', &b"SELECT 1"[..], MessageError::Short { tag: 'Q' }),
            (b'Q', b"a\0b", MessageError::Long { tag: 'Q', bytes: 1 }),
            (b'Q', b"\xff\0", MessageError::Encoding { tag: 'Q' }),
            (b'P', b"\0\0\0\x01", MessageError::Short { tag: 'P' }),
            (
                b'B',
                b"\0\0\0\0\0\x01\x7f\xff\xff\xff",
                MessageError::Short { tag: 'B' },
            ),
            (
                b'B',
                b"\0\0\0\0\0\x01\xff\xff\xff\xfe",
                MessageError::Field {
                    tag: 'B',
                    field: "value length",
                },
            ),
            (
                b'B',
                b"\0\0\0\x01\0\x02\0\0\0\0",
                MessageError::Field {
                    tag: 'B',
                    field: "format code",
                },
            ),
            (
                b'C',
                b"X\0",
                MessageError::Field {
                    tag: 'C',
                    field: "target",
                },
            ),
            (b'F', b"", MessageError::Type { tag: 'F' }),
        ] {
            assert_eq!(parse(tag, Bytes::copy_from_slice(body)), Err(expected));
        }
    }

    #[test]
    fn openings_parse() {
        let startup = b"\0\x03\0\0user\0app\0database\0main\0\0";
        assert_eq!(
            parse_opening(Bytes::from_static(startup)),
            Ok(Opening::Startup {
                version: (3, 0),
                parameters: vec![("user".into(), "app".into()), ("database".into(), "main".into())],
            })
        );
        assert_eq!(parse_opening(Bytes::from_static(&[4, 210, 22, 47])), Ok(Opening::Tls));
        assert_eq!(
            parse_opening(Bytes::from_static(&[4, 210, 22, 46, 0, 0, 0, 7, 1, 2, 3, 4])),
            Ok(Opening::Cancel {
                process_id: 7,
                secret: Bytes::from_static(&[1, 2, 3, 4])
            })
        );
        assert_eq!(
            parse_opening(Bytes::from_static(b"\0\x03\0\0user\0app")),
            Err(MessageError::Short { tag: '\0' })
        );
    }

    proptest! {
        #[test]
        fn no_message_panics(tag in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let body = Bytes::from(body);
            let _ = parse(tag, body.clone());
            let _ = parse_opening(body.clone());
            let _ = parse_sasl_initial_response(body.clone());
            let _ = parse_password(body);
        }
    }
}
