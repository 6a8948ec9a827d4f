//! `FORMAT csv`: RFC 4180, read with `csv-core`.
//!
//! As in PostgreSQL an unquoted field that equals the null text is NULL and a quoted one is not, a blank line is a
//! line with one empty field, and a quoted field must end. The reader tells none of the three, so each is seen from
//! the bytes that it consumed.

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::{Fields, as_text, in_line};
use crate::plan::{CopyFormat, CopyIn};
use crate::{SqlError, SqlState};

pub(super) fn for_each_line(
    copy: &CopyIn,
    data: &[u8],
    store: &mut dyn FnMut(u64, &Fields<'_>) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    as_text(copy, data)?;
    let mut lines = Lines::new(&copy.format, data);
    let mut header_left = copy.format.header;
    while let Some(line) = lines.next(copy)? {
        if std::mem::take(&mut header_left) {
            continue;
        }
        let mut fields = Vec::with_capacity(lines.fields.len());
        for field in &lines.fields {
            let text = std::str::from_utf8(&lines.buffer[field.start..field.end])
                .expect("fields of UTF-8 cut at ASCII bytes are UTF-8");
            fields.push((field.quoted || text != copy.format.null).then_some(text));
        }
        store(line, &fields)?;
    }
    Ok(())
}

struct Field {
    start: usize,
    end: usize,
    quoted: bool,
}

struct Lines<'a> {
    data: &'a [u8],
    at: usize,
    line: u64,
    reader: Reader,
    quote: u8,
    escape: u8,
    /// The unescaped fields of the current line, one after the other.
    buffer: Vec<u8>,
    fields: Vec<Field>,
}

impl<'a> Lines<'a> {
    fn new(format: &CopyFormat, data: &'a [u8]) -> Self {
        let doubled = format.escape == format.quote;
        let reader = ReaderBuilder::new()
            .delimiter(format.delimiter)
            .quote(format.quote)
            .double_quote(doubled)
            .escape((!doubled).then_some(format.escape))
            .build();
        Self {
            data,
            at: 0,
            line: 1,
            reader,
            quote: format.quote,
            escape: format.escape,
            buffer: vec![0; 1_024],
            fields: Vec::new(),
        }
    }

    /// Reads the next line's fields and gives its number.
    fn next(&mut self, copy: &CopyIn) -> Result<Option<u64>, SqlError> {
        self.fields.clear();
        // The second byte of the line break before.
        if self.at > 0 && self.data[self.at - 1] == b'\r' && self.data.get(self.at) == Some(&b'\n') {
            self.at += 1;
        }
        let line = self.line;
        let rest = &self.data[self.at..];
        let is_end_mark = rest
            .strip_prefix(b"\\.")
            .is_some_and(|after| matches!(after.first(), None | Some(b'\r' | b'\n')));
        if rest.is_empty() || is_end_mark {
            return Ok(None);
        }
        if matches!(rest[0], b'\n' | b'\r') {
            self.at += 1;
            self.line += 1;
            self.fields.push(Field {
                start: 0,
                end: 0,
                quoted: false,
            });
            return Ok(Some(line));
        }
        let mut written = 0;
        loop {
            let (field, is_last) = self.read_field(written);
            written = field.end;
            if field.quoted && !self.is_closed(&field.raw) {
                let error = SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field");
                return Err(in_line(error, copy, line));
            }
            self.fields.push(Field {
                start: field.start,
                end: field.end,
                quoted: field.quoted,
            });
            if is_last {
                break;
            }
        }
        let consumed = &self.data[self.data.len() - rest.len()..self.at];
        self.line += count_lines(consumed);
        Ok(Some(line))
    }

    /// Reads one field to the buffer from `start` on, and whether it is the line's last.
    fn read_field(&mut self, start: usize) -> (RawField, bool) {
        let raw_start = self.at;
        let quoted = self.data.get(raw_start) == Some(&self.quote);
        let mut end = start;
        loop {
            if end == self.buffer.len() {
                self.buffer.resize(2 * self.buffer.len(), 0);
            }
            // An empty input tells the reader that the data is over.
            let (result, read, wrote) = self.reader.read_field(&self.data[self.at..], &mut self.buffer[end..]);
            self.at += read;
            end += wrote;
            let is_last = match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => continue,
                ReadFieldResult::Field { record_end } => record_end,
                ReadFieldResult::End => true,
            };
            let field = RawField {
                start,
                end,
                quoted,
                raw: raw_start..self.at,
            };
            return (field, is_last);
        }
    }

    /// Whether each quote of a field has its partner.
    fn is_closed(&self, raw: &std::ops::Range<usize>) -> bool {
        let mut is_open = false;
        let mut bytes = self.data[raw.clone()].iter();
        while let Some(&byte) = bytes.next() {
            if byte == self.escape && self.escape != self.quote && is_open {
                bytes.next();
            } else if byte == self.quote {
                is_open = !is_open;
            }
        }
        !is_open
    }
}

struct RawField {
    start: usize,
    end: usize,
    quoted: bool,
    raw: std::ops::Range<usize>,
}

/// How many line breaks (LF, CR or both) are in the bytes. A CR at the end counts; its LF comes with the next line.
fn count_lines(bytes: &[u8]) -> u64 {
    let mut count = 0;
    let mut after_return = false;
    for &byte in bytes {
        if byte == b'\r' || (byte == b'\n' && !after_return) {
            count += 1;
        }
        after_return = byte == b'\r';
    }
    count
}

/// Writes a field, quoted where it could be taken for something else.
pub(super) fn write_field(format: &CopyFormat, field: &str, out: &mut String) {
    let special = |byte: u8| byte == format.delimiter || byte == format.quote || matches!(byte, b'\n' | b'\r');
    let needs_quotes = field == format.null || field == "\\." || field.bytes().any(special);
    if !needs_quotes {
        out.push_str(field);
        return;
    }
    let (quote, escape) = (char::from(format.quote), char::from(format.escape));
    out.push(quote);
    for character in field.chars() {
        if character == quote || character == escape {
            out.push(escape);
        }
        out.push(character);
    }
    out.push(quote);
}
