//! An inference response: the JSON head, and the tensors in it or behind it.

use longshore_bundle::{DType, Tensor};
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use super::request::InferRequest;
use crate::serve::refusal::Refused;

/// What a response says besides its tensors.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// Version of its bundle.
    pub version: &'a str,
    /// Id to give feedback with.
    pub prediction_id: &'a str,
    /// What made the answers, where that was asked for.
    pub attributions: Option<&'a Attributions>,
}

/// A response body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// JSON, then the binary tensors.
    pub body: Vec<u8>,
    /// How much of it is JSON, when binary tensors follow.
    pub header_length: Option<usize>,
}

#[derive(serde::Serialize)]
struct Head<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: Parameters<'a>,
    outputs: Vec<Output<'a>>,
}

#[derive(serde::Serialize)]
struct Parameters<'a> {
    prediction_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributions: Option<&'a Attributions>,
}

/// What each feature did to each answer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Attributions {
    /// How they were found.
    pub method: &'static str,
    /// What features were compared with.
    pub baseline: &'static str,
    /// Names of the features.
    pub features: Vec<String>,
    /// For each row, each feature's part in the difference to the baseline's score; null for a row that cannot be explained.
    pub rows: Vec<Option<Vec<f64>>>,
}

#[derive(serde::Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(serde::Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// Encodes the outputs that `request` asks for.
///
/// # Errors
/// 400 when it asks for an output the model does not have.
pub fn encode(
    head: &ResponseHead<'_>,
    request: &InferRequest,
    outputs: &[Tensor],
) -> Result<Encoded, Refused> {
    let chosen = choose(request, outputs)?;
    let mut binary_bytes = 0;
    let described: Vec<Output<'_>> = chosen
        .iter()
        .map(|&(tensor, binary)| {
            binary_bytes += if binary { tensor.data.len() } else { 0 };
            Output {
                name: &tensor.name,
                datatype: tensor.dtype.name(),
                shape: &tensor.shape,
                parameters: binary.then_some(BinarySize { binary_data_size: tensor.data.len() }),
                data: (!binary).then_some(Data(tensor)),
            }
        })
        .collect();
    let any_binary = chosen.iter().any(|(_, binary)| *binary);
    let head = Head {
        model_name: head.model,
        model_version: head.version,
        id: request.id.as_deref(),
        parameters: Parameters { prediction_id: head.prediction_id, attributions: head.attributions },
        outputs: described,
    };
    let mut body = Vec::with_capacity(512 + binary_bytes);
    serde_json::to_writer(&mut body, &head).expect("writing JSON to memory does not fail");
    let header_length = any_binary.then_some(body.len());
    for (tensor, _) in chosen.iter().filter(|(_, binary)| *binary) {
        body.extend_from_slice(&tensor.data);
    }
    Ok(Encoded { body, header_length })
}

/// The outputs that are asked for, in that order, and whether each goes back as binary data.
fn choose<'a>(request: &InferRequest, outputs: &'a [Tensor]) -> Result<Vec<(&'a Tensor, bool)>, Refused> {
    if request.outputs.is_empty() {
        return Ok(outputs.iter().map(|t| (t, request.binary)).collect());
    }
    let find = |w: &super::Wanted| {
        let tensor = outputs.iter().find(|t| t.name == w.name).ok_or_else(|| {
            let known: Vec<&str> = outputs.iter().map(|t| t.name.as_str()).collect();
            Refused::bad(format!("output `{}`: this model has {}", w.name, known.join(", ")))
        })?;
        Ok((tensor, w.binary.unwrap_or(request.binary)))
    };
    request.outputs.iter().map(find).collect()
}

/// A tensor as a flat JSON array. NaN and infinities, which JSON does not have, become null.
struct Data<'a>(&'a Tensor);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Tensor { dtype, data, .. } = self.0;
        let mut seq = s.serialize_seq(self.0.elements())?;
        macro_rules! each {
            ($t:ty) => {{
                for b in data.chunks_exact(size_of::<$t>()) {
                    seq.serialize_element(&<$t>::from_le_bytes(b.try_into().expect("chunks of its size")))?;
                }
            }};
        }
        match dtype {
            DType::Bool => data.iter().try_for_each(|&b| seq.serialize_element(&(b != 0)))?,
            DType::Uint8 => each!(u8),
            DType::Uint16 => each!(u16),
            DType::Uint32 => each!(u32),
            DType::Uint64 => each!(u64),
            DType::Int8 => each!(i8),
            DType::Int16 => each!(i16),
            DType::Int32 => each!(i32),
            DType::Int64 => each!(i64),
            DType::Fp32 => each!(f32),
            DType::Fp64 => each!(f64),
            DType::Fp16 => self.0.values().try_for_each(|v| seq.serialize_element(&v))?,
            DType::Bytes => self.0.strings().iter().try_for_each(|v| seq.serialize_element(v))?,
        }
        seq.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::serve::oip::parse;

    const HEAD: ResponseHead<'_> =
        ResponseHead { model: "digits", version: "1.0.0", prediction_id: "7-2a", attributions: None };

    fn request(extra: &Value) -> InferRequest {
        let mut body = json!({ "id": "mine", "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1], "data": [1] }] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        parse(body.to_string().as_bytes(), None).unwrap()
    }

    fn outputs() -> Vec<Tensor> {
        vec![
            Tensor::from_f32("scores", &[1, 2], &[0.25, f32::NAN]),
            Tensor::from_i64("class", &[1], &[-3]),
            Tensor::from_strings("label", &[1], ["zwei"]),
        ]
    }

    #[test]
    fn json_holds_everything_by_default() {
        let e = encode(&HEAD, &request(&json!({})), &outputs()).unwrap();
        assert_eq!(e.header_length, None);
        let v: Value = serde_json::from_slice(&e.body).unwrap();
        assert_eq!(
            v,
            json!({
                "model_name": "digits", "model_version": "1.0.0", "id": "mine",
                "parameters": { "prediction_id": "7-2a" },
                "outputs": [
                    { "name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.25, null] },
                    { "name": "class", "datatype": "INT64", "shape": [1], "data": [-3] },
                    { "name": "label", "datatype": "BYTES", "shape": [1], "data": ["zwei"] },
                ]
            })
        );
    }

    #[test]
    fn binary_outputs_follow_in_the_order_asked_for() {
        let asked = json!({
            "parameters": { "binary_data_output": true },
            "outputs": [{ "name": "class" }, { "name": "label", "parameters": { "binary_data": false } }, { "name": "scores" }],
        });
        let e = encode(&HEAD, &request(&asked), &outputs()).unwrap();
        let (head, rest) = e.body.split_at(e.header_length.unwrap());
        let v: Value = serde_json::from_slice(head).unwrap();
        assert_eq!(v["outputs"][0]["parameters"]["binary_data_size"], 8);
        assert_eq!(v["outputs"][1]["data"], json!(["zwei"]));
        assert_eq!(v["outputs"][2]["name"], "scores");
        let mut want = (-3i64).to_le_bytes().to_vec();
        want.extend(0.25f32.to_le_bytes());
        want.extend(f32::NAN.to_le_bytes());
        assert_eq!(rest, want);
    }

    #[test]
    fn an_unknown_output_is_named() {
        let e = encode(&HEAD, &request(&json!({ "outputs": [{ "name": "nope" }] })), &outputs()).unwrap_err();
        assert!(e.message.contains("nope") && e.message.contains("scores"), "{e}");
    }
}
