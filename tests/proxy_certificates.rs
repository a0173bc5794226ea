//! The internal CA and the certificates that others provide, at times of the tests' choosing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::{Span, Timestamp, ToSpan as _};
use summoner::proxy::certificate::{Certificate, CertificateError, check_files};
use summoner::proxy::internal_ca::{CaCause, CaError, Cause, CertStore, constraints};

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn days(days: i64) -> Timestamp {
    now() + Span::new().hours(days * 24)
}

fn hosts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn store() -> (tempfile::TempDir, CertStore) {
    let state = tempfile::tempdir().unwrap();
    let store = CertStore::new(state.path());
    (state, store)
}

/// A store whose CA is for `example.org` and whose site `blog` has its certificate.
fn issued() -> (tempfile::TempDir, CertStore) {
    let (state, store) = store();
    store
        .make_ca("example.org", &hosts(&["blog.example.org"]), now())
        .unwrap();
    assert_eq!(
        store
            .issue("blog", &hosts(&["blog.example.org"]), now())
            .unwrap(),
        1
    );
    (state, store)
}

fn read(path: &Path) -> Certificate {
    Certificate::read(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_site_gets_a_certificate_of_its_own_names_and_a_key_that_nobody_else_reads() {
    let (state, store) = store();
    let names = hosts(&["blog.example.org", "www.blog.example.org"]);
    assert_eq!(store.ca_needs(&names, now()), Some(CaCause::Absent));
    assert_eq!(store.needs("blog", &names, now()), Some(Cause::Absent));
    store.make_ca("example.org", &names, now()).unwrap();
    assert_eq!(store.ca_needs(&names, now()), None);
    store.issue("blog", &names, now()).unwrap();
    assert_eq!(store.needs("blog", &names, now()), None);

    let folder = state.path().join("certs/blog");
    assert_eq!(
        fs::read_link(folder.join("current")).unwrap(),
        Path::new("v1")
    );
    let chain = read(&folder.join("current/fullchain.pem"));
    assert_eq!(chain.names, names.iter().cloned().collect());
    assert_eq!(
        chain.chain.len(),
        2,
        "its own and the intermediate, not the root"
    );
    let life = chain.not_before.duration_until(chain.not_after);
    assert!(life.as_hours() <= 397 * 24, "{life:?}");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.join("current/privkey.pem")), 0o600);
    assert_eq!(mode(store.ca_file()), 0o644);
}

#[test]
fn the_key_of_the_root_is_nowhere_and_that_of_the_intermediate_is_not_in_the_container() {
    let (state, store) = issued();
    let mut keys = Vec::new();
    let mut folders = vec![state.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).unwrap().contains("PRIVATE KEY") {
                keys.push(
                    path.strip_prefix(state.path())
                        .unwrap()
                        .display()
                        .to_string(),
                );
            }
        }
    }
    keys.sort();
    assert_eq!(
        keys,
        ["ca/v1/intermediate.key", "certs/blog/v1/privkey.pem"]
    );
    let root = fs::read(store.ca_file()).unwrap();
    let key = fs::read(state.path().join("ca/v1/intermediate.key")).unwrap();
    assert_eq!(
        Certificate::read(&root).unwrap().check_key(&key),
        Err(CertificateError::Mismatch)
    );
}

#[test]
fn the_intermediate_is_bound_to_the_names_of_the_project() {
    let (state, store) = store();
    let names = hosts(&["blog.example.org", "shop.elsewhere.net", "*.wild.net"]);
    store.make_ca("example.org", &names, now()).unwrap();
    let intermediate = read(&state.path().join("ca/current/intermediate.pem"));
    let permitted: Vec<_> = intermediate.permitted.unwrap().into_iter().collect();
    assert_eq!(permitted, ["example.org", "shop.elsewhere.net", "wild.net"]);
    assert_eq!(
        store.ca_needs(&hosts(&["new.example.org", "a.wild.net"]), now()),
        None
    );
    let outside = hosts(&["new.example.org", "elsewhere.net", "notexample.org"]);
    let missing = hosts(&["elsewhere.net", "notexample.org"]);
    assert_eq!(
        store.ca_needs(&outside, now()),
        Some(CaCause::Outside(missing))
    );
}

#[test]
fn constraints_are_as_few_as_cover_all() {
    let all = hosts(&[
        "a.example.org",
        "www.shop.net",
        "shop.net",
        "*.x.org",
        "y.x.org",
        "myshop.net",
    ]);
    assert_eq!(
        constraints("example.org", &all),
        ["example.org", "myshop.net", "shop.net", "x.org"]
    );
    assert_eq!(
        constraints("localhost", &hosts(&["blog.localhost"])),
        ["localhost"]
    );
}

#[test]
fn a_certificate_is_renewed_with_a_third_of_its_life_left() {
    let (_state, store) = issued();
    let names = hosts(&["blog.example.org"]);
    assert_eq!(store.needs("blog", &names, days(264)), None);
    let cause = store.needs("blog", &names, days(266)).unwrap();
    assert!(matches!(cause, Cause::Expiring(_)), "{cause:?}");
    assert_eq!(cause.to_string(), "valid until 2027-12-22T11:00:00Z");
    assert_eq!(store.issue("blog", &names, days(266)).unwrap(), 2);
    assert_eq!(store.needs("blog", &names, days(266)), None);
}

#[test]
fn other_host_names_ask_for_another_certificate_and_their_order_does_not() {
    let (_state, store) = issued();
    let both = hosts(&["blog.example.org", "news.example.org"]);
    assert_eq!(store.needs("blog", &both, now()), Some(Cause::Hosts));
    store.issue("blog", &both, now()).unwrap();
    assert_eq!(
        store.needs(
            "blog",
            &hosts(&["news.example.org", "blog.example.org"]),
            now()
        ),
        None
    );
}

#[test]
fn damage_is_found() {
    let (state, store) = issued();
    let names = hosts(&["blog.example.org"]);
    let key = state.path().join("certs/blog/current/privkey.pem");
    store.issue("other", &names, now()).unwrap();
    fs::copy(state.path().join("certs/other/current/privkey.pem"), &key).unwrap();
    assert_eq!(
        store.needs("blog", &names, now()),
        Some(Cause::Damaged(CertificateError::Mismatch))
    );
    fs::remove_file(&key).unwrap();
    assert_eq!(store.needs("blog", &names, now()), Some(Cause::Absent));
    store.issue("blog", &names, now()).unwrap();
    fs::write(state.path().join("certs/blog/current/fullchain.pem"), "").unwrap();
    assert_eq!(
        store.needs("blog", &names, now()),
        Some(Cause::Damaged(CertificateError::NoCertificate))
    );

    fs::write(state.path().join("ca/current/intermediate.key"), "").unwrap();
    assert!(matches!(
        store.ca_needs(&names, now()),
        Some(CaCause::Damaged(_))
    ));
    let error = store.issue("blog", &names, now()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("failed to issue the certificate of site `blog`: "),
        "{error}"
    );
}

#[test]
fn a_new_ca_makes_the_certificates_of_the_old_one_due() {
    let (state, store) = issued();
    let names = hosts(&["blog.example.org"]);
    let old = fs::read(store.ca_file()).unwrap();
    store
        .make_ca("example.org", &hosts(&["blog.example.org", "a.net"]), now())
        .unwrap();
    assert_ne!(fs::read(store.ca_file()).unwrap(), old);
    assert_eq!(store.needs("blog", &names, now()), Some(Cause::Issuer));
    store.issue("blog", &names, now()).unwrap();
    assert_eq!(store.needs("blog", &names, now()), None);
    assert_eq!(
        fs::read_link(store.ca_file()).unwrap(),
        Path::new("current/root.pem")
    );
    drop(state);
}

#[test]
fn a_ca_at_its_end_is_replaced_before_it_shortens_certificates() {
    let (state, store) = issued();
    let names = hosts(&["blog.example.org"]);
    assert_eq!(store.ca_needs(&names, days(3650 - 400)), None);
    assert!(matches!(
        store.ca_needs(&names, days(3650 - 390)),
        Some(CaCause::Expiring(_))
    ));
    // Should someone go on with it all the same, no certificate outlives it.
    store.issue("blog", &names, days(3650 - 100)).unwrap();
    let leaf = read(&state.path().join("certs/blog/current/fullchain.pem"));
    assert_eq!(
        leaf.not_after,
        read(&state.path().join("ca/current/intermediate.pem")).not_after
    );
}

#[test]
fn a_new_certificate_shows_in_the_versions() {
    let (_state, store) = issued();
    assert_eq!(store.versions(["wiki", "blog"]), "blog v1\nwiki v0\n");
    store
        .issue("blog", &hosts(&["blog.example.org"]), now())
        .unwrap();
    assert_eq!(store.versions(["blog"]), "blog v2\n");
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/proxy/keys")
            .join(name),
    )
    .unwrap()
}

#[test]
fn keys_of_every_usual_format_are_matched() {
    for (certificate, own) in [
        (
            "rsa-pkcs1.pem",
            ["rsa-pkcs1.key", "rsa-pkcs8.key"].as_slice(),
        ),
        ("ec-sec1.pem", &["ec-sec1.key", "ec-pkcs8.key"]),
        ("ed25519.pem", &["ed25519.key"]),
    ] {
        let read = Certificate::read(&fixture(certificate)).unwrap();
        for key in [
            "rsa-pkcs1.key",
            "rsa-pkcs8.key",
            "ec-sec1.key",
            "ec-pkcs8.key",
        ] {
            let wanted = if own.contains(&key) {
                Ok(())
            } else {
                Err(CertificateError::Mismatch)
            };
            assert_eq!(
                read.check_key(&fixture(key)),
                wanted,
                "{certificate} and {key}"
            );
        }
        for key in ["rsa-encrypted.key", "ec-encrypted.key"] {
            assert_eq!(
                read.check_key(&fixture(key)),
                Err(CertificateError::EncryptedKey),
                "{key}"
            );
        }
        assert_eq!(read.check_key(b""), Err(CertificateError::NoKey));
    }
    // It does not say its public half, so only `nginx -t` can tell.
    let read = Certificate::read(&fixture("rsa-pkcs1.pem")).unwrap();
    assert_eq!(read.check_key(&fixture("ed25519.key")), Ok(()));
    let cut = String::from_utf8(fixture("rsa-pkcs8.key")).unwrap();
    let cut = format!(
        "{}\n-----END PRIVATE KEY-----\n",
        &cut[..cut.len() / 2 / 65 * 65]
    );
    assert!(matches!(
        read.check_key(cut.as_bytes()),
        Err(CertificateError::UnreadableKey | CertificateError::Mismatch)
    ));
}

#[test]
fn files_that_someone_provides_are_checked() {
    let (certificate, key) = (fixture("ec-sec1.pem"), fixture("ec-sec1.key"));
    let check = |names: &[&str], at| check_files(&certificate, &key, &hosts(names), at);
    assert!(check(&["a.example", "x.b.example"], now() + 24.hours()).is_ok());
    let error = check(
        &["a.example", "b.example", "x.y.b.example"],
        now() + 24.hours(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate is not for `b.example`, `x.y.b.example`"
    );
    assert!(matches!(
        check(&["a.example"], days(-365)),
        Err(CertificateError::NotYetValid(_))
    ));
    let error = check(&["a.example"], days(8000)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the certificate has expired on 2046-"),
        "{error}"
    );
    let error = check_files(&certificate, &fixture("rsa-pkcs1.key"), &[], now()).unwrap_err();
    assert_eq!(error, CertificateError::Mismatch);
    assert_eq!(
        check_files(&key, &key, &[], now()).unwrap_err(),
        CertificateError::NoCertificate
    );
}

#[test]
fn a_chain_in_the_wrong_order_is_named() {
    let (state, _store) = issued();
    let leaf =
        String::from_utf8(fs::read(state.path().join("certs/blog/current/fullchain.pem")).unwrap())
            .unwrap();
    let (first, second) = leaf.split_at(leaf.rfind("-----BEGIN").unwrap());
    assert_eq!(
        Certificate::read(format!("{second}{first}").as_bytes()),
        Err(CertificateError::Order(1))
    );
    let mixed = format!(
        "{first}{}",
        String::from_utf8(fixture("ed25519.pem")).unwrap()
    );
    assert_eq!(
        Certificate::read(mixed.as_bytes()),
        Err(CertificateError::Order(1))
    );
    let broken = format!("{first}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(matches!(
        Certificate::read(broken.as_bytes()),
        Err(CertificateError::Unreadable(2, _))
    ));
}

#[test]
fn a_provided_pair_is_installed_once_and_a_wrong_one_never() {
    let (state, store) = store();
    let (certificate, key) = (fixture("rsa-pkcs1.pem"), fixture("rsa-pkcs1.key"));
    assert_eq!(store.install("blog", &certificate, &key).unwrap(), 1);
    assert_eq!(store.install("blog", &certificate, &key).unwrap(), 1);
    let error = store
        .install("blog", &certificate, &fixture("ec-sec1.key"))
        .unwrap_err();
    assert!(matches!(error, CaError::Pair { .. }));
    assert_eq!(
        error.to_string(),
        "the certificate of site `blog` is not used: the key does not belong to the certificate"
    );
    assert_eq!(
        fs::read(state.path().join("certs/blog/current/privkey.pem")).unwrap(),
        key
    );
    assert_eq!(
        store
            .install("blog", &certificate, &fixture("rsa-pkcs8.key"))
            .unwrap(),
        2
    );
    // When the internal CA takes over, theirs is not ours.
    store.make_ca("example.org", &[], now()).unwrap();
    assert_eq!(
        store.needs("blog", &hosts(&["a.example", "*.b.example"]), now()),
        Some(Cause::Issuer)
    );
}
