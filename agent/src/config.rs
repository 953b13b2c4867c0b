//! Configuration of the agent: TOML, overlaid by `LONGSHORE_*` variables. Every key has a default that suits a device.
//!
//! An unknown key is an error that names itself, its line and the nearest key there is. `docs/agent-config.md` lists all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

mod duration;

/// All settings of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What must survive a reboot: database, bundles, identity, trust metadata.
    pub state_dir: PathBuf,
    /// What need not (a tmpfs): counter pages, the API socket, the status file.
    pub run_dir: PathBuf,
    /// The local inference API.
    pub serve: Serve,
    /// Free labels, reported with the inventory; `ring` and `site` are the usual ones.
    pub labels: BTreeMap<String, String>,
    /// How often things happen.
    pub intervals: Intervals,
    /// What may be used at most.
    pub limits: Limits,
    /// The connection to the fleet.
    pub link: Link,
    /// The log.
    pub log: Log,
}

/// The local inference API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// Path of the unix socket; `<run_dir>/api.sock` when not set.
    pub socket: Option<PathBuf>,
    /// Loopback TCP address, off when not set.
    pub listen: Option<SocketAddr>,
    /// Longest request body, bytes.
    pub max_body_bytes: u64,
    /// Requests that may wait; more get 503 with `Retry-After`.
    pub queue: u32,
    /// File with the bearer token that feedback over TCP must carry; without it feedback is taken on the unix socket only.
    pub feedback_token_file: Option<PathBuf>,
}

/// How often things happen. Written like `60s`, `5m`, `1h 30m`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Intervals {
    /// Counters go to the database this often; a power cut loses at most this much.
    #[serde(with = "duration")]
    pub journal: Duration,
    /// Longest window; a bundle may want shorter ones.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Health reports.
    #[serde(with = "duration")]
    pub health: Duration,
    /// Trust metadata is refreshed at least this often.
    #[serde(with = "duration")]
    pub refresh: Duration,
}

/// What may be used at most.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Buffered windows, reports and the replay ring together, bytes.
    pub buffer_bytes: u64,
    /// Free space that downloads leave on the filesystem, bytes.
    pub min_free_bytes: u64,
    /// Predictions remembered for joining labels, rows.
    pub prediction_rows: u32,
    /// Longest trial of a new bundle.
    #[serde(with = "duration")]
    pub trial: Duration,
    /// Address space of a trial engine, bytes.
    pub trial_memory_bytes: u64,
    /// Memory of the serving engine, bytes; worked out from the trial's and the machine's when not set.
    pub serve_memory_bytes: Option<u64>,
    /// Longest computation of one request.
    #[serde(with = "duration")]
    pub request: Duration,
    /// Bytes fetched in one attempt before others get a turn.
    pub fetch_bytes_per_attempt: u64,
    /// Processor time that candidates in shadow may use, per mille of one core.
    pub shadow_permille: u16,
}

/// The connection to the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// MQTT keep-alive.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// First wait before connecting again (full jitter, doubling).
    #[serde(with = "duration")]
    pub retry_min: Duration,
    /// Longest wait before connecting again.
    #[serde(with = "duration")]
    pub retry_max: Duration,
    /// At the start, after a connection that held, and at news for everybody: a wait drawn up to this, so that a whole fleet
    /// does not come at once.
    #[serde(with = "duration")]
    pub spread: Duration,
}

/// The log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, or a tracing filter.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

const MIB: u64 = 1024 * 1024;
/// Least memory of a serving engine, bytes.
const SERVE_MEMORY_LEAST: u64 = 128 * MIB;

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/longshore".into(),
            run_dir: "/run/longshore".into(),
            serve: Serve::default(),
            labels: BTreeMap::new(),
            intervals: Intervals::default(),
            limits: Limits::default(),
            link: Link::default(),
            log: Log::default(),
        }
    }
}
impl Default for Serve {
    fn default() -> Self {
        Self { socket: None, listen: None, max_body_bytes: 16 * MIB, queue: 64, feedback_token_file: None }
    }
}
impl Default for Intervals {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { journal: s(60), window: s(300), health: s(300), refresh: s(6 * 3600) }
    }
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            buffer_bytes: 64 * MIB,
            min_free_bytes: 64 * MIB,
            prediction_rows: 100_000,
            trial: Duration::from_secs(120),
            trial_memory_bytes: 1024 * MIB,
            serve_memory_bytes: None,
            request: Duration::from_secs(60),
            fetch_bytes_per_attempt: 256 * MIB,
            shadow_permille: 100,
        }
    }
}
impl Default for Link {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { keep_alive: s(60), retry_min: s(1), retry_max: s(300), spread: s(5) }
    }
}
impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}. Name another with --config FILE.")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or a key or value is wrong.
    #[error("{path}: {message}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// Line, key, what would be right.
        message: String,
    },
    /// A variable is wrong.
    #[error("the environment variable {name}: {message}")]
    Variable {
        /// Which.
        name: String,
        /// What would be right.
        message: String,
    },
}

impl Config {
    /// Reads `path` (a missing default file means all defaults), then the `LONGSHORE_*` variables, then checks values.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e)
                if e.kind() == std::io::ErrorKind::NotFound
                    && path == Path::new("/etc/longshore/agent.toml") =>
            {
                String::new()
            }
            Err(source) => return Err(ConfigError::Read { path: path.into(), source }),
        };
        let variables =
            std::env::vars().filter(|(k, _)| k.starts_with("LONGSHORE_") && k != "LONGSHORE_CONFIG");
        Self::parse(&text, path, variables)
    }

    /// The pure part of [`Config::load`].
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(
        text: &str,
        path: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let wrong = |message: String| ConfigError::Wrong { path: path.into(), message };
        // Parsed once as it stands, so that errors carry the line of the file.
        toml::from_str::<Self>(text).map_err(|e| wrong(explain(&e.to_string())))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        for (name, value) in variables {
            overlay(&mut table, &name, &value)?;
            toml::Value::Table(table.clone()).try_into::<Self>().map_err(|e| ConfigError::Variable {
                name: name.clone(),
                message: explain(&e.to_string()),
            })?;
        }
        let config: Self =
            toml::Value::Table(table).try_into().map_err(|e| wrong(explain(&e.to_string())))?;
        config.check().map_err(wrong)?;
        Ok(config)
    }

    /// The unix socket of the API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.serve.socket.clone().unwrap_or_else(|| self.run_dir.join("api.sock"))
    }

    /// Memory of the serving engine, bytes: what is configured, or room for the active bundle and a candidate, each as
    /// large as a trial lets it be, but no more than three quarters of the machine.
    #[must_use]
    pub fn serve_memory_bytes(&self, machine_kib: u64) -> u64 {
        self.limits.serve_memory_bytes.unwrap_or_else(|| {
            let machine = if machine_kib == 0 { u64::MAX } else { machine_kib.saturating_mul(1024) / 4 * 3 };
            self.limits.trial_memory_bytes.saturating_mul(2).min(machine).max(SERVE_MEMORY_LEAST)
        })
    }

    fn check(&self) -> Result<(), String> {
        if self.limits.serve_memory_bytes.is_some_and(|b| b < SERVE_MEMORY_LEAST) {
            return Err(format!(
                "limits.serve_memory_bytes is below {} MiB, which the engine needs for itself and one small model",
                SERVE_MEMORY_LEAST / MIB
            ));
        }
        if !(1..=1000).contains(&self.limits.shadow_permille) {
            return Err("limits.shadow_permille must be between 1 and 1000: per mille of one core".into());
        }
        if let Some(listen) = self.serve.listen
            && !listen.ip().is_loopback()
        {
            return Err(format!(
                "serve.listen = \"{listen}\" is not a loopback address: the API has no access control, so it stays on this machine (use 127.0.0.1)"
            ));
        }
        for (key, value) in [
            ("intervals.journal", self.intervals.journal),
            ("intervals.window", self.intervals.window),
            ("intervals.health", self.intervals.health),
            ("intervals.refresh", self.intervals.refresh),
            ("limits.trial", self.limits.trial),
            ("limits.request", self.limits.request),
            ("link.retry_min", self.link.retry_min),
        ] {
            if value < Duration::from_millis(100) {
                return Err(format!("{key} is {value:?}; the shortest allowed is 100ms"));
            }
        }
        if self.intervals.window < self.intervals.journal {
            return Err("intervals.window is shorter than intervals.journal; make it at least as long".into());
        }
        if self.link.retry_max < self.link.retry_min {
            return Err("link.retry_max is shorter than link.retry_min".into());
        }
        let keep_alive = self.link.keep_alive.as_secs();
        if !(5..=65_535).contains(&keep_alive) {
            return Err("link.keep_alive must be between 5s and 18h".into());
        }
        Ok(())
    }
}

/// `LONGSHORE_SERVE__LISTEN=…` sets `serve.listen`; a value that is no TOML is taken as text.
fn overlay(table: &mut toml::Table, name: &str, value: &str) -> Result<(), ConfigError> {
    let keys: Vec<String> = name["LONGSHORE_".len()..].split("__").map(str::to_ascii_lowercase).collect();
    let (last, parents) = keys.split_last().expect("split gives at least one part");
    let mut at = table;
    for key in parents {
        let inner = at.entry(key.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = inner.as_table_mut().ok_or_else(|| ConfigError::Variable {
            name: name.into(),
            message: format!("`{key}` is no section"),
        })?;
    }
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut t| t.remove("v"));
    at.insert(last.clone(), parsed.unwrap_or_else(|| toml::Value::String(value.into())));
    Ok(())
}

/// Adds the nearest key to serde's message about an unknown one.
fn explain(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let message = message.trim_end();
    let Some(at) = message.find("unknown field") else { return message.into() };
    let skipped = message[..at].matches('`').count() / 2;
    let Some((wrong, known)) = quoted.get(skipped..).and_then(|q| q.split_first()) else {
        return message.into();
    };
    let nearest = known
        .iter()
        .min_by_key(|k| strsim::levenshtein(wrong, k))
        .filter(|k| strsim::levenshtein(wrong, k) <= 3);
    match nearest {
        Some(key) => format!("{message}\nDid you mean `{key}`?"),
        None => message.into(),
    }
}

/// `longshore-agent check-config`.
///
/// # Errors
/// What is wrong with it.
pub fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    println!("{} is valid", path.display());
    println!(
        "state {}, run {}, API {}",
        config.state_dir.display(),
        config.run_dir.display(),
        config.socket().display()
    );
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::parse(text, Path::new("agent.toml"), variables).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse("", &[]).unwrap(), Config::default());
    }
    #[test]
    fn a_wrong_key_names_itself_its_line_and_the_nearest_right_one() {
        let error = parse("state_dir = \"/x\"\n\n[intervals]\njurnal = \"1s\"\n", &[]).unwrap_err();
        for part in ["jurnal", "line 4", "Did you mean `journal`?"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    #[test]
    fn a_wrong_value_names_its_line() {
        for text in
            ["\n[intervals]\njournal = \"soon\"\n", "\n\nstate_dir = 7\n", "\n[serve]\nlisten = \"here\"\n"]
        {
            let error = parse(text, &[]).unwrap_err();
            assert!(error.contains("line 3"), "{error}");
        }
    }
    #[test]
    fn variables_win_and_wrong_ones_are_named() {
        let config =
            parse("[intervals]\njournal = \"9s\"\n", &[("LONGSHORE_INTERVALS__JOURNAL", "2s")]).unwrap();
        assert_eq!(config.intervals.journal, Duration::from_secs(2));
        let config = parse("", &[("LONGSHORE_SERVE__QUEUE", "3"), ("LONGSHORE_RUN_DIR", "/tmp/r")]).unwrap();
        assert_eq!((config.serve.queue, config.run_dir), (3, PathBuf::from("/tmp/r")));
        assert!(parse("", &[("LONGSHORE_SERVE__QEUE", "3")]).unwrap_err().contains("LONGSHORE_SERVE__QEUE"));
    }
    #[test]
    fn an_api_open_to_the_network_is_refused() {
        assert!(parse("[serve]\nlisten = \"0.0.0.0:80\"\n", &[]).unwrap_err().contains("loopback"));
    }
    #[test]
    fn the_serving_engine_gets_what_two_trials_get_or_most_of_a_small_machine() {
        let config = Config::default();
        assert_eq!(config.serve_memory_bytes(0), 2048 * MIB);
        assert_eq!(config.serve_memory_bytes(64 << 20), 2048 * MIB);
        assert_eq!(config.serve_memory_bytes(512 << 10), 384 * MIB);
        assert_eq!(config.serve_memory_bytes(1), 128 * MIB);
        let set = parse("[limits]\nserve_memory_bytes = 268435456\n", &[]).unwrap();
        assert_eq!(set.serve_memory_bytes(64 << 20), 256 * MIB);
        assert!(parse("[limits]\nserve_memory_bytes = 1000\n", &[]).unwrap_err().contains("128 MiB"));
    }
    #[test]
    fn intervals_that_make_no_sense_are_refused() {
        for text in [
            "[intervals]\nwindow = \"30s\"",
            "[intervals]\njournal = \"0s\"",
            "[link]\nretry_max = \"200ms\"",
        ] {
            assert!(parse(text, &[]).is_err(), "{text}");
        }
    }
}
