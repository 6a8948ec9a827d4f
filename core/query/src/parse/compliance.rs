//! Statements that SQL does not have: `ERASE`, `HOLD` and `RELEASE SUBJECT`, and the storage parameters of
//! `ALTER TABLE … SET (…)` and `ALTER DATABASE … SET (…)`.

use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::tokens::is_word;
use super::{describe, near, parser, position_of};
use crate::SqlError;
use crate::statement::{ComplianceSyntax, SubjectVerb};

/// Parses such a statement; `None` when the tokens are another one.
pub(super) fn parse(tokens: &[TokenWithSpan]) -> Result<Option<ComplianceSyntax>, SqlError> {
    let verbs = [
        ("ERASE", SubjectVerb::Erase),
        ("HOLD", SubjectVerb::Hold),
        ("RELEASE", SubjectVerb::Release),
    ];
    let verb = verbs.into_iter().find(|(word, _)| is_word(tokens.first(), word));
    if let (Some((_, verb)), true) = (verb, is_word(tokens.get(1), "SUBJECT")) {
        return parse_subject(verb, tokens).map(Some);
    }
    if is_word(tokens.first(), "ALTER") && (is_word(tokens.get(1), "TABLE") || is_word(tokens.get(1), "DATABASE")) {
        return parse_alter(tokens);
    }
    Ok(None)
}

fn parse_subject(verb: SubjectVerb, tokens: &[TokenWithSpan]) -> Result<ComplianceSyntax, SqlError> {
    let mut parser = parser(tokens[2..].to_vec());
    let subject = parser.parse_expr().map_err(|error| describe(&error))?;
    let next = parser.next_token();
    let reason = match &next.token {
        Token::EOF => None,
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("reason") => {
            Some(parser.parse_expr().map_err(|error| describe(&error))?)
        }
        other => return Err(near(&other.to_string(), position_of(&next))),
    };
    expect_end(&mut parser)?;
    Ok(ComplianceSyntax::Subject { verb, subject, reason })
}

/// `None` for the forms of `ALTER` that change something else.
fn parse_alter(tokens: &[TokenWithSpan]) -> Result<Option<ComplianceSyntax>, SqlError> {
    let is_database = is_word(tokens.get(1), "DATABASE");
    let mut parser = parser(tokens[2..].to_vec());
    let parsed = (|| -> Result<_, ParserError> {
        let name = parser.parse_object_name(false)?;
        if !parser.parse_keyword(Keyword::SET) || parser.peek_token_ref().token != Token::LParen {
            return Ok(None);
        }
        parser.expect_token(&Token::LParen)?;
        let options = parser.parse_comma_separated(Parser::parse_sql_option)?;
        parser.expect_token(&Token::RParen)?;
        Ok(Some((name, options)))
    })();
    let Some((name, options)) = parsed.map_err(|error| describe(&error))? else {
        return Ok(None);
    };
    expect_end(&mut parser)?;
    Ok(Some(ComplianceSyntax::Alter {
        is_database,
        name,
        options,
    }))
}

fn expect_end(parser: &mut Parser<'_>) -> Result<(), SqlError> {
    let next = parser.next_token();
    match next.token {
        Token::EOF => Ok(()),
        _ => Err(near(&next.token.to_string(), position_of(&next))),
    }
}
