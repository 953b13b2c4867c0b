//! Ending in order, within five seconds; and taking up a changed configuration.

use std::time::{Duration, Instant};

use super::Supervisor;
use crate::config::Config;
use crate::engine::protocol::ToEngine;
use crate::host::notify;

/// How long requests that run and messages without a receipt may take.
const PATIENCE: Duration = Duration::from_millis(4_000);
/// How long the fleet is given for receipts once the engine has ended.
const RECEIPTS: Duration = Duration::from_millis(1_500);

impl Supervisor {
    /// SIGTERM: no new requests, finish what runs, count it, say good-bye.
    pub(super) fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        tracing::info!("stopping");
        notify::stopping();
        self.stopping = Some(Instant::now());
        self.serving.send(&ToEngine::Drain, &[]);
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn is_over(&mut self) -> bool {
        if self.wiping.is_some() {
            return true;
        }
        let Some(since) = self.stopping else { return false };
        if since.elapsed() > PATIENCE {
            return true;
        }
        if self.serving.pid().is_some() {
            return false;
        }
        if !self.farewell {
            self.farewell = true;
            self.flush();
        }
        let waiting = self.sync.unreceipted() > 0 || self.store.waiting().unwrap_or(0) > 0;
        !self.link_up || !waiting || since.elapsed() > RECEIPTS
    }

    /// The last things.
    pub(super) fn finish(&mut self) {
        if self.serving.pid().is_some() {
            if self.wiping.is_none() {
                tracing::warn!("the engine did not end in time; it is stopped");
            }
            self.serving.kill();
        }
        self.close_windows(None);
        self.write_status();
        self.link.close();
        self.save_clock();
        if let Err(e) = self.store.set_number("running", 0) {
            tracing::error!("{e}");
        }
        tracing::info!("stopped");
    }

    /// SIGHUP: takes up what can be changed while running, and says why not.
    pub(super) fn reload(&mut self) {
        let new = match Config::load(&self.config_path) {
            Ok(new) => new,
            Err(e) => return tracing::error!("the configuration stays as it was: {e}"),
        };
        let fixed = [
            ("state_dir", self.config.state_dir != new.state_dir),
            ("run_dir", self.config.run_dir != new.run_dir),
            ("serve", self.config.serve != new.serve),
            ("link", self.config.link != new.link),
            ("log", self.config.log != new.log),
        ];
        for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
            tracing::warn!(
                "{key} cannot change while the agent runs; restart it (systemctl restart longshore-agent)"
            );
        }
        let labels = self.config.labels != new.labels;
        self.config.labels = new.labels;
        self.config.intervals = new.intervals;
        self.config.limits = new.limits;
        let now = Instant::now();
        self.timers.journal = now + self.config.intervals.journal;
        self.timers.window = now + self.config.intervals.window;
        self.timers.health = now + self.config.intervals.health;
        self.timers.refresh = now + self.config.intervals.refresh;
        if labels {
            self.report_inventory();
        }
        tracing::info!("configuration reloaded: labels, intervals and limits are in force");
    }
}
