//! Finds the primary that sentinels know by a name.

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, TlsCertificates, Value};

use super::cluster::most_say;
use super::config::is_tls;
use super::open::Connection;
use crate::store::runtime::CONNECT_TIMEOUT;

/// Asks the sentinels in `nodes` who is primary now, all at once, and checks that it thinks so too.
/// `primary` says how to speak to it, but for its address.
pub(super) async fn find_primary(
    nodes: &[ConnectionInfo],
    name: &str,
    primary: &ConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> Result<ConnectionInfo, RedisError> {
    let settings = nodes.first().map(ConnectionInfo::redis_settings).cloned().unwrap_or_default();
    let with_tls = nodes.iter().any(is_tls);
    let asked = nodes.iter().map(|node| {
        // The first one's credentials are for all.
        let sentinel = node.clone().set_redis_settings(settings.clone().set_db(0));
        let (name, primary) = (name.to_owned(), primary.clone());
        let certificates = certificates.cloned();
        async move {
            let certificates = certificates.as_ref();
            let (host, port) = ask(&sentinel, &name, certificates).await?;
            let address = if with_tls {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            } else {
                ConnectionAddr::Tcp(host, port)
            };
            let primary = primary.set_addr(address);
            is_primary(&primary, certificates).await.then_some(Primary(primary))
        }
    });
    let most = most_say(asked.collect::<Vec<_>>().into_iter()).await;
    most.map(|Primary(primary)| primary).ok_or_else(no_primary)
}

/// Where one sentinel says that the primary is.
async fn ask(
    sentinel: &ConnectionInfo,
    name: &str,
    certificates: Option<&TlsCertificates>,
) -> Option<(String, u16)> {
    let opening = Connection::open(sentinel, certificates, Some(CONNECT_TIMEOUT));
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let answer = opening.await.ok()?.command(&command).await.ok()?;
    redis::from_redis_value::<Option<(String, u16)>>(answer).ok()?
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
