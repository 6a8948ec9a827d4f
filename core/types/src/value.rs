//! SQL values and rows, with a canonical CBOR encoding (RFC 8949, section 4.2.1).

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use rust_decimal::Decimal;

use crate::SealedCell;

/// One SQL value. The column's type says how wide an integer or how long a text may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// `boolean`.
    Bool(bool),
    /// `smallint`, `integer` and `bigint`.
    Int(i64),
    /// `real` and `double precision`.
    Float(f64),
    /// `numeric`: up to 28 significant digits; the scale is kept.
    Numeric(Decimal),
    /// `text` and `varchar(n)`.
    Text(String),
    /// `bytea`.
    Bytes(Vec<u8>),
    /// `date`: days since 1970-01-01.
    Date(i32),
    /// `time`: microseconds since midnight.
    Time(i64),
    /// `timestamp`: microseconds since 1970-01-01 00:00:00, without zone.
    Timestamp(i64),
    /// `timestamptz`: microseconds since the Unix epoch.
    TimestampTz(i64),
    /// `uuid`.
    Uuid([u8; 16]),
    /// `json` and `jsonb`, as text.
    Json(String),
    /// A value of an erasable column as logs and views hold it. Queries see it opened, or NULL once it is erased.
    Sealed(Box<SealedCell>),
}

/// A row's values in column order.
pub type Row = Vec<Value>;

impl Value {
    /// Whether this is NULL.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

// Encoding: NULL, booleans, integers, texts and byte strings are the CBOR types of those names; every other
// value is an array of a tag number and its content, so that a decoder needs no schema.
const TAG_FLOAT: u8 = 1;
const TAG_NUMERIC: u8 = 2;
const TAG_DATE: u8 = 3;
const TAG_TIME: u8 = 4;
const TAG_TIMESTAMP: u8 = 5;
const TAG_TIMESTAMPTZ: u8 = 6;
const TAG_UUID: u8 = 7;
const TAG_JSON: u8 = 8;
const TAG_SEALED: u8 = 9;

impl<C> Encode<C> for Value {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::Null => e.null()?,
            Self::Bool(value) => e.bool(*value)?,
            Self::Int(value) => e.i64(*value)?,
            Self::Text(value) => e.str(value)?,
            Self::Bytes(value) => e.bytes(value)?,
            Self::Float(value) => e.array(2)?.u8(TAG_FLOAT)?.f64(*value)?,
            Self::Numeric(value) => e.array(2)?.u8(TAG_NUMERIC)?.str(&value.to_string())?,
            Self::Date(value) => e.array(2)?.u8(TAG_DATE)?.i32(*value)?,
            Self::Time(value) => e.array(2)?.u8(TAG_TIME)?.i64(*value)?,
            Self::Timestamp(value) => e.array(2)?.u8(TAG_TIMESTAMP)?.i64(*value)?,
            Self::TimestampTz(value) => e.array(2)?.u8(TAG_TIMESTAMPTZ)?.i64(*value)?,
            Self::Uuid(value) => e.array(2)?.u8(TAG_UUID)?.bytes(value)?,
            Self::Json(value) => e.array(2)?.u8(TAG_JSON)?.str(value)?,
            Self::Sealed(cell) => e.array(2)?.u8(TAG_SEALED)?.encode(cell.as_ref())?,
        };
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Value {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        use minicbor::data::Type;
        Ok(match d.datatype()? {
            Type::Null => {
                d.null()?;
                Self::Null
            }
            Type::Bool => Self::Bool(d.bool()?),
            Type::String => Self::Text(d.str()?.to_owned()),
            Type::Bytes => Self::Bytes(d.bytes()?.to_vec()),
            Type::Array => decode_tagged(d)?,
            _ => Self::Int(d.i64()?),
        })
    }
}

fn decode_tagged(d: &mut Decoder<'_>) -> Result<Value, DecodeError> {
    if d.array()? != Some(2) {
        return Err(DecodeError::message("a tagged value is an array of two"));
    }
    Ok(match d.u8()? {
        TAG_FLOAT => Value::Float(d.f64()?),
        TAG_NUMERIC => {
            Value::Numeric(Decimal::from_str_exact(d.str()?).map_err(|_| DecodeError::message("not a decimal number"))?)
        }
        TAG_DATE => Value::Date(d.i32()?),
        TAG_TIME => Value::Time(d.i64()?),
        TAG_TIMESTAMP => Value::Timestamp(d.i64()?),
        TAG_TIMESTAMPTZ => Value::TimestampTz(d.i64()?),
        TAG_UUID => Value::Uuid(
            d.bytes()?
                .try_into()
                .map_err(|_| DecodeError::message("a uuid has 16 bytes"))?,
        ),
        TAG_JSON => Value::Json(d.str()?.to_owned()),
        TAG_SEALED => Value::Sealed(Box::new(d.decode()?)),
        _ => return Err(DecodeError::message("unknown value tag")),
    })
}
