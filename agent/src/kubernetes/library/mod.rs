//! All that is known of the cluster: a shelf for each source. Pure: events in, values out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::{core::ApiResource, runtime::watcher};
use serde_yaml::Value;

use super::{
    fetched::Fetched,
    notices::Subject,
    pod::{NodePod, gather},
    shelf::{Event, Key, Shelf},
    source::Source,
};
use crate::{
    registry::{
        kubernetes::service,
        labels::Labels,
        object::{self, Content, Read},
        report::ObjectRef,
    },
    workloads::pod::Pods,
};

/// What of it others see differently after an event.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Changed {
    pub(super) definitions: bool,
    pub(super) pods: bool,
    pub(super) registry: bool,
}

/// What is known of the cluster.
#[derive(Debug, Default)]
pub(super) struct Library {
    definitions: Shelf<()>,
    pods: Shelf<NodePod>,
    /// All else, and what there is to say of the pods of this node.
    objects: BTreeMap<Source, Shelf<Arc<Read>>>,
    /// Who the objects are that are refused.
    refused: BTreeMap<Arc<ObjectRef>, Subject>,
}

impl Library {
    /// Takes an event in.
    pub(super) fn apply(
        &mut self,
        source: &Source,
        resource: &ApiResource,
        event: watcher::Event<Fetched>,
    ) -> Changed {
        let mut changed = Changed::default();
        let known = |_: &Value| Some(());
        match source {
            Source::Definitions => {
                changed.definitions = self.definitions.apply(kept(event, resource, known).0);
            }
            Source::NodePods => {
                let (pod, document) = kept(event, resource, NodePod::read);
                let remark = renamed(&pod, document.as_ref().and_then(remark));
                changed.pods = self.pods.apply(pod);
                changed.registry = self.shelf(source).apply(remark);
            }
            Source::Mesh | Source::PodsOf(_) | Source::Objects(_) => {
                let (event, document) =
                    kept(event, resource, |document| Some(Arc::new(object::read(document))));
                self.note_refused(resource, &event, document.as_ref());
                let is_of_interest = self.is_of_interest(&event, document.as_ref());
                let is_changed = self.shelf(source).apply(event);
                changed.registry = is_changed && is_of_interest;
                // They hand labels down to their pods.
                changed.pods = is_changed && *source == Source::namespaces();
            }
        }
        changed
    }

    /// Remembers who an object is while it is refused.
    fn note_refused(
        &mut self,
        resource: &ApiResource,
        event: &Event<Arc<Read>>,
        document: Option<&Value>,
    ) {
        let (Event::InitApply(_, read) | Event::Apply(_, read)) = event else {
            return;
        };
        let metadata = document.and_then(|document| document.get("metadata"));
        let uid = metadata.and_then(|it| it.get("uid")).and_then(Value::as_str);
        match uid.filter(|_| read.is_invalid()) {
            Some(uid) => {
                let ObjectRef { namespace, name, .. } = ObjectRef::clone(&read.object);
                let (api_version, kind) = (resource.api_version.clone(), resource.kind.clone());
                let subject = Subject { api_version, kind, namespace, name, uid: uid.to_owned() };
                self.refused.insert(Arc::clone(&read.object), subject);
            }
            None => drop(self.refused.remove(&read.object)),
        }
    }

    /// The objects that are refused; `declared` is what is declared.
    pub(super) fn refused(&mut self, declared: &[Arc<Read>]) -> Vec<(Subject, Arc<Read>)> {
        let invalid = declared.iter().filter(|read| read.is_invalid());
        let refused: Vec<(Subject, Arc<Read>)> = invalid
            .filter_map(|read| Some((self.refused.get(&read.object)?.clone(), Arc::clone(read))))
            .collect();
        // Others were deleted.
        if refused.len() < self.refused.len() {
            let still: BTreeSet<&Arc<ObjectRef>> =
                refused.iter().map(|(_, read)| &read.object).collect();
            self.refused.retain(|object, _| still.contains(object));
        }
        refused
    }

    fn shelf(&mut self, source: &Source) -> &mut Shelf<Arc<Read>> {
        self.objects.entry(source.clone()).or_default()
    }

    /// Forgets a source that is no longer there.
    pub(super) fn forget(&mut self, source: &Source) {
        self.objects.remove(source);
    }

    /// Objects that are held, and whether they were complete once.
    pub(super) fn holds(&self, source: &Source) -> (usize, bool) {
        match source {
            Source::Definitions => (self.definitions.len(), self.definitions.is_synced()),
            Source::NodePods => (self.pods.len(), self.pods.is_synced()),
            Source::Mesh | Source::PodsOf(_) | Source::Objects(_) => self
                .objects
                .get(source)
                .map_or((0, false), |shelf| (shelf.len(), shelf.is_synced())),
        }
    }

    /// Names of the definitions; none if they are not known.
    pub(super) fn definitions(&self) -> Option<impl Iterator<Item = &str>> {
        let names = self.definitions.keys().map(|(_, name)| &**name);
        self.definitions.is_synced().then_some(names)
    }

    /// The pods of this node.
    pub(super) fn pods(&self) -> Pods {
        let mut labels: BTreeMap<&str, &Labels> = BTreeMap::new();
        for content in self.contents(&Source::namespaces()) {
            if let Content::Namespace(it) = content {
                labels.insert(it.header.name(), &it.header.labels);
            }
        }
        gather(self.pods.values(), |namespace| labels.get(namespace).copied())
    }

    /// Namespaces in which an entry selects its endpoints by label.
    pub(super) fn selecting(&self) -> BTreeSet<Box<str>> {
        let is_entries = |source: &Source| matches!(source, Source::Objects(kind) if kind.kind == "ServiceEntry");
        let entries = self.objects.iter().filter(|(source, _)| is_entries(source));
        let contents =
            entries.flat_map(|(_, shelf)| shelf.values()).filter_map(|it| match &it.content {
                Some(Content::ServiceEntry(entry)) if entry.selector.is_some() => {
                    Some(entry.header.namespace().into())
                }
                _ => None,
            });
        contents.collect()
    }

    /// What is declared, as far as it was complete once. Slices of Services with an address of their
    /// own are left out: nothing is compiled from them, and they change all the time.
    pub(super) fn declared(&self) -> Vec<Arc<Read>> {
        let followed = self.selecting();
        let mut reads = Vec::with_capacity(self.objects.values().map(Shelf::len).sum());
        for (source, shelf) in self.objects.iter().filter(|(_, shelf)| shelf.is_synced()) {
            reads.extend(
                shelf
                    .values()
                    .filter(|read| match (&read.content, source) {
                        (Some(Content::Endpoints(slice)), _) => {
                            self.has_no_address(slice.header.namespace(), &slice.service)
                        }
                        (_, Source::NodePods) => !followed.contains(&*read.object.namespace),
                        _ => true,
                    })
                    .cloned(),
            );
        }
        reads
    }

    fn contents(&self, source: &Source) -> impl Iterator<Item = &Content> {
        let objects = self.objects.get(source).into_iter();
        objects.flat_map(Shelf::values).filter_map(|read| read.content.as_ref())
    }

    /// Whether a Service has no address of its own, so that its endpoints are what is dialled.
    fn has_no_address(&self, namespace: &str, service: &str) -> bool {
        let key = (namespace.into(), service.into());
        let service = self.objects.get(&Source::services()).and_then(|shelf| shelf.get(&key));
        matches!(
            service.and_then(|read| read.content.as_ref()),
            Some(Content::Service(it)) if it.kind == service::Kind::Headless
        )
    }

    fn is_of_interest(&self, event: &Event<Arc<Read>>, document: Option<&Value>) -> bool {
        let content = match event {
            Event::InitApply(_, read) | Event::Apply(_, read) => read.content.clone(),
            Event::Delete(_) => document.and_then(|document| object::read(document).content),
            Event::Init | Event::InitDone => None,
        };
        match content {
            Some(Content::Endpoints(slice)) => {
                self.has_no_address(slice.header.namespace(), &slice.service)
            }
            _ => true,
        }
    }
}

/// An event with what is kept of the object, and the object itself.
fn kept<T>(
    event: watcher::Event<Fetched>,
    resource: &ApiResource,
    read: impl Fn(&Value) -> Option<T>,
) -> (Event<T>, Option<Value>) {
    let put = |object: Fetched, is_listed: bool| {
        let key = key(&object);
        let document = object.document(resource);
        let event = match (read(&document), is_listed) {
            (Some(kept), true) => Event::InitApply(key, kept),
            (Some(kept), false) => Event::Apply(key, kept),
            // It is there, and of no concern any more.
            (None, _) => Event::Delete(key),
        };
        (event, Some(document))
    };
    match event {
        watcher::Event::Init => (Event::Init, None),
        watcher::Event::InitDone => (Event::InitDone, None),
        watcher::Event::InitApply(object) => put(object, true),
        watcher::Event::Apply(object) => put(object, false),
        watcher::Event::Delete(object) => {
            let key = key(&object);
            (Event::Delete(key), Some(object.document(resource)))
        }
    }
}

fn key(object: &Fetched) -> Key {
    let metadata = &object.metadata;
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&metadata.namespace), text(&metadata.name))
}

/// What there is to say of a pod of this node; its content is nobody's endpoint.
fn remark(document: &Value) -> Option<Arc<Read>> {
    let read = object::read(document);
    (!read.reports.is_empty()).then(|| Arc::new(Read { content: None, ..read }))
}

/// The same event about something else.
fn renamed<T>(event: &Event<NodePod>, with: Option<T>) -> Event<T> {
    match (event, with) {
        (Event::Init, _) => Event::Init,
        (Event::InitDone, _) => Event::InitDone,
        (Event::InitApply(key, _), Some(with)) => Event::InitApply(key.clone(), with),
        (Event::Apply(key, _), Some(with)) => Event::Apply(key.clone(), with),
        (Event::InitApply(key, _) | Event::Apply(key, _) | Event::Delete(key), _) => {
            Event::Delete(key.clone())
        }
    }
}

#[cfg(test)]
mod tests;
