//! Receivers: where notices go. Secrets are never here, only the names of the files that hold them.

use serde::{Deserialize, Serialize};

/// Where notices go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Its name, unique.
    pub name: String,
    /// What it is.
    pub kind: ReceiverKind,
    /// Longest time for one attempt, ms.
    pub timeout_ms: u64,
    /// How long a notice is tried before it is given up, ms.
    pub give_up_ms: u64,
    /// File with PEM certificates of the authorities to trust, instead of the public ones.
    pub ca_file: Option<String>,
    /// What it is told of.
    pub takes: Vec<Topic>,
}

/// What a receiver can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Alerts.
    Alerts,
    /// Requests for a new training.
    Retraining,
    /// Transitions of rollouts and of their waves.
    Rollouts,
}

impl ReceiverKind {
    /// What it is told of when its table does not say.
    #[must_use]
    pub const fn takes_by_itself(&self) -> &'static [Topic] {
        match self {
            Self::Webhook { .. } => &[Topic::Alerts, Topic::Retraining],
            Self::Alertmanager { .. } | Self::Smtp(_) => &[Topic::Alerts],
            Self::Dispatch { .. } => &[Topic::Retraining],
        }
    }
}

/// What a receiver is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ReceiverKind {
    /// JSON by POST, signed as Standard Webhooks do.
    Webhook {
        /// Where.
        url: String,
        /// File with the key.
        secret_file: Option<String>,
    },
    /// Prometheus Alertmanager, API v2.
    Alertmanager {
        /// Where it is, without `/api/v2/alerts`.
        url: String,
        /// File with a bearer token.
        token_file: Option<String>,
    },
    /// E-mail.
    Smtp(Smtp),
    /// Requests for a new training, as GitHub's `repository_dispatch` wants them.
    Dispatch {
        /// Where, e.g. `https://api.github.com/repos/OWNER/REPO/dispatches`.
        url: String,
        /// Name of the event.
        event_type: String,
        /// File with the token.
        token_file: Option<String>,
        /// File with the key that signs the request inside the payload.
        secret_file: Option<String>,
    },
}

/// How e-mail leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smtp {
    /// Server.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protection.
    pub tls: SmtpTls,
    /// User name.
    pub user: Option<String>,
    /// File with the password.
    pub password_file: Option<String>,
    /// Sender.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// Begins in the open, refuses to go on without TLS.
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all: a relay on this machine.
    None,
}

impl Receiver {
    /// Whether it is told of that.
    #[must_use]
    pub fn takes(&self, topic: Topic) -> bool {
        self.takes.contains(&topic)
    }
    /// What it is, as in the file.
    #[must_use]
    pub const fn kind_name(&self) -> &'static str {
        match self.kind {
            ReceiverKind::Webhook { .. } => "webhook",
            ReceiverKind::Alertmanager { .. } => "alertmanager",
            ReceiverKind::Smtp(_) => "smtp",
            ReceiverKind::Dispatch { .. } => "dispatch",
        }
    }
    /// Where it is, without anything secret.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.kind {
            ReceiverKind::Webhook { url, .. }
            | ReceiverKind::Alertmanager { url, .. }
            | ReceiverKind::Dispatch { url, .. } => without_secrets(url),
            ReceiverKind::Smtp(s) => format!("{} by {}:{}", s.to.join(", "), s.host, s.port),
        }
    }
    /// Files it needs.
    #[must_use]
    pub fn files(&self) -> Vec<&str> {
        let own = match &self.kind {
            ReceiverKind::Webhook { secret_file, .. } => [secret_file.as_deref(), None],
            ReceiverKind::Alertmanager { token_file, .. } => [token_file.as_deref(), None],
            ReceiverKind::Smtp(s) => [s.password_file.as_deref(), None],
            ReceiverKind::Dispatch { token_file, secret_file, .. } => {
                [token_file.as_deref(), secret_file.as_deref()]
            }
        };
        own.into_iter().chain([self.ca_file.as_deref()]).flatten().collect()
    }
}

/// Chat services put secrets into paths and queries: only scheme, host and port are shown.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let more = if rest.len() > authority.len() + 1 { "/…" } else { "" };
    format!("{scheme}://{host}{more}")
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        assert_eq!(without_secrets("https://u:p@hooks.example:8/T0/secret?x=1"), "https://hooks.example:8/…");
        assert_eq!(without_secrets("http://a/"), "http://a");
    }
}
