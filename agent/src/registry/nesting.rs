//! How deep brackets stand in each other, before a parser is asked: what the YAML scanner does grows
//! with the square of that.

/// Brackets within brackets that a text may have. The parser itself gives up at 128 values within
/// values, but only after the scanner has seen the whole document.
const MOST: usize = 256;

/// Whether a text nests deeper than [`MOST`]. Judged without a parser, so only nearly: quoted texts
/// and comments are left out, block texts are not.
pub(super) fn is_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    // Whether a value may begin: a quotation mark elsewhere is a part of a plain text.
    let mut may_begin = true;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let begins = std::mem::replace(&mut may_begin, byte.is_ascii_whitespace());
        match byte {
            b'[' | b'{' if begins || depth > 0 => {
                depth += 1;
                may_begin = true;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' | b':' if depth > 0 => may_begin = true,
            b'#' if begins => skip_past(&mut bytes, b'\n', false),
            b'"' if begins => skip_past(&mut bytes, b'"', true),
            b'\'' if begins => skip_past(&mut bytes, b'\'', false),
            _ => {}
        }
        if depth > MOST {
            return true;
        }
    }
    false
}

fn skip_past(bytes: &mut std::str::Bytes<'_>, end: u8, has_escapes: bool) {
    while let Some(byte) = bytes.next() {
        if byte == end {
            return;
        }
        if has_escapes && byte == b'\\' {
            bytes.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, is_too_deep};

    #[track_caller]
    fn check(text: &str, expected: bool) {
        let start: String = text.chars().take(40).collect();
        assert_eq!(is_too_deep(text), expected, "{start}");
    }

    #[test]
    fn brackets_count_where_they_are_brackets() {
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("[ ", " ]"), ("- [\n", "\n]")] {
            check(&open.repeat(MOST + 1), true);
            check(&open.repeat(MOST), false);
            let balanced = format!("{}{}\n", open.repeat(MOST), close.repeat(MOST));
            check(&balanced.repeat(3), false);
        }
        check(&"[],".repeat(10_000), false);
        check(&format!("a: \"{}\"", "[".repeat(1000)), false);
        check(&format!("a: \"\\\"{}\"", "[".repeat(1000)), false);
        check(&format!("a: '{}'", "[".repeat(1000)), false);
        check(&format!("a: b # {}", "[".repeat(1000)), false);
        check(&format!("a: b{}", "[".repeat(1000)), false);
        check(&"[\"]\",".repeat(1000), true);
        check(&"[it's],".repeat(1000), false);
        check(&"[a#]\n".repeat(1000), false);
    }
}
