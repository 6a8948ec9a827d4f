//! Time travel: `FROM t AS OF POSITION n` and `FROM t FOR SYSTEM_TIME AS OF time` (SQL:2011, section 7.6).
//!
//! The parser knows neither in PostgreSQL's dialect, so the clause is found among the tokens, its expression is
//! parsed by itself, and the statement goes on without it.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::{is_keyword, is_word};
use super::{describe, parser, position_of};
use crate::SqlError;
use crate::statement::{AsOfKind, AsOfSyntax};

/// Takes the clause out of a statement's tokens, if there is one.
pub(super) fn take(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<AsOfSyntax>, SqlError> {
    let Some((start, kind)) = find(tokens) else {
        return Ok(None);
    };
    let position = position_of(&tokens[start]);
    let is_query = tokens.first().is_some_and(|first| is_keyword(first, Keyword::SELECT));
    if is_query && !follows_from(&tokens[..start]) {
        return Err(SqlError::syntax("AS OF must follow the table in FROM").at(position));
    }
    let words_count = match kind {
        AsOfKind::Position => 3,
        AsOfKind::SystemTime => 4,
    };
    let mut parser = parser(tokens[start + words_count..].to_vec());
    let expression = parser.parse_expr().map_err(|error| describe(&error))?;
    let end = start + words_count + parser.index();
    tokens.drain(start..end);
    if let Some((again, _)) = find(tokens) {
        return Err(SqlError::syntax("AS OF may be given once").at(position_of(&tokens[again])));
    }
    Ok(Some(AsOfSyntax {
        kind,
        expression,
        position,
    }))
}

fn find(tokens: &[TokenWithSpan]) -> Option<(usize, AsOfKind)> {
    let word = |index: usize, word: &str| is_word(tokens.get(index), word);
    (0..tokens.len()).find_map(|index| {
        if word(index, "as") && word(index + 1, "of") && word(index + 2, "position") {
            // `AS of, position` cannot be meant: nothing separates the words.
            Some((index, AsOfKind::Position))
        } else if word(index, "for") && word(index + 1, "system_time") && word(index + 2, "as") && word(index + 3, "of")
        {
            Some((index, AsOfKind::SystemTime))
        } else {
            None
        }
    })
}

/// Whether the tokens end with `FROM`, a name and perhaps an alias.
fn follows_from(before: &[TokenWithSpan]) -> bool {
    let name_start = before
        .iter()
        .rposition(|token| !matches!(token.token, Token::Word(_) | Token::Period) || is_keyword(token, Keyword::FROM));
    match name_start {
        Some(from) => is_keyword(&before[from], Keyword::FROM) && from + 1 < before.len(),
        None => false,
    }
}
