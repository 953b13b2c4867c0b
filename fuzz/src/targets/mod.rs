//! The targets: one function for everything that reads what outsiders send.

mod bundle;
mod engine;
mod planted;
mod trust;
mod wire;

pub use planted::PLANTED;

use crate::{Shape, Target};

/// Memory of a reader that should need little: whoever takes more lets others take it all.
const MODEST: u64 = 1 << 30;

/// All targets.
pub const ALL: &[Target] = &[
    Target {
        name: "canonical-json",
        promise: "what is read has one canonical form, which reads back as the same; a common reader agrees",
        shape: Shape::Json(0),
        memory_bytes: MODEST,
        inputs: 4_000,
        contained: false,
        seeds: trust::json_seeds,
        run: trust::canonical_json,
    },
    Target {
        name: "tuf",
        promise: "no metadata is accepted whose signed part nobody signed; with stolen keys nothing worse than refusal",
        shape: Shape::Json(2),
        memory_bytes: MODEST,
        inputs: 1_000,
        contained: false,
        seeds: trust::tuf_seeds,
        run: trust::tuf,
    },
    Target {
        name: "envelope",
        promise: "no body opens that was not sealed for that kind; what parses encodes and parses the same",
        shape: Shape::Bytes,
        memory_bytes: MODEST,
        inputs: 4_000,
        contained: false,
        seeds: trust::envelope_seeds,
        run: trust::envelope,
    },
    Target {
        name: "wire",
        promise: "a rightly signed body of any bytes is read or refused; what is read encodes and reads the same",
        shape: Shape::Bytes,
        memory_bytes: MODEST,
        inputs: 2_000,
        contained: false,
        seeds: wire::message_seeds,
        run: wire::message,
    },
    Target {
        name: "topic",
        promise: "a topic that parses is written as it was read",
        shape: Shape::Bytes,
        memory_bytes: MODEST,
        inputs: 20_000,
        contained: false,
        seeds: wire::topic_seeds,
        run: wire::topic,
    },
    Target {
        name: "engine-packets",
        promise: "packets of an engine that was taken over are read or refused",
        shape: Shape::Bytes,
        memory_bytes: MODEST,
        inputs: 20_000,
        contained: false,
        seeds: wire::packet_seeds,
        run: wire::packet,
    },
    Target {
        name: "manifest",
        promise: "a manifest that parses is written and parses as the same",
        shape: Shape::Json(0),
        memory_bytes: MODEST,
        inputs: 4_000,
        contained: false,
        seeds: bundle::manifest_seeds,
        run: bundle::manifest,
    },
    Target {
        name: "safetensors",
        promise: "golden vectors that are read are as long as their shapes say, and are written and read as the same",
        shape: Shape::Bytes,
        memory_bytes: MODEST,
        inputs: 4_000,
        contained: false,
        seeds: bundle::safetensors_seeds,
        run: bundle::safetensors,
    },
    Target {
        name: "npz",
        promise: "arrays and columns of authors are read or refused; arrays are as long as their shapes say",
        shape: Shape::Bytes,
        memory_bytes: MODEST,
        inputs: 10_000,
        contained: false,
        seeds: bundle::npz_seeds,
        run: bundle::npz,
    },
    Target {
        name: "profile",
        promise: "a reference profile that is read is written and read as the same",
        shape: Shape::Bytes,
        memory_bytes: MODEST,
        inputs: 4_000,
        contained: false,
        seeds: bundle::profile_seeds,
        run: bundle::profile,
    },
    Target {
        name: "oip",
        promise: "a request is answered or refused; its tensors are as long as their shapes say; the engine never breaks",
        shape: Shape::Json(2),
        memory_bytes: MODEST,
        inputs: 4_000,
        contained: false,
        seeds: engine::oip_seeds,
        run: engine::oip,
    },
    Target {
        name: "agent-config",
        promise: "a configuration is taken or refused with a message",
        shape: Shape::Bytes,
        memory_bytes: MODEST,
        inputs: 20_000,
        contained: false,
        seeds: engine::config_seeds,
        run: engine::config,
    },
    Target {
        name: "onnx",
        promise: "loading and running any model gives an answer or a reason; memory and time are the trial's to limit",
        shape: Shape::Protobuf,
        memory_bytes: 512 << 20,
        inputs: 500,
        contained: true,
        seeds: engine::onnx_seeds,
        run: engine::onnx,
    },
];
