//! Results as JSON, for programs. Names are those of the formats' fields.

use craton_proof::{
    Checkpoint, Cosignature, LogPart, LogSummary, LogVerifyError, VerifiedClaim, VerifiedReceipt, VerifiedStateReceipt,
    timestamp_text, value_text,
};
use craton_types::{Change, Region, Row, TableSummary, Value};
use serde_json::{Map, Value as Json, json};

/// A verified receipt of either kind. A state receipt has a `claim`, a receipt of a record has not.
#[must_use]
pub fn claim(claim: &VerifiedClaim) -> Json {
    match claim {
        VerifiedClaim::Changes(receipt) => self::receipt(receipt),
        VerifiedClaim::State(receipt) => state_receipt(receipt),
    }
}

fn receipt(receipt: &VerifiedReceipt) -> Json {
    let header = &receipt.header;
    let changes = receipt.changes.iter().map(|verified| {
        let mut change = change(receipt, &verified.change);
        change["chunk"] = verified.chunk_index.into();
        change
    });
    json!({
        "verified": true,
        "position": header.offset.get(),
        "time": receipt.time_text(),
        "tenant": header.tenant.to_string(),
        "stream": receipt.summary.stream,
        "stream_number": header.stream.get(),
        "stream_sequence": header.stream_sequence.get(),
        "actor": header.actor.to_string(),
        "correlation_id": header.correlation_id.to_string(),
        "idempotency_id": header.idempotency_id.to_string(),
        "key_epoch": header.key_epoch.get(),
        "record_hash": receipt.record_hash.to_string(),
        "changes": changes.collect::<Vec<_>>(),
        "checkpoint": checkpoint(&receipt.checkpoint),
        "key": receipt.key.to_string(),
        "cosignatures": receipt.cosignatures.iter().map(cosignature).collect::<Vec<_>>(),
    })
}

fn state_receipt(receipt: &VerifiedStateReceipt) -> Json {
    let key = receipt
        .table
        .primary_key
        .iter()
        .zip(&receipt.key)
        .filter_map(|(&position, field)| {
            let column = receipt.table.columns.get(usize::from(position))?;
            Some((column.name.clone(), value(field)))
        });
    json!({
        "verified": true,
        "claim": if receipt.row.is_some() { "latest" } else { "absent" },
        "as_of_position": receipt.size.checked_sub(1),
        "table": receipt.table.name,
        "primary_key": Json::Object(key.collect()),
        "checkpointed": receipt.committed_time_text(),
        "checkpoint_position": receipt.committed_by.offset.get(),
        "record": receipt.row.as_ref().map(self::receipt),
        "checkpoint": checkpoint(&receipt.checkpoint),
        "key": receipt.log_key.to_string(),
        "cosignatures": receipt.cosignatures.iter().map(cosignature).collect::<Vec<_>>(),
    })
}

/// A witness's statement.
#[must_use]
pub fn cosignature(cosignature: &Cosignature) -> Json {
    json!({
        "witness": cosignature.key.name().as_str(),
        "key": cosignature.key.to_string(),
        "time_seconds": cosignature.time_seconds,
    })
}

fn change(receipt: &VerifiedReceipt, change: &Change) -> Json {
    match change {
        Change::Row(row) => {
            let Some(table) = receipt.table(row) else {
                return json!({ "kind": "row" });
            };
            let action = match (&row.before, &row.after) {
                (None, _) => "inserted",
                (Some(_), Some(_)) => "updated",
                (Some(_), None) => "deleted",
            };
            let known = row.after.as_ref().or(row.before.as_ref());
            json!({
                "kind": "row",
                "action": action,
                "table": table.name,
                "primary_key": known.map(|row| primary_key(table, row)),
                "before": row.before.as_ref().map(|row| object(table, row)),
                "after": row.after.as_ref().map(|row| object(table, row)),
            })
        }
        Change::CreateTable(schema) => json!({
            "kind": "create_table",
            "table": schema.name,
            "columns": schema.columns.iter().map(|column| &column.name).collect::<Vec<_>>(),
        }),
        Change::DropTable { name, .. } => json!({ "kind": "drop_table", "table": name }),
        Change::Event(bytes) => json!({
            "kind": "event",
            "text": std::str::from_utf8(bytes).ok(),
            "bytes": value(&Value::Bytes(bytes.clone())),
        }),
        Change::CreateDatabase(database) => json!({
            "kind": "create_database",
            "database": database.name,
            "tenant": database.tenant.to_string(),
        }),
        Change::PutUser(user) => json!({
            "kind": "put_user",
            "user": user.name,
            "actor": user.actor.to_string(),
        }),
        Change::DropUser { name } => json!({ "kind": "drop_user", "user": name }),
        Change::FormatRaised { to } => json!({ "kind": "raise_format", "version": to.get() }),
        Change::SubjectErased { subject, key, reason } => json!({
            "kind": "subject_erased",
            "subject": subject,
            "key": key.get(),
            "reason": reason,
        }),
        Change::ErasureRefused {
            subject,
            held,
            retained_until,
            reason,
        } => json!({
            "kind": "erasure_refused",
            "subject": subject,
            "held": held,
            "retained_until": retained_until.map(timestamp_text),
            "reason": reason,
        }),
        Change::SubjectHeld { subject, reason } => {
            json!({ "kind": "subject_held", "subject": subject, "reason": reason })
        }
        Change::SubjectReleased { subject, reason } => {
            json!({ "kind": "subject_released", "subject": subject, "reason": reason })
        }
        Change::PlacementSet(placement) => json!({
            "kind": "placement_set",
            "region": placement.region.as_ref().map(Region::as_str),
            "rules": placement.rules.to_string(),
        }),
        Change::PlacementRefused { class, region, name } => json!({
            "kind": "placement_refused",
            "data_class": class.as_str(),
            "region": region.as_ref().map(Region::as_str),
            "name": name,
        }),
        Change::RetentionSet { name, retention, .. } => json!({
            "kind": "retention_set",
            "table": name,
            "retention": retention.map(|retention| retention.to_string()),
        }),
        Change::Recovered(recovered) => json!({
            "kind": "recovered",
            "area": recovered.area.as_str(),
            "file": recovered.file,
            "reason": recovered.reason,
            "action": recovered.action.as_str(),
        }),
        Change::KeysRotated(rotated) => json!({ "kind": "keys_rotated", "epoch": rotated.epoch.get() }),
    }
}

fn primary_key(table: &TableSummary, row: &Row) -> Json {
    let columns = table.primary_key.iter().filter_map(|position| {
        let position = usize::from(*position);
        Some((table.columns.get(position)?.clone(), value(row.get(position)?)))
    });
    Json::Object(columns.collect())
}

fn object(table: &TableSummary, row: &Row) -> Json {
    let columns = table.columns.iter().zip(row);
    Json::Object(
        columns
            .map(|(name, field)| (name.clone(), value(field)))
            .collect::<Map<_, _>>(),
    )
}

/// JSON's own types where they hold the value exactly, text otherwise.
fn value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) | Value::Json(text) => text.clone().into(),
        // No text that could be mistaken for a value.
        Value::Sealed(_) => json!({ "erased_or_withheld": true }),
        other => value_text(other).trim_matches('\'').into(),
    }
}

/// A checkpoint.
#[must_use]
pub fn checkpoint(checkpoint: &Checkpoint) -> Json {
    json!({
        "origin": checkpoint.origin.as_str(),
        "size": checkpoint.size,
        "root": checkpoint.root.to_string(),
    })
}

/// A verified log.
#[must_use]
pub fn log(summary: &LogSummary) -> Json {
    json!({
        "verified": true,
        "tenant": summary.tenant.to_string(),
        "segments": summary.segments,
        "records": summary.records,
        "first_time": summary.first_time.map(timestamp_text),
        "last_time": summary.last_time.map(timestamp_text),
        "root": summary.root.to_string(),
        "last_hash": summary.last_hash.to_string(),
        "checkpoints": summary.checkpoints,
        "last_checkpoint": summary.last_checkpoint.as_ref().map(checkpoint),
        "cosigned_records": summary.cosigned.as_ref().map(|cosigned| cosigned.size),
        "cosignatures": summary.cosigned.iter().flat_map(|cosigned| &cosigned.by).map(cosignature).collect::<Vec<_>>(),
        "key": summary.key.as_ref().map(ToString::to_string),
        "given_checkpoint_size": summary.given_checkpoint_size,
        "signed_records": summary.signed_records(),
        "unsigned_records": summary.unsigned_records(),
        "torn_bytes": summary.torn_bytes,
        "untracked_streams": summary.untracked_streams,
    })
}

/// Why a log does not verify.
#[must_use]
pub fn log_error(error: &LogVerifyError) -> Json {
    let mut result = json!({ "verified": false, "error": error.to_string() });
    if let LogVerifyError::Fault(fault) = error {
        result["record"] = fault.offset.get().into();
        result["part"] = part(fault.part).into();
        result["field"] = fault.field.into();
        result["file"] = fault.file.clone().into();
        result["byte"] = fault.position.into();
        result["finding"] = fault.finding.to_string().into();
    }
    result
}

/// The name of the part of a log that is at fault.
#[must_use]
pub const fn part(part: LogPart) -> &'static str {
    match part {
        LogPart::SegmentHeader => "segment header before record",
        LogPart::Record => "record",
        LogPart::SegmentFooter => "segment footer before record",
    }
}
