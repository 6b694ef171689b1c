//! Every case of `tests/conformance`, and proof that each of them can fail.

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use super::{CaseFile, CaseResult, read};
use crate::trial::Verdict;

/// Files that there are at least, so that none gets lost unseen.
const FILES: usize = 60;

fn files() -> Vec<CaseFile> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let files = read(&[folder]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert!(files.len() >= FILES, "{} files", files.len());
    files
}

/// A panic in one file shall not hide the others.
fn run(file: &CaseFile) -> Result<CaseResult, String> {
    catch_unwind(AssertUnwindSafe(|| file.run())).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("panics: {}", text.unwrap_or_default())
    })
}

fn name(file: &CaseFile) -> String {
    file.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn every_case_passes() {
    let mut list = String::new();
    let mut good = 0;
    for file in files() {
        match run(&file) {
            Ok(result) if result.failed == 0 && result.passed > 0 => good += 1,
            Ok(result) => {
                writeln!(
                    list,
                    "{}: {} passed, {} failed",
                    name(&file),
                    result.passed,
                    result.failed
                )
                .expect("a string");
                for it in result.mismatches {
                    let flow = it.about.map_or_else(String::new, |flow| {
                        let dns = flow.dns.unwrap_or_else(|| "no name".to_owned());
                        format!(
                            " [{}] {}, {dns}, {}:",
                            it.flow.unwrap_or_default(),
                            flow.client,
                            flow.dest
                        )
                    });
                    writeln!(
                        list,
                        "   {}{flow} expected {}, got {} ({})",
                        it.what, it.expected, it.got, it.why
                    )
                    .expect("a string");
                }
            }
            Err(panic) => writeln!(list, "{}: {panic}", name(&file)).expect("a string"),
        }
    }
    assert!(list.is_empty(), "{good} files are good, these are not:\n{list}");
}

const fn inverted(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Deny => Verdict::Allow,
        Verdict::Allow | Verdict::RedirectSidecar | Verdict::RedirectGateway => Verdict::Deny,
    }
}

#[test]
fn no_case_passes_with_its_verdicts_inverted() {
    for mut file in files() {
        // A panic passes nothing either; the other test tells of it.
        let Ok(right) = run(&file) else { continue };
        for flow in file.cases.iter_mut().flat_map(|case| &mut case.0.expect) {
            flow.verdict = inverted(flow.verdict);
        }
        let wrong = run(&file).expect("it did not panic before");
        let name = name(&file);
        assert!(wrong.failed > 0, "{name} passes with wrong verdicts");
        assert_eq!(wrong.skipped, right.skipped, "{name}");
        // A flow that is judged right cannot be judged as the opposite as well.
        let flows = |result: &CaseResult| {
            let named = result.mismatches.iter().filter_map(|it| Some((it.case.clone(), it.flow?)));
            let mut flows: Vec<(String, usize)> = named.collect();
            flows.dedup();
            flows
        };
        let (right_failed, wrong_failed) = (flows(&right), flows(&wrong));
        let total = right.passed + right_failed.len();
        assert_eq!(total, wrong.passed + wrong_failed.len(), "{name}");
        assert!(wrong.passed <= right_failed.len(), "{name}: {wrong:#?}");
    }
}
