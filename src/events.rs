//! What is going on, told to whoever listens. `report` draws it; tests record it.

/// Something that happened while a plan was executed or prepared.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An operation began. `target` is `wordpress/app`, `action` a verb such as `create`.
    Started {
        /// What is worked on.
        target: String,
        /// The verb.
        action: String,
    },
    /// An operation ended well.
    Finished {
        /// What was worked on.
        target: String,
        /// The verb.
        action: String,
    },
    /// An operation failed; `message` is what to tell.
    Failed {
        /// What was worked on.
        target: String,
        /// Why, with what to type next.
        message: String,
    },
    /// Bytes of an image pull, summed over its layers. Totals grow while layers become known.
    Pull {
        /// Image reference.
        image: String,
        /// Bytes so far.
        done: u64,
        /// Bytes known of.
        total: u64,
    },
    /// Bytes of something that moves data: a dump, an upload, a restore. `total` where it is known.
    Bytes {
        /// What is worked on: `wordpress/db/wordpress`.
        target: String,
        /// Bytes so far, before compression.
        done: u64,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// A container is being waited for; `state` is `starting`, `healthy`, ….
    Waiting {
        /// What is waited for.
        target: String,
        /// Its state now.
        state: String,
    },
    /// A plain remark.
    Note(String),
    /// Something the user should know of.
    Warning(String),
}

/// Receives events; must not block for long.
pub trait Events: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// Listens to nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Events for Silent {
    fn event(&self, _: Event) {}
}
