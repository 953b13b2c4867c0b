-- Identity: certificates that end and are renewed, wipes, replaced boards, commands that were obeyed, messages nobody here
-- can read.
ALTER TABLE device ADD COLUMN cert_from INTEGER NOT NULL DEFAULT 0;   -- validity of the present certificate
ALTER TABLE device ADD COLUMN cert_until INTEGER;                     -- NULL: made before certificates ended
ALTER TABLE device ADD COLUMN next_cert_sha256 TEXT;                  -- issued, not shown yet: both are valid until it is
ALTER TABLE device ADD COLUMN next_cert_from INTEGER;
ALTER TABLE device ADD COLUMN next_cert_until INTEGER;
ALTER TABLE device ADD COLUMN wipe_seq INTEGER;                       -- of the wipe command
ALTER TABLE device ADD COLUMN wipe_asked_at INTEGER;
ALTER TABLE device ADD COLUMN wiped_at INTEGER;                       -- its last receipt has come

ALTER TABLE claim_token ADD COLUMN device TEXT;                       -- the only device it is for
ALTER TABLE claim_token ADD COLUMN replaces INTEGER NOT NULL DEFAULT 0;  -- that device is enrolled and gets new keys

CREATE TABLE former_identity (             -- keys that were given up: what they signed can still be checked
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, report_key BLOB NOT NULL, cert_sha256 TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, why TEXT NOT NULL
) STRICT;
CREATE INDEX former_identity_device ON former_identity (device, id);
CREATE TABLE wipe_receipt (                -- as the device signed them
    device TEXT NOT NULL, seq INTEGER NOT NULL, stage TEXT NOT NULL, bytes BLOB NOT NULL, time INTEGER NOT NULL,
    received INTEGER NOT NULL, PRIMARY KEY (device, seq, stage)
) STRICT, WITHOUT ROWID;

ALTER TABLE command ADD COLUMN obeyed_at INTEGER;                     -- by the device's own signed word
ALTER TABLE command ADD COLUMN changed INTEGER;                       -- models in whose update it changed something

CREATE TABLE quarantine (                  -- signed by its device, not readable here; receipted all the same
    device TEXT NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL, bytes BLOB NOT NULL,
    received INTEGER NOT NULL, PRIMARY KEY (device, stream, seq)
) STRICT, WITHOUT ROWID;
