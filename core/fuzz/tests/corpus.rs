//! The committed corpora and the seeds through every target, with the ordinary compiler.

use std::fs;
use std::path::Path;

use craton_fuzz::TARGETS;

/// What all corpora take together at most.
const CORPORA_BYTES_MAX: u64 = 200 * 1024;

#[test]
fn seeds_are_understood() {
    let mut refused = Vec::new();
    for target in TARGETS {
        for parser in target.parsers() {
            let seeds = (parser.seeds)();
            assert!(!seeds.is_empty(), "{} has no seed for {}", target.name, parser.name);
            let wrong = seeds.iter().filter(|seed| !(parser.parse)(seed));
            refused.extend(wrong.map(|seed| (target.name, parser.name, String::from_utf8_lossy(seed).into_owned())));
        }
    }
    assert!(refused.is_empty(), "not understood: {refused:#?}");
}

#[test]
fn corpora_show_no_defect() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut bytes_total = 0;
    for target in TARGETS {
        let corpus = fs::read_dir(corpora.join(target.name)).expect("every target has a corpus");
        let mut inputs = 0;
        for entry in corpus {
            let path = entry.expect("readable").path();
            let input = fs::read(&path).expect("readable");
            bytes_total += input.len() as u64;
            let run = std::panic::catch_unwind(|| target.run(&input));
            run.unwrap_or_else(|_| panic!("{} shows a defect", path.display()));
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {} is empty", target.name);
    }
    assert!(bytes_total <= CORPORA_BYTES_MAX, "the corpora take {bytes_total} bytes");
}
