//! Finds the primary that sentinels monitor under a name, and detects when they name another one.

mod watch;

use std::io;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, RedisError, TlsCertificates, Value};

use super::cluster::{Why, votes};
use super::config::is_tls;
use super::fault::{fault_in, fault_of};
use super::open::Connection;
use crate::store::fault::OutageCause;
use crate::store::runtime::CONNECT_TIMEOUT;
pub(super) use watch::{Primaries, Replaced};

/// A host and a port.
type Name = (String, u16);

/// A sentinel, and the connection to it.
struct Sentinel {
    info: ConnectionInfo,
    certificates: Option<TlsCertificates>,
    link: Option<Connection>,
}

/// The sentinels in `nodes`. All use the credentials of the first.
fn sentinels<'n>(
    nodes: &'n [ConnectionInfo],
    certificates: Option<&'n TlsCertificates>,
) -> impl Iterator<Item = Sentinel> + 'n {
    let settings = nodes.first().map(ConnectionInfo::redis_settings).cloned().unwrap_or_default();
    let settings = settings.set_db(0);
    nodes.iter().map(move |node| Sentinel {
        info: node.clone().set_redis_settings(settings.clone()),
        certificates: certificates.cloned(),
        link: None,
    })
}

impl Sentinel {
    /// The address of the primary, as this sentinel reports it.
    async fn primary(&mut self, of: &str, patience: Duration) -> Result<Name, OutageCause> {
        let mut link = if let Some(link) = self.link.take() {
            link
        } else {
            let certificates = self.certificates.as_ref();
            let opening = Connection::open(&self.info, certificates, Some(patience));
            opening.await.map_err(|error| fault_of(&error))?
        };
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(of);
        let answer = link.command(&ask).await.map_err(|error| fault_of(&error))?;
        // A failed connection is not used again.
        self.link = Some(link);
        if let Some(fault) = fault_in(&answer) {
            return Err(fault);
        }
        let name = redis::from_redis_value::<Option<Name>>(answer);
        name.map_err(|_| OutageCause::Protocol)?.ok_or(OutageCause::SentinelName)
    }
}

/// Asks all sentinels in `nodes` at once for the current primary. The server that most of them name
/// must confirm its role. A single sentinel never overrules the others, even while the server that
/// they name hangs. `primary` has the connection settings of the server, except for its address.
pub(super) async fn find_primary(
    nodes: &[ConnectionInfo],
    name: &str,
    primary: &ConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> Result<ConnectionInfo, RedisError> {
    let with_tls = nodes.iter().any(is_tls);
    let why = Why::default();
    let asked = sentinels(nodes, certificates).map(|mut sentinel| {
        let (name, why) = (name.to_owned(), why.clone());
        async move { why.note(sentinel.primary(&name, CONNECT_TIMEOUT).await) }
    });
    let votes = votes(asked.collect::<Vec<_>>().into_iter()).await;
    let mut fault_of_primary = None;
    for (host, port) in most_named(votes) {
        let address = if with_tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let primary = primary.clone().set_addr(address);
        match check_primary(&primary, certificates).await {
            Ok(()) => return Ok(primary),
            Err(fault) => fault_of_primary = Some(fault),
        }
    }
    Err(io::Error::from(fault_of_primary.unwrap_or_else(|| why.fault())).into())
}

/// The server that most sentinels name, or several with equal votes.
fn most_named(votes: Vec<(Name, usize)>) -> impl Iterator<Item = Name> {
    let most = votes.iter().map(|(_, count)| *count).max();
    votes.into_iter().filter(move |(_, count)| Some(*count) == most).map(|(name, _)| name)
}

/// Checks that a server has the role of a primary: a sentinel may not have noticed yet that it lost
/// it.
async fn check_primary(
    server: &ConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> Result<(), OutageCause> {
    let asking = async {
        let opening = Connection::open(server, certificates, Some(CONNECT_TIMEOUT));
        opening.await?.command(&redis::cmd("ROLE")).await
    };
    let answer = asking.await.map_err(|error| fault_of(&error))?;
    let Value::Array(role) = &answer else {
        return Err(fault_in(&answer).unwrap_or(OutageCause::Protocol));
    };
    let is_primary = matches!(role.first(), Some(Value::BulkString(role)) if role == b"master");
    if is_primary { Ok(()) } else { Err(OutageCause::NotPrimary) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_alone_never_counts_against_the_others() {
        let named = |ports: &[(u16, usize)]| -> Vec<u16> {
            let votes = ports.iter().map(|(port, count)| (("h".to_owned(), *port), *count));
            most_named(votes.collect()).map(|(_, port)| port).collect()
        };
        assert_eq!(named(&[(1, 1), (2, 2)]), [2]);
        assert_eq!(named(&[(1, 1), (2, 1)]), [1, 2]);
        assert_eq!(named(&[]), [0; 0]);
    }
}
