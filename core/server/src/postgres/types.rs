//! PostgreSQL's numbers for the column types: object id, size and modifier (catalog `pg_type`).

use craton_types::ColumnType;

/// The object id of `unknown`, which clients send for "find out yourself".
const UNKNOWN_OID: u32 = 705;

/// The object id that result columns and parameters of this type carry.
pub(crate) const fn object_id(column_type: ColumnType) -> u32 {
    match column_type {
        ColumnType::Bool => 16,
        ColumnType::Bytea => 17,
        ColumnType::Int8 => 20,
        ColumnType::Int2 => 21,
        ColumnType::Int4 => 23,
        ColumnType::Text => 25,
        ColumnType::Json => 114,
        ColumnType::Float4 => 700,
        ColumnType::Float8 => 701,
        ColumnType::Varchar { .. } => 1043,
        ColumnType::Date => 1082,
        ColumnType::Time => 1083,
        ColumnType::Timestamp => 1114,
        ColumnType::TimestampTz => 1184,
        ColumnType::Numeric { .. } => 1700,
        ColumnType::Uuid => 2950,
        ColumnType::Jsonb => 3802,
    }
}

/// The type's width in bytes, -1 when it varies.
pub(crate) const fn size(column_type: ColumnType) -> i16 {
    match column_type {
        ColumnType::Bool => 1,
        ColumnType::Int2 => 2,
        ColumnType::Int4 | ColumnType::Float4 | ColumnType::Date => 4,
        ColumnType::Int8 | ColumnType::Float8 | ColumnType::Time | ColumnType::Timestamp | ColumnType::TimestampTz => 8,
        ColumnType::Uuid => 16,
        ColumnType::Text
        | ColumnType::Varchar { .. }
        | ColumnType::Bytea
        | ColumnType::Numeric { .. }
        | ColumnType::Json
        | ColumnType::Jsonb => -1,
    }
}

/// The modifier that tells `varchar(n)` and `numeric(p, s)` from their unbounded forms, -1 for none. Both count the
/// four bytes of a length header that only PostgreSQL's storage has.
pub(crate) fn modifier(column_type: ColumnType) -> i32 {
    match column_type {
        ColumnType::Varchar { length_max } => i32::try_from(length_max).map_or(-1, |length| length.saturating_add(4)),
        ColumnType::Numeric {
            precision_and_scale: Some((precision, scale)),
        } => ((i32::from(precision) << 16) | i32::from(scale)) + 4,
        _ => -1,
    }
}

/// A parameter type that a client declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    /// The client leaves it to the server.
    Open,
    /// The client says which.
    As(ColumnType),
    /// The client names a type that does not exist here.
    Unsupported,
}

/// Reads a parameter type from `Parse`.
pub(crate) const fn declared(object_id: u32) -> Declared {
    Declared::As(match object_id {
        0 | UNKNOWN_OID => return Declared::Open,
        16 => ColumnType::Bool,
        17 => ColumnType::Bytea,
        20 => ColumnType::Int8,
        21 => ColumnType::Int2,
        23 => ColumnType::Int4,
        // `name` and `bpchar` have the same text and binary forms as `text`.
        19 | 25 | 1042 | 1043 => ColumnType::Text,
        114 => ColumnType::Json,
        700 => ColumnType::Float4,
        701 => ColumnType::Float8,
        1082 => ColumnType::Date,
        1083 => ColumnType::Time,
        1114 => ColumnType::Timestamp,
        1184 => ColumnType::TimestampTz,
        1700 => ColumnType::Numeric {
            precision_and_scale: None,
        },
        2950 => ColumnType::Uuid,
        3802 => ColumnType::Jsonb,
        _ => return Declared::Unsupported,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_is_described_as_itself() {
        for object in [
            16, 17, 20, 21, 23, 25, 114, 700, 701, 1082, 1083, 1114, 1184, 1700, 2950, 3802,
        ] {
            let Declared::As(column_type) = declared(object) else {
                panic!("{object} is supported");
            };
            assert_eq!(object_id(column_type), object);
        }
        assert_eq!(declared(0), Declared::Open);
        assert_eq!(declared(705), Declared::Open);
        // An array of integers.
        assert_eq!(declared(1007), Declared::Unsupported);
    }

    #[test]
    fn modifiers_are_postgresqls() {
        assert_eq!(modifier(ColumnType::Varchar { length_max: 10 }), 14);
        let numeric = ColumnType::Numeric {
            precision_and_scale: Some((10, 2)),
        };
        assert_eq!(modifier(numeric), 655_366);
        assert_eq!(modifier(ColumnType::Text), -1);
    }
}
