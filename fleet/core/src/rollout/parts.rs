//! Actions of one step in parts that are committed one after the other.

use super::Action;

impl Action {
    /// Whether it is about one device alone. What it changes is then true by itself: that others of the same step are not
    /// carried out yet is as if their devices had been looked at a moment later.
    const fn is_of_one_device(&self) -> bool {
        match self {
            Self::Rollout { .. }
            | Self::Begin
            | Self::PlanRevert { .. }
            | Self::Wave { .. }
            | Self::Verdict { .. } => false,
            Self::Quarantine { .. }
            | Self::Admit { .. }
            | Self::Offer { .. }
            | Self::Device { .. }
            | Self::Commit { .. }
            | Self::RenewLease { .. }
            | Self::Halt { .. }
            | Self::Revert { .. } => true,
        }
    }
}

/// The actions of one step in order, in parts of about `most`, each of which is one transaction: a step that tells 100,000
/// devices something must not keep everybody else from writing. A part ends only between two devices, so what is decided of
/// the rollout and its waves is never half done.
pub fn in_parts(actions: Vec<Action>, most: usize) -> impl Iterator<Item = Vec<Action>> {
    let mut rest = actions.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut part = vec![rest.next()?];
        while let Some(next) = rest.peek() {
            let between_devices =
                next.is_of_one_device() && part.last().is_some_and(Action::is_of_one_device);
            if part.len() >= most && between_devices {
                break;
            }
            part.extend(rest.next());
        }
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use longshore_trust::AssignmentVersion;

    use super::super::{RolloutState, WaveState};
    use super::*;

    fn halt(n: usize) -> Action {
        let device = format!("dev-{n}").parse().unwrap();
        Action::Halt { device, version: AssignmentVersion(1) }
    }
    fn lengths(actions: &[Action], most: usize) -> Vec<usize> {
        let parts: Vec<Vec<Action>> = in_parts(actions.to_vec(), most).collect();
        assert_eq!(parts.concat(), actions, "all of them, in order");
        parts.iter().map(Vec::len).collect()
    }

    #[test]
    fn devices_are_told_in_parts() {
        let halts: Vec<Action> = (0..10).map(halt).collect();
        assert_eq!(lengths(&halts, 4), [4, 4, 2]);
        assert_eq!(lengths(&halts, 10), [10]);
        assert_eq!(lengths(&halts, usize::MAX), [10]);
        assert_eq!(lengths(&[], 4), [0; 0]);
    }

    #[test]
    fn what_is_decided_of_a_rollout_stays_together_with_what_stands_beside_it() {
        let failed = Action::Wave { wave: 0, state: WaveState::Failed };
        let reverts = Action::Rollout { state: RolloutState::Reverting, reason: String::new(), pause: None };
        let actions = [halt(0), halt(1), failed, reverts, halt(2), halt(3), halt(4)];
        assert_eq!(lengths(&actions, 1), [1, 4, 1, 1]);
        assert_eq!(lengths(&actions, 2), [5, 2]);
    }
}
