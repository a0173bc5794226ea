use std::path::Path;

use super::*;
use crate::config::{self, Lookup};
use crate::minion::{Origin, manifest};

const MINION: &str = r#"
name: blog
title: Blog
summary: a blog
category: publishing
website: https://example.org
version: "1.2.3"
parameters:
  title: {type: string, default: Home}
  port: {type: integer, default: 587}
  open: {type: boolean, default: false}
  php: {type: choice, choices: ["8.4", "8.3"], default: "8.4"}
  mail_host: {type: string, optional: true}
  admin: {type: string}
  db_password: {type: secret, length: 24}
  mail_password: {type: secret, optional: true}
"#;

fn minion() -> Minion {
    Minion {
        manifest: manifest::parse("minions/blog/minion.yml", MINION).unwrap(),
        template: String::new(),
        files: BTreeMap::new(),
        origin: Origin::Catalog,
        hash: String::new(),
        contents: std::sync::Arc::default(),
    }
}

/// The instance of a block with these lines.
fn instance(block: &str) -> Instance {
    let text = format!("summoner: {{domain: a.org}}\nminions:\n  blog:\n{block}");
    let lookup = Lookup::fixed(
        "/home/ada",
        &[("P", "hidden"), ("N", "25"), ("BAD", "hidden too")],
    );
    let environment = config::parse(Path::new("config.yml"), &text, &["blog"], &lookup).unwrap();
    environment.instances.into_iter().next().unwrap()
}

fn resolved(block: &str, book: &mut SecretBook) -> Result<Parameters, String> {
    resolve(&minion(), &instance(block), "config.yml", book)
        .map_err(|problems| problems.to_string())
}

#[test]
fn defaults_secrets_and_what_is_missing_are_filled_in() {
    let mut book = SecretBook::new();
    let first = resolved("    set: {admin: ada}\n", &mut book).unwrap();
    assert_eq!(
        serde_json::to_string(&first.values).unwrap(),
        r#"{"admin":"ada","db_password":"${DB_PASSWORD}","mail_host":null,"mail_password":null,"open":false,"php":"8.4","port":587,"title":"Home"}"#
    );
    assert_eq!(first.generated, ["db_password"]);
    assert_eq!(first.secrets["DB_PASSWORD"].expose().len(), 24);
    assert_eq!(book["blog"]["db_password"], first.secrets["DB_PASSWORD"]);
    let second = resolved("    set: {admin: ada}\n", &mut book).unwrap();
    assert!(second.generated.is_empty());
    assert_eq!(second.secrets, first.secrets);
}

#[test]
fn values_keep_the_type_the_minion_asks_for() {
    let block = "    set: {admin: 007, title: 5.130, port: {env: N}, open: true, php: 8.3, \
                 mail_host: {env: P}, mail_password: {generate: 12}, db_password: {env: P}}\n";
    let mut book = SecretBook::new();
    let parameters = resolved(block, &mut book).unwrap();
    assert_eq!(
        serde_json::to_string(&parameters.values).unwrap(),
        r#"{"admin":"007","db_password":"${DB_PASSWORD}","mail_host":"${MAIL_HOST}","mail_password":"${MAIL_PASSWORD}","open":true,"php":"8.3","port":25,"title":"5.130"}"#
    );
    assert_eq!(parameters.secrets["DB_PASSWORD"].expose(), "hidden");
    assert_eq!(parameters.secrets["MAIL_HOST"].expose(), "hidden");
    assert_eq!(parameters.secrets["MAIL_PASSWORD"].expose().len(), 12);
    // Only what was made is kept.
    assert_eq!(book["blog"].keys().collect::<Vec<_>>(), ["mail_password"]);
}

#[test]
fn variables_are_compose_text() {
    let block = "    set: {admin: ada}\n    env: {PRICE: 5$, RATIO: 1.50, KEY: {env: P}, Salt: {generate: 16}}\n";
    let mut book = SecretBook::new();
    let parameters = resolved(block, &mut book).unwrap();
    assert_eq!(
        serde_json::to_string(&parameters.env).unwrap(),
        r#"{"KEY":"${ENV_KEY}","PRICE":"5$$","RATIO":"1.50","Salt":"${ENV_Salt}"}"#
    );
    assert_eq!(parameters.secrets["ENV_KEY"].expose(), "hidden");
    assert_eq!(parameters.generated, ["db_password", "env_Salt"]);
    assert_eq!(env_name("env_Salt"), "ENV_Salt");
}

#[test]
fn every_mistake_is_told_at_its_place_and_no_secret_with_it() {
    let block = "    set:\n      titel: x\n      port: many\n      open: 1\n      php: 7.4\n      \
                 db_password: \"\"\n      mail_host: true\n      zzz: 1\n";
    let told = resolved(block, &mut SecretBook::new()).unwrap_err();
    assert_eq!(
        told,
        "config.yml:3:3 minions.blog.set.admin: the parameter `admin` is missing\n  \
         hint: add `set: {admin: …}` to `blog`\n\
         config.yml:5:14 minions.blog.set.titel: unknown parameter `titel`\n  hint: did you mean `title`?\n\
         config.yml:6:13 minions.blog.set.port: expected a whole number, found text `many`\n\
         config.yml:7:13 minions.blog.set.open: expected `true` or `false`, found the number `1`\n\
         config.yml:8:12 minions.blog.set.php: expected `8.4` or `8.3`, found the number `7.4`\n\
         config.yml:9:20 minions.blog.set.db_password: expected a secret, found an empty text\n\
         config.yml:11:12 minions.blog.set.zzz: unknown parameter `zzz`\n  \
         hint: known parameters: admin, db_password, mail_host, mail_password, open, php, port, title"
    );
    let block = "    set: {admin: a, port: {env: BAD}, open: {generate: 8}}\n";
    let told = resolved(block, &mut SecretBook::new()).unwrap_err();
    assert_eq!(
        told,
        "config.yml:4:27 minions.blog.set.port: expected a whole number, found something else in the variable or file\n\
         config.yml:4:45 minions.blog.set.open: only a secret or a text can be generated"
    );
}

#[test]
fn a_secret_in_plain_text_deserves_a_word() {
    let instance =
        instance("    set: {admin: ada, db_password: hunter2, mail_password: {env: P}}\n");
    let told: Vec<_> = warnings(&minion(), &instance, "config.yml")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "config.yml:4:36 minions.blog.set.db_password: the secret `db_password` stands here for everybody to read\n  \
          hint: write `{env: NAME}` or `{file: path}`, or leave it out and one is made"
        ]
    );
}
