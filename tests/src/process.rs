//! Processes of the binary under test: started, stopped, resumed, killed, and never left behind.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::eventually;

/// The binary under test, and a folder for what it says. Integration tests know both from Cargo.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) binary: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Program {
    /// Takes `env!("CARGO_BIN_EXE_ltv-under-test")` and `env!("CARGO_TARGET_TMPDIR")`.
    pub fn new(binary: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), folder: folder.into() }
    }
}

/// What a command answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Answer {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::into_other(command, Stdio::piped())
    }

    /// Runs a command to its end, with this standard output.
    pub(crate) fn into_other(command: &mut Command, out: Stdio) -> Self {
        let command = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped());
        let child = command.spawn().expect("the binary under test can be run");
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Its standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output and log go into files named after it.
    pub(crate) fn start(command: &mut Command, name: &str, folder: &Path) -> Self {
        let log = File::create(folder.join(format!("{name}.log"))).expect("a file can be made");
        Self::start_unread(command, name, folder, log)
    }

    /// Starts a command whose output goes into a file named after it, and its log elsewhere.
    pub(crate) fn start_unread(
        command: &mut Command,
        name: &str,
        folder: &Path,
        stderr: impl Into<Stdio>,
    ) -> Self {
        let (out, log) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("a file can be made"))
            .stderr(stderr)
            .spawn()
            .expect("the binary under test can be run");
        Self { name: name.to_owned(), child, out, log }
    }

    /// What it is called, and its files are.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its name in the store and the logs begins; the rest is random.
    pub fn instances(&self) -> String {
        format!("{}-", self.name)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end at once, with SIGQUIT, unless it has ended, and returns when it is gone.
    pub(crate) fn quit(&mut self) {
        if !self.has_ended() {
            self.signal("QUIT");
            let _ = self.child.wait();
        }
    }

    /// Stops it with SIGSTOP, and returns when it stands still.
    pub async fn stop(&self) {
        self.signal("STOP");
        eventually(Duration::from_secs(5), "the process stands still", async || {
            (self.state()? == 'T').then_some(())
        })
        .await;
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Asks it to end, with SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Waits until it has ended, and says how.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let child = &mut self.child;
        eventually(limit, &what, async || child.try_wait().expect("a child can be waited for")).await
    }

    /// Whether it has ended by itself, or was killed.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// The signal that ended it, if one did.
    pub fn ended_by_signal(&mut self) -> Option<i32> {
        self.child.try_wait().expect("a child can be waited for")?.signal()
    }

    /// Its standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        let out = fs::read_to_string(&self.out).unwrap_or_default();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it says something.
    pub async fn says(&self, text: &str, limit: Duration) {
        let what = format!("{} says {text:?}", self.name);
        eventually(limit, &what, async || self.log().contains(text).then_some(())).await;
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill can be run");
        assert!(status.success(), "{signal} reaches {}", self.name);
    }

    /// The letter that Linux gives its state.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command that the kernel kills when the thread that started it ends, which a test's does last of all.
///
/// A test that is interrupted runs none of its drops, and a process that it has stopped hears no other signal.
pub(crate) fn dying_with_us(binary: &Path) -> Command {
    let mut command = Command::new("setpriv");
    // The kernel kills nobody who had not told it yet when that happened: whoever finds another parent ends.
    let with_us = r#"[ "$PPID" = "$0" ] || exit 1; exec "$@""#;
    command.args(["--pdeathsig", "KILL", "sh", "-c", with_us, &std::process::id().to_string()]).arg(binary);
    command
}

/// Prints the end of every log in a folder.
pub(crate) fn print_logs(folder: &Path) {
    let mut logs: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|log| log.path()).collect();
    logs.sort();
    for log in logs {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("--- the end of {} ({} lines)", log.display(), lines.len());
        for line in &lines[lines.len().saturating_sub(25)..] {
            eprintln!("{line}");
        }
    }
}
