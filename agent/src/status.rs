//! What the agent is doing, in a file that the supervisor keeps and `longshore-agent status` reads.
//!
//! A file instead of a request: it can be read while the engine is down, and says so when the supervisor is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use longshore_trust::{AssignmentVersion, DeviceId, Digest, FleetId, ModelName, TimeQuality, UnixMs};
use longshore_wire::v1::UpdateState;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The state of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The fleet.
    pub fleet: FleetId,
    /// This device.
    pub device: DeviceId,
    /// Version of the agent.
    pub agent_version: String,
    /// Process id of the supervisor.
    pub pid: u32,
    /// When it started.
    pub started: UnixMs,
    /// When this was written.
    pub written: UnixMs,
    /// How far the device's time can be believed.
    #[serde(default)]
    pub time_quality: TimeQuality,
    /// The connection to the fleet.
    pub link: LinkStatus,
    /// Versions of the trusted metadata.
    pub trust: BTreeMap<String, u64>,
    /// The greatest assignment accepted.
    pub assignment_version: AssignmentVersion,
    /// Messages without a receipt, sealed or not.
    pub outbox_rows: u64,
    /// Rows in the gap ledger.
    pub gaps: u64,
    /// The serving engine.
    pub engine: EngineStatus,
    /// What serves.
    pub models: Vec<ModelStatus>,
}

/// The connection to the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Whether it stands.
    pub up: bool,
    /// Since when.
    pub since: UnixMs,
    /// The last error.
    pub error: Option<String>,
}

/// The serving engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Its process id, while it runs.
    pub pid: Option<u32>,
    /// Starts since the agent started.
    pub starts: u32,
    /// What its sandbox really has.
    pub sandbox: Vec<String>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name.
    pub model: ModelName,
    /// Version of the active bundle.
    pub version: Option<String>,
    /// Digest of the active bundle's manifest.
    pub active: Option<Digest>,
    /// Digest of the bundle that is being brought in.
    pub candidate: Option<Digest>,
    /// State of the last update.
    pub state: Option<UpdateState>,
    /// Why it ended, when it did not end well.
    pub reason: Option<String>,
    /// All rows ever journalled for this model.
    pub rows_total: u64,
    /// Of them, rows with a feature outside of the reference's range.
    #[serde(default)]
    pub rows_out_of_range: u64,
    /// Of them, rows whose two best classes were nearly equal.
    #[serde(default)]
    pub rows_low_margin: u64,
    /// Rows of groups that are held back on this device, because there are too few of their group.
    #[serde(default)]
    pub rows_held: u64,
    /// Labelled rows that are held back likewise.
    #[serde(default)]
    pub labels_held: u64,
}

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("status.json")
}

/// Writes it, whole or not at all.
///
/// # Errors
/// Whatever the filesystem says.
pub fn write(run_dir: &Path, status: &Status) -> std::io::Result<()> {
    let part = run_dir.join("status.json.new");
    std::fs::write(&part, serde_json::to_vec_pretty(status)?)?;
    std::fs::rename(part, path(run_dir))
}

/// `longshore-agent status`: exit code 0 when the agent runs, 1 when it does not.
///
/// # Errors
/// When the configuration is wrong or there has never been an agent.
pub fn run(config: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(config)?;
    let path = path(&config.run_dir);
    let text = std::fs::read(&path).map_err(|e| {
        anyhow::anyhow!(
            "no agent has left its status in {}: {e}. Is it started (`longshore-agent run`)?",
            path.display()
        )
    })?;
    let status: Status = serde_json::from_slice(&text)?;
    let alive = Path::new(&format!("/proc/{}", status.pid)).exists();
    if json {
        let mut value = serde_json::to_value(&status)?;
        value["running"] = alive.into();
        println!("{value}");
    } else {
        print!("{}", for_people(&status, alive, crate::host::now().0));
    }
    Ok(if alive { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn for_people(s: &Status, alive: bool, now: UnixMs) -> String {
    let mut text = format!("{} of fleet {}, agent {}\n", s.device, s.fleet, s.agent_version);
    let age = |t: UnixMs| ago(now.since(t));
    if !alive {
        text.push_str(&format!(
            "NOT RUNNING (process {} is gone); last heard of {}\n",
            s.pid,
            age(s.written)
        ));
    }
    let link = if s.link.up { "up" } else { "down" };
    text.push_str(&format!("link {link} since {}", age(s.link.since)));
    if let Some(error) = &s.link.error {
        text.push_str(&format!(" ({error})"));
    }
    text.push_str(&format!(
        "\n{} message(s) wait for a receipt, {} gap(s) in the ledger\n",
        s.outbox_rows, s.gaps
    ));
    let time = match s.time_quality {
        TimeQuality::None => "not known (only the board's clock)",
        TimeQuality::Floor => "not before what was signed",
        TimeQuality::Ntp => "from the network, unsigned",
        TimeQuality::Attested => "attested by the fleet",
    };
    text.push_str(&format!(
        "assignment {}, engine starts {}, time {time}\n",
        s.assignment_version, s.engine.starts
    ));
    if !s.engine.sandbox.is_empty() {
        text.push_str(&format!("engine sandbox {}\n", s.engine.sandbox.join(", ")));
    }
    if s.models.is_empty() {
        text.push_str("no model has been assigned yet\n");
    }
    for m in &s.models {
        let version = m.version.as_deref().unwrap_or("none");
        let state = m.state.map_or("-", UpdateState::as_str);
        let reason = m.reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default();
        text.push_str(&format!(
            "  {:<24} {version:<12} {state}{reason}, {} rows\n",
            m.model.as_str(),
            m.rows_total
        ));
        let notable = [
            (m.rows_out_of_range, "rows out of the reference's range"),
            (m.rows_low_margin, "rows of low margin"),
            (m.rows_held, "rows of small groups held back"),
            (m.labels_held, "labels of small groups held back"),
        ];
        let notable: Vec<String> =
            notable.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !notable.is_empty() {
            text.push_str(&format!("  {:<24} {}\n", "", notable.join(", ")));
        }
    }
    text
}

fn ago(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..=119 => format!("{s} s ago"),
        s @ 120..=7199 => format!("{} min ago", s / 60),
        s @ 7200..=172_799 => format!("{} h ago", s / 3600),
        s => format!("{} days ago", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            fleet: "demo".parse().unwrap(),
            device: "d1".parse().unwrap(),
            agent_version: "0.1.0".into(),
            pid: 1,
            started: UnixMs(0),
            written: UnixMs(0),
            time_quality: TimeQuality::Attested,
            link: LinkStatus { up: false, since: UnixMs(0), error: Some("refused".into()) },
            trust: BTreeMap::new(),
            assignment_version: AssignmentVersion(3),
            outbox_rows: 2,
            gaps: 0,
            engine: EngineStatus { sandbox: vec!["seccomp".into()], ..EngineStatus::default() },
            models: vec![],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &status()).unwrap();
        let read: Status = serde_json::from_slice(&std::fs::read(path(dir.path())).unwrap()).unwrap();
        assert_eq!(read, status());
    }
    #[test]
    fn what_was_seen_of_a_model_is_said_where_there_is_any() {
        let model = ModelStatus {
            model: "digits".parse().unwrap(),
            version: Some("1.0.0".into()),
            active: None,
            candidate: None,
            state: None,
            reason: None,
            rows_total: 40,
            rows_out_of_range: 7,
            rows_low_margin: 0,
            rows_held: 19,
            labels_held: 0,
        };
        let text = for_people(&Status { models: vec![model], ..status() }, true, UnixMs(0));
        assert!(
            text.contains("40 rows\n") && text.contains("7 rows out of the reference's range, 19 rows of")
        );
        assert!(!text.contains("low margin"), "{text}");
    }
    #[test]
    fn a_dead_agent_and_a_dead_link_are_said() {
        let text = for_people(&status(), false, UnixMs(3 * 60_000));
        assert!(
            ["NOT RUNNING", "3 min ago", "refused", "engine sandbox seccomp"]
                .iter()
                .all(|w| text.contains(w)),
            "{text}"
        );
    }
}
