//! The engine process: parses models and answers requests, in a sandbox, with no key and no way out.
//!
//! `longshore-agent engine` is started by the supervisor with a socket as standard input and nothing else. It reads one
//! packet, shuts itself in, and only then starts threads and touches a model. When the socket closes it ends at once. With
//! `--trial` it tries one bundle and ends; with `--probe` it says what the sandbox has here and ends.

pub mod channel;
mod control;
pub mod load;
pub mod protocol;
mod room;
pub mod sealed;
pub mod trial;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use longshore_runtime::MemoryFigures;
use longshore_sandbox::{Limits, Memory};
use tokio::sync::watch;

use crate::code::Code;
use crate::serve::{self, Listeners, Service, Settings, Stop};
use channel::Channel;
use protocol::{FromEngine, ServingLimits, ToEngine, TrialLimits};

/// Runs the engine; its control socket is standard input.
#[must_use]
pub fn run(args: Vec<String>) -> ExitCode {
    let trial = match args.as_slice() {
        [] => false,
        [one] if one == "--trial" => true,
        [one] if one == "--probe" => return probe(),
        _ => {
            eprintln!(
                "longshore-agent engine: started by the agent itself; run `longshore-agent run` instead"
            );
            return ExitCode::from(2);
        }
    };
    log_to_stderr();
    let control = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => Channel::new(fd),
        Err(e) => {
            eprintln!("longshore-agent engine: standard input is not usable: {e}");
            return ExitCode::FAILURE;
        }
    };
    let ended = if trial { run_trial(&control) } else { run_serving(control) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("engine: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr() {
    use tracing_subscriber::filter::LevelFilter;
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    // The supervisor's own tests may have set one already.
    let _ = subscriber.with_max_level(LevelFilter::INFO).try_init();
    std::panic::set_hook(Box::new(log_panic));
}

/// A panic is caught where it matters; what is left to do is to say so, and not a thousand times a second.
fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let n = SEEN.fetch_add(1, Relaxed) + 1;
    if n <= 10 || n.is_power_of_two() {
        tracing::error!("engine: panic number {n}: {info}");
    }
}

fn run_trial(control: &Channel) -> anyhow::Result<()> {
    let (request, limits, fds) = match control.recv()? {
        Some((ToEngine::Trial { request, limits }, fds)) => (request, limits, fds),
        Some((other, _)) => anyhow::bail!("the first packet of a trial is {other:?}"),
        None => return Ok(()),
    };
    // Requests to the serving engine come first; where it is refused, the trial is merely less polite.
    let _ = rustix::process::setpriority_process(None, control::BACKGROUND_NICE);
    let memory = MemoryFigures::open();
    let _measures = shut_in(&limits.into());
    control.send(&FromEngine::Trial(trial::run(&request, fds, &memory)), &[])?;
    Ok(())
}

fn run_serving(control: Channel) -> anyhow::Result<()> {
    let (settings, limits, listeners) = match control.recv()? {
        Some((ToEngine::Serve { tcp, max_body_bytes, queue, feedback_token, limits }, fds)) => {
            let longest = Duration::from_millis(limits.request_ms);
            (Settings { max_body_bytes, queue, feedback_token, longest }, limits, listeners(tcp, fds)?)
        }
        Some((other, _)) => anyhow::bail!("the first packet is {other:?}"),
        None => return Ok(()),
    };
    let room = room::Room::open(limits.memory_bytes);
    let code = Code::of_this_program();
    let measures = shut_in(&limits.into());

    let (outbox, to_send) = channel();
    let service = Service::start(&settings, outbox.clone())?;
    let (stop, stopped) = watch::channel(Stop::No);
    control::start(control, to_send, outbox.clone(), std::sync::Arc::clone(&service), (room, code), stop)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ready = move || {
        // When the supervisor is gone already, the control thread says stop.
        let _ = outbox.send(FromEngine::Ready { sandbox: measures });
    };
    runtime.block_on(serve::serve(service, listeners, stopped, ready))?;
    Ok(())
}

fn listeners(tcp: bool, fds: Vec<OwnedFd>) -> anyhow::Result<Listeners> {
    let (wanted, found) = (1 + usize::from(tcp), fds.len());
    anyhow::ensure!(wanted == found, "{wanted} listening sockets were stated, {found} came");
    let mut fds = fds.into_iter();
    let unix = fds.next().map(UnixListener::from).expect("counted above");
    Ok(Listeners { unix, tcp: fds.next().map(std::net::TcpListener::from) })
}

/// Descriptors of a serving engine: its connections and a few of its own.
const SERVING_FILES: u64 = 1024;
/// Descriptors of a trial engine.
const TRIAL_FILES: u64 = 64;

impl From<ServingLimits> for Limits {
    fn from(l: ServingLimits) -> Self {
        let memory = Some(Memory::Private(l.memory_bytes));
        Self { memory, cpu_s: None, files: SERVING_FILES, file_bytes: None }
    }
}
impl From<TrialLimits> for Limits {
    fn from(l: TrialLimits) -> Self {
        let memory = Some(Memory::AddressSpace(l.memory_bytes));
        Self { memory, cpu_s: Some(l.cpu_s), files: TRIAL_FILES, file_bytes: None }
    }
}

/// Shuts this process in.
fn shut_in(limits: &Limits) -> Vec<String> {
    longshore_runtime::look_at_cpu();
    let measures = longshore_sandbox::enter(limits);
    tracing::debug!("sandbox: {}", measures.join(", "));
    measures
}

/// `engine --probe`: one line for each measure.
fn probe() -> ExitCode {
    let limits = ServingLimits { memory_bytes: 1 << 30, request_ms: 1 };
    for measure in shut_in(&limits.into()) {
        println!("{measure}");
    }
    ExitCode::SUCCESS
}
