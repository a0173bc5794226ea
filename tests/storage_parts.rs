//! The tests' own S3 parts: both servers work, and the proxy before them breaks what it is told to
//! break, and nothing else.

mod s3_support;

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use s3_support::{Checksums, Fault, FaultProxy, Habit, Request, S3, When};

const MIB: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_millis(500);

/// Bytes that differ wherever one looks.
fn bytes(length: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(length)
        .collect()
}

/// A server, a proxy before it and a client of that.
struct World {
    server: S3,
    proxy: FaultProxy,
    client: Client,
    checksums: Checksums,
}

impl World {
    fn new(server: Option<S3>, checksums: Checksums) -> Option<Self> {
        let server = server?;
        let proxy = server.behind();
        let client = server.client(&proxy.endpoint(), checksums);
        Some(Self {
            server,
            proxy,
            client,
            checksums,
        })
    }

    /// The error's code, or how it came to nothing.
    async fn put(&self, key: &str, content: &[u8]) -> Result<(), String> {
        self.client
            .put_object()
            .bucket(self.server.bucket())
            .key(key)
            .body(ByteStream::from(content.to_vec()))
            .send()
            .await
            .map(drop)
            .map_err(told)
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, String> {
        let object = self.client.get_object().bucket(self.server.bucket());
        let object = object.key(key).send().await.map_err(told)?;
        let body = object.body.collect().await;
        body.map(|all| all.into_bytes().to_vec())
            .map_err(|e| format!("broken: {}", DisplayErrorContext(e)))
    }

    async fn delete(&self, key: &str) -> Result<(), String> {
        let object = self.client.delete_object().bucket(self.server.bucket());
        object.key(key).send().await.map(drop).map_err(told)
    }

    async fn multipart(&self, key: &str, parts: &[&[u8]]) -> Result<(), String> {
        let bucket = self.server.bucket();
        // A store that is strict wants the algorithm in all three calls or in none.
        let algorithm = (self.checksums == Checksums::Always).then_some(ChecksumAlgorithm::Crc32);
        let upload = self.client.create_multipart_upload();
        let upload = upload.bucket(bucket).key(key);
        let upload = upload.set_checksum_algorithm(algorithm.clone());
        let upload = upload.send().await.map_err(told)?;
        let id = upload.upload_id().expect("an id");
        let mut done = CompletedMultipartUpload::builder();
        for (number, content) in (1..).zip(parts) {
            let part = self.client.upload_part().bucket(bucket).key(key);
            let part = part.upload_id(id).part_number(number);
            let part = part.set_checksum_algorithm(algorithm.clone());
            let part = part.body(ByteStream::from(content.to_vec()));
            let part = part.send().await.map_err(told)?;
            done = done.parts(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(part.e_tag().map(str::to_owned))
                    .set_checksum_crc32(part.checksum_crc32().map(str::to_owned))
                    .build(),
            );
        }
        let complete = self.client.complete_multipart_upload();
        let complete = complete.bucket(bucket).key(key).upload_id(id);
        let complete = complete.multipart_upload(done.build());
        complete.send().await.map(drop).map_err(told)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn told<E, R>(error: SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match &error {
        SdkError::ServiceError(service) => service.err().code().unwrap_or("no code").to_owned(),
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => "broken".to_owned(),
        other => format!("{}", DisplayErrorContext(other)),
    }
}

fn s3s() -> Option<World> {
    World::new(S3::s3s(), Checksums::Required)
}

/// A round trip through the proxy, small and in parts, with signatures that cover `Host`.
async fn round_trip(world: &World) {
    let small = bytes(100_000);
    world.put("v1/a key/ä+%.txt", &small).await.unwrap();
    assert_eq!(world.get("v1/a key/ä+%.txt").await.unwrap(), small);
    let large = bytes(13 * MIB);
    let parts: Vec<&[u8]> = large.chunks(5 * MIB).collect();
    world.multipart("large", &parts).await.unwrap();
    assert!(world.get("large").await.unwrap() == large);
    world.delete("large").await.unwrap();
    assert_eq!(world.get("large").await, Err("NoSuchKey".to_owned()));
    assert_eq!(world.proxy.struck(), 0);
    assert_eq!(world.proxy.count(&When::part(3)), 1);
    assert_eq!(world.proxy.count(&When::upload().key("/a key/ä+%.txt")), 1);

    let wrong = world.client.config().to_builder();
    let wrong = wrong.credentials_provider(aws_sdk_s3::config::Credentials::new(
        world.server.access_key(),
        "wrong",
        None,
        None,
        "test",
    ));
    let answer = Client::from_conf(wrong.build());
    let answer = answer.list_objects_v2().bucket(world.server.bucket());
    let code = answer.send().await.map_err(told).unwrap_err();
    assert!(
        code == "SignatureDoesNotMatch" || code == "AccessDenied",
        "{code}"
    );
}

#[tokio::test]
async fn s3s_is_a_whole_server_behind_an_idle_proxy() {
    for checksums in [Checksums::Required, Checksums::Always] {
        let Some(world) = World::new(S3::s3s(), checksums) else {
            return;
        };
        round_trip(&world).await;
    }
}

#[tokio::test]
async fn garage_is_a_whole_server_behind_an_idle_proxy() {
    for checksums in [Checksums::Required, Checksums::Always] {
        let Some(world) = World::new(S3::garage(), checksums) else {
            return;
        };
        round_trip(&world).await;
    }
}

#[tokio::test]
async fn a_server_ends_with_its_test() {
    for server in [S3::s3s(), S3::garage()].into_iter().flatten() {
        let address = server.endpoint().replace("http://", "");
        assert!(std::net::TcpStream::connect(&address).is_ok());
        drop(server);
        assert!(std::net::TcpStream::connect(&address).is_err());
    }
}

#[tokio::test]
async fn rules_count_their_own_requests() {
    let Some(world) = s3s() else { return };
    world
        .proxy
        .on(When::upload().key("one").nth(2), Fault::internal());
    world.proxy.on(
        When::upload().key("two").after(1).times(2),
        Fault::slow_down(),
    );
    let mut told = Vec::new();
    for key in ["one", "two", "one", "two", "one", "two", "two"] {
        told.push(world.put(key, b"x").await.err().unwrap_or_default());
    }
    assert_eq!(
        told,
        ["", "", "InternalError", "SlowDown", "", "SlowDown", ""]
    );
    assert_eq!(world.proxy.struck(), 3);
    world.proxy.on(When::any(), Fault::unavailable());
    assert_eq!(world.put("x", b"x").await, Err("ServiceUnavailable".into()));
    world.proxy.heal();
    world.put("x", b"x").await.unwrap();
    assert_eq!(world.proxy.seen().len(), 9);
}

#[tokio::test]
async fn a_completion_can_be_200_with_an_error_inside() {
    let Some(world) = s3s() else { return };
    let (first, last) = (bytes(5 * MIB), bytes(10));
    world
        .proxy
        .on(When::completion().nth(1), Fault::error_in_200());
    world
        .proxy
        .on(When::completion().nth(2), Fault::error_in_200_after_all());
    for key in ["lost", "there"] {
        let told = world.multipart(key, &[&first, &last]).await;
        assert_eq!(told, Err("InternalError".to_owned()));
    }
    assert_eq!(world.get("lost").await, Err("NoSuchKey".to_owned()));
    assert_eq!(world.get("there").await.unwrap().len(), 5 * MIB + 10);
}

#[tokio::test]
async fn connections_are_reset_at_a_byte() {
    let Some(world) = s3s() else { return };
    let content = bytes(3 * MIB);
    world.put("whole", &content).await.unwrap();
    for at in [0, 1, 65_536, 3 * MIB as u64 - 1] {
        world.proxy.on(When::upload(), Fault::ResetRequest(at));
        assert_eq!(world.put("half", &content).await, Err("broken".into()));
        world.proxy.heal();
        assert_eq!(world.get("half").await, Err("NoSuchKey".into()), "at {at}");
        for fault in [Fault::ResetAnswer(at), Fault::CloseAnswer(at)] {
            world.proxy.on(When::method("GET"), fault.clone());
            let told = world.get("whole").await.unwrap_err();
            assert!(told.starts_with("broken"), "{fault:?}: {told}");
            world.proxy.heal();
        }
    }
    assert!(world.get("whole").await.unwrap() == content);
}

#[tokio::test]
async fn an_answer_is_lost_although_the_work_is_done() {
    let Some(world) = s3s() else { return };
    world.proxy.on(When::upload(), Fault::LoseAnswer);
    assert_eq!(world.put("there", b"x").await, Err("broken".into()));
    assert_eq!(world.get("there").await.unwrap(), b"x");
}

#[tokio::test]
async fn stalls_last_for_ever_and_delays_do_not() {
    let Some(world) = s3s() else { return };
    let content = bytes(MIB);
    world
        .proxy
        .on(When::upload().key("slow"), Fault::Delay(PATIENCE));
    let begun = std::time::Instant::now();
    world.put("slow", &content).await.unwrap();
    assert!(begun.elapsed() >= PATIENCE);
    world
        .proxy
        .on(When::upload().key("never"), Fault::StallRequest(1000));
    world
        .proxy
        .on(When::method("GET"), Fault::StallAnswer(1000));
    let put = tokio::time::timeout(PATIENCE, world.put("never", &content)).await;
    assert!(put.is_err(), "{put:?}");
    let get = tokio::time::timeout(PATIENCE, world.get("slow")).await;
    assert!(get.is_err(), "it came to an end");
    world.proxy.heal();
    assert_eq!(world.get("never").await, Err("NoSuchKey".into()));
}

#[tokio::test]
async fn a_byte_turns_on_its_way_back() {
    let Some(world) = s3s() else { return };
    let content = bytes(MIB);
    world.put("x", &content).await.unwrap();
    world.proxy.on(When::method("GET"), Fault::Flip(700_000));
    let got = world.get("x").await.unwrap();
    let differ: Vec<usize> = (0..MIB).filter(|i| got[*i] != content[*i]).collect();
    assert_eq!(differ, [700_000]);
}

#[tokio::test]
async fn clocks_differ() {
    let Some(world) = s3s() else { return };
    world.proxy.on(When::upload(), Fault::skew(-3600));
    assert_eq!(
        world.put("x", b"x").await,
        Err("RequestTimeTooSkewed".into())
    );
    world.proxy.heal();
    // A plain request, to see the header itself.
    for (fault, off) in [(Fault::Date(-600), -600), (Fault::skew(5000), 5000)] {
        world.proxy.on(When::any(), fault);
        let date = date_of(&world.proxy.endpoint()).await;
        let seconds = date.duration_since(jiff::Timestamp::now()).as_secs();
        assert!((seconds - off).abs() < 10, "{seconds}");
        world.proxy.heal();
    }
}

async fn date_of(endpoint: &str) -> jiff::Timestamp {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = endpoint.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains("\r\n\r\n") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    let date = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then_some(value.trim())
    });
    jiff::fmt::rfc2822::parse(date.unwrap())
        .unwrap()
        .timestamp()
}

#[tokio::test]
async fn r2_wants_equal_parts() {
    let Some(world) = s3s() else { return };
    world.proxy.habit(Habit::EqualParts);
    let (five, six) = (bytes(5 * MIB), bytes(6 * MIB));
    world
        .multipart("a", &[&five, &five, &six[..1]])
        .await
        .unwrap();
    world.multipart("b", &[&five]).await.unwrap();
    for parts in [
        [&five, &six, &five],
        [&six, &five, &five],
        [&five, &five, &six],
    ] {
        let parts = parts.map(Vec::as_slice);
        let told = world.multipart("c", &parts).await;
        assert_eq!(told, Err("InvalidPart".into()));
    }
    assert_eq!(world.get("c").await, Err("NoSuchKey".into()));
}

#[tokio::test]
async fn checksums_are_refused_or_demanded() {
    for (checksums, habit, told) in [
        (Checksums::Required, Habit::RefuseChecksums, None),
        (
            Checksums::Always,
            Habit::RefuseChecksums,
            Some("NotImplemented"),
        ),
        (
            Checksums::Required,
            Habit::RequireChecksums,
            Some("InvalidRequest"),
        ),
        (Checksums::Always, Habit::RequireChecksums, None),
    ] {
        let Some(world) = World::new(S3::s3s(), checksums) else {
            return;
        };
        world.proxy.habit(habit);
        let five = bytes(5 * MIB);
        let told = told.map(str::to_owned);
        assert_eq!(world.put("small", b"x").await.err(), told);
        let parts = world.multipart("large", &[&five, b"x"]).await;
        assert_eq!(parts.err(), told, "{habit:?}");
    }
}

#[tokio::test]
async fn deletes_are_refused() {
    let Some(world) = s3s() else { return };
    world.put("x", b"x").await.unwrap();
    world.proxy.on(When::delete().nth(1), Fault::denied());
    world.proxy.on(When::delete().nth(2), Fault::locked());
    for _ in 0..2 {
        assert_eq!(world.delete("x").await, Err("AccessDenied".into()));
    }
    assert_eq!(world.get("x").await.unwrap(), b"x");
    world.delete("x").await.unwrap();
    assert_eq!(world.get("x").await, Err("NoSuchKey".into()));
}

#[test]
fn requests_are_told_apart() {
    fn request(first: &str) -> Request {
        Request {
            method: first.split(' ').next().unwrap().into(),
            ..Request::of(&head(&format!("{first} HTTP/1.1\r\nhost: x\r\n\r\n")))
        }
    }
    let part = request("PUT /b/v1/a%20b%2Fc?x-id=UploadPart&partNumber=2&uploadId=i%3D");
    assert_eq!(part.path, "/b/v1/a b/c");
    assert_eq!(part.query("uploadId"), Some("i="));
    assert!(When::part(2).key("a b").means(&part) && !When::part(1).means(&part));
    assert!(part.is_upload() && !part.is_completion() && !part.is_delete());
    assert!(!request("PUT /b").is_upload());
    assert!(request("POST /b/k?uploadId=i").is_completion());
    assert!(When::creation().means(&request("POST /b/k?uploads")));
    assert!(request("DELETE /b/k").is_delete());
    assert!(!request("DELETE /b/k?uploadId=i").is_delete());
    assert!(When::abortion().means(&request("DELETE /b/k?uploadId=i")));
    assert!(request("POST /b?delete").is_delete());
    let trailer =
        "PUT /b/k HTTP/1.1\r\nX-Amz-Content-SHA256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n\r\n";
    assert!(Request::of(&head(trailer)).flexible_checksum().is_some());
    let plain = "PUT /b/k HTTP/1.1\r\nX-Amz-Content-SHA256: UNSIGNED-PAYLOAD\r\n\r\n";
    assert!(Request::of(&head(plain)).flexible_checksum().is_none());
}

fn head(text: &str) -> s3_support::http::Head {
    let mut raw = text.as_bytes();
    let head = futures_util::FutureExt::now_or_never(s3_support::http::Head::read(&mut raw));
    head.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn the_end_of_a_body_is_found() {
    use s3_support::http::Pieces;
    for (text, whole) in [
        (
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET",
            "hello",
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\nGET",
            "5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
        ),
        ("GET / HTTP/1.1\r\n\r\nGET", ""),
    ] {
        let mut raw = text.as_bytes();
        let head = s3_support::http::Head::read(&mut raw)
            .await
            .unwrap()
            .unwrap();
        let mut pieces = Pieces::new(head.request_body());
        let mut body = Vec::new();
        while let Some(piece) = pieces.next(&mut raw).await.unwrap() {
            body.extend(piece);
        }
        assert_eq!(String::from_utf8(body).unwrap(), whole);
        assert_eq!(raw, b"GET");
    }
    let mut cut = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel".as_bytes();
    let head = s3_support::http::Head::read(&mut cut)
        .await
        .unwrap()
        .unwrap();
    let mut pieces = Pieces::new(head.request_body());
    assert_eq!(pieces.next(&mut cut).await.unwrap().unwrap(), b"hel");
    assert!(pieces.next(&mut cut).await.is_err());
}
