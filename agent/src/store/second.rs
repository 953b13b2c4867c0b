//! The second copy: what must not be lost with the database, in a small file beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use longshore_agent_core::update::ModelRecord;
use longshore_trust::ModelName;
use serde::{Deserialize, Serialize};

use super::batch::put_record;
use super::{Store, StoreError, put};

/// Its name.
pub(super) const FILE: &str = "second.json";
/// Numbers of `kv` that it holds.
const KEYS: [&str; 6] =
    ["assigned", "commanded_epoch", "commanded_seq", "fleet_epoch", "next_load", "time_floor"];

#[derive(Debug, Default, Serialize, Deserialize)]
struct Second {
    numbers: BTreeMap<String, u64>,
    models: Vec<ModelRecord>,
    #[serde(default)]
    rows_total: BTreeMap<ModelName, u64>,
}

impl Store {
    /// Writes the copy, so that either the old or the new one is there whole.
    pub(super) fn save_second(&self) -> Result<(), StoreError> {
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
    /// Reads the copy into a fresh database. A copy that cannot be read is as good as none.
    pub(super) fn restore_second(&mut self) -> Result<(), StoreError> {
        let Some(second) = std::fs::read(self.dir.join(FILE))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Second>(&bytes).ok())
        else {
            return Ok(());
        };
        self.write(|tx| {
            for (key, n) in second.numbers.iter().filter(|(k, _)| KEYS.contains(&k.as_str())) {
                // Numbers given out since the copy was written must not be given out again.
                put(tx, key, if key == "next_load" { n + 1_000_000 } else { *n })?;
            }
            for (model, rows) in &second.rows_total {
                put(tx, &super::windows::rows_total_key(model), *rows)?;
            }
            second.models.iter().try_for_each(|m| put_record(tx, m))
        })
    }
}
