//! The order of objects, and how they are spread over files and lists, means nothing: names and
//! creation times say which of two counts.

use std::fs;

use exeat_agent::{
    policy::{compile::Compiled, ids::Ids},
    registry::load,
};
use serde_json::json;
use serde_yaml::Value;
use tempfile::TempDir;

use super::{
    super::{dice::Dice, generate, manifest::Object},
    Tally, assert_seen, count, each_seed,
    setting::{Setting, clients, documents, place},
};

const CASES: u64 = 250;

#[test]
fn order_and_files_mean_nothing() {
    let tally = each_seed(CASES, check);
    assert_seen(
        &tally,
        &[("several files", 100), ("a list", 100), ("of one age", 50), ("reports", 200)],
    );
}

fn check(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let world = generate::world(seed);
    let setting = Setting::new(&world);
    let mut dice = Dice::new(!seed);
    let mut workloads = place(&clients(&world.expect));
    let mut documents = documents(&world);

    let plain = super::setting::load(&documents);
    let compiled = setting.compile(&plain.registry, &workloads, &mut Ids::default());

    shuffle(&mut dice, &mut documents);
    shuffle(&mut dice, &mut workloads);
    let folder = write(&mut dice, &documents, tally);
    let spread = load::load(&[folder.path().to_owned()], None);
    let again = setting.compile(&spread.registry, &workloads, &mut Ids::default());

    if !spread.errors.is_empty() {
        return Err(format!("{:?}", spread.errors));
    }
    if has_twins(&world.registry) {
        count(tally, "of one age");
    }
    if !plain.reports.is_empty() || !compiled.reports.is_empty() {
        count(tally, "reports");
    }
    let loaded = |it: &load::Loaded| {
        (
            it.registry.clone(),
            it.reports.clone(),
            it.in_force().cloned().collect::<Vec<_>>(),
            it.objects,
        )
    };
    let is_same = loaded(&plain) == loaded(&spread) && words(&compiled) == words(&again);
    if is_same && compiled.image == again.image && compiled.reports == again.reports {
        return Ok(());
    }
    Err(format!("{plain:#?}\n{compiled:#?}\nin another order\n{spread:#?}\n{again:#?}"))
}

/// What explains the numbers.
fn words(compiled: &Compiled) -> String {
    format!("{:?}", compiled.directory)
}

/// Whether two objects of one kind came in the same second, so that their names decide.
fn has_twins(registry: &[Object]) -> bool {
    registry.iter().enumerate().any(|(index, a)| {
        registry[..index].iter().any(|b| {
            a.kind() == b.kind()
                && a.meta.creation_timestamp == b.meta.creation_timestamp
                && a.kind() != "Namespace"
        })
    })
}

fn shuffle<T>(dice: &mut Dice, items: &mut [T]) {
    for index in (1..items.len()).rev() {
        items.swap(index, dice.below(index + 1));
    }
}

/// Spreads documents over files: streams of YAML, lists in YAML, lists in JSON.
fn write(dice: &mut Dice, documents: &[Value], tally: &mut Tally) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let files = 1 + dice.below(4);
    if files > 1 {
        count(tally, "several files");
    }
    let mut parts = vec![Vec::new(); files];
    for document in documents {
        parts[dice.below(files)].push(document);
    }
    for (index, part) in parts.iter().enumerate() {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": part });
        let (ending, text) = match dice.below(3) {
            0 => ("json", list.to_string()),
            1 => ("yml", serde_yaml::to_string(&list).expect("plain data")),
            _ => ("yaml", part.iter().map(|it| stream(it)).collect()),
        };
        if ending != "yaml" {
            count(tally, "a list");
        }
        fs::write(folder.path().join(format!("{index}.{ending}")), text).expect("a file");
    }
    folder
}

fn stream(document: &Value) -> String {
    format!("---\n{}", serde_yaml::to_string(document).expect("plain data"))
}
