//! The images of the fake, and those of its registry.

use std::collections::BTreeMap;

use super::script::Script;
use super::world::{StoredImage, World};
use crate::engine::{EngineError, Image, with_tag};

impl World {
    pub(super) fn add_image(&mut self, reference: &str) {
        let id = format!("sha256:{:064x}", self.next());
        let image = self
            .images
            .entry(with_tag(reference))
            .or_insert_with(|| StoredImage {
                id,
                here: true,
                offered: false,
                script: Script::default(),
            });
        image.here = true;
    }

    pub(super) fn replace_image(&mut self, reference: &str) {
        self.add_image(reference);
        let id = format!("sha256:{:064x}", self.next());
        if let Some(image) = self.images.get_mut(&with_tag(reference)) {
            image.id = id;
        }
    }

    pub(super) fn move_to_registry(&mut self, reference: &str) {
        if let Some(image) = self.images.get_mut(&with_tag(reference)) {
            image.here = false;
        }
    }

    pub(super) fn offer(&mut self, reference: &str) {
        if let Some(image) = self.images.get_mut(&with_tag(reference)) {
            image.offered = true;
        }
    }

    /// What the registry has: what is only there, and what it offers beside the one that is here.
    pub(super) fn registry_digest(&self, reference: &str) -> Result<String, EngineError> {
        match self.images.get(&with_tag(reference)) {
            Some(image) if image.offered || !image.here => Ok(image.id.clone()),
            _ => Err(EngineError::Other {
                action: format!("ask a registry for the image `{reference}`"),
                reason: "no registry answers".to_owned(),
            }),
        }
    }

    pub(super) fn script(&mut self, reference: &str) -> &mut Script {
        self.add_image_unless_known(reference);
        &mut self
            .images
            .get_mut(&with_tag(reference))
            .expect("added above")
            .script
    }

    fn add_image_unless_known(&mut self, reference: &str) {
        if !self.images.contains_key(&with_tag(reference)) {
            self.add_image(reference);
        }
    }

    pub(super) fn images(&self) -> Vec<Image> {
        let mut images: BTreeMap<&str, Image> = BTreeMap::new();
        for (reference, image) in self.images.iter().filter(|(_, image)| image.here) {
            images
                .entry(&image.id)
                .or_insert_with(|| Image {
                    id: image.id.clone(),
                    tags: Vec::new(),
                    digests: Vec::new(),
                    labels: image.script.labels.clone(),
                })
                .tags
                .push(reference.clone());
        }
        images.into_values().collect()
    }

    pub(super) fn pull(&mut self, reference: &str) -> Result<(), EngineError> {
        let number = self.next();
        match self.images.get_mut(&with_tag(reference)) {
            Some(image) => {
                image.here = true;
                if std::mem::take(&mut image.offered) {
                    image.id = format!("sha256:{number:064x}");
                    image.script.labels.clear();
                }
                Ok(())
            }
            None => Err(EngineError::Pull {
                image: reference.to_owned(),
                reason: "the registry does not have it".to_owned(),
            }),
        }
    }
}
