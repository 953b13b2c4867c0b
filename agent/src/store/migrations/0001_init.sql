-- What is small, single and must survive: stream, floors, counters.
CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
-- One record a model (JSON of the update core's ModelRecord).
CREATE TABLE slot (model TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- What happened to updates, for people on the device.
CREATE TABLE update_log (
  id INTEGER PRIMARY KEY, time INTEGER NOT NULL, model TEXT NOT NULL, bundle BLOB NOT NULL,
  assignment INTEGER NOT NULL, state TEXT NOT NULL, why TEXT
) STRICT;
-- Unsealed reports and events (postcard of the body). A row with a slot replaces the one before it.
CREATE TABLE report (
  id INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind INTEGER NOT NULL, slot TEXT UNIQUE, body BLOB NOT NULL
) STRICT;
-- Counter windows: open (end_ms NULL), closed and unsealed (counters), sealed (counters NULL; kept for late labels).
CREATE TABLE "window" (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, bundle BLOB NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER,
  supplement INTEGER NOT NULL DEFAULT 0, classes INTEGER NOT NULL, counters BLOB
) STRICT;
CREATE UNIQUE INDEX window_open ON "window" (model, bundle) WHERE end_ms IS NULL;
CREATE INDEX window_unsealed ON "window" (end_ms) WHERE counters IS NOT NULL;
-- Sealed rows, and behind the receipts the replay ring.
CREATE TABLE outbox (
  stream INTEGER NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL, bytes BLOB NOT NULL,
  created INTEGER NOT NULL, receipted INTEGER, PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_waiting ON outbox (stream, seq) WHERE receipted IS NULL;
CREATE INDEX outbox_ring ON outbox (receipted) WHERE receipted IS NOT NULL;
-- The gap ledger.
CREATE TABLE gap (
  id INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, cause TEXT NOT NULL,
  count INTEGER NOT NULL, from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL
) STRICT;
-- Loads whose counter page may hold more than the journal.
CREATE TABLE load (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, bundle BLOB NOT NULL, classes INTEGER NOT NULL,
  journalled BLOB NOT NULL, next_seq INTEGER NOT NULL, journalled_at INTEGER NOT NULL
) STRICT;
-- Answers that labels can still be joined to.
CREATE TABLE prediction (
  load INTEGER NOT NULL, seq INTEGER NOT NULL, class INTEGER NOT NULL, score REAL NOT NULL, time INTEGER NOT NULL,
  "window" INTEGER NOT NULL, labelled INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (load, seq)
) STRICT, WITHOUT ROWID;
