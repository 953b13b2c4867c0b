//! `longshore-fleet`: the server and its maintenance commands.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use longshore_fleet::config::Config;
use longshore_fleet::init::{self, DataDir};
use longshore_fleet::{api, app, auth, backup, external_broker, serve};

/// Prints a line; a reader that has gone away is no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// The Longshore fleet server: catalogue, trust metadata, device registry, rollouts, console.
#[derive(Parser)]
#[command(name = "longshore-fleet", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// Log lines as JSON
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(DataArgs),
    /// Make a data directory out of the online keys that `longshore keys init` made
    Init(InitArgs),
    /// Copy the record, the bundle files and the online keys into a new directory, while the server runs
    Backup {
        #[command(flatten)]
        data: DataArgs,
        /// New directory
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make a data directory out of a backup; devices then offer again what they still hold
    Restore {
        #[command(flatten)]
        data: DataArgs,
        /// The backup
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Move a database that is there aside
        #[arg(long)]
        replace: bool,
    },
    /// Bring the database up to date (`serve` does it by itself)
    Migrate(DataArgs),
    /// Read the configuration and print what is in effect
    CheckConfig(DataArgs),
    /// Make what a Mosquitto needs to be this fleet's broker: certificate, access rules, configuration
    BrokerFiles {
        #[command(flatten)]
        data: DataArgs,
        /// Name or address under which devices and this server reach the broker; may be given several times
        #[arg(long, value_name = "NAME", required = true)]
        host: Vec<String>,
        /// Port of the broker
        #[arg(long, default_value_t = 8883)]
        port: u16,
        /// New directory
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Print the OpenAPI document of the API
    Openapi,
    /// Look at one uploaded bundle, in a process of its own (started by the server)
    #[command(hide = true)]
    Recheck {
        /// The bundle
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
struct DataArgs {
    /// Data directory
    #[arg(long, value_name = "DIR", default_value = "longshore-data", env = "LONGSHORE_DATA")]
    data: PathBuf,
    /// Configuration [default: config.toml in the data directory, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DataArgs {
    fn dir(&self) -> DataDir {
        DataDir::new(&self.data)
    }
    fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(&self.data, self.config.as_deref())?)
    }
}

#[derive(clap::Args)]
struct InitArgs {
    #[command(flatten)]
    data: DataArgs,
    /// The `online` directory made by `longshore keys init`
    #[arg(long, value_name = "DIR")]
    online: PathBuf,
    /// First line: the password of `admin` [default: one is made and printed once]
    #[arg(long, value_name = "FILE")]
    admin_password_file: Option<PathBuf>,
    /// Write an API token of `admin` into this file (mode 0600)
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before any thread exists: the check limits its own process.
    if let Command::Recheck { dir } = &cli.command {
        return api::recheck::main(dir);
    }
    log_to_stderr(cli.log_json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&e.into()),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn log_to_stderr(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,mqtt5=error,rumqttc=error,sqlx=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        log.json().init();
    } else {
        log.init();
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve(&args).await,
        Command::Init(args) => initialise(&args).await,
        Command::Backup { data, out } => {
            let about = backup::backup(&data.dir(), &out, app::now()).await?;
            say!(
                "Backed up fleet {} (epoch {}, {} objects) to {}. It holds the online keys: keep it as safe as the server.",
                about.fleet,
                about.epoch,
                about.objects,
                out.display()
            );
            Ok(())
        }
        Command::Restore { data, from, replace } => {
            let epoch = backup::restore(&from, &data.dir(), replace, app::now()).await?;
            say!("Restored into {}; the fleet epoch is now {epoch}.", data.data.display());
            Ok(())
        }
        Command::Migrate(args) => {
            backup::migrate(&args.dir()).await?;
            say!("The database of {} is up to date.", args.data.display());
            Ok(())
        }
        Command::CheckConfig(args) => {
            let config = args.config()?;
            say!("{}", toml::to_string(&config)?.trim_end());
            if config.alerting.shipped {
                say!("\n{}", longshore_fleet_core::alert::SHIPPED_RULES.trim_end());
            }
            for receiver in &config.alerting.receivers {
                if let Some((file, why)) = longshore_fleet::alerts::unreadable(&receiver.files()) {
                    anyhow::bail!("the receiver {} needs {file}, which cannot be read: {why}", receiver.name);
                }
            }
            Ok(())
        }
        Command::BrokerFiles { data, host, port, out } => {
            let fleet = external_broker::write(&data.dir(), &host, port, &out)?;
            say!(
                "{} holds what a Mosquitto needs to be the broker of fleet {fleet}: make it readable for its user, start \
                 `mosquitto -c {}`, set `broker = \"mqtts://{}:{port}\"` in the server's configuration and restart it.",
                out.display(),
                out.join("mosquitto.conf").display(),
                host[0]
            );
            Ok(())
        }
        Command::Openapi => {
            say!("{}", api::openapi());
            Ok(())
        }
        Command::Recheck { .. } => unreachable!("it has no runtime"),
    }
}

async fn serve(args: &DataArgs) -> anyhow::Result<()> {
    // Before the start, so that a signal during it is not lost.
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let running = serve::start(&args.dir(), args.config()?).await?;
    if let Some(password) = &running.first_password {
        print_password(password);
    }
    say!("Console: http://{}", running.operator);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop().await;
    Ok(())
}

async fn initialise(args: &InitArgs) -> anyhow::Result<()> {
    let given = args.admin_password_file.as_deref().map(first_line).transpose()?;
    let data = args.data.dir();
    let opened = init::init(&args.online, &data, &args.data.config()?).await?;
    let now = app::now();
    let nobody = opened.store.people().await? == 0;
    if nobody || given.is_some() {
        let password = given.clone().unwrap_or_else(serve::random_password);
        auth::create_admin(&opened.store, "admin", &password, now).await?;
        if given.is_none() {
            print_password(&password);
        }
    }
    if let Some(file) = &args.admin_token_file {
        let mut tx = opened.store.write().await?;
        let token = auth::create_token(&mut tx, "admin", "init", None, now).await?;
        write_private(file, &token)?;
        tx.commit().await?;
    }
    opened.store.close().await;
    say!("Key of the audit log: {}", opened.audit.public());
    say!(
        "(Auditors give it to `longshore audit verify --log-key`; write it down where this server cannot change it.)"
    );
    say!(
        "Fleet {} is ready in {}. Start it with `longshore-fleet serve --data {}`.",
        opened.fleet,
        data.root().display(),
        data.root().display()
    );
    Ok(())
}

fn print_password(password: &str) {
    say!("Sign in as `admin` with the password {password} (it is not shown again).");
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| anyhow::anyhow!("cannot read the password file {}: {e}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| anyhow::anyhow!("cannot write the token file {}: {e}", path.display()))?;
    writeln!(file, "{text}")?;
    Ok(())
}
