//! Finding the rows again in data that `COPY … TO STDOUT` has made.

use crate::plan::{CopyFormat, CopyOut};

impl CopyOut {
    /// Cuts the data of [`crate::copy_out`] into its rows, each with its line end: the protocol sends each row in a
    /// message of its own.
    pub fn rows<'a>(&'a self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        split(&self.format, data)
    }
}

fn split<'a>(format: &'a CopyFormat, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut quoted = false;
    let mut escaped = false;
    data.split_inclusive(move |&byte| {
        // In the text format line ends within values are escaped; in CSV they stand inside quotes.
        if format.csv {
            if escaped {
                escaped = false;
            } else if quoted && byte == format.escape && format.escape != format.quote {
                escaped = true;
            } else if byte == format.quote {
                // A doubled quote closes and opens again.
                quoted = !quoted;
            }
        }
        byte == b'\n' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_at_line_ends_outside_of_quotes() {
        for (csv, escape, data, expected) in [
            (false, b'"', "1\ta\"b\n2\tc\\nd\n", &["1\ta\"b\n", "2\tc\\nd\n"][..]),
            (true, b'"', "1,\"a\nb\"\n2,c\n", &["1,\"a\nb\"\n", "2,c\n"]),
            (true, b'"', "1,\"a\"\"\nb\"\n2,c\n", &["1,\"a\"\"\nb\"\n", "2,c\n"]),
            (true, b'\\', "1,\"a\\\"\nb\"\n2,c\n", &["1,\"a\\\"\nb\"\n", "2,c\n"]),
            (true, b'"', "", &[]),
        ] {
            let format = CopyFormat {
                csv,
                header: false,
                delimiter: b',',
                null: String::new(),
                quote: b'"',
                escape,
            };
            let rows: Vec<&[u8]> = split(&format, data.as_bytes()).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|row| row.as_bytes()).collect();
            assert_eq!(rows, expected, "{data:?}");
        }
    }
}
