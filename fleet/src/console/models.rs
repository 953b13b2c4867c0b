//! The catalogue, and one model with its versions and aliases.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;

use super::badge::Badge;
use super::error::PageError;
use super::figures::{count, share, short, sum};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::Ago;
use crate::store::views::{BundleLive, VersionRow};

struct Line {
    name: String,
    link: String,
    versions: String,
    waiting: i64,
    approved: String,
    devices: String,
    rows: String,
    since: Ago,
}

#[derive(Template)]
#[template(path = "models.html")]
struct Catalogue {
    shell: Shell,
    lines: Vec<Line>,
}

/// `GET /models`.
pub(super) async fn catalogue(ctx: Ctx) -> Result<Response, PageError> {
    let models = ctx.app.store.view_models().await?;
    let page = Catalogue {
        shell: ctx.shell(Section::Models, "Models").await?,
        lines: models
            .into_iter()
            .map(|m| Line {
                link: format!("/models/{}", encode(&m.name)),
                versions: sum(m.versions),
                waiting: m.waiting,
                approved: m.approved,
                devices: sum(m.devices),
                rows: sum(m.rows),
                since: ctx.when(m.created).brief(),
                name: m.name,
            })
            .collect(),
    };
    html(&page)
}

struct VersionLine {
    version: String,
    link: String,
    state: Badge,
    release: String,
    aliases: Vec<String>,
    devices: String,
    devices_link: String,
    rows: String,
    errors: String,
    accuracy: String,
    labelled: String,
    digest: String,
    published: Ago,
    can_roll_out: bool,
}

struct AliasLine {
    alias: String,
    version: String,
    since: Ago,
}

#[derive(Template)]
#[template(path = "model.html")]
struct Model {
    shell: Shell,
    name: String,
    versions: Vec<VersionLine>,
    aliases: Vec<AliasLine>,
    pointable: Vec<String>,
}

/// `GET /models/{model}`.
pub(super) async fn model(ctx: Ctx, Path(name): Path<String>) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    if !store.view_model_exists(&name).await? {
        return Err(PageError::missing("model", name, "/models"));
    }
    let versions = store.view_versions(&name).await?;
    let aliases = store.view_aliases(&name).await?;
    let live = store.view_live(&name).await?;
    let page = Model {
        shell: ctx.shell(Section::Models, &name).await?.listening("model", &name),
        pointable: versions
            .iter()
            .filter(|v| matches!(v.state.as_str(), "approved" | "deprecated"))
            .map(|v| v.version.clone())
            .collect(),
        versions: versions
            .iter()
            .map(|v| VersionLine {
                aliases: aliases.iter().filter(|a| a.version == v.version).map(|a| a.alias.clone()).collect(),
                ..version_line(&ctx, v, live.iter().find(|l| l.bundle == v.bundle))
            })
            .collect(),
        aliases: aliases
            .into_iter()
            .map(|a| AliasLine { since: ctx.when(a.changed).brief(), alias: a.alias, version: a.version })
            .collect(),
        name,
    };
    html(&page)
}

fn version_line(ctx: &Ctx, version: &VersionRow, live: Option<&BundleLive>) -> VersionLine {
    let none = BundleLive::default();
    let live = live.unwrap_or(&none);
    VersionLine {
        link: format!("/models/{}/{}", encode(&version.model), encode(&version.version)),
        state: Badge::state(&version.state),
        release: version.release_counter.map_or_else(|| "–".into(), |n| n.to_string()),
        aliases: Vec::new(),
        devices: count(live.devices),
        devices_link: format!(
            "/devices?model={}&version={}",
            encode(&version.model),
            encode(&version.version)
        ),
        rows: count(live.rows),
        errors: count(live.errors),
        accuracy: share(live.correct, live.labelled),
        labelled: count(live.labelled),
        digest: short(&version.bundle),
        published: ctx.when(version.created).brief(),
        can_roll_out: version.state == "approved",
        version: version.version.clone(),
    }
}
