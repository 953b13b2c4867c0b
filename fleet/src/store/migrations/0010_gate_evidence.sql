-- What gates ask of a device besides counts: single figures, written with the totals they are of.
ALTER TABLE device_total ADD COLUMN p99_us REAL;       -- 99th percentile of a request
ALTER TABLE device_total ADD COLUMN score_shift REAL;  -- PSI against the bundle's own reference, less what chance explains
ALTER TABLE device_total ADD COLUMN estimated REAL;    -- accuracy estimated from scores
-- Counted with the version it runs when the last wave before its own was opened: what it counts since is the control.
ALTER TABLE rollout_device ADD COLUMN control_rows INTEGER;
ALTER TABLE rollout_device ADD COLUMN control_errors INTEGER;
ALTER TABLE rollout_device ADD COLUMN control_labelled INTEGER;
ALTER TABLE rollout_device ADD COLUMN control_correct INTEGER;
ALTER TABLE rollout_device ADD COLUMN golden REAL;     -- largest deviation from the golden outputs when it tried the bundle
