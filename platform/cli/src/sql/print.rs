//! Results and errors for people.

use std::fmt::{self, Write as _};

use craton_proof::printable;
use tokio_postgres::SimpleQueryRow;
use tokio_postgres::error::{DbError, ErrorPosition};
use unicode_width::UnicodeWidthStr as _;

/// The rows of one statement. A line ends where the value says so; other control characters are escaped.
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// A value's lines, and whether it stands on the right as numbers do.
struct Cell {
    lines: Vec<String>,
    is_number: bool,
}

impl Cell {
    fn new(value: Option<&str>) -> Self {
        let text = value.unwrap_or("NULL");
        Self {
            lines: text.split('\n').map(printable).collect(),
            is_number: value.is_some_and(|value| value.parse::<f64>().is_ok()),
        }
    }
}

impl Table {
    pub(super) fn new(columns: &[tokio_postgres::SimpleColumn]) -> Self {
        Self {
            header: columns.iter().map(|column| printable(column.name())).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: &SimpleQueryRow) {
        self.rows
            .push((0..row.len()).map(|index| Cell::new(row.get(index))).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [row] = &self.rows[..]
            && let [Cell { lines, .. }] = &row[..]
            && lines.len() > 1
        {
            // One long text, such as a receipt, is to be read or copied, not to be framed.
            return writeln!(f, "{}", lines.join("\n"));
        }
        let mut widths: Vec<usize> = self.header.iter().map(|title| title.width()).collect();
        for (column, width) in self.rows.iter().flat_map(|row| widths_of(row)) {
            widths[column] = widths[column].max(width);
        }
        write_line(f, &widths, |index| (self.header[index].as_str(), false))?;
        let rule: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        writeln!(f, "{}", rule.join("+"))?;
        for row in &self.rows {
            let height = row.iter().map(|cell| cell.lines.len()).max().unwrap_or(0);
            for line in 0..height {
                write_line(f, &widths, |index| {
                    let cell = &row[index];
                    (cell.lines.get(line).map_or("", String::as_str), cell.is_number)
                })?;
            }
        }
        writeln!(f, "({})", count(self.rows.len() as u64, "row"))
    }
}

fn widths_of(row: &[Cell]) -> impl Iterator<Item = (usize, usize)> {
    row.iter()
        .enumerate()
        .flat_map(|(index, cell)| cell.lines.iter().map(move |line| (index, line.width())))
}

fn write_line<'a>(
    f: &mut fmt::Formatter<'_>,
    widths: &[usize],
    cell: impl Fn(usize) -> (&'a str, bool),
) -> fmt::Result {
    let mut line = String::new();
    for (index, width) in widths.iter().enumerate() {
        let (text, right) = cell(index);
        let gap = " ".repeat(width - text.width());
        let (before, after) = if right { (gap.as_str(), "") } else { ("", gap.as_str()) };
        let bar = if index == 0 { "" } else { "|" };
        write!(line, "{bar} {before}{text}{after} ")?;
    }
    writeln!(f, "{}", line.trim_end())
}

/// `1 row`, `2 rows`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A server's error with everything that helps.
pub(super) fn database_error(error: &DbError) -> String {
    let mut text = format!(
        "{}: {} (SQLSTATE {})\n",
        error.severity(),
        printable(error.message()),
        error.code().code()
    );
    let position = match error.position() {
        Some(ErrorPosition::Original(position)) => Some(format!("character {position}")),
        _ => None,
    };
    for (name, value) in [
        ("detail", error.detail()),
        ("hint", error.hint()),
        ("at", position.as_deref()),
    ] {
        if let Some(value) = value {
            // Writing to memory does not fail.
            let _ = writeln!(text, "  {name}: {}", printable(value));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &[&str], rows: &[&[Option<&str>]]) -> String {
        Table {
            header: header.iter().map(|title| (*title).to_owned()).collect(),
            rows: rows
                .iter()
                .map(|row| row.iter().map(|value| Cell::new(*value)).collect())
                .collect(),
        }
        .to_string()
    }

    #[test]
    fn numbers_stand_right_and_values_with_lines_keep_them() {
        assert_eq!(
            shown(
                &["id", "note"],
                &[
                    &[Some("1"), Some("病院")],
                    &[Some("100"), Some("two\nlines")],
                    &[Some("7"), None],
                    &[Some("8"), Some("\u{1b}[2J")],
                ]
            ),
            [
                " id  | note",
                "-----+-----------",
                "   1 | 病院",
                " 100 | two",
                "     | lines",
                "   7 | NULL",
                "   8 | \\u{1b}[2J",
                "(4 rows)",
                "",
            ]
            .join("\n")
        );
    }

    #[test]
    fn one_long_text_stands_alone() {
        assert_eq!(shown(&["receipt"], &[&[Some("line 1\nline 2")]]), "line 1\nline 2\n");
        assert_eq!(shown(&["count"], &[&[Some("3")]]), " count\n-------\n     3\n(1 row)\n");
        assert_eq!(shown(&["id"], &[]), " id\n----\n(0 rows)\n");
    }
}
