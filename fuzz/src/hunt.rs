//! A hunt: children that run inputs, and what ended them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use longshore_sandbox::{Cause, Ending, LastWords};

use crate::{Target, mutate, seeds};

/// An input that runs longer than this never ends.
const STUCK: Duration = Duration::from_secs(20);
/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Most findings of one hunt; the next ones are likely the same.
const FINDINGS: usize = 10;

/// When a hunt is over.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// After so many inputs.
    Inputs(u64),
    /// After this time.
    Time(Duration),
}

/// What to hunt.
#[derive(Debug, Clone)]
pub struct Hunt<'a> {
    /// The program that is this crate's binary.
    pub program: &'a Path,
    /// The target.
    pub target: Target,
    /// Seed of the inputs.
    pub seed: u64,
    /// How long.
    pub budget: Budget,
    /// Where inputs that broke a promise are saved.
    pub out: &'a Path,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Number of the input.
    pub input: u64,
    /// `panic`, `memory`, `stack`, `crash` or `stuck`.
    pub kind: &'static str,
    /// What was said.
    pub detail: String,
    /// The input, saved.
    pub file: PathBuf,
}

/// What a hunt did.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Inputs run.
    pub inputs: u64,
    /// Broken promises.
    pub found: Vec<Finding>,
    /// Ends that are contained where the target runs, by kind.
    pub contained: BTreeMap<&'static str, u64>,
    /// How long it took.
    pub took: Duration,
}

/// Hunts until the budget is used; `progress` is called now and then with the inputs run so far.
///
/// # Errors
/// When children cannot be started or findings not be saved.
pub fn hunt(hunt: &Hunt<'_>, mut progress: impl FnMut(u64)) -> Result<Summary> {
    let begun = Instant::now();
    let (deadline, to) = match hunt.budget {
        Budget::Inputs(n) => (None, n),
        Budget::Time(t) => (Some(begun + t), u64::MAX),
    };
    std::fs::create_dir_all(hunt.out).with_context(|| hunt.out.display().to_string())?;
    let mark = hunt.out.join(format!(".{}-{}", hunt.target.name, std::process::id()));
    let mut summary = Summary::default();
    let mut from = 0;
    while from < to && summary.found.len() < FINDINGS {
        std::fs::write(&mark, from.to_le_bytes())?;
        let mut child = start(hunt, from, to, &mark)?;
        let words = child.stderr.take().map(|e| std::thread::spawn(move || LastWords::of(e)));
        let ended = watch(&mut child, &mark, deadline, &mut progress)?;
        let at = read(&mark)?;
        let words = words.and_then(|w| w.join().ok()).unwrap_or_default();
        let (kind, detail) = match ended {
            Ended::OverTime => {
                from = at;
                break;
            }
            Ended::Itself(status) if status.success() => {
                from = at;
                break;
            }
            Ended::Stuck => ("stuck", format!("ran longer than {} s", STUCK.as_secs())),
            Ended::Itself(status) => {
                let ending = Ending::of(status, &words);
                (ending.name(), ending.detail)
            }
        };
        let contained = hunt.target.contained && (kind == "stuck" || kind == named(Cause::Memory));
        if contained {
            *summary.contained.entry(kind).or_default() += 1;
        } else {
            summary.found.push(save(hunt, at, kind, detail)?);
        }
        from = at + 1;
    }
    // Left behind it would only be a file without a reader.
    let _ = std::fs::remove_file(&mark);
    (summary.inputs, summary.took) = (from, begun.elapsed());
    Ok(summary)
}

fn named(cause: Cause) -> &'static str {
    Ending { cause, detail: String::new() }.name()
}

fn start(hunt: &Hunt<'_>, from: u64, to: u64, mark: &Path) -> Result<Child> {
    Command::new(hunt.program)
        .args(["work", "--target", hunt.target.name, "--seed", &hunt.seed.to_string()])
        .args(["--from", &from.to_string(), "--to", &to.to_string(), "--mark"])
        .arg(mark)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", hunt.program.display()))
}

fn read(mark: &Path) -> Result<u64> {
    let bytes = std::fs::read(mark).with_context(|| mark.display().to_string())?;
    Ok(bytes.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b)))
}

enum Ended {
    Itself(std::process::ExitStatus),
    Stuck,
    OverTime,
}

fn watch(
    child: &mut Child,
    mark: &Path,
    deadline: Option<Instant>,
    progress: &mut impl FnMut(u64),
) -> Result<Ended> {
    let (mut at, mut since) = (read(mark)?, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        let now = read(mark)?;
        if now != at {
            (at, since) = (now, Instant::now());
            progress(at);
        }
        let ended = if since.elapsed() > STUCK {
            Ended::Stuck
        } else if deadline.is_some_and(|d| Instant::now() >= d) {
            Ended::OverTime
        } else {
            std::thread::sleep(LOOK);
            continue;
        };
        child.kill()?;
        child.wait()?;
        return Ok(ended);
    }
}

fn save(hunt: &Hunt<'_>, input: u64, kind: &'static str, detail: String) -> Result<Finding> {
    let bytes = mutate::input(&seeds(&hunt.target), hunt.target.shape, hunt.seed, input);
    let digest = longshore_trust::Digest::of(&bytes).to_hex();
    let file = hunt.out.join(format!("{}-{kind}-{}", hunt.target.name, &digest[..12]));
    std::fs::write(&file, bytes).with_context(|| file.display().to_string())?;
    Ok(Finding { input, kind, detail, file })
}
