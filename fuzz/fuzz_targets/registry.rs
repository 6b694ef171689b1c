//! Bytes to a compiled registry: text, documents, objects, and the policy of one client. There is
//! no input that may end it, take a second, or take more memory than `cargo xtask fuzz` grants.
#![no_main]

use std::sync::LazyLock;

use exeat_agent::{
    config::Config,
    policy::answers::Answers,
    registry::{
        document::{self, Format},
        load::Loaded,
        object,
    },
    trial::{Trial, TrialClient},
};
use libfuzzer_sys::fuzz_target;
use serde_yaml::Value;

static CONFIG: LazyLock<Config> = LazyLock::new(Config::offline);

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for format in [Format::Yaml, Format::Json] {
        if let Ok(documents) = document::parse(text, format) {
            compile(&documents);
        }
    }
});

fn compile(documents: &[Value]) {
    let reads = documents.iter().flat_map(objects).map(object::read).collect();
    let loaded = Loaded::of(reads);
    let client = TrialClient { namespace: "default".to_owned(), ..TrialClient::default() };
    std::hint::black_box(Trial::new(&loaded.registry, &CONFIG, &Answers::default(), &client));
}

/// The seeds are the conformance cases: there the objects are a list in the document.
fn objects(document: &Value) -> &[Value] {
    match document.get("registry") {
        Some(Value::Sequence(objects)) => objects,
        _ => std::slice::from_ref(document),
    }
}
