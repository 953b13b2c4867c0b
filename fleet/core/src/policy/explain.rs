//! What is meant, where the TOML reader only says what it found.

/// The keys of each table of a policy, for hints; a test holds them against the reader.
pub(super) const KEYS: [(&str, &[&str]); 6] = [
    ("the top level", &["name", "wave", "gate", "guard", "window", "bandwidth", "priority", "authorize"]),
    ("[[wave]]", &["select", "optional", "shadow", "max_per_minute", "soak", "probation", "lease"]),
    ("`select`", &["count", "percent", "rest", "ring", "labels", "where"]),
    (
        "[gate]",
        &[
            "min_devices",
            "min_rows",
            "min_labelled",
            "success",
            "max_failed_devices",
            "accuracy_drop",
            "error_rate_increase",
            "latency_p99_ratio",
            "score_shift",
            "golden_deviation",
            "shadow_agreement",
            "alpha",
            "evidence",
            "deadline",
            "on_fail",
            "on_inconclusive",
        ],
    ),
    ("[window]", &["cron", "duration"]),
    ("[guard]", &["error_rate", "crashes", "p99_percent", "score_shift"]),
];

/// A message of the TOML reader about `line`, with what would be right.
pub(super) fn explain(message: &str, line: &str) -> String {
    if let Some(key) = quoted(message, "unknown field `") {
        return unknown(key, message);
    }
    if let Some(key) = quoted(message, "missing field `") {
        return match hint(key) {
            Some(hint) => format!("`{key}` is missing: give {hint}"),
            None => format!("`{key}` is missing"),
        };
    }
    // In a table on one line, the nearest key before the value cannot be told apart: the line's own key is named.
    let key = line.split('=').next().unwrap_or_default().trim();
    if message == "duplicate key" {
        return format!("`{key}` is given twice: keep one of them");
    }
    if (message.starts_with("invalid type") || message.starts_with("invalid value"))
        && let Some(hint) = hint(key)
    {
        return format!("{message}: `{key}` needs {hint}");
    }
    message.to_owned()
}

fn quoted<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.split('`').next()
}

fn unknown(key: &str, message: &str) -> String {
    // "…, expected one of `a`, `b`" or "…, expected `a` or `b`": every second piece is a key.
    let expected = message.split_once("expected").map_or("", |(_, rest)| rest);
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(k, key), *k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len() / 4);
    if let Some((_, near)) = near {
        return format!("`{key}` is not known here; did you mean `{near}`?");
    }
    if let Some((table, _)) = KEYS.iter().find(|(_, keys)| keys.contains(&key)) {
        return format!("`{key}` is not known here: it belongs to {table}");
    }
    match known.len() {
        0 => format!("`{key}` is not known here"),
        _ => format!("`{key}` is not known here; there are {}", known.join(", ")),
    }
}

/// What a key needs.
fn hint(key: &str) -> Option<&'static str> {
    Some(match key {
        "soak" | "shadow" | "probation" | "lease" | "deadline" | "duration" => {
            "a length of time in quotes, for example \"30m\""
        }
        "optional" | "authorize" => "true or false",
        "name" => "a text in quotes",
        "select" => "one selector, for example { count = 2 } or { rest = true }",
        "on_fail" | "on_inconclusive" => "\"pause\", \"halt\" or \"revert\"",
        "cron" => "five fields in quotes, for example \"0 1 * * *\"",
        "bandwidth" => "a text like \"20MB/s\"",
        "max_per_minute" | "min_devices" | "min_rows" | "min_labelled" | "max_failed_devices"
        | "priority" | "crashes" | "p99_percent" => "a whole number",
        "success" | "accuracy_drop" | "error_rate_increase" | "shadow_agreement" | "alpha" | "error_rate" => {
            "a number between 0 and 1"
        }
        "latency_p99_ratio" => "a number above 1, for example 1.25",
        "score_shift" => "a number, for example 0.1",
        "golden_deviation" => "an amount of output, for example 1e-3",
        "evidence" => "\"no_proof_of_harm\" or \"proof_of_no_harm\"",
        "gate" => "a [gate] table with at least `deadline` and `on_fail`",
        _ => return None,
    })
}
