//! Host patterns: exact names and `*.` wildcards, valid and normalized by construction.

use std::{fmt, sync::Arc};

/// Longest name in text form: 255 bytes on the wire (RFC 1035 §2.3.4) less one length byte and
/// the root.
const NAME_TEXT_BYTES: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const LABEL_BYTES: usize = 63;

/// A lower-case host name without trailing dot, or all names below one.
///
/// A wildcard holds names at any depth below it, and not its apex. Source: `hosts` in
/// <https://istio.io/latest/docs/reference/config/networking/service-entry/>; labels by RFC 1123 §2.1.
///
/// Patterns sort by their labels from the right, so what lies below a name follows it directly.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostPattern {
    /// Labels from the right, each after its length: `\x03com\x07example`.
    reversed: Arc<[u8]>,
    wildcard: bool,
}

/// Why a text is no host pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidHost {
    #[error("it is empty")]
    Empty,
    #[error("a bare star would declare every name; write `*.` and a domain")]
    FullWildcard,
    /// Valid for Istio, but refused here.
    #[error(
        "a star with text in one label also covers look-alikes such as `evil` + the rest; write `*.` and a domain"
    )]
    PartialWildcard,
    #[error("the name is longer than {NAME_TEXT_BYTES} bytes")]
    TooLong,
    #[error(
        "the label {0} (counted from the left) is not 1 to {LABEL_BYTES} letters, digits and inner hyphens"
    )]
    Label(usize),
    #[error("a star may only be the whole first label")]
    StarInside,
    #[error("the last label is a number, so this is an address or a slip; hosts are names")]
    NumericTop,
}

impl HostPattern {
    /// Reads `example.com`, `Example.com.` or `*.example.com`.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.is_empty() || text == "." {
            return Err(InvalidHost::Empty);
        }
        if name == "*" {
            // `*.` as well: without its dot it is the same.
            return Err(InvalidHost::FullWildcard);
        }
        let (name, star) = match name.strip_prefix('*') {
            Some(rest) => (rest.to_owned(), true),
            None => (name, false),
        };
        let (name, wildcard) = match name.strip_prefix('.') {
            Some(rest) if star => (rest.to_owned(), true),
            _ => (name, false),
        };
        if name.contains('*') {
            return Err(InvalidHost::StarInside);
        }
        check_labels(&name, star && !wildcard)?;
        // A wildcard stands for at least one more label of one byte and its dot.
        if name.len() + 2 * usize::from(wildcard) > NAME_TEXT_BYTES {
            return Err(InvalidHost::TooLong);
        }
        if star && !wildcard {
            return Err(InvalidHost::PartialWildcard);
        }
        Ok(Self { reversed: reverse(name.rsplit('.')), wildcard })
    }

    /// Reads back a name from its wire form.
    pub fn from_wire(wire: &[u8], wildcard: bool) -> Option<Self> {
        let mut labels = Vec::new();
        let mut rest = wire;
        loop {
            let (&length, tail) = rest.split_first()?;
            if length == 0 {
                break;
            }
            let (label, tail) = tail.split_at_checked(usize::from(length))?;
            labels.push(std::str::from_utf8(label).ok()?);
            rest = tail;
        }
        let text = labels.join(".");
        Self::parse(&if wildcard { format!("*.{text}") } else { text }).ok()
    }

    /// How specific it is, as rules carry it.
    pub fn rank(&self) -> u8 {
        exeat_common::id::rank(!self.wildcard, self.labels())
    }

    pub const fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Labels, without the star: 253 bytes hold at most 127.
    pub fn labels(&self) -> u8 {
        self.iter().fold(0, |labels, _| labels + 1)
    }

    /// The name in wire form, without the star: length bytes, lower case, root byte.
    pub fn wire(&self) -> Vec<u8> {
        let with_length = self.split();
        let mut labels: Vec<&[u8]> = with_length.collect();
        labels.reverse();
        let mut wire = labels.concat();
        wire.push(0);
        wire
    }

    /// Bytes of [`Self::wire`].
    pub fn wire_length(&self) -> usize {
        self.reversed.len() + 1
    }

    /// Whether every name of `other` is a name of `self`.
    pub fn covers(&self, other: &Self) -> bool {
        if self.wildcard {
            // At a label boundary, because `other` starts with whole labels of `self`.
            other.reversed.starts_with(&self.reversed)
                && (other.reversed.len() > self.reversed.len() || other.wildcard)
        } else {
            self == other
        }
    }

    /// The wildcards that cover this pattern, itself left out, the longest first.
    pub fn covering(&self) -> impl Iterator<Item = Self> + '_ {
        let mut ends: Vec<usize> = self
            .iter()
            .scan(0, |end, label| {
                *end += label.len() + 1;
                Some(*end)
            })
            .collect();
        if self.wildcard {
            ends.pop();
        } else if ends.len() > 1 {
            // `*.example.com` does not cover `example.com`.
            ends.pop();
        } else {
            ends.clear();
        }
        ends.into_iter()
            .rev()
            .map(|end| Self { reversed: self.reversed[..end].into(), wildcard: true })
    }

    /// Whether `self` lies below the name of `other` (stars ignored), or is that name.
    pub fn is_within(&self, other: &Self) -> bool {
        self.reversed.starts_with(&other.reversed)
    }

    /// The name without the star.
    #[must_use]
    pub fn apex(&self) -> Self {
        Self { reversed: Arc::clone(&self.reversed), wildcard: false }
    }

    /// Everything below the name.
    #[must_use]
    pub fn below(&self) -> Self {
        Self { reversed: Arc::clone(&self.reversed), wildcard: true }
    }

    /// Labels from the right that both names have in common.
    pub fn shared_labels(&self, other: &Self) -> usize {
        self.iter().zip(other.iter()).take_while(|(a, b)| a == b).count()
    }

    /// Labels from the right.
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.split().map(|label| &label[1..])
    }

    /// Labels from the right, each with the length before it.
    fn split(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.reversed;
        std::iter::from_fn(move || {
            let (&length, _) = rest.split_first()?;
            let (label, tail) = rest.split_at(usize::from(length) + 1);
            rest = tail;
            Some(label)
        })
    }
}

fn check_labels(name: &str, first_may_begin_with_hyphen: bool) -> Result<(), InvalidHost> {
    for (index, label) in name.split('.').enumerate() {
        let label = if index == 0 && first_may_begin_with_hyphen {
            label.strip_prefix('-').unwrap_or(label)
        } else {
            label
        };
        if !is_dns_label(label) {
            return Err(InvalidHost::Label(index + 1));
        }
    }
    let top = name.rsplit('.').next().unwrap_or_default();
    if top.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidHost::NumericTop);
    }
    Ok(())
}

/// Letters, digits and inner hyphens, at most 63 bytes (RFC 1123 §2.1).
pub(crate) fn is_dns_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    bytes.len() <= LABEL_BYTES
        && ends.is_some_and(|(first, last)| {
            first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric()
        })
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn reverse<'a>(labels_from_the_right: impl Iterator<Item = &'a str>) -> Arc<[u8]> {
    let mut reversed = Vec::new();
    for label in labels_from_the_right {
        reversed.push(u8::try_from(label.len()).expect("invariant: labels were checked"));
        reversed.extend_from_slice(label.as_bytes());
    }
    reversed.into()
}

impl fmt::Display for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard {
            formatter.write_str("*.")?;
        }
        let labels: Vec<&[u8]> = self.iter().collect();
        for (index, label) in labels.iter().rev().enumerate() {
            if index > 0 {
                formatter.write_str(".")?;
            }
            formatter.write_str(&String::from_utf8_lossy(label))?;
        }
        Ok(())
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HostPattern({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{HostPattern, InvalidHost};

    fn host(text: &str) -> HostPattern {
        HostPattern::parse(text).expect("a valid pattern")
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, InvalidHost>) {
        let got = HostPattern::parse(text).map(|pattern| pattern.to_string());
        assert_eq!(got, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn syntax() {
        check("example.com", Ok("example.com"));
        check("Trailing.Dot.example.", Ok("trailing.dot.example"));
        check("shortname", Ok("shortname"));
        check("*.Example.com", Ok("*.example.com"));
        check("*.test", Ok("*.test"));
        check("1.2.3.x4", Ok("1.2.3.x4"));
        check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
        check("", Err(InvalidHost::Empty));
        check(".", Err(InvalidHost::Empty));
        check("*", Err(InvalidHost::FullWildcard));
        check("*.", Err(InvalidHost::FullWildcard));
        check("-", Err(InvalidHost::Label(1)));
        check("a..b", Err(InvalidHost::Label(2)));
        check(".a", Err(InvalidHost::Label(1)));
        check("a-.b", Err(InvalidHost::Label(1)));
        check("*..a", Err(InvalidHost::Label(1)));
        check("a.b..", Err(InvalidHost::Label(3)));
        check("_sip.example.com", Err(InvalidHost::Label(1)));
        check("bücher.example", Err(InvalidHost::Label(1)));
        check("foo.*.com", Err(InvalidHost::StarInside));
        check("foo*.bar.com", Err(InvalidHost::StarInside));
        check("**.bar.com", Err(InvalidHost::StarInside));
        check("*.*.com", Err(InvalidHost::StarInside));
        check("203.0.113.4", Err(InvalidHost::NumericTop));
        check("*.4", Err(InvalidHost::NumericTop));
        check("*washingtonpost.com", Err(InvalidHost::PartialWildcard));
        check("*-a.foo.com", Err(InvalidHost::PartialWildcard));
        check(&format!("{}.com", "a".repeat(63)), Ok(&format!("{}.com", "a".repeat(63))));
        check(&format!("{}.com", "a".repeat(64)), Err(InvalidHost::Label(1)));
        let long = "a.".repeat(126) + "a";
        check(&long, Ok(&long));
        check(&format!("b{long}"), Err(InvalidHost::TooLong));
        check(&format!("*.{long}"), Err(InvalidHost::TooLong));
    }

    #[track_caller]
    fn check_covers(pattern: &str, other: &str, expected: bool) {
        assert_eq!(host(pattern).covers(&host(other)), expected, "{pattern} {other}");
        let found = host(other).covering().any(|covering| covering == host(pattern));
        assert_eq!(found, expected && pattern != other, "covering {pattern} {other}");
    }

    #[test]
    fn cover() {
        check_covers("*.example.com", "a.example.com", true);
        check_covers("*.example.com", "a.b.example.com", true);
        check_covers("*.example.com", "*.example.com", true);
        check_covers("*.example.com", "*.b.example.com", true);
        check_covers("*.example.com", "example.com", false);
        check_covers("*.example.com", "badexample.com", false);
        check_covers("*.b.example.com", "*.example.com", false);
        check_covers("*.com", "example.com", true);
        check_covers("*.com", "com", false);
        check_covers("example.com", "example.com", true);
        check_covers("example.com", "*.example.com", false);
        check_covers("a.example.com", "b.example.com", false);
    }

    #[test]
    fn covering_wildcards_come_longest_first() {
        let found: Vec<String> = host("a.b.c").covering().map(|it| it.to_string()).collect();
        assert_eq!(found, ["*.b.c", "*.c"]);
        let found: Vec<String> = host("*.b.c").covering().map(|it| it.to_string()).collect();
        assert_eq!(found, ["*.c"]);
    }

    #[test]
    fn wire_form_round_trips() {
        assert_eq!(host("*.a.bc").wire(), b"\x01a\x02bc\x00");
        assert_eq!(host("a.bc").labels(), 2);
        assert_eq!(host("*.a.bc").wire_length(), 6);
        for text in ["*.a.bc", "a.bc", "x"] {
            let pattern = host(text);
            let again = HostPattern::from_wire(&pattern.wire(), pattern.is_wildcard());
            assert_eq!(again, Some(pattern));
        }
        assert_eq!(HostPattern::from_wire(b"\x05ab", false), None);
        assert_eq!(HostPattern::from_wire(b"", false), None);
    }

    #[test]
    fn what_lies_below_follows_in_order() {
        let mut sorted = ["b.a", "*.a", "a", "c", "x.b.a", "ba"].map(host);
        sorted.sort();
        let text = sorted.map(|it| it.to_string());
        assert_eq!(text, ["a", "*.a", "b.a", "x.b.a", "c", "ba"]);
    }
}
