//! What every command shares: where the server is, who we are, how to print, how to fail.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct GlobalArgs {
    /// Address of the fleet server [default: from `longshore login`]
    #[arg(long, global = true, env = "LONGSHORE_URL", value_name = "URL")]
    pub url: Option<String>,
    /// File that holds the API token [default: from `longshore login`]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The API token (prefer --token-file: a command line shows in process lists)
    #[arg(long, global = true, env = "LONGSHORE_TOKEN", hide_env_values = true, hide = true)]
    pub token: Option<String>,
    /// The operator's trust store: the `trust` folder made by `longshore keys init`
    #[arg(long, global = true, env = "LONGSHORE_TRUST", value_name = "DIR")]
    pub trust: Option<PathBuf>,
    /// Print one JSON value for machines instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
}

/// `~/.config/longshore/config.toml`, written by `longshore login`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Server address.
    pub url: Option<String>,
    /// API token.
    pub token: Option<String>,
    /// Trust store.
    pub trust: Option<PathBuf>,
}

impl Saved {
    /// Where it is kept: `$XDG_CONFIG_HOME/longshore/config.toml`, else below `$HOME/.config`.
    pub fn path() -> Option<PathBuf> {
        let base = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".config")))?;
        Some(base.join("longshore").join("config.toml"))
    }
    /// What is remembered; nothing when nobody has logged in.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load() -> Result<Self, Failure> {
        let Some(path) = Self::path().filter(|p| p.exists()) else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))?;
        toml::from_str(&text).map_err(|e| {
            Failure::usage(format!(
                "{} is not a valid configuration: {e}. Run `longshore login` again.",
                path.display()
            ))
        })
    }
}

/// Why a command failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// 1 refused or failed, 2 usage, 3 the server cannot be reached.
    pub exit: u8,
    /// Machine-readable code, e.g. `api.conflict`.
    pub code: String,
    /// What happened, to what, what to do.
    pub message: String,
}

impl Failure {
    /// The thing asked for was refused or failed (exit code 1).
    pub fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { exit: 1, code: code.into(), message: message.into() }
    }
    /// The command was called wrongly (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: 2, code: "usage".into(), message: message.into() }
    }
    /// The server cannot be reached (exit code 3).
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: 3, code: "unreachable".into(), message: message.into() }
    }
    /// A failure whose report has been printed already (exit code 1).
    pub fn reported() -> Self {
        Self::refused("", "")
    }
    /// Prints it and gives the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::from(self.exit);
        }
        if json {
            let value = serde_json::json!({ "ok": false, "code": self.code, "error": self.message });
            println!("{value}");
        } else {
            eprintln!("error: {}", self.message);
        }
        ExitCode::from(self.exit)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::refused("io", e.to_string())
    }
}

/// What every command gets.
pub struct Context {
    args: GlobalArgs,
}

impl Context {
    /// From the command line.
    pub fn new(args: GlobalArgs) -> Self {
        Self { args }
    }
    /// Whether to print JSON.
    pub fn json(&self) -> bool {
        self.args.json
    }
    /// The operator's trust store.
    ///
    /// # Errors
    /// When neither the command line nor `longshore login` names one.
    pub fn trust_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.args.trust {
            return Ok(dir.clone());
        }
        Saved::load()?.trust.ok_or_else(|| {
            Failure::usage(
                "no trust store is known: pass --trust DIR (the `trust` folder made by `longshore keys init`) \
                 or name it once with `longshore login --trust DIR`",
            )
        })
    }
    /// Address of the server, without a trailing slash.
    ///
    /// # Errors
    /// When neither the command line nor `longshore login` names one.
    pub fn url(&self) -> Result<String, Failure> {
        let url = match &self.args.url {
            Some(u) => Some(u.clone()),
            None => Saved::load()?.url,
        };
        url.map(|u| u.trim_end_matches('/').to_owned()).ok_or_else(|| {
            Failure::usage("no server is known: pass --url URL or run `longshore login --url URL`")
        })
    }
    /// The trust store named on the command line.
    pub fn given_trust(&self) -> Option<&std::path::Path> {
        self.args.trust.as_deref()
    }
    /// The API token named on the command line or in the environment.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn given_token(&self) -> Result<Option<String>, Failure> {
        if self.args.token.is_some() || self.args.token_file.is_some() {
            self.token().map(Some)
        } else {
            Ok(None)
        }
    }
    /// The API token.
    ///
    /// # Errors
    /// When none is known or its file cannot be read.
    pub fn token(&self) -> Result<String, Failure> {
        if let Some(t) = &self.args.token {
            return Ok(t.clone());
        }
        if let Some(f) = &self.args.token_file {
            let text = std::fs::read_to_string(f)
                .map_err(|e| Failure::usage(format!("cannot read the token file {}: {e}", f.display())))?;
            return Ok(text.trim().to_owned());
        }
        Saved::load()?.token.ok_or_else(|| {
            Failure::usage("no API token is known: pass --token-file FILE or run `longshore login`")
        })
    }
}
