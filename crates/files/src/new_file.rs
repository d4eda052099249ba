//! A file that appears under its name when it is complete, and not before.
//!
//! What is named may be more than a name in a folder:
//!
//! * **A symbolic link** stays; the file that it leads to is replaced, or made.
//! * **A pipe, a device, or the standard output** cannot be replaced by something complete: it is written to as it comes.
//! * **A folder**, or **a file that the command reads**, is refused before anything is done.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// As many symbolic links are followed as the kernel follows.
const MOST_LINKS: u32 = 40;

/// As many names are tried for a file that is not finished.
const MOST_NAMES: u32 = 1000;

/// Written beside its name; left alone, it is taken away again.
#[derive(Debug)]
pub struct NewFile {
    name: PathBuf,
    writer: BufWriter<File>,
    /// None where it is written to as it comes.
    naming: Option<Naming>,
}

/// A file that has not got its name yet.
#[derive(Debug)]
struct Naming {
    partial: PathBuf,
    target: PathBuf,
    is_done: bool,
}

impl NewFile {
    /// Begins the file. What stands under its name stays there until [`finish`](Self::finish). `inputs` are the files
    /// that the command reads: none of them is written over.
    pub fn create(path: &Path, inputs: &[&Path]) -> Result<Self> {
        let name = path.display();
        let found = match fs::metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("create {name}")),
        };
        if let Some(found) = &found {
            ensure!(!found.is_dir(), "create {name}: this is a folder; name a file in it");
            refuse_inputs(path, found, inputs)?;
        }
        let straight = found.as_ref().and_then(|found| straight_to(path, found));
        let (file, naming) = if let Some(file) = straight {
            (file.with_context(|| format!("open {name} to write to it"))?, None)
        } else {
            let (file, naming) = Naming::begin(path, found.as_ref())?;
            (file, Some(naming))
        };
        Ok(Self { name: path.to_owned(), writer: BufWriter::new(file), naming })
    }

    /// What the file was called when it was begun.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<()> {
        self.finish_writing().with_context(|| format!("write {}", self.name.display()))
    }

    fn finish_writing(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        let Some(naming) = &mut self.naming else { return Ok(()) };
        self.writer.get_ref().sync_all()?;
        naming.done()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Naming {
    /// Begins a file beside the one that it will replace, under a name that nobody else uses.
    fn begin(path: &Path, found: Option<&Metadata>) -> Result<(File, Self)> {
        let name = path.display();
        let target = behind_links(path).with_context(|| format!("create {name}"))?;
        let file_name = target.file_name().with_context(|| format!("{name}: not a file name"))?;
        let (partial, file) = beside(&target, file_name, found).with_context(|| format!("create {name}"))?;
        let naming = Self { partial, target, is_done: false };
        if let Some(found) = found {
            // What only some could read stays theirs.
            file.set_permissions(found.permissions()).with_context(|| format!("create {name}"))?;
        }
        Ok((file, naming))
    }

    fn done(&mut self) -> io::Result<()> {
        fs::rename(&self.partial, &self.target)?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Naming {
    fn drop(&mut self) {
        if !self.is_done {
            // The command has failed already; a leftover under a hidden name harms nobody.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Creates a hidden file beside `target` under a name that nothing has: whatever stands under another, another
/// command's unfinished file or a link, is left alone. Nobody can open it who could not open what it will replace.
fn beside(target: &Path, file_name: &OsStr, found: Option<&Metadata>) -> io::Result<(PathBuf, File)> {
    let mode = found.map_or(0o666, |found| found.permissions().mode() & 0o777);
    for number in 0..MOST_NAMES {
        let mut partial = OsString::from(".");
        partial.push(file_name);
        partial.push(format!(".{}-{number}.partial", std::process::id()));
        let partial = target.with_file_name(partial);
        match File::options().write(true).create_new(true).mode(mode).open(&partial) {
            Ok(file) => return Ok((partial, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the folder is full of files that were not finished"))
}

/// Opens what cannot be replaced; none if it can.
fn straight_to(path: &Path, found: &Metadata) -> Option<io::Result<File>> {
    // It may be a file, and at its end, and another process may write there too: only the open one knows.
    if let Some(standard) = standard_output().filter(|standard| is_same(standard, found)) {
        return Some(Ok(standard));
    }
    (!found.is_file()).then(|| File::options().write(true).open(path))
}

fn standard_output() -> Option<File> {
    io::stdout().as_fd().try_clone_to_owned().ok().map(File::from)
}

fn is_same(open: &File, found: &Metadata) -> bool {
    open.metadata().is_ok_and(|open| identity(&open) == identity(found))
}

fn refuse_inputs(path: &Path, found: &Metadata, inputs: &[&Path]) -> Result<()> {
    // A terminal is read and written at a time, and nothing is lost.
    if found.file_type().is_char_device() {
        return Ok(());
    }
    for input in inputs {
        // One that is not there is told of by whoever reads it.
        let is_input = fs::metadata(input).is_ok_and(|input| identity(&input) == identity(found));
        ensure!(
            !is_input,
            "create {}: this is the same file as {}, which is read; name another one",
            path.display(),
            input.display()
        );
    }
    Ok(())
}

/// What tells a file from all others, however many names it has.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Where a path leads to, whether something is there or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
            // No link: a file, or nothing.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("its links lead nowhere"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// A folder that is gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ltv-new-file-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> =
                names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // A folder more or less where such folders are is not worth a failure.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(path: &Path) {
        let mut file = NewFile::create(path, &[]).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
    }

    #[track_caller]
    fn refused(path: &Path, inputs: &[&Path]) -> String {
        format!("{:#}", NewFile::create(path, inputs).expect_err("it is refused"))
    }

    #[test]
    fn a_file_is_replaced_when_the_new_one_is_complete_and_not_before() {
        let folder = Folder::new("replaced");
        let path = folder.path("values.csv");
        fs::write(&path, "old").unwrap();

        let mut abandoned = NewFile::create(&path, &[]).unwrap();
        abandoned.write_all(b"half").unwrap();
        assert_eq!(folder.names().len(), 2);
        drop(abandoned);
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), folder.names().len()), ("old", 1));

        write(&path);
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), folder.names().len()), ("new", 1));
    }

    #[test]
    fn what_stands_under_the_name_of_an_unfinished_file_is_left_alone() {
        let folder = Folder::new("unfinished");
        let path = folder.path("values.csv");
        fs::write(folder.path("precious"), "precious").unwrap();
        symlink("precious", folder.path(&format!(".values.csv.{}-0.partial", std::process::id()))).unwrap();

        let (mut one, mut other) =
            (NewFile::create(&path, &[]).unwrap(), NewFile::create(&path, &[]).unwrap());
        one.write_all(b"one").unwrap();
        other.write_all(b"other").unwrap();
        one.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        other.finish().unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
        assert_eq!(fs::read_to_string(folder.path("precious")).unwrap(), "precious");
        assert_eq!(folder.names().len(), 3);
    }

    #[test]
    fn a_file_that_replaces_another_is_readable_by_those_who_could_read_that_one() {
        let folder = Folder::new("permissions");
        let path = folder.path("values.csv");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

        write(&path);

        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_stays_and_the_file_that_it_leads_to_is_replaced_or_made() {
        let folder = Folder::new("links");
        fs::create_dir(folder.path("store")).unwrap();
        fs::write(folder.path("store/old.csv"), "old").unwrap();
        symlink("store/old.csv", folder.path("one")).unwrap();
        symlink(folder.path("one"), folder.path("two")).unwrap();
        symlink("store/missing.csv", folder.path("three")).unwrap();

        write(&folder.path("two"));
        write(&folder.path("three"));

        for name in ["store/old.csv", "store/missing.csv"] {
            assert_eq!(fs::read_to_string(folder.path(name)).unwrap(), "new", "{name}");
        }
        for name in ["one", "two", "three"] {
            assert!(fs::symlink_metadata(folder.path(name)).unwrap().is_symlink(), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path("store")).unwrap().count(), 2);
    }

    #[test]
    fn a_link_to_itself_is_refused() {
        let folder = Folder::new("loop");
        symlink("loop", folder.path("loop")).unwrap();

        assert!(refused(&folder.path("loop"), &[]).contains("loop"));
    }

    #[test]
    fn a_pipe_is_written_to_and_stays_a_pipe() {
        let folder = Folder::new("pipe");
        let (pipe, link) = (folder.path("pipe"), folder.path("link"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink("pipe", &link).unwrap();

        for path in [&pipe, &link] {
            let reading = thread::spawn({
                let pipe = pipe.clone();
                move || {
                    let mut text = String::new();
                    File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                    text
                }
            });
            write(path);
            assert_eq!(reading.join().unwrap(), "new");
        }

        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert_eq!(folder.names(), ["link", "pipe"]);
    }

    #[test]
    fn a_folder_is_refused_at_once() {
        let folder = Folder::new("folder");

        let reason = refused(&folder.0, &[]);

        assert!(reason.contains("this is a folder") && folder.names().is_empty(), "{reason}");
    }

    #[test]
    fn a_file_that_is_read_is_refused_under_whichever_name_and_both_names_are_told() {
        let folder = Folder::new("input");
        let (input, other) = (folder.path("t.csv"), folder.path("c.csv"));
        fs::write(&input, "read").unwrap();
        fs::write(&other, "read").unwrap();
        symlink("t.csv", folder.path("link")).unwrap();
        fs::hard_link(&input, folder.path("second-name")).unwrap();
        let before = folder.names();

        let round_about = folder.0.join("..").join(folder.0.file_name().unwrap()).join("t.csv");
        let names = ["t.csv", "link", "second-name"].map(|name| folder.path(name));
        for out in names.into_iter().chain([round_about]) {
            let reason = refused(&out, &[&folder.path("missing.csv"), &other, &input]);
            assert!(
                reason.contains(&format!("{}: this is the same file as {}", out.display(), input.display())),
                "{reason}"
            );
        }

        assert_eq!((folder.names(), fs::read_to_string(&input).unwrap()), (before, "read".to_owned()));
    }
}
