//! Cohorts: whose rows are kept apart.
//!
//! What always holds: one cohort has one writing, which can be read back; what devices call themselves is cut to a bound and
//! cannot pass for something else. The rows of a device always count for the whole fleet, for its hardware, and (where the
//! manifest declares labels) for the values of its labels, as they were when the window arrived.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest value of a label, and longest name of hardware, characters.
pub const VALUE_MAX: usize = 64;
/// What a device without a label is counted under.
pub const NONE: &str = "none";
/// Label by which a device names its own kind of hardware.
pub const HARDWARE_LABEL: &str = "hw";
/// Most cohorts of a model; rows of further ones are counted together.
pub const COHORTS_MAX: u32 = 256;

/// Whose rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cohort {
    /// Everybody's.
    Fleet,
    /// Of devices with these values of the declared labels.
    Labels(BTreeMap<String, String>),
    /// Of devices of one kind of hardware.
    Hardware(String),
    /// Of devices whose cohort came when there were [`COHORTS_MAX`] already.
    Other,
}

/// Not the writing of a cohort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cohort: write `fleet`, `other`, `label=value` (several with commas) or `hw:NAME`")]
pub struct NoCohort(String);

impl Cohort {
    /// By the labels a manifest declares; `None` where it declares none.
    #[must_use]
    pub fn of_labels(declared: &[String], labels: &BTreeMap<String, String>) -> Option<Self> {
        let value = |key: &String| {
            let told = labels.get(key).map(|v| cut(v)).filter(|v| !v.is_empty());
            (key.clone(), told.unwrap_or_else(|| NONE.to_owned()))
        };
        (!declared.is_empty()).then(|| Self::Labels(declared.iter().map(value).collect()))
    }
    /// By hardware: the label `hw`, else board, else processor architecture.
    #[must_use]
    pub fn of_hardware(labels: &BTreeMap<String, String>, board: &str, arch: &str) -> Self {
        let told = labels.get(HARDWARE_LABEL).map_or("", String::as_str);
        let name = [told, board, arch].into_iter().map(cut).find(|v| !v.is_empty());
        Self::Hardware(name.unwrap_or_else(|| NONE.to_owned()))
    }
    /// Whether it is everybody.
    #[must_use]
    pub fn is_fleet(&self) -> bool {
        *self == Self::Fleet
    }
}

/// What a device wrote, without control characters and of bounded length.
fn cut(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(VALUE_MAX).collect()
}

impl fmt::Display for Cohort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Other => f.write_str("other"),
            Self::Hardware(name) => write!(f, "hw:{name}"),
            Self::Labels(labels) => {
                for (i, (key, value)) in labels.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{}={}", escape(key), escape(value))?;
                }
                Ok(())
            }
        }
    }
}

/// `,`, `=`, `:` and `%` mean something in the writing of a cohort.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => out.push_str("%25"),
            ',' => out.push_str("%2C"),
            '=' => out.push_str("%3D"),
            ':' => out.push_str("%3A"),
            c => out.push(c),
        }
    }
    out
}

fn unescape(text: &str) -> String {
    // The percent sign last, or what it made would be read again.
    text.replace("%2C", ",").replace("%3D", "=").replace("%3A", ":").replace("%25", "%")
}

impl FromStr for Cohort {
    type Err = NoCohort;
    fn from_str(s: &str) -> Result<Self, NoCohort> {
        match s {
            "fleet" => return Ok(Self::Fleet),
            "other" => return Ok(Self::Other),
            _ => {}
        }
        if let Some(name) = s.strip_prefix("hw:") {
            return Ok(Self::Hardware(name.to_owned()));
        }
        let pair = |p: &str| p.split_once('=').map(|(k, v)| (unescape(k), unescape(v)));
        let labels: Option<BTreeMap<String, String>> = s.split(',').map(pair).collect();
        let short: String = s.chars().take(80).collect();
        labels.map(Self::Labels).ok_or(NoCohort(short))
    }
}

impl Serialize for Cohort {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Cohort {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_cohort_is_read_back_as_it_was_written() {
        let hostile = "fleet,other=%3D:hw";
        let all = [
            Cohort::Fleet,
            Cohort::Other,
            Cohort::Hardware("aarch64 · Pi 4, rev=1".into()),
            Cohort::Labels(labels(&[("site", "ams"), ("line", "3")])),
            Cohort::Labels(labels(&[("site", hostile), (hostile, "fleet")])),
            Cohort::Labels(labels(&[("hw:x", "fleet")])),
        ];
        for c in &all {
            assert_eq!(c.to_string().parse::<Cohort>().as_ref(), Ok(c));
            let json = serde_json::to_string(c).unwrap();
            assert_eq!(&serde_json::from_str::<Cohort>(&json).unwrap(), c);
        }
        assert!("nonsense".parse::<Cohort>().is_err());
    }
    #[test]
    fn a_device_without_a_label_is_counted_under_none_and_a_long_one_is_cut() {
        let declared = ["site".to_owned(), "line".to_owned()];
        let found = Cohort::of_labels(&declared, &labels(&[("site", &"x".repeat(500)), ("ring", "hil")]));
        let want = labels(&[("site", &"x".repeat(VALUE_MAX)), ("line", NONE)]);
        assert_eq!(found, Some(Cohort::Labels(want)));
        assert_eq!(Cohort::of_labels(&[], &labels(&[("site", "ams")])), None);
    }
    #[test]
    fn hardware_is_the_label_else_the_board_else_the_architecture() {
        let none = labels(&[]);
        assert_eq!(
            Cohort::of_hardware(&labels(&[("hw", "cam-2")]), "Pi", "arm"),
            Cohort::Hardware("cam-2".into())
        );
        assert_eq!(Cohort::of_hardware(&none, "Pi\n4", "arm"), Cohort::Hardware("Pi4".into()));
        assert_eq!(Cohort::of_hardware(&none, "", "arm"), Cohort::Hardware("arm".into()));
        assert_eq!(Cohort::of_hardware(&none, "", ""), Cohort::Hardware(NONE.into()));
    }
}
