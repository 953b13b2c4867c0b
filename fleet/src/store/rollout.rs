//! Rollouts, waves, devices of a rollout.
