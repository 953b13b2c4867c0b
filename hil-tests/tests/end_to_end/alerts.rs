//! Alerts with real processes: the server is killed between an alert and its delivery, a stranger verifies what it is sent with
//! the snippet of `docs/guides/alerts.md`, and the commands of that guide are run as they stand.

use std::process::Command;
use std::time::Duration;

use longshore_hil_tests::script::{make_keys, set_up_fleet};
use longshore_hil_tests::stage::Stage;
use longshore_hil_tests::{bin_dir, output, root, shell_blocks};
use serde_json::Value;

/// A receiver around the snippet of the guide: writes down what came, and whether it verifies.
const RECEIVER: &str = r#"
import http.server, json, sys
exec(open("verify.py").read())
secret, seen = open("hook.secret").read().strip(), set()
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {k.lower(): v for k, v in self.headers.items()}
        good = verify(secret, headers, body, seen=seen)
        forged = verify(secret, headers, body + b" ") or verify(secret[::-1], headers, body)
        late = verify(secret, headers, body, now=int(headers["webhook-timestamp"]) + 301)
        again = verify(secret, headers, body, seen=seen)
        with open("got.jsonl", "a") as f:
            json.dump({"good": good, "wrong": forged or late or again, "body": json.loads(body)}, f)
            f.write("\n")
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Hook).serve_forever()
"#;

fn guide() -> String {
    std::fs::read_to_string(root().join("docs/guides/alerts.md")).unwrap()
}

/// What the receiver has written down.
fn got(stage: &Stage) -> Vec<Value> {
    let text = std::fs::read_to_string(stage.dir.join("got.jsonl")).unwrap_or_default();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn an_alert_outlives_a_killed_server_and_a_stranger_can_verify_it() {
    let dir = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap().keep();
    let mut stage = Stage::new(dir).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // All offline metadata of a new fleet ends within 399 days, so this fires at the first look.
    stage.fleet_config = format!(
        "[alerts]\nevery_s = 1\n[[alert]]\nname = \"trust\"\nkind = \"trust_expiry\"\nthreshold = \"399d\"\nfor = \"0s\"\n\
         [[receiver]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\nsecret_file = \"hook.secret\"\n"
    );
    std::fs::write(stage.dir.join("hook.secret"), "0123456789abcdef0123456789abcdef\n").unwrap();
    make_keys(&stage).unwrap();
    set_up_fleet(&mut stage).unwrap();
    let fired = |s: &Stage| {
        s.json(&["alerts", "list", "--state", "firing"]).map(|v| v["items"].as_array().map_or(0, Vec::len))
    };
    let mut waiting = 0;
    for _ in 0..200 {
        if fired(&stage).unwrap() == 1 {
            let queued = stage.json(&["alerts", "deliveries", "--state", "queued"]).unwrap();
            waiting = queued["items"].as_array().unwrap().len();
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(waiting, 1, "nobody listens yet");
    stage.kill("fleet").unwrap();

    let snippet = guide().split("```python\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    std::fs::write(stage.dir.join("verify.py"), snippet).unwrap();
    std::fs::write(stage.dir.join("receiver.py"), RECEIVER).unwrap();
    let mut python = Command::new("python3");
    python.args(["receiver.py", &port.to_string()]).current_dir(&stage.dir);
    stage.spawn("receiver", python).unwrap();
    stage.start_fleet().unwrap();
    let folder = stage.dir.clone();
    let came = move || Ok(std::fs::read_to_string(folder.join("got.jsonl")).is_ok_and(|t| t.contains('\n')));
    stage.wait("the delivery", Duration::from_secs(60), came).unwrap();

    // The commands of the guide, in order; alert 7 is the first one here.
    let script = shell_blocks(&guide()).replace(" 7", " 1");
    assert!(script.contains("alerts test") && script.contains("--retry-all"), "the blocks were not found");
    let mut shell = Command::new("bash");
    let path = format!("{}:{}", bin_dir().display(), std::env::var("PATH").unwrap());
    shell.args(["-c", &format!("set -euo pipefail\n{script}")]).current_dir(&stage.dir);
    shell.env("PATH", path).env("XDG_CONFIG_HOME", stage.dir.join("config"));
    let said = output(shell).unwrap();
    for part in [
        "ops took the test",
        "Trust metadata",
        "Alert 1 is acknowledged",
        "Silenced for 4 h",
        "No deliveries.",
    ] {
        assert!(said.contains(part), "{part:?} is not in what the commands printed:\n{said}");
    }
    let got = got(&stage);
    assert!(got.iter().all(|g| g["good"] == true && g["wrong"] == false), "{got:?}");
    assert_eq!(got[0]["body"]["type"], "alert.fired");
    assert_eq!(got.last().unwrap()["body"]["type"], "alert.test");
    stage.strike();
}
