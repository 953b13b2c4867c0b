//! Inputs from seeds: bytes changed, moved, cut and repeated, and changes that keep the structure around them intact, so
//! that they reach what lies behind the first check. The same seed and number always give the same input.

use serde_json::Value;

/// How inputs of a target are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any bytes.
    Bytes,
    /// JSON behind this many bytes that choose what is done with it.
    Json(usize),
    /// Protobuf.
    Protobuf,
}

/// Longest input, bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Numbers at the edges of what formats and machines hold.
const EDGES: [u64; 16] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 53,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// Texts that formats here care about.
const WORDS: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud800",
    "-0",
    "1e999",
    "1.5",
    "null",
    "true",
    "9007199254740993",
    "..",
    "/",
    "*",
    "\0",
    "\u{feff}",
    "signed",
    "signatures",
    "keyid",
    "version",
    "shape",
    "data",
    "PK\u{3}\u{4}",
    "\r\n",
];

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % (n as u64).max(1)) as usize
    }
}

/// Input number `i`: the seeds themselves first, then mutations of them.
#[must_use]
pub fn input(seeds: &[Vec<u8>], shape: Shape, seed: u64, i: u64) -> Vec<u8> {
    if let Some(whole) = usize::try_from(i).ok().and_then(|i| seeds.get(i)) {
        return whole.clone();
    }
    let mut chance = Chance::new(seed ^ i.wrapping_mul(0xd134_2543_de82_ef95));
    // Each number starts elsewhere, not where its neighbour is one step later.
    chance.bits();
    let mut out = seeds.get(chance.below(seeds.len())).cloned().unwrap_or_default();
    let structured = chance.below(3) > 0;
    for _ in 0..1 + chance.below(5) {
        match shape {
            Shape::Json(prefix) if structured => json(&mut out, prefix, &mut chance),
            Shape::Protobuf if structured => out = protobuf(&out, &mut chance, 0),
            _ => bytes(&mut out, seeds, &mut chance),
        }
    }
    out.truncate(MAX_BYTES);
    out
}

fn bytes(out: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(out.len() + 1);
    let most = 1 << chance.below(9);
    let n = (1 + chance.below(most)).min(out.len() - at);
    match chance.below(9) {
        0 if at < out.len() => out[at] ^= 1 << chance.below(8),
        1 if at < out.len() => out[at] = chance.bits() as u8,
        2 => drop(out.drain(at..at + n)),
        3 => {
            let piece: Vec<u8> = (0..n.max(1)).map(|_| chance.bits() as u8).collect();
            out.splice(at..at, piece);
        }
        4 => {
            let piece = out[at..at + n].to_vec();
            let to = chance.below(out.len() + 1);
            let times = 1 + chance.below(3);
            (0..times).for_each(|_| drop(out.splice(to..to, piece.iter().copied())));
        }
        5 => {
            let edge = EDGES[chance.below(EDGES.len())].to_le_bytes();
            let edge = &edge[..1 << chance.below(4)];
            let end = (at + edge.len()).min(out.len());
            out.splice(at..end, edge.iter().copied());
        }
        6 => drop(out.splice(at..at, WORDS[chance.below(WORDS.len())].bytes())),
        7 => {
            let mut number = EDGES[chance.below(EDGES.len())];
            let mut varint = Vec::new();
            while number >= 0x80 {
                varint.push(number as u8 | 0x80);
                number >>= 7;
            }
            varint.push(number as u8);
            let end = (at + chance.below(3)).min(out.len());
            out.splice(at..end, varint);
        }
        _ => {
            // The end of another seed.
            if let Some(other) = seeds.get(chance.below(seeds.len())) {
                let from = chance.below(other.len() + 1);
                out.truncate(at);
                out.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// Changes one place of the tree; what is no JSON any more is left alone.
fn json(out: &mut Vec<u8>, prefix: usize, chance: &mut Chance) {
    if prefix > 0 && chance.below(4) == 0 && !out.is_empty() {
        let at = chance.below(prefix.min(out.len()));
        out[at] = chance.bits() as u8;
        return;
    }
    let Some((head, text)) = out.split_at_checked(prefix) else { return };
    // What stands behind the tree stays behind it.
    let mut trees = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let Some(Ok(mut tree)) = trees.next() else { return };
    let tail = text[trees.byte_offset()..].to_vec();
    let places = count(&tree);
    let mut at = chance.below(places);
    change(&mut tree, &mut at, chance);
    let mut new = head.to_vec();
    new.extend(tree.to_string().into_bytes());
    new.extend(tail);
    *out = new;
}

fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(all) => all.iter().map(count).sum(),
        Value::Object(all) => all.values().map(count).sum(),
        _ => 0usize,
    }
}

/// Walks to place number `at` and changes it; true once that is done.
fn change(tree: &mut Value, at: &mut usize, chance: &mut Chance) -> bool {
    if *at == 0 {
        *tree = changed(tree, chance);
        return true;
    }
    *at -= 1;
    match tree {
        Value::Array(all) => all.iter_mut().any(|v| change(v, at, chance)),
        Value::Object(all) => all.values_mut().any(|v| change(v, at, chance)),
        _ => false,
    }
}

fn changed(value: &Value, chance: &mut Chance) -> Value {
    let word = |chance: &mut Chance| WORDS[chance.below(WORDS.len())].to_owned();
    match (chance.below(4), value) {
        (0, _) => Value::Null,
        (1, _) => Value::from(EDGES[chance.below(EDGES.len())]),
        (2, Value::String(s)) => Value::from(format!("{s}{}", word(chance))),
        (3, Value::String(s)) => Value::from(s.chars().take(chance.below(s.len() + 1)).collect::<String>()),
        (_, Value::Number(n)) => match chance.below(5) {
            0 => Value::from(n.as_i64().unwrap_or(0).wrapping_add(1)),
            1 => Value::from(n.as_i64().unwrap_or(0).wrapping_neg()),
            2 => Value::from(1.5),
            3 => Value::from(word(chance)),
            _ => Value::from(EDGES[chance.below(EDGES.len())] as i64),
        },
        (_, Value::Array(all)) => {
            let mut all = all.clone();
            if let (false, n) = (all.is_empty(), chance.below(all.len())) {
                match chance.below(3) {
                    0 => drop(all.remove(n)),
                    1 => all.push(all[n].clone()),
                    _ => all = vec![Value::Array(all)],
                }
            }
            Value::Array(all)
        }
        (_, Value::Object(all)) => {
            let mut all = all.clone();
            let keys: Vec<String> = all.keys().cloned().collect();
            if let Some(key) = keys.get(chance.below(keys.len())) {
                let taken = all.remove(key).unwrap_or_default();
                match chance.below(3) {
                    0 => {}
                    1 => drop(all.insert(word(chance), taken)),
                    _ => drop(all.insert(keys[chance.below(keys.len())].clone(), taken)),
                }
            }
            Value::Object(all)
        }
        _ => Value::from(word(chance)),
    }
}

/// One field of a protobuf message.
struct Field {
    key: u64,
    body: Body,
}
enum Body {
    Number(u64),
    Bytes(Vec<u8>),
    Fixed(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in 0..10 {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(7 * shift)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn fields(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let body = match key & 7 {
            0 => Body::Number(varint(&mut bytes)?),
            2 => {
                let n = usize::try_from(varint(&mut bytes)?).ok()?;
                let (mine, rest) = bytes.split_at_checked(n)?;
                bytes = rest;
                Body::Bytes(mine.to_vec())
            }
            kind @ (1 | 5) => {
                let (mine, rest) = bytes.split_at_checked(if kind == 1 { 8 } else { 4 })?;
                bytes = rest;
                Body::Fixed(mine.to_vec())
            }
            _ => return None,
        };
        out.push(Field { key, body });
    }
    Some(out)
}

/// Changes one field somewhere in the message; lengths around it stay right.
fn protobuf(message: &[u8], chance: &mut Chance, depth: usize) -> Vec<u8> {
    let Some(mut all) = fields(message).filter(|f| !f.is_empty()) else {
        let mut out = message.to_vec();
        bytes(&mut out, &[], chance);
        return out;
    };
    let at = chance.below(all.len());
    match chance.below(8) {
        0 => drop(all.remove(at)),
        1 => {
            let twin = Field { key: all[at].key, body: twin(&all[at].body) };
            all.insert(chance.below(all.len()), twin);
        }
        2 => {
            let to = chance.below(all.len());
            all.swap(at, to);
        }
        3 => all[at].key ^= 8 << chance.below(5),
        _ => match &mut all[at].body {
            Body::Number(n) => {
                *n = if chance.below(2) == 0 { EDGES[chance.below(EDGES.len())] } else { chance.bits() % 32 }
            }
            Body::Fixed(b) => {
                let i = chance.below(b.len());
                b[i] = chance.bits() as u8;
            }
            Body::Bytes(b) if depth < 12 => *b = protobuf(b, chance, depth + 1),
            Body::Bytes(b) => b.truncate(b.len() / 2),
        },
    }
    let mut out = Vec::new();
    for field in all {
        put_varint(&mut out, field.key);
        match field.body {
            Body::Number(n) => put_varint(&mut out, n),
            Body::Fixed(b) => out.extend(b),
            Body::Bytes(b) => {
                put_varint(&mut out, b.len() as u64);
                out.extend(b);
            }
        }
    }
    out
}

fn twin(body: &Body) -> Body {
    match body {
        Body::Number(n) => Body::Number(*n),
        Body::Bytes(b) => Body::Bytes(b.clone()),
        Body::Fixed(b) => Body::Fixed(b.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_the_same_again_and_differ_from_each_other() {
        let seeds = vec![br#"{"a":[1,2,{"b":"c"}]}"#.to_vec(), b"\x08\x05\x12\x03\x08\x01\x10".to_vec()];
        for shape in [Shape::Bytes, Shape::Json(0), Shape::Json(2), Shape::Protobuf] {
            let all: Vec<_> = (0..500).map(|i| input(&seeds, shape, 7, i)).collect();
            assert_eq!(all[..2], seeds);
            let again: Vec<_> = (0..500).map(|i| input(&seeds, shape, 7, i)).collect();
            assert_eq!(all, again);
            let distinct: std::collections::BTreeSet<_> = all.iter().collect();
            assert!(distinct.len() > 250, "{shape:?}: {}", distinct.len());
        }
        assert_eq!(
            input(&[], Shape::Bytes, 1, 9),
            input(&[], Shape::Bytes, 1, 9),
            "no seed is no reason to panic"
        );
    }
    #[test]
    fn structured_changes_keep_the_structure() {
        let seed =
            br#"{"signed":{"version":1,"expires":"x"},"signatures":[{"keyid":"a","sig":"b"}]}"#.to_vec();
        let mut chance = Chance::new(1);
        for _ in 0..200 {
            let mut out = seed.clone();
            json(&mut out, 0, &mut chance);
            serde_json::from_slice::<Value>(&out).unwrap();
        }
    }
}
