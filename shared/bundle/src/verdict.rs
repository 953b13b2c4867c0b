//! Whether a device can run a bundle: asked before anything is downloaded.

use semver::Version;

use crate::Requires;

/// What is known of a device.
#[derive(Debug, Clone, Copy)]
pub struct DeviceFacts<'a> {
    /// CPU architecture as Rust names it: `aarch64`, `arm`, `x86_64`, `riscv64`.
    pub arch: &'a str,
    /// Version of its agent.
    pub agent: &'a Version,
    /// Physical memory, MB; `None` when unknown.
    pub memory_mb: Option<u64>,
    /// Features it offers.
    pub features: &'a [&'a str],
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can run here.
    Compatible,
    /// It can never run on this device.
    Incompatible {
        /// Why.
        reason: String,
    },
    /// It can run here once the agent is at least this version.
    Outgrown {
        /// Version needed.
        needs: Version,
    },
}

impl Requires {
    /// Compares what the bundle needs with what the device has. An empty list of targets allows all.
    #[must_use]
    pub fn verdict(&self, device: &DeviceFacts<'_>) -> Verdict {
        let incompatible = |reason| Verdict::Incompatible { reason };
        if !self.targets.is_empty() && !self.targets.iter().any(|t| t == device.arch) {
            let wanted = self.targets.join(", ");
            return incompatible(format!("it is made for {wanted}; this device is {}", device.arch));
        }
        if let (Some(need), Some(have)) = (self.max_rss_mb, device.memory_mb)
            && u64::from(need) > have
        {
            return incompatible(format!("it may take {need} MB of memory; this device has {have} MB"));
        }
        if let Some(need) = &self.min_agent
            && device.agent < need
        {
            return Verdict::Outgrown { needs: need.clone() };
        }
        match self.features.iter().find(|f| !device.features.contains(&f.as_str())) {
            Some(f) => incompatible(format!("it needs the feature `{f}`, which this device does not offer")),
            None => Verdict::Compatible,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device<'a>(agent: &'a Version) -> DeviceFacts<'a> {
        DeviceFacts { arch: "aarch64", agent, memory_mb: Some(512), features: &["gpu"] }
    }

    #[test]
    fn nothing_required_runs_everywhere() {
        let agent = Version::new(0, 1, 0);
        assert_eq!(Requires::default().verdict(&device(&agent)), Verdict::Compatible);
    }

    #[test]
    fn each_requirement_is_compared() {
        let agent = Version::new(0, 1, 0);
        let all = Requires {
            targets: vec!["aarch64".into()],
            min_agent: Some(Version::new(0, 1, 0)),
            max_rss_mb: Some(512),
            max_p99_ms: Some(5),
            features: vec!["gpu".into()],
        };
        assert_eq!(all.verdict(&device(&agent)), Verdict::Compatible);
        let other = Requires { targets: vec!["x86_64".into()], ..all.clone() };
        assert!(matches!(other.verdict(&device(&agent)), Verdict::Incompatible { .. }));
        let big = Requires { max_rss_mb: Some(513), ..all.clone() };
        assert!(matches!(big.verdict(&device(&agent)), Verdict::Incompatible { .. }));
        let new = Requires { min_agent: Some(Version::new(0, 2, 0)), ..all.clone() };
        assert_eq!(new.verdict(&device(&agent)), Verdict::Outgrown { needs: Version::new(0, 2, 0) });
        let npu = Requires { features: vec!["npu".into()], ..all };
        assert!(matches!(npu.verdict(&device(&agent)), Verdict::Incompatible { .. }));
    }
}
