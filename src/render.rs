//! From a minion and what the user set to the Compose project that shall run: strict templates,
//! where an undefined name is an error with its place. Pure: data in, data out.

mod context;
mod enrich;
pub mod lint;
mod names;
mod template;

use std::collections::BTreeMap;
use std::path::Path;

use crate::compose;
use crate::config::environment::{Environment, Instance};
use crate::minion::Minion;
use crate::minion::parameters::Parameters;
use crate::problem::{Problem, Problems};

pub use context::url;
pub use enrich::enrich;
pub use names::{Names, inside_name, main_service};

/// Where every declared database finds the folder of the pipes through which its dumps travel.
pub const PIPES: &str = "/run/summoner";

/// The template every minion has.
pub const TEMPLATE: &str = "compose.yml.j2";

/// What a minion is rendered from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The minion.
    pub minion: &'a Minion,
    /// The instance of it.
    pub instance: &'a Instance,
    /// The project it belongs to.
    pub environment: &'a Environment,
    /// Image tag of the main image.
    pub version: &'a str,
    /// Every parameter's value.
    pub parameters: &'a Parameters,
    /// Where the extra files will lie, absolute.
    pub files_dir: &'a Path,
}

/// A rendered minion.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The raw model: secrets are there as `${NAME}`. [`enrich`] adds what Summoner itself decides.
    pub project: compose::Project,
    /// Extra files by path below the folder given as `files_dir`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// A word for the user.
    pub notes: Option<String>,
    /// Where it answers; `None` when nothing is exposed.
    pub url: Option<String>,
    /// Image tag it was rendered with.
    pub version: String,
    /// The user's further environment as texts of the raw model: a secret is `${NAME}`, any other
    /// `$` is doubled.
    pub env: BTreeMap<String, String>,
}

/// Renders a minion: its template, its extra files and its notes.
pub fn render(input: &Input<'_>) -> Result<Rendered, Problems> {
    let mut problems = Problems::default();
    let project = problems.collect(project(input));
    let files = problems.collect(files(input));
    let notes = problems.collect(notes(input));
    let (Some(project), Some(files), Some(notes)) = (project, files, notes) else {
        return Err(sorted(problems));
    };
    problems.into_result(Rendered {
        project,
        files,
        notes,
        url: context::url(input.minion, input.instance, input.environment),
        version: input.version.to_owned(),
        env: input.parameters.env.clone(),
    })
}

/// The text of the template with everything but secrets put in, as `docker compose` could read it.
pub fn text(input: &Input<'_>) -> Result<String, Problems> {
    let file = input.minion.file(TEMPLATE);
    let template = template::Template {
        file: &file,
        path: "",
        source: &input.minion.template,
    };
    template.render(input, &context::Context::compose(input))
}

fn project(input: &Input<'_>) -> Result<compose::Project, Problems> {
    let text = text(input)?;
    let file = format!(
        "{} as rendered for `{}`",
        input.minion.file(TEMPLATE),
        input.instance.name
    );
    compose::Project::parse(&file, &text, None).map_err(|problems| quote_lines(problems, &text))
}

/// Nobody sees the rendered text when it is refused, so its line goes into the message. Secrets
/// are not in it.
fn quote_lines(problems: Problems, text: &str) -> Problems {
    let quoted = problems.0.into_iter().map(|mut problem| {
        let line = problem
            .position
            .and_then(|place| text.lines().nth(place.line - 1));
        if let Some(line) = line.map(str::trim).filter(|line| !line.is_empty()) {
            let line: String = line.chars().take(80).collect();
            problem.message = format!("{} (the line reads `{line}`)", problem.message);
        }
        problem
    });
    Problems(quoted.collect())
}

fn files(input: &Input<'_>) -> Result<BTreeMap<String, Vec<u8>>, Problems> {
    let mut problems = Problems::default();
    let mut files = BTreeMap::new();
    let context = context::Context::plain(input);
    for (name, content) in &input.minion.files {
        let Some(target) = name.strip_suffix(".j2") else {
            files.insert(name.clone(), content.clone());
            continue;
        };
        let file = input.minion.file(&format!("files/{name}"));
        let Ok(source) = std::str::from_utf8(content) else {
            problems.push(
                Problem::new(file, "a template must be UTF-8 text")
                    .hint("take the ending `.j2` off its name"),
            );
            continue;
        };
        let template = template::Template {
            file: &file,
            path: "",
            source,
        };
        if let Some(text) = problems.collect(template.render(input, &context)) {
            files.insert(target.to_owned(), text.into_bytes());
        }
    }
    problems.into_result(files)
}

fn notes(input: &Input<'_>) -> Result<Option<String>, Problems> {
    let Some(source) = &input.minion.manifest.notes else {
        return Ok(None);
    };
    let file = input.minion.file("minion.yml");
    let template = template::Template {
        file: &file,
        path: "notes",
        source,
    };
    template
        .render(input, &context::Context::plain(input))
        .map(Some)
}

fn sorted(mut problems: Problems) -> Problems {
    problems.0.sort();
    problems.0.dedup();
    problems
}
