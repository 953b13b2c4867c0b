-- What is watched of a bundle (postcard of `Watched`), and what is held back of its groups (postcard of `Hold`).
CREATE TABLE watched (bundle BLOB PRIMARY KEY, spec BLOB NOT NULL, hold BLOB) STRICT, WITHOUT ROWID;
-- A part of the window was sent: what is left is a summand of it.
ALTER TABLE "window" ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
-- Predictions have a group, and a score that may be no number (NULL).
CREATE TABLE answered (
  load INTEGER NOT NULL, seq INTEGER NOT NULL, class INTEGER NOT NULL, score REAL, grp INTEGER NOT NULL DEFAULT 255,
  time INTEGER NOT NULL, "window" INTEGER NOT NULL, labelled INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (load, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO answered (load, seq, class, score, time, "window", labelled)
  SELECT load, seq, class, score, time, "window", labelled FROM prediction;
DROP TABLE prediction;
ALTER TABLE answered RENAME TO prediction;
