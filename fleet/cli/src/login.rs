//! `longshore login`: remembers a server, a token and a trust store for the other commands.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::context::{Context, Failure, Saved};
use crate::http::Client;

/// Options of `longshore login`. Server, token and trust store are the global options `--url`, `--token-file`, `--trust`.
#[derive(clap::Args)]
pub struct Args {
    /// Log in as this person with a password, when no token is given
    #[arg(long, default_value = "admin")]
    name: String,
    /// File that holds the password [default: asks]
    #[arg(long, value_name = "FILE")]
    password_file: Option<std::path::PathBuf>,
}

/// Proves that server and token work together, then saves them.
pub fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let url = context.url()?;
    let token = match context.given_token()? {
        Some(token) => token,
        None => ask(&url, &args)?,
    };
    let client = Client::new(url.clone(), Some(token.clone()));
    let fleet: Value = client.get("/fleet")?;
    let trust = match context.given_trust() {
        Some(dir) => Some(std::path::absolute(dir)?),
        None => Saved::load()?.trust,
    };
    let path = save(&Saved { url: Some(url.clone()), token: Some(token), trust })?;
    if context.json() {
        println!("{}", json!({ "ok": true, "url": url, "fleet": fleet["fleet"] }));
    } else {
        println!(
            "Logged in to fleet {} at {url}; remembered in {}",
            crate::show::text(&fleet, "fleet"),
            path.display()
        );
    }
    Ok(())
}

fn ask(url: &str, args: &Args) -> Result<String, Failure> {
    let password = match &args.password_file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|e| Failure::usage(format!("cannot read the password file {}: {e}", file.display())))?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
        None => rpassword::prompt_password(format!("Password of {}: ", args.name))?,
    };
    let answer: Value = Client::new(url.to_owned(), None)
        .post("/session", &json!({ "name": args.name, "password": password }))?;
    answer["token"].as_str().map(str::to_owned).ok_or_else(|| {
        Failure::refused("api.answer", format!("{url} answered without a token; is it a Longshore fleet?"))
    })
}

/// Written for the owner only: it holds a token.
fn save(saved: &Saved) -> Result<std::path::PathBuf, Failure> {
    let path = Saved::path().ok_or_else(|| {
        Failure::usage("there is no home directory to remember this in: set HOME or XDG_CONFIG_HOME")
    })?;
    let text = toml::to_string(saved).map_err(|e| Failure::refused("config", e.to_string()))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let part = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, &path)?;
    Ok(path)
}
