//! What a column of a result is called when it has no alias.

use craton_types::ColumnType;
use sqlparser::ast::{self, Expr};

use crate::expression::fold;
use crate::types::column_type;

/// The name that PostgreSQL gives to a column without an alias.
pub(super) fn result_name(syntax: &Expr) -> String {
    const UNNAMED: &str = "?column?";
    let name = match syntax {
        Expr::Identifier(name) => fold(name).ok(),
        Expr::CompoundIdentifier(names) => names.last().and_then(|name| fold(name).ok()),
        Expr::Nested(inner) => return result_name(inner),
        Expr::Collate { expr, .. } => return result_name(expr),
        Expr::Function(function) => function
            .name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .and_then(|name| fold(name).ok()),
        Expr::Cast { expr, data_type, .. } => {
            let inner = result_name(expr);
            if inner == UNNAMED {
                type_label(data_type)
            } else {
                Some(inner)
            }
        }
        Expr::TypedString(typed) => type_label(&typed.data_type),
        Expr::Value(value) if matches!(value.value, ast::Value::Boolean(_)) => Some("bool".to_owned()),
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        _ => None,
    };
    name.unwrap_or_else(|| UNNAMED.to_owned())
}

/// PostgreSQL's internal name of a type, which a cast without another name shows.
fn type_label(data_type: &ast::DataType) -> Option<String> {
    let label = match column_type(data_type).ok()? {
        ColumnType::Bool => "bool",
        ColumnType::Int2 => "int2",
        ColumnType::Int4 => "int4",
        ColumnType::Int8 => "int8",
        ColumnType::Float4 => "float4",
        ColumnType::Float8 => "float8",
        ColumnType::Numeric { .. } => "numeric",
        ColumnType::Text => "text",
        ColumnType::Varchar { .. } => "varchar",
        ColumnType::Bytea => "bytea",
        ColumnType::Date => "date",
        ColumnType::Time => "time",
        ColumnType::Timestamp => "timestamp",
        ColumnType::TimestampTz => "timestamptz",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "json",
        ColumnType::Jsonb => "jsonb",
    };
    Some(label.to_owned())
}
