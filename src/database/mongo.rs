//! `MongoDB`: one archive of the whole server, by `mongodump`.
//!
//! Its tools know no variable for a password. Without `--password` they read it, byte by byte, from
//! the first line of a standard input that is no terminal; an archive may follow.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Access, Database, Dump, EndCheck, Facts, Format, Invocation, Tool, What};
use crate::secret::Secret;

/// The variables that our scripts read the login from.
const USER: &str = "SUMMONER_USER";
const PASSWORD: &str = "SUMMONER_PASSWORD";
const LOGIN: &str = "if (process.env.SUMMONER_USER) { db.getSiblingDB('admin').auth(process.env.SUMMONER_USER, process.env.SUMMONER_PASSWORD) }; ";

pub(super) struct Mongo;

fn shell(access: &Access, database: &str, script: &str) -> Invocation {
    let database = Value::from(database);
    let script = format!("{LOGIN}db = db.getSiblingDB({database}); {script}");
    let login = (!access.user.is_empty()).then(|| Secret::new(access.user.clone()));
    Invocation::new(["mongosh", "--quiet", "--norc", "--eval", &script])
        .with(USER, login.as_ref())
        .with(
            PASSWORD,
            access.password.as_ref().filter(|_| login.is_some()),
        )
}

fn tool(access: &Access, program: &str) -> Invocation {
    let mut tool = Invocation::new([program]);
    if let (false, Some(password)) = (access.user.is_empty(), &access.password) {
        tool.command.push(format!("--username={}", access.user));
        tool.command
            .push("--authenticationDatabase=admin".to_owned());
        tool = tool.fed(format!("{}\n", password.expose()));
    }
    tool
}

/// The last line: login and drivers may say something before.
fn last_json(answer: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().rev().find(|l| !l.trim().is_empty());
    serde_json::from_str(line.unwrap_or_default())
        .map_err(|_| "the server did not answer".to_owned())
}

impl Database for Mongo {
    fn question(&self, access: &Access) -> Invocation {
        shell(
            access,
            "admin",
            "print(JSON.stringify({version: db.version(), set: db.adminCommand({hello: 1}).setName || '', \
             databases: db.adminCommand({listDatabases: 1, nameOnly: true}).databases.map(d => d.name)}))",
        )
    }

    fn facts(&self, answer: &[u8]) -> Result<Facts, String> {
        let answer = last_json(answer)?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str);
        let names = answer.get("databases").and_then(Value::as_array);
        let (Some(version), Some(names)) = (text("version"), names) else {
            return Err("the server did not answer".to_owned());
        };
        let mut databases: Vec<String> = names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !matches!(*name, "admin" | "local" | "config"))
            .map(str::to_owned)
            .collect();
        databases.sort();
        Ok(Facts {
            server_version: version.to_owned(),
            powerful: true,
            databases,
            replica_set: text("set").is_some_and(|set| !set.is_empty()),
        })
    }

    fn programs(&self) -> &'static [&'static str] {
        &["mongodump"]
    }

    fn parts<'a>(&self, _: &'a Facts) -> Vec<What<'a>> {
        // Users and the oplog belong to all databases.
        vec![What::Server]
    }

    fn dump(
        &self,
        access: &Access,
        _: &Tool,
        facts: &Facts,
        _: What<'_>,
        to: Option<&str>,
    ) -> Option<Dump> {
        let mut invocation = tool(access, "mongodump");
        if facts.replica_set {
            invocation.command.push("--oplog".to_owned());
        }
        invocation.command.push(match to {
            Some(path) => format!("--archive={path}"),
            None => "--archive".to_owned(),
        });
        Some(Dump {
            invocation,
            format: Format::Archive,
            consistency: if facts.replica_set {
                "oplog"
            } else {
                "per collection"
            },
            reader: None,
        })
    }

    fn end_check(&self, _: Format, _: What<'_>) -> Box<dyn EndCheck> {
        Box::new(Archive::default())
    }

    fn run(&self, access: &Access, database: &str, statement: &str) -> Invocation {
        shell(access, database, &format!("print({statement})"))
    }

    fn clear(&self, _: &Access, _: Format, _: &str) -> Option<Invocation> {
        None
    }

    fn restore(&self, access: &Access, _: Format, _: What<'_>) -> Invocation {
        let mut restore = tool(access, "mongorestore");
        restore
            .command
            .extend(["--drop", "--stopOnError", "--archive"].map(str::to_owned));
        restore
    }

    fn count(&self, access: &Access, database: &str) -> Invocation {
        shell(
            access,
            database,
            "print(JSON.stringify(Object.fromEntries(db.getCollectionNames().map(n => [n, db.getCollection(n).countDocuments({})]))))",
        )
    }

    fn counts(&self, answer: &[u8]) -> Result<BTreeMap<String, u64>, String> {
        serde_json::from_value(last_json(answer)?)
            .map_err(|error| format!("the documents could not be counted: {error}"))
    }

    fn set_password(&self, access: &Access, user: &str, password: &Secret) -> Invocation {
        shell(
            access,
            &access.database,
            "db.changeUserPassword(process.env.SUMMONER_CHANGE_USER, process.env.SUMMONER_CHANGE_PASSWORD)",
        )
        .with("SUMMONER_CHANGE_USER", Some(&Secret::new(user)))
        .with("SUMMONER_CHANGE_PASSWORD", Some(password))
    }
}

/// First four bytes of an archive.
const MAGIC: [u8; 4] = 0x8199_e26d_u32.to_le_bytes();
/// Ends each block of documents.
const TERMINATOR: [u8; 4] = [0xff; 4];
/// Documents of the prelude and headers that are looked into: longer ones hold no names of ours.
const LONGEST_HEADER: usize = 1 << 20;
/// No document is longer; the server's own limit is 16 MiB and a bit.
const LONGEST_DOCUMENT: u32 = 64 << 20;

/// Follows the structure of an archive: a prelude with one document for each collection, then
/// blocks of documents, each begun by a header that names its collection, or says its end.
#[derive(Default)]
struct Archive {
    /// The four bytes that come next, as far as they are there.
    word: Vec<u8>,
    /// Bytes of the document that are missing.
    missing: usize,
    /// The document, where it is looked into.
    document: Option<Vec<u8>>,
    place: Place,
    /// Collections of the prelude whose end has not come.
    expected: Vec<(String, String)>,
    /// Collections begun and not ended.
    open: Vec<(String, String)>,
    ended: usize,
    broken: Option<&'static str>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Magic,
    /// The header of the archive comes.
    Head,
    /// Documents about collections.
    Prelude,
    /// The header of a block, or the end of the archive.
    Between,
    /// Documents of a block.
    Block,
}

impl EndCheck for Archive {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.broken.is_none() {
            if self.missing > 0 {
                let (now, rest) = bytes.split_at(self.missing.min(bytes.len()));
                bytes = rest;
                self.missing -= now.len();
                if let Some(document) = &mut self.document {
                    document.extend_from_slice(now);
                }
                if self.missing == 0
                    && let Some(document) = self.document.take()
                {
                    self.document(&document);
                }
                continue;
            }
            let (now, rest) = bytes.split_at((4 - self.word.len()).min(bytes.len()));
            bytes = rest;
            self.word.extend_from_slice(now);
            if let Ok(word) = <[u8; 4]>::try_from(self.word.as_slice()) {
                self.word.clear();
                self.word(word);
            }
        }
    }

    fn finish(&self) -> Result<String, String> {
        if let Some(reason) = self.broken {
            return Err(reason.to_owned());
        }
        if self.place != Place::Between || self.missing > 0 || !self.word.is_empty() {
            return Err("the archive breaks off".to_owned());
        }
        if let Some((database, collection)) = self.open.first().or(self.expected.first()) {
            return Err(format!(
                "the archive ends before `{database}.{collection}` does"
            ));
        }
        Ok(format!("archive terminator, {} collections", self.ended))
    }
}

impl Archive {
    fn word(&mut self, word: [u8; 4]) {
        match self.place {
            Place::Magic => {
                self.place = Place::Head;
                if word != MAGIC {
                    self.broken = Some("it does not begin like an archive of mongodump");
                }
            }
            Place::Prelude | Place::Block if word == TERMINATOR => self.place = Place::Between,
            place => {
                let length = u32::from_le_bytes(word);
                if !(5..=LONGEST_DOCUMENT).contains(&length) {
                    self.broken = Some("the archive has a document of no possible length");
                    return;
                }
                self.missing = length as usize - 4;
                let looked_into = place != Place::Block && self.missing <= LONGEST_HEADER;
                self.document = looked_into.then(Vec::new);
                if place == Place::Between && !looked_into {
                    self.broken = Some("the archive has a header of no possible length");
                }
            }
        }
    }

    fn document(&mut self, body: &[u8]) {
        match self.place {
            Place::Head => self.place = Place::Prelude,
            Place::Prelude => {
                let fields = Header::read(body);
                if fields.kind.is_empty() || fields.kind == "collection" {
                    self.expected.push((fields.database, fields.collection));
                }
            }
            Place::Between => {
                let fields = Header::read(body);
                let name = (fields.database, fields.collection);
                self.place = Place::Block;
                if fields.end {
                    self.open.retain(|open| *open != name);
                    self.expected.retain(|expected| *expected != name);
                    self.ended += 1;
                } else if !self.open.contains(&name) {
                    self.open.push(name);
                }
            }
            Place::Magic | Place::Block => {}
        }
    }
}

/// The fields of a header that matter.
#[derive(Default)]
struct Header {
    database: String,
    collection: String,
    kind: String,
    end: bool,
}

impl Header {
    /// Reads BSON without its length, as far as its fields are of the types that headers have.
    fn read(body: &[u8]) -> Self {
        let mut header = Self::default();
        let mut rest = body;
        while let Some((&kind, after)) = rest.split_first() {
            let Some(end) = after.iter().position(|b| *b == 0) else {
                break;
            };
            let (name, value) = (&after[..end], &after[end + 1..]);
            let length = match kind {
                0x01 | 0x09 | 0x11 | 0x12 => 8,
                0x02 => {
                    4 + value
                        .first_chunk()
                        .map_or(usize::MAX / 2, |l| u32::from_le_bytes(*l) as usize)
                }
                0x08 => 1,
                0x10 => 4,
                0x0a => 0,
                _ => break,
            };
            let Some(bytes) = value.get(..length) else {
                break;
            };
            let text = || {
                let inner = bytes.get(4..length.saturating_sub(1)).unwrap_or_default();
                String::from_utf8_lossy(inner).into_owned()
            };
            match (name, kind) {
                (b"db", 0x02) => header.database = text(),
                (b"collection", 0x02) => header.collection = text(),
                (b"type", 0x02) => header.kind = text(),
                (b"EOF", 0x08) => header.end = bytes == [1],
                _ => {}
            }
            rest = &value[length..];
        }
        header
    }
}
