//! A supervisor for tests: bundles made of the real example, the real engine process, and answers to its questions.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use longshore_agent::engine::channel::Channel;
use longshore_agent::engine::protocol::{
    FromEngine, Label, LoadId, LoadRequest, Query, ServingLimits, ToEngine, TrialLimits,
};
use longshore_agent::engine::sealed::seal;
use longshore_agent::page::{LEVEL, Page, PageSpec, boot_id};
use longshore_bundle::author::{self, NewFile};
use longshore_bundle::{Manifest, Role, Tensor};
use longshore_runtime::{Limits, Model, describe};
use longshore_stats::Profile;
use longshore_stats::places::{Places, Shape};
use longshore_trust::{Digest, ModelName};
use longshore_wire::v1::{Reason, TrialReport};

/// The token of every test engine.
pub const TOKEN: &str = "a token for labels";
/// Longest body in tests.
pub const MAX_BODY: u64 = 1 << 20;

/// A bundle in memory.
#[derive(Clone)]
pub struct Bundle {
    pub manifest: Manifest,
    pub files: Vec<(String, Vec<u8>)>,
    pub golden_inputs: Vec<Tensor>,
}

/// A file of the example.
pub fn example(path: &str) -> Vec<u8> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/meter-digits").join(path);
    std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The example's digit reader, one of its versions.
pub fn digits(version: &str) -> Bundle {
    digits_with(version, |_| {})
}

/// The same, with something changed in its golden vectors.
pub fn digits_with(version: &str, change: impl Fn(&mut Vec<Tensor>)) -> Bundle {
    digits_of(version, change, false)
}

/// A bundle of assembled files.
pub fn in_memory(assembled: author::Assembled, golden_inputs: Vec<Tensor>) -> Bundle {
    let mut files = vec![("manifest.json".to_owned(), assembled.manifest_bytes)];
    files.extend(assembled.files.into_iter().map(|f| (f.path.as_str().to_owned(), f.bytes)));
    Bundle { manifest: assembled.manifest, files, golden_inputs }
}

/// The same with everything monitored: features against the author's reference, and groups.
pub fn watched_digits() -> Bundle {
    digits_of("1.0.0", |_| {}, true)
}

fn digits_of(version: &str, change: impl Fn(&mut Vec<Tensor>), watched: bool) -> Bundle {
    let onnx = example(&format!("{version}/model.onnx"));
    let said = describe::describe(&onnx).unwrap();
    let mut manifest = author::draft(
        ModelName::new("meter-digits").unwrap(),
        version.parse().unwrap(),
        "2026-01-02T03:04:05Z".into(),
        said.inputs,
        said.outputs,
    );
    author::describe_classes(&mut manifest, Some((0..10).map(|d| format!("digit {d}")).collect())).unwrap();
    Model::load(&manifest, &onnx, &Limits::default()).unwrap();
    let golden = example(&format!("{version}/golden.npz"));
    let golden = author::golden_of(author::read_npz(&golden).unwrap(), &manifest).unwrap();
    let golden_inputs = golden.inputs.clone();
    let mut vectors = longshore_bundle::golden::read_safetensors(&golden.to_bytes().unwrap()).unwrap();
    change(&mut vectors);
    let golden = author::golden_of(vectors, &manifest).unwrap();
    let mut files =
        vec![NewFile::of(Role::Model, onnx), NewFile::of(Role::Golden, golden.to_bytes().unwrap())];
    if watched {
        let table = author::read_columns(&example(&format!("{version}/reference.csv"))).unwrap();
        let (features, columns) = author::features_of(&manifest, table).unwrap();
        manifest.monitor.features = features;
        manifest.monitor.group = Some("reader".into());
        manifest.monitor.groups = vec!["north".into(), "south".into()];
        manifest.monitor.favourable = Some("digit 1".into());
        manifest.monitor.explain_permille = 1000;
        files.push(NewFile::of(Role::Reference, Profile::of(&columns).unwrap().to_bytes()));
    }
    in_memory(author::assemble(manifest, files).unwrap(), golden_inputs)
}

impl Bundle {
    /// Places of its monitored features.
    pub fn shape(&self) -> Option<Shape> {
        let path = self.manifest.file(Role::Reference)?.path.as_str();
        let (_, bytes) = self.files.iter().find(|(p, _)| p == path)?;
        let monitored =
            longshore_bundle::reference::monitored(&Profile::from_bytes(bytes).unwrap(), &self.manifest);
        Some(Places::new(&monitored, LEVEL).shape().clone())
    }
    pub fn request(&self, load: u64) -> LoadRequest {
        LoadRequest {
            load: LoadId(load),
            model: self.manifest.model.clone(),
            version: self.manifest.version.to_string(),
            digest: Digest::of(&self.files[0].1),
            files: self.files.iter().map(|(path, _)| path.clone()).collect(),
        }
    }
    pub fn sealed(&self) -> Vec<OwnedFd> {
        self.files.iter().map(|(path, bytes)| seal(path, &mut bytes.as_slice(), 1 << 30).unwrap().0).collect()
    }
    /// Rows `from..from + n` of the golden inputs (the example has one input).
    pub fn rows(&self, from: usize, n: usize) -> Tensor {
        let all = &self.golden_inputs[0];
        let row_bytes = all.data.len() / all.shape[0];
        let mut shape = all.shape.clone();
        shape[0] = n;
        let data = all.data[from * row_bytes..(from + n) * row_bytes].to_vec();
        Tensor { name: all.name.clone(), dtype: all.dtype, shape, data }
    }
}

/// A request body with binary tensors, and the length of its head.
pub fn binary_request(tensor: &Tensor, extra: &serde_json::Value) -> (Vec<u8>, usize) {
    let mut head = serde_json::json!({ "inputs": [{
        "name": tensor.name, "datatype": tensor.dtype.name(), "shape": tensor.shape,
        "parameters": { "binary_data_size": tensor.data.len() },
    }]});
    head.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut body = head.to_string().into_bytes();
    let length = body.len();
    body.extend_from_slice(&tensor.data);
    (body, length)
}

/// A request body in JSON.
pub fn json_request(tensor: &Tensor, extra: &serde_json::Value) -> Vec<u8> {
    let data: Vec<f64> = tensor.values().collect();
    let mut body = serde_json::json!({ "inputs": [{
        "name": tensor.name, "datatype": tensor.dtype.name(), "shape": tensor.shape, "data": data,
    }]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body.to_string().into_bytes()
}

/// A serving engine, and this test as its supervisor.
pub struct Engine {
    pub child: Child,
    pub control: Option<Arc<Channel>>,
    pub dir: tempfile::TempDir,
    pub tcp: std::net::SocketAddr,
    pub labels: Arc<Mutex<Vec<Label>>>,
    pub sandbox: Vec<String>,
    events: Mutex<Receiver<FromEngine>>,
    next_load: AtomicU64,
}

pub fn start(trial: bool) -> (Child, Channel) {
    let (ours, theirs) = Channel::pair().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore-agent"));
    command.arg("engine").env_clear().stdin(Stdio::from(theirs));
    if trial {
        command.arg("--trial");
    }
    let child = command.spawn().unwrap();
    (child, ours)
}

impl Engine {
    pub fn start() -> Self {
        Self::with_token(TOKEN)
    }

    pub fn with_token(token: &str) -> Self {
        Self::with(token, ServingLimits { memory_bytes: 2 << 30, request_ms: 60_000 })
    }

    pub fn with(token: &str, limits: ServingLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let (child, control) = start(false);
        let serve = ToEngine::Serve {
            tcp: true,
            max_body_bytes: MAX_BODY,
            queue: 64,
            feedback_token: token.to_owned(),
            limits,
        };
        control.send(&serve, &[unix.as_fd(), tcp.as_fd()]).unwrap();
        let control = Arc::new(control);
        let labels = Arc::new(Mutex::new(Vec::new()));
        let (tell, events) = channel();
        let (reader, joined) = (Arc::clone(&control), Arc::clone(&labels));
        std::thread::spawn(move || {
            while let Ok(Some((message, _))) = reader.recv::<FromEngine>() {
                if let FromEngine::Query { id, query } = message {
                    let body = answer(query, &joined);
                    let _ = reader.send(&ToEngine::Reply { id, status: 200, body }, &[]);
                } else if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let mut engine = Self {
            child,
            control: Some(control),
            dir,
            tcp: address,
            labels,
            sandbox: Vec::new(),
            events: Mutex::new(events),
            next_load: AtomicU64::new(1),
        };
        match engine.event() {
            FromEngine::Ready { sandbox } => engine.sandbox = sandbox,
            other => panic!("{other:?}"),
        }
        engine
    }

    pub fn send(&self, message: &ToEngine) {
        self.control.as_ref().unwrap().send(message, &[]).unwrap();
    }
    /// The next event; answers to questions are not among them.
    pub fn event(&self) -> FromEngine {
        self.events.lock().unwrap().recv().expect("the engine is alive")
    }
    pub fn client(&self) -> super::http::Client<std::os::unix::net::UnixStream> {
        super::http::unix(&self.dir.path().join("api.sock"))
    }
    /// A page for classes alone: what a bundle that declares more is refused with.
    pub fn plain_page(&self, load: u64, classes: u32) -> (Page, OwnedFd) {
        self.page(&PageSpec::plain(LoadId(load), classes, 4096, boot_id().unwrap()))
    }
    /// The page of a bundle.
    pub fn load_page(&self, load: u64, bundle: &Bundle) -> (Page, OwnedFd) {
        let shape = bundle.shape();
        self.page(&PageSpec::of(LoadId(load), &bundle.manifest, shape, 4096, boot_id().unwrap()))
    }
    pub fn page(&self, spec: &PageSpec) -> (Page, OwnedFd) {
        Page::create(&self.dir.path().join(format!("{}.page", spec.load.0)), spec).unwrap()
    }
    /// Sends a load; the answer is the next event.
    pub fn send_load(&self, request: LoadRequest, mut fds: Vec<OwnedFd>, page: OwnedFd) {
        fds.push(page);
        let fds: Vec<_> = fds.iter().map(OwnedFd::as_fd).collect();
        self.control.as_ref().unwrap().send(&ToEngine::Load(request), &fds).unwrap();
    }
    /// Loads a bundle that must load.
    pub fn load(&self, bundle: &Bundle) -> (LoadId, Page) {
        let load = self.next_load.fetch_add(1, Relaxed);
        let (page, fd) = self.load_page(load, bundle);
        self.send_load(bundle.request(load), bundle.sealed(), fd);
        match self.event() {
            FromEngine::Loaded { load: loaded, .. } => assert_eq!(loaded, LoadId(load)),
            other => panic!("{other:?}"),
        }
        (LoadId(load), page)
    }
    pub fn activate(&self, load: LoadId) {
        self.send(&ToEngine::Activate(load));
        assert_eq!(self.event(), FromEngine::Activated(load));
    }
    /// An engine that serves version 1.0.0 of the example.
    pub fn serving() -> (Self, Bundle, Page) {
        let engine = Self::start();
        let bundle = digits("1.0.0");
        let (load, page) = engine.load(&bundle);
        engine.activate(load);
        (engine, bundle, page)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(query: Query, joined: &Mutex<Vec<Label>>) -> Vec<u8> {
    match query {
        Query::Status => br#"{"agent":"test"}"#.to_vec(),
        Query::Metrics => b"longshore_supervisor_up 1\n".to_vec(),
        Query::Feedback(labels) => {
            let n = labels.len();
            joined.lock().unwrap().extend(labels);
            serde_json::json!({ "joined": n, "unknown": 0, "repeated": 0 }).to_string().into_bytes()
        }
    }
}

/// Limits that the example needs a small part of.
pub const AMPLE: TrialLimits = TrialLimits { memory_bytes: 2 << 30, cpu_s: 60 };

/// Runs a trial in a process of its own; `None` when it died without a word.
pub fn trial(
    request: LoadRequest,
    fds: &[OwnedFd],
    limits: TrialLimits,
) -> Option<Result<TrialReport, Reason>> {
    let (mut child, control) = start(true);
    let fds: Vec<_> = fds.iter().map(OwnedFd::as_fd).collect();
    control.send(&ToEngine::Trial { request, limits }, &fds).unwrap();
    let answer = control.recv::<FromEngine>().unwrap().map(|(message, _)| match message {
        FromEngine::Trial(result) => result,
        other => panic!("{other:?}"),
    });
    let status = child.wait().unwrap();
    assert_eq!(answer.is_some(), status.success(), "{status}");
    answer
}
