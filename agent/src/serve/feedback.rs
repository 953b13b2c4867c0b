//! Labels: what the truth was. They change a model's measured accuracy, and with it the fate of a rollout, so they come
//! over the unix socket (whose permissions decide) or with a token.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use longshore_trust::Digest;
use serde::Deserialize;

use super::Service;
use super::oip::LabelValue;
use super::refusal::Refused;
use crate::engine::protocol::{Label, Query, Truth};
use crate::page::PredictionId;

/// Labels in one request.
const LABELS_MAX: usize = 1000;
/// Longest body.
const BODY_BYTES: u64 = 512 * 1024;

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The unix socket: whoever may connect may label.
    Unix,
    /// TCP: a token is needed.
    Tcp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    prediction_id: String,
    #[serde(default)]
    row: u32,
    label: LabelValue,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "feedback must be {\"prediction_id\", \"row\", \"label\"} or a list of them")]
enum Entries {
    Many(Vec<Entry>),
    One(Entry),
}

/// Whether labels are taken from this request.
///
/// # Errors
/// 401 without the right token, 403 when no token is configured.
pub fn allowed(service: &Service, origin: Origin, headers: &HeaderMap) -> Result<(), Refused> {
    if origin == Origin::Unix {
        return Ok(());
    }
    let Some(wanted) = service.feedback_token else {
        let text = "labels over TCP are off: configure a feedback token, or use the unix socket";
        return Err(Refused::with(StatusCode::FORBIDDEN, text));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let given = given.and_then(|v| v.strip_prefix("Bearer ")).map(|t| Digest::of(t.as_bytes()));
    // Digests are compared, so the time it takes tells nothing about the token.
    if given == Some(wanted) {
        Ok(())
    } else {
        let text = "labels over TCP need the feedback token: Authorization: Bearer <token>";
        Err(Refused::with(StatusCode::UNAUTHORIZED, text))
    }
}

/// `POST /longshore/v1/feedback`.
///
/// # Errors
/// 4xx naming the field, or that the supervisor did not answer.
pub async fn feedback(
    service: &Service,
    origin: Origin,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    // A body that is left unread costs the client its connection, and often the answer.
    let body = service.bounds.read(headers, body, BODY_BYTES).await;
    allowed(service, origin, headers)?;
    let held = body?;
    let (labels, unknown) = read(&held.bytes, |id| service.models.classes_of(id.load))?;
    let mut sum = match labels.is_empty() {
        true => serde_json::json!({ "joined": 0, "unknown": 0, "repeated": 0 }),
        false => ask(service, labels).await?,
    };
    let forwarded = sum.get("unknown").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if let Some(object) = sum.as_object_mut() {
        object.insert("unknown".to_owned(), (forwarded + unknown).into());
    }
    Ok(axum::Json(sum).into_response())
}

/// Hands labels to the supervisor; answers how many it joined.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn join(service: &Service, labels: Vec<Label>) -> Result<u64, Refused> {
    let mut joined = 0;
    let mut labels = labels;
    while !labels.is_empty() {
        let rest = labels.split_off(labels.len().min(LABELS_MAX));
        let sum = ask(service, std::mem::replace(&mut labels, rest)).await?;
        joined += sum.get("joined").and_then(serde_json::Value::as_u64).unwrap_or(0);
    }
    Ok(joined)
}

async fn ask(service: &Service, labels: Vec<Label>) -> Result<serde_json::Value, Refused> {
    let reply = service.queries.ask(Query::Feedback(labels)).await?;
    let body = serde_json::from_slice(&reply.body)
        .map_err(|_| Refused::with(StatusCode::BAD_GATEWAY, "the supervisor's answer is not JSON"))?;
    match StatusCode::from_u16(reply.status) {
        Ok(status) if status.is_success() => Ok(body),
        status => {
            let text =
                body.get("error").and_then(|e| e.as_str()).unwrap_or("the labels were refused").to_owned();
            Err(Refused::with(status.unwrap_or(StatusCode::BAD_GATEWAY), text))
        }
    }
}

/// The labels of a body, and how many name a class of a load whose classes are not known any more.
fn read(
    body: &[u8],
    classes_of: impl Fn(PredictionId) -> Option<Vec<String>>,
) -> Result<(Vec<Label>, u64), Refused> {
    let entries = match serde_json::from_slice(body).map_err(|e| Refused::bad(format!("feedback: {e}")))? {
        Entries::Many(all) => all,
        Entries::One(one) => vec![one],
    };
    if entries.len() > LABELS_MAX {
        return Err(Refused::bad(format!(
            "feedback: {} labels, at most {LABELS_MAX} in one request",
            entries.len()
        )));
    }
    let (mut labels, mut unknown) = (Vec::with_capacity(entries.len()), 0);
    for (i, entry) in entries.into_iter().enumerate() {
        let id: PredictionId = entry
            .prediction_id
            .parse()
            .map_err(|e| Refused::bad(format!("feedback[{i}].prediction_id: {e}")))?;
        let truth = match (&entry.label, classes_of(id)) {
            (label, Some(classes)) => truth(label, &classes, &format!("feedback[{i}].label"))?,
            (LabelValue::Index(class), None) => Truth::Class(*class),
            (LabelValue::Number(number), None) => Truth::Number(*number),
            (LabelValue::Name(_), None) => {
                unknown += 1;
                continue;
            }
        };
        labels.push(Label { prediction_id: entry.prediction_id, row: entry.row, truth });
    }
    Ok((labels, unknown))
}

/// What a label says: the index of a class that is given by index or name, or for a bundle without classes a number.
///
/// # Errors
/// 400 when there is no such class.
pub fn truth(label: &LabelValue, classes: &[String], field: &str) -> Result<Truth, Refused> {
    let found = match label {
        LabelValue::Index(i) if classes.is_empty() => Some(Truth::Number(f64::from(*i))),
        LabelValue::Index(i) => ((*i as usize) < classes.len()).then_some(Truth::Class(*i)),
        LabelValue::Number(number) => classes.is_empty().then_some(Truth::Number(*number)),
        LabelValue::Name(name) => {
            classes.iter().position(|c| c == name).and_then(|i| u32::try_from(i).ok()).map(Truth::Class)
        }
    };
    found.ok_or_else(|| {
        let label = match label {
            LabelValue::Index(i) => i.to_string(),
            LabelValue::Number(n) => n.to_string(),
            LabelValue::Name(n) => format!("{:?}", n.chars().take(80).collect::<String>()),
        };
        Refused::bad(format!("{field}: {label} is no class of this model, which has {}", classes.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::protocol::LoadId;

    fn classes(id: PredictionId) -> Option<Vec<String>> {
        (id.load == LoadId(1)).then(|| vec!["zero".to_owned(), "one".to_owned()])
    }

    #[test]
    fn one_label_or_a_list_by_index_or_name() {
        let one = br#"{"prediction_id":"1-a","row":2,"label":"one"}"#;
        let want = Label { prediction_id: "1-a".into(), row: 2, truth: Truth::Class(1) };
        assert_eq!(read(one, classes).unwrap(), (vec![want], 0));
        let many = br#"[{"prediction_id":"1-a","label":0},{"prediction_id":"2-a","label":9},{"prediction_id":"2-a","label":"x"}]"#;
        let (labels, unknown) = read(many, classes).unwrap();
        assert_eq!(labels.iter().map(|l| l.truth).collect::<Vec<_>>(), [Truth::Class(0), Truth::Class(9)]);
        assert_eq!(unknown, 1, "a name of a load that is not known cannot be looked up");
        assert_eq!(read(b"[]", classes).unwrap(), (vec![], 0));
    }

    #[test]
    fn a_regression_takes_numbers() {
        let body = br#"[{"prediction_id":"1-a","label":-2.5},{"prediction_id":"1-a","label":3}]"#;
        let truths = |classes: Option<Vec<String>>| -> Vec<Truth> {
            read(body, |_| classes.clone()).unwrap().0.iter().map(|l| l.truth).collect()
        };
        assert_eq!(truths(Some(vec![])), [Truth::Number(-2.5), Truth::Number(3.0)]);
        // Whether a load that has gone was a regression, the supervisor knows.
        assert_eq!(truths(None), [Truth::Number(-2.5), Truth::Class(3)]);
    }

    #[test]
    fn bad_labels_are_named() {
        for (body, want) in [
            (r#"{"prediction_id":"x","label":0}"#, "feedback[0].prediction_id"),
            (r#"[{"prediction_id":"1-1","label":0},{"prediction_id":"1-1","label":2}]"#, "feedback[1].label"),
            (r#"{"prediction_id":"1-1","label":"three"}"#, "three"),
            (r#"{"prediction_id":"1-1","label":0.5}"#, "feedback[0].label"),
            (r#"{"prediction_id":"1-1","label":true}"#, "feedback"),
            (r#"{"prediction_id":"1-1"}"#, "feedback"),
            (r#"{"prediction_id":"1-1","label":0,"row":-1}"#, "feedback"),
            ("[", "feedback"),
        ] {
            let e = read(body.as_bytes(), classes).unwrap_err();
            assert!(e.message.contains(want), "{body}: {e}");
        }
        let many = format!("[{}]", vec![r#"{"prediction_id":"1-1","label":0}"#; LABELS_MAX + 1].join(","));
        assert!(read(many.as_bytes(), classes).unwrap_err().message.contains("at most"));
    }
}
