-- Alerts. What a person is told is a row of `delivery`, written in the transaction that changed the alert.
CREATE TABLE alert (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, rule TEXT NOT NULL, kind TEXT NOT NULL,
    model TEXT NOT NULL, cohort TEXT NOT NULL, severity TEXT NOT NULL,
    state TEXT NOT NULL,                     -- pending | firing | acknowledged | resolved
    rank INTEGER NOT NULL,                   -- order of the inbox: what needs somebody first
    open INTEGER NOT NULL,                   -- 0: over for good; the cause opens another alert
    machine TEXT NOT NULL, evidence TEXT NOT NULL, labels TEXT NOT NULL,  -- JSON
    opened INTEGER NOT NULL, fired INTEGER, changed INTEGER NOT NULL, etag INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE UNIQUE INDEX alert_of_cause ON alert (fingerprint) WHERE open = 1;
CREATE INDEX alert_inbox ON alert (rank, id);
CREATE TABLE alert_event (                 -- the history of an alert
    id INTEGER PRIMARY KEY, alert INTEGER NOT NULL, time INTEGER NOT NULL, what TEXT NOT NULL, who TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX alert_event_of ON alert_event (alert, id);
CREATE TABLE silence (
    id INTEGER PRIMARY KEY, matcher TEXT NOT NULL, until INTEGER NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE TABLE retrain_request (             -- one an alert
    id INTEGER PRIMARY KEY, alert INTEGER NOT NULL UNIQUE, model TEXT NOT NULL, body TEXT NOT NULL,
    sha256 TEXT NOT NULL, created INTEGER NOT NULL
) STRICT;
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY, message TEXT NOT NULL UNIQUE,  -- the id receivers see: the same in every attempt
    receiver TEXT NOT NULL, alert INTEGER, what TEXT NOT NULL, body TEXT NOT NULL,
    state TEXT NOT NULL,                     -- queued | delivered | dead
    attempts INTEGER NOT NULL DEFAULT 0, due INTEGER NOT NULL, queued INTEGER NOT NULL, changed INTEGER NOT NULL,
    last TEXT NOT NULL DEFAULT ''            -- what came of the last attempt
) STRICT;
CREATE INDEX delivery_due ON delivery (receiver, state, due);
CREATE INDEX delivery_of ON delivery (alert, receiver, state);
CREATE INDEX delivery_state ON delivery (state, id);
CREATE INDEX device_event_kind ON device_event (kind, received);
