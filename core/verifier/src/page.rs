//! The verification of a receipt as the verifier page asks for it: texts in, JSON out.

use std::fmt::Display;
use std::str::FromStr;

use craton_proof::{CosignerKey, VerifiedClaim, VerifierKey, WitnessPolicy, verify_claim};
use serde_json::{Value as Json, json};

/// Verifies a receipt against a log's key and the keys of witnesses, one a line, each of which must have cosigned.
/// Spaces around keys and line ends after the receipt are ignored, as they come with pasting.
///
/// | outcome | JSON |
/// |---|---|
/// | it verifies | `{"verified": true, "claim": "changes", "latest" or "absent", "sections": [{"title", "lines": [{"name", "value", "indented"}]}]}` |
/// | it does not | `{"verified": false, "error": "…"}` |
/// | a key is none | `{"input": "key"` or `"witnesses", "error": "…"}` |
///
/// All values are text, because JavaScript's numbers do not hold every position.
#[must_use]
pub fn verify_receipt(receipt: &[u8], key: &str, witnesses: &str) -> Json {
    let key: VerifierKey = match parse_key(key) {
        Ok(key) => key,
        Err(error) => return json!({ "input": "key", "error": error }),
    };
    let witnesses = match parse_witnesses(witnesses) {
        Ok(witnesses) => witnesses,
        Err(error) => return json!({ "input": "witnesses", "error": error }),
    };
    let mut receipt = receipt.trim_ascii_end().to_vec();
    receipt.push(b'\n');
    match verify_claim(&receipt, &key, &witnesses) {
        Ok(verified) => {
            let sections = verified.sections().into_iter().map(|section| {
                let lines = section
                    .lines
                    .into_iter()
                    .map(|line| json!({ "name": line.name, "value": line.value, "indented": line.is_indented }));
                json!({ "title": section.title, "lines": lines.collect::<Vec<_>>() })
            });
            json!({ "verified": true, "claim": claim(&verified), "sections": sections.collect::<Vec<_>>() })
        }
        Err(error) => json!({ "verified": false, "error": error.to_string() }),
    }
}

/// What kind of claim is proved, in a word.
const fn claim(claim: &VerifiedClaim) -> &'static str {
    match claim {
        VerifiedClaim::Changes(_) => "changes",
        VerifiedClaim::State(state) if state.row.is_some() => "latest",
        VerifiedClaim::State(_) => "absent",
    }
}

fn parse_key<K: FromStr<Err: Display>>(text: &str) -> Result<K, String> {
    text.trim().parse().map_err(|error: K::Err| error.to_string())
}

fn parse_witnesses(text: &str) -> Result<WitnessPolicy, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let keys: Vec<CosignerKey> = lines.map(parse_key).collect::<Result<_, _>>()?;
    let quorum = keys.len();
    WitnessPolicy::new(keys, quorum).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIPT: &str = include_str!("../../proof/tests/golden/v1/receipt_cosigned.txt");
    const SEALED: &str = include_str!("../../proof/tests/golden/v1/clinic/receipt_sealed.txt");
    const LATEST: &str = include_str!("../../proof/tests/golden/v1/clinic/state_latest.txt");
    const ABSENT: &str = include_str!("../../proof/tests/golden/v1/clinic/state_absent.txt");
    const CLINIC_KEY: &str = include_str!("../../proof/tests/golden/v1/clinic/key.txt");
    const KEY: &str = include_str!("../../proof/tests/golden/v1/key.txt");
    const WITNESS: &str = include_str!("../../proof/tests/golden/v1/witness.txt");

    #[test]
    fn a_genuine_receipt_is_shown_in_sections() {
        for receipt in [RECEIPT.to_owned(), format!("{RECEIPT}\r\n\n")] {
            let result = verify_receipt(receipt.as_bytes(), KEY, &format!("\n {WITNESS}\n"));
            assert_eq!(result["verified"], true, "{result}");
            let sections = result["sections"].as_array().expect("a list");
            let titles: Vec<_> = sections.iter().map(|section| section["title"].as_str()).collect();
            assert_eq!(titles, [Some("The record"), Some("Change 2 of 2"), Some("Proved by")]);
            assert_eq!(
                sections[0]["lines"][0],
                json!({ "name": "position", "value": "8", "indented": false })
            );
            let lines = sections[1]["lines"].as_array().expect("a list");
            assert!(lines.contains(&json!({ "name": "name", "value": "'Grace'", "indented": true })));
            let proved = sections[2]["lines"].as_array().expect("a list");
            assert_eq!(proved.last().expect("lines")["name"], "witness");
        }
    }

    /// The text of all values of a result, one a line.
    fn shown(result: &Json) -> String {
        let sections = result["sections"].as_array().expect("a list").iter();
        let lines = sections.flat_map(|section| section["lines"].as_array().expect("a list"));
        lines
            .map(|line| format!("{}: {}\n", line["name"], line["value"]))
            .collect()
    }

    #[test]
    fn state_receipts_and_sealed_values_are_understood() {
        for (receipt, claim, first, parts) in [
            (
                SEALED,
                "changes",
                "The record",
                ["(erased or withheld) -> 'Ada'", "id = 3"],
            ),
            (LATEST, "latest", "The state", ["latest as of record 3", "'Ada'"]),
            (ABSENT, "absent", "The state", ["absent as of record 3", "id = 5"]),
        ] {
            let result = verify_receipt(receipt.as_bytes(), CLINIC_KEY, "");
            assert_eq!(
                (&result["verified"], &result["claim"]),
                (&true.into(), &claim.into()),
                "{result}"
            );
            assert_eq!(result["sections"][0]["title"], first);
            let shown = shown(&result);
            assert!(parts.iter().all(|part| shown.contains(part)), "{claim}: {shown}");
        }
    }

    #[test]
    fn a_changed_receipt_is_refused_with_the_part_that_is_wrong() {
        let changed = RECEIPT.replace("index 8\n", "index 9\n");
        let result = verify_receipt(changed.as_bytes(), KEY, "");
        assert_eq!(result["verified"], false);
        assert!(
            result["error"]
                .as_str()
                .is_some_and(|error| error.starts_with("field offset"))
        );
    }

    #[test]
    fn keys_that_are_none_are_named() {
        for (key, witnesses, input) in [
            ("", "", "key"),
            (WITNESS, "", "key"),
            (KEY, KEY, "witnesses"),
            (KEY, &format!("{WITNESS}\n{WITNESS}"), "witnesses"),
        ] {
            let result = verify_receipt(RECEIPT.as_bytes(), key, witnesses);
            assert_eq!(result["input"], input, "{result}");
        }
    }
}
