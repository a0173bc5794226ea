//! Stands between a client and an S3 server and does what real networks and stores do at times.
//! What it does not break it passes on byte by byte, the signed `Host` included.

use std::collections::{BTreeMap, HashMap};
use std::io::Result;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::http::{Head, Pieces};
use super::rules::{Answer, Fault, Habit, Request, When, http_date};

/// How long a server that takes no more may need for its answer.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs in threads of its own until it is dropped, so that a test without tokio can use it, too.
pub struct FaultProxy {
    runtime: Option<Runtime>,
    address: SocketAddr,
    state: Arc<State>,
}

/// A request that came by.
#[derive(Debug, Clone)]
pub struct Seen {
    pub request: Request,
    /// What was done to it.
    pub fault: Option<Fault>,
}

#[derive(Default)]
struct State(Mutex<Script>);

#[derive(Default)]
struct Script {
    /// With how many of its requests have come.
    rules: Vec<(When, Fault, usize)>,
    habits: Vec<Habit>,
    seen: Vec<Seen>,
    /// By upload: size of each part.
    parts: HashMap<String, BTreeMap<u32, u64>>,
}

impl FaultProxy {
    /// Listens on a free port in front of the server at `upstream`. Without rules it changes nothing.
    pub fn before(upstream: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&shared).serve(client, upstream));
            }
        });
        Self {
            runtime: Some(runtime),
            address,
            state,
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does `fault` to those requests; the first rule that strikes holds.
    pub fn on(&self, when: When, fault: Fault) {
        self.state.lock().rules.push((when, fault, 0));
    }

    pub fn habit(&self, habit: Habit) {
        self.state.lock().habits.push(habit);
    }

    /// From now on nothing is broken; what was seen stays.
    pub fn heal(&self) {
        let mut script = self.state.lock();
        script.rules.clear();
        script.habits.clear();
    }

    /// All requests in the order they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    /// How many such requests came, broken ones included.
    pub fn count(&self, when: &When) -> usize {
        let script = self.state.lock();
        script
            .seen
            .iter()
            .filter(|seen| when.means(&seen.request))
            .count()
    }

    /// How often something was broken.
    pub fn struck(&self) -> usize {
        let script = self.state.lock();
        script.seen.iter().filter(|s| s.fault.is_some()).count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Waiting for its threads is forbidden inside of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How a connection to the client goes on.
enum Next {
    Keep,
    Close,
    Reset,
}

/// A connection to the server.
struct Upstream {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, mut client: TcpStream, upstream: SocketAddr) {
        let (from, mut to) = client.split();
        let mut from = BufReader::new(from);
        let mut server = None;
        let next = loop {
            let Ok(Some(head)) = Head::read(&mut from).await else {
                break Next::Close;
            };
            let request = Request::of(&head);
            let fault = self.lock().judge(&request, &head);
            let exchange = Exchange {
                head: &head,
                method: &request.method,
                from: &mut from,
                to: &mut to,
                upstream,
                server: &mut server,
            };
            match exchange.run(fault).await {
                Ok(Next::Keep) => {}
                Ok(next) => break next,
                Err(_) => break Next::Close,
            }
        };
        if matches!(next, Next::Reset) {
            client.set_zero_linger().unwrap();
        }
    }
}

impl Script {
    /// What happens to this request, which is noted down.
    fn judge(&mut self, request: &Request, head: &Head) -> Option<Fault> {
        let mut fault = None;
        for (when, what, came) in &mut self.rules {
            if when.means(request) {
                if fault.is_none() && when.strikes(*came) {
                    fault = Some(what.clone());
                }
                *came += 1;
            }
        }
        self.note_part(request, head);
        let fault = fault.or_else(|| self.refusal(request));
        self.seen.push(Seen {
            request: request.clone(),
            fault: fault.clone(),
        });
        fault
    }

    fn note_part(&mut self, request: &Request, head: &Head) {
        let number = request.query("partNumber").and_then(|n| n.parse().ok());
        if let (Some(upload), Some(number)) = (request.query("uploadId"), number) {
            let size = head
                .get("x-amz-decoded-content-length")
                .or(head.get("content-length"))
                .and_then(|size| size.parse().ok())
                .unwrap_or(0);
            let parts = self.parts.entry(upload.to_owned()).or_default();
            parts.insert(number, size);
        }
    }

    fn refusal(&self, request: &Request) -> Option<Fault> {
        let answer = self.habits.iter().find_map(|habit| match habit {
            Habit::EqualParts if request.is_completion() => {
                let sizes = self.parts.get(request.query("uploadId")?)?;
                let first = *sizes.values().next()?;
                let last = *sizes.values().next_back()?;
                let equal = sizes.values().rev().skip(1).all(|size| *size == first);
                // Word for word what R2 says.
                let told = "All non-trailing parts must have the same length.";
                (!equal || last > first).then_some(Answer::new(400, "InvalidPart", told))
            }
            Habit::RefuseChecksums => request.flexible_checksum().map(|_| {
                Answer::new(
                    501,
                    "NotImplemented",
                    "A header you provided implies functionality that is not implemented",
                )
            }),
            Habit::RequireChecksums if request.is_upload() => {
                let given =
                    request.flexible_checksum().is_some() || request.header("content-md5").is_some();
                (!given).then_some(Answer::new(
                    400,
                    "InvalidRequest",
                    "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
                ))
            }
            _ => None,
        });
        answer.map(Fault::Answer)
    }
}

/// One request and its answer.
struct Exchange<'a, 'client> {
    head: &'a Head,
    method: &'a str,
    from: &'a mut BufReader<ReadHalf<'client>>,
    to: &'a mut WriteHalf<'client>,
    upstream: SocketAddr,
    server: &'a mut Option<Upstream>,
}

impl Exchange<'_, '_> {
    async fn run(mut self, fault: Option<Fault>) -> Result<Next> {
        match fault {
            Some(Fault::Answer(answer)) => {
                // A client that waits for `100 Continue` has not sent its body and never will.
                let closes = self.head.has_word("expect", "100-continue");
                if !closes {
                    let mut body = Pieces::new(self.head.request_body());
                    while body.next(self.from).await?.is_some() {}
                }
                let bytes = answer.bytes(self.method, closes);
                self.to.write_all(&bytes).await?;
                Ok(if closes { Next::Close } else { Next::Keep })
            }
            Some(Fault::ResetRequest(bytes)) => {
                self.send_some(bytes).await?;
                *self.server = None;
                Ok(Next::Reset)
            }
            Some(Fault::StallRequest(bytes)) => {
                self.send_some(bytes).await?;
                std::future::pending().await
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                self.forward(None).await
            }
            other => self.forward(other).await,
        }
    }

    async fn connect(&mut self) -> Result<Upstream> {
        if let Some(server) = self.server.take() {
            return Ok(server);
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (from, to) = stream.into_split();
        Ok(Upstream {
            from: BufReader::new(from),
            to,
        })
    }

    /// The head and so many bytes of the body go to the server.
    async fn send_some(&mut self, bytes: u64) -> Result<()> {
        let mut server = self.connect().await?;
        server.to.write_all(&self.head.raw).await?;
        if self.head.has_word("expect", "100-continue") {
            self.to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut body = Pieces::new(self.head.request_body());
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        while left > 0 {
            let Some(mut piece) = body.next(self.from).await? else {
                break;
            };
            piece.truncate(left);
            left -= piece.len();
            server.to.write_all(&piece).await?;
        }
        server.to.flush().await?;
        *self.server = Some(server);
        Ok(())
    }

    async fn forward(mut self, fault: Option<Fault>) -> Result<Next> {
        let mut server = self.connect().await?;
        let (next, reusable) = self.exchange(&mut server, fault).await?;
        if reusable {
            *self.server = Some(server);
        }
        Ok(next)
    }

    /// Both directions at once: a server may answer before it has read everything. Also whether
    /// the server's connection can be used again.
    async fn exchange(
        &mut self,
        server: &mut Upstream,
        fault: Option<Fault>,
    ) -> Result<(Next, bool)> {
        let (client_from, to) = (&mut *self.from, &mut server.to);
        let answer = AnswerWay {
            method: self.method,
            from: &mut server.from,
            to: &mut *self.to,
            fault,
        };
        let mut body = Pieces::new(self.head.request_body());
        let request = async {
            to.write_all(&self.head.raw).await?;
            while let Some(piece) = body.next(client_from).await? {
                to.write_all(&piece).await?;
            }
            to.flush().await
        };
        let answer = answer.pass_on();
        tokio::pin!(request, answer);
        tokio::select! {
            biased;
            sent = &mut request => match sent {
                Ok(()) => answer.await,
                // The client is gone, or the server takes no more: then it may have answered.
                Err(error) => {
                    let answered = tokio::time::timeout(LAST_WORDS, answer).await;
                    answered.map_err(|_| error)??;
                    Ok((Next::Close, false))
                }
            },
            early = &mut answer => early.map(|_| (Next::Close, false)),
        }
    }
}

/// The answer on its way to the client.
struct AnswerWay<'a, 'client> {
    method: &'a str,
    from: &'a mut BufReader<OwnedReadHalf>,
    to: &'a mut WriteHalf<'client>,
    fault: Option<Fault>,
}

impl AnswerWay<'_, '_> {
    /// How the client's connection goes on, and whether the server's can be used again.
    async fn pass_on(self) -> Result<(Next, bool)> {
        let Self {
            method,
            from,
            to,
            fault,
        } = self;
        let head = loop {
            let Some(head) = Head::read(from).await? else {
                return Ok((Next::Close, false));
            };
            if head.status() >= 200 {
                break head;
            }
            to.write_all(&head.raw).await?;
        };
        let mut body = Pieces::new(head.answer_body(method));
        let closes = head.has_word("connection", "close")
            || matches!(head.answer_body(method), super::http::Body::UntilClosed);
        match &fault {
            Some(Fault::LoseAnswer) => return Ok((Next::Reset, false)),
            Some(Fault::AnswerAfter(answer)) => {
                while body.next(from).await?.is_some() {}
                to.write_all(&answer.bytes(method, closes)).await?;
                let next = if closes { Next::Close } else { Next::Keep };
                return Ok((next, !closes));
            }
            Some(Fault::Date(skew)) => to.write_all(&head.with("Date", &http_date(*skew))).await?,
            _ => to.write_all(&head.raw).await?,
        }
        let mut passed = 0;
        loop {
            let end = match &fault {
                Some(
                    Fault::ResetAnswer(bytes)
                    | Fault::CloseAnswer(bytes)
                    | Fault::StallAnswer(bytes),
                ) => *bytes,
                _ => u64::MAX,
            };
            if passed >= end {
                to.flush().await?;
                return match fault {
                    Some(Fault::ResetAnswer(_)) => Ok((Next::Reset, false)),
                    Some(Fault::StallAnswer(_)) => std::future::pending().await,
                    _ => Ok((Next::Close, false)),
                };
            }
            let Some(mut piece) = body.next(from).await? else {
                break;
            };
            piece.truncate(usize::try_from(end - passed).unwrap_or(usize::MAX));
            if let Some(Fault::Flip(at)) = &fault {
                let within = at
                    .checked_sub(passed)
                    .and_then(|at| usize::try_from(at).ok());
                if let Some(byte) = within.and_then(|at| piece.get_mut(at)) {
                    *byte = !*byte;
                }
            }
            passed += piece.len() as u64;
            to.write_all(&piece).await?;
        }
        let next = if closes { Next::Close } else { Next::Keep };
        Ok((next, !closes))
    }
}
