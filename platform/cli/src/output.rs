//! Text for people: aligned tables.

use std::fmt::Write as _;

use craton_proof::printable;
use unicode_width::UnicodeWidthStr as _;

/// Rows under a header, in columns as wide as their widest cell. Control characters are escaped.
pub(crate) fn table<const COLUMNS: usize>(header: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let rows: Vec<[String; COLUMNS]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| printable(cell)))
        .collect();
    let mut widths = header.map(|title| title.width());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    line(&mut text, header.iter().copied(), &widths);
    for row in &rows {
        line(&mut text, row.iter().map(String::as_str), &widths);
    }
    text
}

fn line<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize]) {
    let start = text.len();
    for (cell, width) in cells.zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
    }
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

/// Facts about one thing, one a line. Those without a value are left out.
pub(crate) fn facts(facts: &[(&str, Option<String>)]) -> String {
    let width = facts.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in facts {
        if let Some(value) = value {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{name:width$}  {}", printable(value));
        }
    }
    text
}

/// An error with its causes, none said twice.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = [["a".into(), "ready".into()], ["病院".into(), "\u{1b}[2J".into()]];
        assert_eq!(
            table(["NAME", "STATE"], &rows),
            "NAME  STATE\na     ready\n病院  \\u{1b}[2J\n"
        );
        assert_eq!(table(["ID", "NAME"], &[]), "ID  NAME\n");
    }

    #[test]
    fn facts_without_a_value_are_left_out() {
        let shown = facts(&[
            ("id", Some("clu_1".into())),
            ("error", None),
            ("state", Some("ready".into())),
        ]);
        assert_eq!(shown, "id     clu_1\nstate  ready\n");
    }
}
