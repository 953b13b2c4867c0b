//! A scenario: what there is, what goes wrong and when, as a TOML file that its readers write themselves.
//!
//! A scenario that exists can be played: unknown keys and impossible values were refused. `replay` reads the same format,
//! so a failing run is a scenario too.

use jiff::tz::TimeZone;
use longshore_fleet_core::policy::{Policy, parse_duration, shipped};
use serde::{Deserialize, Serialize};

/// The whole of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// What it shows, for people.
    pub about: String,
    /// Devices at the start.
    pub devices: u32,
    /// The run ends after so many hours at the latest.
    pub hours: u64,
    /// Name of a policy that comes with the server, or the text of one.
    pub policy: String,
    /// Drawn from; the command line may say another.
    pub seed: u64,
    /// The first so many devices carry the label `ring = "hil"`.
    pub rigs: u32,
    /// So many approved versions exist; number 1 runs at the start.
    pub versions: u8,
    /// Offline keys signed the way back from each version to all before it.
    pub way_back: bool,
    /// Every so many-th device checks signatures itself; the others share checks of the same signer.
    pub verify_every: u32,
    /// Time zones of the devices, one after the other, as POSIX writes them (`JST-9`); UTC when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// How the last rollout ends; anything else fails the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// How the waves of the last rollout end, one after the other; anything else fails the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_waves: Option<String>,
    /// What devices serve in the end, as the last line tells it (`2 run 1.0.0, 38 run 2.0.0`); anything else fails the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_runs: Option<String>,
    /// How versions behave.
    pub model: Model,
    /// What goes wrong all the time.
    pub faults: Faults,
    /// What happens when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<Happening>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            about: "The shipped policy `careful` on a good version, nothing goes wrong.".to_owned(),
            devices: 100,
            hours: 96,
            policy: "careful".to_owned(),
            seed: 1,
            rigs: 0,
            versions: 4,
            way_back: true,
            verify_every: 16,
            zones: Vec::new(),
            expect: None,
            expect_waves: None,
            expect_runs: None,
            model: Model::default(),
            faults: Faults::default(),
            at: Vec::new(),
        }
    }
}

/// How versions behave: the synthetic model behind the counters. `change` is about versions from 2 on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Rows an hour and device.
    pub rows_per_hour: u32,
    /// Share of rows whose true answer becomes known.
    pub labelled: f64,
    /// Share of right answers of the version that runs at the start.
    pub accuracy: f64,
    /// Correlation of rows within a device: how much devices differ.
    pub icc: f64,
    /// Hours that devices have counted before the start.
    pub history_hours: u32,
    /// Points of accuracy that the new version loses (negative: wins).
    pub regression_points: f64,
    /// Share of rows that fail with the new version.
    pub error_rate: f64,
    /// Share of devices on which the new version fails its trial.
    pub trial_failures: f64,
    /// Share of devices on which the new version crashes the engine within the hour.
    pub crashes: f64,
    /// Share of rows in shadow on which the new version answers as the active one does.
    pub agreement: f64,
    /// Bytes a device downloads.
    pub bytes: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            rows_per_hour: 200,
            labelled: 0.2,
            accuracy: 0.95,
            icc: 0.02,
            history_hours: 72,
            regression_points: 0.0,
            error_rate: 0.0,
            trial_failures: 0.0,
            crashes: 0.0,
            agreement: 0.97,
            bytes: 8_000_000,
        }
    }
}

/// Faults that come by chance, all the time. Each is a probability.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// A message is lost.
    pub loss: f64,
    /// A message comes twice.
    pub duplicate: f64,
    /// A message is overtaken by others.
    pub reorder: f64,
    /// The power goes while a transaction is written: half of them before it is durable, half after.
    pub crash: f64,
    /// The power goes, and the database is torn: it begins anew from its second copy.
    pub torn: f64,
    /// A download breaks off.
    pub fetch: f64,
    /// The fleet is killed after it has committed and before it has told anybody.
    pub fleet_crash: f64,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Happening {
    /// When, from the start.
    pub time: String,
    /// What.
    pub act: Act,
    /// To whom: `all`, `30%`, `12` devices, `device 7`, `wave 1` of the rollout that runs, `rest` of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// For how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<String>,
    /// Which version; 2 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u8>,
    /// Which policy, when it is not the scenario's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// By how many days a clock is set forward (negative: back).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<i64>,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A person plans and starts a rollout of `version`.
    Start,
    /// The same, in place of the one that runs.
    Supersede,
    /// A second person says yes to the plan.
    Authorize,
    /// A person pauses.
    Pause,
    /// A person resumes and has the wave tried again.
    RetryWave,
    /// A person resumes without the wave's yes.
    SkipWave,
    /// A person halts.
    Halt,
    /// A person takes the version back.
    Revert,
    /// Devices cannot be reached (and cannot reach anything) for `length`.
    Partition,
    /// Devices are switched off for `length`.
    Off,
    /// The power of devices goes for a moment.
    PowerCut,
    /// The database of devices is torn by a power cut.
    TornWrite,
    /// The disk of devices is full for `length`.
    DiskFull,
    /// The wall clock of devices jumps by `days`.
    ClockJump,
    /// The broker is gone for `length`: no messages; files can still be fetched.
    Broker,
    /// The broker loses all sessions and what is on its way.
    SessionLoss,
    /// The fleet is killed and comes back after `length`.
    FleetDown,
    /// A backup of the fleet is taken.
    Backup,
    /// The fleet is restored from the last backup.
    Restore,
    /// A fleet's process from before goes on acting beside the present one, for `length`: a copy as it was at the last backup.
    StaleExecutor,
    /// Offline keys name a new director.
    RotateDirector,
    /// Somebody holds the director's key for `length` and uses it.
    StealDirector,
    /// New devices are enrolled, as many as `who` says.
    Enrol,
    /// Devices are taken out of the fleet.
    Decommission,
}

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not of this form.
    #[error("the scenario cannot be read: {0}")]
    Form(#[from] toml::de::Error),
    /// A policy.
    #[error("the policy of the scenario cannot be used: {0}")]
    Policy(String),
    /// A value.
    #[error("{0}")]
    Value(String),
}

impl Scenario {
    /// Reads a scenario and checks everything in it.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }
    /// Whether it can be played.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn check(&self) -> Result<(), ScenarioError> {
        let wrong = |text: String| Err(ScenarioError::Value(text));
        if self.devices == 0 || self.devices > 1_000_000 {
            return wrong(format!("devices = {}: use 1 to 1000000", self.devices));
        }
        if self.versions < 2 || self.versions > 20 {
            return wrong(format!("versions = {}: use 2 to 20", self.versions));
        }
        if self.hours == 0 || self.verify_every == 0 {
            return wrong("hours and verify_every must be at least 1".to_owned());
        }
        policy(&self.policy)?;
        self.time_zones()?;
        let f = &self.faults;
        for (name, p) in f.rates() {
            if !(0.0..=0.9).contains(&p) {
                return wrong(format!("faults.{name} = {p}: use a probability from 0 to 0.9"));
            }
        }
        for h in &self.at {
            h.at_ms().map_err(ScenarioError::Value)?;
            h.length_ms().map_err(ScenarioError::Value)?;
            h.who().map_err(ScenarioError::Value)?;
            if h.version.is_some_and(|v| v == 0 || v >= self.versions) {
                return wrong(format!("version {}: use 1 to {}", h.version.unwrap_or(0), self.versions - 1));
            }
            if let Some(text) = &h.policy {
                policy(text)?;
            }
        }
        Ok(())
    }
    /// The time zones of its devices, after UTC.
    ///
    /// # Errors
    /// [`ScenarioError::Value`] when one is none.
    pub fn time_zones(&self) -> Result<Vec<TimeZone>, ScenarioError> {
        let zone = |text: &String| {
            let wrong = |e| ScenarioError::Value(format!("zone {text:?}: {e}; write one as in \"JST-9\""));
            TimeZone::posix(text).map_err(wrong)
        };
        std::iter::once(Ok(TimeZone::UTC)).chain(self.zones.iter().map(zone)).collect()
    }
    /// Whether its rollout is begun by the scenario itself.
    #[must_use]
    pub fn starts_itself(&self) -> bool {
        self.at.iter().any(|h| matches!(h.act, Act::Start | Act::Supersede))
    }
    /// Whether a copy of the fleet is ever needed.
    #[must_use]
    pub fn needs(&self, act: Act) -> bool {
        self.at.iter().any(|h| h.act == act)
    }
}

impl Faults {
    /// All of them by name.
    #[must_use]
    pub fn rates(&self) -> [(&'static str, f64); 7] {
        [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("crash", self.crash),
            ("torn", self.torn),
            ("fetch", self.fetch),
            ("fleet_crash", self.fleet_crash),
        ]
    }
    /// Without the one of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        match name {
            "loss" => self.loss = 0.0,
            "duplicate" => self.duplicate = 0.0,
            "reorder" => self.reorder = 0.0,
            "crash" => self.crash = 0.0,
            "torn" => self.torn = 0.0,
            "fetch" => self.fetch = 0.0,
            "fleet_crash" => self.fleet_crash = 0.0,
            _ => {}
        }
        self
    }
}

/// A policy by the name of a shipped one, or by its text.
///
/// # Errors
/// [`ScenarioError::Policy`].
pub fn policy(named: &str) -> Result<Policy, ScenarioError> {
    let text = if named.contains('\n') {
        named
    } else {
        let unknown = || ScenarioError::Policy(format!("no policy named {named:?} comes with the server"));
        shipped(named).ok_or_else(unknown)?
    };
    Policy::parse(text).map_err(|e| ScenarioError::Policy(e.to_string()))
}

/// Whom something happens to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Who {
    /// Everybody.
    All,
    /// A share.
    Share(f64),
    /// So many.
    Count(u32),
    /// This one.
    Device(u32),
    /// Those of a wave of the rollout that was started last.
    Wave(usize),
}

impl Happening {
    /// Something without further ado.
    #[must_use]
    pub fn new(time_ms: u64, act: Act) -> Self {
        Self {
            time: format!("{}s", time_ms / 1000),
            act,
            who: None,
            length: None,
            version: None,
            policy: None,
            days: None,
        }
    }
    /// When, ms from the start.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn at_ms(&self) -> Result<u64, String> {
        span(&self.time)
    }
    /// For how long, ms; an hour when it is not said.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn length_ms(&self) -> Result<u64, String> {
        self.length.as_deref().map_or(Ok(3_600_000), span)
    }
    /// To whom.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn who(&self) -> Result<Who, String> {
        let Some(text) = self.who.as_deref() else { return Ok(Who::All) };
        let wrong = || format!("who = {text:?}: use \"all\", \"30%\", \"12\", \"device 7\" or \"wave 1\"");
        let number = |t: &str| t.trim().parse::<u32>().map_err(|_| wrong());
        if text == "all" {
            Ok(Who::All)
        } else if let Some(percent) = text.strip_suffix('%') {
            let share: f64 = percent.trim().parse().map_err(|_| wrong())?;
            if (0.0..=100.0).contains(&share) { Ok(Who::Share(share / 100.0)) } else { Err(wrong()) }
        } else if let Some(n) = text.strip_prefix("device ") {
            number(n).map(Who::Device)
        } else if let Some(n) = text.strip_prefix("wave ") {
            number(n).map(|n| Who::Wave(n as usize))
        } else {
            number(text).map(Who::Count)
        }
    }
}

/// A length of time; several may be written one after the other (`1d 2h`).
fn span(text: &str) -> Result<u64, String> {
    let mut all = 0u64;
    for part in text.split_whitespace() {
        all = all.saturating_add(parse_duration(part)?);
    }
    if text.trim().is_empty() { Err("a length of time is missing".to_owned()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_refused_with_a_sentence() {
        for (text, part) in [
            ("devices = 0", "1 to 1000000"),
            ("zones = [\"Nowhere/City\"]", "JST-9"),
            ("policy = \"x\"", "no policy named"),
            ("deices = 3", "deices"),
            ("[faults]\nloss = 2.0", "probability"),
            ("[[at]]\ntime = \"1x\"\nact = \"halt\"", "no length of time"),
            ("[[at]]\ntime = \"1h\"\nact = \"explode\"", "explode"),
            ("[[at]]\ntime = \"1h\"\nact = \"off\"\nwho = \"some\"", "who"),
            ("[[at]]\ntime = \"1h\"\nact = \"start\"\nversion = 9", "version 9"),
        ] {
            let error = Scenario::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
    #[test]
    fn a_scenario_reads_back_as_it_was() {
        let text = "devices = 7\n[[at]]\ntime = \"1d 2h\"\nact = \"off\"\nwho = \"30%\"\nlength = \"90d\"\n";
        let one = Scenario::parse(text).unwrap();
        assert_eq!(one.at[0].at_ms(), Ok(26 * 3_600_000));
        assert_eq!(one.at[0].who(), Ok(Who::Share(0.3)));
        let again = Scenario::parse(&toml::to_string(&one).unwrap()).unwrap();
        assert_eq!(again, one);
    }
}
