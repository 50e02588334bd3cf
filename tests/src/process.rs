//! One process of the binary.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use eyre::{WrapErr as _, bail, ensure, eyre};

/// The built `assay`, found beside the running test's own binary.
///
/// # Errors
/// If it has not been built; `make test` builds it first.
pub fn binary() -> eyre::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own.ancestors().map(|dir| dir.join("assay")).find(|path| path.is_file());
    found.ok_or_else(|| eyre!("no `assay` binary near {}; run `cargo build -p assay` first", own.display()))
}

/// A running process; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `assay` with `arguments`; what it prints goes to the file `log`, appended.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(arguments: &[&str], log: &Path) -> eyre::Result<Self> {
        Self::spawn(Command::new(binary()?), arguments, log)
    }

    /// Starts it on a machine of its own, a network namespace.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start_on(machine: &str, arguments: &[&str], log: &Path) -> eyre::Result<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", machine]).arg(binary()?);
        Self::spawn(command, arguments, log)
    }

    fn spawn(mut command: Command, arguments: &[&str], log: &Path) -> eyre::Result<Self> {
        let open = || fs::OpenOptions::new().create(true).append(true).open(log);
        command.args(arguments).stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        let child = command.spawn().wrap_err("cannot start assay")?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// How it ended, if it has ended by itself.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ended(&mut self) -> eyre::Result<Option<String>> {
        Ok(self.child.try_wait()?.map(|status| status.to_string()))
    }

    /// Kills it at once, as a crash would (SIGKILL).
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill(mut self) -> eyre::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal, like `STOP`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn signal(&self, name: &str) -> eyre::Result<()> {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "cannot send {name} to process {}", self.child.id());
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits; gives its exit code.
    ///
    /// # Errors
    /// If it does not stop within `limit`.
    pub fn terminate(self, limit: Duration) -> eyre::Result<Option<i32>> {
        self.signal("TERM")?;
        self.wait(limit)
    }

    /// Waits until it ends by itself; gives its exit code.
    ///
    /// # Errors
    /// If it does not end within `limit`.
    pub fn wait(mut self, limit: Duration) -> eyre::Result<Option<i32>> {
        let start = std::time::Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the process did not stop within {limit:?}; its last words:\n{}", self.tail())
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_memory(&self) -> eyre::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()).ok_or_else(|| eyre!("no VmRSS line"))?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// The end of what it printed.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
