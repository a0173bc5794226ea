//! Docker Engine through our client. Needs an engine and the image `summoner-test/tiny`
//! (`tests/images/`); leaves nothing behind.

#[macro_use]
mod engine_conformance;
mod engine_lab;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use engine_conformance::{Lab, Role};
use engine_lab::RealLab;
use futures_util::StreamExt as _;
use summoner::engine::docker::Docker;
use summoner::engine::{
    ContainerSpec, Engine, EngineError, ExecSpec, LogOptions, MountKind, MountSpec, PortSpec,
};

impl Lab for RealLab {
    fn engine(&self) -> &dyn Engine {
        &self.docker
    }

    fn name(&self, base: &str) -> String {
        RealLab::name(self, base)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        RealLab::labels(self)
    }

    fn spec(&self, role: Role) -> ContainerSpec {
        self.script(match role {
            Role::WritesAndEnds => "echo one; echo two; echo three; exit 7",
            Role::Sleeps | Role::BecomesHealthy | Role::BecomesUnhealthy => {
                "trap 'exit 0' TERM; trap : HUP; while :; do sleep 3600 & wait; done"
            }
        })
    }

    fn missing_image(&self) -> String {
        "summoner-test/nowhere:1".into()
    }

    fn taken_port(&self) -> (u16, Box<dyn Send>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap().port(), Box::new(listener))
    }

    fn subnet(&self) -> String {
        RealLab::subnet(self)
    }
}

conformance!(RealLab::new());

#[tokio::test]
async fn the_engine_tells_about_itself() {
    let info = Docker::connect().unwrap().info().await.unwrap();
    assert!(info.api >= (1, 41), "{info:?}");
    assert_eq!(info.os, "linux");
    assert!(info.memory > 0 && info.cpus > 0);
    assert!(Path::new(&info.root_dir).is_absolute());
    assert!(
        info.security.iter().any(|s| s.starts_with("name=")),
        "{info:?}"
    );
}

#[tokio::test]
async fn absence_is_told_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let endpoint = format!("unix://{}", socket.display());
    let error = Docker::at(&endpoint).err().expect("no socket");
    assert!(
        error.to_string().ends_with("there is no such socket"),
        "{error}"
    );

    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = Docker::at(&endpoint).unwrap().info().await.unwrap_err();
    assert!(matches!(error, EngineError::Absent { .. }), "{error:?}");
    assert!(error.to_string().contains("nobody listens"), "{error}");

    let error = Docker::at("tcp://192.0.2.1:2375").err().expect("not here");
    assert!(
        error.hint().unwrap().contains("unset DOCKER_HOST"),
        "{error}"
    );
}

#[tokio::test]
async fn everything_of_a_specification_reaches_the_container() {
    let lab = RealLab::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "from the host\n").unwrap();
    let mut spec = lab.script(
        "id -u; hostname; pwd; cat /data/file; touch /data/x 2>&1; cat /proc/1/comm; \
         cat /proc/sys/net/core/somaxconn; ulimit -n; grep mytmp /proc/mounts | cut -d' ' -f3; \
         df -k /dev/shm | tail -1 | awk '{print $2}'; grep -c 192.0.2.7 /etc/hosts; touch /y 2>&1; echo $ONE",
    );
    spec.user = Some("65534:65534".into());
    spec.hostname = Some("inside".into());
    spec.working_dir = Some("/tmp".into());
    spec.mounts = vec![MountSpec {
        kind: MountKind::Bind,
        source: folder.path().display().to_string(),
        target: "/data".into(),
        read_only: true,
    }];
    spec.tmpfs.insert("/mytmp".into(), "size=1m".into());
    spec.sysctls
        .insert("net.core.somaxconn".into(), "1234".into());
    spec.ulimits.insert("nofile".into(), (512, 1024));
    spec.shm_size = Some(8 << 20);
    spec.extra_hosts = vec!["elsewhere:192.0.2.7".into()];
    spec.read_only = true;
    spec.cap_drop = vec!["ALL".into()];
    spec.security_opt = vec!["no-new-privileges:true".into()];
    spec.pids_limit = Some(50);
    spec.log_driver = "json-file".into();
    spec.log_options.insert("max-size".into(), "1m".into());
    spec.environment.insert("ONE".into(), "1=1".into());
    let (code, log) = lab.run("all", &spec).await;
    assert_eq!(code, 0);
    assert_eq!(
        log,
        "65534\ninside\n/tmp\nfrom the host\ntouch: /data/x: Read-only file system\ndocker-init\n\
         1234\n512\ntmpfs\n8192\n1\ntouch: /y: Read-only file system\n1=1"
    );
    let seen = lab.docker.inspect(&lab.name("all")).await.unwrap();
    assert_eq!(seen.binds["/data"], folder.path().display().to_string());
}

#[tokio::test]
async fn a_missing_bind_source_is_an_error_and_is_not_made() {
    let lab = RealLab::new();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("missing");
    let mut spec = lab.script("true");
    spec.mounts = vec![MountSpec {
        kind: MountKind::Bind,
        source: source.display().to_string(),
        target: "/data".into(),
        read_only: false,
    }];
    let error = lab
        .docker
        .create(&lab.name("sourceless"), &spec)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("bind source path does not exist"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("folders"), "{error}");
    assert!(!source.exists());
}

#[tokio::test]
async fn a_program_that_is_not_in_the_image_is_named() {
    let lab = RealLab::new();
    let mut spec = lab.script("true");
    spec.init = false;
    spec.command = Some(vec!["no-such-program".into()]);
    let id = lab.create("programless", &spec).await;
    match lab.docker.start(&id).await {
        Err(EngineError::NotFound {
            kind: "command",
            name,
        }) => {
            assert_eq!(name, "no-such-program");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stop_that_outlasts_its_grace_is_a_kill() {
    let lab = RealLab::new();
    let id = lab
        .create(
            "stubborn",
            &lab.script("trap : TERM; while :; do sleep 1; done"),
        )
        .await;
    lab.docker.start(&id).await.unwrap();
    // The trap has to be set before the signal comes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    lab.docker
        .stop(&id, Duration::from_millis(900))
        .await
        .unwrap();
    let stopped = lab.docker.inspect(&id).await.unwrap();
    assert_eq!(stopped.exit_code, Some(137));
}

#[tokio::test]
async fn a_chosen_port_is_told() {
    let lab = RealLab::new();
    let mut spec = lab.script("sleep 3600");
    spec.ports = vec![PortSpec {
        address: "127.0.0.1".into(),
        host: 0,
        container: 80,
        protocol: "tcp".into(),
    }];
    let id = lab.create("port", &spec).await;
    lab.docker.start(&id).await.unwrap();
    let ports = lab.docker.inspect(&id).await.unwrap().ports;
    assert!(ports.len() == 1 && ports[0] >= 1024, "{ports:?}");
}

#[tokio::test]
async fn logs_keep_long_lines_whole_and_tell_errors_apart() {
    let lab = RealLab::new();
    // json-file cuts at 16 KiB.
    let spec = lab.script(
        "head -c 40000 /dev/zero | tr '\\0' x; echo; echo bad >&2; printf '\\377\\n'; printf end",
    );
    let id = lab.create("lines", &spec).await;
    lab.docker.start(&id).await.unwrap();
    lab.docker.wait(&id).await.unwrap();
    let lines: Vec<_> = lab
        .docker
        .logs(&id, LogOptions::default())
        .map(Result::unwrap)
        .collect()
        .await;
    let mut output = lines.iter().filter(|line| !line.stderr);
    assert_eq!(output.next().unwrap().text.len(), 40000);
    assert_eq!(output.next().unwrap().text, "\u{fffd}");
    assert_eq!(output.next().unwrap().text, "end");
    let errors: Vec<_> = lines.iter().filter(|line| line.stderr).collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].text, "bad");
}

#[tokio::test]
async fn followed_logs_come_as_they_are_written() {
    let lab = RealLab::new();
    let id = lab
        .create("follow", &lab.script("echo one; sleep 1; echo two"))
        .await;
    lab.docker.start(&id).await.unwrap();
    let options = LogOptions {
        follow: true,
        timestamps: true,
        ..Default::default()
    };
    let lines: Vec<_> = lab
        .docker
        .logs(&id, options)
        .map(|line| line.unwrap().text)
        .collect()
        .await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (time, text) = lines[1].split_once(' ').unwrap();
    assert_eq!(text, "two");
    time.parse::<jiff::Timestamp>().unwrap();
}

#[tokio::test]
async fn large_output_of_a_command_arrives_whole_and_too_much_is_refused() {
    let lab = RealLab::new();
    let id = lab.create("large", &lab.script("sleep 3600")).await;
    lab.docker.start(&id).await.unwrap();
    let zeros = |bytes: u32| ExecSpec {
        command: vec![
            "head".into(),
            "-c".into(),
            bytes.to_string(),
            "/dev/zero".into(),
        ],
        ..Default::default()
    };
    let output = lab.docker.exec(&id, &zeros(5_000_000)).await.unwrap();
    assert_eq!((output.code, output.stdout.len()), (0, 5_000_000));
    let error = lab.docker.exec(&id, &zeros(20_000_000)).await.unwrap_err();
    assert!(error.to_string().contains("more than 16 MiB"), "{error}");
}

#[tokio::test]
async fn a_command_runs_as_told_and_a_killed_one_is_told() {
    let lab = RealLab::new();
    let id = lab.create("told", &lab.script("sleep 3600")).await;
    lab.docker.start(&id).await.unwrap();
    let spec = ExecSpec {
        command: ["sh", "-c", "id -u; pwd"].map(String::from).to_vec(),
        user: Some("65534".into()),
        working_dir: Some("/tmp".into()),
        ..Default::default()
    };
    let output = lab.docker.exec(&id, &spec).await.unwrap();
    assert_eq!(output.stdout, b"65534\n/tmp\n");
    let spec = ExecSpec {
        command: ["sh", "-c", "kill -KILL $$"].map(String::from).to_vec(),
        ..Default::default()
    };
    assert_eq!(lab.docker.exec(&id, &spec).await.unwrap().code, 137);
}

#[tokio::test]
async fn strange_names_never_reach_the_engine() {
    let docker = Docker::connect().unwrap();
    for name in ["", "a/b", "a?all=1", "..", "a b"] {
        let removed = docker.inspect(name).await;
        assert!(
            matches!(removed, Err(EngineError::NotFound { .. })),
            "{name}: {removed:?}"
        );
    }
}
