//! Dumps of real servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::backup::discover::Server;
use crate::backup::dump::{Dumper, Look, Task};
use crate::backup::error::BackupError;
use crate::backup::manifest::{DatabaseRecord, Role};
use crate::backup::source::{self, IDLE, Source};
use crate::backup::writer::{Compression, ObjectWriter};
use crate::database::{self, DatabaseEngine, Format, What};
use crate::engine::{Container, Engine};

/// Asks and dumps by the engine.
pub struct Live {
    engine: Arc<dyn Engine>,
    /// What servers told, by container id.
    looks: Mutex<HashMap<String, Arc<source::Look>>>,
}

impl Live {
    /// On this engine.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            looks: Mutex::default(),
        }
    }
}

fn container(server: &Server) -> Result<&Container, BackupError> {
    server
        .running()
        .ok_or_else(|| BackupError::Other(format!("`{}` does not run", server.target())))
}

#[async_trait]
impl Dumper for Live {
    async fn look(&self, server: &Server) -> Result<Look, BackupError> {
        let container = container(server)?;
        let look = source::look(
            self.engine.as_ref(),
            container,
            server.engine,
            &server.access,
        )
        .await?;
        let ways = database::of(server.engine);
        let tasks = ways
            .parts(&look.facts)
            .into_iter()
            .map(|what| {
                let dumped = ways.dump(&server.access, &look.tool, &look.facts, what, None);
                task(what, dumped.map_or(Format::Sql, |d| d.format))
            })
            .collect();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.insert(container.id.clone(), Arc::new(look));
        Ok(Look { tasks })
    }

    async fn dump(
        &self,
        server: &Server,
        task: &Task,
        object: &mut ObjectWriter,
    ) -> Result<DatabaseRecord, BackupError> {
        let container = container(server)?;
        let known = {
            let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            looks.get(&container.id).cloned()
        };
        let look = known.ok_or_else(|| BackupError::Other("the server was not asked".into()))?;
        let what = match (task.role, server.engine) {
            (Role::Globals, _) => What::Globals,
            (_, DatabaseEngine::Mongo) if task.database.is_empty() => What::Server,
            _ => What::Database(&task.database),
        };
        let mut bytes =
            Source::start(&self.engine, container, &server.access, &look, what, IDLE).await?;
        while let Some(piece) = bytes.next().await? {
            object.write(piece).await?;
        }
        // Only now is it known to be whole.
        let verdict = bytes.finish().await?;
        Ok(verdict.record(&server.service, &look, what))
    }
}

fn task(what: What<'_>, format: Format) -> Task {
    let (database, name, role) = match what {
        What::Database(name) => (name.to_owned(), object_name(name), Role::Database),
        What::Globals => (String::new(), "globals".to_owned(), Role::Globals),
        What::Server => (String::new(), "server".to_owned(), Role::Database),
    };
    Task {
        database,
        object: format!("{name}.{}", format.ending()),
        role,
        compression: if format.is_compressed() {
            Compression::None
        } else {
            Compression::Zstd
        },
    }
}

/// A database's name as that of an object: letters, digits, `-`, `_` and `.` stay, other bytes become
/// `%` and two hexadecimal digits. What we name ourselves is none of a database's names.
fn object_name(database: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::new();
    for (at, byte) in database.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if plain || (byte == b'.' && at > 0) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if matches!(name.as_str(), "globals" | "server") {
        name.push('%');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::object_name;

    #[test]
    fn any_name_of_a_database_is_one_of_an_object() {
        for (database, object) in [
            ("shop", "shop"),
            ("My Shop", "My%20Shop"),
            ("../etc", "%2E.%2Fetc"),
            ("globals", "globals%"),
            ("café", "caf%C3%A9"),
            ("a%b", "a%25b"),
        ] {
            assert_eq!(object_name(database), object);
        }
    }
}
