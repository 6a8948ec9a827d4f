//! What a client is told when something went wrong: `ErrorResponse` and `NoticeResponse`.

use craton_query::SqlError;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use super::frontend::MessageError;

/// Whether the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
}

/// The fields of an `ErrorResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Whether the session goes on.
    pub(crate) severity: Severity,
    /// The class of the error.
    pub(crate) sqlstate: &'static str,
    /// One line for a person.
    pub(crate) message: String,
    /// More about this case.
    pub(crate) detail: Option<String>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Where in the statement's text, in characters counted from one.
    pub(crate) position: Option<u32>,
}

impl Failure {
    /// A failure after which the session goes on.
    pub(crate) fn error(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// A failure that ends the connection.
    pub(crate) fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fatal,
            ..Self::error(sqlstate, message)
        }
    }

    /// The same failure, ending the connection.
    pub(crate) fn into_fatal(self) -> Self {
        Self {
            severity: Severity::Fatal,
            ..self
        }
    }

    /// Adds a detail line.
    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a hint.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A statement was cancelled at the client's request.
    pub(crate) fn cancelled() -> Self {
        Self::error("57014", "canceling statement due to user request")
    }

    /// The server stops.
    pub(crate) fn shutdown() -> Self {
        Self::fatal("57P01", "terminating connection due to administrator command")
    }

    /// The same for a right answer and no such user, so that nobody learns which users exist.
    pub(crate) fn password(user: &str) -> Self {
        Self::fatal("28P01", format!("password authentication failed for user \"{user}\""))
    }

    /// A defect of the server, which its own log explains.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "internal error");
        Self::error("XX000", "internal error")
    }

    /// The message for the wire.
    pub(crate) fn to_message(&self) -> ErrorResponse {
        let severity = match self.severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        };
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', self.sqlstate.to_owned()),
            (b'M', without_nul(&self.message)),
        ];
        fields.extend(self.detail.as_deref().map(|detail| (b'D', without_nul(detail))));
        fields.extend(self.hint.as_deref().map(|hint| (b'H', without_nul(hint))));
        fields.extend(self.position.map(|position| (b'P', position.to_string())));
        ErrorResponse::new(fields)
    }
}

/// Fields end at their first zero byte, and messages may quote what the client sent.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// What a statement wants the client to know although nothing went wrong.
pub(crate) fn warning(error: SqlError) -> NoticeResponse {
    let failure = Failure::from(error);
    // Class 00 is success with something to say, as for IF NOT EXISTS.
    let severity = match failure.sqlstate {
        "00000" | "42P07" | "42P01" => "NOTICE",
        _ => "WARNING",
    };
    let mut fields = failure.to_message().fields;
    for (code, value) in &mut fields {
        if matches!(code, b'S' | b'V') {
            *value = severity.to_owned();
        }
    }
    NoticeResponse::new(fields)
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self {
            severity: Severity::Error,
            sqlstate: error.sqlstate.as_str(),
            message: error.message,
            detail: error.detail,
            hint: error.hint,
            position: error.position,
        }
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Self {
        let sqlstate = match error {
            MessageError::Encoding { .. } => "22021",
            _ => "08P01",
        };
        Self::error(sqlstate, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_reaches_the_wire() {
        let failure = Failure {
            position: Some(8),
            ..Failure::error("42601", "syntax error at \"\0\"")
                .with_detail("d")
                .with_hint("h")
        };
        let fields = failure.to_message().fields;
        let text: Vec<String> = fields
            .iter()
            .map(|(code, value)| format!("{}={value}", char::from(*code)))
            .collect();
        assert_eq!(
            text,
            [
                "S=ERROR",
                "V=ERROR",
                "C=42601",
                "M=syntax error at \"\u{fffd}\"",
                "D=d",
                "H=h",
                "P=8"
            ]
        );
    }
}
