//! The bytes of a file in shared pages: a copy costs nothing until one of the two is changed.

use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

/// A missing page reads as zeros. Bytes of the last page after the length are zero.
#[derive(Clone, Default)]
pub(super) struct Content {
    pages: Arc<Vec<Option<Arc<Page>>>>,
    length: usize,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Copies what there is at `position` and returns how many bytes that were.
    pub(super) fn read(&self, buffer: &mut [u8], position: usize) -> usize {
        let count = self.length.saturating_sub(position).min(buffer.len());
        let mut done = 0;
        while done < count {
            let (page, within, length) = span(position + done, count - done);
            let out = &mut buffer[done..done + length];
            match &self.pages[page] {
                Some(bytes) => out.copy_from_slice(&bytes[within..within + length]),
                None => out.fill(0),
            }
            done += length;
        }
        count
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        if self.length < position + bytes.len() {
            self.resize(position + bytes.len());
        }
        let pages = Arc::make_mut(&mut self.pages);
        let mut done = 0;
        while done < bytes.len() {
            let (page, within, length) = span(position + done, bytes.len() - done);
            let page = pages[page].get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within..within + length].copy_from_slice(&bytes[done..done + length]);
            done += length;
        }
    }

    pub(super) fn resize(&mut self, length: usize) {
        let pages = Arc::make_mut(&mut self.pages);
        pages.resize(length.div_ceil(PAGE_BYTES), None);
        let kept = length % PAGE_BYTES;
        if length < self.length
            && kept > 0
            && let Some(Some(last)) = pages.last_mut()
        {
            Arc::make_mut(last)[kept..].fill(0);
        }
        self.length = length;
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.read(&mut bytes, 0);
        bytes
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.write(0, bytes);
        content
    }
}

/// The page of `position`, where in it, and how many of `left` bytes it holds.
fn span(position: usize, left: usize) -> (usize, usize, usize) {
    let within = position % PAGE_BYTES;
    (position / PAGE_BYTES, within, left.min(PAGE_BYTES - within))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_behave_as_a_vector_and_copies_are_apart(
            steps in prop::collection::vec((0usize..3, 0usize..3 * PAGE_BYTES, 0usize..2 * PAGE_BYTES), 1..20),
        ) {
            let mut content = Content::default();
            let mut model: Vec<u8> = Vec::new();
            for (number, (step, position, length)) in (1u8..).zip(steps) {
                let (copy, copied) = (content.clone(), model.clone());
                if step == 0 {
                    content.resize(position);
                    model.resize(position, 0);
                } else {
                    content.write(position, &vec![number; length]);
                    model.resize(model.len().max(position + length), 0);
                    model[position..position + length].fill(number);
                }
                prop_assert_eq!(content.to_vec(), &model[..]);
                prop_assert_eq!(copy.to_vec(), copied);
                let mut read = vec![9; length];
                let count = content.read(&mut read, position);
                prop_assert_eq!(&read[..count], &model[position.min(model.len())..(position + length).min(model.len())]);
            }
        }
    }
}
