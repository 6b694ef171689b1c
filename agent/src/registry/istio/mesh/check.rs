//! The rules of the settings of a mesh.

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::{Cap, Mesh, Mode, Visibility, mode, raw};
use crate::registry::{
    document::{self, Format},
    export_to::ExportTo,
    findings::{Checked, Findings},
    header::Header,
    host::is_dns_label,
    labels::LabelSelector,
    report::{Code, Report},
};

/// Where the text stands in a `ConfigMap`.
const TEXT_PATH: &str = "data.mesh";

/// Checks settings that are YAML in a text.
pub(super) fn check_text(header: Header, text: &Value) -> Checked<Mesh> {
    let refuse = |message: String| {
        Checked::refused(Report::new(Code::Mesh, &header.object, TEXT_PATH, message))
    };
    let Some(text) = text.as_str() else {
        return refuse("the settings are YAML in a text (`mesh: |-`)".to_owned());
    };
    match document::parse(text, Format::Yaml).as_deref() {
        Ok([]) => check(header, &Value::Null, TEXT_PATH),
        Ok([settings]) => check(header, settings, TEXT_PATH),
        Ok(_) => refuse("the text holds more than one document".to_owned()),
        Err(error) => refuse(error.to_string()),
    }
}

/// Checks settings; paths of reports begin with `path`.
pub(super) fn check(header: Header, settings: &Value, path: &str) -> Checked<Mesh> {
    let empty = Value::Mapping(Mapping::new());
    let settings = if settings.is_null() { &empty } else { settings };
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(settings, &mut track);
    let raw = match raw::Settings::deserialize(tracked) {
        Ok(raw) => raw,
        Err(error) => {
            let inner = track.path().to_string();
            let path = if inner == "." { path.to_owned() } else { format!("{path}.{inner}") };
            let report = Report::new(Code::FieldType, &header.object, path, error.to_string());
            return Checked::refused(report);
        }
    };
    let object = header.object.clone();
    let mut found = Findings::new(&object, Vec::new());
    let mut root_namespace = raw.root_namespace.clone();
    if root_namespace.is_empty() {
        root_namespace = Mesh::default().root_namespace;
    } else if !is_dns_label(&root_namespace) {
        let message = format!("`{root_namespace}` is not the name of a namespace");
        found.add(Code::Mesh, format!("{path}.rootNamespace"), message);
    }
    exports(&raw, path, &mut found);
    let discovery = raw.discovery_selectors.iter().enumerate().map(|(index, selector)| {
        let path = format!("{path}.discoverySelectors[{index}]");
        LabelSelector::check(selector, &path, Code::Mesh, &mut found)
    });
    let discovery = discovery.collect();
    let visibility = raw.service_entry_visibility.as_ref();
    let mesh = Mesh {
        header,
        mode: raw.outbound_traffic_policy.as_ref().map(|raw| policy(raw, path, &mut found)),
        root_namespace,
        discovery,
        visibility: visibility.map(|raw| visibility_of(raw, path, &mut found)),
        service_export_to: raw.default_service_export_to,
        virtual_service_export_to: raw.default_virtual_service_export_to,
        destination_rule_export_to: raw.default_destination_rule_export_to,
    };
    found.finish(mesh)
}

fn policy(raw: &raw::Policy, path: &str, found: &mut Findings<'_>) -> Mode {
    let path = format!("{path}.outboundTrafficPolicy.mode");
    // The first value of the enum stands for an absent one.
    let text = raw.mode.as_deref().unwrap_or("REGISTRY_ONLY");
    let Some((mode, is_dynamic)) = mode(text) else {
        let message =
            format!("`{text}` is not one of REGISTRY_ONLY, ALLOW_ANY, ALLOW_ANY_DYNAMIC_DNS");
        found.add(Code::Mesh, path, message);
        return Mode::RegistryOnly;
    };
    if is_dynamic {
        let message = format!("`{text}` is held as ALLOW_ANY: no name is looked up again");
        found.add(Code::ModeDynamicForwardProxy, path, message);
    }
    mode
}

fn exports(raw: &raw::Settings, path: &str, found: &mut Findings<'_>) {
    for (field, list, may_hide) in [
        ("defaultServiceExportTo", &raw.default_service_export_to, true),
        ("defaultVirtualServiceExportTo", &raw.default_virtual_service_export_to, false),
        ("defaultDestinationRuleExportTo", &raw.default_destination_rule_export_to, false),
    ] {
        if let Err(error) = ExportTo::check_default(list, may_hide) {
            found.add(Code::ExportTo, format!("{path}.{field}"), error.to_string());
        }
    }
}

fn visibility_of(raw: &raw::Visibility, path: &str, found: &mut Findings<'_>) -> Visibility {
    let path = format!("{path}.serviceEntryVisibility");
    let default = cap(raw.default.as_deref(), &format!("{path}.defaultVisibility"), found);
    let mut policies = Vec::new();
    for (index, policy) in raw.policies.iter().enumerate() {
        let path = format!("{path}.policies[{index}]");
        let cap = cap(policy.visibility.as_deref(), &format!("{path}.visibility"), found);
        let mut selectors = Vec::new();
        for (index, rule) in policy.matching_rules.iter().enumerate() {
            let path = format!("{path}.matchingRules[{index}].namespaceSelector");
            if let Some(selector) = &rule.namespace_selector {
                selectors.push(LabelSelector::check(selector, &path, Code::Mesh, found));
            } else {
                let message = "a rule without a namespaceSelector never matches; remove it";
                found.add(Code::Mesh, path, message);
            }
        }
        policies.push((cap, selectors));
    }
    Visibility { applies_to_sidecars: raw.apply_to_sidecars, default, policies }
}

fn cap(text: Option<&str>, path: &str, found: &mut Findings<'_>) -> Cap {
    match text.unwrap_or("UNSPECIFIED") {
        "UNSPECIFIED" | "PUBLIC" => Cap::Public,
        "NAMESPACE" => Cap::OwnNamespace,
        "NONE" => Cap::Nobody,
        other => {
            let message = format!("`{other}` is not one of PUBLIC, NAMESPACE, NONE");
            found.add(Code::Mesh, path, message);
            Cap::Nobody
        }
    }
}
