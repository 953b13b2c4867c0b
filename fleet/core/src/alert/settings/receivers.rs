//! From `[[receiver]]` to receivers.

use std::ops::Range;

use toml::Spanned;

use super::{AlertConfigError, Lines, MINUTE_MS};
use crate::alert::entry::ReceiverEntry;
use crate::alert::receiver::{Receiver, ReceiverKind, Smtp, SmtpTls, Topic};

/// Keys that a kind of receiver does not know.
fn refuse_others(
    lines: &Lines<'_>,
    raw: &ReceiverEntry,
    kind: &str,
    known: &[&str],
) -> Result<(), AlertConfigError> {
    let given = [
        ("url", raw.url.as_ref().map(Spanned::span)),
        ("secret_file", raw.secret_file.as_ref().map(Spanned::span)),
        ("token_file", raw.token_file.as_ref().map(Spanned::span)),
        ("event_type", raw.event_type.as_ref().map(Spanned::span)),
        ("host", raw.host.as_ref().map(Spanned::span)),
        ("port", raw.port.as_ref().map(Spanned::span)),
        ("tls", raw.tls.as_ref().map(Spanned::span)),
        ("user", raw.user.as_ref().map(Spanned::span)),
        ("password_file", raw.password_file.as_ref().map(Spanned::span)),
        ("from", raw.from.as_ref().map(Spanned::span)),
        ("to", raw.to.as_ref().map(Spanned::span)),
        ("takes", raw.takes.as_ref().map(Spanned::span)),
    ];
    for (key, span) in given {
        if let Some(span) = span.filter(|_| !known.contains(&key)) {
            let message = format!(
                "`{key}` does nothing for a receiver of kind {kind:?}: it takes {}",
                known.join(", ")
            );
            return Err(lines.error(&span, message));
        }
    }
    Ok(())
}

pub(super) fn receiver(
    lines: &Lines<'_>,
    span: &Range<usize>,
    raw: &ReceiverEntry,
) -> Result<Receiver, AlertConfigError> {
    let kinds: [(&str, &[&str]); 4] = [
        ("webhook", &["url", "secret_file", "takes"]),
        ("alertmanager", &["url", "token_file"]),
        ("smtp", &["host", "port", "tls", "user", "password_file", "from", "to"]),
        ("dispatch", &["url", "event_type", "token_file", "secret_file"]),
    ];
    let known = lines.word("kind", &raw.kind, &kinds)?;
    let kind = raw.kind.as_ref().as_str();
    refuse_others(lines, raw, kind, known)?;
    let file = |f: &Option<Spanned<String>>| f.as_ref().map(|f| f.as_ref().clone());
    let kind = match kind {
        "webhook" => {
            ReceiverKind::Webhook { url: url(lines, span, raw)?, secret_file: file(&raw.secret_file) }
        }
        "alertmanager" => {
            let mut url = url(lines, span, raw)?;
            url.truncate(url.trim_end_matches('/').len());
            ReceiverKind::Alertmanager { url, token_file: file(&raw.token_file) }
        }
        "dispatch" => ReceiverKind::Dispatch {
            url: url(lines, span, raw)?,
            event_type: file(&raw.event_type).unwrap_or_else(|| "longshore-retrain".into()),
            token_file: file(&raw.token_file),
            secret_file: file(&raw.secret_file),
        },
        _ => ReceiverKind::Smtp(smtp(lines, span, raw)?),
    };
    let timeout_ms = lines.time_or(raw.timeout.as_ref(), 10_000)?;
    if let Some(t) = raw.timeout.as_ref().filter(|_| !(100..=120_000).contains(&timeout_ms)) {
        return Err(lines.error(&t.span(), "a timeout is from \"100ms\" to \"2m\""));
    }
    let takes = match &raw.takes {
        None => kind.takes_by_itself().to_vec(),
        Some(words) => topics(lines, words)?,
    };
    Ok(Receiver {
        takes,
        name: lines.name("the name of a receiver", &raw.name)?,
        kind,
        timeout_ms,
        give_up_ms: lines.time_or(raw.give_up.as_ref(), 24 * 60 * MINUTE_MS)?,
        ca_file: file(&raw.ca_file),
    })
}

fn topics(lines: &Lines<'_>, given: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<Topic>, AlertConfigError> {
    let words = [("alerts", Topic::Alerts), ("retraining", Topic::Retraining), ("rollouts", Topic::Rollouts)];
    if given.as_ref().is_empty() {
        let message = "this receiver would be told of nothing: say takes = [\"alerts\", \"retraining\", \"rollouts\"], or some of them";
        return Err(lines.error(&given.span(), message));
    }
    given.as_ref().iter().map(|word| lines.word("an entry of takes", word, &words)).collect()
}

fn url(lines: &Lines<'_>, span: &Range<usize>, raw: &ReceiverEntry) -> Result<String, AlertConfigError> {
    let Some(url) = &raw.url else {
        return Err(lines.error(span, "this receiver needs a url: url = \"https://HOST/PATH\""));
    };
    let text = url.as_ref();
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.map(|r| r.split(['/', '?', '#']).next().unwrap_or_default());
    let plain = text.chars().all(|c| c.is_ascii_graphic());
    match authority {
        Some(a) if a.contains('@') => Err(lines.error(
            &url.span(),
            "a name and password in the url would be shown in logs: use token_file or secret_file",
        )),
        Some(a) if plain && !a.is_empty() && !text.contains('#') => Ok(text.clone()),
        _ => Err(lines.error(&url.span(), format!("url = {text:?} is no address: write https://HOST/PATH"))),
    }
}

fn smtp(lines: &Lines<'_>, span: &Range<usize>, raw: &ReceiverEntry) -> Result<Smtp, AlertConfigError> {
    let need = |key: &str, value: &Option<Spanned<String>>, example: &str| match value {
        Some(v) if !v.as_ref().is_empty() => Ok(v.as_ref().clone()),
        _ => {
            Err(lines.error(span, format!("a receiver of kind \"smtp\" needs {key}, e.g. {key} = {example}")))
        }
    };
    let words = [("starttls", SmtpTls::Starttls), ("tls", SmtpTls::Tls), ("none", SmtpTls::None)];
    let tls = raw.tls.as_ref().map_or(Ok(SmtpTls::Starttls), |t| lines.word("tls", t, &words))?;
    let port = match tls {
        SmtpTls::Starttls => 587,
        SmtpTls::Tls => 465,
        SmtpTls::None => 25,
    };
    let from = need("from", &raw.from, "\"longshore@example.org\"")?;
    let to = raw.to.as_ref().map(|t| t.as_ref().clone()).unwrap_or_default();
    if to.is_empty() || to.len() > 50 {
        return Err(lines.error(
            span,
            "a receiver of kind \"smtp\" needs to = [\"ops@example.org\"], at most 50 of them",
        ));
    }
    let address = |a: &&String| {
        !a.split_once('@').is_some_and(|(l, d)| !l.is_empty() && !d.is_empty())
            || !a.chars().all(|c| c.is_ascii_graphic())
    };
    if let Some(wrong) = to.iter().chain([&from]).find(address) {
        let at = raw.to.as_ref().map_or(span.clone(), Spanned::span);
        return Err(lines.error(&at, format!("{wrong:?} is no e-mail address")));
    }
    if let (Some(user), None) = (&raw.user, &raw.password_file) {
        return Err(lines.error(&user.span(), "`user` needs password_file = \"FILE\""));
    }
    if let (Some(p), SmtpTls::None) = (&raw.password_file, tls) {
        return Err(
            lines.error(&p.span(), "a password is not sent in the open: take tls = \"starttls\" or \"tls\"")
        );
    }
    Ok(Smtp {
        host: need("host", &raw.host, "\"mail.example.org\"")?,
        port: u16::try_from(lines.within("port", raw.port.as_ref(), port, 1..=65_535)?).unwrap_or(0),
        tls,
        user: raw.user.as_ref().map(|u| u.as_ref().clone()),
        password_file: raw.password_file.as_ref().map(|f| f.as_ref().clone()),
        from,
        to,
    })
}
