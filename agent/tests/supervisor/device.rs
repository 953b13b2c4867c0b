//! An enrolled device made of files: identity, trust, bundles, database.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use longshore_agent::store::Store;
use longshore_agent_core::update::{
    Batch, Installed, ModelRecord, Phase, RollbackTo, Token, Update, Wanted, Write,
};
use longshore_trust::tuf::edit::{RoleKeys, RootSpec, root};
use longshore_trust::{Digest, ReleaseCounter, SigningKey, StreamId, UnixMs};
use longshore_wire::v1::{Commit, Guard, Mode, Probation};
use serde_json::{Value, json};

use crate::http::{self, Client};
use crate::rig::{Bundle, digits};

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

const START: UnixMs = UnixMs(1_800_000_000_000);

pub struct Device {
    pub dir: tempfile::TempDir,
    pub active: Bundle,
}

fn identity(state: &Path) {
    let dir = state.join("identity");
    fs::create_dir_all(&dir).unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    // Nothing listens on port 1.
    let enrolment = json!({
        "fleet": "demo", "device": "dev-1", "url": "https://127.0.0.1:1", "mqtt_url": "mqtts://127.0.0.1:1",
    });
    for (name, text) in [
        ("ca.pem", ca_cert.pem()),
        ("cert.pem", cert.pem()),
        ("tls.key", key.serialize_pem()),
        ("report.key", "07".repeat(32)),
        ("enrolment.json", enrolment.to_string()),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
}

fn trust(state: &Path) {
    let key = SigningKey::from_seed(&[1; 32]);
    let role = || RoleKeys { keys: vec![key.public()], threshold: 1 };
    let spec = RootSpec {
        version: 1,
        expires: UnixMs(4_000_000_000_000),
        fleet: "demo".parse().unwrap(),
        solo: true,
        root: role(),
        targets: role(),
        snapshot: role(),
        timestamp: role(),
        director: role(),
        time: None,
    };
    let mut signed = root(&spec);
    signed.sign(&key);
    fs::create_dir_all(state.join("trust")).unwrap();
    fs::write(state.join("trust/root.json"), signed.to_bytes()).unwrap();
}

fn installed(b: &Bundle, counter: u64) -> Installed {
    let version = b.manifest.version.to_string();
    Installed {
        bundle: Digest::of(&b.files[0].1),
        manifest_path: format!("meter-digits/{version}/manifest.json"),
        version,
        length: b.files[0].1.len() as u64,
        release_counter: ReleaseCounter(counter),
        origin: Default::default(),
    }
}

impl Device {
    /// Runs 1.1.0, ran 1.0.0 before.
    pub fn new() -> Self {
        Self::with_candidate(None)
    }
    /// The same, with an update in progress: the candidate has arrived and is on trial.
    pub fn with_candidate(candidate: Option<&Bundle>) -> Self {
        let device = Self::of(&digits("1.0.0"), digits("1.1.0"));
        if let Some(candidate) = candidate {
            let guard = Guard { max_error_permille: 100, max_crashes: 1, ..Guard::default() };
            device.put_on_trial(candidate, guard, 1_000);
        }
        device
    }
    /// Runs `active`, ran `previous` before.
    pub fn of(previous: &Bundle, active: Bundle) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir_all(&state).unwrap();
        identity(&state);
        trust(&state);
        let device = Self { dir, active };
        device.lay_down(previous);
        device.lay_down(&device.active);
        let mut record = ModelRecord::new("meter-digits".parse().unwrap());
        record.active = Some(installed(&device.active, 2));
        record.previous = Some(installed(previous, 1));
        record.floor = ReleaseCounter(2);
        device.store(1, record);
        device.configure("");
        device
    }
    /// While the agent does not run: an update has begun, and its bundle has arrived and is on trial.
    pub fn put_on_trial(&self, candidate: &Bundle, guard: Guard, min_ms: u64) {
        self.lay_down(candidate);
        let store = Store::open(&self.state(), StreamId(3), START).unwrap();
        let mut record = store.restored().unwrap().models.remove(0);
        drop(store);
        let far = UnixMs(4_000_000_000_000);
        record.update = Some(Update {
            wanted: Wanted {
                bundle: installed(candidate, 3),
                activate_by: far,
                not_after: far,
                probation: Probation { min_ms, commit: Commit::Local },
                guard,
                mode: Mode::Active,
            },
            at: Phase::Trial { rollback: RollbackTo::of(record.active.as_ref()), deadline: far },
        });
        self.store(2, record);
    }
    fn lay_down(&self, b: &Bundle) {
        let to = self.state().join("bundles").join(Digest::of(&b.files[0].1).to_hex());
        fs::create_dir_all(&to).unwrap();
        for (path, bytes) in &b.files {
            fs::write(to.join(path), bytes).unwrap();
        }
    }
    fn store(&self, token: u64, record: ModelRecord) {
        let batch = Batch { token: Token(token), writes: vec![Write::Record(Box::new(record))] };
        Store::open(&self.state(), StreamId(3), START).unwrap().apply(&batch, START).unwrap();
    }
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("agent.toml")
    }
    /// Writes the configuration, with more lines before its tables.
    pub fn configure(&self, more: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "state_dir = \"{dir}/state\"\nrun_dir = \"{dir}/run\"\n{more}\n\
             [intervals]\njournal = \"200ms\"\nwindow = \"400ms\"\nhealth = \"1s\"\n[limits]\nmin_free_bytes = 0\n"
        );
        fs::write(self.config(), text).unwrap();
    }
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore-agent"));
        command.arg(name).arg("--config").arg(self.config());
        command
    }
    pub fn run_to_its_end(&self) -> Output {
        self.command("run").output().unwrap()
    }
    /// Starts it; its log goes to a file.
    pub fn start(&self) -> Agent {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let child = self.command("run").stderr(Stdio::from(log)).spawn().unwrap();
        Agent { child }
    }
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }
    pub fn client(&self) -> Client<UnixStream> {
        http::unix(&self.dir.path().join("run/api.sock"))
    }
    /// Asks until the answer is as wanted.
    pub fn until(&self, what: &str, mut f: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !f() {
            assert!(begun.elapsed() < PATIENCE, "never {what}; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    pub fn until_ready(&self) {
        let socket = self.dir.path().join("run/api.sock");
        self.until("ready", || {
            let Ok(stream) = UnixStream::connect(&socket) else { return false };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut client = http::over(stream);
            client.send("GET", "/v2/models/meter-digits/ready", &[], b"").is_ok_and(|r| r.status == 200)
        });
    }
    /// `status --json`.
    pub fn status(&self) -> Value {
        let out = self.command("status").arg("--json").output().unwrap();
        serde_json::from_slice(&out.stdout).unwrap_or(Value::Null)
    }
    pub fn rows_total(&self) -> u64 {
        self.status()["models"][0]["rows_total"].as_u64().unwrap_or(0)
    }
    pub fn engine_pid(&self) -> Option<i32> {
        self.status()["engine"]["pid"].as_i64().and_then(|p| i32::try_from(p).ok())
    }
}

pub struct Agent {
    pub child: Child,
}

impl Agent {
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
