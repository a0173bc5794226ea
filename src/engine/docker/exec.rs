//! Commands in running containers.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::StreamExt as _;

use super::attach::{Connection, Resize};
use super::error::{self, Subject};
use super::{Docker, spec};
use crate::engine::{EngineError, ExecOutput, ExecSpec};

/// The longest a command run to its end may take: dumps and the like have their own ways.
const EXEC_PATIENCE: Duration = Duration::from_mins(10);

/// How long the engine may take to tell the exit code once the output has ended.
const CODE_PATIENCE: Duration = Duration::from_secs(10);

/// Output that is kept in memory.
const MOST_OUTPUT: usize = 16 << 20;

/// What runc writes on *standard output* when it could not start the command.
pub(super) const OCI_ERROR: &[u8] = b"OCI runtime exec failed";

/// No session is left by a slip of the fingers: the engine's default, ctrl-p ctrl-q, would hold
/// back each ctrl-p of a shell.
pub(super) const DETACH_KEYS: &str = "ctrl-@,ctrl-^,ctrl-@,ctrl-_";

impl Docker {
    pub(super) async fn exec_to_end(
        &self,
        id: &str,
        spec: &ExecSpec,
    ) -> Result<ExecOutput, EngineError> {
        let run = async {
            let spec = ExecSpec {
                tty: false,
                stdin: false,
                ..spec.clone()
            };
            let (subject, exec, connection) = self.begin_exec(id, &spec).await?;
            let output = self.collect(&subject, connection).await?;
            let code = self.exec_code(&subject, &exec).await?;
            if let Some(error) = could_not_start(&subject, code, &output.stdout) {
                return Err(error);
            }
            Ok(ExecOutput { code, ..output })
        };
        match tokio::time::timeout(EXEC_PATIENCE, run).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::Timeout(
                EXEC_PATIENCE,
                format!("run `{}`", program(spec)),
            )),
        }
    }

    pub(super) async fn exec_with_our_streams(
        &self,
        id: &str,
        spec: &ExecSpec,
    ) -> Result<i64, EngineError> {
        let (subject, exec, connection) = self.begin_exec(id, spec).await?;
        let resize = Resize::Exec(exec.clone());
        let held = self
            .forward(&subject, connection, (spec.tty, spec.stdin), resize, None)
            .await?;
        let code = self.exec_code(&subject, &exec).await?;
        match could_not_start(&subject, code, &held.bytes) {
            Some(error) => Err(error),
            None => held.release().await.map(|()| code),
        }
    }

    /// Makes an exec; what it is about, its id.
    pub(super) async fn create_exec(
        &self,
        id: &str,
        spec: &ExecSpec,
    ) -> Result<(Subject, String), EngineError> {
        let container = Self::container("run a command in", id)?;
        let subject = Subject::new("run", "command", program(spec));
        let config = ExecConfig {
            attach_stdin: Some(spec.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(spec.tty),
            detach_keys: spec.tty.then(|| DETACH_KEYS.to_owned()),
            env: Some(spec::environment(&spec.environment)),
            cmd: Some(spec.command.clone()),
            user: spec.user.clone(),
            working_dir: spec.working_dir.clone(),
            ..Default::default()
        };
        let call = self.client.create_exec(id, config);
        let exec = self.call(&container, call).await?.id;
        Ok((subject, exec))
    }

    /// Makes and starts an exec; what it is about, its id, its streams.
    async fn begin_exec(
        &self,
        id: &str,
        spec: &ExecSpec,
    ) -> Result<(Subject, String, Connection), EngineError> {
        let (subject, exec) = self.create_exec(id, spec).await?;
        let options = StartExecOptions {
            detach: false,
            tty: spec.tty,
            output_capacity: Some(32 * 1024),
        };
        let call = self.client.start_exec(&exec, Some(options));
        match self.call(&subject, call).await? {
            StartExecResults::Attached { output, input } => {
                Ok((subject, exec, Connection { output, input }))
            }
            StartExecResults::Detached => Err(subject.failed("the engine did not connect us")),
        }
    }

    async fn collect(
        &self,
        subject: &Subject,
        mut connection: Connection,
    ) -> Result<ExecOutput, EngineError> {
        let mut output = ExecOutput {
            code: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        while let Some(frame) = connection.output.next().await {
            match frame.map_err(|error| subject.error(&self.endpoint, error))? {
                LogOutput::StdOut { message } => output.stdout.extend_from_slice(&message),
                LogOutput::StdErr { message } => output.stderr.extend_from_slice(&message),
                LogOutput::Console { .. } | LogOutput::StdIn { .. } => {
                    return Err(subject.failed(BROKEN_FRAME));
                }
            }
            if output.stdout.len() + output.stderr.len() > MOST_OUTPUT {
                return Err(subject.failed("it wrote more than 16 MiB"));
            }
        }
        Ok(output)
    }

    /// The exit code has three states: running, ended without a code, ended with one. The output
    /// ends before the engine knows.
    pub(super) async fn exec_code(
        &self,
        subject: &Subject,
        exec: &str,
    ) -> Result<i64, EngineError> {
        let code = async {
            let mut pause = Duration::from_millis(2);
            loop {
                let state = self.call(subject, self.client.inspect_exec(exec)).await?;
                if let (Some(false), Some(code)) = (state.running, state.exit_code) {
                    return Ok(code);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(200));
            }
        };
        match tokio::time::timeout(CODE_PATIENCE.min(self.patience), code).await {
            Ok(result) => result,
            Err(_) => {
                Err(subject.failed("its output ended, but the engine does not tell its exit code"))
            }
        }
    }
}

/// A frame that was cut, or one of no known stream: the output cannot be trusted.
pub(super) const BROKEN_FRAME: &str = "the engine broke off in the middle of the output";

/// Whether `output` may be runc's text rather than the command's.
pub(super) fn may_be_oci_error(output: &[u8]) -> bool {
    output.starts_with(OCI_ERROR)
}

pub(super) fn could_not_start(subject: &Subject, code: i64, output: &[u8]) -> Option<EngineError> {
    if !matches!(code, 126 | 127) || !may_be_oci_error(output) {
        return None;
    }
    let text = String::from_utf8_lossy(output);
    Some(match error::missing_command(&text) {
        Some(name) => EngineError::NotFound {
            kind: "command",
            name,
        },
        None => subject.failed(error::tidy(&text)),
    })
}

/// The first word only: arguments may hold secrets.
fn program(spec: &ExecSpec) -> &str {
    spec.command.first().map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_of_runc_with_its_codes_counts_as_not_started() {
        let subject = Subject::new("run", "command", "nope");
        let text = b"OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: exec: \"nope\": executable file not found in $PATH: unknown\r\n";
        let error = could_not_start(&subject, 126, text).unwrap();
        assert_eq!(error.to_string(), "no such command: `nope`");
        assert!(could_not_start(&subject, 1, text).is_none());
        assert!(could_not_start(&subject, 127, b"sh: nope: not found\n").is_none());
    }
}
