//! Configuration: every key has a default that works on one machine.
//!
//! Precedence: `--config FILE`, else `<data>/config.toml` when it exists, else defaults. An unknown key is an error
//! that names its line and the nearest key there is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use longshore_bundle::oms::PublicKey;
use longshore_fleet_core::alert::Settings;
use longshore_fleet_core::alert::entry::{AlertsEntry, ReceiverEntry, RuleEntry};
use longshore_fleet_core::alert::settings::wrong_entry;
use serde::{Deserialize, Serialize};
use toml::Spanned;

/// All settings of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Console, API, trust metadata and health: plain HTTP; put a TLS proxy in front to leave the machine.
    pub operator_listen: SocketAddr,
    /// HTTPS for devices: enrolment, trust metadata, bundle files.
    pub device_listen: SocketAddr,
    /// MQTT over TLS for devices (embedded broker only).
    pub mqtt_listen: SocketAddr,
    /// Name or address under which devices reach this server; goes into its certificate and into what devices are told.
    pub public_host: String,
    /// `embedded`, or the `mqtts://host:port` of a broker that the operator runs.
    pub broker: Broker,
    /// Limits.
    pub limits: Limits,
    /// Retention.
    pub keep: Keep,
    /// How long the online roles are valid.
    pub trust: Trust,
    /// OpenSSF Model Signing of uploads.
    pub oms: Oms,
    /// Certificates of devices.
    pub certificates: Certificates,
    /// How models are judged.
    pub monitor: Monitor,
    /// How alerts are judged and kept.
    pub alerts: AlertsEntry,
    /// Alert rules as written; none means the shipped ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alert: Vec<Spanned<RuleEntry>>,
    /// Receivers of alerts as written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receiver: Vec<Spanned<ReceiverEntry>>,
    /// Rules and receivers in effect: what the two above mean.
    #[serde(skip)]
    pub alerting: Settings,
}

/// Which MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Broker {
    /// In this process.
    Embedded,
    /// Elsewhere, over TLS.
    External {
        /// Host.
        host: String,
        /// Port.
        port: u16,
    },
}

impl TryFrom<String> for Broker {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        if s == "embedded" {
            return Ok(Self::Embedded);
        }
        let wrong = || format!("broker {s:?} is neither \"embedded\" nor mqtts://host[:port]");
        let rest = s.strip_prefix("mqtts://").ok_or_else(wrong)?;
        let (host, port) = match rest.rsplit_once(':') {
            Some((h, p)) => (h, p.parse().map_err(|_| wrong())?),
            None => (rest, 8883),
        };
        if host.is_empty() || host.contains('/') {
            return Err(wrong());
        }
        Ok(Self::External { host: host.to_owned(), port })
    }
}
impl From<Broker> for String {
    fn from(b: Broker) -> Self {
        match b {
            Broker::Embedded => "embedded".into(),
            Broker::External { host, port } => format!("mqtts://{host}:{port}"),
        }
    }
}

/// Bounds on what one client can cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// MQTT connections at the same time.
    pub mqtt_connections: usize,
    /// HTTPS connections of devices at the same time.
    pub device_connections: usize,
    /// Longest TLS handshake, seconds.
    pub handshake_s: u64,
    /// Messages a second that one device may send on average; more are delayed until it resends them.
    pub messages_per_s: u32,
    /// Messages one device may send at once before the average counts.
    pub message_burst: u32,
    /// Largest uploaded file, bytes.
    pub object_bytes: u64,
    /// A device that was silent for so long counts as offline, seconds.
    pub silent_s: u64,
}

/// What is kept how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Single windows kept per device and model; totals and hours are kept for ever.
    pub windows_per_device: u32,
    /// Update reports and events kept per device.
    pub reports_per_device: u32,
    /// Days that single hours of merged counters are kept; older ones are merged into days, which are kept for ever.
    pub hours_d: u32,
}

/// Lifetimes of what the online keys sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// Validity of timestamp.json, hours (24 to 168).
    pub timestamp_h: u64,
    /// Validity of snapshot.json, days.
    pub snapshot_d: u64,
}

/// OpenSSF Model Signing of uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oms {
    /// Whether an upload without a signature of one of the keys is refused.
    pub require: bool,
    /// Keys whose signatures count: PEM texts of EC public keys (P-256, P-384, P-521).
    pub public_keys: Vec<String>,
}

/// How models are judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// How often verdicts are made, seconds.
    pub every_s: u64,
    /// Over how many hours.
    pub span_h: u64,
    /// Rate of false alarms, over all features and cohorts of a version together.
    pub alpha: f64,
    /// Smallest effect (population stability index) that is called drift.
    pub min_effect: f64,
}
// Checked numbers: equality is reflexive.
impl Eq for Monitor {}

/// Certificates of devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Certificates {
    /// How long a new one is good, seconds; devices renew it after two thirds of that.
    pub life_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            operator_listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            device_listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            mqtt_listen: SocketAddr::from(([0, 0, 0, 0], 8883)),
            public_host: "localhost".into(),
            broker: Broker::Embedded,
            limits: Limits::default(),
            keep: Keep::default(),
            trust: Trust::default(),
            oms: Oms::default(),
            certificates: Certificates::default(),
            monitor: Monitor::default(),
            alerts: AlertsEntry::default(),
            alert: Vec::new(),
            receiver: Vec::new(),
            alerting: Settings::default(),
        }
    }
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            mqtt_connections: 5_000,
            device_connections: 1_000,
            handshake_s: 10,
            messages_per_s: 50,
            message_burst: 500,
            object_bytes: 2 << 30,
            silent_s: 180,
        }
    }
}
impl Default for Keep {
    fn default() -> Self {
        Self { windows_per_device: 500, reports_per_device: 500, hours_d: 30 }
    }
}
impl Default for Monitor {
    fn default() -> Self {
        Self { every_s: 300, span_h: 24, alpha: 0.01, min_effect: 0.02 }
    }
}
impl Default for Certificates {
    fn default() -> Self {
        Self { life_s: 365 * 86_400 }
    }
}
impl Default for Trust {
    fn default() -> Self {
        Self { timestamp_h: 48, snapshot_d: 30 }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a configuration.
    #[error("{path}:{line}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and what was probably meant.
        message: String,
    },
    /// A value that cannot work.
    #[error("{path}: {key} = {value} cannot work: {why}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why.
        why: &'static str,
    },
}

impl Config {
    /// The configuration of a data directory: `file` when given, else `config.toml` in `data`, else the defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(data: &Path, file: Option<&Path>) -> Result<Self, ConfigError> {
        let own = data.join("config.toml");
        let path = match file {
            Some(f) => f,
            None if own.exists() => &own,
            None => return Ok(Self::default()),
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads a configuration; `path` is named in errors.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] or [`ConfigError::Value`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |s| s.start.min(text.len()));
            let mut message = e.message().to_owned();
            if let Some(hint) = nearest_key(&message) {
                message = format!("{message}; did you mean `{hint}`?");
            }
            ConfigError::Invalid {
                path: path.to_owned(),
                line: text.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1,
                message,
            }
        })?;
        config.alerting = Settings::of(text, &config.alert, &config.receiver)
            .map_err(|e| ConfigError::Invalid { path: path.to_owned(), line: e.line, message: e.message })?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong =
            |key, value: String, why| Err(ConfigError::Value { path: path.to_owned(), key, value, why });
        if self.public_host.is_empty() || self.public_host.contains(['/', ':', ' ']) {
            return wrong(
                "public_host",
                format!("{:?}", self.public_host),
                "give a host name or address, without scheme and port",
            );
        }
        if !(24..=168).contains(&self.trust.timestamp_h) {
            return wrong(
                "trust.timestamp_h",
                self.trust.timestamp_h.to_string(),
                "timestamp.json is valid for 24 to 168 hours",
            );
        }
        if self.oms.require && self.oms.public_keys.is_empty() {
            return wrong("oms.require", "true".into(), "name the keys that count in oms.public_keys");
        }
        if self.oms.public_keys.iter().any(|pem| PublicKey::from_pem(pem).is_err()) {
            let why = "each must be the PEM text of an EC public key (P-256, P-384 or P-521)";
            return wrong("oms.public_keys", "a key".into(), why);
        }
        if let Some((key, value, why)) = wrong_entry(&self.alerts) {
            return wrong(key, value, why);
        }
        if self.certificates.life_s < 10 {
            return wrong(
                "certificates.life_s",
                self.certificates.life_s.to_string(),
                "devices could not renew in time: give 10 seconds at least, a year (31536000) in earnest",
            );
        }
        let m = &self.monitor;
        if m.every_s == 0 || !(1..=24 * 366).contains(&m.span_h) {
            let why = "verdicts are made every second at most, over 1 to 8784 hours";
            return wrong("monitor.every_s", m.every_s.to_string(), why);
        }
        if !(m.alpha > 0.0 && m.alpha < 1.0 && m.min_effect >= 0.0 && m.min_effect.is_finite()) {
            return wrong(
                "monitor.alpha",
                m.alpha.to_string(),
                "alpha is between 0 and 1, min_effect 0 or more",
            );
        }
        if self.limits.messages_per_s == 0 || self.limits.message_burst == 0 {
            return wrong("limits.messages_per_s", "0".into(), "no device could send anything");
        }
        if self.limits.mqtt_connections == 0 || self.limits.device_connections == 0 {
            return wrong("limits.mqtt_connections", "0".into(), "no device could connect");
        }
        Ok(())
    }
}

/// For "unknown field `x`, expected one of `a`, `b`": the expected key that is nearest to `x`, if any is near.
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return None;
    }
    let got = quoted.next()?;
    quoted
        .map(|key| (strsim::levenshtein(got, key), key))
        .filter(|(d, key)| *d <= 1 + key.len() / 3 || key.starts_with(got))
        .min()
        .map(|(_, key)| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("fleet.toml"))
    }

    #[test]
    fn the_reference_names_every_key_with_its_default() {
        let text = include_str!("../../docs/fleet-config.md");
        let block = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(parse(block).unwrap(), Config::default());
        let all = toml::to_string(&Config::default()).unwrap();
        for key in all.lines().filter_map(|l| l.split_once(" = ")).map(|(key, _)| key) {
            assert!(block.contains(&format!("{key} = ")), "{key} is not in docs/fleet-config.md");
        }
    }
    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse("").unwrap(), Config::default());
    }
    #[test]
    fn the_defaults_survive_being_written_and_read() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(parse(&text).unwrap(), Config::default());
    }
    #[test]
    fn a_wrong_key_is_named_with_its_line_and_the_nearest_key() {
        let e =
            parse("# c\npublic_host = \"a\"\noperator_listn = \"127.0.0.1:1\"\n").unwrap_err().to_string();
        assert!(e.starts_with("fleet.toml:3: "), "{e}");
        assert!(e.ends_with("did you mean `operator_listen`?"), "{e}");
        let e = parse("[limits]\nmqtt_conections = 3\n").unwrap_err().to_string();
        assert!(e.contains("fleet.toml:2") && e.ends_with("did you mean `mqtt_connections`?"), "{e}");
    }
    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let e = parse("\noperator_listen = \"nowhere\"").unwrap_err().to_string();
        assert!(e.starts_with("fleet.toml:2: "), "{e}");
        assert!(parse("broker = \"mqtt://plain\"").is_err());
        assert!(parse("[trust]\ntimestamp_h = 1").is_err());
        assert!(parse("public_host = \"https://a\"").is_err());
    }
    #[test]
    fn a_wrong_alert_rule_is_named_with_its_line_and_what_would_be_right() {
        let rule = "[[alert]]\nname = \"quiet\"\nkind = \"silence\"\n";
        let c = parse(&format!("{rule}threshold = \"2h\"\n")).unwrap();
        assert_eq!((c.alerting.rules.len(), c.alerting.shipped), (1, false));
        assert_eq!(parse(&toml::to_string(&c).unwrap()).unwrap().alerting, c.alerting);
        let e = parse(&format!("{rule}threshold = 2\n")).unwrap_err().to_string();
        assert!(e.starts_with("fleet.toml:4: ") && e.contains("threshold = \"15m\""), "{e}");
        let e = parse(&format!("{rule}treshold = 2\n")).unwrap_err().to_string();
        assert!(e.starts_with("fleet.toml:4: ") && e.ends_with("did you mean `threshold`?"), "{e}");
        let hook = "[[receiver]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"https://a/\"\nsecret = \"x\"\n";
        let e = parse(hook).unwrap_err().to_string();
        assert!(e.starts_with("fleet.toml:5: ") && e.ends_with("did you mean `secret_file`?"), "{e}");
        assert!(parse("[alerts]\nevery_s = 0\n").is_err());
    }
    #[test]
    fn an_external_broker_is_a_matter_of_configuration() {
        let c = parse("broker = \"mqtts://broker.example:18883\"").unwrap();
        assert_eq!(c.broker, Broker::External { host: "broker.example".into(), port: 18883 });
    }
}
