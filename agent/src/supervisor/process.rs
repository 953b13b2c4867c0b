//! An engine process and the socket to it.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use longshore_sandbox::{Cause, Ending, LastWords};
use rustix::process::{Pid, Signal};

use crate::engine::channel::{Channel, ChannelError};
use crate::engine::protocol::{FromEngine, ToEngine};

/// What a process tells.
#[derive(Debug)]
pub enum Told {
    /// A packet.
    Packet(FromEngine),
    /// It ended: how, and why as far as it tells.
    Gone(Ending),
}

/// A running engine, serving or on trial.
#[derive(Debug)]
pub struct Process {
    socket: Arc<Channel>,
    pid: u32,
}

/// The program that runs now.
pub fn program() -> io::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    // An upgrade may have replaced the file: what runs is still there.
    Ok(if exe.exists() { exe } else { "/proc/self/exe".into() })
}

impl Process {
    /// Starts an engine. `told` is called from a thread of its own until [`Told::Gone`], which comes once and last.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, trial: bool, told: impl Fn(Told) + Send + 'static) -> io::Result<Self> {
        let (ours, theirs) = Channel::pair()?;
        let mut command = Command::new(program);
        command.arg("engine").env_clear().stdin(Stdio::from(theirs));
        if trial {
            // What ends a trial is said there, and nowhere else.
            command.arg("--trial").stderr(Stdio::piped());
        }
        let mut child = command.spawn()?;
        drop(command);
        let pid = child.id();
        let words = child.stderr.take().map(|e| std::thread::spawn(move || LastWords::of(e)));
        let socket = Arc::new(ours);
        let reader = Arc::clone(&socket);
        std::thread::Builder::new().name(format!("engine-{pid}")).spawn(move || {
            read(&reader, &told);
            // Its end of the socket is closed or useless: it has nothing left to do.
            let ended = wait(&mut child);
            let words = words.and_then(|w| w.join().ok()).unwrap_or_default();
            told(Told::Gone(match ended {
                Ok(status) => Ending::of(status, &words),
                Err(e) => Ending { cause: Cause::Crash, detail: e.to_string() },
            }));
        })?;
        Ok(Self { socket, pid })
    }
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }
    /// Sends a packet and descriptors; never waits.
    ///
    /// # Errors
    /// When the engine is gone or does not read.
    pub fn send(&self, packet: &ToEngine, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        self.socket.try_send(packet, fds)
    }
    /// Kills it; [`Told::Gone`] follows.
    pub fn kill(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Not being there any more is what was wanted.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An engine whose socket closes ends by itself, but a hung one might not.
        self.kill();
    }
}

fn read(socket: &Channel, told: &impl Fn(Told)) {
    loop {
        match socket.recv::<FromEngine>() {
            // It has no descriptor to give; any that came are closed here.
            Ok(Some((packet, _))) => told(Told::Packet(packet)),
            Ok(None) | Err(ChannelError::Io(_)) => break,
            Err(error) => {
                tracing::error!(%error, "the engine sent a packet that cannot be read; it is stopped");
                break;
            }
        }
    }
}

fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let begun = std::time::Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(status),
            None if begun.elapsed().as_millis() < 300 => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            None => {
                // It may have ended in between.
                let _ = child.kill();
                return child.wait();
            }
        }
    }
}
