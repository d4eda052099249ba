//! Files that are read anew for each connection, and the last of them that were good.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Makes something of what is in the files, or says what is wrong with it.
type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// What was made of some files.
pub(crate) struct Reread<T> {
    paths: Vec<PathBuf>,
    make: Make<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    bytes: Vec<Vec<u8>>,
    value: Arc<T>,
    /// What was said last about files that are no good.
    problem: Option<String>,
}

impl<T> Reread<T> {
    /// Reads them for the first time.
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let bytes = read(&paths)?;
        let value = Arc::new(make(&bytes).map_err(|problem| named(&paths, &problem))?);
        let state = Mutex::new(State { bytes, value, problem: None });
        Ok(Self { paths, make: Box::new(make), state })
    }

    /// Looks whether they are others by now, and tells what they say.
    pub(crate) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let made = read(&self.paths).and_then(|bytes| {
            if bytes == state.bytes {
                return Ok(None);
            }
            let value = (self.make)(&bytes).map_err(|problem| named(&self.paths, &problem))?;
            Ok(Some((bytes, value)))
        });
        match made {
            Ok(None) => state.problem = None,
            Ok(Some((bytes, value))) => {
                tracing::info!(files = names(&self.paths), "certificates were replaced");
                *state = State { bytes, value: Arc::new(value), problem: None };
            }
            Err(problem) => {
                if state.problem.as_ref() != Some(&problem) {
                    tracing::warn!(problem, "certificates cannot be used, and the ones before are kept");
                    state.problem = Some(problem);
                }
            }
        }
        Arc::clone(&state.value)
    }
}

impl<T> fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.paths).finish()
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

fn named(paths: &[PathBuf], problem: &str) -> String {
    if paths.is_empty() { problem.to_owned() } else { format!("{}: {problem}", names(paths)) }
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn number(bytes: &[Vec<u8>]) -> Result<u32, String> {
        let text = String::from_utf8(bytes.concat()).map_err(|error| error.to_string())?;
        text.parse().map_err(|_| "no number".to_owned())
    }

    #[test]
    fn what_is_replaced_is_read_anew_and_what_is_no_good_is_not_taken() {
        let path = std::env::temp_dir().join(format!("ltv-reread-{}", std::process::id()));
        fs::write(&path, "1").unwrap();
        let files = Reread::new(vec![path.clone()], number).unwrap();

        fs::write(&path, "2").unwrap();
        assert_eq!(*files.current(), 2);
        fs::write(&path, "half").unwrap();
        assert_eq!(*files.current(), 2);
        fs::remove_file(&path).unwrap();
        assert_eq!(*files.current(), 2);
        fs::write(&path, "3").unwrap();
        assert_eq!(*files.current(), 3);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn at_the_start_what_is_no_good_is_an_error_that_names_the_file() {
        let error = |path: &str| Reread::new(vec![path.into()], number).map(drop).unwrap_err();

        assert!(error("/nowhere/ca.pem").starts_with("/nowhere/ca.pem cannot be read: No such file"));
        assert_eq!(error("/dev/null"), "/dev/null: no number");
    }
}
