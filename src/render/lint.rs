//! Whether a minion keeps the rules of the house (`summoner minion lint`).
//!
//! It is rendered with its defaults, with every choice, switch and optional parameter both ways,
//! and with texts that break careless templates; what comes out is held against the rules.

mod argv;
mod quoting;
mod rules;
mod samples;

use std::collections::BTreeSet;
use std::path::Path;

use super::template::Template;
use super::{Input, Rendered, TEMPLATE, render};
use crate::config::{self, Environment, Lookup};
use crate::minion::Minion;
use crate::minion::manifest::ParameterKind;
use crate::minion::parameters::Parameters;
use crate::problem::{Problem, Problems};

/// Where the extra files of a sample lie.
const FILES: &str = "/project/.summoner/build/sample/files";

/// Every rule the minion breaks; none is as it should be.
#[must_use]
pub fn lint(minion: &Minion) -> Vec<Problem> {
    let sample = match Sample::new(minion) {
        Ok(sample) => sample,
        Err(problems) => return problems.0,
    };
    let mut problems = Vec::new();
    let mut rendered = Vec::new();
    let mut failures = BTreeSet::new();
    for (what, parameters) in samples::variants(&minion.manifest) {
        match sample.render(&parameters) {
            Ok(one) => rendered.push(one),
            // What fails at one place mostly fails with every sample; the first is enough to say.
            Err(told) => {
                let new = told
                    .0
                    .into_iter()
                    .filter(|p| failures.insert((p.file.clone(), p.position, p.path.clone())));
                problems.extend(new.map(|problem| with(problem, &what)));
            }
        }
    }
    for one in &rendered {
        problems.extend(rules::each(minion, &one.project, &sample.environment));
    }
    if !rendered.is_empty() {
        problems.extend(rules::together(minion, &rendered, &sample.environment));
        problems.extend(quoting::check(minion, &sample));
    }
    problems.extend(parameters_used(minion));
    problems.sort();
    problems.dedup();
    problems
}

/// A project with one instance of the minion.
struct Sample<'a> {
    minion: &'a Minion,
    environment: Environment,
}

impl<'a> Sample<'a> {
    fn new(minion: &'a Minion) -> Result<Self, Problems> {
        let name = &minion.manifest.name;
        let text = format!(
            "summoner: {{domain: example.org, name: sample, vsroot: /vsroot, dbsroot: /dbsroot}}\n\
             minions: {{sample: {{use: {name}}}}}\n"
        );
        let environment = config::parse(
            Path::new("/project/config.yml"),
            &text,
            &[name],
            &Lookup::fixed("/", &[]),
        )?;
        Ok(Self {
            minion,
            environment,
        })
    }

    fn render(&self, parameters: &Parameters) -> Result<Rendered, Problems> {
        render(&Input {
            minion: self.minion,
            instance: &self.environment.instances[0],
            environment: &self.environment,
            version: &self.minion.manifest.version,
            parameters,
            files_dir: Path::new(FILES),
        })
    }
}

/// A problem with the sample it was met at.
fn with(mut problem: Problem, what: &str) -> Problem {
    if !what.is_empty() {
        problem.message = format!("with {what}: {}", problem.message);
    }
    problem
}

/// Declared and never asked for: a typo, or a setting that does nothing.
fn parameters_used(minion: &Minion) -> Vec<Problem> {
    let mut used = names(minion, TEMPLATE, &minion.template);
    for (file, content) in minion
        .files
        .iter()
        .filter(|(file, _)| file.strip_suffix(".j2").is_some())
    {
        used.extend(names(minion, file, &String::from_utf8_lossy(content)));
    }
    used.extend(names(
        minion,
        "minion.yml",
        minion.manifest.notes.as_deref().unwrap_or_default(),
    ));
    let parameters = minion.manifest.parameters.iter();
    let unused = parameters
        .clone()
        .filter(|(name, _)| !used.contains(*name))
        .map(|(name, _)| {
            Problem::new(minion.file("minion.yml"), "no template uses this parameter")
                .at(None, format!("parameters.{name}"))
                .hint("use it, or take it out")
        });
    let plain = parameters
        .filter(|(_, parameter)| {
            matches!(parameter.kind, ParameterKind::Secret { .. }) && parameter.default.is_some()
        })
        .map(|(name, _)| {
            Problem::new(
                minion.file("minion.yml"),
                "a secret with a default is known to everybody",
            )
            .at(None, format!("parameters.{name}.default"))
            .hint("take the default out: one is made")
        });
    let mut problems: Vec<Problem> = unused.chain(plain).collect();
    if !used.contains("version") {
        problems.push(
            Problem::new(
                minion.file(TEMPLATE),
                "no image follows the version of the minion",
            )
            .hint("write `image: name:{{ version }}`"),
        );
    }
    problems
}

fn names(minion: &Minion, file: &str, source: &str) -> BTreeSet<String> {
    Template {
        file: &minion.file(file),
        path: "",
        source,
    }
    .names()
}
