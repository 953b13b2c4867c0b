-- Monitoring: counters by cohort and hour, and what was judged of them.
ALTER TABLE model_hour RENAME TO model_hour_before;
CREATE TABLE model_hour (                  -- merged over devices; `cohort` as it is written: `fleet` is everybody
    model TEXT NOT NULL, bundle TEXT NOT NULL, cohort TEXT NOT NULL DEFAULT 'fleet',
    hour INTEGER NOT NULL,                   -- begin, ms
    span_h INTEGER NOT NULL DEFAULT 1,       -- 1, or 24 when old hours were coarsened to a day
    changed INTEGER NOT NULL DEFAULT 0,      -- when rows were last added, ms
    counters BLOB NOT NULL,
    PRIMARY KEY (model, bundle, cohort, hour, span_h)
) STRICT;
CREATE INDEX model_hour_by_time ON model_hour (hour);
CREATE INDEX model_hour_changed ON model_hour (changed);
INSERT INTO model_hour (model, bundle, hour, counters) SELECT model, bundle, hour, counters FROM model_hour_before;
DROP TABLE model_hour_before;
CREATE TABLE cohort (                      -- their number is bounded, also by device
    model TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, device TEXT NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (model, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE bundle_shape (                -- the tables a window of this bundle must fit; made of manifest and reference
    bundle TEXT PRIMARY KEY, shape BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE drift_verdict (               -- current: one a feature and cohort, over the configured span
    model TEXT NOT NULL, bundle TEXT NOT NULL, cohort TEXT NOT NULL, feature TEXT NOT NULL,
    position INTEGER NOT NULL, state TEXT NOT NULL, effect REAL, at INTEGER NOT NULL, row TEXT NOT NULL,  -- JSON
    PRIMARY KEY (model, bundle, cohort, feature)
) STRICT, WITHOUT ROWID;
CREATE TABLE quality_verdict (             -- current: one a cohort
    model TEXT NOT NULL, bundle TEXT NOT NULL, cohort TEXT NOT NULL, at INTEGER NOT NULL, row TEXT NOT NULL,
    PRIMARY KEY (model, bundle, cohort)
) STRICT, WITHOUT ROWID;
CREATE TABLE drift_hour (                  -- history: the verdicts of each hour (or day), all features in one value
    model TEXT NOT NULL, bundle TEXT NOT NULL, cohort TEXT NOT NULL, hour INTEGER NOT NULL, span_h INTEGER NOT NULL,
    at INTEGER NOT NULL, cells BLOB NOT NULL, PRIMARY KEY (model, bundle, cohort, hour, span_h)
) STRICT, WITHOUT ROWID;
