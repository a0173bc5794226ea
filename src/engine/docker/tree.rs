//! The end of a command that nobody waits for any more: the engine has no call for it.
//!
//! Leaves go first. A child whose parent is killed before it becomes a child of the container's
//! first process, and a `PostgreSQL` there that buries a stranger with an odd exit code restarts
//! all its backends ("crash recovery").

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// How long the tree may take to end leaf by leaf, with each signal.
const GRACE: Duration = Duration::from_secs(3);

/// A process of this machine, told from a later one of the same number by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pid: Pid,
    /// Clock ticks after the boot.
    started: u64,
}

/// What `/proc/<pid>/stat` tells.
struct Stat {
    process: Process,
    parent: i32,
    zombie: bool,
}

impl Process {
    /// The process of this number, if it belongs to the container. The engine's numbers mean
    /// something else where we do not share its process namespace: then there is none.
    pub(super) fn in_container(pid: i64, container: &str) -> Option<Self> {
        let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
        let pid = Pid::from_raw(pid)?;
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).ok()?;
        if container.is_empty() || !groups.contains(container) {
            return None;
        }
        stat(pid.as_raw_nonzero().get()).map(|stat| stat.process)
    }

    /// Its number inside its container.
    fn number_inside(self) -> Option<String> {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let status = fs::read_to_string(path).ok()?;
        let line = status.lines().find(|l| l.starts_with("NSpid:"))?;
        line.split_whitespace().last().map(str::to_owned)
    }
}

/// Asks the leaves of the tree to end, at once: whoever then closes their input must not be taken
/// for one who says that it was whole. Whether we may: only root and the same user may.
pub(super) fn ask_leaves(root: Process) -> bool {
    let mut tree = Tree::new(root);
    let allowed = |process: &Process| test_kill_process(process.pid) != Err(Errno::PERM);
    let may = tree.look().iter().all(allowed);
    if may {
        tree.tell_leaves(Signal::TERM, &mut Vec::new());
    }
    may
}

/// Ends the tree: leaf by leaf with SIGTERM, then with SIGKILL, and what grows again in spite of
/// that (a loop in a shell) all at once. Blocks for a few seconds at most.
pub(super) fn end(root: Process) {
    let mut tree = Tree::new(root);
    for signal in [Signal::TERM, Signal::KILL] {
        let mut told = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < GRACE {
            if !tree.tell_leaves(signal, &mut told) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    // Held still first: a parent that is killed right after a fork takes its child out of sight.
    let mut held = Vec::new();
    for _ in 0..100 {
        tree.look();
        if tree.known.iter().all(|process| held.contains(process)) {
            break;
        }
        tell(Signal::STOP, &tree.known, &mut held);
    }
    tell(Signal::KILL, &tree.known, &mut Vec::new());
    // A busy machine takes a moment.
    let begin = Instant::now();
    while !tree.known.is_empty() && begin.elapsed() < GRACE {
        thread::sleep(Duration::from_millis(10));
        tree.look();
    }
}

/// Sends a signal to those that have not had it yet.
fn tell(signal: Signal, processes: &[Process], told: &mut Vec<Process>) {
    for process in processes {
        if !told.contains(process) {
            // It may have ended at this very moment.
            let _ = kill_process(process.pid, signal);
            told.push(*process);
        }
    }
}

/// Numbers inside the container of the leaves, for a `kill` that is run there.
pub(super) fn leaves_inside(root: Process) -> Vec<String> {
    let leaves = Tree::new(root).look();
    leaves
        .into_iter()
        .filter_map(Process::number_inside)
        .collect()
}

/// A tree of processes that is followed while it ends: orphans are not lost from sight.
struct Tree {
    known: Vec<Process>,
}

impl Tree {
    fn new(root: Process) -> Self {
        Self { known: vec![root] }
    }

    /// Signals the leaves that have not had the signal yet; false when nothing lives any more. Each is
    /// held still and looked at again first: one that has just forked is no leaf, and its child would
    /// be out of sight without it.
    fn tell_leaves(&mut self, signal: Signal, told: &mut Vec<Process>) -> bool {
        let mut leaves = self.look();
        if self.known.is_empty() {
            return false;
        }
        leaves.retain(|leaf| !told.contains(leaf));
        tell(Signal::STOP, &leaves, &mut Vec::new());
        let still = self.look();
        let ripe: Vec<Process> = leaves
            .iter()
            .filter(|leaf| still.contains(leaf))
            .copied()
            .collect();
        tell(signal, &ripe, told);
        tell(Signal::CONT, &leaves, &mut Vec::new());
        true
    }

    /// What still lives of it and has no child. One that is dead and not buried counts as a child: with
    /// its parent gone, the container's first process would bury it.
    fn look(&mut self) -> Vec<Process> {
        let all: Vec<Stat> = pids().filter_map(stat).collect();
        self.known
            .retain(|known| all.iter().any(|s| s.process == *known && !s.zombie));
        let mut next = 0;
        let mut parents = Vec::new();
        while let Some(&process) = self.known.get(next) {
            next += 1;
            let number = process.pid.as_raw_nonzero().get();
            for child in all.iter().filter(|s| s.parent == number) {
                parents.push(process);
                if !child.zombie && !self.known.contains(&child.process) {
                    self.known.push(child.process);
                }
            }
        }
        let leaf = |process: &&Process| !parents.contains(process);
        self.known.iter().filter(leaf).copied().collect()
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `123 (name) S 1 …`: the name may hold anything, a closing bracket too. Field 22 is the start.
fn parse(pid: i32, text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        process: Process {
            pid: Pid::from_raw(pid)?,
            started: fields.get(19)?.parse().ok()?,
        },
        parent: fields.get(1)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    fn process(pid: u32) -> Process {
        stat(i32::try_from(pid).unwrap()).unwrap().process
    }

    #[test]
    fn a_name_with_brackets_hides_nothing() {
        let text = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 0 0";
        let stat = parse(42, text).unwrap();
        assert_eq!((stat.parent, stat.zombie), (7, false));
        assert_eq!(stat.process.started, 98765);
    }

    #[test]
    fn a_process_elsewhere_is_never_taken_for_one_of_the_container() {
        let own = i64::from(std::process::id());
        assert_eq!(Process::in_container(own, &"0a".repeat(32)), None);
        assert_eq!(Process::in_container(own, ""), None);
        assert_eq!(Process::in_container(0, "/"), None);
        assert_eq!(Process::in_container(-5, "/"), None);
        assert_eq!(Process::in_container(i64::MAX, "/"), None);
    }

    /// A shell whose child ignores SIGTERM and starts another child whenever one ends.
    #[test]
    fn a_tree_ends_from_its_leaves_and_the_stubborn_too() {
        let script = "sh -c 'trap \"\" TERM; sleep 300 & echo $!; while :; do sleep 301; done' & echo $!; wait";
        let mut root = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(root.stdout.take().unwrap()).lines();
        let children: Vec<Process> = lines
            .take(2)
            .map(|line| process(line.unwrap().parse().unwrap()))
            .collect();
        // Somebody has to bury the root, as the engine does.
        let tree = process(root.id());
        let waiter = thread::spawn(move || root.wait());
        end(tree);
        waiter.join().unwrap().unwrap();
        for child in children {
            let now = stat(child.pid.as_raw_nonzero().get());
            assert!(
                now.is_none_or(|now| now.process != child || now.zombie),
                "{child:?}"
            );
        }
    }
}
