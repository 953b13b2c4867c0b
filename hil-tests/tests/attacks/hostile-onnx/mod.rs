//! Approved, assigned, and made to break the device: through the whole way, with the real agent.

use longshore_hil_tests::socket::Answer;

use crate::site::{Approval, MODEL, Site, bundle_with, slot};

#[test]
fn an_approved_model_that_is_none_fails_its_trial_and_nothing_else() {
    let mut site = Site::with_model();
    let engine = site.status()["engine"]["pid"].clone();
    let agent = site.status()["pid"].clone();
    let garbage = |seed: u64, n: usize| {
        let mut dice = longshore_agent_core::backoff::Jitter::new(seed);
        (0..n).map(|_| dice.up_to(255) as u8).collect::<Vec<u8>>()
    };
    let broken: [(&str, fn(Vec<u8>) -> Vec<u8>); 5] = [
        ("garbage", |_| Vec::new()),
        ("half of a model", |m| m[..m.len() / 2].to_vec()),
        ("a model with a torn middle", |mut m| {
            let third = m.len() / 3;
            m[third..third + 400].fill(0xff);
            m
        }),
        ("a varint without an end", |m| [vec![0x3a; 1], vec![0xff; 64], m].concat()),
        ("a graph in a graph in a graph", |_| {
            // Field 7 (graph) of a model, whose node holds an attribute with a graph, and so on, 3000 deep.
            let mut inner: Vec<u8> = Vec::new();
            for _ in 0..3000 {
                for tag in [0x32u8, 0x2a, 0x0a] {
                    let mut outer = vec![tag];
                    let mut n = inner.len();
                    while n >= 0x80 {
                        outer.push((n as u8) | 0x80);
                        n >>= 7;
                    }
                    outer.push(n as u8);
                    outer.extend(&inner);
                    inner = outer;
                }
                if inner.len() > 1 << 20 {
                    break;
                }
            }
            let mut model = vec![0x08, 0x08, 0x3a];
            let mut n = inner.len();
            while n >= 0x80 {
                model.push((n as u8) | 0x80);
                n >>= 7;
            }
            model.push(n as u8);
            model.extend(inner);
            model
        }),
    ];
    for (n, (what, damage)) in broken.into_iter().enumerate() {
        let version = format!("3.0.{n}");
        let counter = 3 + n as u64;
        let evil = bundle_with(MODEL, &version, |onnx| {
            let damaged = damage(onnx);
            if damaged.is_empty() { garbage(n as u64, 5000) } else { damaged }
        });
        site.approve(MODEL, &version, &evil, Approval { counter, ..Approval::default() });
        site.assign(vec![slot(MODEL, &version, &evil, counter)], |_, _| {});
        let assignment = site.version;
        site.until(what, |s| {
            s.told(assignment - 1).iter().any(|t| t.starts_with(&format!("{assignment} failed ")))
        });
        let told = site.told(assignment - 1);
        let end = told.iter().find(|t| t.contains(" failed ")).unwrap();
        let code = end.split(' ').nth(2).unwrap();
        assert!(code.contains('.') && !code.starts_with("download"), "{what}: {end}");
        println!("{what}: {code}");
        let ready = site.socket().get(&format!("/v2/models/{MODEL}/ready"));
        assert!(matches!(ready, Answer::Response(200, _)), "{what}: {ready:?}");
    }
    site.until("what ran runs", |s| s.model(MODEL)["version"] == "2.0.0");
    assert_eq!(site.status()["pid"], agent);
    assert_eq!(site.status()["engine"]["pid"], engine, "the serving engine has noticed nothing");
}
