//! Result rows: their description, and their values in text or binary form.

use bytes::{BufMut, BytesMut};
use craton_query::{ResultColumn, text};
use craton_types::{Row, Value};
use pgwire::messages::data::{FieldDescription, RowDescription};
use tokio::io::{AsyncRead, AsyncWrite};

use super::binary;
use super::failure::Failure;
use super::frontend::Format;
use super::session::Stop;
use super::transport::Transport;
use super::types;
use crate::connections::Cancellation;

/// The formats that `Bind` names for `count` columns or parameters: none means text, one stands for all.
///
/// # Errors
/// When there are as many formats as fit neither rule.
pub(crate) fn spread_formats(formats: &[Format], count: usize, what: &str) -> Result<Vec<Format>, Failure> {
    match formats {
        [] => Ok(vec![Format::Text; count]),
        [format] => Ok(vec![*format; count]),
        _ if formats.len() == count => Ok(formats.to_vec()),
        _ => Err(Failure::error(
            "08P01",
            format!("bind message has {} {what} formats but {count} {what}s", formats.len()),
        )),
    }
}

/// The description of a result's columns.
pub(crate) fn describe(columns: &[ResultColumn], formats: &[Format]) -> RowDescription {
    let fields = columns
        .iter()
        .zip(formats)
        .map(|(column, format)| {
            FieldDescription::new(
                column.name.clone(),
                0,
                0,
                types::object_id(column.column_type),
                types::size(column.column_type),
                types::modifier(column.column_type),
                format.code(),
            )
        })
        .collect();
    RowDescription::new(fields)
}

/// Why a row was not written.
#[derive(Debug, thiserror::Error)]
enum RowError {
    #[error(transparent)]
    Type(#[from] binary::TypeMismatch),
    #[error("a row has {found} values for {expected} columns")]
    Width { found: usize, expected: usize },
}

/// Appends a `DataRow` to the output.
///
/// # Errors
/// When the row does not fit its description: a defect.
fn put_row<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &mut Transport<S>,
    row: &Row,
    columns: &[ResultColumn],
    formats: &[Format],
) -> Result<(), Failure> {
    let written = transport.put_with(b'D', |out| -> Result<(), RowError> {
        if row.len() != columns.len() {
            return Err(RowError::Width {
                found: row.len(),
                expected: columns.len(),
            });
        }
        out.put_u16(u16::try_from(row.len()).expect("a result has at most 1,664 columns"));
        let mut scratch = String::new();
        for ((value, column), format) in row.iter().zip(columns).zip(formats) {
            put_value(value, column, *format, &mut scratch, out)?;
        }
        Ok(())
    });
    written.map_err(|error| Failure::internal(&error))
}

fn put_value(
    value: &Value,
    column: &ResultColumn,
    format: Format,
    scratch: &mut String,
    out: &mut BytesMut,
) -> Result<(), binary::TypeMismatch> {
    if value.is_null() {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    match format {
        Format::Text => {
            scratch.clear();
            text::write(value, column.column_type, scratch);
            out.put_slice(scratch.as_bytes());
        }
        Format::Binary => binary::encode(value, column.column_type, out)?,
    }
    let length = i32::try_from(out.len() - start - 4).expect("values are bounded far below 2 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Sends rows, and hands output to the socket as it grows.
///
/// # Errors
/// When the connection fails, the client cancels, or a row does not fit its description.
pub(crate) async fn put_rows<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &mut Transport<S>,
    rows: impl Iterator<Item = Row>,
    columns: &[ResultColumn],
    formats: &[Format],
    cancellation: &Cancellation,
) -> Result<(), Stop> {
    for row in rows {
        if cancellation.is_requested() {
            return Err(Failure::cancelled().into());
        }
        put_row(transport, &row, columns, formats)?;
        transport.flush_when_large().await?;
    }
    Ok(())
}
