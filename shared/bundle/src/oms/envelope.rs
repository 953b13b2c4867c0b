//! The Sigstore bundle around the statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use longshore_trust::dsse::pae;
use longshore_trust::tuf::parse_json;
use serde_json::{Value, json};

use super::{MAX_BUNDLE_BYTES, Model, OmsError, PrivateKey, PublicKey};

/// What a signature file says it is.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The signature file of a model.
///
/// # Errors
/// When there is no file to sign, a name cannot be signed, or the key cannot sign.
pub fn sign(model: &Model, key: &PrivateKey) -> Result<String, OmsError> {
    let statement = model.to_statement()?;
    let signature = key.sign(&pae(PAYLOAD_TYPE, &statement))?;
    let bundle = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": { "publicKey": { "hint": key.public().hint()? }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": BASE64.encode(&statement),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{ "sig": BASE64.encode(signature), "keyid": "" }],
        },
    });
    Ok(bundle.to_string())
}

/// Checks a signature file and hands out what was signed.
///
/// # Errors
/// [`OmsError`].
pub fn verify(bundle: &[u8], key: &PublicKey) -> Result<Model, OmsError> {
    if bundle.len() > MAX_BUNDLE_BYTES {
        return Err(OmsError::Malformed(format!("it is longer than {MAX_BUNDLE_BYTES} bytes")));
    }
    let bundle = parse_json(bundle).map_err(|e| OmsError::Malformed(e.to_string()))?;
    if bundle["mediaType"] != MEDIA_TYPE {
        return Err(OmsError::Malformed(format!("its media type is {}", bundle["mediaType"])));
    }
    let material = &bundle["verificationMaterial"];
    let Value::Object(public) = &material["publicKey"] else {
        return Err(OmsError::Unsupported("a signature that was not made with a plain key".into()));
    };
    // The oldest signatures carry the key itself instead; it proves nothing either way.
    if let Some(Value::String(hint)) = public.get("hint")
        && !hint.is_empty()
        && *hint != key.hint()?
    {
        return Err(OmsError::OtherKey { hint: hint.chars().take(80).collect(), expected: key.hint()? });
    }
    let envelope = &bundle["dsseEnvelope"];
    if envelope["payloadType"] != PAYLOAD_TYPE {
        return Err(OmsError::Malformed(format!("its payload type is {}", envelope["payloadType"])));
    }
    let decode = |value: &Value, what: &str| {
        let text = value.as_str().ok_or_else(|| OmsError::Malformed(format!("it has no {what}")))?;
        BASE64.decode(text).map_err(|_| OmsError::Malformed(format!("its {what} is not base64")))
    };
    let payload = decode(&envelope["payload"], "payload")?;
    let [signature] = envelope["signatures"].as_array().map_or(&[][..], Vec::as_slice) else {
        return Err(OmsError::Malformed("it does not hold exactly one signature".into()));
    };
    let signature = decode(&signature["sig"], "signature")?;
    key.verify(&pae(PAYLOAD_TYPE, &payload), &signature).or_else(|e| {
        // Signers before v1.0 signed a slip of the pen: bytes as Python prints them, under a tag of its own.
        key.verify(&slip(&payload), &signature).map_err(|_| e)
    })?;
    Model::from_statement(&payload)
}

/// What signers of the time before v1.0 signed. No document in use today can be mistaken for it: its tag is `DSSEV1`.
fn slip(payload: &[u8]) -> Vec<u8> {
    let mut shown = String::new();
    for &b in payload {
        match b {
            b'\\' => shown.push_str("\\\\"),
            b'\'' => shown.push_str("\\'"),
            b'\n' => shown.push_str("\\n"),
            b'\r' => shown.push_str("\\r"),
            b'\t' => shown.push_str("\\t"),
            0x20..=0x7e => shown.push(char::from(b)),
            _ => shown.push_str(&format!("\\x{b:02x}")),
        }
    }
    format!("DSSEV1 {} {PAYLOAD_TYPE} {} b'{shown}'", PAYLOAD_TYPE.len(), payload.len()).into_bytes()
}
