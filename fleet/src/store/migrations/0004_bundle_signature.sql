-- OpenSSF Model Signing signatures of uploaded bundles; `key` is empty when no trusted key was configured to check it with.
CREATE TABLE bundle_signature (
    bundle TEXT PRIMARY KEY, object TEXT NOT NULL, key TEXT NOT NULL, time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
