//! The sandbox of a process that parses models: it reaches no network, no file, no other process, and has no key.
//!
//! Used by the agent's engines, serving and on trial, and by the fleet's child that looks at uploads. Layers, each as far
//! as the kernel has it, each reported by name: resource limits, `no_new_privs`, landlock (no path can be opened, no TCP
//! port bound or connected), seccomp (an allow-list of system calls; everything else is EPERM). What the kernel lacks is
//! reported as `missing:...` and the process goes on: a device with an old kernel serves with less armour, and its
//! inventory says so.
//!
//! Landlock and seccomp bind the calling thread and those it starts: [`enter`] comes before any other thread exists, and
//! says so in its report when one does. An engine stays dumpable, because the supervisor reads its memory figures from
//! `/proc`; core files, which could hold inputs, are switched off instead.

#![cfg_attr(not(test), forbid(unsafe_code))]

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus, Ruleset,
};
use landlock::{RulesetAttr as _, RulesetStatus, Scope};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
mod ending;

pub use ending::{Cause, Ending, LastWords};

/// What a process may use. The kernel enforces it, and nothing inside can raise it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, bytes; none for no limit.
    pub memory: Option<Memory>,
    /// Processor time, seconds; none for a process that runs for months.
    pub cpu_s: Option<u64>,
    /// Descriptors.
    pub files: u64,
    /// How long a file may grow, bytes; none for a process whose log may be a file.
    pub file_bytes: Option<u64>,
}

/// How memory is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// All address space, also what is only reserved: for a process with few threads.
    AddressSpace(u64),
    /// What it can write and nobody shares (heap, stacks, anonymous maps): for a process with many threads, whose
    /// allocator reserves far more address space than it uses.
    Private(u64),
}

/// Applies every layer to the calling thread and its future threads; answers the names of those in force, and
/// `missing:<name> (<why>)` for the others. There is no way back.
#[must_use]
pub fn enter(limits: &Limits) -> Vec<String> {
    let mut report = Vec::new();
    let mut note = |name: &str, result: Result<String, String>| match result {
        Ok(name) => report.push(name),
        Err(why) => report.push(format!("missing:{name} ({why})")),
    };
    // Threads that run already would stay outside.
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    note("rlimits", limit(limits).map(|()| "rlimits".to_owned()));
    if let Some(Memory::AddressSpace(bytes) | Memory::Private(bytes)) = limits.memory {
        let inherited = match limits.memory {
            Some(Memory::AddressSpace(_)) => getrlimit(Resource::As),
            _ => getrlimit(Resource::Data),
        };
        match inherited.current {
            Some(now) if now <= bytes => note("memory-limit", Ok(format!("memory-limit-{}MiB", now >> 20))),
            _ => note("memory-limit", Err("not set".to_owned())),
        }
    }
    note("no_new_privs", no_new_privs());
    note("landlock", no_paths());
    note("seccomp", few_calls());
    if threads > 1 {
        note("whole_process", Err(format!("{threads} threads were running before")));
    }
    report
}

/// Only the limits, for a process that has something to read before it shuts itself in. [`enter`] sets them as well.
///
/// # Errors
/// Which of them the kernel refused.
pub fn limit(limits: &Limits) -> Result<(), String> {
    let mut wanted = vec![(Resource::Core, 0), (Resource::Nofile, limits.files)];
    match limits.memory {
        Some(Memory::AddressSpace(bytes)) => wanted.push((Resource::As, bytes)),
        Some(Memory::Private(bytes)) => wanted.push((Resource::Data, bytes)),
        None => {}
    }
    wanted.extend(limits.cpu_s.map(|s| (Resource::Cpu, s)));
    wanted.extend(limits.file_bytes.map(|b| (Resource::Fsize, b)));
    for (resource, value) in wanted {
        let maximum = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        // The first limit on processor time is a signal with a name, the second one only kills.
        let hard = if resource == Resource::Cpu { value.saturating_add(1) } else { value };
        let limit = Rlimit { current: Some(value.min(maximum)), maximum: Some(hard.min(maximum)) };
        setrlimit(resource, limit).map_err(|e| format!("{resource:?}: {e}"))?;
    }
    Ok(())
}

fn no_new_privs() -> Result<String, String> {
    rustix::thread::set_no_new_privs(true).map_err(|e| e.to_string())?;
    Ok("no_new_privs".to_owned())
}

fn no_paths() -> Result<String, String> {
    // The newest interface this code was tested with; older kernels take what they know of it.
    let abi = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|r| r.handle_access(AccessNet::from_all(abi)))
        .and_then(|r| r.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|e| e.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Err("not enabled at boot".to_owned()),
        (RulesetStatus::NotEnforced, _) => Err("not in this kernel".to_owned()),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Ok(format!("landlock-v{}", (effective_abi as i32).min(abi as i32)))
        }
        (_, _) => Ok("landlock".to_owned()),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn few_calls() -> Result<String, String> {
    for program in calls::programs().map_err(|e| e.to_string())? {
        seccompiler::apply_filter(&program).map_err(|e| match e {
            seccompiler::Error::Seccomp(e) | seccompiler::Error::Prctl(e) => e.to_string(),
            other => other.to_string(),
        })?;
    }
    Ok("seccomp".to_owned())
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn few_calls() -> Result<String, String> {
    Err(format!("no filter for {}", std::env::consts::ARCH))
}

#[cfg(test)]
mod tests;
