//! Numbers in sentences for people.

use std::fmt::Display;

/// So many of something, `one` being the word for a single one: "1 device", "2 devices", "2 classes".
#[must_use]
pub fn counted<N: Display + PartialEq + From<u8>>(n: N, one: &str) -> String {
    let ending = match (n == N::from(1), one.ends_with('s')) {
        (true, _) => "",
        (false, true) => "es",
        (false, false) => "s",
    };
    format!("{n} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_all_others_are_many() {
        assert_eq!(counted(0u64, "row"), "0 rows");
        assert_eq!(counted(1usize, "more device"), "1 more device");
        assert_eq!(counted(2u32, "class"), "2 classes");
        assert_eq!(counted(1.0, "device"), "1 device");
    }
}
