//! Finds the primary that sentinels know by a name, and sees when they name another one.

mod watch;

use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, TlsCertificates, Value};

use super::cluster::most_say;
use super::config::is_tls;
use super::open::Connection;
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

/// The sentinels in `nodes`. The first one's credentials are for all.
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
    /// Where it says that the primary is; `None` where it gives no answer.
    async fn primary(&mut self, of: &str, patience: Duration) -> Option<Name> {
        let mut link = if let Some(link) = self.link.take() {
            link
        } else {
            let certificates = self.certificates.as_ref();
            Connection::open(&self.info, certificates, Some(patience)).await.ok()?
        };
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(of);
        let answer = link.command(&ask).await.ok()?;
        // One that has failed is not used again.
        self.link = Some(link);
        redis::from_redis_value::<Option<Name>>(answer).ok()?
    }
}

/// Asks the sentinels in `nodes` who is primary now, all at once, and checks that it thinks so too.
/// `primary` says how to speak to it, but for its address.
pub(super) async fn find_primary(
    nodes: &[ConnectionInfo],
    name: &str,
    primary: &ConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> Result<ConnectionInfo, RedisError> {
    let with_tls = nodes.iter().any(is_tls);
    let asked = sentinels(nodes, certificates).map(|mut sentinel| {
        let (name, primary) = (name.to_owned(), primary.clone());
        async move {
            let (host, port) = sentinel.primary(&name, CONNECT_TIMEOUT).await?;
            let address = if with_tls {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            } else {
                ConnectionAddr::Tcp(host, port)
            };
            let primary = primary.set_addr(address);
            is_primary(&primary, sentinel.certificates.as_ref()).await.then_some(Primary(primary))
        }
    });
    let most = most_say(asked.collect::<Vec<_>>().into_iter()).await;
    most.map(|Primary(primary)| primary).ok_or_else(no_primary)
}

/// Whether a server takes itself for a primary: a sentinel may not know yet that it is none.
async fn is_primary(server: &ConnectionInfo, certificates: Option<&TlsCertificates>) -> bool {
    let asking = async {
        let opening = Connection::open(server, certificates, Some(CONNECT_TIMEOUT));
        opening.await.ok()?.command(&redis::cmd("ROLE")).await.ok()
    };
    let Some(Value::Array(role)) = asking.await else { return false };
    matches!(role.first(), Some(Value::BulkString(role)) if role == b"master")
}

/// A primary that a sentinel names. Two are alike where they are at one address.
struct Primary(ConnectionInfo);

impl PartialEq for Primary {
    fn eq(&self, other: &Self) -> bool {
        self.0.addr() == other.0.addr()
    }
}

fn no_primary() -> RedisError {
    (ErrorKind::MasterNameNotFoundBySentinel, "no sentinel names a primary that answers").into()
}
