//! Who waits for whom.

use std::collections::{BTreeMap, BTreeSet};

use super::{Condition, Project, Service};

impl Project {
    /// What `service` waits for, and until when; empty for an unknown service.
    pub fn dependencies(&self, service: &str) -> impl Iterator<Item = (&str, Condition)> {
        let service = self.services.get(service);
        service.into_iter().flat_map(|s| {
            s.depends_on
                .iter()
                .map(|(name, condition)| (name.as_str(), *condition))
        })
    }

    /// Services that wait for `service`.
    pub fn dependents<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a str> {
        let waits = move |(_, s): &(&String, &Service)| s.depends_on.contains_key(service);
        self.services
            .iter()
            .filter(waits)
            .map(|(name, _)| name.as_str())
    }

    /// Services in waves: those of one wave wait only for services of earlier ones, and may start
    /// together. Each wave is sorted by name. A circle is an error that lists it.
    pub fn start_order(&self) -> Result<Vec<Vec<&str>>, Vec<&str>> {
        let mut left: BTreeMap<&str, BTreeSet<&str>> = self
            .services
            .iter()
            .map(|(name, service)| {
                // An unknown one is told elsewhere, and nothing can wait for it.
                let known = service
                    .depends_on
                    .keys()
                    .filter(|d| self.services.contains_key(*d));
                (name.as_str(), known.map(String::as_str).collect())
            })
            .collect();
        let mut waves = Vec::new();
        while !left.is_empty() {
            let wave: Vec<&str> = left
                .iter()
                .filter(|(_, waits)| waits.is_empty())
                .map(|(name, _)| *name)
                .collect();
            if wave.is_empty() {
                return Err(circle(&left));
            }
            for name in &wave {
                left.remove(name);
            }
            for waits in left.values_mut() {
                waits.retain(|name| !wave.contains(name));
            }
            waves.push(wave);
        }
        Ok(waves)
    }
}

/// A circle among services each of which waits for another: following them must come back.
fn circle<'a>(left: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = left.keys().next().copied();
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            let mut circle = path.split_off(start);
            // Begin with the same service whatever way led into the circle.
            let first = circle
                .iter()
                .enumerate()
                .min_by_key(|(_, name)| **name)
                .map_or(0, |(i, _)| i);
            circle.rotate_left(first);
            return circle;
        }
        path.push(name);
        next = left.get(name).and_then(|waits| waits.first().copied());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(dependencies: &[(&str, &[&str])]) -> Project {
        let services = dependencies.iter().map(|(name, on)| {
            let depends_on = on
                .iter()
                .map(|on| ((*on).to_owned(), Condition::Healthy))
                .collect();
            (
                (*name).to_owned(),
                Service {
                    depends_on,
                    ..Service::default()
                },
            )
        });
        Project {
            services: services.collect(),
            ..Project::default()
        }
    }

    #[test]
    fn services_start_in_waves() {
        let p = project(&[
            ("app", &["db", "cache"]),
            ("db", &[]),
            ("cache", &["setup"]),
            ("setup", &[]),
            ("alone", &[]),
        ]);
        assert_eq!(
            p.start_order().unwrap(),
            [vec!["alone", "db", "setup"], vec!["cache"], vec!["app"]]
        );
        assert_eq!(
            p.dependencies("app").map(|d| d.0).collect::<Vec<_>>(),
            ["cache", "db"]
        );
        assert_eq!(p.dependents("db").collect::<Vec<_>>(), ["app"]);
    }

    #[test]
    fn a_circle_is_listed() {
        let p = project(&[("a", &["c"]), ("c", &["d"]), ("d", &["b"]), ("b", &["c"])]);
        assert_eq!(p.start_order().unwrap_err(), ["b", "c", "d"]);
        assert_eq!(project(&[("a", &["a"])]).start_order().unwrap_err(), ["a"]);
    }
}
