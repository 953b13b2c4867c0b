//! A whole site: a real server in this process, so that a test can do what somebody who owns it could do, and a real
//! agent in processes of its own, enrolled over HTTPS and connected over MQTT.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longshore_bundle::author::{self, NewFile};
use longshore_bundle::{Role, Tensor};
use longshore_fleet::serve::Running;
use longshore_fleet::{app, store};
use longshore_hil_tests::socket::Socket;
use longshore_runtime::describe;
use longshore_trust::tuf::edit::{self, DelegationSpec, TargetsSpec};
use longshore_trust::tuf::{ReleaseInfo, RollbackOk, TargetInfo};
use longshore_trust::{
    AssignmentVersion, DeviceId, Digest, Generation, ModelName, ReleaseCounter, Seq, SigningKey, StreamId,
    TimeQuality,
};
use longshore_wire::v1::{
    self, Assignment, Body, Commit, Guard, Header, Mode, Probation, Slot, TargetsVersion,
};
use serde_json::{Value, json};

use crate::server::{self, Home, LATER};

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The model that the device runs.
pub const MODEL: &str = "meter-digits";
/// The device.
pub const DEVICE: &str = "dev-1";

/// A bundle in memory.
pub struct Bundle {
    pub digest: Digest,
    pub length: u64,
    pub files: Vec<(String, Vec<u8>)>,
    pub golden: Tensor,
}

/// The example's digit reader under a name and version of the caller's choice.
pub fn bundle(model: &str, version: &str) -> Bundle {
    bundle_with(model, version, |onnx| onnx)
}

/// The same with the model's file changed, and everything else as if it were not.
pub fn bundle_with(model: &str, version: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Bundle {
    let file = |name: &str| {
        fs::read(longshore_hil_tests::root().join("examples/meter-digits/1.0.0").join(name)).unwrap()
    };
    let onnx = file("model.onnx");
    let said = describe::describe(&onnx).unwrap();
    let mut manifest = author::draft(
        ModelName::new(model).unwrap(),
        version.parse().unwrap(),
        "2026-01-02T03:04:05Z".into(),
        said.inputs,
        said.outputs,
    );
    author::describe_classes(&mut manifest, Some((0..10).map(|d| format!("digit {d}")).collect())).unwrap();
    let golden = author::golden_of(author::read_npz(&file("golden.npz")).unwrap(), &manifest).unwrap();
    let input = golden.inputs[0].clone();
    let onnx = change(onnx);
    let files = vec![NewFile::of(Role::Model, onnx), NewFile::of(Role::Golden, golden.to_bytes().unwrap())];
    let assembled = author::assemble(manifest, files).unwrap();
    let mut files = vec![("manifest.json".to_owned(), assembled.manifest_bytes)];
    files.extend(assembled.files.into_iter().map(|f| (f.path.as_str().to_owned(), f.bytes)));
    let (digest, length) = (Digest::of(&files[0].1), files[0].1.len() as u64);
    Bundle { digest, length, files, golden: input }
}

/// What `approve` would be told.
#[derive(Default)]
pub struct Approval {
    pub counter: u64,
    pub back: Vec<RollbackOk>,
    pub hw: Vec<String>,
}

/// Server and device.
pub struct Site {
    pub runtime: tokio::runtime::Runtime,
    pub home: Home,
    pub running: Running,
    pub dir: tempfile::TempDir,
    /// Offline: 2 of 3 sign the roles of all models.
    pub release: Vec<SigningKey>,
    roles: BTreeMap<String, TargetsSpec>,
    agent: Option<Child>,
    /// Of what the director told the device last.
    pub version: u64,
    seq: u64,
    row: u64,
}

impl Site {
    /// A server that knows the models [`MODEL`] and `door`, and a device that is not enrolled.
    pub fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let home = runtime.block_on(Home::new());
        let running = runtime.block_on(home.start());
        let release: Vec<SigningKey> = (31..=33).map(server::key).collect();
        let delegations = [MODEL, "door"].map(|model| DelegationSpec {
            role: format!("models/{model}"),
            keys: server::role(&release, 2),
            paths: vec![format!("{model}/*/*"), format!("{model}/*/*/*")],
            terminating: true,
        });
        let targets = TargetsSpec {
            version: 2,
            expires: LATER,
            targets: BTreeMap::new(),
            delegations: delegations.into(),
        };
        let bytes = server::signed(edit::targets(&targets), &home.offline.targets[..2]);
        runtime.block_on(running.app.trust.submit("tester", "targets", &bytes, app::now())).unwrap();
        let site = Self {
            runtime,
            home,
            running,
            dir: tempfile::tempdir().unwrap(),
            release,
            roles: BTreeMap::new(),
            agent: None,
            version: 0,
            seq: 0,
            row: 0,
        };
        let dir = site.dir.path().display();
        let config = format!(
            "state_dir = \"{dir}/state\"\nrun_dir = \"{dir}/run\"\n[intervals]\njournal = \"200ms\"\nwindow = \"400ms\"\n\
             health = \"1s\"\n[limits]\nmin_free_bytes = 0\n[link]\nretry_min = \"100ms\"\nretry_max = \"1s\"\n"
        );
        fs::write(site.dir.path().join("agent.toml"), config).unwrap();
        site
    }
    /// The same with the device enrolled and running.
    pub fn with_device() -> Self {
        let mut site = Self::new();
        let token = site.token(1);
        let out = site.enroll(&token);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        site.start_agent();
        site
    }
    /// The same, and the device has committed version 1.0.0 and then 2.0.0 of [`MODEL`], counters 1 and 2.
    pub fn with_model() -> Self {
        let mut site = Self::with_device();
        for (counter, version) in [(1, "1.0.0"), (2, "2.0.0")] {
            let approved = bundle(MODEL, version);
            site.approve(MODEL, version, &approved, Approval { counter, ..Approval::default() });
            site.assign(vec![slot(MODEL, version, &approved, counter)], |_, _| {});
            site.until(&format!("{version} committed"), |s| s.runs(version, "committed"));
        }
        site
    }
    /// What an operator hands to the device: the token pins root and CA of the operator's own trust store.
    pub fn token(&self, n: u16) -> Value {
        self.runtime.block_on(server::add_token(&self.running.app.store, n, LATER, None));
        let keys = self.home.keys();
        json!({
            "url": format!("https://localhost:{}", self.running.device.port()), "fleet": "demo",
            "token": hex::encode(server::token_bytes(n)), "root_sha256": Digest::of(&keys.root),
            "ca_sha256": Digest::of(keys.ca.pem().as_bytes()), "device": DEVICE,
        })
    }
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(longshore_hil_tests::bin_dir().join("longshore-agent"));
        command.arg(name).arg("--config").arg(self.dir.path().join("agent.toml")).stdin(Stdio::null());
        command
    }
    /// `longshore-agent enroll`.
    pub fn enroll(&self, token: &Value) -> Output {
        let file = self.dir.path().join("token");
        fs::write(&file, format!("lsh1.{}\n", URL_SAFE_NO_PAD.encode(token.to_string()))).unwrap();
        self.command("enroll").arg("--token-file").arg(file).output().unwrap()
    }
    pub fn start_agent(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        self.agent = Some(self.command("run").stderr(log).spawn().unwrap());
    }
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
    pub fn socket(&self) -> Socket {
        Socket(self.dir.path().join("run/api.sock"))
    }
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
    /// What the agent says of itself.
    pub fn status(&self) -> Value {
        let text = fs::read(self.dir.path().join("run/status.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }
    /// What it says of one model.
    pub fn model(&self, name: &str) -> Value {
        let status = self.status();
        let models = status["models"].as_array().cloned().unwrap_or_default();
        models.into_iter().find(|m| m["model"] == name).unwrap_or(Value::Null)
    }
    pub fn runs(&self, version: &str, state: &str) -> bool {
        let model = self.model(MODEL);
        model["version"] == version && model["state"] == state
    }
    /// Asks until it is so.
    pub fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            let fleet: Vec<_> = self.told(0);
            assert!(
                begun.elapsed() < PATIENCE,
                "never: {what}\nstatus: {}\ntold: {fleet:?}\nlog:\n{}",
                self.status(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Uploads a bundle; nobody has approved it.
    pub fn upload(&self, bundle: &Bundle) {
        for (_, bytes) in &bundle.files {
            self.runtime.block_on(self.running.app.objects.put(bytes)).unwrap();
        }
    }
    /// Uploads a bundle and has two offline keys approve it.
    pub fn approve(&mut self, model: &str, version: &str, bundle: &Bundle, approval: Approval) {
        self.upload(bundle);
        let role = format!("models/{model}");
        let empty =
            || TargetsSpec { version: 0, expires: LATER, targets: BTreeMap::new(), delegations: Vec::new() };
        let spec = self.roles.entry(role.clone()).or_insert_with(empty);
        for (i, (path, bytes)) in bundle.files.iter().enumerate() {
            let release = ReleaseInfo {
                release_counter: ReleaseCounter(approval.counter),
                rollback_ok: approval.back.clone(),
                hw: approval.hw.clone(),
            };
            let custom = if i == 0 { release.to_custom() } else { serde_json::Map::new() };
            let info = TargetInfo { length: bytes.len() as u64, sha256: Digest::of(bytes), custom };
            spec.targets.insert(format!("{model}/{version}/{path}"), info);
        }
        self.publish(&role);
    }
    /// What the offline keys have approved for a model so far.
    pub fn role(&self, model: &str) -> TargetsSpec {
        self.roles[&format!("models/{model}")].clone()
    }
    /// Publishes a role as the offline keys have it, one version above what is published.
    pub fn publish(&mut self, role: &str) {
        let published = self.published(role);
        let spec = self.roles.get_mut(role).unwrap();
        spec.version = published + 1;
        let bytes = server::signed(edit::targets(spec), &self.release[..2]);
        self.runtime.block_on(self.running.app.trust.submit("tester", role, &bytes, app::now())).unwrap();
    }
    /// The version of a role that is served.
    pub fn published(&self, role: &str) -> u64 {
        let roles = self.runtime.block_on(self.running.app.store.newest_roles()).unwrap();
        roles.iter().find(|(r, ..)| r == role).map_or(0, |(_, v, _)| *v)
    }
    /// Serves bytes as a version of a role, whoever signed them: what the server's owner can do.
    pub fn serve(&self, role: &str, version: u64, bytes: &[u8]) {
        self.runtime.block_on(async {
            let mut tx = self.running.app.store.write().await.unwrap();
            store::trust::publish(&mut tx, role, version, bytes, app::now()).await.unwrap();
            tx.commit().await.unwrap();
        });
    }
    /// A snapshot that names `meta`, and its timestamp, signed with the server's own keys and served.
    pub fn serve_snapshot(&self, meta: BTreeMap<String, u64>) {
        let (snapshot, timestamp) = (self.published("snapshot") + 1, self.published("timestamp") + 1);
        let bytes = server::signed(edit::snapshot(snapshot, LATER, meta), &self.home.offline.online[..1]);
        let stamp = edit::timestamp(timestamp, LATER, &bytes, snapshot);
        self.serve("snapshot", snapshot, &bytes);
        self.serve("timestamp", timestamp, &server::signed(stamp, &self.home.offline.online[1..2]));
    }
    /// Versions that a true snapshot names now.
    pub fn meta(&self) -> BTreeMap<String, u64> {
        ["targets".to_owned(), format!("models/{MODEL}"), "models/door".into()]
            .into_iter()
            .map(|role| (format!("{role}.json"), self.published(&role)))
            .filter(|(_, v)| *v > 0)
            .collect()
    }

    /// The director's key: online, and in the attacker's hand.
    pub fn director(&self) -> &SigningKey {
        &self.home.offline.online[2]
    }
    pub fn header(&mut self) -> Header {
        self.seq += 1;
        Header {
            schema: v1::SCHEMA,
            fleet: self.home.offline.fleet.clone(),
            device: DEVICE.parse().unwrap(),
            stream: StreamId(1),
            seq: Seq(self.seq),
            time: app::now(),
            time_quality: TimeQuality::Ntp,
        }
    }
    /// Signs an assignment of these slots, as `change` has it, and sends it.
    pub fn assign(&mut self, slots: Vec<Slot>, change: impl FnOnce(&mut Header, &mut Assignment)) -> Vec<u8> {
        self.version += 1;
        let now = app::now();
        let mut header = self.header();
        let mut order = Assignment {
            version: AssignmentVersion(self.version),
            generation: Generation(self.version),
            rollout: None,
            issued: now,
            activate_by: now.plus_ms(600_000),
            not_after: now.plus_ms(600_000),
            probation: Probation { min_ms: 200, commit: Commit::Local },
            guard: Guard::default(),
            targets_versions: vec![TargetsVersion { role: "targets".into(), version: 1 }],
            slots,
        };
        change(&mut header, &mut order);
        let bytes = v1::seal(header, order, self.director()).unwrap();
        self.send_assignment(&bytes);
        bytes
    }
    /// Puts bytes where the server keeps its assignments, and has it send them.
    pub fn send_assignment(&mut self, bytes: &[u8]) {
        self.row += 1;
        let stored = store::director::StoredAssignment {
            device: device(),
            version: AssignmentVersion(self.row),
            generation: Generation(self.row),
            rollout: None,
            bytes: bytes.to_vec(),
            created: app::now(),
            not_after: LATER,
        };
        self.runtime.block_on(async {
            let mut tx = self.running.app.store.write().await.unwrap();
            store::director::insert_assignment(&mut tx, &stored).await.unwrap();
            tx.commit().await.unwrap();
        });
        self.running.app.gateway.push(device());
    }
    /// Signs any body for the device.
    pub fn seal<B: Body>(&mut self, body: B) -> Vec<u8> {
        let header = self.header();
        v1::seal(header, body, self.director()).unwrap()
    }
    /// Puts bytes where the server keeps its commands, and has it send them.
    pub fn send_command(&mut self, bytes: &[u8]) {
        self.row += 1;
        let seq = Seq(self.row);
        self.runtime.block_on(async {
            let mut tx = self.running.app.store.write().await.unwrap();
            store::director::insert_command(&mut tx, &device(), seq, bytes, app::now(), LATER).await.unwrap();
            tx.commit().await.unwrap();
        });
        self.running.app.gateway.push(device());
    }

    /// The fleet's database, as a file.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.home.data().database()).unwrap()
    }
    /// How far the fleet's record of the device goes.
    pub fn mark(&self) -> i64 {
        let count = "SELECT (SELECT count(*) FROM device_event) + (SELECT count(*) FROM update_report)";
        self.database().query_row(count, [], |r| r.get(0)).unwrap()
    }
    /// Codes and states that the device has told the fleet: all events and reports, the newest last.
    pub fn told(&self, after_version: u64) -> Vec<String> {
        let db = self.database();
        let mut q = db
            .prepare(
                "SELECT received, kind || ' ' || coalesce(json_extract(body, '$.code'), '') FROM device_event
                 UNION ALL
                 SELECT received, assignment_version || ' ' || state || ' ' || coalesce(code, '') FROM update_report
                 WHERE assignment_version > ?1 ORDER BY received",
            )
            .unwrap();
        let rows = q.query_map([after_version as i64], |r| r.get::<_, String>(1)).unwrap();
        rows.map(Result::unwrap).collect()
    }
    /// Whether the device has reported this state and code for an assignment.
    pub fn reported(&self, version: u64, state: &str, code: &str) -> bool {
        let all = "SELECT count(*) FROM update_report WHERE assignment_version = ?1 AND state = ?2 AND coalesce(code, '') = ?3";
        let params = rusqlite::params![version as i64, state, code];
        self.database().query_row(all, params, |r| r.get::<_, i64>(0)).unwrap() > 0
    }
    /// How many events REFUSED of this code the fleet has.
    pub fn refusals(&self, code: &str) -> i64 {
        let all =
            "SELECT count(*) FROM device_event WHERE kind = 'refused' AND json_extract(body, '$.code') = ?1";
        self.database().query_row(all, [code], |r| r.get(0)).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        self.running.app.stop.cancel();
    }
}

pub fn device() -> DeviceId {
    DEVICE.parse().unwrap()
}
/// A slot as the director would sign it.
pub fn slot(model: &str, version: &str, bundle: &Bundle, counter: u64) -> Slot {
    Slot {
        model: model.parse().unwrap(),
        manifest_path: format!("{model}/{version}/manifest.json"),
        sha256: bundle.digest,
        length: bundle.length,
        release_counter: ReleaseCounter(counter),
        mode: Mode::Active,
    }
}
