//! The form that plans a rollout.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use longshore_fleet_core::policy;
use serde::Deserialize;

use super::error::PageError;
use super::shell::{Ctx, Section, Shell, encode, html};

/// The address of the form: what is chosen already.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    model: String,
    #[serde(default)]
    version: String,
    /// A policy that comes with the server, to start from.
    #[serde(default)]
    policy: String,
}

struct Choice {
    value: String,
    name: String,
    chosen: bool,
}

struct Shipped {
    name: &'static str,
    link: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "rollout_new.html")]
struct Page {
    shell: Shell,
    refusal: Option<String>,
    versions: Vec<Choice>,
    shipped: Vec<Shipped>,
    policy: String,
}

/// `GET /rollouts/new`.
pub(super) async fn form(ctx: Ctx, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let name = if asked.policy.is_empty() { policy::SHIPPED[0].0 } else { asked.policy.as_str() };
    let text = policy::shipped(name).unwrap_or(policy::SHIPPED[0].1).to_owned();
    show(&ctx, &asked, name, text, None).await
}

/// The form again, with what was entered and why it was refused.
pub(super) async fn refused(
    ctx: &Ctx,
    model: &str,
    version: &str,
    text: String,
    why: String,
) -> Result<Response, PageError> {
    let asked = Asked { model: model.into(), version: version.into(), policy: String::new() };
    show(ctx, &asked, "", text, Some(why)).await
}

async fn show(
    ctx: &Ctx,
    asked: &Asked,
    from: &str,
    text: String,
    refusal: Option<String>,
) -> Result<Response, PageError> {
    let approved = ctx.app.store.view_approved().await?;
    // Without a version, the newest one of the model is meant: it comes first.
    let wanted = approved.iter().position(|(model, version)| {
        *model == asked.model && (asked.version.is_empty() || *version == asked.version)
    });
    let page = Page {
        shell: ctx.shell(Section::Rollouts, "Plan").await?.still(),
        refusal,
        versions: approved
            .into_iter()
            .enumerate()
            .map(|(i, (model, version))| Choice {
                chosen: Some(i) == wanted,
                value: format!("{model}@{version}"),
                name: format!("{model} {version}"),
            })
            .collect(),
        shipped: policy::SHIPPED
            .iter()
            .map(|(name, _)| Shipped {
                name,
                link: format!(
                    "/rollouts/new?model={}&version={}&policy={}",
                    encode(&asked.model),
                    encode(&asked.version),
                    encode(name)
                ),
                chosen: *name == from,
            })
            .collect(),
        policy: text,
    };
    html(&page)
}
