//! An inference request: the JSON head, and the tensors in it or behind it.

use longshore_bundle::{DType, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::data::Flat;
use crate::serve::refusal::Refused;

/// A request whose tensors agree with what it says of them. Whether the model takes them is not checked here.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// The client's id, to be echoed.
    pub id: Option<String>,
    /// The inputs.
    pub inputs: Vec<Tensor>,
    /// The outputs asked for, in this order; empty means all.
    pub outputs: Vec<Wanted>,
    /// Whether outputs go back as binary data unless they say otherwise.
    pub binary: bool,
    /// What was true of the rows, when it is known already.
    pub labels: Vec<LabelValue>,
    /// Value of the group attribute: one for all rows, or one a row.
    pub groups: Vec<String>,
    /// Whether the answers are to be explained.
    pub explain: bool,
}

/// One output that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Whether it goes back as binary data; `None` as the request says for all.
    pub binary: Option<bool>,
}

/// A class, by its index or by its name; for a regression the true number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "a label must be the index of a class or its name, or for a regression a number"
)]
pub enum LabelValue {
    /// By index.
    Index(u32),
    /// The number itself.
    Number(f64),
    /// By name.
    Name(String),
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    parameters: Map<String, Value>,
    inputs: Vec<InputHead>,
    #[serde(default)]
    outputs: Vec<OutputHead>,
}

#[derive(Deserialize)]
struct InputHead {
    name: String,
    datatype: String,
    shape: Vec<u64>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default)]
    data: Option<Flat>,
}

#[derive(Deserialize)]
struct OutputHead {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// Longest group value, characters.
const GROUP_CHARS: usize = 64;

/// Reads a request. `header_length` is the value of `Inference-Header-Content-Length`, if the request has one.
///
/// # Errors
/// 400, naming the field.
pub fn parse(body: &[u8], header_length: Option<usize>) -> Result<InferRequest, Refused> {
    let length = header_length.unwrap_or(body.len());
    let Some((json, mut binary)) = body.split_at_checked(length) else {
        return Err(Refused::bad(format!(
            "Inference-Header-Content-Length is {length}, but the body has only {} bytes",
            body.len()
        )));
    };
    let head: Head =
        serde_json::from_slice(json).map_err(|e| Refused::bad(format!("the request is not valid: {e}")))?;
    if head.inputs.is_empty() {
        return Err(Refused::bad("inputs: there must be at least one"));
    }
    let inputs: Result<Vec<Tensor>, Refused> =
        head.inputs.into_iter().map(|i| tensor(i, &mut binary)).collect();
    let inputs = inputs?;
    if !binary.is_empty() {
        return Err(Refused::bad(format!(
            "{} bytes follow the last binary tensor; check the inputs' binary_data_size",
            binary.len()
        )));
    }
    let p = &head.parameters;
    Ok(InferRequest {
        id: head.id.map(id_text).transpose()?,
        inputs,
        outputs: head.outputs.into_iter().map(wanted).collect::<Result<_, _>>()?,
        binary: flag(p, "binary_data_output", "parameters")?.unwrap_or(false),
        labels: labels(p)?,
        groups: groups(p)?,
        explain: flag(p, "explain", "parameters")?.unwrap_or(false),
    })
}

impl InferRequest {
    /// Refuses NaN. Not when it is parsed: what a sensor sent is counted before it is refused.
    ///
    /// # Errors
    /// The input that holds it.
    pub fn without_nan(&self) -> Result<(), Refused> {
        match self.inputs.iter().find(|t| t.has_nan()) {
            None => Ok(()),
            Some(t) => Err(Refused::bad(format!(
                "input `{}`: data: holds NaN, which no model here is made for; leave the row out",
                t.name
            ))),
        }
    }
}

fn id_text(id: Value) -> Result<String, Refused> {
    match id {
        Value::String(s) => Ok(s),
        _ => Err(Refused::bad("id: must be a string")),
    }
}

fn tensor(input: InputHead, binary: &mut &[u8]) -> Result<Tensor, Refused> {
    let InputHead { name, datatype, shape, parameters, data } = input;
    let bad = |what: String| Refused::bad(format!("input `{name}`: {what}"));
    let dtype = DType::from_name(&datatype).ok_or_else(|| {
        bad(format!("datatype {datatype:?} is not one of the protocol's (FP32, INT64, ...)"))
    })?;
    if parameters.contains_key("shared_memory_region") {
        return Err(bad("shared memory is not offered; send the data in the request".into()));
    }
    let shape: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let elements = shape.as_ref().and_then(|s| s.iter().try_fold(1usize, |n, &d| n.checked_mul(d)));
    let (Some(shape), Some(elements)) = (shape, elements) else {
        return Err(bad("shape: names more elements than any memory holds".into()));
    };
    let size = match parameters.get("binary_data_size") {
        None => None,
        Some(v) => Some(
            v.as_u64()
                .ok_or_else(|| bad("parameters.binary_data_size: must be a whole number of bytes".into()))?,
        ),
    };
    let data = match (size, data) {
        (Some(_), Some(_)) => return Err(bad("has both data and parameters.binary_data_size".into())),
        (None, None) => {
            return Err(bad("has neither data nor parameters.binary_data_size".into()));
        }
        (Some(size), None) => {
            let found = binary.len();
            let split = usize::try_from(size).ok().and_then(|n| binary.split_at_checked(n));
            let (mine, rest) = split
                .ok_or_else(|| bad(format!("binary data is cut off: {size} bytes stated, {found} left")))?;
            *binary = rest;
            let expected = match dtype.size_bytes().map(|n| elements.checked_mul(n)) {
                Some(None) => return Err(bad("shape: names more bytes than any memory holds".into())),
                Some(expected) => expected,
                None => None,
            };
            if let Some(expected) = expected.filter(|e| *e != mine.len()) {
                return Err(bad(format!(
                    "parameters.binary_data_size is {size}, but {datatype} of this shape takes {expected} bytes"
                )));
            }
            mine.to_vec()
        }
        (None, Some(flat)) => {
            if flat.len() != elements {
                return Err(bad(format!("data has {} elements, its shape names {elements}", flat.len())));
            }
            flat.to_bytes(dtype).map_err(|e| bad(format!("data: {e}")))?
        }
    };
    Ok(Tensor { name: name.clone(), dtype, shape, data })
}

fn wanted(output: OutputHead) -> Result<Wanted, Refused> {
    let place = format!("output `{}`: parameters", output.name);
    for unknown in ["classification", "shared_memory_region"] {
        if output.parameters.get(unknown).is_some_and(|v| v.as_u64() != Some(0)) {
            return Err(Refused::bad(format!("{place}.{unknown}: not offered here")));
        }
    }
    let binary = flag(&output.parameters, "binary_data", &place)?;
    Ok(Wanted { name: output.name, binary })
}

fn flag(p: &Map<String, Value>, name: &str, place: &str) -> Result<Option<bool>, Refused> {
    match p.get(name) {
        None => Ok(None),
        Some(Value::Bool(b)) => Ok(Some(*b)),
        Some(_) => Err(Refused::bad(format!("{place}.{name}: must be true or false"))),
    }
}

fn labels(p: &Map<String, Value>) -> Result<Vec<LabelValue>, Refused> {
    let read =
        |v: &Value| LabelValue::deserialize(v).map_err(|e| Refused::bad(format!("parameters.label: {e}")));
    match p.get("label") {
        None => Ok(Vec::new()),
        Some(Value::Array(all)) => all.iter().map(read).collect(),
        Some(one) => Ok(vec![read(one)?]),
    }
}

fn groups(p: &Map<String, Value>) -> Result<Vec<String>, Refused> {
    let one = |value: &Value| match value {
        Value::String(s) if s.chars().count() <= GROUP_CHARS => Ok(s.clone()),
        Value::Number(n) => Ok(n.to_string()),
        _ => Err(Refused::bad(format!(
            "parameters.group: must be a string of at most {GROUP_CHARS} characters or a number, or a list of one for each row"
        ))),
    };
    match p.get("group") {
        None => Ok(Vec::new()),
        Some(Value::Array(all)) if !all.is_empty() => all.iter().map(one).collect(),
        Some(value) => one(value).map(|group| vec![group]),
    }
}

#[cfg(test)]
mod tests;
