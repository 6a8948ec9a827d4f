//! What a startup message asks for, and what a session is told when it begins.

use super::failure::Failure;

/// The newest minor version of protocol 3 that is spoken.
pub(crate) const PROTOCOL_MINOR_MAX: u16 = 2;
/// The first minor version with cancel keys longer than four bytes.
pub(crate) const PROTOCOL_MINOR_LONG_KEYS: u16 = 2;

/// A startup message, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Startup {
    /// Who wants to log in.
    pub(crate) user: String,
    /// Where to; the user's name when nothing is said.
    pub(crate) database: String,
    /// Settings for the session, in the order sent.
    pub(crate) settings: Vec<(String, String)>,
    /// The minor protocol version that will be spoken.
    pub(crate) protocol_minor: u16,
    /// What the client must be told when it asked for more than is spoken.
    pub(crate) negotiate: Option<Negotiation>,
}

/// The contents of `NegotiateProtocolVersion`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Negotiation {
    /// The version spoken, as one number.
    pub(crate) version: i32,
    /// Protocol options that are not known.
    pub(crate) unknown_options: Vec<String>,
}

/// Reads a startup message's version and parameters.
///
/// # Errors
/// When the version or a parameter is not supported. All are fatal.
pub(crate) fn understand(version: (u16, u16), parameters: Vec<(String, String)>) -> Result<Startup, Failure> {
    let (major, minor) = version;
    if major != 3 {
        return Err(Failure::fatal(
            "0A000",
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{PROTOCOL_MINOR_MAX}"),
        ));
    }
    let mut user = None;
    let mut database = None;
    let mut settings = Vec::new();
    let mut unknown_options = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" => user = Some(value),
            "database" => database = Some(value),
            "options" => settings.extend(command_line_settings(&value)?),
            "replication" => {
                if !matches!(value.to_ascii_lowercase().as_str(), "false" | "off" | "no" | "0") {
                    return Err(Failure::fatal("0A000", "replication connections are not supported"));
                }
            }
            "client_encoding" => settings.extend(client_encoding(&value).map(|value| (name, value))),
            _ if name.starts_with("_pq_.") => unknown_options.push(name),
            _ => settings.push((name, value)),
        }
    }
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return Err(Failure::fatal(
            "28000",
            "no PostgreSQL user name specified in startup packet",
        ));
    };
    let database = database
        .filter(|database| !database.is_empty())
        .unwrap_or_else(|| user.clone());
    let protocol_minor = minor.min(PROTOCOL_MINOR_MAX);
    let negotiate = (minor > PROTOCOL_MINOR_MAX || !unknown_options.is_empty()).then(|| Negotiation {
        version: (3 << 16) | i32::from(protocol_minor),
        unknown_options,
    });
    Ok(Startup {
        user,
        database,
        settings,
        protocol_minor,
        negotiate,
    })
}

/// What to set `client_encoding` to; nothing when the client means the only encoding there is.
///
/// As in PostgreSQL, case and punctuation do not count: some drivers quote the name. `SQL_ASCII` on the client's side
/// means "do not convert", and nothing is converted.
fn client_encoding(value: &str) -> Option<String> {
    let letters = value.chars().filter(char::is_ascii_alphanumeric);
    let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    (!matches!(name.as_str(), "utf8" | "unicode" | "sqlascii")).then(|| value.to_owned())
}

/// Reads `-c name=value` and `--name=value` from the `options` parameter; a backslash keeps the next character.
fn command_line_settings(options: &str) -> Result<Vec<(String, String)>, Failure> {
    let unsupported = |word: &str| {
        Failure::fatal(
            "42601",
            format!("invalid command-line argument for server process: {word}"),
        )
        .with_hint("Only -c name=value and --name=value are supported.")
    };
    let mut settings = Vec::new();
    let mut words = split_words(options).into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(setting), _) => setting.to_owned(),
            (None, Some("")) => words.next().ok_or_else(|| unsupported(&word))?,
            (None, Some(setting)) => setting.to_owned(),
            (None, None) => return Err(unsupported(&word)),
        };
        let (name, value) = setting.split_once('=').ok_or_else(|| unsupported(&word))?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn split_words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.extend(characters.next()),
            _ if character.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The statement that gives a setting its value for the session.
///
/// # Errors
/// When the name is no setting's name. Values are quoted and cannot be anything but values.
pub(crate) fn set_statement(name: &str, value: &str) -> Result<String, Failure> {
    let spelled_well = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    if !spelled_well {
        return Err(Failure::fatal(
            "42704",
            format!("unrecognized configuration parameter \"{name}\""),
        ));
    }
    Ok(format!("SET {name} = '{}'", value.replace('\'', "''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_startup_message_is_understood() {
        let startup = understand(
            (3, 0),
            parameters(&[
                ("user", "app"),
                ("application_name", "psql"),
                ("client_encoding", "SQL_ASCII"),
                ("options", r"-c a=b\ c --log-level=x -cd=e"),
            ]),
        );
        assert_eq!(
            startup,
            Ok(Startup {
                user: "app".into(),
                database: "app".into(),
                settings: parameters(&[
                    ("application_name", "psql"),
                    ("a", "b c"),
                    ("log_level", "x"),
                    ("d", "e")
                ]),
                protocol_minor: 0,
                negotiate: None,
            })
        );
    }

    #[test]
    fn the_one_encoding_has_many_spellings() {
        for (value, accepted) in [
            ("UTF8", true),
            ("'utf-8'", true),
            ("Unicode", true),
            ("SQL_ASCII", true),
            ("LATIN1", false),
            ("", false),
        ] {
            assert_eq!(client_encoding(value).is_none(), accepted, "{value}");
        }
    }

    #[test]
    fn newer_protocols_are_negotiated_down() {
        let startup = understand((3, 9), parameters(&[("user", "app"), ("_pq_.x", "1")])).expect("negotiable");
        assert_eq!(startup.protocol_minor, 2);
        assert_eq!(
            startup.negotiate,
            Some(Negotiation {
                version: 196_610,
                unknown_options: vec!["_pq_.x".into()]
            })
        );
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for (version, pairs, sqlstate) in [
            ((2, 0), &[("user", "app")][..], "0A000"),
            ((4, 0), &[("user", "app")], "0A000"),
            ((3, 0), &[], "28000"),
            ((3, 0), &[("user", "")], "28000"),
            ((3, 0), &[("user", "app"), ("replication", "database")], "0A000"),
            ((3, 0), &[("user", "app"), ("options", "-W 3")], "42601"),
            ((3, 0), &[("user", "app"), ("options", "-c")], "42601"),
            ((3, 0), &[("user", "app"), ("options", "-c name")], "42601"),
        ] {
            let failure = understand(version, parameters(pairs)).expect_err("not supported");
            assert_eq!(failure.sqlstate, sqlstate, "{pairs:?}");
        }
        assert!(understand((3, 0), parameters(&[("user", "app"), ("replication", "off")])).is_ok());
    }

    #[test]
    fn settings_cannot_smuggle_statements() {
        assert_eq!(
            set_statement("a.b", "x'; DROP TABLE t; --").expect("a name"),
            "SET a.b = 'x''; DROP TABLE t; --'"
        );
        assert!(set_statement("a = 1; --", "x").is_err());
        assert!(set_statement("", "x").is_err());
    }
}
