//! Pre- and postprocessing: the steps that a manifest may name. Arithmetic is in f64, rounded once at the end.

use longshore_bundle::{DType, PostStep, PreStep, Refusal, Tensor, TensorSpec};

/// Windows of `size` samples, `step` apart, in `samples`; `None` when there is not even one.
pub(crate) fn window_rows(samples: usize, size: usize, step: usize) -> Option<usize> {
    Some(samples.checked_sub(size)? / step.max(1) + 1)
}

/// Runs the steps of one input. What comes out has the type of the graph's input.
pub(crate) fn prepare<'a>(
    tensor: &Tensor,
    spec: &TensorSpec,
    steps: impl Iterator<Item = &'a PreStep>,
) -> Result<Tensor, Refusal> {
    let mut shape = tensor.shape.clone();
    let mut values: Vec<f64> = tensor.values().collect();
    for step in steps {
        match step {
            PreStep::Scale { factor, offset, .. } => {
                values.iter_mut().for_each(|v| *v = v.mul_add(*factor, *offset));
            }
            PreStep::Clip { min, max, .. } => values.iter_mut().for_each(|v| *v = clip(*v, *min, *max)),
            PreStep::Normalize { mean, std, axis, .. } => {
                let rank = shape.len() as i32;
                let at = usize::try_from(if *axis < 0 { axis + rank } else { *axis }).unwrap_or(0);
                let along = shape.get(at).copied().unwrap_or(1).max(1);
                let inner: usize = shape.iter().skip(at + 1).product::<usize>().max(1);
                let pick = |list: &[f64], i: usize| {
                    if list.len() == 1 { list[0] } else { list[i % list.len()] }
                };
                for (i, v) in values.iter_mut().enumerate() {
                    let k = i / inner % along;
                    *v = (*v - pick(mean, k)) / pick(std, k);
                }
            }
            PreStep::Window { size, step, .. } => {
                let (size, step) = (*size as usize, *step as usize);
                let rows = window_rows(values.len(), size, step).ok_or_else(|| {
                    Refusal::Rule(format!("{} samples do not fill a window of {size}", values.len()))
                })?;
                values = (0..rows).flat_map(|r| values[r * step..r * step + size].iter().copied()).collect();
                shape = vec![rows, size];
            }
            PreStep::OneHot { classes, .. } => {
                let k = *classes as usize;
                let mut hot = vec![0.0; values.len() * k];
                for (i, v) in values.iter().enumerate() {
                    if !(*v >= 0.0 && *v < k as f64) {
                        return Err(Refusal::Rule(format!(
                            "element {i} is {v}, it must be from 0 to {}",
                            k - 1
                        )));
                    }
                    hot[i * k + *v as usize] = 1.0;
                }
                values = hot;
                shape.push(k);
            }
        }
    }
    Ok(encode(&spec.name, spec.dtype, shape, &values))
}

fn clip(v: f64, min: f64, max: f64) -> f64 {
    // Not `clamp`: NaN must stay NaN, and be counted.
    if v < min {
        min
    } else if v > max {
        max
    } else {
        v
    }
}

fn encode(name: &str, dtype: DType, shape: Vec<usize>, values: &[f64]) -> Tensor {
    let data = if dtype == DType::Fp64 {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    } else {
        values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect()
    };
    Tensor { name: name.to_owned(), dtype, shape, data }
}

/// Runs the steps after the graph. The manifest's check has made sure that each finds its output.
pub(crate) fn finish(outputs: &mut Vec<Tensor>, steps: &[PostStep], classes: &[String]) {
    for step in steps {
        let Some(at) = outputs.iter().position(|o| o.name == step.output()) else {
            continue;
        };
        let source = &outputs[at];
        let mut made = match step {
            PostStep::Scale { factor, offset, .. } => each(source, |v| v.mul_add(*factor, *offset)),
            PostStep::Clip { min, max, .. } => each(source, |v| clip(v, *min, *max)),
            PostStep::Softmax { .. } => softmax(source),
            PostStep::Argmax { .. } => argmax(source),
            PostStep::Threshold { at, .. } => {
                let bits: Vec<i64> = source.values().map(|v| i64::from(v >= *at)).collect();
                Tensor::from_i64(source.name.as_str(), &source.shape, &bits)
            }
            PostStep::Labels { .. } => {
                let name_of =
                    |v: f64| classes.get(v as usize).filter(|_| v >= 0.0).map_or("", String::as_str);
                Tensor::from_strings(source.name.as_str(), &source.shape, source.values().map(name_of))
            }
        };
        match step.to() {
            Some(to) => {
                made.name = to.to_owned();
                outputs.push(made);
            }
            None => outputs[at] = made,
        }
    }
}

fn each(t: &Tensor, f: impl Fn(f64) -> f64) -> Tensor {
    let values: Vec<f64> = t.values().map(f).collect();
    encode(&t.name, t.dtype, t.shape.clone(), &values)
}

fn last_axis(t: &Tensor) -> usize {
    t.shape.last().copied().unwrap_or(1).max(1)
}

fn softmax(t: &Tensor) -> Tensor {
    let mut values: Vec<f64> = t.values().collect();
    for row in values.chunks_mut(last_axis(t)) {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|v| *v = (*v - max).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|v| *v /= sum);
    }
    encode(&t.name, t.dtype, t.shape.clone(), &values)
}

fn argmax(t: &Tensor) -> Tensor {
    let values: Vec<f64> = t.values().collect();
    let best: Vec<i64> = values.chunks(last_axis(t)).map(|row| greatest(row).0 as i64).collect();
    let shape = &t.shape[..t.shape.len().saturating_sub(1)];
    Tensor::from_i64(t.name.as_str(), shape, &best)
}

/// Index and value of the greatest element: the first of equals; NaN is never the greatest.
pub(crate) fn greatest(row: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, &v) in row.iter().enumerate() {
        if v > best.1 {
            best = (i, v);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(t: &Tensor) -> Vec<f64> {
        t.values().collect()
    }

    #[test]
    fn normalize_runs_along_its_axis() {
        let spec = TensorSpec { name: "x".into(), dtype: DType::Fp32, shape: vec![] };
        let x = Tensor::from_f32("x", &[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let step =
            PreStep::Normalize { input: "x".into(), mean: vec![1.0, 3.0], std: vec![1.0, 0.5], axis: 1 };
        let got = prepare(&x, &spec, [&step].into_iter()).unwrap();
        assert_eq!(f32s(&got), [0.0, 1.0, 0.0, 2.0]);
    }

    #[test]
    fn windows_overlap_and_drop_the_rest() {
        let spec = TensorSpec { name: "x".into(), dtype: DType::Fp32, shape: vec![] };
        let x = Tensor::from_f32("x", &[6], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let step = PreStep::Window { input: "x".into(), size: 3, step: 2 };
        let got = prepare(&x, &spec, [&step].into_iter()).unwrap();
        assert_eq!((got.shape.clone(), f32s(&got)), (vec![2, 3], vec![0.0, 1.0, 2.0, 2.0, 3.0, 4.0]));
        let short = Tensor::from_f32("x", &[2], &[0.0, 1.0]);
        assert!(prepare(&short, &spec, [&step].into_iter()).is_err());
    }

    #[test]
    fn one_hot_refuses_what_is_no_class() {
        let spec = TensorSpec { name: "x".into(), dtype: DType::Fp32, shape: vec![] };
        let step = PreStep::OneHot { input: "x".into(), classes: 3 };
        let got = prepare(&Tensor::from_i64("x", &[2], &[2, 0]), &spec, [&step].into_iter()).unwrap();
        assert_eq!((got.shape.clone(), f32s(&got)), (vec![2, 3], vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0]));
        for bad in [-1, 3] {
            assert!(prepare(&Tensor::from_i64("x", &[1], &[bad]), &spec, [&step].into_iter()).is_err());
        }
    }

    #[test]
    fn softmax_argmax_and_labels_chain() {
        let mut outputs = vec![Tensor::from_f32("logits", &[2, 2], &[1000.0, 0.0, 1.0, 1.0])];
        let steps = [
            PostStep::Softmax { output: "logits".into(), to: Some("p".into()) },
            PostStep::Argmax { output: "p".into(), to: Some("class".into()) },
            PostStep::Labels { output: "class".into(), to: None },
        ];
        finish(&mut outputs, &steps, &["cat".into(), "dog".into()]);
        assert_eq!(f32s(&outputs[1]), [1.0, 0.0, 0.5, 0.5]);
        assert_eq!(
            (outputs[2].strings(), outputs[2].shape.clone()),
            (vec!["cat".into(), "cat".into()], vec![2])
        );
    }
}
