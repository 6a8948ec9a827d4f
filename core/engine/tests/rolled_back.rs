//! A tenant's files that are not those of now: emptied, put back from an older copy, in another tenant's place.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Folder, copy_folder, create, rows, session, tag};
use craton_engine::{Craton, EngineError};
use craton_types::Value;

const SYSTEM: &str = "00000000-0000-0000-0000-000000000001";
const LIVES: i64 = 3;

/// A node after several lives, and its files after each of the earlier ones.
struct World {
    now: Folder,
    earlier: Vec<Folder>,
    /// The folders of the tenant that wrote in each life and of one that did not, within the data directory.
    clinic: PathBuf,
    other: PathBuf,
}

impl World {
    async fn new() -> Self {
        let now = Folder::new();
        let mut earlier = Vec::new();
        let (mut clinic, mut other) = (PathBuf::new(), PathBuf::new());
        for life in 0..LIVES {
            let craton = now.open();
            if life == 0 {
                clinic = folder_of(&create(&craton, "clinic").await.log_key());
                other = folder_of(&create(&craton, "other").await.log_key());
                let mut client = session(&craton, "clinic");
                tag(&mut client, "CREATE TABLE visits (id bigint PRIMARY KEY)").await;
                let mut client = session(&craton, "other");
                tag(&mut client, "CREATE TABLE notes (id bigint PRIMARY KEY)").await;
            }
            let mut client = session(&craton, "clinic");
            tag(&mut client, &format!("INSERT INTO visits VALUES ({life})")).await;
            drop(client);
            craton.close().expect("closed");
            drop(craton);
            earlier.push(now.copy());
        }
        earlier.pop();
        Self {
            now,
            earlier,
            clinic,
            other,
        }
    }

    /// A copy of the node's files to harm.
    fn copy(&self) -> Folder {
        self.now.copy()
    }

    /// Puts a file or folder of the data directory back as it was after an earlier life.
    fn put_back(&self, folder: &Folder, path: &Path, life: usize) {
        let (from, to) = (self.earlier[life].data().join(path), folder.data().join(path));
        fs::remove_dir_all(&to).expect("removed");
        copy_folder(&from, &to);
    }
}

/// A tenant's folder, by the origin in its log's key.
fn folder_of(log_key: &str) -> PathBuf {
    let (origin, _) = log_key.split_once('+').expect("a key name");
    let (_, tenant) = origin.rsplit_once('/').expect("a tenant");
    Path::new("tenants").join(tenant)
}

fn open(folder: &Folder) -> Result<Craton, EngineError> {
    folder.options().open(folder.data())
}

async fn assert_whole(craton: &Craton, what: &str) {
    let mut client = session(craton, "clinic");
    let visits = rows(&mut client, "SELECT count(*) FROM visits").await;
    assert_eq!(visits, [[Value::Int(LIVES)]], "{what}");
}

#[tokio::test]
async fn what_the_write_ahead_log_cannot_bring_back_is_refused_by_name() {
    let world = World::new().await;
    type Harm = fn(&World, &Folder);
    let harms: [(&str, &str, Harm); 6] = [
        ("emptied", "clinic", |world, folder| {
            let clinic = folder.data().join(&world.clinic);
            fs::remove_dir_all(&clinic).expect("removed");
            fs::create_dir(&clinic).expect("made");
        }),
        ("deleted", "clinic", |world, folder| {
            fs::remove_dir_all(folder.data().join(&world.clinic)).expect("removed");
        }),
        ("all of an earlier time", "clinic", |world, folder| {
            world.put_back(folder, &world.clinic, 0);
        }),
        ("the log of an earlier time", "clinic", |world, folder| {
            world.put_back(folder, &world.clinic.join("log"), 0);
        }),
        ("the log emptied", "clinic", |world, folder| {
            fs::remove_dir_all(folder.data().join(&world.clinic).join("log")).expect("removed");
        }),
        ("the idle one emptied", "other", |world, folder| {
            fs::remove_dir_all(folder.data().join(&world.other)).expect("removed");
        }),
    ];
    for (what, name, harm) in harms {
        let folder = world.copy();
        harm(&world, &folder);
        for _ in 0..2 {
            match open(&folder).map(drop) {
                Err(EngineError::LogRolledBack(error)) => {
                    assert!(
                        error.database == name && error.found_end < error.expected_end,
                        "{what}: {error}"
                    );
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    // The tenants are known from the log of the node's own.
    let folder = world.copy();
    fs::remove_dir_all(folder.data().join("tenants").join(SYSTEM)).expect("removed");
    assert!(matches!(open(&folder).map(drop), Err(EngineError::LogRolledBack(error)) if error.database == "system"));
    // Two tenants in each other's place.
    let folder = world.copy();
    let [clinic, other, aside] = [&world.clinic, &world.other, Path::new("aside")].map(|path| folder.data().join(path));
    for (from, to) in [(&clinic, &aside), (&other, &clinic), (&aside, &other)] {
        fs::rename(from, to).expect("renamed");
    }
    assert!(open(&folder).is_err());
}

#[tokio::test]
async fn what_the_write_ahead_log_still_has_is_brought_back() {
    let world = World::new().await;
    type Harm = fn(&World, &Folder);
    let harms: [(&str, Harm); 3] = [
        ("a little earlier", |world, folder| {
            world.put_back(folder, &world.clinic, 1);
        }),
        ("the view and the mark are gone", |world, folder| {
            for name in ["view.redb", "log_mark"] {
                fs::remove_file(folder.data().join(&world.clinic).join(name)).expect("removed");
            }
        }),
        ("one copy of the heads is gone", |_, folder| {
            fs::remove_file(folder.data().join("wal/heads.a")).expect("removed");
        }),
    ];
    for (what, harm) in harms {
        let folder = world.copy();
        harm(&world, &folder);
        for _ in 0..2 {
            let craton = open(&folder).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_whole(&craton, what).await;
        }
    }
}

#[tokio::test]
async fn without_the_heads_nothing_is_opened() {
    let world = World::new().await;
    let folder = world.copy();
    for name in ["heads.a", "heads.b"] {
        fs::remove_file(folder.data().join("wal").join(name)).expect("removed");
    }
    let message = format!("{:?}", open(&folder).map(drop).expect_err("it is refused"));
    assert!(message.contains("NoWholeCopy"), "{message}");
    for name in ["heads.a", "heads.b"] {
        let wal = Path::new("wal").join(name);
        fs::copy(world.earlier[0].data().join(&wal), folder.data().join(&wal)).expect("copied");
    }
    let message = format!("{:?}", open(&folder).map(drop).expect_err("it is refused"));
    assert!(message.contains("Stale"), "{message}");
}
