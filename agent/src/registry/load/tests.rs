//! Folders as they change under the agent.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use super::{LoadError, Loaded, load};

/// A folder of its own for each test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("exeat-load-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("write");
    }

    fn load(&self, previous: Option<&Loaded>) -> Loaded {
        load(std::slice::from_ref(&self.0), previous)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700)).expect("permissions");
        fs::remove_dir_all(&self.0).expect("remove");
    }
}

fn entry(name: &str, host: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}}, spec: {{hosts: [{host}], ports: [{{number: 443, name: tls, protocol: TLS}}]}}}}\n"
    )
}

fn hosts(loaded: &Loaded) -> Vec<String> {
    let entries = loaded.registry.service_entries().iter();
    let mut hosts: Vec<String> =
        entries.flat_map(|entry| entry.hosts.iter().map(ToString::to_string)).collect();
    hosts.sort();
    hosts
}

fn codes(loaded: &Loaded) -> Vec<&str> {
    loaded.reports.iter().map(|it| it.code.as_str()).collect()
}

#[test]
fn folders_are_read_by_suffix_and_order() {
    let folder = Folder::new("order");
    folder.write("b.yaml", &entry("x", "second.example"));
    folder.write(
        "a.yml",
        &format!("{}---\n{}", entry("x", "first.example"), entry("y", "y.example")),
    );
    folder.write("c.json", "{\"kind\": \"List\", \"items\": []}");
    folder.write(".hidden.yaml", "not: [yaml");
    folder.write("readme.txt", "not: [yaml");
    fs::create_dir(folder.0.join("d.yaml")).expect("a folder");
    let loaded = folder.load(None);
    assert_eq!(hosts(&loaded), ["first.example", "y.example"]);
    assert_eq!(codes(&loaded), ["E-DUPLICATE"]);
    assert_eq!((loaded.objects, loaded.errors.len()), (3, 0));
    assert_eq!(loaded.in_force().len(), 2);
}

#[test]
fn links_are_followed_as_in_a_mounted_config_map() {
    let folder = Folder::new("links");
    fs::create_dir(folder.0.join("..data")).expect("a folder");
    folder.write("..data/a.yaml", &entry("x", "a.example"));
    symlink("..data/a.yaml", folder.0.join("a.yaml")).expect("a link");
    assert_eq!(hosts(&folder.load(None)), ["a.example"]);
}

#[test]
fn half_a_file_changes_nothing() {
    let folder = Folder::new("half");
    folder.write("a.yaml", &entry("x", "a.example"));
    folder.write("b.yaml", &entry("y", "b.example"));
    let first = folder.load(None);
    folder.write("a.yaml", &entry("x", "changed.example")[..60]);
    folder.write("b.yaml", &entry("y", "c.example"));
    let second = folder.load(Some(&first));
    assert_eq!(hosts(&second), ["a.example", "c.example"]);
    let error = second.errors[0].to_string();
    assert!(error.contains("a.yaml") && error.contains("line 2"), "{error}");
    // And again, with nothing new to go by.
    assert_eq!(hosts(&folder.load(Some(&second))), ["a.example", "c.example"]);
    folder.write("a.yaml", &entry("x", "changed.example"));
    let last = folder.load(Some(&second));
    assert_eq!(hosts(&last), ["c.example", "changed.example"]);
    assert!(last.errors.is_empty());
}

#[test]
fn a_file_that_is_emptied_stays_as_it_was() {
    let folder = Folder::new("emptied");
    folder.write("a.yaml", &entry("a", "a.example.com"));
    let before = folder.load(None);
    folder.write("a.yaml", "");
    let emptied = folder.load(Some(&before));
    assert_eq!(hosts(&emptied), ["a.example.com"]);
    assert_eq!(emptied.errors.len(), 1);
    assert!(matches!(*emptied.errors[0], LoadError::Emptied { .. }), "{:?}", emptied.errors);
    // A file that never said anything is no error, and neither is one that says so in words.
    assert!(folder.load(None).errors.is_empty());
    folder.write("a.yaml", "# nothing\n");
    let cleared = folder.load(Some(&emptied));
    assert!(hosts(&cleared).is_empty() && cleared.errors.is_empty());
}

#[test]
fn an_object_that_becomes_invalid_stays_as_it_was() {
    let folder = Folder::new("invalid");
    folder.write("a.yaml", &entry("x", "a.example"));
    let first = folder.load(None);
    folder.write("a.yaml", &entry("x", "'*'"));
    let second = folder.load(Some(&first));
    assert_eq!(hosts(&second), ["a.example"]);
    assert_eq!(codes(&second), ["E-HOST-FULL-WILDCARD", "W-KEPT-LAST-VALID"]);
    let third = folder.load(Some(&second));
    assert_eq!(hosts(&third), ["a.example"]);
    assert!(folder.load(None).registry.service_entries().is_empty());
    folder.write("a.yaml", "# withdrawn\n");
    assert!(folder.load(Some(&third)).registry.service_entries().is_empty());
}

#[test]
fn what_cannot_be_reached_stays_as_it_was() {
    let folder = Folder::new("gone");
    folder.write("a.yaml", &entry("x", "a.example"));
    let first = folder.load(None);
    let moved = folder.0.with_extension("moved");
    fs::rename(&folder.0, &moved).expect("rename");
    let second = folder.load(Some(&first));
    fs::rename(&moved, &folder.0).expect("rename");
    assert_eq!(hosts(&second), ["a.example"]);
    assert_eq!(second.errors[0].path(), folder.0);
    fs::remove_file(folder.0.join("a.yaml")).expect("remove");
    assert!(folder.load(Some(&second)).registry.service_entries().is_empty());
}

#[test]
fn files_have_bounds() {
    let folder = Folder::new("bounds");
    folder.write("large.yaml", &"# \n".repeat(2 << 20));
    fs::write(folder.0.join("text.yaml"), [0xff, 0xfe]).expect("write");
    let errors: Vec<String> = folder.load(None).errors.iter().map(ToString::to_string).collect();
    assert!(errors[0].contains("large.yaml") && errors[0].contains("larger"), "{errors:?}");
    assert!(errors[1].contains("text.yaml") && errors[1].contains("UTF-8"), "{errors:?}");
}

#[test]
fn a_single_file_may_have_any_name() {
    let folder = Folder::new("single");
    folder.write("registry", &entry("x", "a.example"));
    let loaded = load(&[folder.0.join("registry")], None);
    assert_eq!(hosts(&loaded), ["a.example"]);
    let missing = load(&[Path::new("/nonexistent/registry").to_owned()], None);
    assert_eq!(missing.errors.len(), 1);
}
