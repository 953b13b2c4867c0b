//! A server's parts around a temporary directory, offline keys, and devices that do as they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use longshore_fleet::app::{App, Shared, now};
use longshore_fleet::audit::AuditLog;
use longshore_fleet::config::Config;
use longshore_fleet::director::Director;
use longshore_fleet::events::Bus;
use longshore_fleet::objects::ObjectDir;
use longshore_fleet::store::{Store, catalogue, device, ingest, stream, trust};
use longshore_fleet::tls::{DeviceCertificate, Validity};
use longshore_fleet::trust_repo::{OnlineSigners, TrustRepo};
use longshore_fleet::{api, auth, gateway};
use longshore_stats::shadow::Compared;
use longshore_stats::{Counters, ShadowTable};
use longshore_trust::tuf::edit::{self, DelegationSpec, RoleKeys, RootSpec, Signed, TargetsSpec};
use longshore_trust::tuf::{ReleaseInfo, RollbackOk, TargetInfo};
use longshore_trust::{
    AssignmentVersion, DeviceId, Digest, FleetId, Generation, ReleaseCounter, Seq, SigningKey, StreamId,
    TimeQuality, UnixMs,
};
use longshore_wire::v1::{
    self, Assignment, Command, Deviation, Header, Hello, Reason, ReportBody, TrialReport, UpdateReport,
    UpdateState, Window, WindowKey,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub const LATER: UnixMs = UnixMs(4_000_000_000_000);
pub const PASSWORD: &str = "correct horse battery";

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}
fn role(key: &SigningKey) -> RoleKeys {
    RoleKeys { keys: vec![key.public()], threshold: 1 }
}
fn signed(mut document: Signed, key: &SigningKey) -> Vec<u8> {
    document.sign(key);
    document.to_bytes()
}

pub struct Fleet {
    pub app: Shared,
    pub token: String,
    targets: std::sync::Mutex<TargetsSpec>,
    stream_seq: std::sync::atomic::AtomicU64,
    dir: tempfile::TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub json: Value,
}

impl Fleet {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }
    /// With another configuration.
    pub async fn with(change: impl Fn(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("fleet.db")).await.unwrap();
        let fleet: FleetId = "harbour".parse().unwrap();
        let mut config = Config::default();
        change(&mut config);
        let (events, (gateway, _asks)) = (Bus::new(), gateway::Handle::new());
        let director = Director::new(key(3), fleet.clone(), 1);
        let keys = OnlineSigners::new(vec![key(1)], vec![key(2)], director.clone(), None);
        let trust =
            TrustRepo::new(store.clone(), keys, config.trust.clone(), events.clone(), gateway.clone());
        let root = RootSpec {
            version: 1,
            expires: LATER,
            fleet: fleet.clone(),
            solo: true,
            root: role(&key(10)),
            targets: role(&key(11)),
            snapshot: role(&key(1)),
            timestamp: role(&key(2)),
            director: role(&key(3)),
            time: None,
        };
        let delegation = DelegationSpec {
            role: "models/m".into(),
            keys: role(&key(12)),
            paths: vec!["m/*/*".into(), "m/*/*/*".into()],
            terminating: true,
        };
        let top = TargetsSpec {
            version: 1,
            expires: LATER,
            targets: BTreeMap::new(),
            delegations: vec![delegation],
        };
        trust
            .import(&signed(edit::root(&root), &key(10)), &signed(edit::targets(&top), &key(11)), now())
            .await
            .unwrap();
        let audit = AuditLog::open(store.clone(), SigningKey::from_seed(&[9; 32]), &fleet, 1).await.unwrap();
        let app = Arc::new(App {
            audit,
            events,
            gateway,
            trust,
            objects: ObjectDir::open(&dir.path().join("objects")).unwrap(),
            director,
            config,
            fleet,
            stop: tokio_util::sync::CancellationToken::new(),
            store,
        });
        auth::create_admin(&app.store, "admin", PASSWORD, now()).await.unwrap();
        let mut tx = app.store.write().await.unwrap();
        let token = auth::create_token(&mut tx, "admin", "test", None, now()).await.unwrap();
        tx.commit().await.unwrap();
        let targets =
            TargetsSpec { version: 0, expires: LATER, targets: BTreeMap::new(), delegations: Vec::new() };
        Self { app, token, targets: targets.into(), stream_seq: 1.into(), dir }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = api::router(self.app.clone()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: head.status, headers: head.headers, json }
    }
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Request<Body> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        request.body(body.map_or_else(Body::empty, |b| Body::from(b.to_string()))).unwrap()
    }
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path, None)).await
    }
    pub async fn text(&self, path: &str) -> String {
        let response = api::router(self.app.clone()).oneshot(self.request("GET", path, None)).await.unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("POST", path, Some(&body))).await
    }
    /// The same as another administrator.
    pub async fn post_as(&self, person: &str, path: &str, body: Value) -> Answer {
        let mut tx = self.app.store.write().await.unwrap();
        let token = auth::create_token(&mut tx, person, "test", None, now()).await.unwrap();
        tx.commit().await.unwrap();
        let mut request = self.request("POST", path, Some(&body));
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.send(request).await
    }
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("PUT", path, Some(&body))).await
    }

    /// The text of a manifest of model `m`; its files need not exist.
    pub fn manifest(version: &str) -> String {
        let file = |path: &str, role: &str| {
            let sha256 = Digest::of(format!("{path} {version}").as_bytes());
            json!({ "path": path, "role": role, "sha256": sha256, "length": 100 })
        };
        json!({
            "schema": 1, "model": "m", "version": version, "created": "2026-01-31T12:00:00Z",
            "files": [file("model.onnx", "model"), file("golden.safetensors", "golden")],
            "inputs": [{ "name": "x", "dtype": "FP32", "shape": ["N", 4] }],
            "outputs": [{ "name": "y", "dtype": "FP32", "shape": ["N", 3] }],
            "batch": { "axis": 0, "max": 16 },
            "monitor": { "classes": ["a", "b", "c"], "score_output": "y" },
        })
        .to_string()
    }

    /// A version that is checked, and approved by the offline key with ways back to `back`.
    pub async fn release(&self, version: &str, counter: u64, back: &[Digest]) -> Digest {
        let text = Self::manifest(version);
        let bundle = Digest::of(text.as_bytes());
        let mut tx = self.app.store.write().await.unwrap();
        let model = "m".parse().unwrap();
        catalogue::insert_draft(&mut tx, &model, version, &bundle, &text, 200, now()).await.unwrap();
        catalogue::set_checked(&mut tx, &bundle, true, "{}", now()).await.unwrap();
        tx.commit().await.unwrap();
        let release = ReleaseInfo {
            release_counter: ReleaseCounter(counter),
            rollback_ok: back.iter().map(|to| RollbackOk { from: bundle, to: *to }).collect(),
            hw: vec![],
        };
        let bytes = {
            let mut spec = self.targets.lock().unwrap();
            spec.version += 1;
            let info = TargetInfo { length: text.len() as u64, sha256: bundle, custom: release.to_custom() };
            spec.targets.insert(format!("m/{version}/manifest.json"), info);
            signed(edit::targets(&spec), &key(12))
        };
        self.app.trust.submit("tester", "models/m", &bytes, now()).await.unwrap();
        bundle
    }

    /// The metadata of the model once more, signed by its key and by another one that has no say.
    pub async fn sign_again(&self, by: u8) {
        let (version, bytes) = {
            let mut spec = self.targets.lock().unwrap();
            spec.version += 1;
            let mut document = edit::targets(&spec);
            document.sign(&key(by));
            (spec.version, signed(document, &key(12)))
        };
        let mut tx = self.app.store.write().await.unwrap();
        trust::publish(&mut tx, "models/m", version, &bytes, now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    /// The id of the key that approves versions of the model.
    pub fn approver() -> String {
        longshore_trust::tuf::key_id(&key(12).public())
    }
    /// The file of its database.
    pub fn database(&self) -> std::path::PathBuf {
        self.dir.path().join("fleet.db")
    }

    /// Enrols a device that is connected and, with `runs`, serves that bundle and has counted labelled rows with it.
    pub async fn device(&self, n: u8, runs: Option<Digest>) -> Device<'_> {
        self.labelled(n, runs, "{}").await
    }
    /// The same, with labels.
    pub async fn labelled(&self, n: u8, runs: Option<Digest>, labels: &str) -> Device<'_> {
        let id: DeviceId = format!("dev-{n}").parse().unwrap();
        let new = device::NewDevice {
            id: id.clone(),
            report_key: key(100 + n).public(),
            certificate: DeviceCertificate {
                pem: String::new(),
                sha256: Digest([n; 32]),
                validity: Validity::starting(now(), 3600),
            },
            serial: String::new(),
            labels: labels.into(),
        };
        let mut tx = self.app.store.write().await.unwrap();
        device::enrol(&mut tx, &new, now()).await.unwrap();
        let hello = Hello {
            stream: StreamId(1),
            first_unreceipted: Seq(1),
            assignment_version: AssignmentVersion(0),
            tuf_versions: BTreeMap::new(),
            fleet_epoch: 1,
            boot: 1,
            log: Vec::new(),
        };
        ingest::hello(&mut tx, &id, &hello, now()).await.unwrap();
        tx.commit().await.unwrap();
        let d = Device { fleet: self, id, generation: Generation(0) };
        if let Some(bundle) = runs {
            d.say(bundle, AssignmentVersion(0), UpdateState::Committed, Some(bundle), None).await;
            d.count(bundle, 400, 390).await;
        }
        d
    }
}

pub struct Device<'a> {
    fleet: &'a Fleet,
    pub id: DeviceId,
    /// What it says of its assignments.
    pub generation: Generation,
}

impl Device<'_> {
    fn header(&self) -> Header {
        let seq = self.fleet.stream_seq.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Header {
            schema: v1::SCHEMA,
            fleet: self.fleet.app.fleet.clone(),
            device: self.id.clone(),
            stream: StreamId(1),
            seq: Seq(seq),
            time: now(),
            time_quality: TimeQuality::Ntp,
        }
    }
    /// Connects: the first message without a receipt, its stream, and what it accepted.
    pub async fn hello(&self, first: u64, stream: u64, accepted: AssignmentVersion) {
        let hello = Hello {
            stream: StreamId(stream),
            first_unreceipted: Seq(first),
            assignment_version: accepted,
            tuf_versions: BTreeMap::new(),
            fleet_epoch: 1,
            boot: 1,
            log: Vec::new(),
        };
        let mut tx = self.fleet.app.store.write().await.unwrap();
        ingest::hello(&mut tx, &self.id, &hello, now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    /// Everything up to this message is stored.
    pub async fn told_up_to(&self, seq: u64) {
        let mut tx = self.fleet.app.store.write().await.unwrap();
        stream::advance(&mut tx, &self.id, StreamId(1), Seq(seq)).await.unwrap();
        tx.commit().await.unwrap();
    }
    /// Counts with a bundle.
    pub async fn counted(&self, bundle: Digest, counters: Counters) {
        let start = now();
        let window = Window {
            key: WindowKey { model: "m".parse().unwrap(), bundle, start, end: start.plus_ms(1000) },
            supplement: false,
            counters,
        };
        let mut tx = self.fleet.app.store.write().await.unwrap();
        assert!(ingest::window(&mut tx, &self.header(), &window, now()).await.unwrap());
        tx.commit().await.unwrap();
    }
    /// The newest assignment it was sent.
    pub async fn assignment(&self) -> Option<Assignment> {
        let pending = self.fleet.app.store.pending_for(&self.id, now()).await.unwrap();
        let director = self.fleet.app.director.public();
        pending.assignment.map(|bytes| v1::open::<Assignment>(&bytes, &director).unwrap().into_inner().body)
    }
    /// The commands it was sent.
    pub async fn commands(&self) -> Vec<Command> {
        let pending = self.fleet.app.store.pending_for(&self.id, now()).await.unwrap();
        let director = self.fleet.app.director.public();
        pending
            .commands
            .iter()
            .map(|b| v1::open::<Command>(b, &director).unwrap().into_inner().body)
            .collect()
    }
    pub async fn say(
        &self,
        bundle: Digest,
        version: AssignmentVersion,
        state: UpdateState,
        active: Option<Digest>,
        code: Option<&str>,
    ) {
        let body = ReportBody::Update(UpdateReport {
            model: "m".parse().unwrap(),
            bundle,
            assignment_version: version,
            generation: self.generation,
            rollout: None,
            state,
            why: code.map(|c| Reason { code: c.into(), detail: String::new() }),
            trial: None,
            active,
        });
        let mut tx = self.fleet.app.store.write().await.unwrap();
        ingest::report(&mut tx, &self.header(), &body, now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    /// Says how far its golden outputs were off when it tried what it was assigned.
    pub async fn tried(&self, rollout: &str, offered: &Assignment, max_abs: f64) {
        let deviation = Deviation { output: "scores".into(), max_abs, max_rel: max_abs };
        let trial = TrialReport {
            load_ms: 1,
            golden_rows: 8,
            deviations: vec![deviation],
            p50_us: 5,
            p99_us: 6,
            rss_kib: 100,
        };
        let bundle = offered.slots[0].sha256;
        let body = ReportBody::Update(UpdateReport {
            model: "m".parse().unwrap(),
            bundle,
            assignment_version: offered.version,
            generation: Generation(0),
            rollout: Some(rollout.parse().unwrap()),
            state: UpdateState::Probation,
            why: None,
            trial: Some(trial),
            active: Some(bundle),
        });
        let mut tx = self.fleet.app.store.write().await.unwrap();
        ingest::report(&mut tx, &self.header(), &body, now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    /// Says what serves, by its own clock.
    pub async fn runs(&self, active: Option<Digest>, time: UnixMs, time_quality: TimeQuality) {
        let header = Header { time, time_quality, ..self.header() };
        let body = ReportBody::Update(UpdateReport {
            model: "m".parse().unwrap(),
            bundle: active.unwrap_or(Digest([0; 32])),
            assignment_version: AssignmentVersion(0),
            generation: Generation(0),
            rollout: None,
            state: UpdateState::Committed,
            why: None,
            trial: None,
            active,
        });
        let mut tx = self.fleet.app.store.write().await.unwrap();
        ingest::report(&mut tx, &header, &body, now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    /// Takes what it was assigned, as far as `state`.
    pub async fn take(&self, state: UpdateState) -> Assignment {
        let a = self.assignment().await.expect("it was assigned something");
        let bundle = a.slots[0].sha256;
        self.say(bundle, a.version, state, Some(bundle), None).await;
        a
    }
    /// Counts labelled rows with a bundle.
    pub async fn count(&self, bundle: Digest, rows: u64, correct: u64) {
        self.count_within(bundle, rows, correct, 500.0).await;
    }
    /// The same, each request taking so many microseconds.
    pub async fn count_within(&self, bundle: Digest, rows: u64, correct: u64, us: f64) {
        let mut counters = Counters::with_classes(3);
        (counters.requests, counters.rows) = (rows, rows);
        counters.classes[0] = rows;
        counters.confusion[0] = correct;
        counters.confusion[1] = rows - correct;
        (0..rows).for_each(|_| counters.latency_us.insert(us));
        self.counted(bundle, counters).await;
    }
    /// Counts rows of a bundle in shadow, all answered alike.
    pub async fn shadow(&self, bundle: Digest, rows: u64) {
        let mut table = ShadowTable::new(3);
        let row = Compared { active: Some(1), candidate: Some(1), agree: true, ..Compared::default() };
        (0..rows).for_each(|_| table.insert(&row));
        self.counted(bundle, Counters { shadow: Some(table), ..Counters::with_classes(3) }).await;
    }
}

/// Two waves: one canary with a lease, then the rest. Nothing waits in real time.
pub const POLICY: &str = r#"
name = "test"
[[wave]]
select = { count = 1 }
soak = "1s"
lease = "1m"
[[wave]]
select = { rest = true }
[gate]
success = 0.9
min_rows = 100
min_labelled = 100
accuracy_drop = 0.02
deadline = "1h"
on_fail = "revert"
"#;
