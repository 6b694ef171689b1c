//! Reads the `spec` of any kind: types are errors with a path, unknown fields are warnings.

use serde::{Deserialize, Deserializer};
use serde_yaml::{Mapping, Value};

use super::{
    findings::REPORTS,
    meta::Meta,
    report::{Code, Report},
};

/// The `spec` of a document as `T`, with a warning for every field that `T` does not have.
///
/// # Errors
///
/// `E-FIELD-TYPE` at the field that has the wrong type.
pub fn read_spec<T: for<'de> Deserialize<'de>>(
    meta: &Meta,
    document: &Value,
) -> Result<(T, Vec<Report>), Box<Report>> {
    let empty = Value::Mapping(Mapping::new());
    let spec = document.get("spec").filter(|spec| !spec.is_null()).unwrap_or(&empty);
    let mut warnings = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(spec, &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        if warnings.len() < REPORTS {
            warnings.push(Report::new(
                Code::FieldUnknown,
                &meta.object,
                format!("spec{}", render(&path)),
                "there is no such field (misspelled?); it has no effect",
            ));
        }
    });
    match read {
        Ok(spec) => Ok((spec, warnings)),
        Err(error) => {
            let path = match track.path().to_string().as_str() {
                "." => "spec".to_owned(),
                path => format!("spec.{path}"),
            };
            let message = error.to_string();
            let report = Report::new(Code::FieldType, &meta.object, path, message);
            Err(Box::new(report))
        }
    }
}

/// A whole document as `T`; fields that `T` does not have are of no concern.
///
/// # Errors
///
/// `E-FIELD-TYPE` at the field that has the wrong type.
pub(super) fn read_leniently<T: for<'de> Deserialize<'de>>(
    meta: &Meta,
    document: &Value,
) -> Result<T, Box<Report>> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        Box::new(Report::new(Code::FieldType, &meta.object, path, message))
    })
}

fn render(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", render(parent)),
        Path::Map { parent, key } => format!("{}.{key}", render(parent)),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => render(parent),
    }
}

/// Reads a field for which `null` means the same as its absence (protobuf JSON).
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A field that is known and may hold anything: only its presence counts. (`IgnoredAny` will not
/// do: it is how unknown fields are found.)
#[derive(Debug)]
pub(super) struct Known;

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|_| Self)
    }
}
