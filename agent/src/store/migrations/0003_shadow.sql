-- Counters end with the table of a bundle in shadow; what was counted before has none: one byte, zero.
UPDATE "window" SET counters = CAST(counters || x'00' AS BLOB) WHERE counters IS NOT NULL;
UPDATE load SET journalled = CAST(journalled || x'00' AS BLOB);
-- A label is kept with its prediction: what a bundle in shadow answered to the same row may come after it.
ALTER TABLE prediction ADD COLUMN truth INTEGER;
-- Answers of bundles in shadow that no label was joined to yet, by the prediction that served.
CREATE TABLE shadowed (
  load INTEGER NOT NULL, seq INTEGER NOT NULL, class INTEGER NOT NULL, "window" INTEGER NOT NULL, PRIMARY KEY (load, seq)
) STRICT, WITHOUT ROWID;
