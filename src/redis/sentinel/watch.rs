//! Asks the sentinels once a second for the primary.
//!
//! A replaced primary may still run, and takes writes until the sentinels have made it a replica:
//! ten seconds after a manual failover, and after a failover during which it hung. Those writes are
//! lost. So its connections are given up as soon as most of the sentinels name another primary.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{ConnectionAddr, ConnectionInfo, TlsCertificates};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Name, Sentinel, sentinels};
use crate::store::runtime::{PROBE, jittered, spawn_beside};

const POLL: Duration = Duration::from_secs(1);

/// Whether the sentinels have named another primary than the one of a connection.
pub(in crate::redis) type Replaced = Arc<AtomicBool>;

/// The primaries that have connections.
#[derive(Debug, Default)]
pub(in crate::redis) struct Primaries {
    reached: Mutex<Vec<(Name, Replaced)>>,
    is_watched: AtomicBool,
}

impl Primaries {
    /// The flag that marks the connections to `address` as replaced.
    pub(in crate::redis) fn reach(&self, address: &ConnectionAddr) -> Replaced {
        let Some(name) = name(address) else { return Replaced::default() };
        let mut reached = self.reached.lock();
        if let Some((_, replaced)) = reached.iter().find(|(known, _)| *known == name) {
            return Arc::clone(replaced);
        }
        let replaced = Replaced::default();
        reached.push((name, Arc::clone(&replaced)));
        replaced
    }

    /// Applies the answer of the majority of sentinels.
    fn named(&self, primary: &Name) {
        self.reached.lock().retain(|(name, replaced)| {
            replaced.store(name != primary, Ordering::Release);
            name == primary
        });
    }

    /// Starts to poll the sentinels in `nodes`, on the store's thread, for as long as there are
    /// connections.
    pub(in crate::redis) fn watch(
        self: &Arc<Self>,
        nodes: &[ConnectionInfo],
        name: &str,
        certificates: Option<&TlsCertificates>,
    ) {
        if self.is_watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let sentinels = sentinels(nodes, certificates).collect();
        spawn_beside(watch(Arc::downgrade(self), sentinels, name.to_owned()));
    }
}

fn name(address: &ConnectionAddr) -> Option<Name> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.clone(), *port))
        }
        _ => None,
    }
}

async fn watch(primaries: Weak<Primaries>, mut sentinels: Vec<Sentinel>, name: String) {
    let count = sentinels.len();
    while primaries.strong_count() > 0 {
        sleep(jittered(POLL)).await;
        let mut asking = JoinSet::new();
        for mut sentinel in std::mem::take(&mut sentinels) {
            let name = name.clone();
            asking.spawn(async move {
                let said = timeout(PROBE * 2, sentinel.primary(&name, PROBE)).await;
                let said = said.ok().and_then(Result::ok);
                (sentinel, said)
            });
        }
        let (back, said): (_, Vec<_>) = asking.join_all().await.into_iter().unzip();
        sentinels = back;
        let said: Vec<Name> = said.into_iter().flatten().collect();
        let Some(primaries) = primaries.upgrade() else { return };
        if let Some(primary) = majority(&said, count) {
            primaries.named(primary);
        }
    }
}

/// The answer of more than half of `count` sentinels.
fn majority(said: &[Name], count: usize) -> Option<&Name> {
    said.iter().find(|name| said.iter().filter(|other| other == name).count() * 2 > count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(port: u16) -> Name {
        ("127.0.0.1".to_owned(), port)
    }

    #[test]
    fn less_than_half_of_the_sentinels_name_nobody() {
        let said = [named(1), named(2), named(2)];
        assert_eq!(majority(&said, 3), Some(&named(2)));
        assert_eq!(majority(&said, 4), None);
        assert_eq!(majority(&said[..1], 1), Some(&named(1)));
        assert_eq!(majority(&[], 0), None);
    }

    #[test]
    fn connections_to_a_primary_that_was_replaced_are_given_up_and_new_ones_to_it_are_not() {
        let primaries = Primaries::default();
        let address = |port| ConnectionAddr::Tcp("127.0.0.1".to_owned(), port);
        let [old, new] = [1, 2].map(|port| primaries.reach(&address(port)));
        let is = |replaced: &Replaced| replaced.load(Ordering::Acquire);
        primaries.named(&named(1));
        assert_eq!([is(&old), is(&new)], [false, true]);
        let new = primaries.reach(&address(2));
        assert!(Arc::ptr_eq(&old, &primaries.reach(&address(1))));
        primaries.named(&named(2));
        assert_eq!([is(&old), is(&new)], [true, false]);
        assert!(!is(&primaries.reach(&address(1))));
    }
}
