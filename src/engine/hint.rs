//! What to type next after an error of the engine.

use std::io;

use super::EngineError;

/// The reason of an [`EngineError::Absent`] when the socket may not be opened.
const DENIED: &str = "permission denied";
/// The reason when nobody listens on the socket.
const REFUSED: &str = "nobody listens on the socket";
/// The reason when there is no socket.
const NO_SOCKET: &str = "there is no such socket";

impl EngineError {
    /// No engine at `endpoint`, for the reason that the system gave.
    #[must_use]
    pub fn absent(endpoint: &str, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => NO_SOCKET.to_owned(),
            io::ErrorKind::ConnectionRefused => REFUSED.to_owned(),
            io::ErrorKind::PermissionDenied => DENIED.to_owned(),
            _ => error.to_string(),
        };
        Self::Absent {
            endpoint: endpoint.to_owned(),
            reason,
        }
    }

    /// The exit code that a shell gives for a command that did not come to run: 127 when there is no
    /// such program, 126 when it cannot be executed; `None` when it is another error.
    #[must_use]
    pub fn did_not_run(&self) -> Option<u8> {
        // runc's words for what the kernel says: not executable, no program, a folder.
        const CANNOT: [&str; 3] = ["permission denied", "exec format error", "is a directory"];
        match self {
            Self::NotFound {
                kind: "command", ..
            } => Some(127),
            Self::Other { reason, .. }
                if reason.contains("OCI runtime") && CANNOT.iter().any(|w| reason.contains(w)) =>
            {
                Some(126)
            }
            _ => None,
        }
    }

    /// What to type next, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Absent { endpoint, .. } if !endpoint.starts_with("unix://") => {
                "volumes are folders of this machine, so its own engine is needed: `unset DOCKER_HOST`, or run summoner over there".to_owned()
            }
            Self::Absent { reason, .. } if reason == DENIED => {
                "`sudo usermod -aG docker $USER`, then log in again, or run it with sudo".to_owned()
            }
            Self::Absent { reason, .. } if reason == REFUSED => {
                "`sudo systemctl restart docker`, then `docker version`".to_owned()
            }
            Self::Absent { .. } => {
                "install Docker Engine with `sudo apt-get install docker.io`, or start it with `sudo systemctl start docker`".to_owned()
            }
            Self::TooOld { .. } => {
                "update Docker Engine: `sudo apt-get update && sudo apt-get install docker.io`".to_owned()
            }
            Self::NotFound { kind: "image", name } => {
                format!("`docker pull {name}`, or check the version in config.yml")
            }
            Self::NotFound { kind: "container" | "network", .. } => {
                "`summoner up` makes what is missing".to_owned()
            }
            Self::NotFound { kind: "command", .. } => {
                "the image has no such program: look at the command (`summoner render` shows it) and at the version".to_owned()
            }
            Self::NotFound { .. } => return None,
            Self::Conflict(message) if message.starts_with("the container name `") => {
                "`docker ps -a` shows whose it is; remove or rename that container".to_owned()
            }
            Self::Conflict(_) => "`docker ps -a` shows what is in the way; try again".to_owned(),
            Self::PortTaken { port, .. } => {
                format!("`sudo ss -ltnp 'sport = :{port}'` shows who has it")
            }
            Self::Pull { image, .. } => {
                format!("`docker pull {image}` shows more; `docker login` for a private registry")
            }
            Self::Timeout(..) => "`docker ps` shows whether the engine still answers; `sudo systemctl restart docker` if not".to_owned(),
            Self::Other { reason, .. } if reason.contains("bind source path does not exist") => {
                "`summoner up` makes the folders it mounts; do not remove them while it runs".to_owned()
            }
            Self::Other { .. } => "`sudo journalctl -u docker --since -5m` shows what the engine did".to_owned(),
        };
        Some(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_of_absence_have_their_own_hints() {
        for (kind, reason, hint) in [
            (
                io::ErrorKind::NotFound,
                "there is no such socket",
                "apt-get install",
            ),
            (
                io::ErrorKind::ConnectionRefused,
                "nobody listens",
                "systemctl restart",
            ),
            (
                io::ErrorKind::PermissionDenied,
                "permission denied",
                "usermod -aG docker",
            ),
        ] {
            let error = EngineError::absent("unix:///var/run/docker.sock", &kind.into());
            assert!(error.to_string().contains(reason), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error}");
        }
    }

    #[test]
    fn commands_that_did_not_run_have_the_codes_of_a_shell() {
        let other = |reason: &str| EngineError::Other {
            action: "run the command `x`".into(),
            reason: reason.into(),
        };
        let missing = |kind| EngineError::NotFound {
            kind,
            name: "x".into(),
        };
        assert_eq!(missing("command").did_not_run(), Some(127));
        assert_eq!(missing("container").did_not_run(), None);
        let denied = "OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: exec: \"/etc/passwd\": permission denied";
        assert_eq!(other(denied).did_not_run(), Some(126));
        let format = "OCI runtime exec failed: exec failed: unable to start container process: exec /x: exec format error";
        assert_eq!(other(format).did_not_run(), Some(126));
        assert_eq!(other("permission denied").did_not_run(), None);
        assert_eq!(
            other("OCI runtime exec failed: no cgroup").did_not_run(),
            None
        );
    }

    #[test]
    fn a_remote_engine_is_told_to_come_home() {
        let error = EngineError::Absent {
            endpoint: "tcp://10.0.0.1:2376".into(),
            reason: "not on this machine".into(),
        };
        assert!(error.hint().unwrap().contains("unset DOCKER_HOST"));
    }
}
