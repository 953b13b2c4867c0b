//! What happened between two looks at a rollout, as events for machines.
//!
//! What always holds: transitions come from the rollout's log, so none is missed however seldom one looks; numbers of gates
//! and of devices are said again only when they changed.

use serde_json::{Value, json};

use crate::show::{list, text};

/// How much of the log has been seen.
#[derive(Debug, Default)]
pub struct Log {
    seen: i64,
}

impl Log {
    /// Number of the last line that was seen.
    pub const fn seen(&self) -> i64 {
        self.seen
    }
    /// Events of new lines.
    pub fn take(&mut self, lines: &[Value]) -> Vec<Value> {
        let mut out = Vec::new();
        for line in lines {
            if let Some(id) = line["id"].as_i64().filter(|id| *id > self.seen) {
                out.push(event(line));
                self.seen = id;
            }
        }
        out
    }
}

/// States of rollouts and waves have names of their own; everything else is a line of the log.
fn event(line: &Value) -> Value {
    let (time, said) = (&line["time"], &line["text"]);
    let code = text(line, "code");
    match (code.strip_prefix("wave_"), &line["wave"]) {
        (Some(state), Value::Number(wave)) => {
            json!({ "event": "wave", "time": time, "wave": wave, "state": state, "said": said })
        }
        _ if line["transition"] == true => {
            json!({ "event": "rollout", "time": time, "state": code, "reason": said })
        }
        _ => json!({ "event": "log", "time": time, "code": code, "said": said }),
    }
}

/// Gates and counts of devices that are not as they were.
pub fn between(before: &Value, now: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    for (i, wave) in list(now, "waves").iter().enumerate() {
        let old = list(before, "waves").get(i).unwrap_or(&Value::Null);
        if wave["device_counts"] != old["device_counts"] {
            out.push(json!({ "event": "devices", "wave": i, "counts": wave["device_counts"] }));
        }
        for gate in list(wave, "gates") {
            let same = |g: &&Value| g["gate"] == gate["gate"];
            if list(old, "gates").iter().find(same) != Some(gate) {
                let mut event = gate.clone();
                event["event"] = "gate".into();
                event["wave"] = i.into();
                out.push(event);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_and_by_its_kind() {
        let lines = [
            json!({ "id": 4, "time": 1, "code": "running", "text": "started", "transition": true, "wave": null }),
            json!({ "id": 5, "time": 2, "code": "wave_offering", "text": "wave 0 is offering", "transition": true, "wave": 0 }),
            json!({ "id": 9, "time": 3, "code": "late_device", "text": "d joined", "transition": false, "wave": null }),
        ];
        let mut log = Log::default();
        let said = log.take(&lines[..2]);
        assert_eq!((&said[0]["event"], &said[0]["state"]), (&json!("rollout"), &json!("running")));
        assert_eq!((&said[1]["event"], &said[1]["state"]), (&json!("wave"), &json!("offering")));
        let more = log.take(&lines);
        assert_eq!((more.len(), &more[0]["event"], log.seen()), (1, &json!("log"), 9));
    }

    #[test]
    fn gates_and_counts_are_told_when_they_change() {
        let wave = |rows: u64, ok: u64| {
            json!({ "waves": [{ "device_counts": { "committed": ok },
                "gates": [{ "gate": "rows", "value": rows }, { "gate": "success", "value": 1 }] }] })
        };
        assert_eq!(between(&Value::Null, &wave(1, 0)).len(), 3);
        assert!(between(&wave(1, 0), &wave(1, 0)).is_empty());
        let changed = between(&wave(1, 0), &wave(2, 0));
        assert_eq!((changed.len(), &changed[0]["gate"], &changed[0]["wave"]), (1, &json!("rows"), &json!(0)));
        assert_eq!(between(&wave(2, 0), &wave(2, 1))[0]["counts"]["committed"], 1);
    }
}
