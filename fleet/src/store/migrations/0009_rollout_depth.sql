-- Rollouts: who planned and who said yes, when one starts, why it is paused, who comes first; shadow runs and windows of
-- their devices; how they are taken back.
ALTER TABLE rollout ADD COLUMN planned_by TEXT;
ALTER TABLE rollout ADD COLUMN authorized_by TEXT;
ALTER TABLE rollout ADD COLUMN authorized_at INTEGER;
ALTER TABLE rollout ADD COLUMN start_at INTEGER;                 -- asked for; NULL: as soon as it may
ALTER TABLE rollout ADD COLUMN start_supersede INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout ADD COLUMN pause TEXT;                       -- operator | gate | error_budget | quorum
ALTER TABLE rollout ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout_device ADD COLUMN activate_by INTEGER;       -- end of the window the offer was made in
ALTER TABLE rollout_device ADD COLUMN shadow INTEGER NOT NULL DEFAULT 0;  -- offered to run beside the active version
CREATE TABLE rollout_revert (
    rollout TEXT NOT NULL, generation INTEGER NOT NULL, made INTEGER NOT NULL, plan TEXT NOT NULL,  -- JSON
    PRIMARY KEY (rollout, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollout_device_of ON rollout_device (device, rollout);
CREATE INDEX rollout_device_going_back ON rollout_device (rollout)
    WHERE revert_version IS NOT NULL AND state NOT IN ('rolled_back', 'unable_to_roll_back', 'decommissioned');
-- A device that keeps failing is offered nothing until a person releases it.
ALTER TABLE device ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;      -- assignments in a row
ALTER TABLE device ADD COLUMN quarantined_at INTEGER;
ALTER TABLE device ADD COLUMN quarantine_reason TEXT;
-- After a restore the record is older than what devices did: in which epoch each was heard of, and up to where in its stream
-- it had been given receipts. Until that much is stored again, what is recorded of it may be long over.
ALTER TABLE device ADD COLUMN heard_epoch INTEGER NOT NULL DEFAULT 1;
ALTER TABLE device ADD COLUMN told_up_to INTEGER NOT NULL DEFAULT 0;
-- In which hours of the week each device was heard of, for saying when it will be.
CREATE TABLE device_presence (
    device TEXT PRIMARY KEY, since_hour INTEGER NOT NULL, last_hour INTEGER NOT NULL,
    heard BLOB NOT NULL                                          -- 168 counts of one byte, from Thursday 00:00 UTC
) STRICT, WITHOUT ROWID;
