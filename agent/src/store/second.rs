//! The second copy: what must not be lost with the database, in a small file beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use longshore_agent_core::update::ModelRecord;
use longshore_trust::ModelName;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::batch::put_record;
use super::{Store, StoreError, put};

/// Its name.
const FILE: &str = "second.json";
/// Numbers of `kv` that it holds.
const KEYS: [&str; 11] = [
    "assigned",
    "commanded_epoch",
    "commanded_seq",
    "director",
    "fleet_epoch",
    "next_load",
    "time_keys",
    "time_offline",
    "time_online",
    "wipe_epoch",
    "wipe_seq",
];

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Second {
    numbers: BTreeMap<String, u64>,
    models: Vec<ModelRecord>,
    #[serde(default)]
    rows_total: BTreeMap<ModelName, u64>,
}

impl Store {
    /// Writes the copy, so that either the old or the new one is there whole.
    fn save_second(&self) -> Result<(), StoreError> {
        let mut numbers = BTreeMap::new();
        for key in KEYS {
            if let Some(n) = self.number(key)? {
                numbers.insert(key.to_owned(), n);
            }
        }
        let second = Second { numbers, models: self.models()?, rows_total: self.rows_totals()? };
        let bytes = serde_json::to_vec_pretty(&second).expect("plain data always encodes");
        let (path, part) = (self.dir.join(FILE), self.dir.join("second.json.part"));
        let written = File::create(&part)
            .and_then(|mut f| f.write_all(&bytes).and_then(|()| f.sync_data()))
            .and_then(|()| std::fs::rename(&part, &path))
            .and_then(|()| File::open(&self.dir)?.sync_all());
        written.map_err(|source| StoreError::File { path, source })
    }
    /// Writes the copy, or remembers that it is behind: what it is a copy of has been committed already.
    pub(super) fn keep_second(&mut self) {
        let mut kept = self.save_second();
        if kept.as_ref().is_err_and(StoreError::is_full)
            && std::fs::remove_file(self.dir.join("ballast")).is_ok()
        {
            kept = self.save_second();
        }
        self.second_due = kept.is_err();
        if let Err(e) = kept {
            tracing::error!("{e}; the second copy of the state is behind and will be written again");
        }
    }
}

/// Reads the copy. One that cannot be read is as good as none.
pub(super) fn read(dir: &Path) -> Option<Second> {
    std::fs::read(dir.join(FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

impl Second {
    /// Puts it into a fresh database.
    pub(super) fn restore(&self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        for (key, n) in self.numbers.iter().filter(|(k, _)| KEYS.contains(&k.as_str())) {
            // Numbers given out since the copy was written must not be given out again.
            put(tx, key, if key == "next_load" { n + 1_000_000 } else { *n })?;
        }
        for (model, rows) in &self.rows_total {
            put(tx, &super::windows::Total::Rows.of(model), *rows)?;
        }
        self.models.iter().try_for_each(|m| put_record(tx, m))
    }
}
