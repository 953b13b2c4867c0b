//! The engine's sandbox: the process that parses models reaches no network, no file, no other process, and has no key.
//!
//! Layers, each as far as the kernel has it, each reported by name: resource limits, `no_new_privs`, landlock (no path can
//! be opened, no TCP port bound or connected), seccomp (an allow-list of system calls; everything else is EPERM). What the
//! kernel lacks is reported as `missing:...` and the engine goes on: a device with an old kernel serves with less armour,
//! and its inventory says so.
//!
//! Landlock and seccomp bind the calling thread and those it starts: [`enter`] comes before any other thread exists.
//! The process stays dumpable, because the supervisor reads its memory figures from `/proc`; core files, which could hold
//! inputs, are switched off instead.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus, Ruleset,
};
use landlock::{RulesetAttr as _, RulesetStatus, Scope};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::engine::protocol::TrialLimits;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;

/// Descriptors of a serving engine: its connections and a few of its own.
const SERVING_FILES: u64 = 1024;
/// Descriptors of a trial engine.
const TRIAL_FILES: u64 = 64;

/// What the sandbox is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Answer requests.
    Serve,
    /// Load one model, within limits.
    Trial(TrialLimits),
}

/// Applies every layer to the calling thread and its future threads; answers the names of those in force, and
/// `missing:<name> (<why>)` for the others. There is no way back.
#[must_use]
pub fn enter(purpose: Purpose) -> Vec<String> {
    let mut report = Vec::new();
    let mut note = |name: &str, result: Result<String, String>| match result {
        Ok(name) => report.push(name),
        Err(why) => report.push(format!("missing:{name} ({why})")),
    };
    note("rlimits", limits(purpose));
    note("no_new_privs", no_new_privs());
    note("landlock", no_paths());
    note("seccomp", few_calls());
    report
}

fn limits(purpose: Purpose) -> Result<String, String> {
    let mut wanted = vec![(Resource::Core, 0)];
    match purpose {
        Purpose::Serve => wanted.push((Resource::Nofile, SERVING_FILES)),
        Purpose::Trial(l) => {
            wanted.push((Resource::Nofile, TRIAL_FILES));
            wanted.push((Resource::As, l.memory_bytes));
            wanted.push((Resource::Cpu, l.cpu_s));
        }
    }
    for (resource, value) in wanted {
        let value = getrlimit(resource).maximum.map_or(value, |max| max.min(value));
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        setrlimit(resource, limit).map_err(|e| format!("{resource:?}: {e}"))?;
    }
    Ok("rlimits".to_owned())
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
