-- The audit log as a Merkle log (RFC 6962). An entry's number is its leaf; leaf and tree are written with it.
ALTER TABLE audit RENAME TO audit_before;
CREATE TABLE audit (
    leaf INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
INSERT INTO audit (leaf, time, actor, action, object, detail)
    SELECT row_number() OVER (ORDER BY id) - 1, time, actor, action, object, detail FROM audit_before;
DROP TABLE audit_before;
CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_never_shrinks BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TABLE audit_node (                  -- complete nodes only: they never change
    level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit_checkpoint (
    epoch INTEGER NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (epoch, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit_restore (               -- what a restore left of the log: `size` entries, from then on in `epoch`
    epoch INTEGER PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL
) STRICT;
CREATE TABLE audit_witness (               -- the newest checkpoint that each device says it saw
    device TEXT PRIMARY KEY, epoch INTEGER NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL,
    received INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE audit_alarm (                 -- the log is not what it was: `fork`, `entry` or `rolled_back`
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, device TEXT, epoch INTEGER NOT NULL,
    size INTEGER NOT NULL, root BLOB NOT NULL, detail TEXT NOT NULL, UNIQUE (kind, epoch, size, root)
) STRICT;
