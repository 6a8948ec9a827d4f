//! From text to statements: tokens with bounds, the time travel clause taken out, the rest to the parser.

mod as_of;
mod command;
mod compliance;
mod tokens;

use std::sync::Arc;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::limits::STATEMENT_BYTES_MAX;
use crate::statement::Syntax;
use crate::{SqlError, SqlState, Statement};

/// How many of the parser's own nested calls a statement may take; a level of parentheses takes about two. What
/// nests deeper than [`crate::limits::EXPRESSION_DEPTH_MAX`] but less than this is refused by the planner.
const PARSER_DEPTH_MAX: usize = 400;

const DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// Parses the statements of a text; an empty text has none.
///
/// # Errors
/// `42601` when the text does not parse, `54000` and `54001` past a limit.
pub fn parse(sql: &str) -> Result<Vec<Statement>, SqlError> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!(
                "the statement text takes {} bytes, more than {STATEMENT_BYTES_MAX}",
                sql.len()
            ),
        )
        .with_hint("Load many rows with COPY, or pass values as parameters."));
    }
    let mut statements = Vec::new();
    for tokens in tokens::split(tokens::tokenize(sql)?) {
        statements.push(parse_statement(tokens)?);
    }
    Ok(statements)
}

fn parse_statement(mut tokens: Vec<TokenWithSpan>) -> Result<Statement, SqlError> {
    let depth = tokens::brackets_depth(&tokens)?;
    tokens::check_chains(&tokens)?;
    let explain = command::take_explain(&mut tokens)?;
    if !explain && let Some(compliance) = on_stack_for(depth, || compliance::parse(&tokens))? {
        return Ok(Statement {
            syntax: Arc::new(Syntax::Compliance(compliance)),
            explain,
            as_of: None,
        });
    }
    command::check(&tokens)?;
    on_stack_for(depth, || {
        let as_of = as_of::take(&mut tokens)?;
        let mut parser = parser(tokens);
        let ast = parser.parse_statement().map_err(|error| describe(&error))?;
        let next = parser.next_token();
        if next.token != Token::EOF {
            return Err(near(&next.token.to_string(), position_of(&next)));
        }
        Ok(Statement {
            syntax: Arc::new(Syntax::Sql(ast)),
            explain,
            as_of: as_of.map(Arc::new),
        })
    })
}

/// Runs the parser on a stack that is large enough for brackets of this depth. The parser adds stack itself, but
/// in too few places to be sure of it.
fn on_stack_for<T>(depth: usize, parse: impl FnOnce() -> T) -> T {
    /// What an ordinary thread's stack surely holds.
    const DEPTH_ORDINARY: usize = 2;
    /// What one level takes at most, in a build without optimisations.
    const LEVEL_BYTES_MAX: usize = 512 << 10;
    if depth <= DEPTH_ORDINARY {
        return parse();
    }
    // Pages that are not touched take no memory.
    stacker::grow(LEVEL_BYTES_MAX * (depth + DEPTH_ORDINARY), parse)
}

/// Parses a column's default, as [`craton_types::Column::default_sql`] holds it.
pub(crate) fn parse_expression(sql: &str) -> Result<sqlparser::ast::Expr, SqlError> {
    let tokens = tokens::tokenize(sql)?;
    let depth = tokens::brackets_depth(&tokens)?;
    tokens::check_chains(&tokens)?;
    on_stack_for(depth, || parser(tokens).parse_expr().map_err(|error| describe(&error)))
}

fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&DIALECT)
        .with_recursion_limit(PARSER_DEPTH_MAX)
        .with_tokens_with_locations(tokens)
}

/// Where a token begins, in characters counted from one.
fn position_of(token: &TokenWithSpan) -> u32 {
    position(token.span)
}

/// Where a node of the syntax tree begins, in characters counted from one; zero when it is not known.
pub(crate) fn position(span: sqlparser::tokenizer::Span) -> u32 {
    // Tokens carry their position in the column (see `tokens::tokenize`).
    u32::try_from(span.start.column).unwrap_or(0)
}

pub(crate) fn too_deep() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "the statement is nested too deeply")
}

fn near(found: &str, position: u32) -> SqlError {
    if found == "EOF" {
        return SqlError::syntax("syntax error at end of input");
    }
    SqlError::syntax(format!("syntax error at or near \"{}\"", crate::text::excerpt(found))).at(position)
}

/// PostgreSQL's words for what the parser says as `Expected: …, found: … at Line: 1, Column: 7`.
fn describe(error: &ParserError) -> SqlError {
    let message = match error {
        ParserError::RecursionLimitExceeded => return too_deep(),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
    };
    let (text, position) = match message.rsplit_once(" at Line: 1, Column: ") {
        Some((text, column)) => (text, column.parse().unwrap_or(0)),
        None => (message.as_str(), 0),
    };
    match text
        .strip_prefix("Expected: ")
        .and_then(|rest| rest.rsplit_once(", found: "))
    {
        Some((expected, found)) => near(found, position).with_detail(format!("Expected {expected}.")),
        None => SqlError::syntax(format!("syntax error: {text}")).at(position),
    }
}

#[cfg(test)]
mod tests;
