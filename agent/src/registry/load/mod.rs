//! Paths to a registry: the only file here that reads files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Registry,
    document::{self, FILE_BYTES, Format, InvalidDocument},
    object::{self, Content, Read},
    report::{Code, ObjectRef, Report},
};

/// What the files say, as far as they can be believed.
#[derive(Debug, Default)]
pub struct Loaded {
    pub registry: Registry,
    /// About objects, sorted.
    pub reports: Vec<Report>,
    /// About files that could not be read or parsed. What they said before stays in force.
    pub errors: Vec<Arc<LoadError>>,
    /// Objects that were read, valid or not.
    pub objects: usize,
    /// By file, what it said when it could last be read.
    files: BTreeMap<PathBuf, Arc<[Read]>>,
    contents: BTreeMap<Arc<ObjectRef>, Content>,
}

/// A file or folder that could not be read or parsed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("read {path}: {source} (does it exist, and may the agent read it?)")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("read {path}: it is larger than {FILE_BYTES} bytes; split it")]
    TooLarge { path: PathBuf },
    #[error("read {path}: it is not UTF-8 text")]
    NotText { path: PathBuf },
    /// What a file that is being written in place looks like for a moment.
    #[error("read {path}: it is empty now; to withdraw what it declared, remove the file")]
    Emptied { path: PathBuf },
    #[error("parse {path}: {source}")]
    Unparsable { path: PathBuf, source: InvalidDocument },
}

impl LoadError {
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::TooLarge { path }
            | Self::NotText { path }
            | Self::Emptied { path }
            | Self::Unparsable { path, .. } => path,
        }
    }
}

/// Reads `paths`, files or folders (`*.yaml`, `*.yml`, `*.json`, not hidden, not below). What
/// cannot be read or is no longer valid stays as it was in `previous`.
pub fn load(paths: &[PathBuf], previous: Option<&Loaded>) -> Loaded {
    let mut loaded = Loaded::default();
    for path in paths {
        load_path(path, previous, &mut loaded);
    }
    settle(&mut loaded, &[], previous);
    loaded
}

impl Loaded {
    /// What objects say that were read from elsewhere than files of their own.
    pub fn of(reads: Vec<Read>) -> Self {
        let mut loaded = Self::default();
        loaded.files.insert(PathBuf::new(), reads.into());
        settle(&mut loaded, &[], None);
        loaded
    }

    /// What files and a cluster say together. Of an object that both have, the file's counts.
    pub fn join(files: &Self, cluster: &[Arc<Read>], previous: Option<&Self>) -> Self {
        let mut loaded =
            Self { errors: files.errors.clone(), files: files.files.clone(), ..Self::default() };
        settle(&mut loaded, cluster, previous);
        loaded
    }

    /// Objects that are in force.
    pub fn in_force(&self) -> impl ExactSizeIterator<Item = &ObjectRef> {
        self.contents.keys().map(AsRef::as_ref)
    }

    /// Whether nobody who reads either can tell them apart.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let errors = |loaded: &Self| -> Vec<String> {
            loaded.errors.iter().map(ToString::to_string).collect()
        };
        self.registry == other.registry
            && self.reports == other.reports
            && self.objects == other.objects
            && errors(self) == errors(other)
    }
}

fn load_path(path: &Path, previous: Option<&Loaded>, loaded: &mut Loaded) {
    let is_folder = match path.metadata() {
        Ok(metadata) => metadata.is_dir(),
        Err(source) => return keep_below(path, source, previous, loaded),
    };
    if !is_folder {
        return load_file(path, previous, loaded);
    }
    match list(path) {
        Ok(files) => {
            for file in files {
                load_file(&file, previous, loaded);
            }
        }
        Err(source) => keep_below(path, source, previous, loaded),
    }
}

/// The files of a folder that are read, by name.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let is_hidden =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // Through links, because a mounted ConfigMap consists of them. A link that leads nowhere is
        // tried as well, so that it is an error and not an empty file.
        let is_other = path.metadata().is_ok_and(|it| !it.is_file());
        if !is_hidden && is_registry_file(&path) && !is_other {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_registry_file(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

/// A path that cannot be looked at: everything that was read from there stays.
fn keep_below(path: &Path, source: io::Error, previous: Option<&Loaded>, loaded: &mut Loaded) {
    for (file, reads) in previous.iter().flat_map(|previous| &previous.files) {
        if file.starts_with(path) {
            loaded.files.insert(file.clone(), Arc::clone(reads));
        }
    }
    loaded.errors.push(Arc::new(LoadError::Unreadable { path: path.to_owned(), source }));
}

fn load_file(path: &Path, previous: Option<&Loaded>, loaded: &mut Loaded) {
    let before = previous.and_then(|previous| previous.files.get(path));
    match read_file(path, before.is_some_and(|reads| !reads.is_empty())) {
        Ok(reads) => {
            loaded.files.insert(path.to_owned(), reads.into());
        }
        Err(error) => {
            if let Some(reads) = before {
                loaded.files.insert(path.to_owned(), Arc::clone(reads));
            }
            loaded.errors.push(Arc::new(error));
        }
    }
}

fn read_file(path: &Path, had_objects: bool) -> Result<Vec<Read>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a file which grows meanwhile is noticed too.
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    if bytes.is_empty() && had_objects {
        return Err(LoadError::Emptied { path: path.to_owned() });
    }
    let text =
        String::from_utf8(bytes).map_err(|_| LoadError::NotText { path: path.to_owned() })?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let format = if is_json { Format::Json } else { Format::Yaml };
    let documents = document::parse(&text, format)
        .map_err(|source| LoadError::Unparsable { path: path.to_owned(), source })?;
    Ok(documents.iter().map(object::read).collect())
}

/// Decides which version of every object is in force.
fn settle(loaded: &mut Loaded, cluster: &[Arc<Read>], previous: Option<&Loaded>) {
    let mut seen = BTreeSet::new();
    let by_files = loaded.files.values().flat_map(|reads| reads.iter());
    for read in by_files.chain(cluster.iter().map(AsRef::as_ref)) {
        loaded.objects += 1;
        let is_named = !read.object.name.is_empty();
        if is_named && !seen.insert(&read.object) {
            loaded.reports.push(Report::new(
                Code::Duplicate,
                &read.object,
                "metadata.name",
                "the same object is there twice; the first by file name counts, and a file before the cluster",
            ));
            continue;
        }
        loaded.reports.extend(read.reports.iter().cloned());
        let kept = previous
            .filter(|_| is_named && read.is_invalid())
            .and_then(|previous| previous.contents.get(&read.object));
        if kept.is_some() {
            loaded.reports.push(Report::new(
                Code::KeptLastValid,
                &read.object,
                "",
                "the object is invalid now; the version read before stays in force",
            ));
        }
        if let Some(content) = read.content.as_ref().or(kept) {
            loaded.contents.insert(Arc::clone(&read.object), content.clone());
        }
    }
    loaded.registry = Registry::new(loaded.contents.values().cloned());
    loaded.reports.sort();
}

#[cfg(test)]
mod tests;
