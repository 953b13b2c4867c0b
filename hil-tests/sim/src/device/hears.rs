//! What reaches a device: messages, sessions, ends of what it waited for.

use longshore_agent_core::assignment::reason;
use longshore_agent_core::sync;
use longshore_agent_core::update::{FetchFailure, Input};
use longshore_trust::{AssignmentVersion, Verified};
use longshore_wire::v1::{Body, CommandAction, Message, open};

use super::Device;
use crate::env::Env;
use crate::message::{Down, Row, Signed};
use crate::queue::Event;

impl Device {
    /// It tries to connect.
    pub fn connect(&mut self, env: &mut Env, boot: u32) {
        if boot != self.boots || !self.reaches(env) || !env.broker {
            return;
        }
        self.sessions += 1;
        let (session, r) = (self.sessions, self.reading(env.now));
        let Some(run) = &mut self.run else { return };
        if run.session.is_some() {
            return;
        }
        run.session = Some(session);
        // The fleet attests the time over HTTPS. A device keeps what an offline signature says against it.
        let _ = run.clock.attest(env.now, r.boot_ms);
        self.feed(env, Input::Tick);
        self.feed_sync(env, sync::Input::LinkUp);
    }
    /// It notices that its session is gone.
    pub fn dropped(&mut self, env: &mut Env, session: u32) {
        let Some(run) = self.run.as_mut().filter(|r| r.session == Some(session)) else { return };
        run.session = None;
        self.feed_sync(env, sync::Input::LinkDown);
        if self.cut == 0 {
            let wait = 1_000 + self.rng.range(0, 30_000);
            env.after(wait, Event::Connect(self.ix, self.boots));
        }
    }
    /// Its session is gone at the broker; it has not noticed yet.
    pub fn lose_session(&mut self) {
        self.sessions += 1;
    }
    /// The network is there again.
    pub fn reconnects(&mut self, env: &mut Env) {
        let wait = 1_000 + self.rng.range(0, 60_000);
        env.after(wait, Event::Connect(self.ix, self.boots));
    }
    /// What it waited for has ended.
    pub fn done(&mut self, env: &mut Env, boot: u32, input: Input) {
        if boot != self.boots || self.run.is_none() {
            return;
        }
        // What broke off meanwhile did not end well.
        let input = match input {
            Input::Fetched(model, bundle, Ok(())) if !self.reaches(env) => {
                let why = FetchFailure::Transient(reason("fetch.network", "the connection broke off"));
                Input::Fetched(model, bundle, Err(why))
            }
            other => other,
        };
        self.feed(env, input);
    }
    /// The engine accepts loads.
    pub fn engine_up(&mut self, env: &mut Env, boot: u32) {
        let Some(run) = self.run.as_mut().filter(|_| boot == self.boots) else { return };
        run.engine_up = true;
        self.feed(env, Input::EngineUp);
    }
    /// What should answer answers now.
    pub fn served(&mut self, env: &mut Env, boot: u32, ticket: u32) {
        let Some(run) =
            self.run.as_mut().filter(|r| boot == self.boots && r.serve_ticket == ticket && r.engine_up)
        else {
            return;
        };
        let (before, now) = (run.serving, run.wanted);
        run.serving = now;
        self.engine.count(env, &mut self.disk.open, before, env.now);
        let digest = now.map(|b| env.repo.bundle(b).digest);
        if now != before
            && let Some(wanted) = self.disk.record.as_ref().and_then(|r| r.serving()).cloned()
        {
            self.runs(env, &wanted);
            self.exposed(env);
        }
        let model = env.repo.model.clone();
        self.feed(env, Input::Serving(model, digest));
        if self.engine.crashes && now.is_some_and(|b| b >= 2) {
            self.crashes(env, digest);
        }
    }
    /// The engine dies of what it serves, and comes back.
    fn crashes(&mut self, env: &mut Env, blamed: Option<longshore_trust::Digest>) {
        let Some(run) = &mut self.run else { return };
        (run.engine_up, run.serving) = (false, None);
        self.feed(env, Input::EngineDown(blamed));
        env.after(2_000, Event::EngineUp(self.ix, self.boots));
    }
    /// The rollout's version begins to answer: the oracle counts it.
    fn exposed(&mut self, env: &mut Env) {
        let update = self.disk.record.as_ref().and_then(|r| r.update.as_ref());
        let Some(id) = update.and_then(|u| u.wanted.bundle.origin.rollout.as_ref()) else { return };
        let Some(rollout) = id.as_str().strip_prefix('r').and_then(|n| n.parse().ok()) else { return };
        env.oracle.exposes(env.now, rollout, self.ix);
    }
    /// A refresh of trust metadata has ended.
    pub fn refreshed(&mut self, env: &mut Env, ticket: u32) {
        if self.run.is_none() || self.refreshes != ticket {
            return;
        }
        if !self.reaches(env) {
            let why = reason("trust.refresh", "the fleet cannot be reached");
            return self.feed(env, Input::Targets(Err(why)));
        }
        let before = env.repo.director_of(self.disk.trust);
        match env.repo.refresh(self.disk.trust) {
            Ok(trust) => self.disk.trust = trust,
            Err(e) => env.oracle.breaks(env.now, "audit", format!("metadata does not verify: {e}")),
        }
        if env.repo.director_of(self.disk.trust) != before && self.disk.director.is_some() {
            self.disk.director = None;
            self.disk.epoch = 0;
            self.feed(env, Input::NewDirector { assigned: AssignmentVersion(0), commanded: (0, 0) });
            if let Some(run) = &mut self.run {
                run.sync.new_director();
            }
        }
        let view = env.repo.view(self.disk.trust);
        self.feed(env, Input::Targets(Ok(view)));
    }
    /// A message arrives in one of its sessions.
    pub fn hears(&mut self, env: &mut Env, session: u32, down: Down) {
        if self.cut > 0 || self.run.as_ref().is_none_or(|r| r.session != Some(session)) {
            return;
        }
        match down {
            Down::Doorbell => {
                self.refresh(env);
                self.feed(env, Input::Doorbell);
            }
            Down::Receipt(receipt, key, head) => {
                if key == env.repo.director_of(self.disk.trust) {
                    self.disk.director = Some(key);
                    self.disk.head = Some(head);
                    self.feed_sync(env, sync::Input::Receipt(receipt));
                }
            }
            Down::Assign(signed) => {
                if let Some(message) = self.verified(env, &signed) {
                    self.feed(env, Input::Assignment(message));
                }
            }
            Down::Command(signed) => {
                if let Some(message) = self.verified(env, &signed) {
                    let at = (message.header.stream.0, message.header.seq.0);
                    match message.body.action {
                        CommandAction::Halt { version } => {
                            if let Some(run) = &mut self.run {
                                run.halting.push((at, version));
                            }
                        }
                        CommandAction::Commit { version } => self.word = version,
                        _ => {}
                    }
                    self.feed(env, Input::Command(message));
                }
            }
        }
    }
    /// Only what the director signed whom this device trusts.
    fn verified<B: Body + Clone>(
        &mut self,
        env: &mut Env,
        signed: &Signed<B>,
    ) -> Option<Verified<Message<B>>> {
        let trusted = env.repo.director_of(self.disk.trust);
        let opened = match &signed.bytes {
            Some(bytes) => open::<B>(bytes, &env.repo.public(trusted)).ok(),
            None if signed.key == trusted => {
                let message = (*signed.message).clone();
                Some(env.repo.proof(trusted).map(|_| message))
            }
            None => None,
        };
        match &opened {
            Some(_) => self.disk.director = Some(trusted),
            None => {
                let code = env.code("message.refused");
                if !self.disk.reports.contains(&Row::Refused(code)) {
                    self.disk.reports.push_back(Row::Refused(code));
                }
                self.refresh(env);
            }
        }
        opened
    }
    /// Fresh metadata is asked for, also when no offer waits for it.
    pub(super) fn refresh(&mut self, env: &mut Env) {
        self.refreshes += 1;
        let event = Event::Refreshed(self.ix, self.refreshes);
        let wait = self.rng.range(200, 3_000);
        env.after(wait, event);
    }
}
