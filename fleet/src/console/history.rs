//! What ran where, at any past moment.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use longshore_trust::{DeviceId, UnixMs};
use serde::Deserialize;

use super::bar::{Bar, Part, series};
use super::error::PageError;
use super::figures::{short, sum};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::{When, iso};
use crate::api::history::moment;
use crate::store::history::{Ran, RanCount};

/// Lines on one page.
const PAGE: u32 = 50;

/// The address of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    /// As the browser's field has it, UTC: `2026-01-31T12:00`.
    #[serde(default)]
    at: String,
    #[serde(default)]
    device: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    version: String,
    after: Option<String>,
    /// Time and number of the last line of a device's history.
    before: Option<String>,
}

impl Asked {
    /// The moment that was asked for; `Err` when it is none.
    fn moment(&self) -> Result<Option<UnixMs>, ()> {
        let text = self.at.trim();
        if text.is_empty() {
            return Ok(None);
        }
        utc(text).map(Some).ok_or(())
    }
    /// The address of this view with another cursor.
    fn address(&self, cursor: Option<(&str, &str)>) -> String {
        let given =
            [("at", &self.at), ("device", &self.device), ("model", &self.model), ("version", &self.version)];
        let mut parts: Vec<String> = given
            .into_iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(k, v)| format!("{k}={}", encode(v)))
            .collect();
        parts.extend(cursor.map(|(k, v)| format!("{k}={}", encode(v))));
        format!("/history?{}", parts.join("&"))
    }
}

/// A moment as the browser's field or the API writes it.
pub(super) fn utc(text: &str) -> Option<UnixMs> {
    let with = |end: &str| moment(&format!("{text}{end}"));
    moment(text).or_else(|| with("Z")).or_else(|| with(":00Z"))
}

struct Line {
    device: String,
    device_link: String,
    model: String,
    version: String,
    link: Option<String>,
    since: When,
    until: Option<When>,
    by_fleet: bool,
    rollout: Option<String>,
}

struct Share {
    class: &'static str,
    name: String,
    devices: String,
    link: Option<String>,
}

struct Choice {
    value: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "history.html")]
struct Page {
    shell: Shell,
    asked: Asked,
    wrong: bool,
    models: Vec<Choice>,
    versions: Vec<Choice>,
    /// The moment, in words; empty for the whole history of a device.
    at: String,
    title: String,
    bar: Bar,
    shares: Vec<Share>,
    lines: Vec<Line>,
    paged: bool,
    first: String,
    next: Option<String>,
}

/// `GET /history`.
pub(super) async fn page(ctx: Ctx, Query(mut asked): Query<Asked>) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let names: Vec<String> = store.model_names().await?;
    asked.device = asked.device.trim().to_owned();
    if asked.device.is_empty() && asked.model.is_empty() {
        asked.model = names.first().cloned().unwrap_or_default();
    }
    let (at, wrong) = match asked.moment() {
        Ok(at) => (at, false),
        Err(()) => (None, true),
    };
    let found = if !asked.device.is_empty() {
        of_device(&ctx, &asked, at).await?
    } else {
        of_model(&ctx, &asked, at.unwrap_or(ctx.now)).await?
    };
    let versions =
        if asked.model.is_empty() { Vec::new() } else { store.view_versions(&asked.model).await? };
    let page = Page {
        shell: ctx.shell(Section::Rollouts, "History").await?.still(),
        wrong,
        models: names.into_iter().map(|n| Choice { chosen: n == asked.model, value: n }).collect(),
        versions: versions
            .into_iter()
            .map(|v| Choice { chosen: v.version == asked.version, value: v.version })
            .collect(),
        at: at.map_or_else(String::new, iso),
        title: if asked.device.is_empty() { asked.model.clone() } else { asked.device.clone() },
        bar: Bar {
            parts: found
                .counts
                .iter()
                .enumerate()
                .map(|(i, c)| Part {
                    class: series(i),
                    name: version_of(&c.version, &c.bundle),
                    value: u64::try_from(c.devices).unwrap_or(0),
                })
                .collect(),
        },
        shares: found.counts.iter().enumerate().map(|(i, c)| share(&asked, i, c)).collect(),
        lines: found.lines.into_iter().map(|r| line(&ctx, r)).collect(),
        paged: asked.after.is_some() || asked.before.is_some(),
        first: asked.address(None),
        next: found.next,
        asked,
    };
    html(&page)
}

#[derive(Default)]
struct Found {
    counts: Vec<RanCount>,
    lines: Vec<Ran>,
    next: Option<String>,
}

async fn of_device(ctx: &Ctx, asked: &Asked, at: Option<UnixMs>) -> Result<Found, PageError> {
    let store = &ctx.app.store;
    let missing = || PageError::missing("device", asked.device.clone(), "/history");
    let id: DeviceId = asked.device.parse().map_err(|_| missing())?;
    if store.view_device(&asked.device).await?.is_none() {
        return Err(missing());
    }
    if let Some(at) = at {
        return Ok(Found { lines: store.ran_on(&id, at).await?, ..Found::default() });
    }
    let before = asked.before.as_deref().and_then(|b| b.split_once('.'));
    let before = before.and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
    let mut lines = store.ran_ever_on(&id, before, PAGE + 1).await?;
    let more = lines.len() > PAGE as usize;
    lines.truncate(PAGE as usize);
    let next = lines.last().filter(|_| more).map(|r| {
        let cursor = format!("{}.{}", r.since, r.id);
        asked.address(Some(("before", &cursor)))
    });
    Ok(Found { lines, next, ..Found::default() })
}

async fn of_model(ctx: &Ctx, asked: &Asked, at: UnixMs) -> Result<Found, PageError> {
    let store = &ctx.app.store;
    if asked.model.is_empty() {
        return Ok(Found::default());
    }
    let bundle = match asked.version.as_str() {
        "" => None,
        version => match store.view_version(&asked.model, version).await? {
            Some(v) => Some(v.bundle),
            None => {
                return Err(PageError::missing("version", format!("{} {version}", asked.model), "/history"));
            }
        },
    };
    let counts = store.ran_counts(&asked.model, at).await?;
    // Nobody ran it then: what the count by the minute cannot say, the lines could only say at length.
    let none = bundle.as_ref().is_some_and(|b| !counts.iter().any(|c| c.bundle == *b));
    if none {
        return Ok(Found { counts, ..Found::default() });
    }
    let after = asked.after.as_deref().unwrap_or("");
    let mut lines = store.ran_where(&asked.model, bundle.as_deref(), at, after, PAGE + 1).await?;
    let more = lines.len() > PAGE as usize;
    lines.truncate(PAGE as usize);
    let next = lines.last().filter(|_| more).map(|r| asked.address(Some(("after", &r.device))));
    Ok(Found { counts, lines, next })
}

fn version_of(version: &str, bundle: &str) -> String {
    match (version, bundle) {
        ("", "") => "nothing".into(),
        ("", bundle) => short(bundle),
        (version, _) => version.to_owned(),
    }
}

fn share(asked: &Asked, i: usize, c: &RanCount) -> Share {
    let only = Asked { version: c.version.clone(), after: None, before: None, ..asked.clone() };
    Share {
        class: series(i),
        name: version_of(&c.version, &c.bundle),
        devices: sum(c.devices),
        link: (!c.version.is_empty()).then(|| only.address(None)),
    }
}

fn line(ctx: &Ctx, r: Ran) -> Line {
    Line {
        device_link: format!("/history?device={}", encode(&r.device)),
        link: (!r.version.is_empty()).then(|| format!("/models/{}/{}", encode(&r.model), encode(&r.version))),
        version: version_of(&r.version, &r.bundle),
        since: ctx.when(r.since),
        until: r.until.map(|at| ctx.when(at)),
        by_fleet: r.clock == "fleet",
        device: r.device,
        model: r.model,
        rollout: r.rollout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_taken_as_the_browser_and_as_the_api_write_it() {
        let at = |text: &str| Asked { at: text.into(), ..Asked::default() }.moment();
        let noon = Ok(Some(UnixMs(1_769_860_800_000)));
        for text in ["2026-01-31T12:00", "2026-01-31T12:00:00", "2026-01-31T12:00:00Z", "1769860800000"] {
            assert_eq!(at(text), noon, "{text}");
        }
        assert_eq!((at(""), at("yesterday")), (Ok(None), Err(())));
    }
}
