//! Names of types, in both directions.

use craton_types::ColumnType;
use sqlparser::ast::{self, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

use crate::limits::{NUMERIC_PRECISION_MAX, VARCHAR_LENGTH_MAX};
use crate::{SqlError, SqlState};

/// The type's name in messages, without its length or precision.
pub(crate) const fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Bool => "boolean",
        ColumnType::Int2 => "smallint",
        ColumnType::Int4 => "integer",
        ColumnType::Int8 => "bigint",
        ColumnType::Float4 => "real",
        ColumnType::Float8 => "double precision",
        ColumnType::Numeric { .. } => "numeric",
        ColumnType::Text => "text",
        ColumnType::Varchar { .. } => "character varying",
        ColumnType::Bytea => "bytea",
        ColumnType::Date => "date",
        ColumnType::Time => "time without time zone",
        ColumnType::Timestamp => "timestamp without time zone",
        ColumnType::TimestampTz => "timestamp with time zone",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "json",
        ColumnType::Jsonb => "jsonb",
    }
}

/// `numeric` without declared digits.
pub(crate) const NUMERIC: ColumnType = ColumnType::Numeric {
    precision_and_scale: None,
};

/// The type without its length or digits: what an expression of it has.
pub(crate) const fn base(column_type: ColumnType) -> ColumnType {
    match column_type {
        ColumnType::Varchar { .. } => ColumnType::Text,
        ColumnType::Numeric { .. } => NUMERIC,
        other => other,
    }
}

/// The type that SQL text names.
///
/// # Errors
/// `0A000` for types that PostgreSQL has and we do not, `42704` for others, `22023` for a length out of bounds.
pub(crate) fn column_type(data_type: &DataType) -> Result<ColumnType, SqlError> {
    Ok(match data_type {
        DataType::Bool | DataType::Boolean => ColumnType::Bool,
        DataType::SmallInt(None) | DataType::Int2(None) => ColumnType::Int2,
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => ColumnType::Int4,
        DataType::BigInt(None) | DataType::Int8(None) => ColumnType::Int8,
        DataType::Real | DataType::Float4 => ColumnType::Float4,
        DataType::DoublePrecision | DataType::Float8 => ColumnType::Float8,
        DataType::Float(ExactNumberInfo::None) => ColumnType::Float8,
        DataType::Float(ExactNumberInfo::Precision(1..=24)) => ColumnType::Float4,
        DataType::Float(ExactNumberInfo::Precision(25..=53)) => ColumnType::Float8,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info)?,
        DataType::Text => ColumnType::Text,
        DataType::Varchar(None) | DataType::CharacterVarying(None) | DataType::CharVarying(None) => ColumnType::Text,
        DataType::Varchar(Some(length))
        | DataType::CharacterVarying(Some(length))
        | DataType::CharVarying(Some(length)) => varchar(length)?,
        DataType::Bytea => ColumnType::Bytea,
        DataType::Date => ColumnType::Date,
        DataType::Time(None | Some(6), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => ColumnType::Time,
        DataType::Timestamp(None | Some(6), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            ColumnType::Timestamp
        }
        DataType::Timestamp(None | Some(6), TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => ColumnType::TimestampTz,
        DataType::Uuid => ColumnType::Uuid,
        DataType::JSON => ColumnType::Json,
        DataType::JSONB => ColumnType::Jsonb,
        DataType::Custom(name, modifiers) if modifiers.is_empty() => custom(name)?,
        other => return Err(unsupported(other)),
    })
}

fn unsupported(data_type: &DataType) -> SqlError {
    SqlError::unsupported(format!("type {}", data_type.to_string().to_lowercase())).with_hint(
        "Types are boolean, smallint, integer, bigint, real, double precision, numeric, text, varchar(n), bytea, date, \
         time, timestamp, timestamptz, uuid, json and jsonb.",
    )
}

fn custom(name: &ast::ObjectName) -> Result<ColumnType, SqlError> {
    let spelled = name.to_string().to_lowercase();
    match spelled.strip_prefix("pg_catalog.").unwrap_or(&spelled) {
        "timestamptz" => Ok(ColumnType::TimestampTz),
        "name" => Ok(ColumnType::Text),
        "serial" | "serial4" | "bigserial" | "serial8" | "smallserial" | "serial2" => {
            Err(SqlError::unsupported(format!("type {spelled}"))
                .with_hint("Use uuid DEFAULT gen_random_uuid(), or assign numbers in the application."))
        }
        "char" | "bpchar" | "timetz" | "interval" | "money" | "inet" | "cidr" | "macaddr" | "xml" | "oid"
        | "regclass" | "hstore" | "citext" => Err(SqlError::unsupported(format!("type {spelled}"))),
        _ => Err(SqlError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("type \"{spelled}\" does not exist"),
        )),
    }
}

fn varchar(length: &CharacterLength) -> Result<ColumnType, SqlError> {
    let refused = |message: String| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    match length {
        CharacterLength::IntegerLength { length: 0, .. } => {
            refused("length for type varchar must be at least 1".to_owned())
        }
        CharacterLength::IntegerLength { length, unit: None } => match u32::try_from(*length) {
            Ok(length_max) if length_max <= VARCHAR_LENGTH_MAX => Ok(ColumnType::Varchar { length_max }),
            _ => refused(format!("length for type varchar cannot exceed {VARCHAR_LENGTH_MAX}")),
        },
        _ => Err(SqlError::unsupported(format!("varchar({length})"))),
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<ColumnType, SqlError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(NUMERIC),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let refused = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let precision = u8::try_from(precision)
        .ok()
        .filter(|precision| (1..=NUMERIC_PRECISION_MAX).contains(precision))
        .ok_or_else(|| {
            refused(format!(
                "NUMERIC precision {precision} must be between 1 and {NUMERIC_PRECISION_MAX}"
            ))
        })?;
    let scale = u8::try_from(scale)
        .ok()
        .filter(|scale| *scale <= precision)
        .ok_or_else(|| {
            refused(format!(
                "NUMERIC scale {scale} must be between 0 and precision {precision}"
            ))
        })?;
    Ok(ColumnType::Numeric {
        precision_and_scale: Some((precision, scale)),
    })
}

/// The type as SQL text, with its length or digits, as `\d` and `format_type` show it.
pub(crate) fn full_type_name(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::Varchar { length_max } => format!("character varying({length_max})"),
        ColumnType::Numeric {
            precision_and_scale: Some((precision, scale)),
        } => format!("numeric({precision},{scale})"),
        other => type_name(other).to_owned(),
    }
}
