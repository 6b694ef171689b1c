//! Targets in the kernel: one entry of `TARGETS` with its entries of `BACKENDS`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use exeat_common::{
    abi::{BackendKey, BackendValue, TargetValue, target_kind},
    address::Address,
    limits::{BACKENDS_ENTRIES, TARGET_HOST_BYTES, TARGETS_ENTRIES, map},
};

use super::{
    KernelError, OpenError,
    lots::{Lot, lots},
    tables::{failed, open, remove, set},
};
use crate::{
    datapath::{MapUsage, pod::Abi},
    policy::target::{Backend, Target, TargetKind},
};

/// The open maps.
pub(super) struct Targets {
    targets: HashMap<MapData, u32, Abi<TargetValue>>,
    backends: HashMap<MapData, Abi<BackendKey>, Abi<BackendValue>>,
}

impl Targets {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, OpenError> {
        Ok(Self { targets: open(ebpf, map::TARGETS)?, backends: open(ebpf, map::BACKENDS)? })
    }

    /// Reads all. A target of which a part is missing, because an agent ended while it wrote, comes
    /// back as one without backends, which nobody wants.
    pub(super) fn dump(&self) -> Result<BTreeMap<u32, Target>, KernelError> {
        let mut backends: BTreeMap<BackendKey, BackendValue> = BTreeMap::new();
        for entry in &self.backends {
            let (Abi(key), Abi(value)) = entry.map_err(failed("read", map::BACKENDS))?;
            backends.insert(key, value);
        }
        let mut targets = BTreeMap::new();
        for entry in &self.targets {
            let (number, Abi(value)) = entry.map_err(failed("read", map::TARGETS))?;
            let keys = (0..backends_of(&value)).map(|index| BackendKey { target: number, index });
            let found: Option<Vec<BackendValue>> =
                keys.map(|key| backends.get(&key).copied()).collect();
            let target = found.and_then(|found| from_kernel(&value, &found));
            let broken = || Target { kind: TargetKind::Endpoints, backends: Vec::new() };
            targets.insert(number, target.unwrap_or_else(broken));
        }
        Ok(targets)
    }

    /// The entry that knows how many backends there are comes first, so that what an agent left
    /// half-written can be found and removed. Nothing names the target yet.
    pub(super) fn set(&mut self, number: u32, target: &Target) -> Result<(), KernelError> {
        let (value, backends) = to_kernel(target);
        set(map::TARGETS, self.targets.insert(number, Abi(value), 0))?;
        for (index, backend) in (0..).zip(backends) {
            let key = BackendKey { target: number, index };
            set(map::BACKENDS, self.backends.insert(Abi(key), Abi(backend), 0))?;
        }
        Ok(())
    }

    /// Nothing names the target any more.
    pub(super) fn remove(&mut self, number: u32) -> Result<(), KernelError> {
        let Abi(value) = match self.targets.get(&number, 0) {
            Ok(value) => value,
            Err(error) => return remove(map::TARGETS, Err(error)),
        };
        for index in 0..backends_of(&value) {
            let key = BackendKey { target: number, index };
            remove(map::BACKENDS, self.backends.remove(&Abi(key)))?;
        }
        remove(map::TARGETS, self.targets.remove(&number))
    }

    /// Entries of both, by walking their keys.
    pub(super) fn usage(&self) -> [MapUsage; 2] {
        let usage = |map, entries: usize, capacity: usize| MapUsage {
            map,
            entries: entries as u64,
            capacity: capacity as u64,
        };
        [
            usage(map::TARGETS, self.targets.keys().count(), TARGETS_ENTRIES),
            usage(map::BACKENDS, self.backends.keys().count(), BACKENDS_ENTRIES),
        ]
    }
}

fn to_kernel(target: &Target) -> (TargetValue, Vec<BackendValue>) {
    let (kind, host, port) = match &target.kind {
        TargetKind::Sidecar => (target_kind::SIDECAR, "", 0),
        TargetKind::Gateway { host, port } => (target_kind::GATEWAY, host.as_str(), *port),
        TargetKind::Endpoints => (target_kind::ENDPOINTS, "", 0),
        TargetKind::Answer => (target_kind::ANSWER, "", 0),
    };
    let mut bytes = [0; TARGET_HOST_BYTES];
    for (slot, byte) in bytes.iter_mut().zip(host.bytes()) {
        *slot = byte;
    }
    let v4 = draw(target.backends.iter().filter(|it| it.address.is_none_or(|ip| ip.is_ipv4())), 0);
    let v6 = draw(
        target.backends.iter().filter(|it| it.address.is_none_or(|ip| ip.is_ipv6())),
        v4.len(),
    );
    let value = TargetValue {
        // The compiler gives no more than the table holds.
        v4: u32::try_from(v4.len()).unwrap_or(u32::MAX),
        v6: u32::try_from(v6.len()).unwrap_or(u32::MAX),
        port,
        kind,
        host_length: u8::try_from(host.len()).unwrap_or(u8::MAX),
        host: bytes,
    };
    (value, [v4, v6].concat())
}

fn backends_of(value: &TargetValue) -> u32 {
    value.v4.saturating_add(value.v6)
}

/// The backends of one family, of which the first has index `first`.
fn draw<'a>(backends: impl Iterator<Item = &'a Backend>, first: usize) -> Vec<BackendValue> {
    let backends: Vec<&Backend> = backends.collect();
    let weights: Vec<u32> = backends.iter().map(|it| it.weight).collect();
    let value = |(backend, lot): (&Backend, Lot)| BackendValue {
        address: backend.address.map_or(Address::default(), Address::from),
        weight: backend.weight,
        chance: lot.chance,
        alias: u32::try_from(first + lot.alias).unwrap_or(u32::MAX),
        port: backend.port,
        reserved: [0; 2],
    };
    backends.into_iter().zip(lots(&weights)).map(value).collect()
}

/// None if it is no target that this version writes.
fn from_kernel(value: &TargetValue, backends: &[BackendValue]) -> Option<Target> {
    let kind = match value.kind {
        target_kind::SIDECAR => TargetKind::Sidecar,
        target_kind::GATEWAY => {
            let host = value.host.get(..usize::from(value.host_length))?;
            TargetKind::Gateway { host: String::from_utf8(host.to_vec()).ok()?, port: value.port }
        }
        target_kind::ENDPOINTS => TargetKind::Endpoints,
        target_kind::ANSWER => TargetKind::Answer,
        _ => return None,
    };
    let backend = |value: &BackendValue| Backend {
        address: (value.address != Address::default()).then(|| IpAddr::from(value.address)),
        port: value.port,
        weight: value.weight,
    };
    // The one that was dialled is there for both families.
    let backends: BTreeSet<Backend> = backends.iter().map(backend).collect();
    Some(Target { kind, backends: backends.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::{from_kernel, to_kernel};
    use crate::policy::target::{Backend, Target, TargetKind};

    #[track_caller]
    fn check(target: &Target) {
        let (value, backends) = to_kernel(target);
        assert_eq!(from_kernel(&value, &backends).as_ref(), Some(target));
    }

    #[test]
    fn targets_survive_the_way_into_the_kernel_and_back() {
        let backend = |address: Option<&str>| Backend {
            address: address.map(|it| it.parse().expect("an address")),
            port: 8080,
            weight: 3,
        };
        let backends = vec![backend(None), backend(Some("10.0.0.1")), backend(Some("2001:db8::1"))];
        let gateway = |host: &str| TargetKind::Gateway { host: host.to_owned(), port: 443 };
        check(&Target { kind: TargetKind::Sidecar, backends: Vec::new() });
        check(&Target { kind: TargetKind::Endpoints, backends: backends.clone() });
        check(&Target { kind: TargetKind::Answer, backends: backends.clone() });
        check(&Target { kind: gateway("gw.istio-system.svc.cluster.local"), backends });
        let longest =
            [["a"; 63].join(""), ["b"; 63].join(""), ["c"; 63].join(""), ["d"; 61].join("")];
        check(&Target { kind: gateway(&longest.join(".")), backends: Vec::new() });
    }
}
