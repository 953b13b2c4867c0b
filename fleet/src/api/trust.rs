//! Trust metadata that offline keys signed: submitted here, served under `/trust`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::{Body, Problem};
use crate::app::{Shared, now};
use crate::auth::Actor;
use crate::trust_repo::{Submitted, TrustRepoError};

/// Signed metadata.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// `root`, `targets` or `models/<name>`.
    role: String,
    /// The signed bytes, base64.
    metadata: String,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub struct Outcome {
    /// `published` or `pending` (it waits for more signatures).
    state: &'static str,
    /// Its version.
    version: u64,
    /// Distinct valid signatures.
    signatures: usize,
    /// How many are needed.
    threshold: u32,
}

/// Submits metadata; it is published once a threshold of the right offline keys has signed it.
#[utoipa::path(post, path = "/api/v1/trust/metadata", request_body = Submission, tag = "trust",
    responses((status = 200, body = Outcome), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn submit(
    State(app): State<Shared>,
    actor: Actor,
    Body(submission): Body<Submission>,
) -> Result<Json<Outcome>, Problem> {
    let bytes = submission.bytes()?;
    let submitted = app.trust.submit(&actor.name, &submission.role, &bytes, now()).await.map_err(problem)?;
    let outcome = match submitted {
        Submitted::Published { version, signatures, threshold } => {
            Outcome { state: "published", version, signatures, threshold }
        }
        Submitted::Pending { version, signatures, threshold } => {
            Outcome { state: "pending", version, signatures, threshold }
        }
    };
    Ok(Json(outcome))
}

/// Documents of a key ceremony: published together, or none of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ceremony {
    /// At most one of each role.
    documents: Vec<Submission>,
}

/// What is published now.
#[derive(Serialize, ToSchema)]
pub struct CeremonyOutcome {
    /// Every role of the ceremony.
    published: Vec<RoleVersion>,
}

/// A role and its version.
#[derive(Serialize, ToSchema)]
pub struct RoleVersion {
    /// `root`, `targets` or `models/<name>`.
    role: String,
    /// Its version.
    version: u64,
}

/// Publishes what a key ceremony has signed, in one step: new keys and all metadata that they sign anew.
#[utoipa::path(post, path = "/api/v1/trust/ceremony", request_body = Ceremony, tag = "trust",
    responses((status = 200, body = CeremonyOutcome), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn ceremony(
    State(app): State<Shared>,
    actor: Actor,
    Body(ceremony): Body<Ceremony>,
) -> Result<Json<CeremonyOutcome>, Problem> {
    let mut documents = BTreeMap::new();
    for submission in ceremony.documents {
        let bytes = submission.bytes()?;
        if documents.insert(submission.role.clone(), bytes).is_some() {
            let why = format!("role {:?} is in the ceremony twice", submission.role);
            return Err(Problem::invalid("trust.twice", why));
        }
    }
    let published = app.trust.submit_together(&documents, &actor.name, now()).await.map_err(problem)?;
    let published = published.into_iter().map(|(role, version)| RoleVersion { role, version }).collect();
    Ok(Json(CeremonyOutcome { published }))
}

impl Submission {
    fn bytes(&self) -> Result<Vec<u8>, Problem> {
        base64::engine::general_purpose::STANDARD
            .decode(&self.metadata)
            .map_err(|e| Problem::invalid("trust.base64", format!("`metadata` is not base64: {e}")))
    }
}

fn problem(e: TrustRepoError) -> Problem {
    match e {
        TrustRepoError::Store(e) => e.into(),
        TrustRepoError::Version { .. } => Problem::conflict(e.code(), e.to_string()),
        _ => Problem::invalid(e.code(), e.to_string()),
    }
}

/// Metadata that waits for more signatures, as bytes.
#[utoipa::path(get, path = "/api/v1/trust/pending/{role}", tag = "trust",
    params(("role" = String, Path, description = "e.g. models/meter-digits")),
    responses((status = 200, content_type = "application/json"), (status = 404, body = Problem)))]
pub async fn pending(
    State(app): State<Shared>,
    _: Actor,
    Path(role): Path<String>,
) -> Result<Response, Problem> {
    match app.trust.pending(&role).await? {
        Some(bytes) => Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response()),
        None => {
            let shown: String = role.chars().take(80).collect();
            Err(Problem::not_found(
                "trust.nothing_pending",
                format!("nothing of role {shown:?} waits for signatures"),
            ))
        }
    }
}
