//! How values of the API look to people: tables, times, questions.

use std::io::{BufRead as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::context::Failure;

/// A table without lines that get in the way of `grep`.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|h| plain(&h.to_uppercase())));
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    table
}

/// Text that a terminal takes for nothing but text: names and reasons come from devices, files and other people. What would
/// move the cursor, colour what follows or turn the direction of writing is shown as its number.
pub fn plain(text: &str) -> String {
    let commands = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .flat_map(|c| if commands(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// A field as text; `-` when there is none.
pub fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => "-".into(),
        Value::String(s) if s.is_empty() => "-".into(),
        Value::String(s) => plain(s),
        other => other.to_string(),
    }
}

/// The entries of a field that is a list; none when it is missing.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The first 12 digits of a digest.
pub fn short(value: &Value, key: &str) -> String {
    text(value, key).chars().take(12).collect()
}

/// Milliseconds since 1970 as "3 min ago"; `never` when there is none.
pub fn ago(value: &Value, key: &str) -> String {
    let Some(at) = value[key].as_i64() else { return "never".into() };
    let seconds = (jiff::Timestamp::now().as_millisecond() - at).max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Asks for a word before something that is hard to take back.
///
/// # Errors
/// When anything else is typed, or nobody is there to type.
pub fn typed_confirmation(what: &str, word: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    eprint!("{what}\nType {word} to go on: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() == word {
        return Ok(());
    }
    Err(Failure::refused(
        "not_confirmed",
        format!("not confirmed, nothing was changed (scripts pass --yes): {what}"),
    ))
}

/// `model@version`.
///
/// # Errors
/// When it is something else.
pub fn model_version(text: &str) -> Result<(&str, &str), Failure> {
    match text.split_once('@') {
        Some((model, version)) if !model.is_empty() && !version.is_empty() => Ok((model, version)),
        _ => Err(Failure::usage(format!("{text:?} is no MODEL@VERSION, like meter-digits@1.0.0"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_is_shown_and_not_obeyed() {
        let evil = "a\u{1b}[31m\u{7}\u{9b}2J\r\u{202e}b\u{e9} \u{4e2d}";
        let shown = "a\\u{1b}[31m\\u{7}\\u{9b}2J\\u{d}\\u{202e}b\u{e9} \u{4e2d}";
        assert_eq!(plain(evil), shown);
        assert_eq!(text(&serde_json::json!({ "name": evil }), "name"), shown);
        let drawn = table(&[evil], vec![vec![evil.to_owned()]]).to_string();
        assert!(
            drawn.chars().all(|c| c == '\n' || !c.is_control()) && drawn.contains("u{202e}"),
            "{drawn:?}"
        );
    }
    #[test]
    fn missing_fields_are_dashes_and_missing_lists_are_empty() {
        let value = serde_json::json!({ "a": "", "b": 3 });
        assert_eq!(
            (text(&value, "a"), text(&value, "b"), text(&value, "c")),
            ("-".into(), "3".into(), "-".into())
        );
        assert!(list(&value, "b").is_empty());
        assert_eq!(ago(&value, "c"), "never");
    }
    #[test]
    fn a_version_needs_a_model_and_a_version() {
        assert_eq!(model_version("m@1.0.0").unwrap(), ("m", "1.0.0"));
        for wrong in ["m", "@1", "m@", ""] {
            assert_eq!(model_version(wrong).unwrap_err().exit, 2, "{wrong}");
        }
    }
}
