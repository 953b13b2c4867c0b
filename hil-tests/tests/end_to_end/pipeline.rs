//! `docs/guides/ci.md`: the commands of both pipelines, run as they stand, against a fleet with a device; what they report, and
//! what the webhook is told meanwhile.

use std::process::Command;
use std::time::Duration;

use longshore_hil_tests::receiver::Receiver;
use longshore_hil_tests::script::{build, build_as, enrol, make_keys, set_up_fleet};
use longshore_hil_tests::stage::Stage;
use longshore_hil_tests::{bin_dir, output, root};

/// The commands of a pipeline, in order.
fn commands(yaml: &str) -> Vec<String> {
    let of = |l: &str| {
        let l = l.trim().trim_start_matches("- ").trim_start_matches("run: ");
        l.starts_with("longshore ").then(|| l.to_owned())
    };
    yaml.lines().filter_map(of).collect()
}

/// The blocks of a language, in order.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|b| b.split("```").next().unwrap()).collect()
}

/// As a runner does: in a shell, with the variables of the pipeline.
fn run(stage: &Stage, model: &str, line: &str) -> anyhow::Result<String> {
    let mut shell = Command::new("sh");
    let path = format!("{}:{}", bin_dir().display(), std::env::var("PATH").unwrap());
    let token = std::fs::read_to_string(stage.dir.join("admin-token")).unwrap();
    shell.args(["-euc", line]).current_dir(&stage.dir).env("PATH", path).env("MODEL", model);
    shell.env("LONGSHORE_URL", stage.url()).env("LONGSHORE_TOKEN", token.trim());
    output(shell)
}

#[test]
fn both_pipelines_of_the_guide_roll_out_and_report() {
    let guide = std::fs::read_to_string(root().join("docs/guides/ci.md")).unwrap();
    let dir = tempfile::Builder::new().prefix("longshore-test-").tempdir().unwrap().keep();
    let mut stage = Stage::new(dir).unwrap();
    let hook = Receiver::start().unwrap();
    let config = blocks(&guide, "toml").into_iter().find(|b| b.contains("[[receiver]]")).unwrap();
    stage.fleet_config = config
        .replace("https://ci.example/longshore", &hook.url("/ci"))
        .replace("/etc/longshore/ci.secret", "ci.secret");
    std::fs::write(stage.dir.join("ci.secret"), "0123456789abcdef0123456789abcdef\n").unwrap();
    make_keys(&stage).unwrap();
    set_up_fleet(&mut stage).unwrap();
    enrol(&mut stage, 1).unwrap();
    build(&stage, "1.0.0").unwrap();
    build_as(&stage, "1.0.0", "1.1.0").unwrap();
    std::fs::write(stage.dir.join("policy.toml"), blocks(&guide, "toml")[0]).unwrap();

    for (yaml, version) in blocks(&guide, "yaml").into_iter().zip(["1.0.0", "1.1.0"]) {
        let model = format!("meter-digits@{version}");
        let of = commands(yaml);
        assert_eq!(of.len(), 4, "{of:?}");
        let link = stage.dir.join("bundle");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(stage.dir.join("bundles").join(version), link).unwrap();
        run(&stage, &model, &of[0]).unwrap();
        run(&stage, &model, &of[1]).unwrap();
        stage.json(&["approve", &model, "--keys", "keys/offline", "--yes"]).unwrap();
        assert!(run(&stage, &model, &of[2]).unwrap().contains("2 wave(s)"));
        let said = run(&stage, &model, &of[3]).unwrap();
        if of[3].ends_with("--json") {
            let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
            assert_eq!((&last["event"], &last["exit"]), (&"end".into(), &0.into()), "{said}");
            assert!(said.contains("\"event\":\"gate\"") && said.contains("\"state\":\"running\""), "{said}");
        } else {
            assert!(said.contains("completed"), "{said}");
        }
        let xml = std::fs::read_to_string(stage.dir.join("rollout.xml")).unwrap();
        assert!(xml.contains("failures=\"0\"") && xml.contains(&format!("{model} wave 0")), "{xml}");
        assert!(xml.contains("name=\"success\"") && xml.contains("classname=\"rollout\""), "{xml}");
        let bundle = std::fs::read_to_string(stage.dir.join("bundle.xml")).unwrap();
        assert!(bundle.contains("failures=\"0\""), "{bundle}");
    }
    let told = hook.clone();
    let completed =
        move || Ok(told.kept().iter().filter(|d| d.body["type"] == "rollout.completed").count() == 2);
    stage.wait("the webhook", Duration::from_secs(30), completed).unwrap();
    let kinds: Vec<String> =
        hook.kept().iter().map(|d| d.body["type"].as_str().unwrap_or_default().to_owned()).collect();
    for kind in ["rollout.planned", "rollout.running", "wave.offering", "wave.passed"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} is missing: {kinds:?}");
    }
    let lines: Vec<u64> = hook.kept().iter().filter_map(|d| d.body["data"]["line"].as_u64()).collect();
    assert!(lines.is_sorted(), "in order: {lines:?}");
    assert!(hook.kept().iter().all(|d| d.headers.iter().any(|(n, _)| n == "webhook-signature")));

    // A rollout that a person stops, and one that takes longer than the pipeline waits, have exit codes of their own.
    let endless = "name = \"long\"\n[[wave]]\nselect = { rest = true }\nsoak = \"1h\"\n[gate]\ndeadline = \"2h\"\non_fail = \"halt\"\n";
    std::fs::write(stage.dir.join("long.toml"), endless).unwrap();
    build_as(&stage, "1.0.0", "1.2.0").unwrap();
    stage.json(&["publish", "bundles/1.2.0", "--wait"]).unwrap();
    stage.json(&["approve", "meter-digits@1.2.0", "--keys", "keys/offline", "--yes"]).unwrap();
    let start = "longshore rollout start --model $MODEL --policy long.toml --yes --wait --timeout 1s --json";
    let code =
        |line: &str| run(&stage, "meter-digits@1.2.0", &format!("{line} >out || echo exit $?")).unwrap();
    assert_eq!(code(start), "exit 14\n");
    let out = std::fs::read_to_string(stage.dir.join("out")).unwrap();
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let id = last["rollout"].as_str().unwrap();
    stage.json(&["rollout", "pause", id]).unwrap();
    assert_eq!(code(&format!("longshore rollout watch {id}")), "exit 10\n");
    stage.json(&["rollout", "halt", id, "--yes"]).unwrap();
    assert_eq!(code(&format!("longshore rollout watch {id} --junit halted.xml")), "exit 11\n");
    let xml = std::fs::read_to_string(stage.dir.join("halted.xml")).unwrap();
    assert!(xml.contains("failure type=\"rollout.halted\""), "{xml}");
    assert_eq!(
        code("longshore rollout start --model $MODEL --policy long.toml --yes --junit x.xml"),
        "exit 2\n"
    );
    stage.strike();
}
