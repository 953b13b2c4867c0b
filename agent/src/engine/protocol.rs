//! What supervisor and engine say to each other over a SOCK_SEQPACKET pair: one postcard value a packet, file
//! descriptors beside it. The engine's end is its standard input.

use longshore_stats::quality::attribution::AttributionTable;
use longshore_trust::{Digest, ModelName};
use longshore_wire::v1::{Reason, TrialReport};
use serde::{Deserialize, Serialize};

/// Longest packet, bytes. Bundles travel as descriptors, so packets stay small.
pub const MAX_PACKET: usize = 128 * 1024;

/// One loaded bundle in one engine; also the id of its counter page. Never used twice by a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LoadId(pub u64);

/// A bundle to load. With the packet come, in this order, one sealed memfd for each of `files`, then the page (a trial
/// counts nothing and takes no page).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRequest {
    /// Which load.
    pub load: LoadId,
    /// The model it belongs to.
    pub model: ModelName,
    /// Its version, for the API.
    pub version: String,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Paths inside the bundle, `manifest.json` first; the model must be among them, for a trial the golden vectors too.
    /// What an engine has no use for (card, ML-BOM) may be left out.
    pub files: Vec<String>,
}

/// What a trial may use; the kernel enforces it, so that an endless or greedy model ends with its trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialLimits {
    /// Address space of the trial engine, bytes.
    pub memory_bytes: u64,
    /// Processor time, seconds. The supervisor keeps a deadline of its own besides.
    pub cpu_s: u64,
}

/// What a serving engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingLimits {
    /// Memory that only it can write, bytes; enforced by the kernel.
    pub memory_bytes: u64,
    /// Longest computation of one request, milliseconds; one that does not end by then never does, and the engine gives up.
    pub request_ms: u64,
}

/// Supervisor to engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToEngine {
    /// First packet. Listening sockets come with it: the unix socket, then the TCP one if `tcp`.
    Serve {
        /// Whether a TCP listener comes with the packet.
        tcp: bool,
        /// Longest request body, bytes.
        max_body_bytes: u64,
        /// Requests that may wait before 503.
        queue: u32,
        /// Token that feedback over TCP must carry as a bearer token (the unix socket needs none).
        feedback_token: String,
        /// What it may use.
        limits: ServingLimits,
    },
    /// First packet of a trial engine: load, run the golden vectors, measure, answer `Trial`, exit.
    Trial {
        /// What to load.
        request: LoadRequest,
        /// What it may use.
        limits: TrialLimits,
    },
    /// Load beside what serves; answer `Loaded` or `LoadFailed`.
    Load(LoadRequest),
    /// Let this load answer for its model from the next request on; answer `Activated`.
    Activate(LoadId),
    /// Let this load, whose page is one of a bundle in shadow, see what is answered for its model; answer `Shadowing`.
    Shadow {
        /// Which.
        load: LoadId,
        /// Processor time it may use, per mille of a core.
        permille: u16,
    },
    /// Forget a load that is not active; answer `Unloaded`.
    Unload(LoadId),
    /// The answer to a `Query`.
    Reply {
        /// Its id.
        id: u64,
        /// HTTP status.
        status: u16,
        /// JSON or text.
        body: Vec<u8>,
    },
    /// Stop accepting, finish what runs, exit 0.
    Drain,
    /// Answer `Pong`.
    Ping(u64),
}

/// Engine to supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromEngine {
    /// The sandbox stands and requests are accepted; what the kernel gave: `no_new_privs`, `seccomp`, `landlock-v4`, …
    Ready {
        /// Measures in force.
        sandbox: Vec<String>,
    },
    /// A load is ready to be activated.
    Loaded {
        /// Which.
        load: LoadId,
        /// Milliseconds to parse and optimise.
        load_ms: u32,
    },
    /// A load failed; nothing else changed.
    LoadFailed {
        /// Which.
        load: LoadId,
        /// Why.
        reason: Reason,
    },
    /// A load answers now.
    Activated(LoadId),
    /// A load runs beside what answers.
    Shadowing(LoadId),
    /// A load is gone.
    Unloaded(LoadId),
    /// Sums over rows that were explained since the last time.
    Explained {
        /// Whose.
        load: LoadId,
        /// The sums.
        table: AttributionTable,
    },
    /// What a trial found.
    Trial(Result<TrialReport, Reason>),
    /// A request the engine cannot answer itself.
    Query {
        /// To be repeated in the `Reply`.
        id: u64,
        /// What is asked.
        query: Query,
    },
    /// Alive.
    Pong(u64),
}

/// What only the supervisor can answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Query {
    /// `GET /longshore/v1/status`: JSON.
    Status,
    /// `GET /metrics`: the supervisor's part of the Prometheus text.
    Metrics,
    /// `POST /longshore/v1/feedback`: join labels, durably; JSON `{"joined": n, "unknown": n, "repeated": n}`.
    Feedback(Vec<Label>),
}

/// A label for one row of one prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// `parameters.prediction_id` of the response.
    pub prediction_id: String,
    /// Row in the batch, from 0.
    pub row: u32,
    /// What was true.
    pub truth: Truth,
}

/// What was true of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Truth {
    /// Index of its class; a number for a regression.
    Class(u32),
    /// Its number.
    Number(f64),
}
