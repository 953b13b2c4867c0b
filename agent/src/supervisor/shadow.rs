//! Candidates beside what serves: loaded into the same engine, counted in pages of their own.

use longshore_agent_core::guard::Sample;
use longshore_agent_core::update::{Input, Installed};
use longshore_trust::{Digest, ModelName};

use super::Supervisor;
use super::loads::State;
use crate::engine::protocol::{LoadId, ToEngine};

impl Supervisor {
    /// The core wants this bundle (or nothing) to run beside what answers for the model.
    pub(super) fn shadow(&mut self, model: ModelName, wanted: Option<Installed>) {
        let present = self.loads.beside(&model).map(|(id, l)| (id, l.bundle, l.state));
        let bundle = wanted.as_ref().map(|w| w.bundle);
        if let Some((load, _, state)) = present.filter(|(_, b, _)| Some(*b) != bundle) {
            // One that is still being loaded is forgotten when it says that it is there.
            if state == State::Shadow {
                self.leave_shadow(load);
            }
        }
        let Some(wanted) = wanted else {
            self.serving.beside.remove(&model);
            return;
        };
        self.serving.beside.insert(model.clone(), wanted.clone());
        match present.filter(|(_, b, _)| *b == wanted.bundle) {
            Some((_, bundle, State::Shadow)) => self.feed(Input::Shadowing(model, bundle)),
            Some(_) => {}
            None if self.serving.ready => self.prepare(model, wanted),
            None => {}
        }
    }
    fn leave_shadow(&mut self, load: LoadId) {
        if let Some(l) = self.loads.get_mut(load) {
            l.state = State::Leaving;
        }
        self.serving.send(&ToEngine::Unload(load), &[]);
    }

    /// The engine has loaded it.
    pub(super) fn shadow_loaded(&mut self, load: LoadId, model: &ModelName, bundle: &Digest) {
        if self.serving.beside.get(model).is_some_and(|w| w.bundle == *bundle) {
            let permille = self.config.limits.shadow_permille;
            self.serving.send(&ToEngine::Shadow { load, permille }, &[]);
        } else {
            self.leave_shadow(load);
        }
    }
    /// It sees what is answered.
    pub(super) fn on_shadowing(&mut self, load: LoadId) {
        let Some(l) = self.loads.get_mut(load) else { return };
        l.state = State::Shadow;
        let (model, bundle) = (l.model.clone(), l.bundle);
        if self.serving.beside.get(&model).is_some_and(|w| w.bundle == bundle) {
            tracing::info!(%model, bundle = bundle.short(), "in shadow");
            self.feed(Input::Shadowing(model, bundle));
        } else {
            self.leave_shadow(load);
        }
    }
    /// Shows the core what candidates in shadow have done.
    pub(super) fn observe_shadows(&mut self) {
        let beside: Vec<(ModelName, Digest)> =
            self.serving.beside.iter().map(|(m, w)| (m.clone(), w.bundle)).collect();
        for (model, bundle) in beside {
            let Some(table) = self.loads.shadowed(&model, &bundle) else { continue };
            let (rows, errors, nan) = (table.rows, table.errors, table.nan);
            let sample = Sample { rows, errors, nan, ..Sample::default() };
            self.feed(Input::Observed(model, bundle, sample));
        }
    }
}
