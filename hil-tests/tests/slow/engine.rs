//! The real engine process, started and fed as the supervisor does: `longshore-agent engine` with one end of a packet
//! socket as its standard input, an empty environment, bundles in sealed memory files. What the supervisor adds (trust,
//! assignments, journalling) is tested elsewhere; here only the engine matters.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use longshore_agent::engine::channel::Channel;
use longshore_agent::engine::protocol::{
    FromEngine, LoadId, LoadRequest, ServingLimits, ToEngine, TrialLimits,
};
use longshore_agent::engine::sealed::seal;
use longshore_agent::page::{LEVEL, Page, PageSpec, boot_id};
use longshore_bundle::{MANIFEST, Role, read_dir};
use longshore_stats::Profile;
use longshore_stats::places::Places;
use longshore_wire::v1::{Reason, TrialReport};

/// Far above what the example needs, even under emulation, where the emulator's own address space counts.
const LIMITS: TrialLimits = TrialLimits { memory_bytes: 64 << 30, cpu_s: 120 };

/// A running engine. It ends with this value.
pub struct Engine {
    child: Child,
    control: Channel,
    address: SocketAddr,
    folder: tempfile::TempDir,
    loads: u64,
}

impl Engine {
    /// Starts `program engine` and waits until it accepts requests. `program` may be an emulator and its argument.
    pub fn start(program: &[&Path]) -> Result<Engine> {
        let folder = tempfile::tempdir()?;
        let unix = UnixListener::bind(folder.path().join("api.sock"))?;
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let address = tcp.local_addr()?;
        let (child, control) = spawn(program, &[])?;
        let engine = Engine { child, control, address, folder, loads: 0 };
        let serve = ToEngine::Serve {
            tcp: true,
            max_body_bytes: 64 << 20,
            queue: 64,
            feedback_token: "only for this test".to_owned(),
            limits: ServingLimits { memory_bytes: 64 << 30, request_ms: 60_000 },
        };
        engine.control.send(&serve, &[unix.as_fd(), tcp.as_fd()])?;
        match engine.receive()? {
            FromEngine::Ready { sandbox } => println!("engine ready; sandbox: {}", sandbox.join(", ")),
            other => bail!("the engine's first packet was {other:?}"),
        }
        Ok(engine)
    }

    /// `host:port` of the API.
    pub fn url(&self) -> String {
        self.address.to_string()
    }

    /// Loads the bundle in `bundle` and lets it answer for its model.
    pub fn serve(&mut self, bundle: &Path) -> Result<()> {
        self.loads += 1;
        let load = LoadId(self.loads);
        let (request, fds) = load_request(bundle, load, self.folder.path())?;
        let model = request.model.clone();
        self.control.send(&ToEngine::Load(request), &borrowed(&fds))?;
        match self.receive()? {
            FromEngine::Loaded { load_ms, .. } => println!("{model} loaded in {load_ms} ms"),
            FromEngine::LoadFailed { reason, .. } => {
                bail!("{model} did not load: {}: {}", reason.code, reason.detail)
            }
            other => bail!("instead of loading {model}: {other:?}"),
        }
        self.control.send(&ToEngine::Activate(load), &[])?;
        match self.receive()? {
            FromEngine::Activated(active) if active == load => Ok(()),
            other => bail!("{model} was not activated: {other:?}"),
        }
    }

    fn receive(&self) -> Result<FromEngine> {
        let (message, _) = self.control.recv()?.context("the engine has ended; its last words are above")?;
        Ok(message)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Runs the trial of a bundle in an engine of its own, as a device does before it serves a version.
pub fn trial(program: &[&Path], bundle: &Path) -> Result<Result<TrialReport, Reason>> {
    let folder = tempfile::tempdir()?;
    let (mut child, control) = spawn(program, &["--trial"])?;
    let (request, mut fds) = load_request(bundle, LoadId(1), folder.path())?;
    // A trial counts nothing: it takes the files without the page.
    fds.pop();
    control.send(&ToEngine::Trial { request, limits: LIMITS }, &borrowed(&fds))?;
    let answer = loop {
        match control.recv()?.context("the trial engine ended without a verdict")?.0 {
            FromEngine::Trial(verdict) => break verdict,
            FromEngine::Ready { sandbox } => println!("trial engine ready; sandbox: {}", sandbox.join(", ")),
            other => bail!("instead of a verdict: {other:?}"),
        }
    };
    end(&mut child);
    Ok(answer)
}

fn spawn(program: &[&Path], arguments: &[&str]) -> Result<(Child, Channel)> {
    let (ours, theirs) = Channel::pair().context("socketpair")?;
    let (first, rest) = program.split_first().context("no program")?;
    let child = Command::new(first)
        .args(rest)
        .arg("engine")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .spawn()
        .with_context(|| format!("cannot start {program:?} (is it built?)"))?;
    Ok((child, ours))
}

fn end(child: &mut Child) {
    // It may have ended by itself; whoever waited for its answer knows already.
    let _ = child.kill();
    let _ = child.wait();
}

/// What the supervisor sends: the bundle's files sealed, the manifest first, and then a counter page.
fn load_request(folder: &Path, load: LoadId, pages: &Path) -> Result<(LoadRequest, Vec<OwnedFd>)> {
    let bundle = read_dir(folder).with_context(|| folder.display().to_string())?;
    let files: Vec<String> = std::iter::once(MANIFEST.to_owned())
        .chain(bundle.manifest.files.iter().map(|f| f.path.to_string()))
        .collect();
    let mut fds = Vec::new();
    for path in &files {
        let bytes = std::fs::read(folder.join(path))?;
        fds.push(seal("bundle", &mut bytes.as_slice(), bytes.len() as u64)?.0);
    }
    let reference = bundle.read_role(Role::Reference)?.map(|b| Profile::from_bytes(&b)).transpose()?;
    let shape = reference.map(|p| {
        let monitored = longshore_bundle::reference::monitored(&p, &bundle.manifest);
        Places::new(&monitored, LEVEL).shape().clone()
    });
    let spec = PageSpec::of(load, &bundle.manifest, shape, 1024, boot_id()?);
    fds.push(Page::create(&pages.join(format!("{}.page", load.0)), &spec)?.1);
    let request = LoadRequest {
        load,
        model: bundle.manifest.model.clone(),
        version: bundle.manifest.version.to_string(),
        digest: bundle.digest,
        files,
    };
    Ok((request, fds))
}

fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}
