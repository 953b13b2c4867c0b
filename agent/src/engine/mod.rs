//! The engine process: parses models and answers requests, in a sandbox, with no key and no way out.
//!
//! `longshore-agent engine` is started by the supervisor with a socket as standard input and nothing else. It reads one
//! packet, shuts itself in, and only then starts threads and touches a model. When the socket closes it ends at once. With
//! `--trial` it tries one bundle and ends.

pub mod channel;
mod control;
pub mod load;
pub mod protocol;
pub mod sealed;
pub mod trial;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::mpsc::channel;

use tokio::sync::watch;

use crate::sandbox::{self, Purpose};
use crate::serve::{self, Listeners, Service, Settings, Stop};
use channel::Channel;
use protocol::{FromEngine, ToEngine};

/// Runs the engine; its control socket is standard input.
#[must_use]
pub fn run(args: Vec<String>) -> ExitCode {
    let trial = match args.as_slice() {
        [] => false,
        [one] if one == "--trial" => true,
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
    let memory = trial::PeakMemory::open();
    let _measures = shut_in(Purpose::Trial(limits));
    control.send(&FromEngine::Trial(trial::run(&request, fds, &memory)), &[])?;
    Ok(())
}

fn run_serving(control: Channel) -> anyhow::Result<()> {
    let (settings, listeners) = match control.recv()? {
        Some((ToEngine::Serve { tcp, max_body_bytes, queue, feedback_token }, fds)) => {
            (Settings { max_body_bytes, queue, feedback_token }, listeners(tcp, fds)?)
        }
        Some((other, _)) => anyhow::bail!("the first packet is {other:?}"),
        None => return Ok(()),
    };
    let measures = shut_in(Purpose::Serve);

    let (outbox, to_send) = channel();
    let service = Service::start(&settings, outbox.clone())?;
    let (stop, stopped) = watch::channel(Stop::No);
    control::start(control, to_send, outbox.clone(), std::sync::Arc::clone(&service), stop)?;
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

/// Shuts this process in. Threads that run already would stay outside, so that is reported like a layer that is missing.
fn shut_in(purpose: Purpose) -> Vec<String> {
    longshore_runtime::look_at_cpu();
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let mut measures = sandbox::enter(purpose);
    if threads > 1 {
        measures.push(format!("missing:whole_process ({threads} threads were running before)"));
    }
    tracing::debug!("sandbox: {}", measures.join(", "));
    measures
}
