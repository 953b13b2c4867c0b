//! Alerts and deliveries in Prometheus' text format.

use std::fmt::Write as _;

use longshore_fleet_core::alert::Severity;

use crate::app::App;
use crate::store::StoreError;

/// Open alerts by state and severity; deliveries by receiver and state. Every series that can be is there, also at zero, so
/// that a rule over it never meets an absent one.
///
/// # Errors
/// When the database cannot be read.
pub async fn metrics(app: &App) -> Result<String, StoreError> {
    let alerts = app.store.alert_counts().await?;
    let deliveries = app.store.delivery_counts().await?;
    let mut out = String::from(
        "# HELP longshore_alerts Open alerts by state and severity.\n# TYPE longshore_alerts gauge\n",
    );
    for state in ["pending", "firing", "acknowledged"] {
        for severity in Severity::ALL {
            let found = alerts.iter().find(|c| c.state == state && c.severity == severity.as_str());
            let n = found.map_or(0, |c| c.alerts);
            writeln!(out, "longshore_alerts{{state=\"{state}\",severity=\"{severity}\"}} {n}")
                .expect("writing to a string does not fail");
        }
    }
    out.push_str(
        "# HELP longshore_alert_deliveries Deliveries that are kept, by receiver and state; dead ones were given up.\n\
         # TYPE longshore_alert_deliveries gauge\n",
    );
    for receiver in &app.config.alerting.receivers {
        for state in ["queued", "delivered", "dead"] {
            let found = deliveries.iter().find(|c| c.receiver == receiver.name && c.state == state);
            let (name, n) = (&receiver.name, found.map_or(0, |c| c.deliveries));
            writeln!(out, "longshore_alert_deliveries{{receiver=\"{name}\",state=\"{state}\"}} {n}")
                .expect("writing to a string does not fail");
        }
    }
    Ok(out)
}
