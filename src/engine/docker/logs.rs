//! Lines of a log. The engine sends frames that end anywhere; a line may span several.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use super::Docker;
use crate::engine::{EngineError, LogLine, LogOptions};

/// A line without an end is cut here, so that a container that never ends one cannot fill our memory.
const LONGEST_LINE: usize = 1 << 20;

impl Docker {
    pub(super) fn log_lines(
        &self,
        id: &str,
        options: LogOptions,
    ) -> BoxStream<'static, Result<LogLine, EngineError>> {
        let subject = match Self::container("read the log of", id) {
            Ok(subject) => subject,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let tail = options
            .tail
            .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let query = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .follow(options.follow)
            .timestamps(options.timestamps)
            .tail(&tail)
            .build();
        let endpoint = self.endpoint.clone();
        // `None` marks the end, where what is left without a line end is told as well.
        self.client
            .logs(id, Some(query))
            .map(Some)
            .chain(stream::once(async { None }))
            .scan(Lines::default(), move |lines, frame| {
                let told: Vec<_> = match frame {
                    None => lines.rest().into_iter().map(Ok).collect(),
                    Some(Ok(frame)) => {
                        let stderr = matches!(frame, LogOutput::StdErr { .. });
                        lines.take(stderr, &frame).into_iter().map(Ok).collect()
                    }
                    Some(Err(error)) => vec![Err(subject.error(&endpoint, error))],
                };
                async move { Some(stream::iter(told)) }
            })
            .flatten()
            .boxed()
    }
}

/// Beginnings of lines, of standard output and standard error.
#[derive(Default)]
struct Lines {
    begun: [Vec<u8>; 2],
}

impl Lines {
    fn take(&mut self, stderr: bool, frame: impl AsRef<[u8]>) -> Vec<LogLine> {
        let begun = &mut self.begun[usize::from(stderr)];
        let mut told = Vec::new();
        for piece in frame.as_ref().split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || begun.len() >= LONGEST_LINE {
                told.push(line(stderr, begun));
                begun.clear();
            }
        }
        told
    }

    fn rest(&mut self) -> Vec<LogLine> {
        [false, true]
            .into_iter()
            .filter(|stderr| !self.begun[usize::from(*stderr)].is_empty())
            .map(|stderr| line(stderr, &self.begun[usize::from(stderr)]))
            .collect()
    }
}

fn line(stderr: bool, bytes: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(bytes);
    LogLine {
        stderr,
        text: text.trim_end_matches(['\n', '\r']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: Vec<LogLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_put_together_across_frames_and_streams() {
        let mut lines = Lines::default();
        assert_eq!(texts(lines.take(false, "one\ntw")), ["one"]);
        assert_eq!(texts(lines.take(true, "error\r\n")), ["error"]);
        assert_eq!(texts(lines.take(false, "o\n\nthree")), ["two", ""]);
        assert_eq!(texts(lines.rest()), ["three"]);
    }

    #[test]
    fn a_character_cut_by_a_frame_is_whole_and_other_bytes_are_made_printable() {
        let mut lines = Lines::default();
        let e = "é".as_bytes();
        assert!(lines.take(false, &e[..1]).is_empty());
        assert_eq!(texts(lines.take(false, [e[1], b'\n'])), ["é"]);
        assert_eq!(texts(lines.take(false, [0xff, b'\n'])), ["\u{fffd}"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        let told = lines.take(false, vec![b'x'; LONGEST_LINE]);
        assert_eq!(told.len(), 1);
        assert!(lines.rest().is_empty());
    }
}
