//! CPU time, parentage and memory of processes, from `/proc`.
//!
//! Everything here is `None` where the system does not tell (another machine, no Linux): the report then says "n/a".

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

/// Linux counts CPU time in hundredths of a second, on every architecture (`getconf CLK_TCK`).
const TICK: Duration = Duration::from_millis(10);

/// What `/proc/<pid>/stat` says of a process.
struct Stat {
    name: String,
    parent: u32,
    /// User and system time of its own.
    own_ticks: u32,
    /// User and system time of children that ended and were collected.
    collected_ticks: u32,
}

/// CPU time of this process alone, user and system.
pub(crate) fn own() -> Option<Duration> {
    Some(TICK * stat(std::process::id())?.own_ticks)
}

/// CPU time of children of this process that have ended and were collected.
pub(crate) fn collected_children() -> Option<Duration> {
    Some(TICK * stat(std::process::id())?.collected_ticks)
}

/// CPU time of a process without its children.
pub(crate) fn of_process(pid: u32) -> Option<Duration> {
    Some(TICK * stat(pid)?.own_ticks)
}

/// CPU time of a process and everything below it, also of what has ended there.
pub(crate) fn of_tree(root: u32) -> Option<Duration> {
    let all = every_process()?;
    let below = descendants(&all, root);
    let ticks = below.iter().filter_map(|pid| all.get(pid)).map(|stat| stat.own_ticks + stat.collected_ticks);
    Some(TICK * ticks.sum())
}

/// CPU time of the whole machine, of all its cores together, in which anything ran.
pub(crate) fn of_machine() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u32> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    // user, nice, system; then idle, iowait; irq and softirq; what follows is counted in these or not ours.
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some(TICK * (user + nice + system + irq + softirq))
}

/// The process that started this one.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    Some(stat(pid)?.parent)
}

/// A process of this name below `root`.
pub(crate) fn find_below(root: u32, name: &str) -> Option<u32> {
    let all = every_process()?;
    descendants(&all, root).into_iter().find(|pid| all.get(pid).is_some_and(|stat| stat.name == name))
}

/// Resident memory of a process in KiB: now, and the most there ever was.
pub(crate) fn memory_kib(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any character, so the fields are counted from the last one.
    let (head, tail) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let ticks = |first: usize| -> Option<u32> {
        Some(fields.get(first)?.parse::<u32>().ok()? + fields.get(first + 1)?.parse::<u32>().ok()?)
    };
    Some(Stat { name, parent: fields.get(1)?.parse().ok()?, own_ticks: ticks(11)?, collected_ticks: ticks(13)? })
}

fn every_process() -> Option<HashMap<u32, Stat>> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Some(pids.filter_map(|pid| Some((pid, stat(pid)?))).collect())
}

/// `root` and everything below it.
fn descendants(all: &HashMap<u32, Stat>, root: u32) -> HashSet<u32> {
    let mut found = HashSet::from([root]);
    loop {
        let below = |(pid, stat): (&u32, &Stat)| (found.contains(&stat.parent) && !found.contains(pid)).then_some(*pid);
        let more: Vec<u32> = all.iter().filter_map(below).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}
