//! Runs of the binary: one on its way, and what one gave.

use std::process::{Child, Command, Output};
use std::time::Duration;

use super::text;

/// The binary on its way.
pub struct Running {
    pub(super) child: Option<Child>,
    pub(super) arguments: Vec<String>,
}

impl Running {
    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal: `INT`, `TERM`, `KILL`.
    pub fn signal(&self, signal: &str) {
        // The shell's own `kill`: there is always one.
        let line = format!("kill -s {signal} {}", self.pid());
        assert!(
            Command::new("sh")
                .args(["-c", &line])
                .status()
                .unwrap()
                .success(),
            "{line}"
        );
    }

    /// Waits for its end; what it printed. It must end by itself within `most`.
    pub fn end(mut self, most: Duration) -> Ran {
        let child = self.child.take().unwrap();
        let pid = child.id();
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = ended.recv_timeout(most) else {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -s KILL {pid}")])
                .status();
            panic!(
                "summoner {} still runs after {most:?}",
                self.arguments.join(" ")
            );
        };
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Ran::new(&arguments, &output.unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a run of the binary gave.
#[derive(Debug, Clone)]
pub struct Ran {
    /// For messages.
    pub arguments: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    pub(super) fn new(arguments: &[&str], output: &Output) -> Self {
        Self {
            arguments: arguments.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// It must have ended with this exit code.
    pub fn code(self, wanted: i32) -> Self {
        assert_eq!(
            self.code,
            wanted,
            "exit code of summoner {}\n{}",
            self.arguments,
            self.all()
        );
        self
    }

    /// It must have succeeded.
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Both outputs must hold this text somewhere.
    pub fn says(self, wanted: &str) -> Self {
        assert!(
            self.all().contains(wanted),
            "summoner {} does not say `{wanted}`\n{}",
            self.arguments,
            self.all()
        );
        self
    }

    /// Both outputs.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Standard output, one JSON document.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("summoner {}: {e}\n{}", self.arguments, self.all()))
    }
}
