-- The fleet's record. Times are milliseconds since 1970 UTC. Digests are lower-case hex. JSON is text.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;           -- fleet, epoch, generation, …

CREATE TABLE device (
    id TEXT PRIMARY KEY,
    report_key BLOB NOT NULL,               -- raw ed25519
    cert_sha256 TEXT NOT NULL,              -- of the client certificate (DER)
    serial TEXT NOT NULL DEFAULT '',
    labels TEXT NOT NULL DEFAULT '{}',
    enrolled_at INTEGER NOT NULL,
    revoked_at INTEGER,
    last_seen INTEGER,
    online INTEGER NOT NULL DEFAULT 0,
    boot TEXT NOT NULL DEFAULT '',
    stream TEXT NOT NULL DEFAULT '',        -- present stream, 16 hex digits
    assignment_version INTEGER NOT NULL DEFAULT 0,  -- the greatest one the device says it accepted
    down_seq INTEGER NOT NULL DEFAULT 0,    -- last seq the director used towards it
    tuf_versions TEXT NOT NULL DEFAULT '{}',
    inventory TEXT, health TEXT,            -- JSON of wire Inventory and Health
    inventory_seq INTEGER NOT NULL DEFAULT 0, health_seq INTEGER NOT NULL DEFAULT 0  -- of the present stream
) STRICT;
CREATE TABLE claim_token (
    hash TEXT PRIMARY KEY, created INTEGER NOT NULL, expires INTEGER NOT NULL, serial TEXT,
    used_by TEXT, used_at INTEGER
) STRICT;

-- Delivery: one row for every sealed message that was committed, under its unique key, until the contiguous prefix
-- of its stream covers it.
CREATE TABLE message (
    device TEXT NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (device, stream, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE stream_prefix (
    device TEXT NOT NULL, stream TEXT NOT NULL, up_to INTEGER NOT NULL, PRIMARY KEY (device, stream)
) STRICT, WITHOUT ROWID;

-- What devices said.
CREATE TABLE update_report (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, model TEXT NOT NULL, bundle TEXT NOT NULL,
    assignment_version INTEGER NOT NULL, generation INTEGER NOT NULL, rollout TEXT, state TEXT NOT NULL,
    code TEXT, detail TEXT, trial TEXT, active TEXT, time INTEGER NOT NULL, received INTEGER NOT NULL
) STRICT;
CREATE INDEX update_report_device ON update_report (device, id);
CREATE INDEX update_report_rollout ON update_report (rollout, device, id);
CREATE INDEX update_report_bundle ON update_report (bundle, device, id);
CREATE TABLE device_model (                -- latest of each model on each device
    device TEXT NOT NULL, model TEXT NOT NULL, active TEXT, version TEXT, wanted TEXT, state TEXT NOT NULL,
    code TEXT, assignment_version INTEGER NOT NULL DEFAULT 0, rows_journal INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL,
    stream TEXT NOT NULL DEFAULT '', state_seq INTEGER NOT NULL DEFAULT 0, health_seq INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (device, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_model_version ON device_model (model, active);
CREATE TABLE device_window (               -- the last windows of each device
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, model TEXT NOT NULL, bundle TEXT NOT NULL,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, supplement INTEGER NOT NULL,
    requests INTEGER NOT NULL, rows INTEGER NOT NULL, errors INTEGER NOT NULL,
    labelled INTEGER NOT NULL, correct INTEGER NOT NULL, counters BLOB NOT NULL, received INTEGER NOT NULL
) STRICT;
CREATE INDEX device_window_by ON device_window (device, model, start);
CREATE INDEX device_window_bundle ON device_window (bundle, device);
CREATE TABLE device_total (                -- exact sums per device and bundle, never pruned
    device TEXT NOT NULL, model TEXT NOT NULL, bundle TEXT NOT NULL,
    requests INTEGER NOT NULL, rows INTEGER NOT NULL, errors INTEGER NOT NULL,
    labelled INTEGER NOT NULL, correct INTEGER NOT NULL, counters BLOB NOT NULL,
    PRIMARY KEY (device, model, bundle)
) STRICT, WITHOUT ROWID;
CREATE TABLE model_hour (                  -- merged over devices
    model TEXT NOT NULL, bundle TEXT NOT NULL, hour INTEGER NOT NULL, counters BLOB NOT NULL,
    PRIMARY KEY (model, bundle, hour)
) STRICT, WITHOUT ROWID;
CREATE TABLE device_event (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, time INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    received INTEGER NOT NULL
) STRICT;
CREATE INDEX device_event_device ON device_event (device, id);

-- Catalogue.
CREATE TABLE model (name TEXT PRIMARY KEY, created INTEGER NOT NULL) STRICT;
CREATE TABLE object (sha256 TEXT PRIMARY KEY, length INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;
CREATE TABLE bundle_version (
    model TEXT NOT NULL, version TEXT NOT NULL, bundle TEXT NOT NULL UNIQUE,   -- digest of the manifest
    manifest TEXT NOT NULL, manifest_length INTEGER NOT NULL, bytes INTEGER NOT NULL,
    state TEXT NOT NULL,                     -- draft | checked | refused | approved | deprecated | retired
    check_result TEXT,                       -- JSON: measured or reason
    release_counter INTEGER, approved_at INTEGER, created INTEGER NOT NULL, changed INTEGER NOT NULL,
    PRIMARY KEY (model, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE alias (
    model TEXT NOT NULL, alias TEXT NOT NULL, version TEXT NOT NULL, changed INTEGER NOT NULL,
    PRIMARY KEY (model, alias)
) STRICT, WITHOUT ROWID;

-- Trust metadata as served. `root` keeps every version; of others the newest and what snapshots name.
CREATE TABLE role_metadata (
    role TEXT NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (role, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE role_pending (                -- waiting for more signatures
    role TEXT NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (role, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE target (                      -- what published targets metadata names, for serving files
    role TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY (path, role)
) STRICT, WITHOUT ROWID;

-- Deciding.
CREATE TABLE rollout (
    id TEXT PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, bundle TEXT NOT NULL,
    previous TEXT,                           -- digest of the bundle a revert goes back to
    generation INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT, since INTEGER NOT NULL,
    policy TEXT NOT NULL, plan TEXT NOT NULL,  -- JSON
    created INTEGER NOT NULL, started INTEGER, ended INTEGER, etag INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX rollout_model ON rollout (model, created);
CREATE TABLE rollout_wave (
    rollout TEXT NOT NULL, wave INTEGER NOT NULL, state TEXT NOT NULL, since INTEGER NOT NULL,
    opened INTEGER, judged INTEGER, skipped INTEGER NOT NULL DEFAULT 0,
    verdict TEXT,                            -- JSON: each gate with its numbers
    PRIMARY KEY (rollout, wave)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollout_device (
    rollout TEXT NOT NULL, device TEXT NOT NULL, wave INTEGER NOT NULL, state TEXT NOT NULL,
    code TEXT, previous TEXT, champion TEXT,  -- what a revert gives back; what it ran before
    assignment_version INTEGER, offered_at INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
    committed_at INTEGER, renewed_at INTEGER, halted_at INTEGER, revert_version INTEGER,
    base_rows INTEGER NOT NULL DEFAULT 0, base_errors INTEGER NOT NULL DEFAULT 0,       -- counted with the bundle
    base_labelled INTEGER NOT NULL DEFAULT 0, base_correct INTEGER NOT NULL DEFAULT 0,  -- before the first offer
    changed INTEGER NOT NULL,
    PRIMARY KEY (rollout, device)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollout_event (
    id INTEGER PRIMARY KEY, rollout TEXT NOT NULL, time INTEGER NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE TABLE assignment (
    device TEXT NOT NULL, version INTEGER NOT NULL, generation INTEGER NOT NULL, rollout TEXT,
    bytes BLOB NOT NULL, created INTEGER NOT NULL, not_after INTEGER NOT NULL, PRIMARY KEY (device, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE command (
    device TEXT NOT NULL, seq INTEGER NOT NULL, bytes BLOB NOT NULL, created INTEGER NOT NULL,
    not_after INTEGER NOT NULL, PRIMARY KEY (device, seq)
) STRICT, WITHOUT ROWID;

-- People and machines that use the API.
CREATE TABLE person (name TEXT PRIMARY KEY, password TEXT NOT NULL, role TEXT NOT NULL, created INTEGER NOT NULL) STRICT;
CREATE TABLE api_token (
    hash TEXT PRIMARY KEY, person TEXT NOT NULL, label TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER
) STRICT;
CREATE TABLE session (
    hash TEXT PRIMARY KEY, person TEXT NOT NULL, csrf TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT;
CREATE TABLE idempotency (
    actor TEXT NOT NULL, key TEXT NOT NULL, route TEXT NOT NULL, request TEXT NOT NULL,  -- SHA-256 of the body
    status INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE lockout (identity TEXT PRIMARY KEY, failures INTEGER NOT NULL, until INTEGER NOT NULL) STRICT;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
