//! Expressions over a device's labels: `site == "ams" && hw in ["rpi4", "x86"]`.
//!
//! A label that a device does not have equals nothing and is in no list. An expression is kept as it was written; reading
//! it back gives the same one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// No expression of a person is longer.
const LONGEST: usize = 2_000;
/// Nor nested deeper.
const DEEPEST: usize = 32;

/// A checked expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    tree: Node,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    In(String, Vec<String>),
}

/// What is wrong with an expression, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(String);

impl Expression {
    /// Reads one.
    ///
    /// # Errors
    /// [`ExpressionError`] with the column of what is wrong.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > LONGEST {
            return Err(ExpressionError(format!("the expression is longer than {LONGEST} characters")));
        }
        let mut reader = Reader { text, at: 0 };
        let tree = reader.any(0)?;
        match reader.peek() {
            None => Ok(Self { text: text.trim().to_owned(), tree }),
            Some(_) => Err(reader.wrong("expected `&&`, `||` or the end")),
        }
    }
    /// Whether it holds for a device with these labels.
    #[must_use]
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        self.tree.holds(labels)
    }
    /// The labels it asks about.
    #[must_use]
    pub fn labels(&self) -> Vec<&str> {
        let mut out = Vec::new();
        self.tree.labels(&mut out);
        out.sort_unstable();
        out.dedup();
        out
    }
}
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl TryFrom<String> for Expression {
    type Error = ExpressionError;
    fn try_from(text: String) -> Result<Self, ExpressionError> {
        Self::parse(&text)
    }
}
impl From<Expression> for String {
    fn from(e: Expression) -> Self {
        e.text
    }
}

impl Node {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Any(all) => all.iter().any(|n| n.holds(labels)),
            Self::All(all) => all.iter().all(|n| n.holds(labels)),
            Self::Not(inner) => !inner.holds(labels),
            Self::In(label, values) => labels.get(label).is_some_and(|v| values.contains(v)),
        }
    }
    fn labels<'a>(&'a self, out: &mut Vec<&'a str>) {
        match self {
            Self::Any(all) | Self::All(all) => all.iter().for_each(|n| n.labels(out)),
            Self::Not(inner) => inner.labels(out),
            Self::In(label, _) => out.push(label),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> ExpressionError {
        let rest: String = self.text[self.at..].chars().take(20).collect();
        let found = if rest.is_empty() { "the end".to_owned() } else { format!("`{rest}`") };
        let column = self.text[..self.at].chars().count() + 1;
        ExpressionError(format!("column {column} of the expression: {what}, found {found}"))
    }
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }
    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }
    /// A name of letters, digits, `_`, `-`, `.` and `/`.
    fn word(&mut self) -> Option<&str> {
        self.peek();
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')))
            .unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| &rest[..end])
    }
    fn any(&mut self, depth: usize) -> Result<Node, ExpressionError> {
        let mut all = vec![self.all(depth)?];
        while self.take("||") {
            all.push(self.all(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::Any(all) })
    }
    fn all(&mut self, depth: usize) -> Result<Node, ExpressionError> {
        let mut all = vec![self.unit(depth)?];
        while self.take("&&") {
            all.push(self.unit(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::All(all) })
    }
    fn unit(&mut self, depth: usize) -> Result<Node, ExpressionError> {
        if depth > DEEPEST {
            return Err(self.wrong(&format!("nested deeper than {DEEPEST}")));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            return if self.take(")") { Ok(inner) } else { Err(self.wrong("expected `)`")) };
        }
        if self.take("!") {
            return Ok(Node::Not(Box::new(self.unit(depth + 1)?)));
        }
        self.comparison()
    }
    fn comparison(&mut self) -> Result<Node, ExpressionError> {
        let Some(label) = self.word().map(str::to_owned) else {
            return Err(self.wrong("expected a label, for example `site == \"ams\"`"));
        };
        if self.take("==") {
            return Ok(Node::In(label, vec![self.value()?]));
        }
        if self.take("!=") {
            return Ok(Node::Not(Box::new(Node::In(label, vec![self.value()?]))));
        }
        let before = self.at;
        let word = self.word().map(str::to_owned);
        match word.as_deref() {
            Some("in") => Ok(Node::In(label, self.values()?)),
            Some("not") if self.word() == Some("in") => {
                Ok(Node::Not(Box::new(Node::In(label, self.values()?))))
            }
            _ => {
                self.at = before;
                Err(self.wrong(&format!("expected `==`, `!=`, `in` or `not in` after `{label}`")))
            }
        }
    }
    fn value(&mut self) -> Result<String, ExpressionError> {
        let quote = match self.peek() {
            Some(q @ ('"' | '\'')) => q,
            _ => return Err(self.wrong("expected a value in quotes")),
        };
        let rest = &self.text[self.at + 1..];
        let Some(end) = rest.find(quote) else {
            return Err(self.wrong("this value's closing quote is missing"));
        };
        self.at += end + 2;
        Ok(rest[..end].to_owned())
    }
    fn values(&mut self) -> Result<Vec<String>, ExpressionError> {
        if !self.take("[") {
            return Err(self.wrong("expected a list like `[\"a\", \"b\"]`"));
        }
        let mut out = Vec::new();
        while !self.take("]") {
            if !out.is_empty() && !self.take(",") {
                return Err(self.wrong("expected `,` or `]`"));
            }
            if !out.is_empty() && self.take("]") {
                break;
            }
            out.push(self.value()?);
        }
        if out.is_empty() { Err(self.wrong("a list with at least one value is needed")) } else { Ok(out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn expressions_hold_for_whom_they_name() {
        let ams = labels(&[("site", "ams"), ("hw", "rpi4")]);
        for (text, holds) in [
            (r#"site == "ams""#, true),
            (r#"site != "ams""#, false),
            (r#"site == 'ams' && hw in ["x86", "rpi4",]"#, true),
            (r#"site == "ams" && hw not in ["rpi4"]"#, false),
            (r#"site == "ber" || hw == "rpi4" && site == "ams""#, true),
            (r#"(site == "ber" || hw == "rpi4") && site == "ber""#, false),
            (r#"!(site == "ber") && !!(hw == "rpi4")"#, true),
            // It has no such label.
            (r#"ring == "hil""#, false),
            (r#"ring != "hil""#, true),
            (r#"ring in ["hil"]"#, false),
            (r#"ring not in ["hil"]"#, true),
        ] {
            let e = Expression::parse(text).unwrap();
            assert_eq!(e.holds(&ams), holds, "{text}");
            let back: Expression = serde_json::from_value(serde_json::to_value(&e).unwrap()).unwrap();
            assert_eq!(back, e);
        }
        assert_eq!(
            Expression::parse(r#"b == "1" || a in ["2"] && !(b == "3")"#).unwrap().labels(),
            ["a", "b"]
        );
    }

    #[test]
    fn mistakes_name_their_column_and_what_would_be_right() {
        for (text, says) in [
            ("", "expected a label"),
            ("site", "expected `==`, `!=`, `in` or `not in` after `site`"),
            ("site = \"ams\"", "expected `==`"),
            ("site == ams", "column 9 of the expression: expected a value in quotes, found `ams`"),
            ("site == \"ams", "closing quote"),
            ("site in \"ams\"", "expected a list"),
            ("site in []", "at least one value"),
            ("site in [\"a\" \"b\"]", "expected `,` or `]`"),
            ("(site == \"a\"", "expected `)`"),
            ("site == \"a\" hw == \"b\"", "expected `&&`, `||` or the end"),
            ("site not \"a\"", "`not in`"),
            ("site == \"ä\" & x", "column 13"),
        ] {
            let e = Expression::parse(text).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
        assert!(Expression::parse(&"(".repeat(100)).is_err());
        assert!(Expression::parse(&"!".repeat(5000)).is_err());
    }
}
