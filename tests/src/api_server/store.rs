//! The objects of the double, and what became of them: one revision for each change, as etcd has.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::kinds::Kinds;

/// Group and plural: what objects are filed under.
pub(super) type Drawer = (String, String);

/// Where an object is: its drawer, namespace (empty for none) and name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place {
    pub(super) drawer: Drawer,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// One change. Neither side: it never was, or it is gone.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) place: Place,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// All objects, and the changes that were not forgotten.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) kinds: Kinds,
    revision: u64,
    objects: BTreeMap<Place, Value>,
    history: VecDeque<Change>,
    /// Nobody is told any more what happened up to this one, but for watches that know it.
    compacted: u64,
}

/// A revision that is too old: what happened since is forgotten.
#[derive(Debug)]
pub(super) struct Gone;

impl Store {
    pub(super) fn new() -> Self {
        Self { kinds: Kinds::built_in(), revision: 1, ..Self::default() }
    }

    /// The last revision.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn object(&self, place: &Place) -> Option<&Value> {
        self.objects.get(place)
    }

    /// Writes an object, or removes it, at the next revision, which it carries from then on.
    pub(super) fn put(&mut self, place: &Place, object: Option<Value>) -> Option<Value> {
        self.revision += 1;
        let revision = json!(self.revision.to_string());
        let before = self.objects.remove(place);
        let is_removed = object.is_none();
        let mut last = object.or_else(|| before.clone())?;
        last["metadata"]["resourceVersion"] = revision;
        if !is_removed {
            self.objects.insert(place.clone(), last.clone());
        }
        // What was removed is told of with the revision of its end.
        let (before, after) =
            if is_removed { (Some(last.clone()), None) } else { (before, Some(last.clone())) };
        self.history.push_back(Change {
            revision: self.revision,
            place: place.clone(),
            before,
            after,
        });
        Some(last)
    }

    /// Forgets all that happened until now. The revision moves on, as it does by changes of others,
    /// so that nobody has seen the last one that is forgotten.
    pub(super) fn compact(&mut self) {
        self.revision += 1;
        self.compacted = self.revision;
    }

    /// Whether what happened since a revision is forgotten.
    pub(super) fn is_forgotten(&self, revision: u64) -> bool {
        revision < self.compacted
    }

    /// The objects of a drawer as they were at a revision, by namespace and name.
    pub(super) fn at(
        &self,
        drawer: &Drawer,
        revision: u64,
    ) -> Result<BTreeMap<Place, Value>, Gone> {
        if self.is_forgotten(revision) {
            return Err(Gone);
        }
        let mut objects: BTreeMap<Place, Value> = self
            .objects
            .iter()
            .filter(|(place, _)| place.drawer == *drawer)
            .map(|(place, object)| (place.clone(), object.clone()))
            .collect();
        let later = self.history.iter().rev().take_while(|change| change.revision > revision);
        for change in later.filter(|change| change.place.drawer == *drawer) {
            match &change.before {
                Some(before) => objects.insert(change.place.clone(), before.clone()),
                None => objects.remove(&change.place),
            };
        }
        Ok(objects)
    }

    /// What happened to a drawer after a revision.
    pub(super) fn since(&self, drawer: &Drawer, revision: u64) -> Vec<Change> {
        let known = self.history.partition_point(|change| change.revision <= revision);
        let later = self.history.range(known..);
        later.filter(|change| change.place.drawer == *drawer).cloned().collect()
    }

    /// Places in a namespace, now.
    pub(super) fn places_in(&self, namespace: &str) -> Vec<Place> {
        self.objects.keys().filter(|place| place.namespace == namespace).cloned().collect()
    }

    /// Places of a drawer, now.
    pub(super) fn places(&self, drawer: &Drawer) -> Vec<Place> {
        self.objects.keys().filter(|place| place.drawer == *drawer).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Place, Store};

    fn place(name: &str) -> Place {
        Place {
            drawer: (String::new(), "pods".into()),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[test]
    fn the_past_can_be_listed_until_it_is_forgotten() {
        let mut store = Store::new();
        let (a, b) = (place("a"), place("b"));
        store.put(&a, Some(json!({"metadata": {}, "n": 1})));
        let first = store.revision();
        store.put(&a, Some(json!({"metadata": {}, "n": 2})));
        store.put(&b, Some(json!({"metadata": {}})));
        store.put(&a, None);
        let then = store.at(&a.drawer, first).expect("known");
        assert_eq!(then.len(), 1);
        assert_eq!(then[&a]["n"], 1);
        let now = store.at(&a.drawer, store.revision()).expect("known");
        assert_eq!(now.keys().collect::<Vec<_>>(), [&b]);
        let since = store.since(&a.drawer, first);
        assert_eq!(since.len(), 3);
        assert_eq!(since[2].before.as_ref().expect("gone")["metadata"]["resourceVersion"], "5");
        store.compact();
        assert!(store.is_forgotten(first) && store.at(&a.drawer, first).is_err());
        assert!(!store.is_forgotten(store.revision()));
        assert!(store.since(&a.drawer, store.revision()).is_empty());
    }
}
