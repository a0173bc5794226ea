//! The fake behaves as the real engine does.

#[macro_use]
mod engine_conformance;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};

use engine_conformance::{Lab, Role};
use summoner::engine::fake::FakeEngine;
use summoner::engine::{ContainerSpec, Engine, EngineError, ExecOutput};

struct FakeLab {
    fake: FakeEngine,
    subnets: AtomicU8,
}

impl FakeLab {
    fn new() -> Self {
        let fake = FakeEngine::new();
        fake.image("sleeps:1");
        fake.image("healthy:1").slow(1).healthy();
        fake.image("unhealthy:1").slow(1).unhealthy();
        fake.image("ends:1").dies(7).logs(&["one", "two", "three"]);
        fake.on_exec(|_, spec| match spec.command[0].as_str() {
            "sh" => Ok(ExecOutput {
                code: 3,
                stdout: format!("out {}\n", spec.environment["WORD"]).into(),
                stderr: "err\n".into(),
            }),
            name => Err(EngineError::NotFound {
                kind: "command",
                name: name.into(),
            }),
        });
        Self {
            fake,
            subnets: AtomicU8::new(0),
        }
    }
}

impl Lab for FakeLab {
    fn engine(&self) -> &dyn Engine {
        &self.fake
    }

    fn name(&self, base: &str) -> String {
        base.to_owned()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("io.summoner.test".into(), "fake".into())])
    }

    fn spec(&self, role: Role) -> ContainerSpec {
        let image = match role {
            Role::Sleeps => "sleeps:1",
            Role::BecomesHealthy => "healthy:1",
            Role::BecomesUnhealthy => "unhealthy:1",
            Role::WritesAndEnds => "ends:1",
        };
        ContainerSpec {
            image: image.into(),
            ..Default::default()
        }
    }

    fn missing_image(&self) -> String {
        "nowhere:1".into()
    }

    fn taken_port(&self) -> (u16, Box<dyn Send>) {
        struct Taken(FakeEngine, u16);
        impl Drop for Taken {
            fn drop(&mut self) {
                self.0.free_port(self.1);
            }
        }
        self.fake.take_port(8080);
        (8080, Box::new(Taken(self.fake.clone(), 8080)))
    }

    fn subnet(&self) -> String {
        let number = self.subnets.fetch_add(1, Ordering::Relaxed);
        format!("10.99.{number}.0/26")
    }
}

conformance!(FakeLab::new());
