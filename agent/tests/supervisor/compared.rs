//! Bundles that know what they answered to their author's reference, and pictures to ask them about.

use longshore_bundle::author::{self, NewFile};
use longshore_bundle::{Golden, Manifest, PreStep, Role, Tensor};
use longshore_runtime::{Limits, Model, describe};
use longshore_stats::Profile;
use longshore_stats::profile::Column;
use longshore_stats::quality::answers::ReferenceAnswers;
use longshore_trust::ModelName;

use crate::rig::{Bundle, example, in_memory};

/// A bundle that is shown nothing of its inputs on the device, so that all its answers are the same.
pub fn blind(manifest: &mut Manifest) {
    manifest.preprocess = vec![PreStep::Scale { input: "pixels".into(), factor: 0.0, offset: 0.0 }];
}

/// The weights of one of its versions as version `version`, with what they answer to the author's reference; `alter` changes
/// what the device gets, and not what the author saw.
pub fn compared_digits(weights: &str, version: &str, alter: impl FnOnce(&mut Manifest)) -> Bundle {
    let onnx = example(&format!("{weights}/model.onnx"));
    let said = describe::describe(&onnx).unwrap();
    let created = "2026-01-02T03:04:05Z".into();
    let name = ModelName::new("meter-digits").unwrap();
    let mut manifest = author::draft(name, version.parse().unwrap(), created, said.inputs, said.outputs);
    author::describe_classes(&mut manifest, Some((0..10).map(|d| format!("digit {d}")).collect())).unwrap();
    let table = author::read_columns(&example(&format!("{weights}/reference.csv"))).unwrap();
    let (features, columns) = author::features_of(&manifest, table).unwrap();
    manifest.monitor.features = features;
    let mut profile = Profile::of(&columns).unwrap();
    let seeing = Model::load(&manifest, &onnx, &Limits::default()).unwrap();
    let rows: Vec<f32> = (0..profile.rows as usize)
        .flat_map(|row| columns.iter().map(move |(_, c)| number(c, row) as f32))
        .collect();
    let answers: Vec<(usize, f64)> = rows
        .chunks(64 * columns.len())
        .flat_map(|part| {
            let n = part.len() / columns.len();
            let outputs = seeing.run(&[Tensor::from_f32("pixels", &[n, columns.len()], part)]).unwrap();
            seeing.predictions(n, &outputs)
        })
        .map(|p| (p.class.unwrap() as usize, f64::from(p.score)))
        .collect();
    profile.answers = Some(ReferenceAnswers::of(answers, 10));
    alter(&mut manifest);
    let serving = Model::load(&manifest, &onnx, &Limits::default()).unwrap();
    let golden = author::read_npz(&example(&format!("{weights}/golden.npz"))).unwrap();
    let inputs = author::golden_of(golden, &manifest).unwrap().inputs;
    let outputs = serving.run(&inputs).unwrap();
    let golden = Golden { rows: inputs[0].shape[0], outputs, inputs };
    let files = vec![
        NewFile::of(Role::Model, onnx),
        NewFile::of(Role::Golden, golden.to_bytes().unwrap()),
        NewFile::of(Role::Reference, profile.to_bytes()),
    ];
    in_memory(author::assemble(manifest, files).unwrap(), golden.inputs)
}

fn number(column: &Column, row: usize) -> f64 {
    let Column::Numeric(values) = column else { panic!("pixels are numbers") };
    values[row].unwrap()
}

/// Pictures as devices see them.
pub fn field_rows() -> Vec<Vec<f32>> {
    let table = author::read_columns(&example("field/stream.csv")).unwrap();
    let pixels: Vec<_> = table.into_iter().filter(|(name, _)| name != "label").collect();
    let Column::Numeric(first) = &pixels[0].1 else { panic!("pixels are numbers") };
    (0..first.len()).map(|row| pixels.iter().map(|(_, c)| number(c, row) as f32).collect()).collect()
}
