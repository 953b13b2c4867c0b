//! Strict in, canonical out.

use longshore_trust::tuf::{MAX_DEPTH, MAX_INTEGER, canonical, parse_json};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[test]
fn whatever_could_be_read_in_two_ways_is_refused() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        "1.0",
        "1e3",
        "1E3",
        "-0",
        "01",
        "-01",
        "+1",
        "-",
        "9007199254740992",
        "-9007199254740992",
        "99999999999999999999999999",
        "{} {}",
        "{}x",
        "[1,]",
        "{\"a\":1,}",
        "[,1]",
        "{a:1}",
        "'a'",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"a\nb\"",
        "\"unfinished",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "",
        " ",
        "\u{feff}{}",
        "// note\n{}",
        "[1 2]",
        "{\"a\" 1}",
        "[",
        "{",
        "{\"a\":",
    ] {
        assert!(parse_json(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(parse_json(b"\"\xff\"").is_err(), "not UTF-8");
    assert!(parse_json(b"\"\xed\xa0\x80\"").is_err(), "a surrogate in UTF-8");
}
#[test]
fn nesting_has_a_limit() {
    let nested = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
    assert!(parse_json(&nested(MAX_DEPTH)).is_ok());
    assert!(parse_json(&nested(MAX_DEPTH + 1)).is_err());
    assert!(parse_json(&nested(1_000_000)).is_err());
    let objects = format!("{}1{}", "{\"a\":".repeat(33), "}".repeat(33));
    assert!(parse_json(objects.as_bytes()).is_err());
}
#[test]
fn values_are_read_as_written() {
    for (text, value) in [
        ("  [ ]  ", json!([])),
        (r#"{"b":[true,false,null],"a":{}}"#, json!({"a": {}, "b": [true, false, null]})),
        ("9007199254740991", json!(MAX_INTEGER)),
        ("-9007199254740991", json!(-MAX_INTEGER)),
        (r#""\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00\u0000""#, json!("\"\\/\u{8}\u{c}\n\r\tä😀\0")),
    ] {
        assert_eq!(parse_json(text.as_bytes()).unwrap(), value);
    }
}
#[test]
fn the_canonical_form_is_that_of_olpc() {
    let value = json!({"z": [1, -2, null, true], "é": "\"\\\n\t/", "a": {"B": 1, "b": 2}, "": 0});
    let expected = "{\"\":0,\"a\":{\"B\":1,\"b\":2},\"z\":[1,-2,null,true],\"é\":\"\\\"\\\\\n\t/\"}";
    assert_eq!(String::from_utf8(canonical(&value)).unwrap(), expected);
}

/// Trees that metadata may hold; strings of any characters.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-MAX_INTEGER..=MAX_INTEGER).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|m| Value::from(m.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn every_tree_comes_back_from_every_layout(value in tree()) {
        prop_assert_eq!(&parse_json(&serde_json::to_vec(&value).unwrap()).unwrap(), &value);
        prop_assert_eq!(&parse_json(&serde_json::to_vec_pretty(&value).unwrap()).unwrap(), &value);
    }
    #[test]
    fn different_trees_have_different_canonical_forms(a in tree(), b in tree()) {
        prop_assert_eq!(a == b, canonical(&a) == canonical(&b));
    }
    #[test]
    fn a_canonical_form_without_control_characters_is_a_fixed_point(value in tree()) {
        let form = canonical(&value);
        prop_assume!(!form.iter().any(|b| *b < 0x20));
        let back = parse_json(&form).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(canonical(&back), form);
    }
    /// Two readers, one answer: whatever is accepted here, a stock reader accepts with the same value.
    #[test]
    fn no_differential_with_a_stock_reader(bytes in prop::collection::vec(prop::sample::select(
        b" {}[]\",:\\u0123456789abcdefntrue-.eE+\x00\x1f\xc3\xa4\xff".to_vec()), 0..40)) {
        if let Ok(value) = parse_json(&bytes) {
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        }
    }
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_json(&bytes);
    }
    #[test]
    fn a_changed_layout_never_panics_and_never_differs(value in tree(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = serde_json::to_vec(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(value) = parse_json(&bytes) {
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        }
    }
}
