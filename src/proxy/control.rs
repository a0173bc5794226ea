//! Asks the running nginx, through its private socket, which generation it serves.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// One question never takes longer: nginx answers from memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the running nginx serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Number of the generation.
    pub number: u64,
    /// Its content hash: a number alone could be an older one's, after the state was lost.
    pub hash: String,
}

/// The generation that answers on `ctl.sock` in `run_dir`, the folder on the host that the
/// container sees as [`super::paths::RUN`]; `None` when nobody answers.
pub async fn live(run_dir: &Path) -> Option<Live> {
    let answer = tokio::time::timeout(PATIENCE, ask(run_dir, "/generation")).await;
    parse(&answer.ok()?.ok()?)
}

/// A minimal HTTP/1.0 request; the whole answer, head included.
async fn ask(run_dir: &Path, path: &str) -> io::Result<String> {
    // A socket address holds 108 bytes and a project may live deeper than that: the open folder
    // gives the path a short name.
    let folder = File::open(run_dir)?;
    let address = format!("/proc/self/fd/{}/ctl.sock", folder.as_raw_fd());
    let mut stream = UnixStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// `N HASH` is the body that [`super::generation`] wrote.
fn parse(answer: &str) -> Option<Live> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if head.split(' ').nth(1) != Some("200") {
        return None;
    }
    let (number, hash) = body.trim_end().split_once(' ')?;
    Some(Live {
        number: number.parse().ok()?,
        hash: hash.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    #[test]
    fn only_a_well_formed_answer_counts() {
        let live = Some(Live {
            number: 7,
            hash: "ab".into(),
        });
        assert_eq!(
            parse("HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n7 ab\n"),
            live
        );
        for bad in [
            "",
            "7 ab",
            "HTTP/1.1 404 Not Found\r\n\r\n7 ab\n",
            "HTTP/1.1 200 OK\r\n\r\n7\n",
            "HTTP/1.1 200 OK\r\n\r\nx ab\n",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_folder_deeper_than_a_socket_address_is_reached() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("d".repeat(60)).join("e".repeat(60));
        std::fs::create_dir_all(&run).unwrap();
        let folder = File::open(&run).unwrap();
        let listener =
            UnixListener::bind(format!("/proc/self/fd/{}/ctl.sock", folder.as_raw_fd())).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 28];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"GET /generation HTTP/1.0\r\n\r\n");
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n12 abc\n")
                .await
                .unwrap();
        });
        assert_eq!(
            live(&run).await,
            Some(Live {
                number: 12,
                hash: "abc".into()
            })
        );
        server.await.unwrap();
        // The listener is gone, its socket file still there: as after SIGKILL.
        assert_eq!(live(&run).await, None);
        assert_eq!(live(&root.path().join("absent")).await, None);
    }
}
