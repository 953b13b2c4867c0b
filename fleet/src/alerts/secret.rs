//! Secrets of receivers: read from their files for each attempt, so that a replaced one holds at once; never kept, never shown.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest file.
const MAX: u64 = 64 << 10;
/// Shortest key that signs messages, bytes.
const KEY_MIN: usize = 16;
/// Keys in one file: the present one and the one before.
const KEYS: usize = 2;

/// The text of a file, without the end of its last line.
///
/// # Errors
/// A sentence that names the file and not what is in it.
pub async fn text(path: &str) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("cannot read {path}: {e}");
    let length = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if length > MAX {
        return Err(format!("{path} is too large for a secret"));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(failed)?;
    Ok(text.trim().to_owned())
}

/// A value for a header: one line.
///
/// # Errors
/// As [`text`], and when it has several lines or is empty.
pub async fn line(path: &str) -> Result<String, String> {
    let text = text(path).await?;
    if text.is_empty() || text.chars().any(|c| c.is_control()) {
        return Err(format!("{path} must hold one line"));
    }
    Ok(text)
}

/// Keys that sign messages: one a line, `whsec_` and base64 or any text.
///
/// # Errors
/// As [`text`], and when a key is too short.
pub async fn keys(path: &str) -> Result<Vec<Vec<u8>>, String> {
    parse_keys(&text(path).await?).map_err(|why| format!("{path}: {why}"))
}

fn parse_keys(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    if lines.is_empty() || lines.len() > KEYS {
        return Err("must hold one key, or two while one is being replaced, each on its own line".into());
    }
    let key = |line: &&str| {
        let key = match line.strip_prefix("whsec_") {
            Some(coded) => {
                STANDARD.decode(coded).map_err(|_| "what follows whsec_ is not base64".to_owned())?
            }
            None => line.as_bytes().to_vec(),
        };
        if key.len() < KEY_MIN {
            return Err(format!(
                "a key needs at least {KEY_MIN} bytes: make one with `openssl rand -hex 32`"
            ));
        }
        Ok(key)
    };
    lines.iter().map(key).collect()
}

/// Whether the files of a receiver can be read: said once at the start, so that nobody learns it from a missing alert.
pub fn unreadable<'a>(files: &[&'a str]) -> Option<(&'a str, std::io::Error)> {
    files.iter().find_map(|f| std::fs::File::open(Path::new(f)).err().map(|e| (*f, e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_base64_with_a_prefix_or_plain_text_and_never_short() {
        assert_eq!(parse_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()[0].len(), 24);
        let two = parse_keys("0123456789abcdef\n\n0123456789abcdeg").unwrap();
        assert_eq!(two, [b"0123456789abcdef".to_vec(), b"0123456789abcdeg".to_vec()]);
        for wrong in ["", "short", "whsec_!!!", "a\nb\nc"] {
            assert!(parse_keys(wrong).is_err(), "{wrong}");
        }
    }
}
