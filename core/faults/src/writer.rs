//! A client of the small node: it proposes, remembers what it was told, flushes and opens the node again.

use std::sync::Arc;

use craton_log::Disk;
use craton_log::testing::MemoryDisk;
use parking_lot::Mutex;

use crate::history::{History, Told};
use crate::node::{Defect, Node, NodeError, NodeOptions, Placed};
use crate::workload::{Decisions, Entry};

pub(crate) struct Writer {
    pub(crate) history: Arc<Mutex<History>>,
    options: NodeOptions,
    seed: u64,
    decisions: Decisions,
    command_bytes_max: u64,
    node: Option<Node>,
}

impl Writer {
    /// A client that was told what `history` says.
    pub(crate) fn new(options: NodeOptions, seed: u64, command_bytes_max: u64, history: History) -> Self {
        Self {
            history: Arc::new(Mutex::new(history)),
            options,
            seed,
            decisions: Decisions::new(seed),
            command_bytes_max,
            node: None,
        }
    }

    /// The same client, without a node: it was told the same and will decide the same.
    pub(crate) fn fork(&self) -> Self {
        let history = self.history.lock().clone();
        let mut fork = Self::new(self.options, self.seed, self.command_bytes_max, history);
        fork.decisions = self.decisions.clone();
        fork
    }

    /// Opens the node and checks that it keeps to what clients were told. `salt` is another one each time.
    pub(crate) fn open(&mut self, disk: &MemoryDisk, salt: u64) -> Result<Result<(), String>, NodeError> {
        self.node = None;
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let node = Node::open(
            &disk,
            self.options,
            self.seed ^ salt.wrapping_mul(0xff51_afd7_ed55_8ccd),
        )?;
        let checked = self.history.lock().check(&node);
        self.node = Some(node);
        Ok(checked)
    }

    /// Checks that the open node keeps to what clients were told.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let node = self.node.as_ref().expect("the node was opened");
        self.history.lock().check_records(node)
    }

    /// Reads the open node's logs through; whether all that is not written to any more is whole.
    pub(crate) fn scrub(&mut self) -> bool {
        self.node().scrub()
    }

    /// Settles what the open node holds, see [`History::settle`].
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let node = self.node.as_ref().expect("the node was opened");
        self.history.lock().settle(node)
    }

    /// Does the next thing: an entry, two entries of which the second is encrypted before the first is written, entries
    /// that another leader does not have, a flush, a snapshot, or what else goes on. An error ends the node.
    pub(crate) fn step(&mut self) -> Result<(), NodeError> {
        match self.decisions.below(20) {
            0..8 => self.propose_one(),
            8..11 => self.propose_two(),
            11..14 => self.propose_and_lose(),
            14..16 => self.node().reserve(),
            16..18 => {
                let exactly = self.decisions.below(2) == 0;
                self.node().flush(exactly)
            }
            _ => {
                let skipped = self.decisions.below(5);
                self.node().install_snapshot(skipped)
            }
        }
    }

    /// Flushes when told to.
    pub(crate) fn flush_if(&mut self, flush: bool) -> Result<(), NodeError> {
        if flush { self.node().flush(false) } else { Ok(()) }
    }

    /// Writes one entry.
    pub(crate) fn propose_one(&mut self) -> Result<(), NodeError> {
        let (number, entry) = self.propose();
        let placed = self.node().place(std::slice::from_ref(&entry));
        let placed = match placed {
            Err(error) if error.is_refusal() => {
                self.history.lock().tell(number, Told::Refused);
                return Ok(());
            }
            placed => placed?,
        };
        if !self.write(&[number], &placed)? {
            return Ok(());
        }
        self.apply(number, &placed, 0, &entry)
    }

    fn propose_two(&mut self) -> Result<(), NodeError> {
        let (first, first_entry) = self.propose();
        let (second, second_entry) = self.propose();
        let first_placed = match self.node().place(std::slice::from_ref(&first_entry)) {
            Err(error) if error.is_refusal() => {
                self.history.lock().tell(first, Told::Refused);
                self.history.lock().tell(second, Told::Refused);
                return Ok(());
            }
            placed => placed?,
        };
        let second_placed = match self.node().place(std::slice::from_ref(&second_entry)) {
            Err(error) if error.is_refusal() => {
                self.history.lock().tell(second, Told::Refused);
                None
            }
            placed => Some(placed?),
        };
        let behind: &[usize] = if second_placed.is_some() {
            &[first, second]
        } else {
            &[first]
        };
        if !self.write(behind, &first_placed)? {
            return Ok(());
        }
        let Some(second_placed) = second_placed else {
            return self.apply(first, &first_placed, 0, &first_entry);
        };
        // The second is on its way while the first is applied; on one thread either may come first.
        if self.decisions.below(2) == 0 {
            self.apply(first, &first_placed, 0, &first_entry)?;
            if !self.write(&[second], &second_placed)? {
                return Ok(());
            }
        } else {
            let written = self.write(&[second], &second_placed)?;
            self.apply(first, &first_placed, 0, &first_entry)?;
            if !written {
                return Ok(());
            }
        }
        self.apply(second, &second_placed, 0, &second_entry)
    }

    /// Writes entries in one batch, of which a new leader has only the first ones, or none.
    fn propose_and_lose(&mut self) -> Result<(), NodeError> {
        let count = 1 + self.decisions.below(4);
        let (numbers, entries): (Vec<usize>, Vec<Arc<Entry>>) = (0..count).map(|_| self.propose()).unzip();
        let placed = match self.node().place(&entries) {
            Err(error) if error.is_refusal() => {
                numbers
                    .iter()
                    .for_each(|&number| self.history.lock().tell(number, Told::Refused));
                return Ok(());
            }
            placed => placed?,
        };
        if !self.write(&numbers, &placed)? {
            return Ok(());
        }
        let kept = usize::try_from(self.decisions.below(count)).expect("few");
        let kept = match self.node().follow(&placed, kept) {
            Ok(()) => kept,
            // On a full disk the node votes for nobody, and the entries stay.
            Err(error) if error.is_refusal() => entries.len(),
            Err(error) => return Err(error),
        };
        for &number in &numbers[kept..] {
            self.history.lock().tell(number, Told::CutOff);
        }
        for (at, (&number, entry)) in numbers.iter().zip(&entries).enumerate().take(kept) {
            self.apply(number, &placed, at, entry)?;
        }
        Ok(())
    }

    /// Ends the node as a clean stop does.
    pub(crate) fn close(&mut self) -> Result<(), NodeError> {
        self.node.take().map_or(Ok(()), Node::close)
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("the node was opened")
    }

    fn propose(&mut self) -> (usize, Arc<Entry>) {
        let mut history = self.history.lock();
        let entry = Arc::new(Entry::make(
            self.seed,
            history.proposed() as u64,
            self.command_bytes_max,
        ));
        let number = history.propose(&entry);
        if self.options.defect == Some(Defect::EarlyAcknowledgement) {
            history.tell(number, Told::Acknowledged);
        }
        (number, entry)
    }

    /// Writes what was placed for the first of `numbers`. Whether it is durable; if not, all of them were refused.
    fn write(&mut self, numbers: &[usize], placed: &Placed) -> Result<bool, NodeError> {
        match self.node().write(placed) {
            Err(error) if error.is_refusal() => {
                for &number in numbers {
                    self.history.lock().tell(number, Told::Refused);
                }
                Ok(false)
            }
            written => written.map(|()| true),
        }
    }

    /// Applies the entry at `at` in what was placed.
    fn apply(&mut self, number: usize, placed: &Placed, at: usize, entry: &Entry) -> Result<(), NodeError> {
        self.node().apply_placed(placed, at, entry)?;
        self.history.lock().tell(number, Told::Acknowledged);
        Ok(())
    }
}
