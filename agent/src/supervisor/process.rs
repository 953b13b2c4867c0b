//! An engine process and the socket to it.

use std::io;
use std::os::fd::BorrowedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal};

use crate::engine::channel::{Channel, ChannelError};
use crate::engine::protocol::{FromEngine, ToEngine};

/// What a process tells.
#[derive(Debug)]
pub enum Told {
    /// A packet.
    Packet(FromEngine),
    /// It ended: how, as text.
    Gone(String),
}

/// A running engine, serving or on trial.
#[derive(Debug)]
pub struct Process {
    socket: Arc<Channel>,
    pid: u32,
}

fn program() -> io::Result<std::path::PathBuf> {
    let exe = std::env::current_exe()?;
    // An upgrade may have replaced the file: what runs is still there.
    Ok(if exe.exists() { exe } else { "/proc/self/exe".into() })
}

impl Process {
    /// Starts an engine. `told` is called from a thread of its own until [`Told::Gone`], which comes once and last.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(trial: bool, told: impl Fn(Told) + Send + 'static) -> io::Result<Self> {
        let (ours, theirs) = Channel::pair()?;
        let mut command = Command::new(program()?);
        command.arg("engine").env_clear().stdin(Stdio::from(theirs));
        if trial {
            command.arg("--trial");
        }
        let child = command.spawn()?;
        drop(command);
        let pid = child.id();
        let socket = Arc::new(ours);
        let reader = Arc::clone(&socket);
        std::thread::Builder::new()
            .name(format!("engine-{pid}"))
            .spawn(move || read(&reader, child, &told))?;
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

fn read(socket: &Channel, mut child: Child, told: &impl Fn(Told)) {
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
    // Its end of the socket is closed or useless: it has nothing left to do.
    let ended = wait(&mut child);
    told(Told::Gone(ended));
}

fn wait(child: &mut Child) -> String {
    let begun = std::time::Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if begun.elapsed().as_millis() < 300 => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Ok(None) => {
                // It may have ended in between.
                let _ = child.kill();
                return child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
            }
            Err(e) => return e.to_string(),
        }
    }
}
