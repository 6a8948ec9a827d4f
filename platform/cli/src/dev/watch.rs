//! Says what happens in the world: nodes that come and go, databases that start and end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::api::{Api, Node};

const EVERY: Duration = Duration::from_millis(500);

/// Everything that is worth a line, with what to say of it now.
type Facts = BTreeMap<String, String>;

/// Looks again and again and says what changed. Ends with the task that it runs on.
pub(super) async fn run(api: Api, nodes: Vec<(String, PathBuf)>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: Option<Facts> = None;
    loop {
        ticks.tick().await;
        let (api, nodes) = (api.clone(), nodes.clone());
        let Ok(Some(facts)) = tokio::task::spawn_blocking(move || look(&api, &nodes)).await else {
            // A control plane that is away says nothing; its own end is said elsewhere.
            continue;
        };
        let changes = match &known {
            Some(known) => changes(known, &facts),
            None => changes(&Facts::new(), &facts),
        };
        for change in changes {
            if super::say(&change).is_err() {
                // Nobody listens.
                return;
            }
        }
        known = Some(facts);
    }
}

fn look(api: &Api, directories: &[(String, PathBuf)]) -> Option<Facts> {
    let mut facts = Facts::new();
    for node in api.list::<Node>("/api/v1/fleet/nodes").ok()?.value {
        let link = if node.connected { "connected" } else { "not connected" };
        facts.insert(node.id, format!("{}, {link}", node.health));
    }
    for (name, directory) in directories {
        databases(name, directory, &mut facts);
    }
    Some(facts)
}

/// Reads what an agent wrote down about its databases. What cannot be read is about to change.
fn databases(node: &str, directory: &Path, facts: &mut Facts) {
    #[derive(Deserialize)]
    struct Settings {
        port: u16,
        has_answered: bool,
    }
    #[derive(Deserialize)]
    struct Record {
        pid: u32,
    }
    fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
    let Ok(instances) = fs::read_dir(directory.join("instances")) else {
        return;
    };
    for instance in instances.flatten() {
        let path = instance.path();
        let Some(settings) = read::<Settings>(&path.join("settings.json")) else {
            continue;
        };
        let process = read::<Record>(&path.join("process.json"))
            .filter(|record| settings.has_answered && Path::new(&format!("/proc/{}", record.pid)).exists());
        let state = match process {
            Some(record) => format!("runs on {node}, port {}, process {}", settings.port, record.pid),
            None => format!("is on {node} and does not run"),
        };
        facts.insert(instance.file_name().to_string_lossy().into_owned(), state);
    }
}

fn changes(before: &Facts, after: &Facts) -> Vec<String> {
    let changed = after.iter().filter(|(name, state)| before.get(*name) != Some(state));
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    changed
        .map(|(name, state)| format!("{name} {state}"))
        .chain(gone.map(|name| format!("{name} is gone")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_said() {
        let facts = |pairs: &[(&str, &str)]| -> Facts {
            pairs
                .iter()
                .map(|(name, state)| ((*name).to_owned(), (*state).to_owned()))
                .collect()
        };
        let before = facts(&[("clu_1", "runs"), ("clu_2", "runs"), ("node_1", "healthy, connected")]);
        let after = facts(&[
            ("clu_1", "runs"),
            ("clu_3", "runs"),
            ("node_1", "suspect, not connected"),
        ]);
        assert_eq!(
            changes(&before, &after),
            ["clu_3 runs", "node_1 suspect, not connected", "clu_2 is gone"]
        );
        assert!(changes(&after, &after).is_empty());
    }
}
