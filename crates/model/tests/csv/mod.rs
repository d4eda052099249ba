//! The few lines of CSV that the tests read: commas, quotes, a header.

use std::path::Path;

/// A file of `tests/data`, as rows whose fields are asked for by the name of their column.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    header: &'a [String],
    fields: &'a [String],
}

impl Table {
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut rows: Vec<Vec<String>> = text.lines().map(fields).collect();
        Self { header: rows.remove(0), rows }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|fields| Row { header: &self.header, fields })
    }
}

impl<'a> Row<'a> {
    pub(crate) fn text(self, column: &str) -> &'a str {
        let place = self.header.iter().position(|name| name == column).expect(column);
        &self.fields[place]
    }

    /// What to call the row in a message: its first fields.
    #[allow(dead_code, reason = "not every test that reads tables compares with them")]
    pub(crate) fn label(self) -> String {
        self.fields[..self.fields.len().min(9)].join(",")
    }

    pub(crate) fn number(self, column: &str) -> f64 {
        self.text(column).parse().unwrap()
    }
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().unwrap().push(character),
        }
    }
    fields
}
