-- What ran where and when: a line for every change of what serves a model on a device. Lines are never changed and never
-- pruned; one that comes late finds its place by its time.
CREATE TABLE ran (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, model TEXT NOT NULL,
    bundle TEXT NOT NULL,                    -- that serves from then on; '': none
    at INTEGER NOT NULL,                     -- when
    clock TEXT NOT NULL,                     -- whose: `device`, or `fleet` where the device's cannot be relied on
    received INTEGER NOT NULL, rollout TEXT  -- that brought it, if one did
) STRICT;
CREATE INDEX ran_device ON ran (device, model, at, id);
CREATE INDEX ran_model ON ran (model, device, at, id);
CREATE INDEX ran_bundle ON ran (model, bundle, device, at, id);
CREATE TRIGGER ran_never_changes BEFORE UPDATE ON ran BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER ran_never_shrinks BEFORE DELETE ON ran BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TABLE ran_minute (                  -- how many devices a bundle won less lost in a minute
    model TEXT NOT NULL, bundle TEXT NOT NULL, minute INTEGER NOT NULL, devices INTEGER NOT NULL,
    PRIMARY KEY (model, bundle, minute)
) STRICT, WITHOUT ROWID;
-- What is known of the time before: what serves now, since it was last heard of.
INSERT INTO ran (device, model, bundle, at, clock, received)
    SELECT device, model, active, changed, 'fleet', changed FROM device_model WHERE active IS NOT NULL;
INSERT INTO ran_minute SELECT model, bundle, at / 60000, count(*) FROM ran GROUP BY 1, 2, 3;
-- Why a version was deprecated or retired.
ALTER TABLE bundle_version ADD COLUMN state_reason TEXT NOT NULL DEFAULT '';
-- Sums that pages show of a hundred thousand devices, kept with what they sum.
CREATE INDEX IF NOT EXISTS rollout_device_of ON rollout_device (device, rollout);
CREATE TABLE rollout_count (
    rollout TEXT NOT NULL, wave INTEGER NOT NULL, state TEXT NOT NULL, devices INTEGER NOT NULL,
    PRIMARY KEY (rollout, wave, state)
) STRICT, WITHOUT ROWID;
INSERT INTO rollout_count SELECT rollout, wave, state, count(*) FROM rollout_device GROUP BY 1, 2, 3;
CREATE TRIGGER rollout_count_new AFTER INSERT ON rollout_device BEGIN
    INSERT INTO rollout_count VALUES (new.rollout, new.wave, new.state, 1)
        ON CONFLICT (rollout, wave, state) DO UPDATE SET devices = devices + 1;
END;
CREATE TRIGGER rollout_count_moved AFTER UPDATE OF wave, state ON rollout_device
    WHEN old.wave <> new.wave OR old.state <> new.state BEGIN
    UPDATE rollout_count SET devices = devices - 1
        WHERE rollout = old.rollout AND wave = old.wave AND state = old.state;
    INSERT INTO rollout_count VALUES (new.rollout, new.wave, new.state, 1)
        ON CONFLICT (rollout, wave, state) DO UPDATE SET devices = devices + 1;
END;
CREATE TRIGGER rollout_count_gone AFTER DELETE ON rollout_device BEGIN
    UPDATE rollout_count SET devices = devices - 1
        WHERE rollout = old.rollout AND wave = old.wave AND state = old.state;
END;
-- Plans stand by themselves: whoever reads a rollout does not read through the devices of its plan. A plan is kept as it was
-- hashed, and never written anew.
CREATE TABLE rollout_plan (
    rollout TEXT PRIMARY KEY, brief TEXT, plan TEXT NOT NULL,
    approved TEXT                            -- whose signatures stood under the version when this was planned
) STRICT;                                    -- JSON, all three
INSERT INTO rollout_plan (rollout, plan) SELECT id, plan FROM rollout;
ALTER TABLE rollout DROP COLUMN plan;
