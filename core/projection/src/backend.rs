//! redb's storage on an encrypted, authenticated file.
//!
//! # Layout
//! | bytes | content |
//! |---|---|
//! | 0 … 4096 | preamble: magic, format version, key check, CRC32C; written once |
//! | 4096 … 12288 | root slot 0: generation (8), page 0 encrypted, tag |
//! | 12288 … 20480 | root slot 1 |
//! | 20480 + n × 4112 | page n: 4096 bytes encrypted, tag (the place of page 0 stays empty) |
//!
//! redb never overwrites a page that a crash may bring back, with one exception: page 0, which it rewrites in place and
//! of which it expects that a torn write harms only what was written. A page with a tag over all of it would not
//! survive that, so page 0 has two slots. Writes go to the slot that does not hold the synced state, with a generation
//! one higher, and the newest slot with a right tag counts: writes of page 0 are atomic.
//!
//! # Pages that were never written
//! Growing the file leaves zeros where pages will be, and sixteen zero bytes are no page's tag. redb writes each page
//! whole before it reads it, so a read that finds a page of zeros has found a loss, and fails as damage does. Only a
//! write of a part of such a page takes the rest of it for zeros.

use std::fmt;
use std::io;
use std::sync::Arc;

use craton_crypto::{SecretBytes, constant_time_equal};
use craton_log::DiskFile;
use parking_lot::Mutex;
use redb::StorageBackend;
use zeroize::Zeroizing;

use crate::ProjectionError;
use crate::cipher::{PAGE_BYTES, PageCipher, TAG_BYTES};

/// The format of the file: its layout, its encryption and the tables in it.
pub(crate) const FORMAT_VERSION: u8 = 1;

const MAGIC: [u8; 7] = *b"CRTPROJ";
const KEY_CHECK_AT: usize = 8;
const PREAMBLE_CRC_AT: usize = KEY_CHECK_AT + TAG_BYTES;
const PREAMBLE_LENGTH: usize = PREAMBLE_CRC_AT + 4;
const GENERATION_BYTES: usize = 8;
const ROOT_BYTES: usize = GENERATION_BYTES + SEALED_BYTES;
const ROOT_POSITIONS: [u64; 2] = [4_096, 12_288];
const PAGES_POSITION: u64 = 20_480;
const SEALED_BYTES: usize = PAGE_BYTES + TAG_BYTES;
const PAGE_BYTES_U64: u64 = PAGE_BYTES as u64;
const SEALED_BYTES_U64: u64 = SEALED_BYTES as u64;

type Page = Zeroizing<[u8; PAGE_BYTES]>;

/// A page that is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("page {page} does not match its tag")]
struct PageDamage {
    page: u64,
}

impl From<PageDamage> for io::Error {
    fn from(damage: PageDamage) -> Self {
        Self::new(io::ErrorKind::InvalidData, damage)
    }
}

/// Page 0 and where it is on disk.
struct Root {
    page: Page,
    generation: u64,
    /// The slot that must not be overwritten before the next sync.
    synced_slot: usize,
    written_since_sync: bool,
}

/// Pages of a redb store, encrypted and authenticated in one file under one key.
pub struct EncryptedBackend {
    file: Arc<dyn DiskFile>,
    cipher: PageCipher,
    root: Mutex<Root>,
    /// Held while a part of a page is replaced, so that two parts of one page do not undo each other.
    partial_write: Mutex<()>,
}

impl fmt::Debug for EncryptedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedBackend").finish_non_exhaustive()
    }
}

impl EncryptedBackend {
    /// Opens a file, or makes an empty one ready.
    ///
    /// # Errors
    /// When the file belongs to another key, is of another format version or damaged, or cannot be read.
    pub fn open(file: Arc<dyn DiskFile>, key: &SecretBytes) -> Result<Self, ProjectionError> {
        let cipher = PageCipher::new(key);
        if file.is_empty().map_err(ProjectionError::from_io)? {
            create(&*file, &cipher).map_err(ProjectionError::from_io)?;
        }
        check_preamble(&*file, &cipher)?;
        let root = read_root(&*file, &cipher)?;
        let length = file.len().map_err(ProjectionError::from_io)?;
        // redb takes a store without pages for a new one, and page 0 is only ever written after there are some.
        if length < PAGES_POSITION || (root.generation > 0 && length == PAGES_POSITION) {
            return Err(ProjectionError::damaged("the file was cut short"));
        }
        Ok(Self {
            file,
            cipher,
            root: Mutex::new(root),
            partial_write: Mutex::new(()),
        })
    }

    /// Reads `pages` pages from number `first` on, none of them page 0.
    fn read_pages(&self, first: u64, pages: usize) -> io::Result<Vec<u8>> {
        let mut sealed = vec![0; pages * SEALED_BYTES];
        self.file.read_exact_at(&mut sealed, page_position(first))?;
        Ok(sealed)
    }

    fn open_page<'a>(&self, number: u64, sealed: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let (page, tag) = sealed.split_at_mut(PAGE_BYTES);
        if self.cipher.open(number, 0, page, tag) {
            Ok(page)
        } else {
            Err(PageDamage { page: number }.into())
        }
    }

    fn write_root(&self, offset: usize, data: &[u8]) -> io::Result<()> {
        let mut root = self.root.lock();
        root.page[offset..offset + data.len()].copy_from_slice(data);
        root.generation += 1;
        let mut bytes = [0; ROOT_BYTES];
        bytes[..GENERATION_BYTES].copy_from_slice(&root.generation.to_be_bytes());
        let (page, tag) = bytes[GENERATION_BYTES..].split_at_mut(PAGE_BYTES);
        page.copy_from_slice(&*root.page);
        tag.copy_from_slice(&self.cipher.seal(0, root.generation, page));
        root.written_since_sync = true;
        self.file.write_all_at(&bytes, ROOT_POSITIONS[1 - root.synced_slot])
    }

    /// Replaces a part of a page that is not page 0.
    fn write_part(&self, number: u64, offset: usize, data: &[u8]) -> io::Result<()> {
        let _exclusive = self.partial_write.lock();
        let mut sealed = match self.read_pages(number, 1) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => vec![0; SEALED_BYTES],
            Err(error) => return Err(error),
        };
        if sealed.iter().any(|&byte| byte != 0) {
            self.open_page(number, &mut sealed)?;
        }
        sealed[offset..offset + data.len()].copy_from_slice(data);
        self.seal_and_write(number, sealed)
    }

    /// Seals pages that lie in `sealed` with room for their tags, and writes them.
    fn seal_and_write(&self, first: u64, mut sealed: Vec<u8>) -> io::Result<()> {
        for (number, place) in (first..).zip(sealed.chunks_exact_mut(SEALED_BYTES)) {
            let (page, tag) = place.split_at_mut(PAGE_BYTES);
            tag.copy_from_slice(&self.cipher.seal(number, 0, page));
        }
        self.file.write_all_at(&sealed, page_position(first))
    }
}

impl StorageBackend for EncryptedBackend {
    fn len(&self) -> io::Result<u64> {
        let bytes = self.file.len()?.saturating_sub(PAGES_POSITION);
        if !bytes.is_multiple_of(SEALED_BYTES_U64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file does not end at the end of a page",
            ));
        }
        Ok(bytes / SEALED_BYTES_U64 * PAGE_BYTES_U64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut at = Position::of(offset);
        let mut out = out;
        if at.page == 0 {
            let (part, rest) = out.split_at_mut(out.len().min(PAGE_BYTES - at.offset));
            part.copy_from_slice(&self.root.lock().page[at.offset..at.offset + part.len()]);
            at = Position { page: 1, offset: 0 };
            out = rest;
        }
        if out.is_empty() {
            return Ok(());
        }
        let pages = (at.offset + out.len()).div_ceil(PAGE_BYTES);
        let mut sealed = self.read_pages(at.page, pages)?;
        for (number, place) in (at.page..).zip(sealed.chunks_exact_mut(SEALED_BYTES)) {
            let page = self.open_page(number, place)?;
            let (part, rest) = out.split_at_mut(out.len().min(PAGE_BYTES - at.offset));
            part.copy_from_slice(&page[at.offset..at.offset + part.len()]);
            at.offset = 0;
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(PAGE_BYTES_U64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the store grows and shrinks by pages",
            ));
        }
        self.file.set_len(page_position(len / PAGE_BYTES_U64))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut root = self.root.lock();
        self.file.sync_data()?;
        if root.written_since_sync {
            root.written_since_sync = false;
            root.synced_slot = 1 - root.synced_slot;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut at = Position::of(offset);
        let mut data = data;
        while !data.is_empty() {
            let whole_pages = data.len() / PAGE_BYTES;
            if at.page > 0 && at.offset == 0 && whole_pages > 0 {
                let (whole, rest) = data.split_at(whole_pages * PAGE_BYTES);
                let mut sealed = vec![0; whole_pages * SEALED_BYTES];
                for (place, page) in sealed
                    .chunks_exact_mut(SEALED_BYTES)
                    .zip(whole.chunks_exact(PAGE_BYTES))
                {
                    place[..PAGE_BYTES].copy_from_slice(page);
                }
                self.seal_and_write(at.page, sealed)?;
                at.page += whole_pages as u64;
                data = rest;
            } else {
                let (part, rest) = data.split_at(data.len().min(PAGE_BYTES - at.offset));
                if at.page == 0 {
                    self.write_root(at.offset, part)?;
                } else {
                    self.write_part(at.page, at.offset, part)?;
                }
                at = Position {
                    page: at.page + 1,
                    offset: 0,
                };
                data = rest;
            }
        }
        Ok(())
    }
}

/// A place in redb's view of the file.
#[derive(Clone, Copy)]
struct Position {
    page: u64,
    offset: usize,
}

impl Position {
    fn of(offset: u64) -> Self {
        let within = usize::try_from(offset % PAGE_BYTES_U64).expect("less than a page");
        Self {
            page: offset / PAGE_BYTES_U64,
            offset: within,
        }
    }
}

const fn page_position(page: u64) -> u64 {
    PAGES_POSITION + page * SEALED_BYTES_U64
}

fn create(file: &dyn DiskFile, cipher: &PageCipher) -> io::Result<()> {
    let mut preamble = [0; PREAMBLE_LENGTH];
    preamble[..MAGIC.len()].copy_from_slice(&MAGIC);
    preamble[MAGIC.len()] = FORMAT_VERSION;
    preamble[KEY_CHECK_AT..PREAMBLE_CRC_AT].copy_from_slice(cipher.key_check());
    let crc = crc32c::crc32c(&preamble[..PREAMBLE_CRC_AT]);
    preamble[PREAMBLE_CRC_AT..].copy_from_slice(&crc.to_be_bytes());
    file.set_len(PAGES_POSITION)?;
    file.write_all_at(&preamble, 0)?;
    file.sync_data()
}

fn check_preamble(file: &dyn DiskFile, cipher: &PageCipher) -> Result<(), ProjectionError> {
    let mut preamble = [0; PREAMBLE_LENGTH];
    file.read_exact_at(&mut preamble, 0).map_err(ProjectionError::from_io)?;
    let (content, crc) = preamble.split_at(PREAMBLE_CRC_AT);
    if crc32c::crc32c(content).to_be_bytes() != crc {
        return Err(ProjectionError::damaged("the preamble does not match its checksum"));
    }
    if content[..MAGIC.len()] != MAGIC {
        return Err(ProjectionError::damaged("the file is no projection"));
    }
    let found = content[MAGIC.len()];
    if found != FORMAT_VERSION {
        return Err(ProjectionError::Version {
            found,
            expected: FORMAT_VERSION,
        });
    }
    if !constant_time_equal(&content[KEY_CHECK_AT..], cipher.key_check()) {
        return Err(ProjectionError::WrongKey);
    }
    Ok(())
}

/// Finds the newest state of page 0. In a file that redb never wrote to, both slots are empty and so is the page.
fn read_root(file: &dyn DiskFile, cipher: &PageCipher) -> Result<Root, ProjectionError> {
    let mut newest: Option<Root> = None;
    let mut written = false;
    for (slot, position) in ROOT_POSITIONS.into_iter().enumerate() {
        let mut bytes = [0; ROOT_BYTES];
        file.read_exact_at(&mut bytes, position)
            .map_err(ProjectionError::from_io)?;
        written |= bytes.iter().any(|&byte| byte != 0);
        let (generation, sealed) = bytes
            .split_first_chunk_mut::<GENERATION_BYTES>()
            .expect("a slot is longer");
        let generation = u64::from_be_bytes(*generation);
        let (page, tag) = sealed.split_at_mut(PAGE_BYTES);
        let is_newer = newest.as_ref().is_none_or(|root| root.generation < generation);
        if is_newer && cipher.open(0, generation, page, tag) {
            let mut plain = Page::new([0; PAGE_BYTES]);
            plain.copy_from_slice(page);
            newest = Some(Root {
                page: plain,
                generation,
                synced_slot: slot,
                written_since_sync: false,
            });
        }
    }
    match newest {
        Some(root) => Ok(root),
        None if written => Err(ProjectionError::damaged("no copy of page 0 matches its tag")),
        None => Ok(Root {
            page: Page::new([0; PAGE_BYTES]),
            generation: 0,
            synced_slot: 0,
            written_since_sync: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use craton_log::{Disk as _, RealDisk};
    use proptest::prelude::*;

    use super::*;

    const KEY: SecretBytes = SecretBytes::new([7; 32]);

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().expect("a temporary folder"),
            }
        }

        fn path(&self) -> std::path::PathBuf {
            self.folder.path().join("pages")
        }

        fn open(&self, key: &SecretBytes) -> Result<EncryptedBackend, ProjectionError> {
            let file = RealDisk
                .open_or_create(&self.path())
                .map_err(ProjectionError::from_io)?;
            EncryptedBackend::open(file, key)
        }

        fn flip(&self, position: u64) {
            let mut bytes = std::fs::read(self.path()).unwrap();
            bytes[usize::try_from(position).unwrap()] ^= 0x10;
            std::fs::write(self.path(), bytes).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Whatever is written, in whatever pieces, is read back, also after reopening.
        #[test]
        fn behaves_like_a_file(
            writes in proptest::collection::vec((0usize..30_000, 1usize..10_000, any::<u8>()), 1..12),
            reads in proptest::collection::vec((0usize..40_000, 1usize..10_000), 1..12),
        ) {
            const LENGTH: usize = 10 * PAGE_BYTES;
            let fixture = Fixture::new();
            let backend = fixture.open(&KEY).unwrap();
            backend.set_len(LENGTH as u64).unwrap();
            let mut model = vec![0; LENGTH];
            backend.write(0, &model).unwrap();
            for (offset, length, byte) in writes {
                let data: Vec<u8> = (0..=250u8).cycle().map(|step| byte.wrapping_add(step)).take(length).collect();
                backend.write(offset as u64, &data).unwrap();
                model[offset..offset + length].copy_from_slice(&data);
            }
            backend.sync_data().unwrap();
            drop(backend);
            let backend = fixture.open(&KEY).unwrap();
            prop_assert_eq!(backend.len().unwrap(), LENGTH as u64);
            for (offset, length) in reads {
                let length = length.min(LENGTH - offset);
                let mut out = vec![0; length];
                backend.read(offset as u64, &mut out).unwrap();
                prop_assert_eq!(&out[..], &model[offset..offset + length]);
            }
        }
    }

    #[test]
    fn plaintext_never_reaches_the_file_and_equal_pages_differ() {
        let fixture = Fixture::new();
        let backend = fixture.open(&KEY).unwrap();
        backend.set_len(3 * PAGE_BYTES_U64).unwrap();
        let secret = b"diagnosis: hypertension ".repeat(512);
        backend.write(0, &secret[..3 * PAGE_BYTES]).unwrap();
        backend.sync_data().unwrap();
        let bytes = std::fs::read(fixture.path()).unwrap();
        assert!(!bytes.windows(16).any(|window| window == &secret[..16]));
        let page = |number: u64| &bytes[usize::try_from(page_position(number)).unwrap()..][..PAGE_BYTES];
        assert_ne!(page(1), page(2));
    }

    #[test]
    fn a_page_never_written_is_damage_to_a_reader_and_zeros_to_a_partial_writer() {
        let fixture = Fixture::new();
        let backend = fixture.open(&KEY).unwrap();
        backend.set_len(4 * PAGE_BYTES_U64).unwrap();
        let mut out = [9; 8];
        let error = backend.read(2 * PAGE_BYTES_U64, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        backend.write(2 * PAGE_BYTES_U64 + 4, b"abcd").unwrap();
        backend.read(2 * PAGE_BYTES_U64, &mut out).unwrap();
        assert_eq!(&out, b"\0\0\0\0abcd");
    }

    #[test]
    fn reads_past_the_end_and_uneven_lengths_are_refused() {
        let fixture = Fixture::new();
        let backend = fixture.open(&KEY).unwrap();
        backend.set_len(2 * PAGE_BYTES_U64).unwrap();
        backend.write(0, &[1; 2 * PAGE_BYTES]).unwrap();
        let error = backend.read(2 * PAGE_BYTES_U64 - 1, &mut [0; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(backend.set_len(5_000).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn every_flipped_byte_of_a_page_is_noticed() {
        let fixture = Fixture::new();
        let backend = fixture.open(&KEY).unwrap();
        backend.set_len(2 * PAGE_BYTES_U64).unwrap();
        backend.write(0, &[5; 2 * PAGE_BYTES]).unwrap();
        backend.sync_data().unwrap();
        drop(backend);
        for within in (0..SEALED_BYTES_U64).step_by(97).chain([SEALED_BYTES_U64 - 1]) {
            fixture.flip(page_position(1) + within);
            let backend = fixture.open(&KEY).unwrap();
            let error = backend.read(PAGE_BYTES_U64, &mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {within}");
            drop(backend);
            fixture.flip(page_position(1) + within);
        }
        fixture.open(&KEY).unwrap().read(PAGE_BYTES_U64, &mut [0; 1]).unwrap();
    }

    #[test]
    fn a_page_moved_to_another_place_is_noticed() {
        let fixture = Fixture::new();
        let backend = fixture.open(&KEY).unwrap();
        backend.set_len(3 * PAGE_BYTES_U64).unwrap();
        backend.write(0, &[5; 3 * PAGE_BYTES]).unwrap();
        drop(backend);
        let mut bytes = std::fs::read(fixture.path()).unwrap();
        let [from, to] = [1, 2].map(|page| usize::try_from(page_position(page)).unwrap());
        bytes.copy_within(from..from + SEALED_BYTES, to);
        std::fs::write(fixture.path(), bytes).unwrap();
        let backend = fixture.open(&KEY).unwrap();
        backend.read(PAGE_BYTES_U64, &mut [0; 1]).unwrap();
        assert!(backend.read(2 * PAGE_BYTES_U64, &mut [0; 1]).is_err());
    }

    #[test]
    fn a_torn_write_of_page_0_leaves_the_synced_state() {
        let fixture = Fixture::new();
        let backend = fixture.open(&KEY).unwrap();
        backend.set_len(PAGE_BYTES_U64).unwrap();
        backend.write(0, b"first").unwrap();
        backend.sync_data().unwrap();
        let torn_slot = ROOT_POSITIONS[1 - backend.root.lock().synced_slot];
        backend.write(0, b"second").unwrap();
        backend.write(0, b"third!").unwrap();
        drop(backend);
        fixture.flip(torn_slot + 100);
        let mut out = [0; 5];
        fixture.open(&KEY).unwrap().read(0, &mut out).unwrap();
        assert_eq!(&out, b"first");
        fixture.flip(ROOT_POSITIONS[0] + 200);
        fixture.flip(ROOT_POSITIONS[1] + 200);
        assert!(matches!(fixture.open(&KEY), Err(ProjectionError::Damaged { .. })));
    }

    #[test]
    fn another_key_another_version_and_a_broken_preamble_are_told_apart() {
        let fixture = Fixture::new();
        drop(fixture.open(&KEY).unwrap());
        assert!(matches!(
            fixture.open(&SecretBytes::new([8; 32])),
            Err(ProjectionError::WrongKey)
        ));
        let mut bytes = std::fs::read(fixture.path()).unwrap();
        bytes[MAGIC.len()] = 2;
        std::fs::write(fixture.path(), &bytes).unwrap();
        assert!(matches!(fixture.open(&KEY), Err(ProjectionError::Damaged { .. })));
        let crc = crc32c::crc32c(&bytes[..PREAMBLE_CRC_AT]);
        bytes[PREAMBLE_CRC_AT..PREAMBLE_LENGTH].copy_from_slice(&crc.to_be_bytes());
        std::fs::write(fixture.path(), &bytes).unwrap();
        assert!(matches!(
            fixture.open(&KEY),
            Err(ProjectionError::Version { found: 2, expected: 1 })
        ));
        std::fs::write(fixture.path(), b"CRT").unwrap();
        assert!(matches!(fixture.open(&KEY), Err(ProjectionError::Damaged { .. })));
    }
}
