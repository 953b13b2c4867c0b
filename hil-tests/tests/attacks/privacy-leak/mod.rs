//! Every field of every message that goes up, against a list; and marked inputs, looked for in all that left a device.

mod walk;

use longshore_hil_tests::socket::Answer;
use longshore_wire::v1::{Claim, Events, Hello, Message, Report, Windows};
use serde_json::json;

use crate::site::{MODEL, Site, bundle};
use walk::{Leaves, leaves};

/// All that may go up: path, kind, and for text, floats and lists why it is no input. A new field is a line here, with its reason.
const LIST: &str = include_str!("fields.txt");

fn all() -> Leaves {
    let mut all = leaves::<Message<Hello>>("Hello");
    for more in [
        leaves::<Message<Report>>("Report"),
        leaves::<Message<Windows>>("Windows"),
        leaves::<Message<Events>>("Events"),
        leaves::<Message<Claim>>("Claim"),
    ] {
        all.extend(more);
    }
    all
}

#[test]
fn every_field_that_goes_up_is_on_the_list_and_has_a_reason() {
    let mut listed = Leaves::new();
    for line in LIST.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let (path, kind) = (words.next().unwrap(), words.next().expect("a kind"));
        let kind = ["integer", "bool", "one", "text", "float"].into_iter().find(|k| *k == kind).expect(line);
        // A list of numbers is as good as a blob.
        let list = ["[]", "{}", "{key}"].iter().any(|end| path.ends_with(end));
        if kind == "text" || kind == "float" || list && kind != "one" {
            assert!(words.next().is_some_and(|why| why.len() > 5), "why is this no input: {line}");
        }
        listed.insert(path.to_owned(), if kind == "one" { "one of" } else { kind });
    }
    let found = all();
    let unlisted: Vec<String> = found
        .iter()
        .filter(|(path, kind)| listed.get(*path) != Some(kind))
        .map(|(p, k)| format!("{p} {k}"))
        .collect();
    let gone: Vec<&String> = listed.keys().filter(|p| !found.contains_key(*p)).collect();
    assert!(unlisted.is_empty(), "not on the list, or of another kind:\n{}", unlisted.join("\n"));
    assert!(gone.is_empty(), "on the list, and no field: {gone:?}");
    let floats = found.values().filter(|k| **k == "float").count();
    println!("{} fields go up; {floats} are floats, none holds bytes or anything", found.len());
}

#[test]
fn a_field_that_could_carry_an_input_would_be_found() {
    // Read by the walk alone, never by name.
    #[allow(dead_code, reason = "a type for the walk")]
    #[derive(serde::Deserialize)]
    struct Leaky {
        rows: u64,
        inputs: Vec<f32>,
        image: Option<Vec<u8>>,
        note: Kind,
    }
    #[allow(dead_code, reason = "a type for the walk")]
    #[derive(serde::Deserialize)]
    enum Kind {
        A,
        B(String),
        C { raw: f64 },
    }
    let found = leaves::<Leaky>("L");
    for (path, kind) in [
        ("L.inputs[]", "float"),
        ("L.image[]", "integer"),
        ("L.note::B", "text"),
        ("L.note::C.raw", "float"),
        ("L.rows", "integer"),
    ] {
        assert_eq!(found.get(path), Some(&kind), "{path}");
    }
}

#[test]
fn marked_inputs_leave_no_trace_in_anything_that_left_the_device() {
    let mut site = Site::with_model();
    let runs = bundle(MODEL, "2.0.0");
    let (columns, name) = (runs.golden.shape[1..].iter().product::<usize>(), runs.golden.name.clone());
    // A number that occurs nowhere by chance, in each spelling that a leak could have; and words beside the numbers.
    const MARK: f32 = 0.739_120_57;
    const WORDS: [&str; 3] = ["patient-7731-leukaemia", "group-of-7731", "secret-header-7731"];
    let mut shape = runs.golden.shape.clone();
    shape[0] = 1;
    let body = json!({
        "id": WORDS[0],
        "inputs": [{ "name": name, "datatype": "FP32", "shape": shape, "data": vec![MARK; columns] }],
    });
    let infer = format!("/v2/models/{MODEL}/infer");
    for _ in 0..20 {
        let answer = site.socket().post(&infer, &body);
        assert!(matches!(answer, Answer::Response(200, _)), "{answer:?}");
    }
    // And requests that fail with a message about what was wrong with them.
    for wrong in [
        json!({ "inputs": [{ "name": WORDS[0], "datatype": "FP32", "shape": shape, "data": vec![MARK; columns] }] }),
        json!({ "inputs": [{ "name": name, "datatype": WORDS[1], "shape": shape, "data": vec![MARK; columns] }] }),
        json!({ "inputs": [{ "name": name, "datatype": "FP32", "shape": [1, 1, 1, 7731], "data": [MARK] }] }),
        json!({ "inputs": WORDS[2] }),
        json!({ "parameters": { "group": WORDS[1] }, "inputs": body["inputs"] }),
    ] {
        assert!(matches!(site.socket().post(&infer, &wrong), Answer::Response(400..=422, _)));
    }
    let label = json!({ "prediction_id": WORDS[0], "row": 0, "label": WORDS[1] });
    let _ = site.socket().post("/longshore/v1/feedback", &label);
    // The engine dies with requests in it, and the agent is restarted: such ends have messages of their own.
    site.kill_agent();
    site.start_agent();
    site.until("served again", |s| s.runs("2.0.0", "committed"));
    site.until("counted by the fleet", |s| {
        s.runtime.block_on(s.running.app.store.rows_counted()).unwrap() >= 20
    });
    site.kill_agent();

    let mut needles: Vec<Vec<u8>> = WORDS.iter().map(|w| w.as_bytes().to_vec()).collect();
    needles.push(b"0.73912".to_vec());
    needles.extend([MARK.to_le_bytes().to_vec(), MARK.to_be_bytes().to_vec()]);
    needles.extend([f64::from(MARK).to_le_bytes().to_vec(), f64::from(MARK).to_be_bytes().to_vec()]);
    let mut searched = 0;
    let fleet = site.home.data().database();
    let mut files = vec![fleet.clone(), fleet.with_extension("db-wal")];
    // What waits on the device to be sent is looked at too, with all that it keeps: it keeps no input either.
    files.extend(["state.db", "state.db-wal", "second.json"].map(|f| site.state().join(f)));
    for file in files {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        searched += bytes.len();
        for needle in &needles {
            assert!(
                !bytes.windows(needle.len()).any(|w| w == needle.as_slice()),
                "{} holds {:?}",
                file.display(),
                String::from_utf8_lossy(needle)
            );
        }
    }
    let log = site.log();
    assert!(WORDS.iter().all(|w| !log.contains(w)) && !log.contains("0.73912"), "{log}");
    println!("20 marked requests, {searched} bytes searched, 0 marks");
}
