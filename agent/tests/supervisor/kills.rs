//! SIGKILL of supervisor and engine at random moments, under load: no answered row is lost, none counts twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use longshore_agent_core::backoff::Jitter;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::device::{Device, PATIENCE};
use crate::http;
use crate::rig::json_request;

const ROWS: u64 = 3;

#[test]
fn rows_are_counted_exactly_once_whatever_is_killed() {
    let device = Device::new();
    let mut agent = device.start();
    device.until_ready();
    let body = json_request(&device.active.rows(0, ROWS as usize), &json!({}));
    let socket = device.dir.path().join("run/api.sock");
    let (served, aborted, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while !over.load(Relaxed) {
                    let Ok(stream) = std::os::unix::net::UnixStream::connect(&socket) else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut client = http::over(stream);
                    while !over.load(Relaxed) {
                        match client.send("POST", "/v2/models/meter-digits/infer", &[], &body) {
                            Ok(r) if r.status == 200 => _ = served.fetch_add(ROWS, Relaxed),
                            // Between two engines the model is not loaded yet.
                            Ok(_) => std::thread::sleep(Duration::from_millis(2)),
                            Err(_) => {
                                aborted.fetch_add(ROWS, Relaxed);
                                break;
                            }
                        }
                    }
                }
            });
        }
        let mut chance = Jitter::new(u64::from(std::process::id()));
        for round in 0..10 {
            std::thread::sleep(Duration::from_millis(50 + chance.up_to(400)));
            if round % 2 == 0 {
                agent.kill();
                agent = device.start();
            } else if let Some(pid) = device.engine_pid().and_then(Pid::from_raw) {
                // It may have just ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
            device.until_ready();
        }
        over.store(true, Relaxed);
    });
    agent.signal(Signal::TERM);
    assert!(agent.child.wait().unwrap().success());
    let counted = device.rows_total();
    let (served, aborted) = (served.into_inner(), aborted.into_inner());
    assert!(served > 0);
    assert!(
        served <= counted && counted <= served + aborted,
        "served {served} <= counted {counted} <= served + aborted {aborted}; log:\n{}",
        device.log()
    );
    let pages = std::fs::read_dir(device.dir.path().join("run/pages")).unwrap().count();
    assert_eq!(pages, 0, "every page was journalled to its end");
}
