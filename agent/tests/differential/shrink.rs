//! Makes a failing world small: drops objects, then fields, for as long as it still fails.

use serde_json::Value;

use super::{manifest::Object, world::World, yaml};

/// The smallest world found for which `fails` still holds.
pub(crate) fn shrink(world: &World, fails: impl Fn(&World) -> bool) -> World {
    let mut world = world.clone();
    loop {
        let before = size(&world);
        drop_objects(&mut world, &fails);
        drop_settings(&mut world, &fails);
        drop_fields(&mut world, &fails);
        if size(&world) == before {
            return world;
        }
    }
}

fn size(world: &World) -> usize {
    yaml::case(world).len()
}

fn drop_objects(world: &mut World, fails: &impl Fn(&World) -> bool) {
    let mut index = world.registry.len();
    while index > 0 {
        index -= 1;
        let mut smaller = world.clone();
        let gone = smaller.registry.remove(index);
        smaller.reject.retain(|it| it.name != gone.meta.name);
        if fails(&smaller) {
            *world = smaller;
        }
    }
}

fn drop_settings(world: &mut World, fails: &impl Fn(&World) -> bool) {
    let changes: [fn(&mut World); 9] = [
        |world| world.mesh = None,
        |world| world.agent = super::world::Agent::default(),
        |world| world.agent.matching = None,
        |world| world.agent.scope = None,
        |world| world.agent.external_name = None,
        |world| world.resolve.clear(),
        |world| "REGISTRY_ONLY".clone_into(&mut world.mode),
        |world| world.expect.iter_mut().for_each(|flow| flow.client.labels.clear()),
        |world| world.expect.iter_mut().for_each(|flow| flow.client.sidecar = false),
    ];
    for change in changes {
        let mut smaller = world.clone();
        change(&mut smaller);
        if size(&smaller) < size(world) && fails(&smaller) {
            *world = smaller;
        }
    }
}

fn drop_fields(world: &mut World, fails: &impl Fn(&World) -> bool) {
    for index in 0..world.registry.len() {
        let mut paths = Vec::new();
        list(&yaml::document(&world.registry[index]), "", &mut paths);
        for path in paths.into_iter().rev() {
            let Some(object) = without(&world.registry[index], &path) else { continue };
            let mut smaller = world.clone();
            smaller.registry[index] = object;
            if size(&smaller) < size(world) && fails(&smaller) {
                *world = smaller;
            }
        }
    }
}

/// JSON pointers of everything that may be dropped.
fn list(value: &Value, path: &str, paths: &mut Vec<String>) {
    let mut add = |key: &str, child: &Value| {
        let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
        if !["/kind", "/apiVersion", "/metadata", "/metadata/name", "/metadata/namespace", "/spec"]
            .contains(&path.as_str())
        {
            paths.push(path.clone());
        }
        list(child, &path, paths);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, child)| add(key, child)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, child)| add(&index.to_string(), child));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn without(object: &Object, path: &str) -> Option<Object> {
    let mut document = yaml::document(object);
    let (parent, key) = path.rsplit_once('/')?;
    match document.pointer_mut(parent)? {
        Value::Object(fields) => {
            fields.remove(&key.replace("~1", "/").replace("~0", "~"))?;
        }
        Value::Array(items) => {
            let index: usize = key.parse().ok()?;
            if index >= items.len() {
                return None;
            }
            items.remove(index);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    // Twice, because writing takes out what says nothing.
    let object = yaml::object(&document).ok()??;
    yaml::object(&yaml::document(&object)).ok()?
}
