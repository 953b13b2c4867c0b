//! Alerts as e-mail, by SMTP.
//!
//! What always holds: without `tls = "none"` nothing leaves before TLS holds; the message id is the one of the delivery, so
//! that mail programs show a repetition once; texts from outside reach the body and one encoded header, nothing else.

use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use longshore_fleet_core::alert::delivery::Outcome;
use longshore_fleet_core::alert::receiver::{Receiver, Smtp, SmtpTls};
use serde_json::Value;

use super::secret;

/// Longest subject, characters.
const SUBJECT: usize = 150;

/// Sends one message and says what came of it.
pub async fn send(receiver: &Receiver, smtp: &Smtp, id: &str, message: &Value) -> Outcome {
    let limit = Duration::from_millis(receiver.timeout_ms);
    let later = |why: String| Outcome::Later { why, after_ms: None };
    match tokio::time::timeout(limit, attempt(receiver, smtp, id, message, limit)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(why)) => later(why),
        Err(_) => later(format!("no answer within {} ms", limit.as_millis())),
    }
}

async fn attempt(
    receiver: &Receiver,
    smtp: &Smtp,
    id: &str,
    message: &Value,
    limit: Duration,
) -> Result<Outcome, String> {
    let mail = match compose(smtp, id, message) {
        Ok(mail) => mail,
        Err(why) => return Ok(Outcome::Never { why }),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host.clone())
        .port(smtp.port)
        .timeout(Some(limit))
        .hello_name(ClientId::Domain("longshore".into()));
    builder = match smtp.tls {
        SmtpTls::None => builder.tls(Tls::None),
        SmtpTls::Starttls => builder.tls(Tls::Required(parameters(receiver, smtp).await?)),
        SmtpTls::Tls => builder.tls(Tls::Wrapper(parameters(receiver, smtp).await?)),
    };
    if let (Some(user), Some(file)) = (&smtp.user, &smtp.password_file) {
        builder = builder.credentials(Credentials::new(user.clone(), secret::line(file).await?));
    }
    Ok(match builder.build().send(mail).await {
        Ok(answer) => Outcome::Taken { said: format!("answered {}", answer.code()) },
        Err(e) if e.is_permanent() => Outcome::Never { why: words(&e) },
        Err(e) => Outcome::Later { why: words(&e), after_ms: None },
    })
}

/// An error with its cause.
fn words(e: &dyn std::error::Error) -> String {
    match e.source() {
        Some(cause) if !e.to_string().contains(&cause.to_string()) => format!("{e}: {cause}"),
        _ => e.to_string(),
    }
}

async fn parameters(receiver: &Receiver, smtp: &Smtp) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    builder = match &receiver.ca_file {
        None => builder.certificate_store(CertificateStore::WebpkiRoots),
        Some(path) => {
            let pem = secret::text(path).await?;
            let certificate = Certificate::from_pem(pem.as_bytes()).map_err(|e| format!("{path}: {e}"))?;
            builder.certificate_store(CertificateStore::None).add_root_certificate(certificate)
        }
    };
    builder.build_rustls().map_err(|e| words(&e))
}

fn compose(smtp: &Smtp, id: &str, message: &Value) -> Result<Message, String> {
    let mailbox = |address: &str| -> Result<Mailbox, String> {
        address.parse().map_err(|e| format!("{address:?} is no e-mail address: {e}"))
    };
    let data = &message["data"];
    let text = |key: &str| data[key].as_str().unwrap_or_default();
    let what = message["type"].as_str().unwrap_or_default().trim_start_matches("alert.");
    let mark = match what {
        "resolved" => "resolved".to_owned(),
        _ => text("severity").to_uppercase(),
    };
    let subject = format!("[{} {mark}] {}", text("fleet"), text("summary"));
    let domain = smtp.from.split_once('@').map_or("longshore", |(_, d)| d);
    let mut builder = Message::builder()
        .from(mailbox(&smtp.from)?)
        .subject(one_line(&subject))
        .message_id(Some(format!("<{id}@{domain}>")))
        .header(ContentType::TEXT_PLAIN);
    for to in &smtp.to {
        builder = builder.to(mailbox(to)?);
    }
    builder.body(body(message)).map_err(|e| e.to_string())
}

/// A subject is one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT).collect()
}

fn body(message: &Value) -> String {
    let data = &message["data"];
    let text = |key: &str| data[key].as_str().unwrap_or_default();
    let mut lines = vec![text("summary").to_owned(), String::new()];
    let what = message["type"].as_str().unwrap_or_default().trim_start_matches("alert.");
    lines.push(format!("What:     {what} (rule {}, {})", text("rule"), text("severity")));
    if !text("model").is_empty() {
        lines.push(format!("Model:    {}", text("model")));
    }
    lines.push(format!("Cohort:   {}", text("cohort")));
    lines.push(format!("Since:    {}", text("since")));
    if let Some(by) = data["acknowledged"]["by"].as_str() {
        lines.push(format!("Taken on: {by}"));
    }
    for feature in data["evidence"]["features"].as_array().into_iter().flatten().take(20) {
        lines.push(format!(
            "Feature:  {} (PSI {}, {} rows)",
            feature["name"], feature["effect"], feature["n"]
        ));
    }
    let devices: Vec<&str> = data["evidence"]["devices"]["sample"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !devices.is_empty() {
        lines.push(format!(
            "Devices:  {}, first {}",
            data["evidence"]["devices"]["count"],
            devices.join(", ")
        ));
    }
    lines.push(String::new());
    if !text("url").is_empty() {
        lines.push(text("url").to_owned());
    }
    if what != "resolved" && what != "test" {
        lines.push(format!("Take it on: longshore alerts acknowledge {} --note \"...\"", data["alert"]));
    }
    lines.push(String::new());
    lines.join("\r\n")
}
