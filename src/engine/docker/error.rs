//! What bollard says went wrong, in our own words.

use std::io;

use bollard::errors::Error;

use crate::engine::EngineError;

/// What a call was about: for the message, and for the kind of a 404.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    verb: &'static str,
    kind: &'static str,
    name: String,
}

impl Subject {
    /// `Subject::new("start", "container", "blog")` reads "failed to start the container `blog`".
    pub(super) fn new(verb: &'static str, kind: &'static str, name: &str) -> Self {
        Self {
            verb,
            kind,
            name: name.to_owned(),
        }
    }

    /// What was tried, fit for "failed to …".
    pub(super) fn action(&self) -> String {
        if self.name.is_empty() {
            format!("{} {}", self.verb, self.kind)
        } else {
            format!("{} the {} `{}`", self.verb, self.kind, self.name)
        }
    }

    /// It does not exist.
    pub(super) fn missing(&self) -> EngineError {
        EngineError::NotFound {
            kind: self.kind,
            name: self.name.clone(),
        }
    }

    /// Something else went wrong.
    pub(super) fn failed(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Other {
            action: self.action(),
            reason: reason.into(),
        }
    }

    /// Translates an error of bollard.
    pub(super) fn error(&self, endpoint: &str, error: Error) -> EngineError {
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => self.response(status_code, &message),
            Error::DockerStreamError { error } => self.failed(tidy(&error)),
            Error::SocketNotFoundError(_) => EngineError::absent(
                endpoint,
                &io::Error::new(io::ErrorKind::NotFound, "no such socket"),
            ),
            Error::HyperLegacyError { err } => match io_cause(&err) {
                Some(cause) => EngineError::absent(endpoint, cause),
                None => self.failed(chain(&err)),
            },
            Error::IOError { err } => self.failed(format!("the engine hung up: {err}")),
            other => self.failed(chain(&other)),
        }
    }

    /// Translates an answer of the engine.
    pub(super) fn response(&self, status: u16, message: &str) -> EngineError {
        if let Some(port) = taken_port(message) {
            return EngineError::PortTaken {
                port,
                reason: tidy(message),
            };
        }
        if let Some(name) = missing_command(message) {
            return EngineError::NotFound {
                kind: "command",
                name,
            };
        }
        match status {
            404 => missing_object(message).unwrap_or_else(|| self.missing()),
            409 => EngineError::Conflict(
                name_conflict(message)
                    .unwrap_or_else(|| format!("failed to {}: {}", self.action(), tidy(message))),
            ),
            403 => EngineError::Conflict(format!("failed to {}: {}", self.action(), tidy(message))),
            _ => self.failed(tidy(message)),
        }
    }
}

/// The engine's message in one line, without the tail that containerd hangs on.
pub(super) fn tidy(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_end_matches(": unknown").to_owned()
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    tidy(&text)
}

fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut source = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = cause.source();
    }
    None
}

/// The port of "Bind for 0.0.0.0:8080 failed: port is already allocated" (another container has
/// it), "listen tcp4 0.0.0.0:8080: bind: address already in use" (another program) and "failed to
/// bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use" (engine 28).
fn taken_port(message: &str) -> Option<u16> {
    if !message.contains("port is already allocated") && !message.contains("address already in use")
    {
        return None;
    }
    [
        "Bind for ",
        "listen tcp4 ",
        "listen tcp6 ",
        "listen tcp ",
        "listen udp4 ",
        "listen udp6 ",
        "listen udp ",
        "host port for ",
        "host port ",
    ]
    .iter()
    .find_map(|lead| port_of(message.split_once(lead)?.1.split_whitespace().next()?))
}

/// The port of `0.0.0.0:80`, `[::]:80:`, `:::80`, `0.0.0.0:80:172.17.0.2:80/tcp`.
fn port_of(address: &str) -> Option<u16> {
    let rest = if let Some(rest) = address.strip_prefix('[') {
        rest.split_once("]:")?.1
    } else if let Some(rest) = address.strip_prefix(":::") {
        rest
    } else {
        address.split_once(':')?.1
    };
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// The command of `… exec: "mysqldump": executable file not found in $PATH: unknown`.
pub(super) fn missing_command(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("exec: \"")?;
    let (name, reason) = rest.split_once('"')?;
    (reason.contains("executable file not found") || reason.contains("no such file or directory"))
        .then(|| name.to_owned())
}

/// What a 404 says is missing, where that is not the subject itself: an image or a network of a create.
fn missing_object(message: &str) -> Option<EngineError> {
    let after = |lead: &str| {
        let (_, rest) = message.split_once(lead)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    let (kind, name) = if let Some(name) = after("No such image: ") {
        ("image", name)
    } else if let Some(name) = after("No such container: ") {
        ("container", name)
    } else if message.contains(" not found") {
        ("network", after("network ")?)
    } else {
        return None;
    };
    Some(EngineError::NotFound { kind, name })
}

/// `Conflict. The container name "/blog" is already in use by container "0123…". You have to …`
fn name_conflict(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("container name \"/")?;
    let (name, rest) = rest.split_once('"')?;
    let (_, rest) = rest.split_once("container ")?;
    let owner: String = rest
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(12)
        .collect();
    Some(format!(
        "the container name `{name}` is in use by the container {owner}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, message: &str) -> EngineError {
        Subject::new("create", "container", "blog").response(status, message)
    }

    #[test]
    fn a_taken_port_is_found_in_the_words_of_every_engine() {
        for (message, expected) in [
            (
                "driver failed programming external connectivity on endpoint blog (0a1b): Bind for 0.0.0.0:8080 failed: port is already allocated",
                8080,
            ),
            (
                "driver failed programming external connectivity on endpoint blog (0a1b): Bind for :::8081 failed: port is already allocated",
                8081,
            ),
            (
                "driver failed programming external connectivity on endpoint blog (0a1b): Error starting userland proxy: listen tcp4 0.0.0.0:443: bind: address already in use",
                443,
            ),
            (
                "Error starting userland proxy: listen tcp6 [::]:444: bind: address already in use",
                444,
            ),
            (
                "failed to set up container networking: driver failed programming external connectivity on endpoint blog (0a1b): failed to bind host port for 127.0.0.1:18080:172.17.0.2:80/tcp: address already in use",
                18080,
            ),
            (
                "failed to bind host port 0.0.0.0:81/tcp: address already in use",
                81,
            ),
        ] {
            match response(500, message) {
                EngineError::PortTaken { port, .. } => assert_eq!(port, expected, "{message}"),
                other => panic!("{message}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_name_conflict_names_both() {
        let message = "Conflict. The container name \"/blog\" is already in use by container \"0123456789abcdef0123\". You have to remove (or rename) that container to be able to reuse that name.";
        assert_eq!(
            response(409, message).to_string(),
            "the container name `blog` is in use by the container 0123456789ab"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for (message, expected) in [
            ("No such image: blog:2", "no such image: `blog:2`"),
            ("network edge not found", "no such network: `edge`"),
            (
                "failed to set up container networking: network edge not found",
                "no such network: `edge`",
            ),
            ("No such container: 0a1b", "no such container: `0a1b`"),
            ("something else", "no such container: `blog`"),
        ] {
            assert_eq!(response(404, message).to_string(), expected);
        }
    }

    #[test]
    fn a_missing_command_is_told_from_other_failures() {
        let message = "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"nope\": executable file not found in $PATH: unknown";
        assert_eq!(
            response(400, message).to_string(),
            "no such command: `nope`"
        );
        let message = "failed to create shim: something bad: unknown";
        assert_eq!(
            response(500, message).to_string(),
            "failed to create the container `blog`: failed to create shim: something bad"
        );
    }
}
