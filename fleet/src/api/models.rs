//! The catalogue: models, versions, aliases.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use longshore_bundle::Manifest;
use longshore_trust::{Digest, ModelName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::page::{Page, PageQuery};
use super::problem::{Body, Problem};
use crate::app::{App, Shared, now};
use crate::auth::Actor;
use crate::events::FleetEvent;
use crate::store::catalogue::{self, Version};
use crate::store::signature::BundleSignature;
use crate::store::{self, audit};

/// A model.
#[derive(Serialize, ToSchema)]
pub struct Model {
    /// Its name.
    name: String,
    /// When its first version came, ms.
    created: u64,
    /// Aliases and the versions they name.
    aliases: BTreeMap<String, String>,
    /// Its versions, newest upload first.
    versions: Vec<VersionSummary>,
}

/// A version in short.
#[derive(Serialize, ToSchema)]
pub struct VersionSummary {
    /// The model.
    model: String,
    /// The version.
    version: String,
    /// Digest of its manifest.
    bundle: String,
    /// `draft`, `checked`, `refused`, `approved`, `deprecated`, `retired`.
    state: String,
    /// Why it was refused, deprecated or retired.
    reason: Option<String>,
    /// Bytes of its files.
    bytes: u64,
    /// Given by `approve`.
    release_counter: Option<u64>,
    /// When it was uploaded, ms.
    created: u64,
    /// When it was approved, ms.
    approved_at: Option<u64>,
    /// Devices it serves on.
    running_on: u64,
}

/// A version.
#[derive(Serialize, ToSchema)]
pub struct VersionDetail {
    /// In short.
    #[serde(flatten)]
    summary: VersionSummary,
    /// The text of its manifest.
    manifest: String,
    /// What the check measured, or why it refused.
    check_result: Value,
    /// Devices it serves on (the first hundred).
    devices: Vec<String>,
    /// Its OpenSSF Model Signing signature, if it came with one.
    signature: Option<Signature>,
}

/// An OpenSSF Model Signing signature.
#[derive(Serialize, ToSchema)]
pub struct Signature {
    /// SHA-256 of the signature file.
    sha256: String,
    /// Hint (SHA-256 of the PEM) of the trusted key that it verified with; null when none was configured.
    key: Option<String>,
}

/// A new version, by its manifest; its files must have been uploaded before.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    /// The text of manifest.json.
    manifest: String,
    /// The text of model.sig: an OpenSSF Model Signing signature of the bundle's directory.
    signature: Option<String>,
}

/// Why a version is moved.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WhyBody {
    /// One sentence, for those who ask later; needed to retire.
    reason: String,
}

/// Longest reason, characters.
const REASON: usize = 500;

/// Where an alias points.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasTarget {
    /// The version.
    version: String,
}

fn model_name(text: &str) -> Result<ModelName, Problem> {
    text.parse().map_err(|e: longshore_trust::IdError| Problem::invalid("model.name", e.to_string()))
}

async fn summary(app: &App, v: &Version) -> Result<(VersionSummary, Vec<String>), Problem> {
    let (running_on, devices) = app.store.running_on(&v.bundle).await?;
    let result: Value =
        v.check_result.as_deref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null);
    let summary = VersionSummary {
        model: v.model.to_string(),
        version: v.version.clone(),
        bundle: v.bundle.to_hex(),
        state: v.state.clone(),
        reason: match v.state_reason.as_str() {
            "" => result["error"].as_str().map(str::to_owned),
            why => Some(why.to_owned()),
        },
        bytes: v.bytes,
        release_counter: v.release_counter.map(|c| c.0),
        created: v.created.0,
        approved_at: v.approved_at.map(|t| t.0),
        running_on,
    };
    Ok((summary, devices))
}

async fn detail(app: &App, v: Version) -> Result<VersionDetail, Problem> {
    let (summary, devices) = summary(app, &v).await?;
    let check_result =
        v.check_result.as_deref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null);
    let signature = app.store.bundle_signature(&v.bundle).await?;
    let signature = signature.map(|s| Signature { sha256: s.object.to_hex(), key: s.key });
    Ok(VersionDetail { summary, manifest: v.manifest, check_result, devices, signature })
}

async fn whole(app: &App, m: catalogue::Model) -> Result<Model, Problem> {
    let mut versions = Vec::new();
    for v in app.store.versions(m.name.as_str()).await? {
        versions.push(summary(app, &v).await?.0);
    }
    Ok(Model {
        name: m.name.to_string(),
        created: m.created.0,
        aliases: m.aliases.into_iter().collect(),
        versions,
    })
}

/// Models by name, with their versions.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", params(PageQuery),
    responses((status = 200, body = Page<Model>), (status = 401, body = Problem)))]
pub async fn list(
    State(app): State<Shared>,
    _: Actor,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Model>>, Problem> {
    let limit = page.limit();
    let found = app.store.models(page.cursor.as_deref().unwrap_or(""), limit + 1).await?;
    let mut items = Vec::new();
    for m in found {
        items.push(whole(&app, m).await?);
    }
    Ok(Json(Page::of(items, limit, |m| m.name.clone())))
}

/// One model.
#[utoipa::path(get, path = "/api/v1/models/{model}", tag = "models", params(("model" = String, Path)),
    responses((status = 200, body = Model), (status = 404, body = Problem)))]
pub async fn show(
    State(app): State<Shared>,
    _: Actor,
    Path(model): Path<String>,
) -> Result<Json<Model>, Problem> {
    let name = model_name(&model)?;
    match app.store.model(&name).await? {
        Some(m) => Ok(Json(whole(&app, m).await?)),
        None => Err(unknown_model(&name)),
    }
}

fn unknown_model(name: &ModelName) -> Problem {
    Problem::not_found(
        "model.unknown",
        format!("there is no model {name}: `longshore publish DIR` brings the first version"),
    )
}

/// Versions of a model, newest upload first.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions", tag = "models", params(("model" = String, Path)),
    responses((status = 200, body = Page<VersionSummary>), (status = 404, body = Problem)))]
pub async fn versions(
    State(app): State<Shared>,
    _: Actor,
    Path(model): Path<String>,
) -> Result<Json<Page<VersionSummary>>, Problem> {
    let name = model_name(&model)?;
    match app.store.model(&name).await? {
        Some(m) => Ok(Json(Page { items: whole(&app, m).await?.versions, next: None })),
        None => Err(unknown_model(&name)),
    }
}

pub(super) async fn find(app: &App, model: &str, version: &str) -> Result<Version, Problem> {
    let name = model_name(model)?;
    let number = app.store.alias(&name, version).await?.unwrap_or_else(|| version.to_owned());
    let found = app.store.version(model, &number).await?;
    found.ok_or_else(|| {
        let shown: String = number.chars().take(80).collect();
        Problem::not_found("version.unknown", format!("{name} has no version (or alias) {shown:?}"))
    })
}

/// One version; an alias is as good as its number.
#[utoipa::path(get, path = "/api/v1/models/{model}/versions/{version}", tag = "models",
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = VersionDetail), (status = 404, body = Problem)))]
pub async fn version(
    State(app): State<Shared>,
    _: Actor,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<VersionDetail>, Problem> {
    let found = find(&app, &model, &version).await?;
    Ok(Json(detail(&app, found).await?))
}

/// Adds a version as a draft; it is checked in the background. Adding the same one again is harmless.
#[utoipa::path(post, path = "/api/v1/models/{model}/versions", request_body = NewVersion, tag = "models",
    params(("model" = String, Path)),
    responses((status = 202, body = VersionDetail), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(app): State<Shared>,
    actor: Actor,
    Path(model): Path<String>,
    Body(new): Body<NewVersion>,
) -> Result<(StatusCode, Json<VersionDetail>), Problem> {
    let name = model_name(&model)?;
    let manifest = Manifest::parse(new.manifest.as_bytes())
        .map_err(|e| Problem::invalid(e.reason.code(), e.to_string()))?;
    if manifest.model != name {
        let text = format!("the manifest is of model {}, not of {name}", manifest.model);
        return Err(Problem::invalid("bundle.other_model", text));
    }
    let missing: Vec<String> = manifest
        .files
        .iter()
        .filter(|f| !app.objects.contains(&f.sha256))
        .map(|f| format!("{} (SHA-256 {})", f.path.as_str(), f.sha256))
        .collect();
    if !missing.is_empty() {
        let mut problem = Problem::invalid(
            "bundle.missing_file",
            "files of the manifest have not been uploaded: PUT them to /api/v1/objects/<sha256> first",
        );
        problem.errors = missing;
        return Err(problem);
    }
    let bundle = Manifest::digest(new.manifest.as_bytes());
    let signed_by = super::signature::check(&app.config.oms, new.signature.as_deref(), &manifest, &bundle)?;
    let signature = match &new.signature {
        None => None,
        Some(text) => {
            let object = app.objects.put(text.as_bytes()).await.map_err(|e| Problem::internal(&e))?;
            Some(BundleSignature { object, key: signed_by })
        }
    };
    // Devices and operators fetch the manifest like every other file.
    let bundle = app.objects.put(new.manifest.as_bytes()).await.map_err(|e| Problem::internal(&e))?;
    let version = manifest.version.to_string();
    add(&app, &actor.name, &manifest, &version, &bundle, &new.manifest, signature.as_ref()).await?;
    let found = find(&app, &model, &version).await?;
    Ok((StatusCode::ACCEPTED, Json(detail(&app, found).await?)))
}

async fn add(
    app: &App,
    actor: &str,
    manifest: &Manifest,
    version: &str,
    bundle: &Digest,
    text: &str,
    signature: Option<&BundleSignature>,
) -> Result<(), Problem> {
    let (now, name) = (now(), &manifest.model);
    let mut tx = app.store.write().await?;
    match catalogue::version(&mut tx, name, version).await? {
        Some(known) if known.bundle == *bundle => {
            if known.state == "refused" {
                catalogue::check_again(&mut tx, bundle, now).await?;
                audit::record(&mut tx, now, actor, "version.check_again", &format!("{name}@{version}"), "")
                    .await?;
            }
        }
        Some(known) if known.state == "refused" || known.state == "draft" || known.state == "checked" => {
            // Nobody has approved it: what was uploaded last counts.
            catalogue::delete_unapproved(&mut tx, name, version).await?;
            catalogue::insert_draft(&mut tx, name, version, bundle, text, manifest.total_bytes(), now)
                .await?;
            let detail = format!("bundle {bundle} in place of {}", known.bundle);
            audit::record(&mut tx, now, actor, "version.replace", &format!("{name}@{version}"), &detail)
                .await?;
        }
        Some(known) => {
            return Err(Problem::conflict(
                "version.exists",
                format!(
                    "{name}@{version} is {} with other content: give the new bundle a new version",
                    known.state
                ),
            ));
        }
        None => {
            catalogue::insert_draft(&mut tx, name, version, bundle, text, manifest.total_bytes(), now)
                .await?;
            let detail = format!("bundle {bundle}");
            audit::record(&mut tx, now, actor, "version.create", &format!("{name}@{version}"), &detail)
                .await?;
        }
    }
    crate::monitor::store_shape(&mut tx, &app.objects, bundle, manifest).await?;
    if let Some(signature) = signature {
        store::signature::put(&mut tx, bundle, signature, now).await?;
        let by = signature.key.as_deref().unwrap_or("a key that this fleet does not know");
        let detail = format!("{} by {by}", signature.object);
        audit::record(&mut tx, now, actor, "version.signature", &format!("{name}@{version}"), &detail)
            .await?;
    }
    tx.commit().await?;
    app.events.publish(FleetEvent::Model(name.clone()));
    Ok(())
}

async fn move_to(
    app: &App,
    actor: &Actor,
    (model, version): (String, String),
    from: &[&str],
    to: &str,
    why: &WhyBody,
    hint: &str,
) -> Result<Json<VersionDetail>, Problem> {
    let reason = why.reason.trim();
    if reason.chars().count() > REASON {
        return Err(Problem::invalid("version.reason", format!("a reason has at most {REASON} characters")));
    }
    let v = find(app, &model, &version).await?;
    if v.state != to {
        let now = now();
        let mut tx = app.store.write().await?;
        if !catalogue::move_version(&mut tx, &v.model, &v.version, from, to, reason, now).await? {
            let text = format!("{}@{} is {}: {hint}", v.model, v.version, v.state);
            return Err(Problem::conflict("version.state", text));
        }
        let object = format!("{}@{}", v.model, v.version);
        audit::record(&mut tx, now, &actor.name, &format!("version.{to}"), &object, reason).await?;
        tx.commit().await?;
        app.events.publish(FleetEvent::Model(v.model.clone()));
    }
    let after = find(app, &model, &v.version).await?;
    Ok(Json(detail(app, after).await?))
}

/// Marks a version as one to move away from.
#[utoipa::path(post, path = "/api/v1/models/{model}/versions/{version}/deprecate", tag = "models", request_body = WhyBody,
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = VersionDetail), (status = 409, body = Problem)))]
pub async fn deprecate(
    State(app): State<Shared>,
    actor: Actor,
    Path(path): Path<(String, String)>,
    Body(why): Body<WhyBody>,
) -> Result<Json<VersionDetail>, Problem> {
    let hint = "only an approved version can be deprecated";
    move_to(&app, &actor, path, &["approved"], "deprecated", &why, hint).await
}

/// Refuses a version in new plans, for a reason; where it runs, it goes on.
#[utoipa::path(post, path = "/api/v1/models/{model}/versions/{version}/retire", tag = "models", request_body = WhyBody,
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = VersionDetail), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn retire(
    State(app): State<Shared>,
    actor: Actor,
    Path(path): Path<(String, String)>,
    Body(why): Body<WhyBody>,
) -> Result<Json<VersionDetail>, Problem> {
    if why.reason.trim().is_empty() {
        let text = "say why it is retired: whoever plans it later is told so";
        return Err(Problem::invalid("version.reason", text));
    }
    let from = ["checked", "approved", "deprecated"];
    let hint = "only a version that was checked can be retired";
    move_to(&app, &actor, path, &from, "retired", &why, hint).await
}

/// Lets an alias (`champion`, `candidate`, …) name a version.
#[utoipa::path(put, path = "/api/v1/models/{model}/aliases/{alias}", request_body = AliasTarget, tag = "models",
    params(("model" = String, Path), ("alias" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn alias(
    State(app): State<Shared>,
    actor: Actor,
    Path((model, alias)): Path<(String, String)>,
    Body(target): Body<AliasTarget>,
) -> Result<Json<Value>, Problem> {
    // An alias that looks like a version could hide one.
    if alias.parse::<ModelName>().is_err() || alias.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Problem::invalid(
            "alias.name",
            "an alias is 1 to 64 of a-z, 0-9, '-' and '_', and starts with a letter",
        ));
    }
    let name = model_name(&model)?;
    let v = app.store.version(&model, &target.version).await?.ok_or_else(|| {
        Problem::not_found("version.unknown", format!("{name} has no version {:?}", target.version))
    })?;
    if !["approved", "deprecated"].contains(&v.state.as_str()) {
        return Err(Problem::conflict(
            "version.state",
            format!("{name}@{} is {}: an alias names an approved version", v.version, v.state),
        ));
    }
    let now = now();
    let mut tx = app.store.write().await?;
    let before = catalogue::set_alias(&mut tx, &name, &alias, &v.version, now).await?;
    let detail = format!("{} -> {}", before.as_deref().unwrap_or("-"), v.version);
    audit::record(&mut tx, now, &actor.name, "alias.move", &format!("{name}:{alias}"), &detail).await?;
    tx.commit().await?;
    app.events.publish(FleetEvent::Model(name.clone()));
    Ok(Json(serde_json::json!({ "model": name, "alias": alias, "version": v.version, "before": before })))
}
