//! A destination in memory, for tests: it keeps every promise of the trait, until it is told to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::exact::Exact;
use super::{Object, Probe, Reading, Storage, StorageError, Upload, key, probe};

/// A destination in memory. Clones share their content.
///
/// Calls are counted from 1: every call of a method of [`Storage`] and [`Upload`] is one
/// (a `put` is one call, not three).
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Bytes>,
    /// Uploads that nobody sees yet: when they were begun, and what they hold.
    under_way: BTreeMap<u64, (Timestamp, BytesMut)>,
    calls: u64,
    fail_at: Option<u64>,
    lose_answer_at: Option<u64>,
    die_at: Option<u64>,
    room: Option<u64>,
    unreachable: bool,
    missing: bool,
    refuse_deletes: bool,
}

/// What becomes of a call.
enum Fate {
    Works,
    /// It has its effect, and the caller hears of a failure.
    AnswerLost,
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The `n`th call from now fails without an effect; those after it work.
    pub fn fail_at(&self, n: u64) {
        let mut state = self.state();
        state.fail_at = Some(state.calls + n);
    }

    /// The `n`th call from now has its effect, but its caller is told that the connection broke.
    pub fn lose_answer_at(&self, n: u64) {
        let mut state = self.state();
        state.lose_answer_at = Some(state.calls + n);
    }

    /// As if our process were killed at the `n`th call from now: it and all later ones, also those
    /// that would clean up, have no effect. [`Self::revive`] begins the next process.
    pub fn die_at(&self, n: u64) {
        let mut state = self.state();
        state.die_at = Some(state.calls + n);
    }

    /// Ends [`Self::die_at`]; what was under way stays as litter for [`Storage::sweep`].
    pub fn revive(&self) {
        self.state().die_at = None;
    }

    /// Whether [`Self::die_at`] has come true.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let state = self.state();
        state.die_at.is_some_and(|at| state.calls >= at)
    }

    /// Room for so many bytes, those under way included.
    pub fn room(&self, bytes: u64) {
        self.state().room = Some(bytes);
    }

    /// Nothing answers, until `false`.
    pub fn unreachable(&self, unreachable: bool) {
        self.state().unreachable = unreachable;
    }

    /// The destination itself is not there, until `false`.
    pub fn missing(&self, missing: bool) {
        self.state().missing = missing;
    }

    /// Deletes give [`StorageError::Held`], until `false`.
    pub fn refuse_deletes(&self, refuse: bool) {
        self.state().refuse_deletes = refuse;
    }

    /// How many calls there have been.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many uploads are neither finished nor taken back.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.state().under_way.len()
    }

    /// All that is visible.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.state().objects.clone()
    }

    /// Puts an object there behind the trait's back, whatever was there: damage, for tests.
    pub fn tamper(&self, key: &str, content: impl Into<Bytes>) {
        self.state().objects.insert(key.to_owned(), content.into());
    }

    /// Takes an object away behind the trait's back.
    pub fn lose(&self, key: &str) {
        self.state().objects.remove(key);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

const PLACE: &str = "memory";

impl State {
    fn call(&mut self) -> Result<Fate, StorageError> {
        self.calls += 1;
        let now = self.calls;
        if self.die_at.is_some_and(|at| now >= at) {
            return Err(unreachable("killed, as the test asked"));
        }
        if self.missing {
            return Err(StorageError::NoDestination {
                place: PLACE.to_owned(),
                reason: "missing, as the test asked".to_owned(),
            });
        }
        if self.unreachable || self.fail_at == Some(now) {
            return Err(unreachable("failed, as the test asked"));
        }
        if self.lose_answer_at == Some(now) {
            return Ok(Fate::AnswerLost);
        }
        Ok(Fate::Works)
    }

    fn take(&self, more: u64) -> Result<(), StorageError> {
        let held = self.objects.values().map(Bytes::len).sum::<usize>()
            + self.under_way.values().map(|(_, b)| b.len()).sum::<usize>();
        match self.room {
            Some(room) if held as u64 + more > room => Err(StorageError::Full {
                place: PLACE.to_owned(),
                reason: format!("room for {room} bytes, as the test asked"),
            }),
            _ => Ok(()),
        }
    }
}

impl Fate {
    fn answer<T>(self, value: T) -> Result<T, StorageError> {
        match self {
            Self::Works => Ok(value),
            Self::AnswerLost => Err(unreachable("the answer was lost, as the test asked")),
        }
    }
}

fn unreachable(reason: &str) -> StorageError {
    StorageError::Unreachable {
        place: PLACE.to_owned(),
        reason: reason.to_owned(),
    }
}

#[async_trait]
impl Storage for Memory {
    fn place(&self) -> String {
        PLACE.to_owned()
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>, StorageError> {
        key::check(PLACE, key)?;
        let mut state = self.state();
        let fate = state.call()?;
        if state.objects.contains_key(key) {
            return Err(StorageError::Exists(key.to_owned()));
        }
        let id = state.calls;
        state
            .under_way
            .insert(id, (Timestamp::now(), BytesMut::new()));
        fate.answer(())?;
        Ok(Box::new(Under {
            memory: self.clone(),
            key: key.to_owned(),
            id,
            open: true,
        }))
    }

    async fn put(&self, key: &str, content: Bytes) -> Result<(), StorageError> {
        key::check(PLACE, key)?;
        let mut state = self.state();
        let fate = state.call()?;
        if state.objects.contains_key(key) {
            return Err(StorageError::Exists(key.to_owned()));
        }
        state.take(content.len() as u64)?;
        state.objects.insert(key.to_owned(), content);
        fate.answer(())
    }

    async fn read(&self, key: &str) -> Result<Reading, StorageError> {
        key::check(PLACE, key)?;
        let mut state = self.state();
        let fate = state.call()?;
        let found = state.objects.get(key).cloned();
        let content = found.ok_or_else(|| StorageError::Missing(key.to_owned()))?;
        let length = content.len() as u64;
        let reading: Reading = match fate {
            Fate::Works => Box::new(Exact::new(std::io::Cursor::new(content), key, length)),
            // The connection breaks half-way.
            Fate::AnswerLost => {
                let half = content.slice(..content.len() / 2);
                Box::new(Exact::new(std::io::Cursor::new(half), key, length))
            }
        };
        Ok(reading)
    }

    async fn stat(&self, key: &str) -> Result<Option<u64>, StorageError> {
        key::check(PLACE, key)?;
        let mut state = self.state();
        let fate = state.call()?;
        let size = state.objects.get(key).map(|o| o.len() as u64);
        fate.answer(size)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StorageError> {
        key::check_prefix(PLACE, prefix)?;
        let mut state = self.state();
        let fate = state.call()?;
        let found = state
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, content)| Object {
                key: key.clone(),
                size: content.len() as u64,
            })
            .collect();
        fate.answer(found)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        key::check(PLACE, key)?;
        let mut state = self.state();
        let fate = state.call()?;
        if state.refuse_deletes && state.objects.contains_key(key) {
            return Err(StorageError::Held {
                key: key.to_owned(),
                reason: "deletes are refused, as the test asked".to_owned(),
            });
        }
        state.objects.remove(key);
        fate.answer(())
    }

    async fn sweep(&self, before: Timestamp) -> Result<usize, StorageError> {
        let mut state = self.state();
        let fate = state.call()?;
        let count = state.under_way.len();
        state.under_way.retain(|_, (begun, _)| *begun >= before);
        let swept = count - state.under_way.len();
        fate.answer(swept)
    }

    async fn probe(&self, now: Timestamp) -> Vec<Probe> {
        probe::basics(self, now).await
    }
}

/// An upload under way.
struct Under {
    memory: Memory,
    key: String,
    id: u64,
    open: bool,
}

#[async_trait]
impl Upload for Under {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        let mut state = self.memory.state();
        let fate = state.call()?;
        state.take(chunk.len() as u64)?;
        let Some((_, bytes)) = state.under_way.get_mut(&self.id) else {
            return Err(unreachable("the upload was swept away"));
        };
        bytes.extend_from_slice(&chunk);
        fate.answer(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, StorageError> {
        let mut state = self.memory.state();
        let fate = state.call()?;
        if state.objects.contains_key(&self.key) {
            return Err(StorageError::Exists(self.key.clone()));
        }
        let Some((_, bytes)) = state.under_way.remove(&self.id) else {
            return Err(unreachable("the upload was swept away"));
        };
        let size = bytes.len() as u64;
        state.objects.insert(self.key.clone(), bytes.freeze());
        drop(state);
        self.open = false;
        fate.answer(size)
    }

    async fn abort(mut self: Box<Self>) {
        let mut state = self.memory.state();
        if state.call().is_ok() {
            state.under_way.remove(&self.id);
        }
        drop(state);
        self.open = false;
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        if self.open && !self.memory.is_dead() {
            self.memory.state().under_way.remove(&self.id);
        }
    }
}
