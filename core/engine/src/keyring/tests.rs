//! The keyring: rotations, copies, damage on a real directory; crashes and failing calls on a simulated disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use craton_crypto::{EnvironmentMasterKey, MasterKeyProvider, SecretBytes};
use craton_log::testing::{Call, Crash, Fault, FaultKind, MemoryDisk};
use craton_log::{Disk, RealDisk};
use craton_types::{DataKeyNumber, KeyEpoch, Offset, TenantId};

use super::{DATA_KEYS_MAX, Keyring, KeyringError, Opened, TenantEntry, file};
use crate::SystemRandom;

const SYSTEM: TenantId = TenantId::new([1; 16]);
const TENANT: TenantId = TenantId::new([2; 16]);
const COPIES: [&str; 2] = ["keyring", "keyring.copy"];

fn master(byte: u8) -> EnvironmentMasterKey {
    EnvironmentMasterKey::parse("TEST", &format!("{byte:02x}").repeat(32)).expect("64 digits")
}

fn open(directory: &Path, master: &dyn MasterKeyProvider) -> Result<Keyring, KeyringError> {
    open_on(Arc::new(RealDisk), directory, master)
}

fn open_on(disk: Arc<dyn Disk>, directory: &Path, master: &dyn MasterKeyProvider) -> Result<Keyring, KeyringError> {
    let opened = Keyring::open(disk, directory, SYSTEM, master, Arc::new(SystemRandom), None);
    opened.map(|opened| match opened {
        Opened::Existing(keyring, _) | Opened::Created(keyring) => keyring,
    })
}

fn opened(directory: &Path, byte: u8) -> Keyring {
    open(directory, &master(byte)).expect("the keyring opens")
}

/// A directory with a keyring that knows a tenant.
fn with_tenant() -> (tempfile::TempDir, Keyring) {
    let directory = tempfile::tempdir().expect("a directory");
    let keyring = opened(directory.path(), 1);
    let keys = keyring.draw_tenant(TENANT);
    keyring.install_tenant(TENANT, &keys).expect("it is written");
    (directory, keyring)
}

/// Everything that others see of a keyring's keys.
fn fingerprint(keyring: &Keyring) -> Vec<Vec<u8>> {
    let chunk = |number| {
        let dek = keyring.dek(TENANT, DataKeyNumber::new(number), KeyEpoch::ZERO, &[0; 32]);
        dek.map_or_else(
            |error| error.to_string().into_bytes(),
            |dek| dek.change_key(TENANT, Offset::ZERO, 0).seal(b"x"),
        )
    };
    vec![
        keyring.wal().expose().to_vec(),
        keyring.signing().verifying_key().as_bytes().to_vec(),
        keyring.derive("a").expose().to_vec(),
        keyring
            .tenant_key(TENANT, b"view")
            .expect("the tenant is known")
            .expose()
            .to_vec(),
        chunk(0),
        chunk(1),
    ]
}

fn copy(directory: &Path, index: usize) -> Vec<u8> {
    fs::read(directory.join(COPIES[index])).expect("the copy exists")
}

#[test]
fn keys_are_the_same_after_reopening_and_after_every_rotation() {
    let (directory, keyring) = with_tenant();
    let data_key = keyring.draw_data_key(TENANT).expect("there is room");
    assert_eq!(data_key.number, DataKeyNumber::new(1));
    keyring.install_data_key(TENANT, &data_key).expect("it is written");
    let before = fingerprint(&keyring);
    keyring.rotate_kek(TENANT).expect("it is written");
    assert_eq!(fingerprint(&keyring), before);
    keyring.rotate_master(&master(2)).expect("it is written");
    assert_eq!(fingerprint(&keyring), before);
    drop(keyring);
    assert_eq!(fingerprint(&opened(directory.path(), 2)), before);
    let error = open(directory.path(), &master(1))
        .err()
        .expect("the old master key opens nothing");
    assert!(matches!(error, KeyringError::MasterKey(_)), "{error}");
}

#[test]
fn a_command_that_is_applied_again_changes_nothing() {
    let (directory, keyring) = with_tenant();
    let before = fingerprint(&keyring);
    let other = keyring.draw_tenant(TENANT);
    keyring.install_tenant(TENANT, &other).expect("nothing to do");
    assert_eq!(fingerprint(&keyring), before);
    let data_key = keyring.draw_data_key(TENANT).expect("there is room");
    keyring.install_data_key(TENANT, &data_key).expect("it is written");
    let written = copy(directory.path(), 0);
    keyring.install_data_key(TENANT, &data_key).expect("nothing to do");
    assert_eq!(copy(directory.path(), 0), written);
}

#[test]
fn another_key_under_a_number_that_is_taken_is_a_conflict() {
    let (_directory, keyring) = with_tenant();
    let [first, second] = [(), ()].map(|()| keyring.draw_data_key(TENANT).expect("there is room"));
    assert_eq!(first.number, second.number);
    keyring.install_data_key(TENANT, &first).expect("it is written");
    let error = keyring.install_data_key(TENANT, &second).expect_err("another key");
    assert!(
        matches!(error, KeyringError::KeyConflict { number, .. } if number == first.number),
        "{error}"
    );
}

#[test]
fn commands_stay_readable_across_a_rotation_of_the_master_key() {
    let (_directory, keyring) = with_tenant();
    let data_key = keyring.draw_data_key(TENANT).expect("there is room");
    keyring.rotate_master(&master(2)).expect("it is written");
    keyring.rotate_kek(TENANT).expect("it is written");
    keyring.install_data_key(TENANT, &data_key).expect("it is written");
}

#[test]
fn one_damaged_or_missing_copy_is_made_good_and_two_are_refused() {
    let (directory, keyring) = with_tenant();
    let expected = fingerprint(&keyring);
    drop(keyring);
    for (index, name) in COPIES.iter().enumerate() {
        let path = directory.path().join(name);
        for position in [0, 4, 5, 40, copy(directory.path(), index).len() - 1] {
            let mut bytes = copy(directory.path(), index);
            bytes[position] ^= 1;
            fs::write(&path, &bytes).expect("writable");
            assert_eq!(
                fingerprint(&opened(directory.path(), 1)),
                expected,
                "{name} byte {position}"
            );
            assert_eq!(
                copy(directory.path(), 0),
                copy(directory.path(), 1),
                "the copy is made good"
            );
        }
        fs::remove_file(&path).expect("it exists");
        assert_eq!(fingerprint(&opened(directory.path(), 1)), expected);
        assert_eq!(
            copy(directory.path(), 0),
            copy(directory.path(), 1),
            "the copy is made good"
        );
    }
    for name in COPIES {
        fs::write(directory.path().join(name), b"CRTK").expect("writable");
    }
    assert!(matches!(
        open(directory.path(), &master(1)),
        Err(KeyringError::Damaged { .. })
    ));
}

#[test]
fn a_directory_with_logs_and_no_keyring_is_no_new_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("wal")).expect("a directory");
    assert!(matches!(
        open(directory.path(), &master(1)),
        Err(KeyringError::Missing { .. })
    ));
}

/// What a crash leaves: each file is the old or the new one, in the order in which they are replaced, and the file that
/// is to become the next one may be there in part.
#[test]
fn a_crash_at_any_step_of_a_master_rotation_leaves_a_keyring_for_the_old_or_the_new_key() {
    let (directory, keyring) = with_tenant();
    let expected = fingerprint(&keyring);
    let old = copy(directory.path(), 0);
    keyring.rotate_master(&master(2)).expect("it is written");
    drop(keyring);
    let new = copy(directory.path(), 0);
    let half = &new[..new.len() / 2];
    for (first, second, temporary, opens_old, opens_new) in [
        (&old, &old, None, true, false),
        (&old, &old, Some(half), true, false),
        (&new, &old, None, true, true),
        (&new, &old, Some(half), true, true),
        (&new, &new, None, false, true),
    ] {
        for (byte, opens) in [(1, opens_old), (2, opens_new)] {
            fs::write(directory.path().join(COPIES[0]), first).expect("writable");
            fs::write(directory.path().join(COPIES[1]), second).expect("writable");
            if let Some(temporary) = temporary {
                fs::write(directory.path().join("keyring.tmp"), temporary).expect("writable");
            }
            match open(directory.path(), &master(byte)) {
                Ok(keyring) => {
                    assert!(opens);
                    assert_eq!(fingerprint(&keyring), expected);
                    drop(keyring);
                    assert_eq!(copy(directory.path(), 0), copy(directory.path(), 1));
                    assert!(open(directory.path(), &master(3 - byte)).is_err(), "one key is left");
                }
                Err(error) => assert!(!opens && matches!(error, KeyringError::MasterKey(_)), "{error}"),
            }
        }
    }
}

/// Wraps, but opens nothing, as a provider does whose key may encrypt only.
#[derive(Debug)]
struct OneWay(EnvironmentMasterKey);

impl MasterKeyProvider for OneWay {
    fn wrap(&self, key: &SecretBytes, context: &[u8], nonce: [u8; 12]) -> Result<Vec<u8>, super::MasterKeyError> {
        self.0.wrap(key, context, nonce)
    }

    fn unwrap(&self, _: &[u8], _: &[u8]) -> Result<SecretBytes, super::MasterKeyError> {
        Err(super::WrapError::Authentication.into())
    }

    fn name(&self) -> String {
        "one way".to_owned()
    }
}

#[test]
fn a_master_key_that_does_not_open_what_it_wrapped_is_refused() {
    let (directory, keyring) = with_tenant();
    let before = copy(directory.path(), 0);
    assert!(keyring.rotate_master(&OneWay(master(2))).is_err());
    assert_eq!(copy(directory.path(), 0), before);
    assert_eq!(keyring.master_name(), master(1).name());
}

#[test]
fn no_key_is_in_the_file_in_plain_and_none_wrapped_under_a_replaced_key() {
    let (directory, keyring) = with_tenant();
    let secrets: Vec<Vec<u8>> = {
        let open = keyring.open.lock();
        let entry = &open.tenants[&TENANT];
        vec![
            open.wal.expose().to_vec(),
            open.signing_seed.expose().to_vec(),
            open.derivation.expose().to_vec(),
            entry.kek.expose().to_vec(),
            entry.secret.expose().to_vec(),
            entry.data_keys[&DataKeyNumber::ZERO].expose().to_vec(),
        ]
    };
    let bytes = copy(directory.path(), 0);
    for secret in secrets {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    let before = file::decode(&bytes).expect("a whole copy");
    keyring.rotate_kek(TENANT).expect("it is written");
    let after = file::decode(&copy(directory.path(), 0)).expect("a whole copy");
    let of = |saved: &file::SavedKeyring| saved.tenants.iter().find(|saved| saved.tenant == TENANT).cloned();
    let (before, after) = (of(&before).expect("known"), of(&after).expect("known"));
    // Bytes 1 to 9 of a wrapped key name the key that wraps it.
    assert_ne!(before.secret[1..9], after.secret[1..9]);
    assert_ne!(before.data_keys[0].wrapped[1..9], after.data_keys[0].wrapped[1..9]);
}

#[test]
fn a_tenant_has_room_for_so_many_data_keys_and_no_more() {
    let (_directory, keyring) = with_tenant();
    let fill = |count: usize| {
        let data_keys = (0..count).map(|number| {
            (
                DataKeyNumber::new(u32::try_from(number).expect("small")),
                SecretBytes::new([7; 32]),
            )
        });
        let entry = TenantEntry {
            kek: SecretBytes::new([8; 32]),
            secret: SecretBytes::new([9; 32]),
            data_keys: data_keys.collect(),
        };
        keyring.open.lock().tenants.insert(TENANT, entry);
    };
    fill(DATA_KEYS_MAX - 1);
    assert!(keyring.draw_data_key(TENANT).is_ok());
    fill(DATA_KEYS_MAX);
    assert!(matches!(
        keyring.draw_data_key(TENANT),
        Err(KeyringError::Full { tenant: TENANT })
    ));
}

#[test]
fn a_tenant_without_keys_has_nothing() {
    let (_directory, keyring) = with_tenant();
    let unknown = TenantId::new([9; 16]);
    assert!(keyring.tenant_key(unknown, b"view").is_err());
    assert!(
        keyring
            .dek(unknown, DataKeyNumber::ZERO, KeyEpoch::ZERO, &[0; 32])
            .is_err()
    );
    assert!(
        keyring
            .dek(TENANT, DataKeyNumber::new(1), KeyEpoch::ZERO, &[0; 32])
            .is_err()
    );
    assert!(keyring.rotate_kek(unknown).is_err());
}

const DIRECTORY: &str = "/node";

/// What a node does with its keyring in its life: it makes a tenant, and rotates each kind of key.
fn live(disk: &MemoryDisk) -> Result<(), KeyringError> {
    let keyring = match open_on(Arc::new(disk.clone()), Path::new(DIRECTORY), &master(1)) {
        Err(KeyringError::MasterKey(_)) => open_on(Arc::new(disk.clone()), Path::new(DIRECTORY), &master(2))?,
        opened => opened?,
    };
    keyring.install_tenant(TENANT, &keyring.draw_tenant(TENANT))?;
    let data_key = keyring.draw_data_key(TENANT)?;
    keyring.install_data_key(TENANT, &data_key)?;
    keyring.rotate_kek(TENANT)?;
    keyring.rotate_master(&master(2))
}

/// The keyring opens under the master key of before or of after, twice the same, and goes on.
fn assert_opens(disk: &MemoryDisk, what: &str) {
    let open = |byte| open_on(Arc::new(disk.clone()), Path::new(DIRECTORY), &master(byte));
    let opened = open(1).or_else(|_| open(2));
    let keyring = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    let knew = keyring.knows(TENANT).then(|| fingerprint(&keyring));
    drop(keyring);
    disk.crash(Crash::DropUnsynced);
    let opened = open(1).or_else(|_| open(2));
    let keyring = opened.unwrap_or_else(|error| panic!("{what}, again: {error}"));
    assert_eq!(keyring.knows(TENANT).then(|| fingerprint(&keyring)), knew, "{what}");
    live(disk).unwrap_or_else(|error| panic!("{what}: goes on: {error}"));
}

#[test]
fn a_crash_at_any_call_to_the_disk_leaves_a_keyring_that_opens() {
    let disk = MemoryDisk::new();
    let images = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (of, to) = (disk.clone(), Arc::clone(&images));
    disk.set_hook(Some(Arc::new(move |call: &Call| {
        to.lock().push((call.number, of.fork()))
    })));
    live(&disk).expect("without any fault");
    disk.set_hook(None);
    let images = std::mem::take(&mut *images.lock());
    assert!(images.len() > 40, "{}", images.len());
    for (call, image) in images {
        let seed = call.wrapping_mul(0xd6e8_feb8_6659_fd93);
        for crash in [
            Crash::DropUnsynced,
            Crash::Torn { seed },
            Crash::Reordered { seed },
            Crash::InOrder { seed },
            Crash::Process,
        ] {
            let disk = image.fork();
            disk.crash(crash);
            assert_opens(&disk, &format!("call {call}, {crash:?}"));
        }
    }
}

#[test]
fn a_call_that_fails_leaves_a_keyring_that_opens() {
    let calls = {
        let disk = MemoryDisk::new();
        live(&disk).expect("without any fault");
        disk.calls()
    };
    for call in 0..calls {
        for kind in [FaultKind::Io, FaultKind::NoSpace, FaultKind::ShortWrite] {
            for sticky in [false, true] {
                let disk = MemoryDisk::new();
                disk.set_fault(Some(Fault { call, kind, sticky }));
                let failed = live(&disk);
                assert!(
                    failed.is_err() || kind == FaultKind::ShortWrite,
                    "call {call}, {kind:?}"
                );
                let cut = disk.fork();
                cut.crash(Crash::Torn { seed: call });
                assert_opens(&cut, &format!("call {call}, {kind:?}, power cut"));
                disk.crash(Crash::Process);
                assert_opens(&disk, &format!("call {call}, {kind:?}"));
            }
        }
    }
}
