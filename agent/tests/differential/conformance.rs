//! The model against the cases of `tests/conformance`: what it must know before anything is
//! compared with it.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{
    model::{Model, Ruling},
    world::{Flow, World},
};

/// Flows that the cases hold at least, so that an empty folder is no success.
const FLOWS: usize = 190;

#[test]
fn the_model_agrees_with_the_conformance_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let mut unsettled = Vec::new();
    let (mut judged, mut left_out) = (0, 0);
    let mut wrong = Vec::new();
    for file in fs::read_dir(folder).expect("the cases") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a case");
        for document in serde_yaml::Deserializer::from_str(&text) {
            let case = Value::deserialize(document).expect("YAML");
            if has_workspaces(&case) {
                left_out += 1;
                continue;
            }
            let world = world(case);
            let model = Model::new(&world);
            for flow in world.expect.iter().filter(|it| it.requires.is_empty()) {
                let place = format!("{}: {flow:?}", path.display());
                match model.judge(flow) {
                    Err(why) => unsettled.push(format!("{place}: {why}")),
                    Ok(ruling) if is_as_expected(flow, &ruling) => judged += 1,
                    Ok(ruling) => wrong.push(format!("{place}\n  {ruling:?}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unsettled.is_empty(), "the cases settle what the model leaves open: {unsettled:#?}");
    assert!(left_out <= 1, "{left_out} cases about workspaces, which the model does not have");
    assert!(judged >= FLOWS, "{judged} flows");
}

fn has_workspaces(case: &Value) -> bool {
    let registry = case["registry"].as_array();
    registry.is_some_and(|it| it.iter().any(|object| object["kind"] == "Workspace"))
}

/// The world of a case. What it refuses is left out at once: it need not even have the shape.
fn world(mut case: Value) -> World {
    let refused = case["reject"].as_array().cloned().unwrap_or_default();
    if let Some(Value::Array(registry)) = case.get_mut("registry") {
        registry.retain(|object| {
            !refused.iter().any(|it| {
                it["kind"] == object["kind"]
                    && it["name"] == object["metadata"]["name"]
                    && it["namespace"] == object["metadata"]["namespace"]
            })
        });
    }
    World::deserialize(&case).unwrap_or_else(|error| panic!("{error} in {case}"))
}

fn is_as_expected(flow: &Flow, ruling: &Ruling) -> bool {
    let rewrite = flow.rewrite.clone().map(|it| it.into_iter().collect());
    let is_checked = flow.rewrite.is_some() || flow.verdict == "allow";
    flow.verdict == ruling.verdict
        && (!is_checked || rewrite == ruling.rewrite)
        && (flow.via.is_none() || flow.via == ruling.via)
        && flow.reason.as_ref().is_none_or(|it| ruling.reason.is_some_and(|code| code == it))
}
