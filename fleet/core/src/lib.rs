//! The fleet's decisions: what a rollout policy says, what a plan looks like, what happens next, whether a wave passes, who is
//! told of what.
//!
//! Always true here: no I/O, no clock, no random source. Facts and the time come in as arguments, decisions go out as
//! values; asking again with the same facts gives the same answer.

#![forbid(unsafe_code)]

pub mod alert;
pub mod broken;
pub mod gate;
pub mod monitor;
pub mod plan;
pub mod policy;
pub mod promotion;
pub mod rollout;
pub mod shadow;
pub mod wording;
