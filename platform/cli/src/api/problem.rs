//! Errors of the API: problem details (RFC 9457).

use std::fmt;

use craton_proof::printable;
use serde::Deserialize;

/// What the server said no with.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    status: u16,
    code: String,
    title: String,
    detail: String,
    request_id: String,
    #[serde(default)]
    pub(crate) retryable: bool,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    pointer: String,
    detail: String,
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.detail.is_empty() {
            &self.title
        } else {
            &self.detail
        };
        write!(f, "{}", printable(text))?;
        for error in &self.errors {
            // One field's detail often is the whole detail.
            if error.detail != *text {
                write!(f, "\n  {}: {}", printable(&error.pointer), printable(&error.detail))?;
            }
        }
        write!(
            f,
            "\n  code {}, status {}, request {}",
            printable(&self.code),
            self.status,
            printable(&self.request_id)
        )?;
        if self.retryable {
            f.write_str("; trying again may help")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_fields_code_and_request() {
        let problem: Problem = serde_json::from_str(
            r#"{"type": "urn:craton:problem:validation_failed", "title": "Not acceptable", "status": 422,
                "detail": "The request is not acceptable.", "code": "validation_failed", "request_id": "req_1",
                "retryable": false,
                "errors": [{"pointer": "/name", "code": "invalid_value", "detail": "A name has at most 40 characters."}]}"#,
        )
        .expect("a problem");
        assert_eq!(
            problem.to_string(),
            "The request is not acceptable.\n  /name: A name has at most 40 characters.\n  \
             code validation_failed, status 422, request req_1"
        );
    }

    #[test]
    fn a_server_cannot_drive_the_terminal() {
        let problem: Problem = serde_json::from_str(
            r#"{"title": "t", "status": 500, "detail": "\u001b[2J", "code": "internal", "request_id": "r", "retryable": true}"#,
        )
        .expect("a problem");
        assert_eq!(
            problem.to_string(),
            "\\u{1b}[2J\n  code internal, status 500, request r; trying again may help"
        );
    }
}
