//! A sorted map in shared chunks: cheap to copy, cheap to change in a few places, and quick to
//! compare with a copy that was changed in a few places. It knows nothing of what it holds.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Entries a chunk may have. One that grows beyond is split in halves.
const CHUNK: usize = 128;

/// A map whose copies share what they have in common.
#[derive(Clone)]
pub struct Chunked<K, V> {
    /// None is empty. Keys ascend within a chunk and from one to the next.
    chunks: Vec<Arc<Vec<(K, V)>>>,
    len: usize,
}

impl<K: Ord, V> Chunked<K, V> {
    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        let (chunk, at) = self.find(key);
        self.chunks.get(chunk)?.get(at.ok()?).map(|(_, value)| value)
    }

    pub fn contains_key(&self, key: &K) -> bool {
        self.find(key).1.is_ok()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(key, value)| (key, value))
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries from `key` on.
    pub fn iter_from(&self, key: &K) -> impl Iterator<Item = (&K, &V)> {
        let (chunk, at) = self.find(key);
        let at = at.unwrap_or_else(|at| at);
        let chunks = self.chunks.iter().skip(chunk).flat_map(|chunk| chunk.iter());
        chunks.skip(at).map(|(key, value)| (key, value))
    }

    /// The last entry that is not after `key`.
    pub fn last_until(&self, key: &K) -> Option<(&K, &V)> {
        let (chunk, at) = self.find(key);
        let at = at.or_else(|at| at.checked_sub(1).ok_or(())).ok()?;
        self.chunks.get(chunk)?.get(at).map(|(key, value)| (key, value))
    }

    /// The chunk where `key` belongs, and its place there: where it is, or where it would be.
    fn find(&self, key: &K) -> (usize, Result<usize, usize>) {
        let begins =
            |chunk: &Arc<Vec<(K, V)>>| chunk.first().is_some_and(|(first, _)| first <= key);
        let chunk = self.chunks.partition_point(begins).saturating_sub(1);
        let Some(entries) = self.chunks.get(chunk) else {
            return (chunk, Err(0));
        };
        (chunk, entries.binary_search_by(|(other, _)| other.cmp(key)))
    }
}

impl<K: Clone + Ord, V: Clone> Chunked<K, V> {
    pub fn insert(&mut self, key: K, value: V) {
        let (index, at) = self.find(&key);
        let Some(chunk) = self.chunks.get_mut(index) else {
            self.chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return;
        };
        let entries = Arc::make_mut(chunk);
        match at {
            Ok(at) => {
                if let Some(entry) = entries.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => {
                entries.insert(at, (key, value));
                self.len += 1;
            }
        }
        if entries.len() > CHUNK {
            let second = entries.split_off(CHUNK / 2);
            self.chunks.insert(index + 1, Arc::new(second));
        }
    }

    pub fn remove(&mut self, key: &K) {
        let (index, Ok(at)) = self.find(key) else {
            return;
        };
        if let Some(chunk) = self.chunks.get_mut(index) {
            let entries = Arc::make_mut(chunk);
            entries.remove(at);
            self.len -= 1;
            if entries.is_empty() {
                self.chunks.remove(index);
            }
        }
    }
}

impl<K: Ord, V: PartialEq> Chunked<K, V> {
    /// The keys that only one of both has, or that differ in their value. Ascending.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a K> {
        let (mut one, mut two) = (Cursor::new(&self.chunks), Cursor::new(&other.chunks));
        std::iter::from_fn(move || {
            loop {
                Cursor::skip_shared(&mut one, &mut two);
                match (one.entry(), two.entry()) {
                    (Some((a, left)), Some((b, right))) if a == b => {
                        one.step();
                        two.step();
                        if left != right {
                            return Some(a);
                        }
                    }
                    (Some((a, _)), Some((b, _))) if a > b => {
                        two.step();
                        return Some(b);
                    }
                    (Some((a, _)), _) => {
                        one.step();
                        return Some(a);
                    }
                    (None, Some((b, _))) => {
                        two.step();
                        return Some(b);
                    }
                    (None, None) => return None,
                }
            }
        })
    }
}

impl<K: Clone + Ord, V: Clone + PartialEq> Chunked<K, V> {
    /// The same map. What it has in common with `other` it then shares with it.
    #[must_use]
    pub fn sharing_with(self, other: &Self) -> Self {
        let mut shared = other.clone();
        for key in self.differences(other) {
            match self.get(key) {
                Some(value) => shared.insert(key.clone(), value.clone()),
                None => shared.remove(key),
            }
        }
        shared
    }

    /// Shares the entries around `key` with `other`, if they are the same there.
    pub fn share_around(&mut self, key: &K, other: &Self) {
        let theirs = other.chunks.get(other.find(key).0);
        let ours = self.find(key).0;
        if let (Some(ours), Some(theirs)) = (self.chunks.get_mut(ours), theirs)
            && *ours == *theirs
        {
            *ours = Arc::clone(theirs);
        }
    }
}

/// A place in the chunks of a map.
struct Cursor<'a, K, V> {
    chunks: &'a [Arc<Vec<(K, V)>>],
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    const fn new(chunks: &'a [Arc<Vec<(K, V)>>]) -> Self {
        Self { chunks, at: 0 }
    }

    fn entry(&self) -> Option<&'a (K, V)> {
        self.chunks.first()?.get(self.at)
    }

    fn step(&mut self) {
        self.at += 1;
        if self.chunks.first().is_some_and(|chunk| self.at >= chunk.len()) {
            self.next_chunk();
        }
    }

    fn next_chunk(&mut self) {
        self.chunks = self.chunks.get(1..).unwrap_or_default();
        self.at = 0;
    }

    fn skip_shared(one: &mut Self, two: &mut Self) {
        while one.at == 0
            && two.at == 0
            && let (Some(a), Some(b)) = (one.chunks.first(), two.chunks.first())
            && Arc::ptr_eq(a, b)
        {
            one.next_chunk();
            two.next_chunk();
        }
    }
}

impl<K, V> Default for Chunked<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Chunked<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.differences(other).next().is_none()
    }
}

impl<K: Ord, V: Eq> Eq for Chunked<K, V> {}

impl<K: fmt::Debug + Ord, V: fmt::Debug> fmt::Debug for Chunked<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> From<BTreeMap<K, V>> for Chunked<K, V> {
    fn from(map: BTreeMap<K, V>) -> Self {
        let len = map.len();
        let mut entries = map.into_iter();
        // Half full, so that what is added later finds room.
        let next = || {
            let chunk: Vec<(K, V)> = entries.by_ref().take(CHUNK / 2).collect();
            (!chunk.is_empty()).then(|| Arc::new(chunk))
        };
        Self { chunks: std::iter::from_fn(next).collect(), len }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Chunked<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        entries.into_iter().collect::<BTreeMap<K, V>>().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::{collection::vec, prelude::*};

    use super::Chunked;

    /// Some keys removed and some set.
    fn change(map: &mut Chunked<u16, u8>, model: &mut BTreeMap<u16, u8>, changes: &[(u16, u8)]) {
        for (key, value) in changes {
            if *value == 0 {
                map.remove(key);
                model.remove(key);
            } else {
                map.insert(*key, *value);
                model.insert(*key, *value);
            }
        }
    }

    fn changes(most: usize) -> impl Strategy<Value = Vec<(u16, u8)>> {
        vec((0..600_u16, 0..4_u8), 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_map(begin in changes(900), one in changes(400), two in changes(9)) {
            let mut model: BTreeMap<u16, u8> = begin.into_iter().collect();
            let mut map = Chunked::from(model.clone());
            change(&mut map, &mut model, &one);
            let (before, model_before) = (map.clone(), model.clone());
            change(&mut map, &mut model, &two);
            for (map, model) in [(&before, &model_before), (&map, &model)] {
                prop_assert_eq!(map.len(), model.len());
                prop_assert!(map.iter().eq(model.iter()));
                for key in 0..600 {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                    prop_assert_eq!(map.last_until(&key), model.range(..=key).next_back());
                    prop_assert!(map.iter_from(&key).take(3).eq(model.range(key..).take(3)));
                }
            }
            let differing: BTreeSet<u16> =
                (0..600).filter(|key| model.get(key) != model_before.get(key)).collect();
            prop_assert!(map.differences(&before).eq(&differing));
            prop_assert!(before.differences(&map).eq(&differing));
            prop_assert_eq!(map == before, differing.is_empty());
            prop_assert_eq!(&map, &model.into_iter().collect());
            prop_assert_eq!(&map.clone().sharing_with(&before), &map);
            let mut shared = map.clone();
            (0..600).for_each(|key| shared.share_around(&key, &before));
            prop_assert_eq!(shared, map);
        }
    }
}
