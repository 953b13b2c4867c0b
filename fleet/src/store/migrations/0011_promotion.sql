-- What a rollout that completed was: the text whose hash is an entry of the audit log.
CREATE TABLE rollout_record (
    rollout TEXT PRIMARY KEY, entry INTEGER NOT NULL, record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- What a device had counted with the bundle when it was first offered it to run in shadow: an earlier rollout's share.
CREATE TABLE rollout_shadow_before (
    rollout TEXT NOT NULL, device TEXT NOT NULL, counters BLOB NOT NULL, PRIMARY KEY (rollout, device)
) STRICT, WITHOUT ROWID;
-- What gates ask of a bundle in shadow, beside the counters.
ALTER TABLE device_total ADD COLUMN shadow_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device_total ADD COLUMN shadow_agreed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device_total ADD COLUMN shadow_errors INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device_total ADD COLUMN shadow_only_candidate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device_total ADD COLUMN shadow_only_active INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device_total ADD COLUMN shadow_labelled INTEGER NOT NULL DEFAULT 0;
-- The same, before the first offer of a rollout.
ALTER TABLE rollout_device ADD COLUMN base_shadow_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout_device ADD COLUMN base_shadow_agreed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout_device ADD COLUMN base_shadow_errors INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout_device ADD COLUMN base_shadow_labelled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout_device ADD COLUMN base_shadow_only_candidate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout_device ADD COLUMN base_shadow_only_active INTEGER NOT NULL DEFAULT 0;
