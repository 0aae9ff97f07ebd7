//! Connections to servers of stores.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::fault::OutageCause;

/// The most addresses of one name that are tried at once.
const MAX_ADDRESSES: usize = 16;

const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));

/// Tries all addresses of a name at once, so that one that hangs does not delay the others.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut trying = JoinSet::new();
    let addresses = lookup_host((host, port)).await.map_err(|_| OutageCause::Name)?;
    for address in addresses.take(MAX_ADDRESSES) {
        trying.spawn(TcpStream::connect(address));
    }
    let mut failure = OutageCause::Name.into();
    while let Some(tried) = trying.join_next().await {
        match tried {
            Ok(Ok(stream)) => {
                // A command must not wait until the result of the one before is acknowledged.
                stream.set_nodelay(true)?;
                // A proxy or NAT may forget an idle connection.
                SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => {}
        }
    }
    Err(failure)
}
