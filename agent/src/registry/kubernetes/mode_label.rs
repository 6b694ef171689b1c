//! The label by which a namespace or a pod says its own mode.

use crate::registry::{findings::Findings, istio::mesh::Mode, labels::Labels, report::Code};

const LABEL: &str = "exeat.dev/mode";

/// The mode that labels ask for; none: they say nothing. What is no mode asks for the strict one:
/// who writes the label wants something other than what is.
pub fn mode(labels: &Labels) -> Option<Mode> {
    labels.get(LABEL).map(|value| match value.as_str() {
        "allow-any" => Mode::AllowAny,
        _ => Mode::RegistryOnly,
    })
}

/// Reports a value that is no mode.
pub(super) fn check(labels: &Labels, found: &mut Findings<'_>) {
    let value = labels.get(LABEL).map(String::as_str);
    if let Some(value) = value.filter(|it| !["allow-any", "registry-only"].contains(it)) {
        let message =
            format!("`{value}` is neither registry-only nor allow-any; it counts as registry-only");
        found.add(Code::ModeLabel, format!("metadata.labels[{LABEL}]"), message);
    }
}
