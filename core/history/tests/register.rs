//! Histories of a register: those that a store may show, and those that it must not.

use RegisterOperation::{CompareAndSet, Read, Write};
use craton_history::{Call, HistoryError, Register, RegisterOperation, check, check_keys};

const CONFIGURATIONS_MAX: usize = 100_000;

fn call(begun: u64, ended: u64, operation: RegisterOperation) -> Call<RegisterOperation> {
    Call {
        begun,
        ended: Some(ended),
        operation,
    }
}

/// A call whose answer never came.
fn open(begun: u64, operation: RegisterOperation) -> Call<RegisterOperation> {
    Call {
        begun,
        ended: None,
        operation,
    }
}

fn set(expected: Option<i64>, new: i64, was_set: Option<bool>) -> RegisterOperation {
    CompareAndSet { expected, new, was_set }
}

#[test]
fn histories_of_a_store_that_does_one_thing_after_another_are_accepted() {
    for (what, calls) in [
        ("nothing", vec![]),
        ("an empty register", vec![call(0, 1, Read(None))]),
        (
            "one after another",
            vec![
                call(0, 1, Write(1)),
                call(2, 3, Read(Some(1))),
                call(4, 5, Write(2)),
                call(6, 7, Read(Some(2))),
            ],
        ),
        (
            "reads beside a write see the old and the new value, in this order",
            vec![
                call(0, 1, Write(1)),
                call(2, 9, Write(2)),
                call(3, 4, Read(Some(1))),
                call(5, 6, Read(Some(2))),
                call(7, 8, Read(Some(2))),
            ],
        ),
        (
            "two writes at once take effect in the order that a read shows",
            vec![call(0, 9, Write(1)), call(0, 9, Write(2)), call(10, 11, Read(Some(1)))],
        ),
        (
            "what touches in one moment may come in either order",
            vec![call(0, 5, Write(1)), call(5, 9, Read(None))],
        ),
        (
            "a write without an answer takes effect late",
            vec![
                call(0, 1, Write(1)),
                open(2, Write(2)),
                call(3, 4, Read(Some(1))),
                call(5, 6, Write(3)),
                call(7, 8, Read(Some(3))),
                call(9, 10, Read(Some(2))),
            ],
        ),
        (
            "a write without an answer never takes effect",
            vec![call(0, 1, Write(1)), open(2, Write(2)), call(3, 4, Read(Some(1)))],
        ),
        (
            "one of two sets at once succeeds",
            vec![
                call(0, 1, Write(1)),
                call(2, 9, set(Some(1), 2, Some(true))),
                call(2, 9, set(Some(1), 3, Some(false))),
                call(10, 11, Read(Some(2))),
            ],
        ),
        (
            "a set without an answer explains a set that follows it",
            vec![
                call(0, 1, Write(1)),
                open(2, set(Some(1), 2, None)),
                call(3, 4, set(Some(2), 3, Some(true))),
            ],
        ),
    ] {
        let answered = calls.iter().filter(|call| call.ended.is_some()).count();
        assert_eq!(check(&Register, &calls, CONFIGURATIONS_MAX), Ok(answered), "{what}");
    }
}

#[test]
fn histories_that_no_such_store_shows_are_refused() {
    for (what, calls) in [
        ("a value from nowhere", vec![call(0, 1, Read(Some(1)))]),
        ("a write is lost", vec![call(0, 1, Write(1)), call(2, 3, Read(None))]),
        (
            "a stale read",
            vec![call(0, 1, Write(1)), call(2, 3, Write(2)), call(4, 5, Read(Some(1)))],
        ),
        (
            "the new value and then the old one, beside the write",
            vec![
                call(0, 1, Write(1)),
                call(2, 9, Write(2)),
                call(3, 4, Read(Some(2))),
                call(5, 6, Read(Some(1))),
            ],
        ),
        (
            "two readers see two writes in different orders",
            vec![
                call(0, 20, Write(1)),
                call(0, 20, Write(2)),
                call(1, 2, Read(Some(1))),
                call(3, 4, Read(Some(2))),
                call(5, 6, Read(Some(1))),
            ],
        ),
        (
            "a read of what is written later",
            vec![call(0, 1, Read(Some(1))), call(2, 3, Write(1))],
        ),
        (
            "an open write takes effect before it began",
            vec![call(0, 1, Read(Some(1))), open(2, Write(1))],
        ),
        (
            "an open write takes effect twice",
            vec![
                open(0, Write(1)),
                call(1, 2, Read(Some(1))),
                call(3, 4, Write(2)),
                call(5, 6, Read(Some(1))),
            ],
        ),
        (
            "both of two sets succeed",
            vec![
                call(0, 1, Write(1)),
                call(2, 9, set(Some(1), 2, Some(true))),
                call(2, 9, set(Some(1), 3, Some(true))),
            ],
        ),
        (
            "a set is refused though nothing was in its way",
            vec![call(0, 1, Write(1)), call(2, 3, set(Some(1), 2, Some(false)))],
        ),
    ] {
        let refused = check(&Register, &calls, CONFIGURATIONS_MAX);
        assert!(
            matches!(refused, Err(HistoryError::NotLinearizable { .. })),
            "{what}: {refused:?}"
        );
    }
}

#[test]
fn keys_are_searched_by_themselves_and_the_wrong_one_is_named() {
    let good = [call(0, 1, Write(1)), call(2, 3, Read(Some(1)))].map(|call| ("good", call));
    let bad = [call(0, 1, Write(1)), call(2, 3, Read(Some(2)))].map(|call| ("bad", call));
    assert_eq!(check_keys(&Register, good.clone(), CONFIGURATIONS_MAX), Ok(2));
    let refused = check_keys(&Register, good.into_iter().chain(bad), CONFIGURATIONS_MAX);
    let Err((
        key,
        HistoryError::NotLinearizable {
            explained,
            answered,
            state,
            stuck,
        },
    )) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (key, explained, answered, state.as_str(), stuck.len()),
        ("bad", 1, 2, "Some(1)", 1)
    );
}

/// Numbers that look random, the same at every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A history of so many clients that a real register made: each call takes effect between its beginning and its end.
fn recorded(clients: u64, calls: usize, seed: u64) -> Vec<Call<RegisterOperation>> {
    let mut numbers = Numbers(seed);
    let mut value = None;
    let mut ends = vec![0; usize::try_from(clients).expect("few")];
    let mut moment = 10;
    let mut made: Vec<Call<RegisterOperation>> = Vec::new();
    for number in 0..calls {
        let client = usize::try_from(numbers.below(clients)).expect("few");
        // Effects come one after another; each call begins after its client's last one has ended.
        moment = (moment + 1 + numbers.below(3)).max(ends[client] + 1);
        let begun = (moment - numbers.below(clients * 2).min(moment))
            .max(ends[client] + 1)
            .min(moment);
        let ended = moment + numbers.below(clients * 2);
        ends[client] = ended;
        let new = i64::try_from(number).expect("few");
        let operation = match numbers.below(4) {
            0 => {
                let expected = if numbers.below(2) == 0 { value } else { Some(-1) };
                let was_set = expected == value;
                value = if was_set { Some(new) } else { value };
                set(expected, new, Some(was_set))
            }
            1 => {
                value = Some(new);
                Write(new)
            }
            _ => Read(value),
        };
        made.push(match (numbers.below(50), operation) {
            (0, Write(_)) => open(begun, operation),
            _ => call(begun, ended, operation),
        });
    }
    made
}

#[test]
fn long_histories_of_a_real_register_are_accepted_and_one_wrong_answer_in_them_is_found() {
    for seed in 0..10 {
        let calls = recorded(8, 1_000, seed);
        let checked = check(&Register, &calls, CONFIGURATIONS_MAX);
        assert!(checked.is_ok(), "seed {seed}: {checked:?}");
        let mut wrong = calls;
        let read = wrong
            .iter_mut()
            .skip(500)
            .find(|call| matches!(call.operation, Read(_)));
        read.expect("half of them are reads").operation = Read(Some(-2));
        let refused = check(&Register, &wrong, CONFIGURATIONS_MAX);
        assert!(
            matches!(refused, Err(HistoryError::NotLinearizable { .. })),
            "seed {seed}: {refused:?}"
        );
    }
}

#[test]
fn a_search_that_takes_too_long_is_given_up() {
    let mut calls: Vec<_> = (0..20).map(|value| call(0, 100, Write(value))).collect();
    calls.push(call(101, 102, Read(Some(99))));
    let given_up = check(&Register, &calls, 1_000);
    assert!(
        matches!(
            given_up,
            Err(HistoryError::Undecided {
                configurations_max: 1_000,
                calls: 21
            })
        ),
        "{given_up:?}"
    );
}
