//! A transaction sees its own writes, in every direction, and leaves one write per row.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_query::{Direction, InsertCheck, KeyRange, Overlay, PlanKind, RowSource, TransactionWrites};
use craton_types::{Expected, Offset, PrimaryKey, RowWrite, TableId, Value, VersionedRow};
use proptest::prelude::*;

use super::database::{Database, show, show_error};

/// A database and an open transaction over it.
struct Story {
    db: Database,
    writes: TransactionWrites,
}

impl Story {
    fn new(sql: &str) -> Self {
        Self {
            db: Database::with(sql),
            writes: TransactionWrites::default(),
        }
    }

    /// Runs a statement inside the transaction.
    fn run(&mut self, sql: &str) -> String {
        let plan = self.db.plan(sql, &[]).expect(sql);
        let overlay = Overlay::new(&self.db, &self.writes);
        let mut context = self.db.context(&[]);
        context.insert_check = InsertCheck::Now;
        match plan.kind() {
            PlanKind::Select(select) => match craton_query::execute_select(select, &overlay, &context) {
                Ok(result) => show(&result),
                Err(error) => show_error(&error),
            },
            PlanKind::Write(write) => match craton_query::execute_write(write, &overlay, &context) {
                Ok(set) => {
                    let tables = &self.db.tables;
                    let schema = |id| tables.values().find(|table| table.id == id).map(Arc::clone);
                    match self.writes.merge(set.writes, schema) {
                        Ok(()) => set.tag,
                        Err(error) => show_error(&error),
                    }
                }
                Err(error) => show_error(&error),
            },
            _ => panic!("only reads and writes: {sql}"),
        }
    }

    #[track_caller]
    fn check(&mut self, sql: &str, expect: &str) {
        assert_eq!(self.run(sql), expect, "{sql}");
    }

    /// Ends the transaction and gives what it proposed.
    fn commit(&mut self) -> Vec<RowWrite> {
        let writes = std::mem::take(&mut self.writes).into_writes();
        self.db.apply(writes.clone()).expect("no one was in between");
        writes
    }
}

#[test]
fn a_transaction_sees_its_own_writes() {
    let mut story =
        Story::new("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (3, 'c'), (5, 'e')");
    story.check("INSERT INTO t VALUES (2, 'b'), (6, 'f')", "INSERT 0 2");
    story.check("UPDATE t SET v = 'C' WHERE id = 3", "UPDATE 1");
    story.check("DELETE FROM t WHERE id = 5", "DELETE 1");
    story.check("SELECT * FROM t", "1|a\n2|b\n3|C\n6|f");
    story.check("SELECT * FROM t ORDER BY id DESC", "6|f\n3|C\n2|b\n1|a");
    story.check("SELECT * FROM t WHERE id = 3", "3|C");
    story.check("SELECT * FROM t WHERE id = 5", "");
    story.check(
        "SELECT * FROM t WHERE id >= 2 AND id < 6 ORDER BY id DESC LIMIT 1",
        "3|C",
    );
    story.check("UPDATE t SET v = v || '!' WHERE id < 3", "UPDATE 2");
    story.check(
        "INSERT INTO t VALUES (2, 'x')",
        "23505: duplicate key value violates unique constraint \"t_pkey\" [Key (id)=(2) already exists.]",
    );
    story.check("INSERT INTO t VALUES (5, 'again')", "INSERT 0 1");
    story.check("DELETE FROM t WHERE id = 6", "DELETE 1");
    story.check("SELECT * FROM t", "1|a!\n2|b!\n3|C\n5|again");
    assert_eq!(
        story.db.answer("SELECT * FROM t"),
        "1|a\n3|c\n5|e",
        "no one else sees them"
    );
    assert_eq!(story.writes.len(), 4);
    let expected: Vec<Expected> = story.commit().iter().map(|write| write.expected).collect();
    let seen = Expected::Version(Offset::ZERO);
    assert_eq!(expected, [seen, Expected::Absent, seen, seen]);
    assert_eq!(story.db.answer("SELECT * FROM t"), "1|a!\n2|b!\n3|C\n5|again");
}

#[test]
fn a_row_inserted_and_deleted_again_leaves_no_write() {
    let mut story = Story::new("CREATE TABLE t (id int PRIMARY KEY, v text)");
    story.check("INSERT INTO t VALUES (1, 'a')", "INSERT 0 1");
    story.check("UPDATE t SET v = 'b'", "UPDATE 1");
    story.check("UPDATE t SET id = 2", "UPDATE 1");
    story.check("SELECT * FROM t", "2|b");
    story.check("DELETE FROM t", "DELETE 1");
    assert!(story.writes.is_empty());
    assert_eq!(story.commit(), []);
}

type Model = BTreeMap<i64, i64>;

#[derive(Clone, Debug)]
enum Step {
    Insert(i64, i64),
    Upsert(i64, i64),
    Update { from: i64, to: i64, add: i64 },
    Move { id: i64, to: i64 },
    Delete { from: i64, to: i64 },
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..12i64;
    prop_oneof![
        3 => (id.clone(), 0..9i64).prop_map(|(id, v)| Step::Insert(id, v)),
        2 => (id.clone(), 0..9i64).prop_map(|(id, v)| Step::Upsert(id, v)),
        2 => (id.clone(), id.clone(), 1..5i64).prop_map(|(from, to, add)| Step::Update { from, to, add }),
        1 => (id.clone(), id.clone()).prop_map(|(id, to)| Step::Move { id, to }),
        2 => (id.clone(), id).prop_map(|(from, to)| Step::Delete { from, to }),
        1 => Just(Step::Commit),
    ]
}

/// The model's answer; `None` when the statement must fail.
fn apply(model: &mut Model, step: &Step) -> Option<()> {
    match *step {
        Step::Insert(id, v) => {
            if model.contains_key(&id) {
                return None;
            }
            model.insert(id, v);
        }
        Step::Upsert(id, v) => {
            model.entry(id).and_modify(|old| *old += v).or_insert(v);
        }
        Step::Update { from, to, add } => {
            if from < to {
                model.range_mut(from..to).for_each(|(_, v)| *v += add);
            }
        }
        Step::Move { id, to } => {
            if let Some(v) = model.get(&id).copied() {
                if id != to && model.contains_key(&to) {
                    return None;
                }
                model.remove(&id);
                model.insert(to, v);
            }
        }
        Step::Delete { from, to } => model.retain(|id, _| !(from..to).contains(id)),
        Step::Commit => {}
    }
    Some(())
}

fn sql(step: &Step) -> String {
    match step {
        Step::Insert(id, v) => format!("INSERT INTO t VALUES ({id}, {v})"),
        Step::Upsert(id, v) => {
            format!("INSERT INTO t VALUES ({id}, {v}) ON CONFLICT (id) DO UPDATE SET v = t.v + excluded.v")
        }
        Step::Update { from, to, add } => format!("UPDATE t SET v = v + {add} WHERE id >= {from} AND id < {to}"),
        Step::Move { id, to } => format!("UPDATE t SET id = {to} WHERE id = {id}"),
        Step::Delete { from, to } => format!("DELETE FROM t WHERE id BETWEEN {from} AND {to} - 1"),
        Step::Commit => unreachable!("not a statement"),
    }
}

fn rendered<'a>(rows: impl Iterator<Item = (&'a i64, &'a i64)>) -> String {
    rows.map(|(id, v)| format!("{id}|{v}")).collect::<Vec<_>>().join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    /// Statements over a transaction, against a map.
    #[test]
    fn statements_do_what_a_map_does(steps in proptest::collection::vec(step(), 1..24), from in 0..12i64, to in 0..12i64) {
        let mut story = Story::new("CREATE TABLE t (id int PRIMARY KEY, v int)");
        let mut model = Model::new();
        for step in &steps {
            if matches!(step, Step::Commit) {
                let writes = story.commit();
                let mut keys: Vec<_> = writes.iter().map(|write| &write.key).collect();
                keys.dedup();
                prop_assert_eq!(keys.len(), writes.len(), "one write per row");
            } else {
                let answer = story.run(&sql(step));
                let refused = apply(&mut model, step).is_none();
                prop_assert_eq!(answer.starts_with("23505"), refused, "{:?}: {}", step, answer);
            }
            prop_assert_eq!(story.run("SELECT * FROM t"), rendered(model.iter()));
            prop_assert_eq!(story.run("SELECT * FROM t ORDER BY id DESC"), rendered(model.iter().rev()));
            let range = model.iter().filter(|(id, _)| (from..=to).contains(*id));
            prop_assert_eq!(story.run(&format!("SELECT * FROM t WHERE id BETWEEN {from} AND {to}")), rendered(range));
        }
        story.commit();
        prop_assert_eq!(story.db.answer("SELECT * FROM t"), rendered(model.iter()));
    }
}

/// A source that fails, as a store on a broken disk does.
struct Broken;

impl RowSource for Broken {
    fn get(&self, _: TableId, _: &PrimaryKey) -> Result<Option<VersionedRow>, craton_query::SourceError> {
        Err(craton_query::SourceError::new("the disk is gone"))
    }

    fn scan<'a>(
        &'a self,
        _: TableId,
        _: KeyRange,
        _: Direction,
    ) -> Result<craton_query::Scan<'a>, craton_query::SourceError> {
        Ok(Box::new(std::iter::once(Err(craton_query::SourceError::new(
            "the disk is gone",
        )))))
    }
}

#[test]
fn a_failing_source_fails_the_statement() {
    let story = Story::new("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let mut writes = TransactionWrites::default();
    let own = RowWrite {
        table: story.db.tables["t"].id,
        key: PrimaryKey::encode([&Value::Int(7)]).expect("a key").as_bytes().to_vec(),
        expected: Expected::Absent,
        after: Some(vec![Value::Int(7), Value::Null]),
    };
    writes.merge(vec![own], |_| None).expect("merges");
    let overlay = Overlay::new(&Broken, &writes);
    for sql in ["SELECT * FROM t", "SELECT * FROM t WHERE id = 1"] {
        let plan = story.db.plan(sql, &[]).expect("plans");
        let PlanKind::Select(select) = plan.kind() else {
            panic!("a query")
        };
        let error = craton_query::execute_select(select, &overlay, &story.db.context(&[])).expect_err(sql);
        assert_eq!(
            show_error(&error),
            "58030: rows could not be read: the disk is gone",
            "{sql}"
        );
    }
}
