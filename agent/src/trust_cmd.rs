//! `longshore-agent trust`: the verifier of `longshore-trust` as a command, by the contract of the public
//! *tuf-conformance* suite.
//!
//! Always true here: no floor and no state beside the metadata folder; the clock is the system's; exit code 0 or 1. What
//! verified is kept at once, byte for byte, even if a later role fails.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand};
use longshore_trust::UnixMs;
use longshore_trust::tuf::{self, Change, Found, TufError, Updater};

/// The trust client: keeps TUF metadata in a folder and downloads targets that it names.
#[derive(Debug, Parser)]
#[command(name = "longshore-agent trust", max_term_width = 100)]
struct Args {
    /// Folder of trusted metadata.
    #[arg(long, value_name = "DIR")]
    metadata_dir: PathBuf,
    /// Where metadata is served: http(s), or a folder (`file:///media/stick/trust`).
    #[arg(long, value_name = "URL")]
    metadata_url: Option<String>,
    /// Path of a target to download; may be given several times.
    #[arg(long, value_name = "PATH")]
    target_name: Vec<String>,
    /// Where targets are served: http(s), or a folder.
    #[arg(long, value_name = "URL")]
    target_base_url: Option<String>,
    /// Folder for downloaded targets.
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin with a root that you trust. No network.
    Init {
        /// The root, received from the fleet's owner.
        root: PathBuf,
    },
    /// Bring the metadata up to date.
    Refresh,
    /// Bring the metadata up to date, then download the targets named.
    Download,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("--{0} is needed for this command")]
    Missing(&'static str),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Trust(#[from] TufError),
    #[error("no role names the target {0}")]
    NoTarget(String),
    #[error("{name}: {reason}")]
    Download { name: String, reason: String },
}

/// Runs the trust client with the arguments behind `trust`.
#[must_use]
pub fn run(args: Vec<String>) -> ExitCode {
    let name = "longshore-agent trust".to_owned();
    let args = match Args::try_parse_from(std::iter::once(name).chain(args)) {
        Ok(args) => args,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let done = match &args.command {
        Command::Init { root } => init(&args.metadata_dir, root),
        Command::Refresh => refresh(&args).map(drop),
        Command::Download => download(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    |source| Failure::File { path: path.to_owned(), source }
}

fn init(dir: &Path, root: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(at(dir))?;
    let bytes = std::fs::read(root).map_err(at(root))?;
    let kept = dir.join("root.json");
    write_durably(&kept, &bytes).map_err(at(&kept))
}

fn refresh(args: &Args) -> Result<(Updater, Source), Failure> {
    let dir = &args.metadata_dir;
    let url = args.metadata_url.as_deref().ok_or(Failure::Missing("metadata-url"))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixMs(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let mut updater = Updater::new(read_stored(dir)?, now)?;
    let source = Source::new(url);
    updater.refresh(&[]);
    drive(&mut updater, &source, dir)?;
    Ok((updater, source))
}

fn download(args: &Args) -> Result<(), Failure> {
    let base = args.target_base_url.as_deref().ok_or(Failure::Missing("target-base-url"))?;
    let into = args.target_dir.as_deref().ok_or(Failure::Missing("target-dir"))?;
    if args.target_name.is_empty() {
        return Err(Failure::Missing("target-name"));
    }
    let (mut updater, metadata) = refresh(args)?;
    let targets = Source::new(base);
    std::fs::create_dir_all(into).map_err(at(into))?;
    for name in &args.target_name {
        updater.resolve(std::slice::from_ref(name));
        drive(&mut updater, &metadata, &args.metadata_dir)?;
        let found = updater.trusted().find(name).ok_or_else(|| Failure::NoTarget(name.clone()))?;
        download_one(name, &found, &targets, into)?;
    }
    Ok(())
}

/// One file, under its percent-encoded target path; what is there already and matches is not fetched again.
fn download_one(name: &str, found: &Found<'_>, source: &Source, into: &Path) -> Result<(), Failure> {
    let path = into.join(tuf::encode_name(name));
    if std::fs::read(&path).is_ok_and(|bytes| found.check(&bytes).is_ok()) {
        return Ok(());
    }
    let failed = |reason: String| Failure::Download { name: name.to_owned(), reason };
    let bytes = source.fetch(&found.url(), found.length()).map_err(failed)?;
    let bytes = bytes.ok_or_else(|| failed("the repository has no such file".into()))?;
    found.check(&bytes)?;
    write_durably(&path, &bytes).map_err(at(&path))
}

fn drive(updater: &mut Updater, source: &Source, dir: &Path) -> Result<(), Failure> {
    let mut fetch = |name: &str, max_len: u64| source.fetch(name, max_len);
    let mut persist = |change: Change| match change {
        Change::Write { file, bytes } => write_durably(&dir.join(file), &bytes),
        Change::Remove { file } => std::fs::remove_file(dir.join(file)),
    };
    Ok(tuf::drive(updater, &mut fetch, &mut persist)?)
}

fn read_stored(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut stored = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".json") {
            stored.insert(name, std::fs::read(&path).map_err(at(&path))?);
        }
    }
    Ok(stored)
}

/// All of it or none: a neighbour file, synced, then renamed, then the folder synced.
fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let partial = path.with_extension("partial");
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => std::fs::File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

/// Where bytes come from. It is never trusted.
enum Source {
    /// A server; redirects are refused.
    Http { agent: ureq::Agent, base: String },
    /// A folder, e.g. on a stick.
    Folder(PathBuf),
}

impl Source {
    fn new(url: &str) -> Self {
        if let Some(path) = url.strip_prefix("file://") {
            return Self::Folder(PathBuf::from(path));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_recv_body(Some(Duration::from_secs(600)))
            .user_agent(concat!("longshore-agent/", env!("CARGO_PKG_VERSION")));
        Self::Http { agent: config.build().new_agent(), base: url.trim_end_matches('/').to_owned() }
    }
    /// At most `max_len + 1` bytes of `name`; `None` when there is no such file.
    fn fetch(&self, name: &str, max_len: u64) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Http { agent, base } => {
                let response = agent.get(format!("{base}/{name}")).call().map_err(|e| e.to_string())?;
                match response.status().as_u16() {
                    200 => {}
                    // Object stores answer 403 for what is not there.
                    403 | 404 => return Ok(None),
                    status => return Err(format!("the server answered with status {status}")),
                }
                read_capped(response.into_body().into_reader(), max_len).map(Some)
            }
            Self::Folder(dir) => match std::fs::File::open(dir.join(name)) {
                Ok(file) => read_capped(file, max_len).map(Some),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e.to_string()),
            },
        }
    }
}

fn read_capped(reader: impl std::io::Read, max_len: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut limited = reader.take(max_len.saturating_add(1));
    limited.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use longshore_trust::tuf::edit::{self, RoleKeys, RootSpec, Signed, TargetsSpec};
    use longshore_trust::tuf::{TargetInfo, target_url};
    use longshore_trust::{Digest, SigningKey};

    use super::*;

    const FAR: UnixMs = UnixMs(4_000_000_000_000);

    fn sign(mut document: Signed) -> Vec<u8> {
        document.sign(&SigningKey::from_seed(&[1; 32]));
        document.to_bytes()
    }
    /// A repository in a folder, as on a stick, that holds one target.
    fn repository(dir: &Path, path: &str, contents: &[u8]) {
        let keys = || RoleKeys { keys: vec![SigningKey::from_seed(&[1; 32]).public()], threshold: 1 };
        let root = RootSpec {
            version: 1,
            expires: FAR,
            fleet: "harbour".parse().unwrap(),
            solo: true,
            root: keys(),
            targets: keys(),
            snapshot: keys(),
            timestamp: keys(),
            director: keys(),
            time: None,
        };
        let info = TargetInfo {
            length: contents.len() as u64,
            sha256: Digest::of(contents),
            custom: serde_json::Map::new(),
        };
        let targets = TargetsSpec {
            version: 1,
            expires: FAR,
            targets: BTreeMap::from([(path.to_owned(), info)]),
            delegations: vec![],
        };
        let snapshot = sign(edit::snapshot(1, FAR, BTreeMap::from([("targets.json".to_owned(), 1)])));
        let write = |name: &str, bytes: &[u8]| {
            let file = dir.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        };
        write("trust/1.root.json", &sign(edit::root(&root)));
        write("trust/timestamp.json", &sign(edit::timestamp(1, FAR, &snapshot, 1)));
        write("trust/1.snapshot.json", &snapshot);
        write("trust/1.targets.json", &sign(edit::targets(&targets)));
        let url = target_url(path, Some(&Digest::of(contents).to_hex()));
        write(&format!("targets/{url}"), contents);
    }
    fn trust(dir: &Path, more: &[&str]) -> ExitCode {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut args = vec!["--metadata-dir".to_owned(), text(dir.join("metadata"))];
        args.extend(["--metadata-url".to_owned(), format!("file://{}", text(dir.join("trust")))]);
        args.extend(["--target-base-url".to_owned(), format!("file://{}", text(dir.join("targets")))]);
        args.extend(["--target-dir".to_owned(), text(dir.join("out"))]);
        args.extend(more.iter().map(|s| (*s).to_owned()));
        run(args)
    }
    const OK: ExitCode = ExitCode::SUCCESS;

    #[test]
    fn a_target_travels_from_a_stick() {
        let dir = tempfile::tempdir().unwrap();
        repository(dir.path(), "m/1.0.0/model.onnx", b"contents");
        let root = dir.path().join("trust/1.root.json");
        assert_eq!(trust(dir.path(), &["init", root.to_str().unwrap()]), OK);
        assert_eq!(trust(dir.path(), &["refresh"]), OK);
        assert_eq!(trust(dir.path(), &["--target-name", "m/1.0.0/model.onnx", "download"]), OK);
        let out = dir.path().join("out/m%2F1.0.0%2Fmodel.onnx");
        assert_eq!(std::fs::read(&out).unwrap(), b"contents");
        // A changed copy is fetched again.
        std::fs::write(&out, b"tampered").unwrap();
        assert_eq!(trust(dir.path(), &["--target-name", "m/1.0.0/model.onnx", "download"]), OK);
        assert_eq!(std::fs::read(&out).unwrap(), b"contents");
    }
    #[test]
    fn a_target_that_does_not_match_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        repository(dir.path(), "file", b"contents");
        let root = dir.path().join("trust/1.root.json");
        assert_eq!(trust(dir.path(), &["init", root.to_str().unwrap()]), OK);
        let served =
            dir.path().join("targets").join(target_url("file", Some(&Digest::of(b"contents").to_hex())));
        std::fs::write(served, b"c0ntents").unwrap();
        assert_ne!(trust(dir.path(), &["--target-name", "file", "download"]), OK);
        assert_ne!(trust(dir.path(), &["--target-name", "unknown", "download"]), OK);
        assert_eq!(std::fs::read_dir(dir.path().join("out")).unwrap().count(), 0);
    }
    #[test]
    fn a_command_line_that_is_wrong_is_exit_code_1() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(run(vec!["refresh".into()]), ExitCode::FAILURE);
        assert_ne!(trust(dir.path(), &["refresh"]), OK, "not initialised");
        assert_eq!(run(vec!["--help".into()]), OK);
    }
}
