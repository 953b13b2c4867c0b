-- Sums that pages show of a hundred thousand devices, kept with what they sum; indexes for what pages look for.
CREATE TABLE bundle_total (                -- of device_total, over all devices
    model TEXT NOT NULL, bundle TEXT NOT NULL, devices INTEGER NOT NULL, requests INTEGER NOT NULL, rows INTEGER NOT NULL,
    errors INTEGER NOT NULL, labelled INTEGER NOT NULL, correct INTEGER NOT NULL, PRIMARY KEY (model, bundle)
) STRICT, WITHOUT ROWID;
INSERT INTO bundle_total SELECT model, bundle, count(*), sum(requests), sum(rows), sum(errors), sum(labelled), sum(correct)
    FROM device_total GROUP BY 1, 2;
CREATE TRIGGER bundle_total_new AFTER INSERT ON device_total BEGIN
    INSERT INTO bundle_total VALUES (new.model, new.bundle, 1, new.requests, new.rows, new.errors, new.labelled, new.correct)
        ON CONFLICT (model, bundle) DO UPDATE SET devices = devices + 1, requests = requests + excluded.requests,
            rows = rows + excluded.rows, errors = errors + excluded.errors, labelled = labelled + excluded.labelled,
            correct = correct + excluded.correct;
END;
CREATE TRIGGER bundle_total_more AFTER UPDATE ON device_total BEGIN
    UPDATE bundle_total SET requests = requests + new.requests - old.requests, rows = rows + new.rows - old.rows,
        errors = errors + new.errors - old.errors, labelled = labelled + new.labelled - old.labelled,
        correct = correct + new.correct - old.correct
    WHERE model = new.model AND bundle = new.bundle;
END;
CREATE TRIGGER bundle_total_gone AFTER DELETE ON device_total BEGIN
    UPDATE bundle_total SET devices = devices - 1, requests = requests - old.requests, rows = rows - old.rows,
        errors = errors - old.errors, labelled = labelled - old.labelled, correct = correct - old.correct
    WHERE model = old.model AND bundle = old.bundle;
END;
CREATE TABLE serving (                     -- devices that are not revoked, by what serves there; '': nothing
    model TEXT NOT NULL, bundle TEXT NOT NULL, devices INTEGER NOT NULL, PRIMARY KEY (model, bundle)
) STRICT, WITHOUT ROWID;
INSERT INTO serving SELECT m.model, coalesce(m.active, ''), count(*) FROM device_model m
    JOIN device d ON d.id = m.device AND d.revoked_at IS NULL GROUP BY 1, 2;
CREATE TRIGGER serving_new AFTER INSERT ON device_model
    WHEN EXISTS (SELECT 1 FROM device WHERE id = new.device AND revoked_at IS NULL) BEGIN
    INSERT INTO serving VALUES (new.model, coalesce(new.active, ''), 1)
        ON CONFLICT (model, bundle) DO UPDATE SET devices = devices + 1;
END;
CREATE TRIGGER serving_moved AFTER UPDATE OF active ON device_model
    WHEN old.active IS NOT new.active AND EXISTS (SELECT 1 FROM device WHERE id = new.device AND revoked_at IS NULL) BEGIN
    UPDATE serving SET devices = devices - 1 WHERE model = old.model AND bundle = coalesce(old.active, '');
    INSERT INTO serving VALUES (new.model, coalesce(new.active, ''), 1)
        ON CONFLICT (model, bundle) DO UPDATE SET devices = devices + 1;
END;
CREATE TRIGGER serving_gone AFTER DELETE ON device_model
    WHEN EXISTS (SELECT 1 FROM device WHERE id = old.device AND revoked_at IS NULL) BEGIN
    UPDATE serving SET devices = devices - 1 WHERE model = old.model AND bundle = coalesce(old.active, '');
END;
CREATE TRIGGER serving_revoked AFTER UPDATE OF revoked_at ON device
    WHEN old.revoked_at IS NULL AND new.revoked_at IS NOT NULL BEGIN
    UPDATE serving SET devices = devices - 1 WHERE (model, bundle) IN
        (SELECT model, coalesce(active, '') FROM device_model WHERE device = new.id);
END;
CREATE TRIGGER serving_back AFTER UPDATE OF revoked_at ON device
    WHEN old.revoked_at IS NOT NULL AND new.revoked_at IS NULL BEGIN
    INSERT INTO serving SELECT model, coalesce(active, ''), 1 FROM device_model WHERE device = new.id
        ON CONFLICT (model, bundle) DO UPDATE SET devices = devices + 1;
END;
CREATE INDEX device_condition ON device (revoked_at, online, last_seen, enrolled_at, id);
CREATE INDEX device_model_trouble ON device_model (state, device)
    WHERE state IN ('failed', 'rejected', 'rolled_back', 'unable_to_roll_back', 'expired');
CREATE INDEX rollout_device_state ON rollout_device (rollout, state, device);
CREATE INDEX update_report_trial ON update_report (bundle, id) WHERE trial IS NOT NULL;
CREATE INDEX device_search ON device (revoked_at, id, serial, labels);
