//! The list of devices: filtered and paged on the server, every view with an address of its own.

use std::collections::{BTreeMap, HashMap};

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use longshore_wire::v1::Inventory;
use serde::Deserialize;

use super::badge::{Badge, Tone};
use super::error::PageError;
use super::figures::{count, sum};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::Ago;
use crate::store::views::{Cursor, DeviceFilter, DeviceModelRow, DeviceRow, Status};

/// Devices on one page.
const PAGE: u32 = 50;

/// The address of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    model: String,
    version: Option<String>,
    after: Option<String>,
    before: Option<String>,
}

struct Line {
    id: String,
    link: String,
    serial: String,
    state: Badge,
    runs: Vec<Runs>,
    hardware: String,
    labels: Vec<String>,
    rows: String,
    seen: Option<Ago>,
}

struct Runs {
    text: String,
    link: String,
    /// Shown when the update is not at rest.
    state: Option<Badge>,
}

struct Choice {
    value: String,
    name: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "devices.html")]
struct Page {
    shell: Shell,
    asked: Asked,
    version: String,
    any: bool,
    tokens: i64,
    matching: String,
    lines: Vec<Line>,
    status: Vec<Choice>,
    models: Vec<Choice>,
    filtered: bool,
    first: Option<String>,
    previous: Option<String>,
    next: Option<String>,
}

/// `GET /devices`.
pub(super) async fn page(ctx: Ctx, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let filter = DeviceFilter {
        text: asked.q.trim().to_lowercase(),
        status: Status::parse(&asked.status),
        model: asked.model.clone(),
        version: asked.version.clone().unwrap_or_default(),
        silent_before: ctx.silent_before(),
    };
    let cursor = match (&asked.after, &asked.before) {
        (Some(id), _) => Cursor::After(id.clone()),
        (None, Some(id)) => Cursor::Before(id.clone()),
        (None, None) => Cursor::Start,
    };
    let found = store.view_devices(&filter, &cursor, PAGE).await?;
    let ids: Vec<&str> = found.devices.iter().map(|d| d.id.as_str()).collect();
    let mut runs: HashMap<String, Vec<DeviceModelRow>> = HashMap::new();
    for row in store.view_device_models(&ids).await? {
        runs.entry(row.device.clone()).or_default().push(row);
    }
    let rows: HashMap<String, i64> = store.view_device_rows(&ids).await?.into_iter().collect();
    let lines = found
        .devices
        .iter()
        .map(|device| Line {
            id: device.id.clone(),
            link: format!("/devices/{}", encode(&device.id)),
            serial: device.serial.clone(),
            state: condition(&ctx, device),
            runs: runs.get(&device.id).map_or_else(Vec::new, |r| r.iter().map(runs_line).collect()),
            hardware: inventory(device).map_or_else(String::new, |i| hardware(&i)),
            labels: labels(device),
            rows: sum(rows.get(&device.id).copied().unwrap_or(0)),
            seen: device.last_seen.map(|at| ctx.when(at).brief()),
        })
        .collect();
    let edge = |device: Option<&DeviceRow>, key: &str| device.map(|d| address(&asked, Some((key, &d.id))));
    let (first, previous) = if found.more_before {
        (Some(address(&asked, None)), edge(found.devices.first(), "before"))
    } else {
        (None, None)
    };
    let next = if found.more_after { edge(found.devices.last(), "after") } else { None };
    let counts = store.view_device_counts(ctx.now.0).await?;
    let page = Page {
        shell: ctx.shell(Section::Devices, "Devices").await?,
        version: filter.version.clone(),
        any: counts.devices > 0 || found.matching > 0,
        tokens: counts.tokens,
        matching: count(found.matching),
        lines,
        status: Status::ALL
            .into_iter()
            .map(|s| Choice {
                value: s.as_str().into(),
                name: match s {
                    Status::Any => "any".into(),
                    Status::Trouble => "update went wrong".into(),
                    Status::Quarantined => "in quarantine".into(),
                    other => other.as_str().into(),
                },
                chosen: s == filter.status,
            })
            .collect(),
        models: store
            .model_names()
            .await?
            .into_iter()
            .map(|name| Choice { chosen: name == asked.model, value: name.clone(), name })
            .collect(),
        filtered: !filter.text.is_empty() || filter.status != Status::Any || !filter.model.is_empty(),
        first,
        previous,
        next,
        asked,
    };
    html(&page)
}

/// The address of this view, moved to another page of it.
fn address(asked: &Asked, cursor: Option<(&str, &str)>) -> String {
    let mut parts = Vec::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            parts.push(format!("{key}={}", encode(value)));
        }
    };
    add("q", &asked.q);
    add("status", &asked.status);
    add("model", &asked.model);
    add("version", asked.version.as_deref().unwrap_or(""));
    if let Some((key, id)) = cursor {
        add(key, id);
    }
    if parts.is_empty() { "/devices".into() } else { format!("/devices?{}", parts.join("&")) }
}

/// Revoked, online, silent or offline.
pub(super) fn condition(ctx: &Ctx, device: &DeviceRow) -> Badge {
    let heard = u64::try_from(device.last_seen.unwrap_or(device.enrolled_at)).unwrap_or(0);
    if device.revoked_at.is_some() {
        Badge::state(device.standing())
    } else if device.online {
        Badge::state("online")
    } else if heard < ctx.silent_before() {
        Badge::state("silent")
    } else {
        Badge::new(Tone::Idle, "offline")
    }
}

fn runs_line(row: &DeviceModelRow) -> Runs {
    let version = match (row.version.as_str(), &row.active) {
        ("", Some(digest)) => super::figures::short(digest),
        ("", None) => "nothing yet".into(),
        (version, _) => version.to_owned(),
    };
    Runs {
        text: format!("{} {version}", row.model),
        link: if row.version.is_empty() {
            format!("/models/{}", encode(&row.model))
        } else {
            format!("/models/{}/{}", encode(&row.model), encode(&row.version))
        },
        state: (!matches!(row.state.as_str(), "committed" | "already" | ""))
            .then(|| Badge::state(&row.state)),
    }
}

/// The device's last inventory, if it sent one this program can read.
pub(super) fn inventory(device: &DeviceRow) -> Option<Inventory> {
    serde_json::from_str(device.inventory.as_deref()?).ok()
}

/// Architecture and board, or the processor where the board has no name.
pub(super) fn hardware(inventory: &Inventory) -> String {
    let name = if inventory.board.is_empty() { &inventory.cpu } else { &inventory.board };
    if name.is_empty() { inventory.arch.clone() } else { format!("{} · {name}", inventory.arch) }
}

/// Labels given at enrolment and in the device's configuration, as `key=value`; the latter win.
pub(super) fn labels(device: &DeviceRow) -> Vec<String> {
    let mut all: BTreeMap<String, String> = serde_json::from_str(&device.labels).unwrap_or_default();
    if let Some(inventory) = inventory(device) {
        all.extend(inventory.labels);
    }
    all.into_iter().map(|(k, v)| format!("{k}={v}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_keeps_its_filters_when_it_is_paged() {
        let asked = Asked {
            q: "site a&b".into(),
            status: "online".into(),
            version: Some("1.0.0".into()),
            model: "m".into(),
            after: Some("dropped".into()),
            ..Asked::default()
        };
        assert_eq!(
            address(&asked, Some(("after", "dev-9"))),
            "/devices?q=site%20a%26b&status=online&model=m&version=1.0.0&after=dev-9"
        );
        assert_eq!(address(&Asked::default(), None), "/devices");
    }
}
