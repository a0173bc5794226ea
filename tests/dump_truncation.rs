//! Failure mode 5 as a whole chain: recorded streams of real dumps, cut wherever a connection may
//! break, through the demultiplexer and the end check. Only the engine's exit code is left out,
//! taken to be 0 though the stream was cut: the worst that can be said.

use std::path::Path;

use bytes::Bytes;
use summoner::database::{self, DatabaseEngine, Format, What};
use summoner::engine::demux::{Demux, Source};

/// Recorded with dockerd 20.10: standard output and standard error of the tool in frames.
const STREAMS: [(&str, DatabaseEngine); 2] = [
    ("postgres-17-verbose.bin", DatabaseEngine::Postgres),
    ("mariadb-11.bin", DatabaseEngine::Mariadb),
];

fn recorded(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/exec-streams")
        .join(name);
    std::fs::read(path).unwrap()
}

/// The dump, if it passes for one.
fn accepted(stream: &[u8], engine: DatabaseEngine) -> Option<Vec<u8>> {
    let mut demux = Demux::new();
    let mut check = database::of(engine).end_check(Format::Sql, What::Database("app"));
    let mut dump = Vec::new();
    for chunk in stream.chunks(5000) {
        let mut input = Bytes::copy_from_slice(chunk);
        while let Some(piece) = demux.next(&mut input).ok()? {
            if piece.source == Source::Stdout {
                check.feed(&piece.bytes);
                dump.extend_from_slice(&piece.bytes);
            }
        }
    }
    demux.finish().ok()?;
    check.finish().ok()?;
    Some(dump)
}

/// Where frames begin, and the end.
fn boundaries(stream: &[u8]) -> Vec<usize> {
    let mut places = vec![0];
    while let Some(header) = stream
        .get(places[places.len() - 1]..)
        .and_then(|s| s.first_chunk::<8>())
    {
        let [.., a, b, c, d] = *header;
        places.push(places[places.len() - 1] + 8 + u32::from_be_bytes([a, b, c, d]) as usize);
    }
    places
}

#[test]
fn f05_truncated_exec_stream_is_never_a_whole_dump() {
    for (name, engine) in STREAMS {
        let stream = recorded(name);
        let whole = accepted(&stream, engine).expect("the whole stream is a dump");
        let boundaries = boundaries(&stream);
        assert_eq!(boundaries.last(), Some(&stream.len()));
        assert!(boundaries.len() > 8, "{name} has many frames");
        let near = boundaries.iter().flat_map(|b| b.saturating_sub(8)..=b + 8);
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let random = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % stream.len() as u64).unwrap()
        });
        let places: Vec<usize> = near
            .chain(random.take(10_000))
            .filter(|p| *p < stream.len())
            .collect();
        assert!(places.len() > 10_000);
        for cut in places {
            // What is lost may only be the end of standard error: then the dump is whole all the same.
            if let Some(dump) = accepted(&stream[..cut], engine) {
                assert!(dump == whole, "{name}: a cut at {cut} passes for a dump");
            }
        }
    }
}

#[test]
fn f05_a_frame_lost_in_the_middle_shifts_everything_or_ends_nothing() {
    for (name, engine) in STREAMS {
        let stream = recorded(name);
        // A byte lost anywhere takes the frames out of step; at the very end the payload is cut.
        for lost in (0..stream.len()).step_by(97) {
            let rest = [&stream[..lost], &stream[lost + 1..]].concat();
            assert!(accepted(&rest, engine).is_none(), "{name}: byte {lost}");
        }
    }
}
