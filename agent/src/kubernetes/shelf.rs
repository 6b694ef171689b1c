//! What is kept of one source, by namespace and name. Pure: events in, what changed out.

use std::collections::{BTreeMap, BTreeSet};

/// Namespace (empty for what has none) and name.
pub(super) type Key = (Box<str>, Box<str>);

/// What a list and the watch after it tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Event<T> {
    /// A list begins.
    Init,
    /// An item of the list.
    InitApply(Key, T),
    /// The list is complete: what it did not hold is gone, though nobody said so.
    InitDone,
    Apply(Key, T),
    Delete(Key),
}

/// The objects of one source, each in the form that matters.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    objects: BTreeMap<Key, T>,
    /// What the list that is being read held until now.
    listed: Option<BTreeSet<Key>>,
    is_synced: bool,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listed: None, is_synced: false }
    }
}

impl<T: PartialEq> Shelf<T> {
    /// Takes an event in. Says whether anything is different for those who read the shelf.
    pub(super) fn apply(&mut self, event: Event<T>) -> bool {
        match event {
            Event::Init => {
                self.listed = Some(BTreeSet::new());
                false
            }
            Event::InitApply(key, object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                self.put(key, object)
            }
            Event::InitDone => {
                let before = self.objects.len();
                if let Some(listed) = self.listed.take() {
                    self.objects.retain(|key, _| listed.contains(key));
                }
                let is_first = !std::mem::replace(&mut self.is_synced, true);
                is_first || self.objects.len() != before
            }
            Event::Apply(key, object) => self.put(key, object),
            Event::Delete(key) => self.objects.remove(&key).is_some(),
        }
    }

    fn put(&mut self, key: Key, object: T) -> bool {
        if self.objects.get(&key) == Some(&object) {
            return false;
        }
        self.objects.insert(key, object);
        true
    }
}

impl<T> Shelf<T> {
    /// Whether it was complete once: what it holds is the last good state.
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&T> {
        self.objects.get(key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.objects.values()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Key, Shelf};

    fn key(name: &str) -> Key {
        ("shop".into(), name.into())
    }

    fn list(shelf: &mut Shelf<u8>, items: &[(&str, u8)]) -> bool {
        let mut is_changed = shelf.apply(Event::Init);
        for (name, value) in items {
            is_changed |= shelf.apply(Event::InitApply(key(name), *value));
        }
        is_changed | shelf.apply(Event::InitDone)
    }

    fn held(shelf: &Shelf<u8>) -> Vec<(&str, u8)> {
        shelf.keys().map(|(_, name)| &**name).zip(shelf.values().copied()).collect()
    }

    #[test]
    fn changes_are_told_from_repetitions() {
        let mut shelf = Shelf::default();
        assert!(!shelf.is_synced());
        assert!(list(&mut shelf, &[]), "the first list is news, also if it is empty");
        assert!(shelf.is_synced());
        assert!(shelf.apply(Event::Apply(key("a"), 1)));
        assert!(!shelf.apply(Event::Apply(key("a"), 1)));
        assert!(shelf.apply(Event::Apply(key("a"), 2)));
        assert!(!list(&mut shelf, &[("a", 2)]));
        assert!(shelf.apply(Event::Delete(key("a"))));
        assert!(!shelf.apply(Event::Delete(key("a"))));
        assert_eq!(shelf.len(), 0);
    }

    #[test]
    fn what_vanished_while_nobody_watched_is_gone_when_the_list_is_complete() {
        let mut shelf = Shelf::default();
        list(&mut shelf, &[("a", 1), ("b", 1)]);
        assert!(!shelf.apply(Event::Init));
        assert!(shelf.apply(Event::InitApply(key("c"), 1)));
        assert_eq!(held(&shelf), [("a", 1), ("b", 1), ("c", 1)], "not before");
        // The list broke off and begins again: what it held the first time does not count.
        shelf.apply(Event::Init);
        shelf.apply(Event::InitApply(key("b"), 2));
        assert!(shelf.is_synced(), "it still holds the last good state");
        assert!(shelf.apply(Event::InitDone));
        assert_eq!(held(&shelf), [("b", 2)]);
    }
}
