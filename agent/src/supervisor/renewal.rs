//! Renewing the client certificate while the agent runs, and going on with the new one.

use std::time::{Duration, Instant};

use longshore_agent_core::renewal::Next;

use super::event::Happening;
use super::{Supervisor, boot};
use crate::identity::Identity;
use crate::renew::{self, Outcome, RenewError};

impl Supervisor {
    /// Asks for a new certificate when one is due.
    pub(super) fn tick_renewal(&mut self, now: Instant) {
        if self.renewing || now < self.timers.renewal {
            return;
        }
        match self.renewals.next(self.now(), self.steady()) {
            Next::After(ms) => {
                // Not more often than it makes sense, whatever the clocks say.
                self.timers.renewal = now + Duration::from_millis(ms.max(100));
            }
            Next::Ask => {
                self.renewals.asked(self.steady());
                self.renewing = true;
                let header = self.header(longshore_trust::Seq(0));
                let state_dir = self.config.state_dir.clone();
                self.spawn("renew", move || {
                    Happening::Renewed(renew::attempt(&state_dir, header.time, header.time_quality))
                });
            }
        }
    }

    pub(super) fn on_renewed(&mut self, result: Result<Outcome, RenewError>) {
        self.renewing = false;
        self.timers.renewal = Instant::now();
        match result {
            Ok(Outcome::NotDue) => self.renewals.kept(self.steady()),
            Ok(Outcome::Renewed) => match Identity::load(&self.config.state_dir) {
                Ok(Some(me)) => {
                    tracing::info!("the client certificate was renewed");
                    self.renewals.renewed(me.life);
                    self.go_on_as(&me);
                }
                Ok(None) => tracing::error!("the identity of this device has gone"),
                Err(e) => tracing::error!("{e}"),
            },
            Err(e) => tracing::warn!("{e}; trying again"),
        }
    }

    /// New connections with the certificate that is there now.
    fn go_on_as(&mut self, me: &Identity) {
        let queue = self.queue.clone();
        let links = boot::remote(me).map_err(|e| e.to_string()).and_then(|remote| {
            Ok((remote, boot::link(&self._net, &self.config, me, queue).map_err(|e| e.to_string())?))
        });
        match links {
            Ok((remote, link)) => {
                self.remote = remote;
                self.link.close();
                // What the old connection still tells is of no interest: dropping it ends it.
                self.link = Box::new(link);
                if self.link_up {
                    self.on_link(crate::link::LinkEvent::Down("going on with a new certificate".into()));
                }
            }
            Err(e) => tracing::error!("the new certificate cannot be used: {e}"),
        }
    }
}
