//! What holds for all manifests, and for all damaged files.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use longshore_bundle::author::{draft, golden_of, read_columns, read_npz};
use longshore_bundle::{
    Batch, DType, DatasetRef, Dim, Feature, Golden, Manifest, PostStep, PreStep, Tensor, TensorSpec, golden,
};
use longshore_trust::{Digest, ModelName};
use proptest::prelude::*;

/// Numbers whose decimal text is short: the parser is exact for these, and off by at most one bit for others.
fn number() -> impl Strategy<Value = f64> {
    any::<i16>().prop_map(|v| f64::from(v) / 64.0)
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let spec = ("[a-z]{1,8}", 1u64..50, prop_oneof![Just(DType::Fp32), Just(DType::Fp64)]);
    (
        ("[a-z][a-z0-9_-]{0,10}", 0u64..9, 0u64..9, any::<bool>()),
        spec,
        (2usize..10, 1u32..100, 10u32..100_000),
        proptest::option::of((number(), number())),
        (0u16..64, proptest::collection::btree_map("[a-z]{1,5}", number(), 0..4)),
        proptest::option::of("[ -~]{0,40}"),
    )
        .prop_map(|((model, major, minor, steps), (input, width, dtype), (k, max, window_s), scale, (abs, metrics), intended)| {
            let n = Dim::Symbol("N".into());
            let mut m = draft(
                ModelName::new(model).unwrap(),
                semver::Version::new(major, minor, 0),
                "2026-01-31T12:00:00Z".into(),
                vec![TensorSpec { name: input.clone(), dtype, shape: vec![n.clone(), Dim::Fixed(width)] }],
                vec![TensorSpec { name: "y".into(), dtype, shape: vec![n, Dim::Fixed(k as u64)] }],
            );
            m.batch = Some(Batch { axis: 0, max });
            m.monitor.window_s = window_s;
            m.monitor.classes = (0..k).map(|c| format!("class {c}")).collect();
            m.monitor.score_output = Some("y".into());
            m.monitor.features =
                (0..width).map(|i| Feature { name: format!("f{i}"), input: input.clone(), index: i as u32, kind: Default::default() }).collect();
            m.golden.abs = f64::from(abs) / 64.0;
            m.lineage.metrics = metrics;
            m.lineage.dataset = vec![DatasetRef { name: "d".into(), uri: None, sha256: Some(Digest::of(b"d")), license: None }];
            m.policy.intended_use = intended;
            if let Some((offset, factor)) = scale {
                m.preprocess = vec![PreStep::Scale { input: input.clone(), factor, offset }];
            }
            if steps {
                m.postprocess = vec![
                    PostStep::Softmax { output: "y".into(), to: None },
                    PostStep::Argmax { output: "y".into(), to: Some("class".into()) },
                    PostStep::Labels { output: "class".into(), to: Some("name".into()) },
                ];
            }
            let file = |path: &str, role: &str| serde_json::json!({ "path": path, "sha256": Digest::of(path.as_bytes()), "length": 3, "role": role });
            m.files = serde_json::from_value(serde_json::json!([file("model.onnx", "model"), file("golden.safetensors", "golden")])).unwrap();
            m
        })
}

fn small() -> (Manifest, Golden) {
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        dtype: DType::Fp32,
        shape: vec![Dim::Symbol("N".into()), Dim::Fixed(2)],
    };
    let version = semver::Version::new(1, 0, 0);
    let created = "2026-01-31T12:00:00Z".to_owned();
    let m = draft(ModelName::new("m").unwrap(), version, created, vec![spec("x")], vec![spec("y")]);
    let t = |name: &str| Tensor::from_f32(name, &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    (m, Golden { inputs: vec![t("x")], outputs: vec![t("y")], rows: 3 })
}

/// What numpy's `savez` writes, stored without compression: x and y, float64.
fn npz() -> Vec<u8> {
    use npyz::WriterBuilder as _;
    let mut out = std::io::Cursor::new(Vec::new());
    let mut writer = npyz::npz::NpzWriter::new(&mut out);
    for name in ["input.x", "output.y"] {
        let mut array = writer
            .array(name, Default::default())
            .unwrap()
            .default_dtype()
            .shape(&[3, 2])
            .begin_nd()
            .unwrap();
        array.extend([1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        array.finish().unwrap();
    }
    drop(writer);
    out.into_inner()
}

#[test]
fn arrays_of_an_author_become_golden_vectors() {
    let (manifest, golden) = small();
    let arrays = read_npz(&npz()).unwrap();
    assert_eq!(arrays[0].dtype, DType::Fp64);
    assert_eq!(golden_of(arrays, &manifest).unwrap(), golden);
}

proptest! {
    #[test]
    fn a_manifest_survives_its_own_bytes(m in any_manifest()) {
        let bytes = m.to_json();
        let back = Manifest::parse(&bytes).unwrap();
        prop_assert_eq!(&back, &m);
        prop_assert_eq!(back.to_json(), bytes);
    }

    #[test]
    fn damaged_manifests_never_panic_and_are_mostly_refused(
        m in any_manifest(), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = m.to_json();
        let i = at.index(bytes.len() - 2);
        if cut {
            prop_assert!(Manifest::parse(&bytes[..i]).is_err());
        } else {
            bytes[i] = with;
            if let Ok(other) = Manifest::parse(&bytes) {
                prop_assert!(other.check().is_ok());
            }
        }
    }

    #[test]
    fn damaged_golden_files_never_panic(at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let (manifest, vectors) = small();
        let mut bytes = vectors.to_bytes().unwrap();
        prop_assert_eq!(&golden::parse(&bytes, &manifest).unwrap(), &vectors);
        let i = at.index(bytes.len());
        prop_assert!(golden::parse(&bytes[..i], &manifest).is_err());
        bytes[i] = with;
        if let Ok(other) = golden::parse(&bytes, &manifest) {
            prop_assert_eq!(other.rows, 3);
        }
    }

    #[test]
    fn damaged_archives_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = npz();
        let _ = read_npz(&bytes[..cut.index(bytes.len())]);
        for (at, with) in changes {
            let i = at.index(bytes.len());
            bytes[i] = with;
        }
        if let Ok(arrays) = read_npz(&bytes) {
            for a in arrays {
                prop_assert_eq!(a.expected_bytes(), Some(a.data.len()));
            }
        }
    }

    #[test]
    fn any_text_is_a_table_or_an_error(text in "[a-c1-3.,\"\n\r]{0,60}") {
        if let Ok(columns) = read_columns(text.as_bytes()) {
            prop_assert!(!columns.is_empty());
        }
    }
}
