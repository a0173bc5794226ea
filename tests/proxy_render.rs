//! What the proxy's files look like, and what can never get into them.

use insta::assert_snapshot;
use proptest::prelude::*;
use summoner::proxy::nginx::{Files, RenderError, content_hash, render};
use summoner::proxy::{Settings, Site, SiteTls};

fn settings() -> Settings {
    Settings {
        http_port: 80,
        https_port: 443,
        trusted_proxies: Vec::new(),
        ipv6: false,
    }
}

fn blog() -> Site {
    Site {
        name: "blog".into(),
        hosts: vec!["blog.example.org".into()],
        upstream: "blog.internal:2368".into(),
        max_body: 67_108_864,
        stream_uploads: false,
        websocket_paths: Vec::new(),
        auth_paths: Vec::new(),
        tls: SiteTls::Untrusted,
    }
}

fn chat() -> Site {
    Site {
        name: "chat".into(),
        hosts: vec!["chat.example.org".into(), "*.chat.example.org".into()],
        upstream: "chat-r6:8065 chat-r7:8065".into(),
        max_body: 10_737_418_240,
        stream_uploads: true,
        websocket_paths: vec!["/api/v4/websocket".into()],
        auth_paths: vec!["/login".into()],
        tls: SiteTls::Trusted,
    }
}

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("proxy/golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| assert_snapshot!(name, text));
}

#[test]
fn files_for_the_usual_ports() {
    let files = render(&settings(), &[blog(), chat()]).unwrap();
    let names: Vec<_> = files.keys().collect();
    assert_eq!(names, ["nginx.conf", "sites/blog.conf", "sites/chat.conf"]);
    golden("nginx.conf", &files["nginx.conf"]);
    golden("blog.conf", &files["sites/blog.conf"]);
    golden("chat.conf", &files["sites/chat.conf"]);
}

#[test]
fn files_behind_a_trusted_balancer_on_other_ports() {
    let mut settings = settings();
    settings.http_port = 8080;
    settings.https_port = 8443;
    settings.ipv6 = true;
    settings.trusted_proxies = vec!["10.0.0.0/8".into(), "fd00::7".into()];
    let mut plain = blog();
    plain.tls = SiteTls::Off;
    let files = render(&settings, &[plain, chat()]).unwrap();
    golden("other-ports-nginx.conf", &files["nginx.conf"]);
    golden("other-ports-plain.conf", &files["sites/blog.conf"]);
    golden("other-ports-chat.conf", &files["sites/chat.conf"]);
}

#[test]
fn no_site_is_no_problem() {
    assert_eq!(render(&settings(), &[]).unwrap().len(), 1);
}

#[test]
fn the_hash_tells_sets_of_files_apart() {
    let files = |pairs: &[(&str, &str)]| -> Files {
        pairs
            .iter()
            .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
            .collect()
    };
    let hash = content_hash(&files(&[("a", "b"), ("c", "d")]));
    assert_eq!(hash.len(), 64);
    assert_eq!(hash, content_hash(&files(&[("c", "d"), ("a", "b")])));
    for other in [
        files(&[("a", "bc"), ("c", "d")]),
        files(&[("ab", ""), ("c", "d")]),
        files(&[("a", "b")]),
    ] {
        assert_ne!(hash, content_hash(&other));
    }
    // Sites in another order are the same files.
    let one = render(&settings(), &[blog(), chat()]).unwrap();
    let other = render(&settings(), &[chat(), blog()]).unwrap();
    assert_eq!(content_hash(&one), content_hash(&other));
}

#[test]
fn every_refused_value_is_told_with_its_site() {
    let mut bad = blog();
    bad.hosts = vec!["blog.example.org;".into(), "Blog.example.org".into()];
    bad.upstream = "blog".into();
    bad.max_body = 0;
    bad.auth_paths = vec!["login".into(), "/a b".into()];
    let mut settings = settings();
    settings.trusted_proxies = vec!["everyone".into()];
    let error = render(&settings, &[bad]).unwrap_err();
    assert_snapshot!(error, @r"
    proxy: the trusted proxy `everyone` is refused: it is no address and no network such as `10.0.0.0/8`
    site `blog`: the host name `blog.example.org;` is refused: it contains `;`
    site `blog`: the host name `Blog.example.org` is refused: host names are written in lower case
    site `blog`: the upstream `blog` is refused: it lacks a port, as in `blog:80`
    site `blog`: the largest request body `0` is refused: it is not between 1 and 9223372036854775807
    site `blog`: the sign-in path `login` is refused: it does not begin with `/`
    site `blog`: the sign-in path `/a b` is refused: it contains a blank
    ");
}

#[test]
fn a_name_belongs_to_one_site() {
    let mut other = chat();
    other.hosts.push("blog.example.org".into());
    let error = render(&settings(), &[blog(), other]).unwrap_err();
    assert_snapshot!(error, @"site `chat`: the host name `blog.example.org` is refused: site `blog` has it already");
    let error = render(&settings(), &[blog(), blog()])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "site `blog`: the site name `blog` is refused: site `blog` has it already"
        ),
        "{error}"
    );
}

/// Everything that gives a file of nginx its structure.
fn structure(files: &Files) -> Vec<Vec<usize>> {
    let marks = [
        ';', '{', '}', '"', '\'', '$', '\\', '#', '\n', '`', '<', '>',
    ];
    let count = |text: &String| {
        marks
            .iter()
            .map(|mark| text.matches(*mark).count())
            .collect()
    };
    files.values().map(count).collect()
}

fn hostile() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        ";",
        "{",
        "}",
        "\"",
        "'",
        "$",
        "\\",
        "\n",
        "\r",
        "\0",
        "#",
        "`",
        " ",
        "\t",
        "\u{2028}",
        "a",
        "b.c",
        "/",
        "..",
        "/x",
        ":80",
        "*.",
        "-",
        "_",
        "é",
        "%0a",
        "{{ run }}",
        "{% raw %}",
        "${host}",
        "location / {}",
        "include /etc/passwd;",
        "blog.example.org",
        "10.0.0.0/8",
        "::1",
        "~",
        "^~",
        "=",
        "<script>",
    ]);
    prop_oneof![
        prop::collection::vec(parts, 0..5).prop_map(|parts| parts.concat()),
        any::<String>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the values: either an error, or files of exactly the structure that harmless values
    /// of the same number give.
    #[test]
    fn no_value_changes_the_structure_of_a_file(
        name in hostile(), host in hostile(), upstream in hostile(), websocket in hostile(),
        auth in hostile(), trusted in hostile(), max_body in any::<u64>(), which in 0_u8..64,
    ) {
        // Only some fields are hostile at a time: all of them together are nearly always refused.
        let pick = |bit: u8, value: String, good: &str| if which & (1 << bit) == 0 { good.to_owned() } else { value };
        let site = Site {
            name: pick(0, name, "blog"),
            hosts: vec![pick(1, host, "blog.example.org")],
            upstream: pick(2, upstream, "blog:80"),
            websocket_paths: vec![pick(3, websocket, "/ws")],
            auth_paths: vec![pick(4, auth, "/login")],
            max_body: max_body.max(1),
            ..blog()
        };
        let mut settings = settings();
        settings.trusted_proxies = vec![pick(5, trusted, "10.0.0.0/8")];
        match render(&settings, std::slice::from_ref(&site)) {
            Err(RenderError::Refused(refusals)) => prop_assert!(!refusals.is_empty()),
            Err(RenderError::Template { reason, .. }) => prop_assert!(false, "validation let through: {}", reason),
            Ok(files) => {
                let same = |value: &String, good: &str| if value == "/" { "/".to_owned() } else { good.to_owned() };
                let harmless = Site {
                    name: "blog".into(),
                    hosts: vec!["blog.example.org".into()],
                    // As many servers and locations as the hostile one.
                    upstream: site.upstream.split(' ').filter(|s| !s.is_empty()).map(|_| "blog:80 ").collect(),
                    websocket_paths: vec![same(&site.websocket_paths[0], "/ws")],
                    auth_paths: vec![if site.auth_paths == site.websocket_paths { same(&site.websocket_paths[0], "/ws") } else { same(&site.auth_paths[0], "/login") }],
                    ..site.clone()
                };
                let plain = render(&settings, &[harmless]).unwrap();
                prop_assert_eq!(structure(&files), structure(&plain));
            }
        }
    }
}
