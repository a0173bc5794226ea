//! The engine's multiplexed stream taken apart strictly. Pure: bytes in, pieces out, no I/O.
//!
//! A frame is a header of eight bytes (the stream, three zeros, the length of the payload as a
//! big-endian number) and the payload. Bollard's decoder lets a cut payload, a lost header and
//! unknown streams pass as output (measured on 0.21.1); for a dump each of them is lost data.

use bytes::{Buf as _, Bytes};

/// Length of a header.
const HEADER: usize = 8;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of one of the streams, never empty. A frame may come in several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it was written to.
    pub source: Source,
    /// The bytes, not copied.
    pub bytes: Bytes,
}

/// Why the stream cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Neither standard output nor standard error, or the three zeros are none.
    #[error("a frame begins with {0:02x?}")]
    Header([u8; 4]),
    /// The stream ended in a header that has so many bytes.
    #[error("it ended {0} bytes into the head of a frame")]
    CutHeader(usize),
    /// The stream ended while so many bytes of the payload were missing.
    #[error("it ended {0} bytes before the end of a frame")]
    CutPayload(u32),
}

/// The demultiplexer: holds one header at most, whatever comes.
#[derive(Debug, Clone, Default)]
pub struct Demux {
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    have: usize,
    /// The frame whose payload is on its way, and how much of it is missing.
    frame: Option<(Source, u32)>,
    broken: Option<Broken>,
}

impl Demux {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes off the front of `input` until there is a piece to give; `None` when `input` is
    /// used up. After an error there is nothing but that error.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        while !input.is_empty() {
            let Some((source, missing)) = self.frame else {
                self.take_header(input)?;
                continue;
            };
            let length = input.len().min(missing as usize);
            let bytes = input.split_to(length);
            let missing = missing - u32::try_from(length).unwrap_or(missing);
            self.frame = (missing > 0).then_some((source, missing));
            return Ok(Some(Piece { source, bytes }));
        }
        Ok(None)
    }

    /// Whether the stream ended where one may end: at the boundary of a frame.
    pub fn finish(&self) -> Result<(), Broken> {
        match (self.broken, self.frame, self.have) {
            (Some(broken), _, _) => Err(broken),
            (None, Some((_, missing)), _) => Err(Broken::CutPayload(missing)),
            (None, None, 0) => Ok(()),
            (None, None, have) => Err(Broken::CutHeader(have)),
        }
    }

    fn take_header(&mut self, input: &mut Bytes) -> Result<(), Broken> {
        let length = input.len().min(HEADER - self.have);
        input.copy_to_slice(&mut self.header[self.have..self.have + length]);
        self.have += length;
        let [kind, a, b, c, length @ ..] = self.header;
        // The first four bytes are judged as soon as they are there: a length may never come.
        if self.have >= 4 {
            let source = match [kind, a, b, c] {
                [1, 0, 0, 0] => Source::Stdout,
                [2, 0, 0, 0] => Source::Stderr,
                other => {
                    let broken = Broken::Header(other);
                    self.broken = Some(broken);
                    return Err(broken);
                }
            };
            if self.have == HEADER {
                self.have = 0;
                let length = u32::from_be_bytes(length);
                self.frame = (length > 0).then_some((source, length));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Both streams, fed in pieces of these lengths, or the error.
    fn run(bytes: &[u8], cuts: &[usize]) -> Result<[Vec<u8>; 2], Broken> {
        let mut demux = Demux::new();
        let mut streams = [Vec::new(), Vec::new()];
        let mut rest = bytes;
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() {
            let (now, later) =
                rest.split_at(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
            rest = later;
            let mut input = Bytes::copy_from_slice(now);
            while let Some(piece) = demux.next(&mut input)? {
                assert!(!piece.bytes.is_empty());
                streams[piece.source as usize].extend_from_slice(&piece.bytes);
            }
            assert!(input.is_empty());
        }
        demux.finish().map(|()| streams)
    }

    #[test]
    fn streams_are_told_apart_and_empty_frames_are_nothing() {
        let bytes = [
            frame(1, b"out"),
            frame(2, b"err"),
            frame(1, b""),
            frame(1, b"!"),
        ]
        .concat();
        let [stdout, stderr] = run(&bytes, &[]).unwrap();
        assert_eq!((&stdout[..], &stderr[..]), (&b"out!"[..], &b"err"[..]));
        assert_eq!(run(b"", &[]).unwrap(), [Vec::<u8>::new(), Vec::new()]);
    }

    #[test]
    fn what_bollard_lets_pass_is_an_error() {
        assert_eq!(run(b"\x01\0\0", &[]), Err(Broken::CutHeader(3)));
        assert_eq!(
            run(b"\x01\0\0\0\0\0\0\x09", &[]),
            Err(Broken::CutPayload(9))
        );
        assert_eq!(
            run(b"\x01\0\0\0\0\0\0\x09cut", &[]),
            Err(Broken::CutPayload(6))
        );
        let third = [frame(3, b"bad"), frame(1, b"good")].concat();
        assert_eq!(run(&third, &[]), Err(Broken::Header([3, 0, 0, 0])));
        assert_eq!(
            run(b"\0\0\0\0\0\0\0\x01x", &[]),
            Err(Broken::Header([0; 4]))
        );
        assert_eq!(run(b"\x01\0\0\x01", &[]), Err(Broken::Header([1, 0, 0, 1])));
        // Plain text, as a terminal or a proxy's page would be.
        assert!(matches!(run(b"<html>", &[]), Err(Broken::Header(_))));
    }

    #[test]
    fn after_an_error_nothing_comes_any_more() {
        let mut demux = Demux::new();
        let mut bad = Bytes::from_static(b"\x07\0\0\0");
        assert!(demux.next(&mut bad).is_err());
        let mut good = Bytes::from(frame(1, b"good"));
        assert!(demux.next(&mut good).is_err());
        assert!(demux.finish().is_err());
    }

    fn frames() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
        prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn however_it_comes_it_is_the_same(frames in frames(), cuts in prop::collection::vec(1_usize..50, 1..20)) {
            let mut bytes = Vec::new();
            let mut expected = [Vec::new(), Vec::new()];
            for (stderr, payload) in &frames {
                bytes.extend(frame(1 + u8::from(*stderr), payload));
                expected[usize::from(*stderr)].extend_from_slice(payload);
            }
            prop_assert_eq!(run(&bytes, &cuts).unwrap(), expected);
        }

        #[test]
        fn every_cut_but_those_between_frames_is_an_error(frames in frames(), place in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            let mut boundaries = vec![0];
            for (stderr, payload) in &frames {
                bytes.extend(frame(1 + u8::from(*stderr), payload));
                boundaries.push(bytes.len());
            }
            let cut = place.index(bytes.len() + 1);
            prop_assert_eq!(run(&bytes[..cut], &[]).is_ok(), boundaries.contains(&cut));
        }

        #[test]
        fn rubbish_never_panics_nor_grows(bytes in prop::collection::vec(any::<u8>(), 0..2000), cuts in prop::collection::vec(1_usize..50, 1..20)) {
            if let Ok([stdout, stderr]) = run(&bytes, &cuts) {
                prop_assert!(stdout.len() + stderr.len() <= bytes.len());
            }
        }
    }
}
