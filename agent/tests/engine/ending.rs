//! How an engine ends: in order, with its supervisor, or killed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use longshore_agent::engine::protocol::{FromEngine, ToEngine};
use serde_json::json;

use crate::rig::{self, Engine, json_request};

const INFER: &str = "/v2/models/meter-digits/infer";

#[test]
fn it_answers_pings_and_drains() {
    let (mut engine, bundle, page) = Engine::serving();
    engine.send(&ToEngine::Ping(5));
    assert_eq!(engine.event(), FromEngine::Pong(5));
    let mut client = engine.client();
    assert_eq!(client.post(INFER, &json_request(&bundle.rows(0, 1), &json!({}))).status, 200);
    // A request whose body is still on its way is finished.
    let body = json_request(&bundle.rows(0, 1), &json!({}));
    let (now, later) = body.split_at(20);
    client
        .raw(format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())
        .unwrap();
    client.raw(now).unwrap();
    engine.send(&ToEngine::Drain);
    client.raw(later).unwrap();
    let answered = client.response().is_ok_and(|r| r.status == 200);
    assert!(engine.child.wait().unwrap().success());
    assert_eq!(page.snapshot().unwrap().rows, 1 + u64::from(answered), "counted if and only if answered");
}

#[test]
fn it_ends_when_its_supervisor_does() {
    let (mut engine, _bundle, _page) = Engine::serving();
    // The reading half is held by a thread: shutting down is what the end of a process does.
    let control = engine.control.take().unwrap();
    rustix::net::shutdown(&*control, rustix::net::Shutdown::Both).unwrap();
    engine.child.wait().unwrap();
    let (mut child, control) = rig::start(false);
    drop(control);
    assert!(child.wait().unwrap().success(), "also before it was told anything");
}

#[test]
fn it_refuses_to_be_started_by_hand() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_longshore-agent"))
        .args(["engine", "--nonsense"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("longshore-agent run"));
}

#[test]
fn killing_it_loses_no_answered_row_and_doubles_none() {
    for _ in 0..5 {
        let (mut engine, bundle, page) = Engine::serving();
        let body = json_request(&bundle.rows(0, 7), &json!({}));
        let (served, aborted) = (AtomicU64::new(0), AtomicU64::new(0));
        let pid = engine.child.id();
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    let mut client = engine.client();
                    loop {
                        match client.send("POST", INFER, &[], &body) {
                            Ok(r) if r.status == 200 => served.fetch_add(7, Relaxed),
                            Ok(r) => panic!("{r:?}"),
                            Err(_) => {
                                aborted.fetch_add(7, Relaxed);
                                return;
                            }
                        };
                    }
                });
            }
            while served.load(Relaxed) < 350 {
                std::thread::yield_now();
            }
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        engine.child.wait().unwrap();
        page.recover().unwrap();
        let c = page.snapshot().unwrap();
        let (served, aborted) = (served.into_inner(), aborted.into_inner());
        assert!(
            served <= c.rows && c.rows <= served + aborted,
            "{served} <= {} <= {served} + {aborted}",
            c.rows
        );
        assert_eq!(c.classes.iter().sum::<u64>(), c.rows);
        assert_eq!(page.next_seq().unwrap(), c.rows);
    }
}
