//! A small real HTTP server, run inside a container as the application behind the proxy.
//!
//! It is this very test program, mounted and started with [`PORT_VARIABLE`] set: no image has to
//! carry a server, and it tells exactly what reached it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Set in the container: be the server instead of the tests.
pub const PORT_VARIABLE: &str = "SUMMONER_TEST_UPSTREAM_PORT";

/// Serves until killed.
pub fn serve(port: u16) -> ! {
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free in the container");
    for stream in listener.incoming().flatten() {
        // A client that goes away in the middle is no failure of the server.
        std::thread::spawn(move || drop(connection(stream)));
    }
    unreachable!("incoming() never ends")
}

struct Request {
    line: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or("/")
    }
}

fn connection(stream: TcpStream) -> std::io::Result<()> {
    // As short as Node's and Apache's.
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = head(&mut reader)? {
        if request
            .header("upgrade")
            .is_some_and(|value| value == "websocket")
        {
            reader
                .get_ref()
                .set_read_timeout(Some(Duration::from_secs(30)))?;
            return echo(&mut reader, &mut out, &request);
        }
        let begin = Instant::now();
        let (bytes, first) = body(&mut reader, &mut out, &request)?;
        let answer = match request.path() {
            path if path.starts_with("/upload") => {
                let spread =
                    first.map_or(0, |first| begin.elapsed().saturating_sub(first).as_millis());
                format!("bytes={bytes} spread_ms={spread}\n")
            }
            _ => {
                let headers = request.headers.iter().map(|(k, v)| format!("{k}: {v}"));
                let lines = std::iter::once(request.line.clone()).chain(headers);
                lines.collect::<Vec<_>>().join(
                    "
",
                ) + "
"
            }
        };
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nStrict-Transport-Security: max-age=1\r\n\r\n"
        );
        // In one piece: several small writes would wait for each other's acknowledgement.
        out.write_all((head + &answer).as_bytes())?;
    }
    Ok(())
}

fn head(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut request = Request {
        line: line.trim_end().to_owned(),
        headers: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(Some(request));
        };
        request
            .headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads the body away; its bytes, and when the first of them came.
fn body(
    reader: &mut BufReader<TcpStream>,
    out: &mut TcpStream,
    request: &Request,
) -> std::io::Result<(u64, Option<Duration>)> {
    let begin = Instant::now();
    let mut first = None;
    let mut bytes = 0;
    let chunked = request
        .header("transfer-encoding")
        .is_some_and(|value| value == "chunked");
    if request.header("expect").is_some() {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if !chunked {
        let length = request
            .header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        return Ok((read_away(reader, length, begin, &mut first)?, first));
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        bytes += read_away(reader, length, begin, &mut first)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok((bytes, first));
        }
    }
}

fn read_away(
    reader: &mut BufReader<TcpStream>,
    length: u64,
    begin: Instant,
    first: &mut Option<Duration>,
) -> std::io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = reader.read(&mut buffer[..most])?;
        if read == 0 {
            break;
        }
        first.get_or_insert_with(|| begin.elapsed());
        left -= read as u64;
    }
    Ok(length - left)
}

/// Takes the upgrade and sends back whatever comes.
fn echo(
    reader: &mut BufReader<TcpStream>,
    out: &mut TcpStream,
    request: &Request,
) -> std::io::Result<()> {
    let key = request.header("sec-websocket-key").unwrap_or("");
    write!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Key: {key}\r\n\r\n"
    )?;
    let mut buffer = [0; 4096];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..read])?;
    }
}
