//! What was sent where, and tests of receivers.

use serde_json::{Value, json};

use crate::context::{Context, Failure};
use crate::http::Client;
use crate::show::{ago, table, text};

/// Which deliveries.
#[derive(clap::Args)]
pub struct Args {
    /// queued, delivered or dead (given up)
    #[arg(long, value_parser = ["queued", "delivered", "dead"])]
    state: Option<String>,
    /// Only those about this alert
    #[arg(long)]
    alert: Option<u64>,
    /// Try the given-up delivery with this number again
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["state", "alert"])]
    retry: Option<u64>,
    /// Try everything again that was given up
    #[arg(long, conflicts_with_all = ["state", "alert", "retry"])]
    retry_all: bool,
}

/// Deliveries as a table.
pub fn lines(sent: &[Value]) -> String {
    let row = |d: &Value| {
        vec![
            text(d, "id"),
            text(d, "receiver"),
            text(d, "what"),
            text(d, "alert"),
            text(d, "state"),
            text(d, "attempts"),
            ago(d, "changed"),
            text(d, "last"),
        ]
    };
    let head = ["delivery", "receiver", "says", "alert", "state", "attempts", "when", "what came of it"];
    table(&head, sent.iter().map(row).collect()).to_string()
}

/// Lists or retries.
pub fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let client = Client::from_context(context)?;
    let path = match (args.retry, args.retry_all) {
        (Some(id), _) => Some(format!("/deliveries/{id}/retry")),
        (None, true) => Some("/deliveries/retry".to_owned()),
        (None, false) => None,
    };
    if let Some(path) = path {
        let answer: Value = client.post(&path, &json!({}))?;
        if context.json() {
            println!("{answer}");
        } else {
            println!("Tried again: {}", text(&answer, "deliveries"));
        }
        return Ok(());
    }
    let mut query: Vec<String> = args.state.iter().map(|s| format!("state={s}")).collect();
    query.extend(args.alert.map(|a| format!("alert={a}")));
    let path =
        if query.is_empty() { "/deliveries".into() } else { format!("/deliveries?{}", query.join("&")) };
    let sent = client.pages(&path)?;
    if context.json() {
        println!("{}", json!({ "items": sent }));
    } else if sent.is_empty() {
        println!("No deliveries.");
    } else {
        println!("{}", lines(&sent));
    }
    Ok(())
}

/// Sends a test; a receiver that does not take it is a failure.
pub fn test(context: &Context, receiver: &str) -> Result<(), Failure> {
    let answer: Value =
        Client::from_context(context)?.post("/alerts/test", &json!({ "receiver": receiver }))?;
    if answer["delivered"] != true {
        let message = format!("{receiver} did not take the test: {}", text(&answer, "said"));
        return Err(Failure::refused("alerts.test", message));
    }
    if context.json() {
        println!("{answer}");
    } else {
        println!("{receiver} took the test ({})", text(&answer, "said"));
    }
    Ok(())
}
