//! How many connections there are, in all and of each client.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::config::gateway::Limits;

/// Lets clients in, up to a number.
#[derive(Clone, Debug)]
pub struct Admission {
    limits: Limits,
    // Held for one map operation at a time.
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: BTreeMap<IpAddr, usize>,
}

/// Which limit keeps a client out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Full {
    All,
    Client,
}

impl Full {
    /// A metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Client => "client",
        }
    }
}

/// One connection that was let in, until it is dropped.
#[derive(Debug)]
pub struct AdmittedGuard {
    client: IpAddr,
    open: Arc<Mutex<Open>>,
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// Lets a client in, if there is room.
    pub fn admit(&self, client: IpAddr) -> Result<AdmittedGuard, Full> {
        let client = client.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.limits.connections {
            return Err(Full::All);
        }
        let own = open.by_client.get(&client).copied().unwrap_or(0);
        if own >= self.limits.connections_per_client {
            return Err(Full::Client);
        }
        open.all += 1;
        open.by_client.insert(client, own + 1);
        Ok(AdmittedGuard { client, open: Arc::clone(&self.open) })
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for AdmittedGuard {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        match open.by_client.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Full};
    use crate::config::gateway::Limits;

    #[test]
    fn one_client_does_not_keep_others_out() {
        let limits = Limits { connections: 3, connections_per_client: 2, header_bytes: 0 };
        let admission = Admission::new(limits);
        let [a, b] = ["192.0.2.1", "2001:db8::1"].map(|it| it.parse().expect("an address"));
        let mapped = "::ffff:192.0.2.1".parse().expect("an address");
        let first = admission.admit(a).expect("room");
        let second = admission.admit(mapped).expect("room");
        assert_eq!(admission.admit(a).expect_err("its share is used up"), Full::Client);
        let third = admission.admit(b).expect("room for another");
        assert_eq!(admission.admit(b).expect_err("all are taken"), Full::All);
        drop((first, third));
        assert_eq!(admission.open(), 1);
        drop((admission.admit(a).expect("room again"), second));
        assert_eq!(admission.open(), 0);
        assert!(admission.open.lock().expect("not poisoned").by_client.is_empty());
    }
}
