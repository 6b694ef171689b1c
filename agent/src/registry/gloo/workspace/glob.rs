//! Patterns of names: `*` stands for any text.

/// A text in which `*` stands for any text, also for none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Glob(String);

impl Glob {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether all of `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return self.0 == text;
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut left) = text.strip_prefix(start).and_then(|it| it.strip_suffix(end)) else {
            return false;
        };
        // The first place for each piece leaves the most for the next ones, so none is tried twice.
        for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
            let Some((_, after)) = left.split_once(piece) else {
                return false;
            };
            left = after;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::Glob;

    #[track_caller]
    fn check(glob: &str, text: &str, expected: bool) {
        assert_eq!(Glob::new(glob).matches(text), expected, "{glob} {text}");
    }

    #[test]
    fn globs() {
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("*", "anything", true);
        check("**", "anything", true);
        check("web", "web", true);
        check("web", "web-1", false);
        check("web*", "web", true);
        check("web*", "web-1", true);
        check("web*", "my-web", false);
        check("*web", "my-web", true);
        check("*-prod", "-prod", true);
        check("a*a", "a", false);
        check("a*a", "aa", true);
        check("a*b*c", "a-b-c", true);
        check("a*b*c", "a-c-b", false);
        check("a*bc*bc", "abc", false);
        check("a*bc*bc", "a-bc-bc", true);
        check("*a*b*", "xxbxxa", false);
        check("?", "a", false);
    }

    #[test]
    fn many_stars_take_no_longer() {
        let text = "a".repeat(100_000);
        check(&"a*".repeat(1000), &text, true);
        check(&format!("{}b", "a*".repeat(1000)), &text, false);
        check(&format!("{}b*", "*a".repeat(1000)), &text, false);
    }

    /// The definition, slowly.
    fn naive(glob: &[u8], text: &[u8]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn as_defined(glob in "[ab*]{0,8}", text in "[ab]{0,8}") {
            let expected = naive(glob.as_bytes(), text.as_bytes());
            prop_assert_eq!(Glob::new(glob).matches(&text), expected);
        }
    }
}
