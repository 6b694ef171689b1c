//! Rules for one source file: its first line, its length, where `unsafe` may stand, and words that stay out.

use super::File;

/// Above this, a file is mentioned: it may hold more than one idea.
const QUESTIONED_LINES: usize = 400;
/// Above this, a file is refused. Unit tests at its end do not count.
const REFUSED_LINES: usize = 600;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// The only files with `unsafe` in them, each with the reason.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("agent/src/datapath/pod.rs", "the one promise to aya that a type is plain bytes"),
    ("agent/src/datapath/syscall.rs", "system calls that aya does not offer"),
    ("ebpf/src/bin/replay/floor.rs", "as the other kernel programs, for measurements only"),
    ("ebpf/src/bin/replay/main.rs", "as the other kernel programs, for measurements only"),
    (
        "ebpf/src/answer/passes.rs",
        "attributes that export functions, so that each is verified once",
    ),
    ("ebpf/src/count.rs", "per-CPU counters are written through a pointer from the kernel"),
    ("ebpf/src/header.rs", "attributes that export functions, so that each is verified once"),
    ("ebpf/src/load/connection.rs", "the context of a connection is a pointer from the kernel"),
    ("ebpf/src/load/frame.rs", "a frame is read and written through pointers from the kernel"),
    ("ebpf/src/load/head.rs", "a frame is read through a pointer from the kernel"),
    ("ebpf/src/load/option.rs", "a socket option is answered through pointers from the kernel"),
    ("ebpf/src/load/replace.rs", "a frame is replaced through pointers from the kernel"),
    ("ebpf/src/load/scratch.rs", "a per-CPU slot is a pointer from the kernel"),
    ("ebpf/src/load/socket.rs", "the context of a socket call is a pointer from the kernel"),
    (
        "ebpf/src/main.rs",
        "attributes that place the licence and the entry points in their sections",
    ),
    ("ebpf/src/passed.rs", "a per-CPU entry is written through a pointer from the kernel"),
    ("ebpf/src/tables/clock.rs", "the clock is a helper of the kernel"),
    ("ebpf/src/tables/memory.rs", "map values are pointers from the kernel"),
    ("ebpf/src/tables/mod.rs", "map values are pointers from the kernel"),
    ("ebpf/src/tables/share.rs", "map values are pointers from the kernel"),
    ("ebpf/src/tables/sockets.rs", "what is kept with a socket is a pointer from the kernel"),
    ("ebpf/src/tables/wildcard.rs", "map values are pointers from the kernel"),
    (
        "ebpf/src/tables/word.rs",
        "a word in a map value is read and written whole, by inline assembly too",
    ),
    ("tests/src/bin/probe/leak/option.rs", "a socket option that no crate offers"),
    ("tests/src/bin/probe/leak/uring.rs", "entries of io_uring point into the caller's memory"),
    ("tests/src/netns.rs", "entering a namespace between fork and exec"),
];

/// Places on the machine of whoever wrote a line. They mean nothing on any other machine.
const FOREIGN_PLACES: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("../sha", "red")];

/// All complaints about one file.
pub(super) fn check(file: &File) -> Vec<String> {
    let mut complaints = foreign_places(file);
    if file.is_rust() {
        complaints.extend(first_line(file));
        complaints.extend(length(file));
        complaints.extend(unsafe_code(file));
    }
    complaints
}

/// What deserves a look, but is not refused: long files, and a permission that nothing uses.
pub(super) fn notes(files: &[File]) -> Vec<String> {
    let mut notes = Vec::new();
    for File { path, text } in files.iter().filter(|file| file.is_rust()) {
        let lines = counted_lines(text);
        if may_be_long(path) && lines <= REFUSED_LINES {
            notes.push(format!("{path} is not too long: take it off the list"));
        } else if lines > QUESTIONED_LINES {
            notes.push(format!("{path} has {lines} lines: is it one idea?"));
        }
        if may_be_unsafe(path) && !text.lines().any(has_unsafe) {
            notes.push(format!("{path} needs no `unsafe`: take it off the list"));
        }
    }
    notes
}

fn first_line(file: &File) -> Option<String> {
    let titled = file.text.starts_with("//! ");
    (!titled).then(|| {
        format!("{}:1: the first line does not say, with `//!`, what the file owns", file.path)
    })
}

fn length(file: &File) -> Option<String> {
    let lines = counted_lines(&file.text);
    (lines > REFUSED_LINES && !may_be_long(&file.path))
        .then(|| format!("{}: {lines} lines without tests, {REFUSED_LINES} at most", file.path))
}

/// Lines before the unit tests.
fn counted_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests =
        lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    tests.unwrap_or(lines.len())
}

fn foreign_places(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in numbered(&file.text) {
        for place in FOREIGN_PLACES.iter().filter(|place| line.contains(**place)) {
            complaints
                .push(format!("{}:{number}: `{place}` is a place on one machine only", file.path));
        }
    }
    complaints
}

/// Clippy knows these rules as well, but it sees only the host's half of the kernel programs.
fn unsafe_code(file: &File) -> Vec<String> {
    let listed = may_be_unsafe(&file.path);
    let lines: Vec<&str> = file.text.lines().collect();
    let mut complaints = Vec::new();
    for (number, line) in numbered(&file.text).filter(|(_, line)| has_unsafe(line)) {
        if !listed {
            complaints.push(format!("{}:{number}: `unsafe` is not for this file", file.path));
        } else if needs_reason(line) && !has_reason(&lines[..number]) {
            complaints
                .push(format!("{}:{number}: `unsafe` without `// SAFETY:` above it", file.path));
        }
    }
    complaints
}

fn may_be_long(path: &str) -> bool {
    LONG_FILES.iter().any(|(listed, _)| *listed == path)
}

fn may_be_unsafe(path: &str) -> bool {
    UNSAFE_FILES.iter().any(|(listed, _)| *listed == path)
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// Whether the code of a line, without its comment and its strings, has the keyword.
fn has_unsafe(line: &str) -> bool {
    let code = without_strings(line);
    let code = code.split("//").next().unwrap_or_default();
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe")
}

fn without_strings(line: &str) -> String {
    let line = line.replace("\\\"", "");
    line.split('"').step_by(2).collect()
}

/// An unsafe block or implementation needs a reason; an attribute or a function's signature does not.
fn needs_reason(line: &str) -> bool {
    line.contains("unsafe {") || line.contains("unsafe impl")
}

/// Whether the comment above the last of these lines, or in it, gives the reason.
fn has_reason(lines: &[&str]) -> bool {
    let Some((last, above)) = lines.split_last() else {
        return false;
    };
    let above = above.iter().rev().map(|line| line.trim_start());
    // Between the comment and the block there may be an attribute or the start of the statement.
    last.contains("// SAFETY:")
        || above
            .take_while(|line| !line.is_empty() && !line.ends_with('}') && !line.ends_with("};"))
            .take(8)
            .any(|line| line.starts_with("// SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[track_caller]
    fn complains(path: &str, text: &str, expected: Option<&str>) {
        let complaints = check(&file(path, text));
        match expected {
            None => assert!(complaints.is_empty(), "{complaints:?}"),
            Some(part) => assert!(
                complaints.len() == 1 && complaints[0].contains(part),
                "{complaints:?} should be one complaint with {part:?}"
            ),
        }
    }

    #[test]
    fn the_first_line_says_what_a_file_owns() {
        complains("a.rs", "//! Owns a.\n", None);
        complains("a.rs", "use b;\n", Some("a.rs:1: the first line"));
        complains("a.md", "use b;\n", None);
    }

    #[test]
    fn long_files_are_refused_without_counting_their_tests() {
        let long = format!("//! A.\n{}", "x();\n".repeat(600));
        complains("a.rs", &long, Some("601 lines"));
        let tested = format!(
            "//! A.\n{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            "x();\n".repeat(500),
            "y();\n".repeat(500)
        );
        complains("a.rs", &tested, None);
        assert_eq!(notes(&[file("a.rs", &tested)]).len(), 1);
    }

    #[test]
    fn unsafe_stands_in_listed_files_only() {
        let block = "//! A.\n// SAFETY: it is so.\nunsafe { x() };\n";
        complains(
            "agent/src/app.rs",
            block,
            Some("agent/src/app.rs:3: `unsafe` is not for this file"),
        );
        complains("ebpf/src/load/frame.rs", block, None);
        complains("agent/src/app.rs", "//! A.\n#![forbid(unsafe_code)]\n", None);
        complains("agent/src/app.rs", "//! A.\n// unsafe in words\nlet a = \"unsafe\";\n", None);
        complains("agent/src/app.rs", "//! A.\nlet a = \"//\"; unsafe fn x() {}\n", Some(":2:"));
    }

    #[test]
    fn unsafe_blocks_give_their_reason() {
        let check = |text: &str, expected| complains("ebpf/src/load/frame.rs", text, expected);
        check("//! A.\nunsafe { x() };\n", Some("without `// SAFETY:`"));
        check("//! A.\n// SAFETY: it is so,\n// and so.\nlet a =\n    unsafe { x() };\n", None);
        check("//! A.\n// SAFETY: of another.\nunsafe { x() };\nunsafe { y() };\n", Some(":4:"));
        check("//! A.\n#[unsafe(no_mangle)]\nunsafe fn x();\n", None);
    }

    #[test]
    fn places_on_one_machine_stay_out() {
        let text = format!("see {}x\n", FOREIGN_PLACES[0]);
        complains("README.md", &text, Some("README.md:1:"));
        complains("README.md", "a piece of work/life balance\n", None);
    }
}
