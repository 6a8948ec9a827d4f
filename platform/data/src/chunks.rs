//! How an event lies in a record: what may be disclosed in one chunk, what is derived from a secret in the next.
//!
//! A receipt discloses whole chunks. Verifiers and hashes of secrets therefore have a chunk of their own, which no
//! receipt discloses; without it an auditor could not show a receipt around.

use craton_platform_kernel::{NewEvent, WITHHELD_FIELDS};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The second chunk of an event: the withheld members by their JSON pointer (RFC 6901) in the event.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Withheld {
    withheld: Map<String, Value>,
}

/// The chunks of an event: one, or two when something is withheld.
pub(crate) fn encode(event: &NewEvent) -> Vec<Vec<u8>> {
    let mut event = serde_json::to_value(event).expect("events are JSON");
    let mut withheld = Map::new();
    take_withheld(&mut event, "", &mut withheld);
    let bytes = |value: &Value| serde_json::to_vec(value).expect("values are JSON");
    let mut chunks = vec![bytes(&event)];
    if !withheld.is_empty() {
        chunks.push(serde_json::to_vec(&Withheld { withheld }).expect("values are JSON"));
    }
    chunks
}

/// The events of a record's chunks.
pub(crate) fn decode(chunks: &[Vec<u8>]) -> Result<Vec<NewEvent>, serde_json::Error> {
    let mut events: Vec<Value> = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        match (serde_json::from_slice::<Withheld>(chunk), events.last_mut()) {
            (Ok(Withheld { withheld }), Some(event)) => give_back(event, withheld),
            _ => events.push(serde_json::from_slice(chunk)?),
        }
    }
    events.into_iter().map(serde_json::from_value).collect()
}

/// Whether a receipt may show a chunk.
pub(crate) fn may_disclose(chunk: &[u8]) -> bool {
    serde_json::from_slice::<Withheld>(chunk).is_err()
}

fn take_withheld(value: &mut Value, pointer: &str, withheld: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            for name in WITHHELD_FIELDS {
                if let Some(taken) = fields.remove(name) {
                    withheld.insert(format!("{pointer}/{name}"), taken);
                }
            }
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                take_withheld(field, &format!("{pointer}/{name}"), withheld);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                take_withheld(item, &format!("{pointer}/{index}"), withheld);
            }
        }
        _ => {}
    }
}

fn give_back(event: &mut Value, withheld: Map<String, Value>) {
    for (pointer, value) in withheld {
        if let Some((parent, name)) = pointer.rsplit_once('/')
            && let Some(Value::Object(fields)) = event.pointer_mut(parent)
        {
            fields.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(data: Value) -> NewEvent {
        serde_json::from_value(json!({
            "id": "evt_01h455vb4pex5vsknk084sn02q",
            "type": "cluster.created",
            "version": 1,
            "occurred_at": "2026-01-01T00:00:00Z",
            "actor": { "kind": "system" },
            "correlation_id": "req_01h455vb4pex5vsknk084sn02q",
            "data": data,
        }))
        .expect("an event")
    }

    #[test]
    fn what_is_derived_from_a_secret_is_in_no_chunk_that_may_be_disclosed() {
        let data = json!({
            "name": "clinic",
            "a/b": { "secret_hash": "hash-of-a-secret" },
            "users": [{ "name": "app", "scram_verifier": "verifier-of-a-password" }, { "name": "probe" }],
        });
        let event = event(data);
        let chunks = encode(&event);
        let shown: Vec<u8> = chunks
            .iter()
            .filter(|chunk| may_disclose(chunk))
            .flatten()
            .copied()
            .collect();
        let shown = String::from_utf8(shown).expect("text");
        assert!(shown.contains("clinic") && !shown.contains("of-a"), "{shown}");
        assert_eq!(decode(&chunks).expect("it decodes"), [event]);
    }

    #[test]
    fn events_with_and_without_secrets_share_a_record() {
        let events = [
            event(json!({"verifier": "v"})),
            event(json!({"plain": 1})),
            event(json!({"secret_hash": 2})),
        ];
        let chunks: Vec<_> = events.iter().flat_map(encode).collect();
        assert_eq!(chunks.len(), 5);
        assert_eq!(decode(&chunks).expect("they decode"), events);
    }
}
