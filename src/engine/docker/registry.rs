//! What a registry says about an image, asked through the engine, which knows proxies and mirrors.

use super::Docker;
use super::error::Subject;
use crate::engine::{EngineError, with_tag};

impl Docker {
    pub(super) async fn ask_registry(&self, image: &str) -> Result<String, EngineError> {
        let reference = with_tag(image);
        let subject = Subject::new("ask a registry for", "image", &reference);
        // Bollard does not escape the name, which becomes a part of a path here.
        let safe = |c: char| c.is_ascii_alphanumeric() || "_.-/:@".contains(c);
        if !reference.chars().all(safe)
            || reference.split('/').any(|p| matches!(p, "" | "." | ".."))
        {
            return Err(subject.failed("invalid reference"));
        }
        let credentials = self.registry_credentials(&reference).await;
        let client = self.url_safe_logins();
        let call = client.inspect_registry_image(&reference, credentials);
        let found = self.call(&subject, call).await?;
        // Where the registry tells for which machines it has it, ours must be among them.
        let machine = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let fits = |arch: Option<&str>| arch.is_none_or(|a| a.is_empty() || a == machine);
        let all = &found.platforms;
        if !all.is_empty() && !all.iter().any(|p| fits(p.architecture.as_deref())) {
            return Err(subject.failed(format!("the registry has none for {machine}")));
        }
        found
            .descriptor
            .digest
            .ok_or_else(|| subject.failed("the registry told no digest"))
    }
}
