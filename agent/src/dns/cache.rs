//! Names by address, as each workload was told. Pure: the time is an argument.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
    time::{Duration, Instant},
};

use exeat_common::id::WorkloadId;

/// Addresses remembered for one workload; the one that ends soonest makes room.
const ADDRESSES: usize = 4096;
/// A denied flow is explained by the name also after the answer's own time to live.
const AT_LEAST: Duration = Duration::from_hours(1);

/// The latest name of every address.
#[derive(Debug, Default)]
pub struct NameCache {
    workloads: BTreeMap<WorkloadId, BTreeMap<IpAddr, Named>>,
}

#[derive(Debug)]
struct Named {
    name: String,
    until: Instant,
}

impl NameCache {
    /// `workload` was told that `address` is `name`.
    pub fn learn(
        &mut self,
        workload: WorkloadId,
        address: IpAddr,
        name: &str,
        ttl: Duration,
        now: Instant,
    ) {
        let named = Named { name: name.to_owned(), until: now + ttl.max(AT_LEAST) };
        let addresses = self.workloads.entry(workload).or_default();
        let is_full = addresses.len() >= ADDRESSES;
        match addresses.entry(address) {
            Entry::Occupied(mut known) => {
                known.insert(named);
                return;
            }
            Entry::Vacant(free) if !is_full => {
                free.insert(named);
                return;
            }
            Entry::Vacant(_) => {}
        }
        addresses.retain(|_, known| known.until > now);
        if addresses.len() >= ADDRESSES {
            let soonest = addresses.iter().min_by_key(|(_, known)| known.until);
            if let Some(address) = soonest.map(|(address, _)| *address) {
                addresses.remove(&address);
            }
        }
        addresses.insert(address, named);
    }

    /// The name `workload` was told last for `address`.
    pub fn name(&self, workload: WorkloadId, address: IpAddr, now: Instant) -> Option<&str> {
        let named = self.workloads.get(&workload)?.get(&address)?;
        (named.until > now).then_some(named.name.as_str())
    }

    /// Forgets workloads that are gone.
    pub fn keep_workloads(&mut self, is_known: impl Fn(WorkloadId) -> bool) {
        self.workloads.retain(|workload, _| is_known(*workload));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::{Duration, Instant},
    };

    use exeat_common::id::WorkloadId;

    use super::{ADDRESSES, AT_LEAST, NameCache};

    const WEB: WorkloadId = WorkloadId::new(1);
    const OTHER: WorkloadId = WorkloadId::new(2);

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from(u32::try_from(number).expect("small")).into()
    }

    #[test]
    fn a_name_belongs_to_the_workload_that_was_told_and_ends() {
        let now = Instant::now();
        let mut cache = NameCache::default();
        cache.learn(WEB, address(1), "a.example", Duration::ZERO, now);
        assert_eq!(cache.name(WEB, address(1), now), Some("a.example"));
        assert_eq!(cache.name(OTHER, address(1), now), None);
        assert_eq!(cache.name(WEB, address(1), now + AT_LEAST), None);
        cache.learn(WEB, address(1), "b.example", Duration::ZERO, now);
        assert_eq!(cache.name(WEB, address(1), now), Some("b.example"));
        cache.keep_workloads(|workload| workload == OTHER);
        assert_eq!(cache.name(WEB, address(1), now), None);
    }

    #[test]
    fn one_workload_cannot_use_up_the_share_of_another() {
        let now = Instant::now();
        let mut cache = NameCache::default();
        cache.learn(OTHER, address(0), "kept.example", Duration::ZERO, now);
        for number in 0..ADDRESSES + 10 {
            let later = Duration::from_secs(7200 + number as u64);
            cache.learn(WEB, address(number), "n.example", later, now);
        }
        assert_eq!(cache.workloads[&WEB].len(), ADDRESSES);
        assert_eq!(cache.name(WEB, address(0), now), None, "it ended soonest");
        assert_eq!(cache.name(OTHER, address(0), now), Some("kept.example"));
    }
}
