//! The stage of the demo: a directory, free ports, and real processes that are stopped when it is left.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::socket::Socket;
use crate::{bin_dir, output};

/// Ports of one fleet server.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Console and API.
    pub operator: u16,
    /// Devices: HTTPS.
    pub device: u16,
    /// Devices: MQTT over TLS.
    pub mqtt: u16,
}

/// Directory, ports and the processes that run.
pub struct Stage {
    /// Where everything lies.
    pub dir: PathBuf,
    /// The server's ports.
    pub ports: Ports,
    /// Port of a broker outside the server, reached as `localhost`; the embedded one is used without.
    pub external_broker: Option<u16>,
    /// What else the server's configuration says.
    pub fleet_config: String,
    programs: PathBuf,
    children: BTreeMap<String, Child>,
    remove: bool,
}

/// The fleet's API as the operator asks it, apart from the stage that watches over the server's process.
#[derive(Debug)]
pub struct Api {
    url: String,
    token: String,
}

impl Api {
    /// Of the server of a stage.
    ///
    /// # Errors
    /// When it was not initialised yet.
    pub fn of(stage: &Stage) -> Result<Self> {
        let token = std::fs::read_to_string(stage.dir.join("admin-token"))?;
        Ok(Self { url: stage.url(), token: token.trim().to_owned() })
    }
    /// Asks.
    ///
    /// # Errors
    /// When it does not answer with JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let request = ureq::get(format!("{}{path}", self.url));
        let mut answer = request.header("authorization", format!("Bearer {}", self.token)).call()?;
        Ok(answer.body_mut().read_json()?)
    }
}

impl Stage {
    /// Prepares `dir`, which must be empty or missing.
    ///
    /// # Errors
    /// When the directory holds something or cannot be made, or no port is free.
    pub fn new(dir: PathBuf) -> Result<Self> {
        Self::with_programs(dir, bin_dir())
    }
    /// [`Stage::new`] with the programs of another directory than the running one's.
    ///
    /// # Errors
    /// As [`Stage::new`].
    pub fn with_programs(dir: PathBuf, programs: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = std::path::absolute(&dir).with_context(|| dir.display().to_string())?;
        if std::fs::read_dir(&dir)?.next().is_some() {
            bail!("{} is not empty: name a new directory, or remove it first", dir.display());
        }
        for sub in ["log", "config", "agents"] {
            std::fs::create_dir(dir.join(sub))?;
        }
        let ports = Ports { operator: port(8080)?, device: port(8443)?, mqtt: port(8883)? };
        Ok(Self {
            dir,
            ports,
            external_broker: None,
            fleet_config: String::new(),
            programs,
            children: BTreeMap::new(),
            remove: false,
        })
    }
    /// The console's address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.operator)
    }
    /// Name of device `i`, from 1.
    pub fn device(i: usize) -> String {
        format!("meter-{i}")
    }
    /// State and configuration of device `i`.
    pub fn device_dir(&self, i: usize) -> PathBuf {
        self.dir.join("agents").join(Self::device(i))
    }
    /// The API of device `i`.
    pub fn socket(&self, i: usize) -> Socket {
        Socket(self.device_dir(i).join("run/api.sock"))
    }

    /// Writes the server's configuration.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_fleet_config(&self) -> Result<PathBuf> {
        let Ports { operator, device, mqtt } = self.ports;
        let mut text = format!(
            "operator_listen = \"127.0.0.1:{operator}\"\ndevice_listen = \"127.0.0.1:{device}\"\nmqtt_listen = \"127.0.0.1:{mqtt}\"\npublic_host = \"localhost\"\n{}",
            self.fleet_config
        );
        if let Some(port) = self.external_broker {
            text = format!("broker = \"mqtts://localhost:{port}\"\n{text}");
        }
        let path = self.dir.join("fleet.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }
    /// Writes the configuration of device `i`: short intervals, so that a minute shows what days would.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_agent_config(&self, i: usize) -> Result<PathBuf> {
        let dir = self.device_dir(i);
        std::fs::create_dir_all(&dir)?;
        let site = ["amsterdam", "rotterdam"][i % 2];
        let text = format!(
            "state_dir = \"{0}/state\"\nrun_dir = \"{0}/run\"\n\n[labels]\nsite = \"{site}\"\n\n[intervals]\njournal = \"500ms\"\nwindow = \"2s\"\nhealth = \"5s\"\n\n[link]\nspread = \"200ms\"\nretry_max = \"10s\"\n",
            dir.display()
        );
        let path = dir.join("agent.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// The command line tool, set up as an operator's: server, token and trust store of this stage.
    pub fn longshore(&self, args: &[&str]) -> Command {
        let mut c = self.program("longshore");
        c.env("XDG_CONFIG_HOME", self.dir.join("config")).args(args);
        c
    }
    /// One of our programs, in the stage's directory.
    pub fn program(&self, name: &str) -> Command {
        let mut c = Command::new(self.programs.join(name));
        // For the tests alone; an agent would take it for a setting.
        c.current_dir(&self.dir).stdin(Stdio::null()).env_remove("LONGSHORE_NIGHTLY");
        c
    }
    /// Runs the command line tool with `--json` and parses what it prints last.
    ///
    /// # Errors
    /// When it fails; its own words are in the message.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let mut all = args.to_vec();
        all.push("--json");
        let text = output(self.longshore(&all))?;
        let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("null");
        serde_json::from_str(&text)
            .or_else(|_| serde_json::from_str(last))
            .with_context(|| format!("not JSON: {text}"))
    }

    /// Asks the fleet's API as the operator.
    ///
    /// # Errors
    /// When it does not answer with JSON.
    pub fn api(&self, path: &str) -> Result<Value> {
        Api::of(self)?.get(path)
    }
    /// `longshore-agent status` of device `i`.
    ///
    /// # Errors
    /// When the agent does not run.
    pub fn status(&self, i: usize) -> Result<Value> {
        let mut agent = self.program("longshore-agent");
        agent.args(["status", "--json", "--config"]).arg(self.device_dir(i).join("agent.toml"));
        Ok(serde_json::from_str(&output(agent)?)?)
    }

    /// Starts a process that goes on; its output goes to `log/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(name))?;
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        self.children.insert(name.into(), child);
        Ok(())
    }
    /// Where the output of a process goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }
    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready in 20 s.
    pub fn start_fleet(&mut self) -> Result<()> {
        let mut c = self.program("longshore-fleet");
        // By whole paths: whoever keeps a stage stops it by the name of its directory.
        c.arg("serve").arg("--data").arg(self.dir.join("fleet"));
        c.arg("--config").arg(self.dir.join("fleet.toml"));
        self.spawn("fleet", c)?;
        let url = format!("{}/readyz", self.url());
        self.wait("the fleet server", Duration::from_secs(20), || Ok(ureq::get(&url).call().is_ok()))
    }
    /// Starts the agent of device `i`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&mut self, i: usize) -> Result<()> {
        let mut c = self.program("longshore-agent");
        c.args(["run", "--config"]).arg(self.device_dir(i).join("agent.toml"));
        self.spawn(&Self::device(i), c)
    }
    /// SIGKILL, and wait for the end.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let mut child = self.children.remove(name).with_context(|| format!("no process {name} runs"))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }
    /// Where the programs are.
    pub fn programs(&self) -> &Path {
        &self.programs
    }
    /// Process id of a running process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn pid(&self, name: &str) -> Result<u32> {
        Ok(self.children.get(name).with_context(|| format!("no process {name} runs"))?.id())
    }
    /// The engine process of device `i`: the child of its supervisor that was started as `engine`.
    ///
    /// # Errors
    /// When there is none.
    pub fn engine_pid(&self, i: usize) -> Result<i32> {
        let supervisor = self.children.get(&Self::device(i)).context("the agent does not run")?.id();
        let children = std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"))
            .unwrap_or_default();
        let mut pids: Vec<i32> = children.split_whitespace().filter_map(|p| p.parse().ok()).collect();
        if pids.is_empty() {
            pids = children_of(supervisor);
        }
        pids.into_iter()
            .find(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let args: Vec<&[u8]> = line.split(|b| *b == 0).collect();
                args.contains(&b"engine".as_slice()) && !args.contains(&b"--trial".as_slice())
            })
            .with_context(|| format!("{} has no engine", Self::device(i)))
    }
    /// Asks until `done` says so.
    ///
    /// # Errors
    /// When `limit` has passed, or a process of the stage has ended by itself.
    pub fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let start = Instant::now();
        while !done()? {
            for (name, child) in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!(
                        "{name} ended by itself ({status}) while waiting for {what}:\n{}",
                        tail(&self.dir.join("log").join(format!("{name}.log")))
                    );
                }
            }
            if start.elapsed() > limit {
                bail!(
                    "waited {} s in vain for {what}; the logs are in {}",
                    limit.as_secs(),
                    self.dir.join("log").display()
                );
            }
            std::thread::sleep(Duration::from_millis(150));
        }
        Ok(())
    }
    /// Leaves the processes running when the stage is left.
    pub fn leave_running(mut self) {
        self.children.clear();
    }
    /// Stops the processes and removes the directory; without this, a failed run leaves its logs.
    pub fn strike(mut self) {
        self.remove = true;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            // A process that is already gone needs no killing.
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.remove {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Children of `parent`, for kernels that do not list them.
fn children_of(parent: u32) -> Vec<i32> {
    let Ok(proc) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    proc.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1))
                    == Some(&parent.to_string())
            })
        })
        .collect()
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// `wanted` if it is free, else any free port.
fn port(wanted: u16) -> Result<u16> {
    let free = TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    Ok(free.context("no free port on the loopback interface")?.local_addr()?.port())
}
