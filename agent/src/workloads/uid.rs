//! The uid of a pod, in whatever way it is written: the API has hyphens in it, the systemd driver
//! underscores, and of a static pod it is a hash without either.

use std::fmt;

/// Names one pod for good.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PodUid(u128);

impl PodUid {
    /// Reads 32 hexadecimal digits: in one piece, or as a UUID (RFC 9562 §4) with hyphens or
    /// underscores.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = match text.len() {
            32 => text.to_owned(),
            36 => {
                let separator = if text.contains('_') { '_' } else { '-' };
                let groups: Vec<&str> = text.split(separator).collect();
                let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
                if lengths != [8, 4, 4, 4, 12] {
                    return None;
                }
                groups.concat()
            }
            _ => return None,
        };
        // A sign would be taken for a part of the number.
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(&digits, 16).ok().filter(|_| is_plain).map(Self)
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::PodUid;

    #[test]
    fn one_uid_in_three_ways() {
        let uid = PodUid::parse("0123abcd-89ab-4def-8123-456789abcdef").expect("as in the API");
        for text in ["0123abcd_89ab_4def_8123_456789abcdef", "0123ABCD89ab4def8123456789abcdef"] {
            assert_eq!(PodUid::parse(text), Some(uid), "{text}");
        }
        assert_eq!(uid.to_string(), "0123abcd89ab4def8123456789abcdef");
    }

    #[test]
    fn nothing_else_is_one() {
        for text in [
            "",
            "0123abcd-89ab-4def-8123_456789abcdef",
            "0123abcd89ab-4def-8123-456789abcdef-",
            "+123abcd89ab4def8123456789abcdef",
            "0123abcd89ab4def8123456789abcde",
            "0123abcd89ab4def8123456789abcdeg",
            "0123abcd-89ab-4def-8123-456789abcdeé",
        ] {
            assert_eq!(PodUid::parse(text), None, "{text}");
        }
    }
}
