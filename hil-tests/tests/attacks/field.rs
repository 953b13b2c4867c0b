//! A device in memory with the real trust client: its update core, its trust store, and a repository that can be broken.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use longshore_agent::fetch::{BundleJob, RangeReply, RangeSource, view_of};
use longshore_agent_core::TargetsView;
use longshore_agent_core::assignment::reason;
use longshore_agent_core::update::{Input, Installed, Output};
use longshore_trust::tuf::Trusted;
use longshore_trust::{Digest, ReleaseCounter};
use longshore_wire::v1::{Assignment, Commit, EventKind, Reason, UpdateState};
use serde_json::{Value, json};

use crate::repo::{Client, NOW, RELEASE, Repo, delegation, head};
use crate::twin::{T0, Twin, assigned, assignment, bundle, header, path};

/// The offline role of the model `digits`.
pub const ROLE: &str = "models/digits";

/// Device and repository.
pub struct Field {
    pub repo: Repo,
    pub client: Client,
    pub device: Twin,
    version: u64,
}

/// A target of `digits` as `approve` signs it.
pub fn approved(n: u64) -> Value {
    json!({"length": 100 + n, "hashes": {"sha256": bundle(n).to_hex()}, "custom": {"release_counter": n}})
}

impl Field {
    /// Bundles 1 to 3 are approved; the device has committed 1 and 2.
    pub fn new() -> Self {
        let mut repo = Repo::new();
        let client = Client::new(&repo);
        let mut model = head("targets");
        model["targets"] = (1..=3).map(|n| (path(n), approved(n))).collect::<serde_json::Map<_, _>>().into();
        repo.roles.insert(ROLE.into(), model);
        repo.signers.insert(ROLE.into(), vec![RELEASE]);
        let entry = delegation(ROLE, &[RELEASE], &["digits/*/*"], true);
        repo.roles.get_mut("targets").unwrap()["delegations"]["roles"].as_array_mut().unwrap().push(entry);
        repo.release(&["targets", ROLE]);
        let mut field = Self { repo, client, device: Twin::new(), version: 0 };
        field.tell(1, |_| {});
        field.tell(2, |_| {});
        assert_eq!(field.device.serving, Some(bundle(2)));
        field
    }
    /// The director assigns bundle `n`, as `change` has it; the rest happens.
    pub fn tell(&mut self, n: u64, change: impl FnOnce(&mut Assignment)) {
        self.version += 1;
        let now = self.device.now;
        let mut order = assignment(self.version, n, Commit::Local);
        (order.issued, order.activate_by, order.not_after) = (now, now.plus_ms(60_000), now.plus_ms(120_000));
        change(&mut order);
        self.device.feed(assigned(header(1, self.version), order));
        self.pass(6_000);
    }
    /// Time passes; what is due is done.
    pub fn pass(&mut self, ms: u64) {
        let end = self.device.now.plus_ms(ms);
        loop {
            self.settle();
            if self.device.now >= end {
                return;
            }
            self.device.now = self.device.now.max(self.device.wake.min(end));
            self.device.feed(Input::Tick);
        }
    }
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.device.commit() {
                continue;
            }
            match self.device.wishes.front().cloned() {
                Some(Output::Refresh(paths)) => {
                    self.device.wishes.pop_front();
                    let view = self.refresh(&paths);
                    self.device.feed(Input::Targets(view));
                }
                Some(_) => _ = self.device.work(),
                None => return,
            }
        }
        panic!("it never settles");
    }
    fn refresh(&mut self, paths: &[String]) -> Result<TargetsView, Reason> {
        self.client.now = NOW.plus_ms(self.device.now.since(T0));
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        let trusted = self.client.refresh(&self.repo, &names);
        trusted.map(|t| view_of(&t, paths)).map_err(|e| reason("trust.refused", e.to_string()))
    }
    /// Code of the last event REFUSED.
    pub fn refused(&self) -> Option<&str> {
        self.device.disk.events.iter().rev().find_map(|e| match e {
            EventKind::Refused(why) => Some(why.code.as_str()),
            _ => None,
        })
    }
    /// The last report: state and code.
    pub fn last(&self) -> (UpdateState, Option<&str>) {
        let disk = &self.device.disk;
        let code = disk.why.last().and_then(|w| w.as_ref()).map(|w| w.code.as_str());
        (disk.reports.last().expect("something was reported").1, code)
    }
    /// What must hold whatever was tried: bundle 2 serves and is committed, and the floor has not moved.
    pub fn unharmed(&self, what: &str) {
        let record = self.device.record();
        assert_eq!(self.device.serving, Some(bundle(2)), "{what}");
        assert_eq!(record.active.as_ref().map(|i| i.bundle), Some(bundle(2)), "{what}");
        assert_eq!(record.floor, ReleaseCounter(2), "{what}");
    }
}

/// A download of the bundle whose manifest `trusted` names under `manifest_path`.
pub fn job(trusted: &Trusted, state: &Path, model: &str, version: &str) -> BundleJob {
    let manifest_path = format!("{model}/{version}/manifest.json");
    let (_, info) = trusted.target(&manifest_path).expect("it is approved");
    BundleJob {
        model: model.parse().unwrap(),
        wanted: Installed {
            bundle: info.sha256,
            version: version.into(),
            manifest_path,
            length: info.length,
            release_counter: ReleaseCounter(1),
            origin: Default::default(),
        },
        trusted: Arc::new(trusted.clone()),
        state_dir: state.to_owned(),
        keep_free_bytes: 0,
        attempt_bytes: u64::MAX,
        memory_mb: None,
        features: Vec::new(),
        cancel: Arc::new(AtomicBool::new(false)),
    }
}

/// A mirror in memory: what it has by URL, and what it was asked for.
#[derive(Default)]
pub struct Mirror {
    pub files: BTreeMap<String, Vec<u8>>,
    pub asked: RefCell<Vec<String>>,
    /// Goes on after the end that was asked for, as long as anybody listens.
    pub endless: bool,
}

impl Mirror {
    /// Has the bytes of a target under the name that a consistent snapshot gives it.
    pub fn put(&mut self, path: &str, sha256: &Digest, bytes: &[u8]) {
        let url = longshore_trust::tuf::target_url(path, Some(&sha256.to_hex()));
        self.files.insert(format!("targets/{url}"), bytes.to_vec());
    }
}

impl RangeSource for Mirror {
    fn range(
        &self,
        url: &str,
        from: u64,
        to: u64,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> RangeReply {
        self.asked.borrow_mut().push(url.to_owned());
        let Some(bytes) = self.files.get(url) else { return RangeReply::Status(404) };
        let end = if self.endless { bytes.len() } else { bytes.len().min(to as usize) };
        for chunk in bytes.get(from as usize..end).unwrap_or_default().chunks(1000) {
            if let Err(e) = sink(chunk) {
                return RangeReply::Sink(e);
            }
        }
        RangeReply::Done
    }
}
