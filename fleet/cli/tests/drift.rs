//! `longshore drift compare` and `longshore metrics` against the answers of SciPy, scikit-learn and Fairlearn.
//!
//! The reference in `reference/` (made by `make.py` beside it) is always tried; so is any further set of the same form that
//! `LONGSHORE_GOLDEN` names or that lies beside the repository in `shared/golden`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn longshore(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longshore")).args(args).output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let out = longshore(args);
    assert!(out.status.success(), "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn sets() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = vec![here.join("tests/reference")];
    let named = std::env::var_os("LONGSHORE_GOLDEN").map(PathBuf::from);
    let beside = here.join("../../../shared/golden");
    out.extend(named.or_else(|| beside.join("drift.json").is_file().then_some(beside)));
    out
}

fn expected(set: &Path) -> Value {
    serde_json::from_slice(&fs::read(set.join("drift.json")).unwrap()).unwrap()
}

fn object<'a>(value: &'a Value, key: &str) -> Vec<(&'a str, &'a Value)> {
    value[key].as_object().map(|o| o.iter().map(|(k, v)| (k.as_str(), v)).collect()).unwrap_or_default()
}

fn assert_near(what: &str, got: &Value, want: &Value, tolerance: f64) {
    let (g, w) = (got.as_f64(), want.as_f64().unwrap());
    assert!(g.is_some_and(|g| (g - w).abs() <= tolerance), "{what}: {got}, not {want} +- {tolerance:e}");
}

#[test]
fn every_feature_agrees_with_scipy() {
    for set in sets() {
        let want = expected(&set);
        let mut compared = 0;
        let names: BTreeSet<&str> =
            object(&want, "numeric").iter().filter_map(|(k, _)| Some(k.split_once('/')?.0)).collect();
        for name in names {
            let side = |s: &str| set.join(format!("{name}_{s}.csv")).to_str().unwrap().to_owned();
            let (reference, current) = (side("ref"), side("cur"));
            let report =
                json(&["drift", "compare", "--reference", &reference, "--current", &current, "--json"]);
            for (key, w) in object(&want, "numeric") {
                let Some(feature) = key.strip_prefix(name).and_then(|k| k.strip_prefix('/')) else {
                    continue;
                };
                let all = report["features"].as_array().unwrap();
                let f = all.iter().find(|f| f["name"] == feature).unwrap_or_else(|| panic!("no {key}"));
                for (ours, theirs) in
                    [("edges", "decile_edges"), ("ref_counts", "ref_counts"), ("cur_counts", "cur_counts")]
                {
                    assert_eq!(f[ours], w[theirs], "{key}: {ours}");
                }
                assert_near(key, &f["psi"], &w["psi10_eps1e4"], 1e-12);
                assert_near(key, &f["js"], &w["js10_base2"], 1e-12);
                assert_near(key, &f["hellinger"], &w["hellinger10"], 1e-12);
                assert_near(key, &f["ks"]["stat"], &w["ks_stat"], 1e-9);
                assert_near(key, &f["w1"]["value"], &w["w1"], 1e-9);
                assert_near(key, &f["ks"]["p"], &w["ks_p"], 1e-6);
                let ks = |k: &str| f["ks"][k].as_f64().unwrap();
                assert!(ks("lo") <= ks("stat") && ks("stat") <= ks("hi"), "{key}: {}", f["ks"]);
                compared += 1;
            }
        }
        assert!(compared > 0, "{} has no numeric feature", set.display());
        println!("{compared} features of {} agree", set.display());
    }
}

#[test]
fn categories_agree_with_scipy() {
    let tmp = tempfile::tempdir().unwrap();
    for set in sets() {
        for (name, w) in object(&expected(&set), "categorical") {
            let file = |side: &str| {
                let mut csv = format!("{name}\n");
                for (word, n) in object(w, side) {
                    csv.push_str(&format!("{word}\n").repeat(usize::try_from(n.as_u64().unwrap()).unwrap()));
                }
                let path = tmp.path().join(format!("{side}.csv"));
                fs::write(&path, csv).unwrap();
                path.to_str().unwrap().to_owned()
            };
            let (reference, current) = (file("ref"), file("cur"));
            let args = ["drift", "compare", "--reference", &reference, "--current", &current];
            let report = json(&[&args[..], &["--categorical", name, "--json"]].concat());
            let f = &report["features"][0];
            assert_near(name, &f["chi2"]["stat"], &w["chi2_contingency"][0], 1e-9);
            assert_near(name, &f["chi2"]["p"], &w["chi2_contingency"][1], 1e-9);
        }
    }
}

#[test]
fn quality_agrees_with_scikit_learn_and_fairlearn() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("scores.csv");
    let scores = path.to_str().unwrap();
    for set in sets() {
        let want = expected(&set);
        for (name, w) in object(&want, "classification") {
            let mut csv = "label,score,group\n".to_owned();
            for (i, y) in w["y"].as_array().unwrap().iter().enumerate() {
                let group = w["group"][i].to_string();
                writeln!(csv, "{y},{},{}", w["p"][i], group.trim_matches('"')).unwrap();
            }
            fs::write(&path, csv).unwrap();
            let got = json(&["metrics", "classification", "--scores", scores, "--group", "group", "--json"]);
            let keys = ["acc", "f1", "auc", "brier", "logloss", "ece10", "dpd", "dpr", "eod", "eor", "eopp"];
            for key in keys {
                assert_near(&format!("{name} {key}"), &got[key], &w[key], 1e-12);
            }
            for key in ["acc", "auc", "dpd", "dpr", "eod", "eor", "eopp"] {
                let (i, v) = (&got["intervals"][key], w[key].as_f64().unwrap());
                let inside = i["lo"].as_f64().unwrap() <= v + 1e-12 && v <= i["hi"].as_f64().unwrap() + 1e-12;
                assert!(inside, "{name} {key}: {v} outside {i}");
            }
        }
        for (name, w) in object(&want, "regression") {
            let mut csv = "label,prediction\n".to_owned();
            for (y, p) in w["y"].as_array().unwrap().iter().zip(w["p"].as_array().unwrap()) {
                writeln!(csv, "{y},{p}").unwrap();
            }
            fs::write(&path, csv).unwrap();
            let got = json(&["metrics", "regression", "--scores", scores, "--json"]);
            for key in ["mae", "rmse", "median_ae", "r2"] {
                assert_near(&format!("{name} {key}"), &got[key], &w[key], 1e-12);
            }
        }
    }
}

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn column(name: &str, values: impl Iterator<Item = String>) -> String {
    std::iter::once(name.to_owned()).chain(values).fold(String::new(), |s, v| s + &v + "\n")
}

#[test]
fn a_page_stands_alone_and_escapes_what_it_is_given() {
    let tmp = tempfile::tempdir().unwrap();
    let ramp = |k: i32| (0..300).map(move |i| (i * k).to_string());
    let reference = write(tmp.path(), "a.csv", &column("<b>x</b>", ramp(1)));
    let current = write(tmp.path(), "b.csv", &column("<b>x</b>", ramp(2)));
    let page = tmp.path().join("page.html");
    let args = ["drift", "compare", "--reference", &reference, "--current", &current];
    let out = longshore(&[&args[..], &["--html", page.to_str().unwrap(), "--fail-on-drift"]].concat());
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stdout));
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<svg") && html.contains("drifted") && html.contains("95 % interval"));
    assert!(html.contains("&lt;b&gt;x") && !html.contains("<b>x"));
    for outside in ["http://", "https://", "<script", "<link", "src="] {
        assert!(!html.contains(outside), "the page needs {outside}");
    }
    let scores = write(tmp.path(), "s.csv", "label,score,group\n1,0.9,a\n0,0.2,b\n1,0.4,a\n0,0.6,b\n");
    for kind in ["classification", "regression"] {
        let args = ["metrics", kind, "--scores", &scores, "--html", page.to_str().unwrap()];
        assert!(longshore(&args).status.success());
        let html = fs::read_to_string(&page).unwrap();
        assert!(html.contains("<svg") && !html.contains("https://"), "{kind}");
    }
}

#[test]
fn what_vanished_changed_type_or_holds_nothing_is_said() {
    let tmp = tempfile::tempdir().unwrap();
    let mut reference = "gone,typed,empty,edge,constant\n".to_owned();
    let mut current = "typed,empty,edge,constant,new\n".to_owned();
    for i in 0..400 {
        let sign = if i % 2 == 0 { "-0.0" } else { "0.0" };
        writeln!(reference, "{i},{i},,{sign},7").unwrap();
        writeln!(current, "word{i},,{},7,1", if i % 2 == 0 { "NaN" } else { "inf" }).unwrap();
    }
    let (a, b) = (write(tmp.path(), "a.csv", &reference), write(tmp.path(), "b.csv", &current));
    let report = json(&["drift", "compare", "--reference", &a, "--current", &b, "--json"]);
    let verdict = |name: &str| {
        let all = report["features"].as_array().unwrap();
        all.iter().find(|f| f["name"] == name).map(|f| f["verdict"].as_str().unwrap().to_owned())
    };
    for name in ["gone", "typed", "edge"] {
        assert_eq!(verdict(name).as_deref(), Some("drifted"), "{name}");
    }
    assert_eq!(verdict("constant").as_deref(), Some("stable"));
    assert_eq!((verdict("empty"), &report["skipped"][0]["name"]), (None, &Value::from("empty")));
    assert_eq!(report["only_in_current"], serde_json::json!(["new"]));
    let edge = report["features"].as_array().unwrap().iter().find(|f| f["name"] == "edge").unwrap().clone();
    assert_eq!(
        (&edge["absent"]["current"]["nan"], &edge["absent"]["current"]["pos_inf"]),
        (&200.into(), &200.into())
    );
    assert!(edge["psi"].is_null() && edge["ks"]["stat"].is_null());
}

#[test]
fn kinds_are_the_same_whatever_the_other_rows_of_the_column_hold() {
    let tmp = tempfile::tempdir().unwrap();
    let file = |name: &str, last: &str| {
        let words = (0..300).map(|i| ["01", "2.0"][i % 2].to_owned()).chain([last.to_owned()]);
        write(tmp.path(), name, &column("zone", words))
    };
    let (codes, with_word) = (file("a.csv", "01"), file("b.csv", "x"));
    for (reference, current, flag) in [
        (&with_word, &codes, &[][..]),
        (&codes, &with_word, &["--categorical", "zone"]),
        (&with_word, &codes, &["--categorical", "zone"]),
        (&with_word, &with_word, &[]),
    ] {
        let args = ["drift", "compare", "--reference", reference, "--current", current, "--json"];
        let f = json(&[&args[..], flag].concat())["features"][0].clone();
        let known = f["cur_counts"].as_array().unwrap().iter().take(2);
        assert!(f["verdict"] == "stable" && known.map(|n| n.as_u64().unwrap()).sum::<u64>() >= 300, "{f}");
    }
}

#[test]
fn the_ends_of_the_floating_scale_are_only_numbers() {
    let tmp = tempfile::tempdir().unwrap();
    let ends = |low: usize, high: usize| {
        column("x", (0..low + high).map(move |i| if i < low { "-1.7e308" } else { "1.7e308" }.to_owned()))
    };
    let (a, b) = (write(tmp.path(), "a.csv", &ends(6, 5)), write(tmp.path(), "b.csv", &ends(150, 50)));
    let f = json(&["drift", "compare", "--reference", &a, "--current", &b, "--json"])["features"][0].clone();
    assert!(f["edges"].as_array().unwrap().iter().all(Value::is_number), "{f}");
    let f = json(&["drift", "compare", "--reference", &a, "--current", &a, "--json"])["features"][0].clone();
    assert_eq!((&f["w1"]["value"], &f["w1"]["lo"], &f["w1"]["hi"]), (&0.0.into(), &0.0.into(), &0.0.into()));
}

#[test]
fn few_rows_are_insufficient() {
    let tmp = tempfile::tempdir().unwrap();
    let reference = write(tmp.path(), "a.csv", &column("x", (0..500).map(|i| i.to_string())));
    for rows in [1, 8, 79] {
        let current = write(tmp.path(), "b.csv", &column("x", (0..rows).map(|i| (i + 900).to_string())));
        let report = json(&["drift", "compare", "--reference", &reference, "--current", &current, "--json"]);
        assert_eq!(report["features"][0]["verdict"], "insufficient", "{rows} rows");
    }
    let eight = write(tmp.path(), "c.csv", &column("x", (0..8).map(|i| i.to_string())));
    let report = json(&["drift", "compare", "--reference", &eight, "--current", &reference, "--json"]);
    assert_eq!(report["features"][0]["verdict"], "insufficient");
}

#[test]
fn wrong_tables_name_the_place() {
    let tmp = tempfile::tempdir().unwrap();
    let bad = write(tmp.path(), "bad.csv", "label,score\n1,0.5\n2,0.5\n");
    let out = longshore(&["metrics", "classification", "--scores", &bad, "--json"]);
    let said = text(&out.stdout);
    assert!(
        out.status.code() == Some(1) && said.contains("row 3") && said.contains("neither 0 nor 1"),
        "{said}"
    );
    let no_column = write(tmp.path(), "none.csv", "truth,score\n1,0.5\n");
    let out = longshore(&["metrics", "classification", "--scores", &no_column, "--json"]);
    assert!(out.status.code() == Some(2) && text(&out.stdout).contains("no column `label`"));
    let no_row = write(tmp.path(), "empty.csv", "label,score\n1,7\n");
    assert_eq!(longshore(&["metrics", "classification", "--scores", &no_row]).status.code(), Some(1));
    assert_eq!(
        longshore(&["drift", "compare", "--reference", &bad, "--current", "missing.csv"]).status.code(),
        Some(2)
    );
    let args = ["drift", "compare", "--reference", &bad, "--current", &bad, "--categorical", "colour"];
    assert_eq!(longshore(&args).status.code(), Some(2));
}

#[test]
fn the_profile_of_a_bundle_can_be_shown() {
    let tmp = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/meter-digits/1.0.0");
    let file = |f: &str| example.join(f).to_str().unwrap().to_owned();
    let out = tmp.path().join("bundle");
    let out = out.to_str().unwrap();
    let (model, golden, reference) = (file("model.onnx"), file("golden.npz"), file("reference.csv"));
    let args =
        ["bundle", "build", "--name", "meter-digits", "--version", "1.0.0", "--out", out, "--model", &model];
    let built = longshore(&[&args[..], &["--golden", &golden, "--reference", &reference]].concat());
    assert!(built.status.success(), "{}", text(&built.stderr));
    for path in [out.to_owned(), format!("{out}/reference.lsp")] {
        let shown = json(&["profile", "show", &path, "--json"]);
        assert_eq!((&shown["rows"], shown["features"].as_array().unwrap().len()), (&275.into(), 64));
        let counts = shown["features"][10]["counts"].as_array().unwrap();
        assert_eq!(counts.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 275);
    }
    let one = longshore(&["profile", "show", out, "--feature", "pixel_1_2"]);
    assert!(one.status.success() && text(&one.stdout).contains("atom"), "{}", text(&one.stdout));
    assert_eq!(longshore(&["profile", "show", out, "--feature", "nose"]).status.code(), Some(2));
    assert_eq!(longshore(&["profile", "show", &file("card.md")]).status.code(), Some(1));
}

#[test]
fn labelled_reference_data_say_what_scores_are_worth() {
    let tmp = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/meter-digits");
    let file = |f: &str| examples.join(f).to_str().unwrap().to_owned();
    let (model, golden) = (file("1.0.0/model.onnx"), file("1.0.0/golden.npz"));
    let build = |reference: &str, name: &str| {
        let out = tmp.path().join(name).to_str().unwrap().to_owned();
        let args = [
            "bundle",
            "build",
            "--name",
            "meter-digits",
            "--version",
            "1.0.0",
            "--model",
            &model,
            "--golden",
            &golden,
        ];
        let built = longshore(
            &[
                &args[..],
                &["--labels", "0,1,2,3,4,5,6,7,8,9", "--out", &out, "--reference", reference, "--json"],
            ]
            .concat(),
        );
        assert!(built.status.success(), "{}{}", text(&built.stdout), text(&built.stderr));
        (out, text(&built.stdout))
    };
    let (out, _) = build(&file("field/stream.csv"), "labelled");
    let quality = json(&["profile", "show", &out, "--json"])["quality"].clone();
    let (rows, right) = (quality["rows"].as_u64().unwrap(), quality["right"].as_u64().unwrap());
    assert!(rows == 800 && (700..800).contains(&right), "{right} of {rows}");
    let worth = quality["top"]["values"].as_array().unwrap();
    assert!(
        worth.len() == 50 && worth[49].as_f64().unwrap() > 0.9 && worth[20].as_f64().unwrap() < 0.8,
        "{worth:?}"
    );
    // Calibrated scores add up to what was right: isotonic regression keeps the mean.
    let known = quality["top"]["rows"].as_array().unwrap();
    let sum: f64 = worth.iter().zip(known).map(|(v, n)| v.as_f64().unwrap() * n.as_f64().unwrap()).sum();
    assert!((sum - right as f64).abs() < 1e-6, "{sum} is not {right}");
    let (out, said) = build(&file("1.0.0/reference.csv"), "validated-on-few");
    assert!(said.contains("55 labelled rows"), "{said}");
    let shown = json(&["profile", "show", &out, "--json"]);
    assert!(shown["quality"].is_null(), "what was learnt by heart is not labelled");
    // Labels are not needed for what it answers, and for which features matter.
    let sum = |of: &Value| of.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).sum::<f64>();
    assert_eq!((&shown["answers"]["rows"], sum(&shown["answers"]["classes"])), (&275.into(), 275.0));
    let shares = &shown["attribution"]["shares"];
    assert!(shares.as_array().unwrap().len() == 64 && (sum(shares) - 1.0).abs() < 1e-9, "{shares}");
    assert!(shown["attribution"]["rows"].as_u64().unwrap() >= 40);
    let few: String = fs::read_to_string(file("field/stream.csv"))
        .unwrap()
        .lines()
        .take(50)
        .fold(String::new(), |s, l| s + l + "\n");
    let (out, said) = build(&write(tmp.path(), "few.csv", &few), "few");
    assert!(said.contains("49 labelled rows"), "{said}");
    assert!(json(&["profile", "show", &out, "--json"])["quality"].is_null());
}
