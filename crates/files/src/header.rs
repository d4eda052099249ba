//! The names in the first line of a file, and the columns that are found by them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::fields::Fields;

/// The names in the first line of a file.
#[derive(Clone, Debug)]
pub struct Header {
    path: PathBuf,
    names: Vec<String>,
}

/// The place of a column in every row of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column(pub(crate) usize);

/// How the names of columns are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// As they are written, and each must be a text: `t` and `T` are two.
    AsWritten,
    /// In lower case, whatever else they hold.
    InAnyCase,
}

impl Header {
    /// Takes the first record of a file.
    pub(crate) fn read(path: &Path, fields: &Fields<'_>, naming: Naming) -> Result<Self> {
        let name = |index| {
            let name = fields.get(index);
            anyhow::Ok(match naming {
                Naming::AsWritten => {
                    let name = std::str::from_utf8(&name);
                    name.with_context(|| format!("{}, line 1, field {}", path.display(), index + 1))?
                        .trim()
                        .to_owned()
                }
                Naming::InAnyCase => String::from_utf8_lossy(&name).trim().to_ascii_lowercase(),
            })
        };
        let names = (0..fields.len()).map(name).collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), names })
    }

    /// Names the columns of rows that are made from those of a file.
    pub(crate) fn made_from(path: &Path, names: &[&str]) -> Self {
        Self { path: path.to_owned(), names: names.iter().copied().map(str::to_owned).collect() }
    }

    /// The names of the columns, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a column.
    pub fn name(&self, column: Column) -> &str {
        &self.names[column.0]
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a column of that name.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|column| column == name)
    }

    /// The same columns under their names in lower case.
    pub(crate) fn in_lower_case(&self) -> Self {
        let names = self.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { path: self.path.clone(), names }
    }

    /// Finds the column that has one of these names, or says which are missing.
    pub fn column(&self, any_of: &[&str]) -> Result<Column> {
        self.optional(any_of)?.ok_or_else(|| {
            let (path, wanted, found) = (self.path.display(), any_of.join(" or "), self.shortened());
            anyhow!("{path}, line 1: there is no column {wanted}; found: {found}")
        })
    }

    /// Finds the column that has one of these names, if there is one.
    pub fn optional(&self, any_of: &[&str]) -> Result<Option<Column>> {
        match self.found(any_of)[..] {
            [] => Ok(None),
            [column] => Ok(Some(column)),
            [one, other, ..] => bail!(
                "{}, line 1: the columns {} and {} are the same to this command; rename or remove one",
                self.path.display(),
                self.name(one),
                self.name(other)
            ),
        }
    }

    /// Finds a column, or says what it takes to mend a file that must have the columns `needed`.
    pub(crate) fn needed(&self, wanted: &str, needed: &str) -> Result<Column> {
        let path = self.path.display();
        match self.found(&[wanted])[..] {
            [column] => Ok(column),
            [] => {
                let found = self.shortened();
                let mend = if self.names.len() == 1 && self.names[0].contains([';', '\t', '|']) {
                    "separate the columns with commas"
                } else {
                    "name the columns in the first line"
                };
                bail!(
                    "{path}, line 1: there is no column {wanted}; {mend}. Found: {found}. Needed, in any order: \
                     {needed}"
                )
            }
            _ => bail!("{path}, line 1: two columns are named {wanted}; rename or remove one"),
        }
    }

    fn found(&self, any_of: &[&str]) -> Vec<Column> {
        let places = self.names.iter().enumerate();
        places.filter(|(_, name)| any_of.contains(&name.as_str())).map(|(place, _)| Column(place)).collect()
    }

    /// The names, as many as fit into an error.
    fn shortened(&self) -> String {
        self.names.join(", ").chars().take(200).collect()
    }
}
