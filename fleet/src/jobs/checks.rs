//! Checks of uploads: each draft is loaded and run by a child process that holds no key, has no environment and has shut
//! itself in.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use longshore_bundle::{MANIFEST, Manifest};
use longshore_sandbox::{Ending, LastWords};
use tokio::io::AsyncReadExt as _;

use crate::app::{App, Shared, now};
use crate::events::FleetEvent;
use crate::store::catalogue::{self, Version};
use crate::store::{StoreError, audit};

/// Longest check.
const TIMEOUT: Duration = Duration::from_secs(180);
/// Most bytes of a child's answer that are read.
const MAX_ANSWER: u64 = 1 << 20;
/// How often to look when nothing wakes us.
const TICK: Duration = Duration::from_secs(2);

/// Checks drafts until the server stops.
pub(super) async fn run(app: Shared) {
    let mut events = app.events.subscribe();
    loop {
        if let Err(error) = check_drafts(&app).await {
            tracing::error!(%error, "uploads could not be checked; trying again");
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
            event = wait_for_model(&mut events) => { let () = event; }
        }
    }
}

async fn wait_for_model(events: &mut tokio::sync::broadcast::Receiver<FleetEvent>) {
    loop {
        match events.recv().await {
            Ok(FleetEvent::Model(_)) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn check_drafts(app: &App) -> Result<(), StoreError> {
    for draft in app.store.drafts().await? {
        let (passed, result) = match check(app, &draft).await {
            Ok(report) => (true, report),
            Err(reason) => (false, reason),
        };
        let mut tx = app.store.write().await?;
        let time = now();
        catalogue::set_checked(&mut tx, &draft.bundle, passed, &result.to_string(), time).await?;
        if passed
            && let Err(error) =
                app.trust.approve_checked(&mut tx, &draft.model, &draft.version, &draft.bundle, time).await
        {
            tracing::warn!(%error, model = %draft.model, "a release that was signed before could not be taken over");
        }
        let object = format!("{}@{}", draft.model, draft.version);
        let what = if passed { "passed" } else { "refused" };
        audit::record(&mut tx, time, "server", "bundle.check", &object, what).await?;
        tx.commit().await?;
        tracing::info!(model = %draft.model, version = draft.version, passed, "an upload was checked");
        app.events.publish(FleetEvent::Model(draft.model));
    }
    Ok(())
}

fn refusal(code: &str, error: impl std::fmt::Display) -> serde_json::Value {
    serde_json::json!({ "code": code, "error": error.to_string() })
}

/// What the child found: its report, or the reason it refuses.
async fn check(app: &App, draft: &Version) -> Result<serde_json::Value, serde_json::Value> {
    let manifest = Manifest::parse(draft.manifest.as_bytes()).map_err(|e| refusal("bundle.manifest", e))?;
    let dir = WorkDir::new(app, draft).map_err(|e| refusal("check.io", e))?;
    for file in &manifest.files {
        let from = app.objects.path(&file.sha256);
        if !from.is_file() {
            let missing = format!("{} (SHA-256 {}) was not uploaded", file.path.as_str(), file.sha256);
            return Err(refusal("bundle.missing_file", missing));
        }
        dir.add(file.path.as_str(), &from).await.map_err(|e| refusal("check.io", e))?;
    }
    std::fs::write(dir.0.join(MANIFEST), &draft.manifest).map_err(|e| refusal("check.io", e))?;
    run_child(&dir.0).await
}

async fn run_child(dir: &Path) -> Result<serde_json::Value, serde_json::Value> {
    let program = std::env::current_exe().map_err(|e| refusal("check.io", e))?;
    let mut child = tokio::process::Command::new(program)
        .args(["recheck", "."])
        .env_clear()
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| refusal("check.io", format!("the check could not be started: {e}")))?;
    let mut answer = Vec::new();
    let stdout = child.stdout.take().expect("it was piped");
    let stderr = child.stderr.take().expect("it was piped");
    let work = async {
        let answered = async { stdout.take(MAX_ANSWER).read_to_end(&mut answer).await };
        let (answered, words) = tokio::join!(answered, listen(stderr));
        answered?;
        Ok((child.wait().await?, words))
    };
    let (status, words) = tokio::time::timeout(TIMEOUT, work)
        .await
        .map_err(|_| refusal("check.timeout", format!("the check took longer than {} s", TIMEOUT.as_secs())))?
        .map_err(|e: std::io::Error| refusal("check.io", e))?;
    let found = serde_json::from_slice::<serde_json::Value>(&answer);
    match (status.success(), found) {
        (true, Ok(report)) => {
            warn_of_gaps(&report);
            Ok(report)
        }
        (false, Ok(reason)) if reason.get("error").is_some() => Err(reason),
        _ => {
            let ending = Ending::of(status, &words);
            let code = format!("check.{}", ending.name());
            Err(refusal(&code, format!("the check ended without an answer: {}", ending.detail)))
        }
    }
}

async fn listen(mut stderr: impl tokio::io::AsyncRead + Unpin) -> LastWords {
    let (mut words, mut buffer) = (LastWords::default(), [0u8; 4096]);
    while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
        words.push(&buffer[..n]);
    }
    words
}

/// Says what the kernel of this server did not give the child.
fn warn_of_gaps(report: &serde_json::Value) {
    let measures = report["sandbox"].as_array().map_or(&[][..], Vec::as_slice);
    for missing in measures.iter().filter_map(|m| m.as_str()).filter(|m| m.starts_with("missing:")) {
        tracing::warn!(missing, "uploads are checked with less protection than a newer kernel gives");
    }
}

/// A directory with the files of one bundle; removed when dropped.
struct WorkDir(PathBuf);

impl WorkDir {
    fn new(app: &App, draft: &Version) -> std::io::Result<Self> {
        // Beside the objects, so that files can be linked instead of copied.
        let shard = app.objects.path(&draft.bundle);
        let root = shard.parent().and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = root.join("incoming").join(format!("check-{}", draft.bundle));
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
    async fn add(&self, name: &str, from: &Path) -> std::io::Result<()> {
        let to = self.0.join(name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if std::fs::hard_link(from, &to).is_err() {
            tokio::fs::copy(from, &to).await?;
        }
        Ok(())
    }
}
impl Drop for WorkDir {
    fn drop(&mut self) {
        // What is left behind is removed at the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
