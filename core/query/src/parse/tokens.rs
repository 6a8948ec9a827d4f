//! Tokens: counted, placed, and split into statements.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::{DIALECT, position_of, too_deep};
use crate::limits::{BRACKETS_DEPTH_MAX, CHAIN_TOKENS_MAX, STATEMENT_TOKENS_MAX};
use crate::{SqlError, SqlState};

/// The text's tokens without white space and comments. Each token's place is its character in the whole text, kept
/// in the column of line 1, so that every node of the syntax tree knows its position as the protocol counts it.
pub(super) fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    let places = Places::new(sql);
    let tokens = Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location()
        .map_err(|error| {
            SqlError::syntax(error.message).at(u32::try_from(places.character(error.location)).unwrap_or(0))
        })?;
    let mut kept: Vec<TokenWithSpan> = tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .collect();
    if kept.len() > STATEMENT_TOKENS_MAX {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!(
                "the statement has {} tokens, more than {STATEMENT_TOKENS_MAX}",
                kept.len()
            ),
        )
        .with_hint("Load many rows with COPY, or pass values as parameters."));
    }
    for token in &mut kept {
        let place = |location| Location {
            line: 1,
            column: places.character(location),
        };
        token.span = Span::new(place(token.span.start), place(token.span.end));
    }
    Ok(kept)
}

/// From line and column to the character in the whole text.
struct Places {
    /// The number of characters before each line.
    line_starts: Vec<u64>,
}

impl Places {
    fn new(sql: &str) -> Self {
        let mut line_starts = vec![0];
        let mut characters = 0;
        for character in sql.chars() {
            characters += 1;
            if character == '\n' {
                line_starts.push(characters);
            }
        }
        Self { line_starts }
    }

    fn character(&self, location: Location) -> u64 {
        let line = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX);
        self.line_starts.get(line).map_or(0, |start| start + location.column)
    }
}

/// The tokens of each statement, without the semicolons; empty statements are dropped.
pub(super) fn split(tokens: Vec<TokenWithSpan>) -> Vec<Vec<TokenWithSpan>> {
    let mut statements = vec![Vec::new()];
    for token in tokens {
        if token.token == Token::SemiColon {
            statements.push(Vec::new());
        } else if let Some(statement) = statements.last_mut() {
            statement.push(token);
        }
    }
    statements.retain(|statement| !statement.is_empty());
    statements
}

/// How deep a statement's brackets nest.
///
/// # Errors
/// `54001` past the bound.
pub(super) fn brackets_depth(tokens: &[TokenWithSpan]) -> Result<usize, SqlError> {
    let (mut depth, mut depth_max) = (0usize, 0);
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > BRACKETS_DEPTH_MAX {
            return Err(too_deep().at(position_of(token)));
        }
        depth_max = depth_max.max(depth);
    }
    Ok(depth_max)
}

/// Refuses a run of tokens between two commas that is so long that its syntax tree could be too deep to walk.
///
/// A chain such as `a = 1 OR a = 2 OR …` nests to the left once per operator without any parenthesis, so the
/// parser's own bound does not see it. Every level takes at least one token of the run that it belongs to.
pub(super) fn check_chains(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    // The length of the run at each open level, and their sum.
    let mut levels = vec![0usize];
    let mut sum = 0usize;
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => levels.push(0),
            Token::RParen | Token::RBracket | Token::RBrace if levels.len() > 1 => {
                sum -= levels.pop().unwrap_or(0);
            }
            Token::Comma => {
                if let Some(run) = levels.last_mut() {
                    sum -= std::mem::take(run);
                }
            }
            _ => {}
        }
        // Brackets count for the run around them: they can be links of a chain, too.
        if let (Some(run), false) = (levels.last_mut(), token.token == Token::Comma) {
            *run += 1;
            sum += 1;
        }
        if sum > CHAIN_TOKENS_MAX {
            return Err(SqlError::new(
                SqlState::STATEMENT_TOO_COMPLEX,
                format!("an expression has more than {CHAIN_TOKENS_MAX} tokens between two commas"),
            )
            .with_hint("Use IN (…) instead of many OR.")
            .at(position_of(token)));
        }
    }
    Ok(())
}

/// Whether the token is this word, not quoted.
pub(super) fn is_word(token: Option<&TokenWithSpan>, word: &str) -> bool {
    matches!(
        token.map(|token| &token.token),
        Some(Token::Word(found)) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)
    )
}

/// Whether the token is this keyword, not quoted.
pub(super) fn is_keyword(token: &TokenWithSpan, keyword: Keyword) -> bool {
    matches!(&token.token, Token::Word(found) if found.keyword == keyword)
}
