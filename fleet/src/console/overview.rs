//! The first page: what needs me now, and how the fleet is.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;

use super::alerts;
use super::badge::{Badge, Tone};
use super::bar::{Bar, Part, series};
use super::error::PageError;
use super::figures::{devices, share, sum};
use super::shell::{Ctx, Section, Shell, encode, html};
use super::time::{Ago, span};
use crate::store::alert::Filter;
use crate::store::views::{Metadata, RolloutRow, Totals, VersionCount};
use crate::trust_repo::SOON_MS;

/// Alerts that are named on the page; the inbox has all.
const ALERTS: u32 = 10;

/// One thing that waits for a person.
struct Need {
    badge: Badge,
    link: String,
    what: String,
    todo: String,
}

/// One model, and which of its versions runs on how many devices.
struct Running {
    model: String,
    link: String,
    devices: String,
    bar: Bar,
    versions: Vec<RunningVersion>,
}

struct RunningVersion {
    class: &'static str,
    name: String,
    devices: String,
    link: String,
}

struct TrustLine {
    role: String,
    version: u64,
    badge: Badge,
    expires: String,
}

struct Open {
    id: String,
    what: String,
    badge: Badge,
    waves: String,
    done: String,
    since: Ago,
}

struct Did {
    when: Ago,
    actor: String,
    action: String,
    object: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    shell: Shell,
    has_devices: bool,
    has_models: bool,
    devices: String,
    online: String,
    silent: String,
    rows: String,
    errors: String,
    accuracy: String,
    labelled: String,
    needs: Vec<Need>,
    running: Vec<Running>,
    open: Vec<Open>,
    trust: Vec<TrustLine>,
    did: Vec<Did>,
    public_host: String,
}

/// `GET /`.
pub(super) async fn page(ctx: Ctx) -> Result<Response, PageError> {
    let store = &ctx.app.store;
    let totals = store.view_totals(ctx.silent_before()).await?;
    let models = store.view_models().await?;
    let metadata = store.view_metadata().await?;
    let open = store.view_rollouts("", "open", None, 20).await?;
    let needs = needs(&ctx, &totals, &metadata, &open).await?;
    let page = Page {
        shell: ctx.shell(Section::Overview, "Overview").await?,
        has_devices: totals.devices > 0,
        has_models: !models.is_empty(),
        devices: sum(totals.devices),
        online: sum(totals.online),
        silent: sum(totals.silent),
        rows: sum(totals.rows),
        errors: sum(totals.errors),
        accuracy: share(positive(totals.correct), positive(totals.labelled)),
        labelled: sum(totals.labelled),
        needs,
        running: running(store.view_version_counts().await?),
        open: open.iter().map(|r| open_line(&ctx, r)).collect(),
        trust: metadata.iter().map(|m| trust_line(&ctx, m)).collect(),
        did: store
            .view_audit(8)
            .await?
            .into_iter()
            .map(|a| Did {
                when: ctx.when(a.time).brief(),
                actor: a.actor,
                action: a.action,
                object: a.object,
            })
            .collect(),
        public_host: ctx.app.config.public_host.clone(),
    };
    html(&page)
}

fn positive(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn open_line(ctx: &Ctx, rollout: &RolloutRow) -> Open {
    Open {
        id: rollout.id.clone(),
        what: format!("{} {}", rollout.model, rollout.version),
        badge: Badge::state(&rollout.state),
        waves: format!("{} of {}", rollout.passed, rollout.waves),
        done: format!("{} of {}", sum(rollout.done), sum(rollout.devices)),
        since: ctx.when(rollout.started.unwrap_or(rollout.created)).brief(),
    }
}

/// Offline roles need a person in time; the server renews snapshot and timestamp by itself.
fn trust_line(ctx: &Ctx, metadata: &Metadata) -> TrustLine {
    let online = matches!(metadata.role.as_str(), "snapshot" | "timestamp");
    let left = metadata.expires.map(|at| at.saturating_sub(ctx.now.0));
    let badge = match left {
        None => Badge::new(Tone::Warn, "unknown"),
        Some(0) => Badge::new(Tone::Bad, "expired"),
        Some(left) if !online && left < SOON_MS => Badge::new(Tone::Warn, "soon"),
        Some(_) => Badge::new(Tone::Ok, "valid"),
    };
    TrustLine {
        role: metadata.role.clone(),
        version: metadata.version,
        badge,
        expires: match (metadata.expires, left) {
            (None, _) | (_, None) => "no readable expiry".into(),
            (Some(at), Some(0)) => format!("{} ago", span(ctx.now.0.saturating_sub(at))),
            (Some(_), Some(left)) => format!("in {}", span(left)),
        },
    }
}

fn running(counts: Vec<VersionCount>) -> Vec<Running> {
    let mut models: BTreeMap<String, Vec<VersionCount>> = BTreeMap::new();
    for count in counts {
        models.entry(count.model.clone()).or_default().push(count);
    }
    models
        .into_iter()
        .map(|(model, versions)| {
            let all: u64 = versions.iter().map(|v| positive(v.devices)).sum();
            let name = |v: &VersionCount| match v.version.as_str() {
                "" => "none yet".to_owned(),
                version => version.to_owned(),
            };
            Running {
                link: format!("/models/{}", encode(&model)),
                devices: devices(all),
                bar: Bar {
                    parts: versions
                        .iter()
                        .enumerate()
                        .map(|(i, v)| Part { class: series(i), name: name(v), value: positive(v.devices) })
                        .collect(),
                },
                versions: versions
                    .iter()
                    .enumerate()
                    .map(|(i, v)| RunningVersion {
                        class: series(i),
                        name: name(v),
                        devices: sum(v.devices),
                        link: format!("/devices?model={}&version={}", encode(&model), encode(&v.version)),
                    })
                    .collect(),
                model,
            }
        })
        .collect()
}

async fn needs(
    ctx: &Ctx,
    totals: &Totals,
    metadata: &[Metadata],
    open: &[RolloutRow],
) -> Result<Vec<Need>, PageError> {
    let store = &ctx.app.store;
    let mut needs = Vec::new();
    let [forks, changed, _] = store.audit_alarm_counts().await?;
    if forks + changed > 0 {
        needs.push(Need {
            badge: Badge::new(Tone::Bad, "audit log"),
            link: "/audit".into(),
            what: "The audit log is not what was signed: entries were changed or removed".into(),
            todo: "Keep a copy of the database, look at who had access to it, then restore a backup".into(),
        });
    }
    for (_, row) in
        store.alerts(&Filter { state: "firing".into(), ..Filter::default() }, None, ALERTS).await?
    {
        needs.push(Need {
            badge: Badge::new(alerts::tone(row.severity.as_str()), row.severity.as_str()),
            link: format!("/alerts/{}", row.id),
            what: row.evidence.summary,
            todo: "Take the alert on, so that others know, and look at what it rests on".into(),
        });
    }
    for rollout in open {
        let todo = match rollout.state.as_str() {
            "paused" => "Look at its gates, then resume, halt or revert it",
            "planned" => "Look at its waves, then start it",
            _ => continue,
        };
        let why = if rollout.reason.is_empty() { String::new() } else { format!(": {}", rollout.reason) };
        needs.push(Need {
            badge: Badge::state(&rollout.state),
            link: format!("/rollouts/{}", encode(&rollout.id)),
            what: format!("Rollout of {} {}{why}", rollout.model, rollout.version),
            todo: todo.into(),
        });
    }
    for trouble in store.view_trouble().await? {
        let (one, link) = if trouble.devices == 1 {
            (trouble.example.clone(), format!("/devices/{}", encode(&trouble.example)))
        } else {
            let link = format!("/devices?status=trouble&model={}", encode(&trouble.model));
            (devices(positive(trouble.devices)), link)
        };
        let code = if trouble.code.is_empty() { String::new() } else { format!(" ({})", trouble.code) };
        needs.push(Need {
            badge: Badge::state(&trouble.state),
            link,
            what: format!("{one}: update of {}{code}", trouble.model),
            todo: "The device goes on with the version before. Its timeline says why".into(),
        });
    }
    for retired in store.view_retired_serving().await? {
        let of = format!("model={}&version={}", encode(&retired.model), encode(&retired.version));
        needs.push(Need {
            badge: Badge::new(Tone::Warn, "retired"),
            link: format!("/devices?{of}"),
            what: format!(
                "{} {} is retired and still runs on {}",
                retired.model,
                retired.version,
                devices(positive(retired.devices))
            ),
            todo: "Roll out another version there".into(),
        });
    }
    if totals.quarantined > 0 {
        needs.push(Need {
            badge: Badge::new(Tone::Bad, "quarantine"),
            link: "/devices?status=quarantined".into(),
            what: format!(
                "{} failed again and again: rollouts offer them nothing",
                devices(positive(totals.quarantined))
            ),
            todo: "Look at what each says, mend it, then release it on its page".into(),
        });
    }
    if totals.silent > 0 {
        needs.push(Need {
            badge: Badge::state("silent"),
            link: "/devices?status=silent".into(),
            what: format!(
                "{} not heard of for more than {}",
                devices(positive(totals.silent)),
                span(ctx.app.config.limits.silent_s.saturating_mul(1000))
            ),
            todo: "They go on working by themselves. Check their power and network".into(),
        });
    }
    for role in metadata {
        let online = matches!(role.role.as_str(), "snapshot" | "timestamp");
        let left = role.expires.map_or(0, |at| at.saturating_sub(ctx.now.0));
        let tone = if left == 0 {
            Tone::Bad
        } else if !online && left < SOON_MS {
            Tone::Warn
        } else {
            continue;
        };
        needs.push(Need {
            badge: Badge::new(tone, if left == 0 { "expired" } else { "expires soon" }),
            link: "#trust".into(),
            what: format!("Trust metadata “{}” version {}", role.role, role.version),
            todo: if online {
                "The server renews it by itself: look at its log and its clock".into()
            } else {
                format!(
                    "Sign it anew: longshore keys renew {} --draft FILE. Running models are not touched by expiry",
                    role.role
                )
            },
        });
    }
    for pending in store.view_pending_metadata().await? {
        let signed = if pending.keyids.len() == 1 { "signature" } else { "signatures" };
        needs.push(Need {
            badge: Badge::new(Tone::Warn, "to sign"),
            link: "/models".into(),
            what: format!(
                "“{}” version {} has {} {signed} and waits for more",
                pending.role,
                pending.version,
                pending.keyids.len()
            ),
            todo: match pending.role.as_str() {
                "root" => "The next holder of a root key signs the draft".into(),
                "targets" => "The next holder of a targets key runs longshore keys delegate".into(),
                _ => "The next release manager runs longshore approve".into(),
            },
        });
    }
    for version in store.view_waiting().await? {
        let refused = version.state == "refused";
        needs.push(Need {
            badge: Badge::new(
                if refused { Tone::Bad } else { Tone::Warn },
                if refused { "refused" } else { "to approve" },
            ),
            link: format!("/models/{}/{}", encode(&version.model), encode(&version.version)),
            what: format!("{} {}", version.model, version.version),
            todo: if refused {
                "The check of the upload refused it; its page says why".into()
            } else {
                format!(
                    "Approve it on your own machine: longshore approve {}@{}",
                    version.model, version.version
                )
            },
        });
    }
    // The worst first; within one tone, in the order above.
    needs.sort_by_key(|n| match n.badge.tone() {
        Tone::Bad => 0,
        Tone::Warn => 1,
        Tone::Busy | Tone::Idle | Tone::Ok => 2,
    });
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_grouped_by_model_and_linked() {
        let of = |model: &str, version: &str, devices| VersionCount {
            model: model.into(),
            version: version.into(),
            devices,
        };
        let shown = running(vec![of("b", "1.0.0", 3), of("a", "2.0.0", 1), of("b", "", 1)]);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0].model, "a");
        assert_eq!(shown[1].devices, "4 devices");
        assert_eq!(shown[1].versions[1].name, "none yet");
        assert_eq!(shown[1].versions[0].link, "/devices?model=b&version=1.0.0");
    }
}
