//! MQTT topics: `ls/1/<fleet>/<device>/up/<kind>` and `…/down/<kind>`. The ids are checked again inside the signed bytes.

use std::fmt;

use longshore_trust::{DeviceId, FleetId};

/// What a device publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Up {
    /// On every connect.
    Hello,
    /// Life cycle, inventory, health.
    Report,
    /// Window counters.
    Windows,
    /// Gap rows and happenings.
    Events,
}
/// What a device is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Down {
    /// A signed assignment.
    Assign,
    /// A signed command.
    Command,
    /// A signed receipt.
    Receipt,
    /// `timestamp.json`, verbatim.
    Doorbell,
}

impl Up {
    /// Last level of the topic.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Report => "report",
            Self::Windows => "windows",
            Self::Events => "events",
        }
    }
    /// The envelope kind that travels on this topic.
    #[must_use]
    pub const fn kind(self) -> longshore_trust::Kind {
        use longshore_trust::Kind;
        match self {
            Self::Hello => Kind::Hello,
            Self::Report => Kind::Report,
            Self::Windows => Kind::Windows,
            Self::Events => Kind::Events,
        }
    }
    /// The topic an envelope of `kind` is published on, if it goes up at all.
    #[must_use]
    pub const fn of_kind(kind: longshore_trust::Kind) -> Option<Self> {
        use longshore_trust::Kind;
        match kind {
            Kind::Hello => Some(Self::Hello),
            Kind::Report => Some(Self::Report),
            Kind::Windows => Some(Self::Windows),
            Kind::Events => Some(Self::Events),
            _ => None,
        }
    }
}
impl Down {
    /// Last level of the topic.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assign => "assign",
            Self::Command => "command",
            Self::Receipt => "receipt",
            Self::Doorbell => "doorbell",
        }
    }
}

/// Which way and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Device to fleet.
    Up(Up),
    /// Fleet to device.
    Down(Down),
}

/// One topic, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// Way and kind.
    pub direction: Direction,
}

/// Why a string is no topic of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Longshore topic (ls/1/<fleet>/<device>/up|down/<kind>)")]
pub struct TopicError(pub String);

impl Topic {
    /// A topic a device publishes on.
    #[must_use]
    pub fn up(fleet: &FleetId, device: &DeviceId, up: Up) -> Self {
        Self { fleet: fleet.clone(), device: device.clone(), direction: Direction::Up(up) }
    }
    /// A topic a device listens on.
    #[must_use]
    pub fn down(fleet: &FleetId, device: &DeviceId, down: Down) -> Self {
        Self { fleet: fleet.clone(), device: device.clone(), direction: Direction::Down(down) }
    }
    /// The filter a device subscribes to: `ls/1/<fleet>/<device>/down/+`.
    #[must_use]
    pub fn down_filter(fleet: &FleetId, device: &DeviceId) -> String {
        format!("ls/1/{fleet}/{device}/down/+")
    }
    /// The filter a fleet node subscribes to; `shared` spreads the load over several nodes.
    #[must_use]
    pub fn up_filter(fleet: &FleetId, shared: bool) -> String {
        if shared { format!("$share/fleet/ls/1/{fleet}/+/up/#") } else { format!("ls/1/{fleet}/+/up/#") }
    }
    /// Parses a topic.
    ///
    /// # Errors
    /// [`TopicError`] for anything that is not exactly one of ours.
    pub fn parse(s: &str) -> Result<Self, TopicError> {
        let err = || TopicError(s.chars().take(200).collect());
        let parts: Vec<&str> = s.split('/').collect();
        let ["ls", "1", fleet, device, way, kind] = parts[..] else {
            return Err(err());
        };
        let direction = match (way, kind) {
            ("up", "hello") => Direction::Up(Up::Hello),
            ("up", "report") => Direction::Up(Up::Report),
            ("up", "windows") => Direction::Up(Up::Windows),
            ("up", "events") => Direction::Up(Up::Events),
            ("down", "assign") => Direction::Down(Down::Assign),
            ("down", "command") => Direction::Down(Down::Command),
            ("down", "receipt") => Direction::Down(Down::Receipt),
            ("down", "doorbell") => Direction::Down(Down::Doorbell),
            _ => return Err(err()),
        };
        Ok(Self {
            fleet: fleet.parse().map_err(|_| err())?,
            device: device.parse().map_err(|_| err())?,
            direction,
        })
    }
}
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, kind) = match self.direction {
            Direction::Up(u) => ("up", u.as_str()),
            Direction::Down(d) => ("down", d.as_str()),
        };
        write!(f, "ls/1/{}/{}/{way}/{kind}", self.fleet, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_topic_reads_back() {
        let (f, d) = ("demo".parse().unwrap(), "dev-1".parse().unwrap());
        for t in [Topic::up(&f, &d, Up::Windows), Topic::down(&f, &d, Down::Receipt)] {
            assert_eq!(Topic::parse(&t.to_string()), Ok(t));
        }
    }
    #[test]
    fn foreign_and_tricky_topics_are_refused() {
        for t in [
            "",
            "ls/1/demo/dev-1/up/hello/x",
            "ls/1/demo/+/up/hello",
            "ls/1/demo/#",
            "ls/2/demo/d/up/hello",
            "ls/1/demo/d/up/assign",
            "ls/1/de mo/d/up/hello",
            "ls/1//d/up/hello",
            "$SYS/1/a/b/up/hello",
        ] {
            assert!(Topic::parse(t).is_err(), "{t}");
        }
    }
}
