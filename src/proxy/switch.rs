//! From files to a running proxy: write, test, switch, reload, and wait for the receipt.
//!
//! Killed at any point, the next [`apply`] succeeds: until `current` is switched nothing has
//! happened, and afterwards the running nginx is asked what it serves, not what we remember.

use std::time::Duration;

use async_trait::async_trait;

use super::control::Live;
use super::generation::Generations;
use super::nginx::{self, Files};
use super::paths;
use crate::files::FileError;

/// Generations kept for a look back.
const KEEP: usize = 5;
/// Between two questions for the receipt; a reload takes about 150 ms.
const PAUSE: Duration = Duration::from_millis(20);
/// Right answers in a row that make a receipt. nginx starts the new workers about 100 ms before it
/// dismisses the old ones, and until then any of them may take the question: one right answer was
/// seen to be followed by a wrong one.
const IN_A_ROW: u32 = 10;

/// What the switch does to the running nginx. Tests and the engine's side implement it.
#[async_trait]
pub trait ProxyEffects: Send + Sync {
    /// Runs `nginx -t -c <config>` in the container; what it printed when it refuses.
    async fn test(&self, config: &str) -> Result<(), String>;
    /// Sends HUP to the container.
    async fn reload(&self) -> Result<(), String>;
    /// What nginx serves at this moment: [`super::control::live`] on the run folder.
    async fn live(&self) -> Option<Live>;
}

/// What [`apply`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This generation runs already: nothing was touched.
    Unchanged(u64),
    /// The files were there, nginx had not read them: an earlier run was interrupted.
    Reloaded(u64),
    /// This generation is new and runs.
    Switched(u64),
}

/// Why the proxy does not run the new files.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// nginx refuses the candidate. What ran before goes on.
    #[error("nginx refuses the new configuration{}: {reason}", of_site(.site.as_deref()))]
    Refused {
        /// The site whose file or certificate is at fault, if it is one.
        site: Option<String>,
        /// nginx's own words.
        reason: String,
    },
    /// The signal did not reach nginx. `current` points again at what ran before.
    #[error("failed to reload the proxy: {0}")]
    Reload(String),
    /// nginx did not take over the new files in time. `current` points again at what ran before.
    #[error("the proxy did not take over generation {number} within {} s (it serves {})", .waited.as_secs_f32(), serves(.live.as_ref()))]
    NoReceipt {
        /// The generation waited for.
        number: u64,
        /// What nginx answered at last.
        live: Option<Live>,
        /// How long.
        waited: Duration,
    },
}

fn of_site(site: Option<&str>) -> String {
    site.map(|site| format!(" of site `{site}`"))
        .unwrap_or_default()
}

fn serves(live: Option<&Live>) -> String {
    live.map_or("nothing".to_owned(), |live| {
        format!("generation {}", live.number)
    })
}

/// Makes the running nginx serve `files`. `patience` bounds the wait for the receipt.
pub async fn apply(
    generations: &Generations,
    files: &Files,
    effects: &dyn ProxyEffects,
    patience: Duration,
) -> Result<Outcome, ProxyError> {
    let hash = nginx::content_hash(files);
    let current = generations.current()?;
    if let Some((number, _)) = current.as_ref().filter(|(_, old)| *old == hash) {
        let wanted = Live {
            number: *number,
            hash,
        };
        if effects.live().await.as_ref() == Some(&wanted) {
            return Ok(Outcome::Unchanged(wanted.number));
        }
        test(effects, wanted.number).await?;
        effects.reload().await.map_err(ProxyError::Reload)?;
        receipt(effects, &wanted, patience).await?;
        return Ok(Outcome::Reloaded(wanted.number));
    }

    let number = generations.write(files)?;
    if let Err(refused) = test(effects, number).await {
        // It never ran and never will; its number may be given again.
        generations.remove(number)?;
        return Err(refused);
    }
    generations.switch(number)?;
    let wanted = Live { number, hash };
    let taken = match effects.reload().await {
        Ok(()) => receipt(effects, &wanted, patience).await,
        Err(reason) => Err(ProxyError::Reload(reason)),
    };
    if let Err(error) = taken {
        generations.rollback(current.map(|(number, _)| number))?;
        // nginx may still be on its way to the new files. The first error is the one to tell, and
        // if this signal is lost too, the next run finds that what is live is not what is current.
        let _ = effects.reload().await;
        return Err(error);
    }
    // What is left lying is swept by a later run; this one has done its work.
    let _ = generations.prune(KEEP);
    Ok(Outcome::Switched(number))
}

/// Makes `files` the current generation for an nginx that does not run yet; its number and hash.
/// The caller starts nginx, then waits for [`receipt`].
pub fn prepare(generations: &Generations, files: &Files) -> Result<Live, FileError> {
    let hash = nginx::content_hash(files);
    if let Some((number, _)) = generations.current()?.filter(|(_, old)| *old == hash) {
        return Ok(Live { number, hash });
    }
    let number = generations.write(files)?;
    generations.switch(number)?;
    generations.prune(KEEP)?;
    Ok(Live { number, hash })
}

/// Waits until nginx serves `wanted`, with all of its workers.
pub async fn receipt(
    effects: &dyn ProxyEffects,
    wanted: &Live,
    patience: Duration,
) -> Result<(), ProxyError> {
    let deadline = tokio::time::Instant::now() + patience;
    let mut right = 0;
    loop {
        let live = effects.live().await;
        right = if live.as_ref() == Some(wanted) {
            right + 1
        } else {
            0
        };
        if right == IN_A_ROW {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(ProxyError::NoReceipt {
                number: wanted.number,
                live,
                waited: patience,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn test(effects: &dyn ProxyEffects, number: u64) -> Result<(), ProxyError> {
    effects
        .test(&Generations::config_path(number))
        .await
        .map_err(|output| refusal(&output))
}

/// Finds in nginx's words which site is at fault: by its file, or by its certificate.
pub fn refusal(output: &str) -> ProxyError {
    let line = output
        .lines()
        .find(|line| line.contains("[emerg]") || line.contains("[crit]"));
    let reason = line
        .or_else(|| output.lines().find(|line| !line.trim().is_empty()))
        .unwrap_or("it gives no reason");
    // Without the time and the process it was said by.
    let reason = reason.split_once("] ").map_or(reason, |(_, words)| words);
    let reason = match reason.split_once(": ") {
        Some((process, words)) if process.bytes().all(|b| b.is_ascii_digit() || b == b'#') => words,
        _ => reason,
    };
    let reason = reason.trim().to_owned();
    let certificates = format!("{}/", paths::CERTIFICATES);
    let file = between(&reason, "/sites/", ".conf:");
    let site = file
        .or_else(|| between(&reason, &certificates, "/"))
        .map(str::to_owned);
    ProxyError::Refused { site, reason }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}
