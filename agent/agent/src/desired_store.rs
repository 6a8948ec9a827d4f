//! The desired state on disk: the node goes on working towards it when the platform cannot be reached.

use std::path::{Path, PathBuf};

use craton_agent_protocol::{AckOutcome, DesiredRefusal, DesiredState, NodeId, Successor};
use parking_lot::Mutex;

use crate::file::{self, FileError};

/// The desired state that the node holds.
pub(crate) struct DesiredStore {
    path: PathBuf,
    node_id: NodeId,
    held: Mutex<Option<DesiredState>>,
}

impl DesiredStore {
    /// Loads what the node holds.
    pub(crate) fn load(data_dir: &Path, node_id: NodeId) -> Result<Self, FileError> {
        let path = data_dir.join("desired.json");
        let held = file::read_json::<DesiredState>(&path)?;
        Ok(Self {
            path,
            node_id,
            held: Mutex::new(held),
        })
    }

    /// What the node holds.
    pub(crate) fn current(&self) -> Option<DesiredState> {
        self.held.lock().clone()
    }

    /// Takes a desired state if it may follow the held one. On [`AckOutcome::Accepted`] it is on disk.
    pub(crate) fn offer(&self, incoming: DesiredState) -> AckOutcome {
        let mut held = self.held.lock();
        match incoming.check_successor(&self.node_id, held.as_ref()) {
            Err(refusal) => AckOutcome::Refused { refusal },
            Ok(Successor::Same) => AckOutcome::Accepted,
            Ok(Successor::Newer) => match file::write_json(&self.path, &incoming) {
                Ok(()) => {
                    *held = Some(incoming);
                    AckOutcome::Accepted
                }
                Err(error) => AckOutcome::Refused {
                    refusal: DesiredRefusal::NotStored {
                        detail: error.to_string(),
                    },
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeId {
        NodeId::parse("node_01h455vb4pex5vsknk084sn02q").unwrap()
    }

    #[test]
    fn what_was_accepted_is_still_held_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = DesiredStore::load(directory.path(), node()).unwrap();
        assert_eq!(store.current(), None);
        assert_eq!(store.offer(DesiredState::new(node(), 7, vec![])), AckOutcome::Accepted);

        let store = DesiredStore::load(directory.path(), node()).unwrap();
        assert_eq!(store.current().unwrap().generation, 7);
        assert!(matches!(
            store.offer(DesiredState::new(node(), 6, vec![])),
            AckOutcome::Refused {
                refusal: DesiredRefusal::OlderGeneration { generation: 6, held: 7 }
            }
        ));
        assert_eq!(store.offer(DesiredState::new(node(), 7, vec![])), AckOutcome::Accepted);
    }

    #[test]
    fn what_cannot_be_stored_is_not_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let store = DesiredStore::load(directory.path(), node()).unwrap();
        directory.close().unwrap();
        assert!(matches!(
            store.offer(DesiredState::new(node(), 1, vec![])),
            AckOutcome::Refused {
                refusal: DesiredRefusal::NotStored { .. }
            }
        ));
        assert_eq!(store.current(), None);
    }
}
