//! `LIKE` and `ILIKE`.

use crate::{SqlError, SqlState};

enum Item {
    /// `%`
    AnyText,
    /// `_`
    AnyCharacter,
    Exactly(char),
}

/// Whether the text matches the pattern. Takes time proportional to the product of their lengths at worst.
pub(super) fn matches(text: &str, pattern: &str, escape: Option<char>, ignore_case: bool) -> Result<bool, SqlError> {
    let items = compile(pattern, escape, ignore_case)?;
    let text: Vec<char> = text.chars().map(|c| fold(c, ignore_case)).collect();
    let (mut at, mut item) = (0, 0);
    // Where the last `%` was, and how much of the text it has swallowed so far: the only place to go back to.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        let advanced = match items.get(item) {
            Some(Item::AnyText) => {
                retry = Some((item, at));
                item += 1;
                continue;
            }
            Some(Item::AnyCharacter) => true,
            Some(Item::Exactly(character)) => *character == text[at],
            None => false,
        };
        if advanced {
            at += 1;
            item += 1;
        } else if let Some((any, swallowed)) = retry {
            retry = Some((any, swallowed + 1));
            at = swallowed + 1;
            item = any + 1;
        } else {
            return Ok(false);
        }
    }
    Ok(items[item..].iter().all(|item| matches!(item, Item::AnyText)))
}

fn fold(character: char, ignore_case: bool) -> char {
    if !ignore_case {
        return character;
    }
    // Characters whose lower case is several characters stay as they are.
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

fn compile(pattern: &str, escape: Option<char>, ignore_case: bool) -> Result<Vec<Item>, SqlError> {
    let mut items = Vec::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        items.push(if Some(character) == escape {
            let escaped = characters.next().ok_or_else(|| {
                SqlError::new(
                    SqlState::INVALID_ESCAPE_SEQUENCE,
                    "LIKE pattern must not end with escape character",
                )
            })?;
            Item::Exactly(fold(escaped, ignore_case))
        } else {
            match character {
                '%' => Item::AnyText,
                '_' => Item::AnyCharacter,
                other => Item::Exactly(fold(other, ignore_case)),
            }
        });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (text, pattern, expect) in [
            ("", "", true),
            ("", "%", true),
            ("a", "", false),
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "_b_", true),
            ("abc", "__", false),
            ("aXbXc", "a%X%c", true),
            ("aab", "%ab", true),
            ("mississippi", "%iss%ip%", true),
            ("mississippi", "%iss%ix%", false),
            ("50%", "50\\%", true),
            ("50x", "50\\%", false),
            ("é", "_", true),
        ] {
            assert_eq!(
                matches(text, pattern, Some('\\'), false),
                Ok(expect),
                "{text:?} LIKE {pattern:?}"
            );
        }
        assert_eq!(matches("ÀB", "àb", Some('\\'), true), Ok(true));
        assert_eq!(matches("a!b", "a!!b", Some('!'), false), Ok(true));
        assert_eq!(matches("a\\b", "a\\b", None, false), Ok(true));
        assert!(matches("a", "a\\", Some('\\'), false).is_err());
        // A pattern that takes exponential time with plain backtracking.
        let text = "a".repeat(2_000);
        assert_eq!(matches(&text, &"%a".repeat(500), Some('\\'), false), Ok(true));
        assert_eq!(matches(&text, &("%a".repeat(500) + "b"), Some('\\'), false), Ok(false));
    }
}
