//! Names: role names as file names, delegated paths as patterns, targets as URLs.

/// Percent-encodes everything but `A-Z a-z 0-9 - _ . ~` (RFC 3986, unreserved), so that any role name is one file name
/// and one URL segment.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for b in name.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// The file a role is kept in, without its version: `models%2Fmeter-digits.json`.
#[must_use]
pub fn file_of(role: &str) -> String {
    format!("{}.json", encode(role))
}

/// Where a target is served, relative to the target base: every segment percent-encoded, and with `hash` (hex) put
/// before the last segment when the repository uses consistent snapshots.
#[must_use]
pub fn target_url(path: &str, hash: Option<&str>) -> String {
    let (dir, base) = match path.rsplit_once('/') {
        Some((dir, base)) => (Some(dir), base),
        None => (None, path),
    };
    let base = match hash {
        Some(h) => format!("{h}.{}", encode(base)),
        None => encode(base),
    };
    match dir {
        Some(dir) => {
            let dir: Vec<String> = dir.split('/').map(encode).collect();
            format!("{}/{base}", dir.join("/"))
        }
        None => base,
    }
}

/// Whether `pattern` covers `path`: as many segments, `*` any run of characters and `?` any one, neither crossing `/`.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let mut patterns = pattern.split('/');
    let mut parts = path.split('/');
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(p), Some(s)) if segment_matches(p, s) => {}
            _ => return false,
        }
    }
}

/// Linear in practice and quadratic at worst: on a mismatch only the last `*` takes one character more.
fn segment_matches(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut i, mut j) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while j < t.len() {
        if i < p.len() && p[i] == '*' {
            star = Some((i, j));
            i += 1;
        } else if i < p.len() && (p[i] == '?' || p[i] == t[j]) {
            i += 1;
            j += 1;
        } else if let Some((si, sj)) = star {
            i = si + 1;
            j = sj + 1;
            star = Some((si, sj + 1));
        } else {
            return false;
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_become_safe_file_names() {
        for (name, file) in [
            ("targets", "targets.json"),
            ("models/meter-digits", "models%2Fmeter-digits.json"),
            ("../x", "..%2Fx.json"),
            ("?", "%3F.json"),
            ("#", "%23.json"),
            ("", ".json"),
            ("ä", "%C3%A4.json"),
            ("a\0b", "a%00b.json"),
        ] {
            assert_eq!(file_of(name), file);
        }
    }
    #[test]
    fn targets_are_served_under_their_hash() {
        assert_eq!(target_url("m/1.0.0/manifest.json", Some("ab")), "m/1.0.0/ab.manifest.json");
        assert_eq!(target_url("a b", Some("ab")), "ab.a%20b");
        assert_eq!(target_url("d/x", None), "d/x");
    }
    #[test]
    fn a_star_stays_within_its_segment() {
        for (pattern, path, yes) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("m/*/*", "m/1.0.0/manifest.json", true),
            ("m/*/*", "m/1.0.0/a/b", false),
            ("m/*/*", "n/1.0.0/x", false),
            ("*.py", "x.py", true),
            ("*.py", "d/x.py", false),
            ("foo-?.tgz", "foo-1.tgz", true),
            ("foo-?.tgz", "foo-alpha.tgz", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "", true),
            ("*", "", true),
            ("[a]", "a", false),
            ("README.md", "README.MD", false),
        ] {
            assert_eq!(matches(pattern, path), yes, "{pattern} on {path}");
        }
    }
    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = format!("{}b", "*a".repeat(200));
        assert!(!matches(&pattern, &"a".repeat(20_000)));
    }
}
