//! Why a shared store is not available: one word for each cause, and a sentence for the operator.
//! None of them contains text from the server, an address, a login, a key or a value.

use std::fmt;
use std::io;

/// Why a shared store is not available, or why its last command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutageCause {
    /// Its name can't be resolved.
    Name,
    /// Nothing listens at its address.
    ConnectionRefused,
    /// It can't be reached, or the connection broke.
    Network,
    /// It did not answer in time.
    Timeout,
    /// The TLS handshake failed.
    Tls,
    /// Its certificate is not accepted.
    Certificate,
    /// Its certificate is for another name.
    CertificateName,
    /// It wants a password and got none.
    PasswordMissing,
    /// It does not accept the user or the password.
    PasswordWrong,
    /// The user may not run this command, or not with these keys.
    Permission(Option<&'static str>),
    /// It has no such database.
    Database,
    /// It takes no more connections.
    Connections,
    /// It is a replica, or takes no writes for another reason.
    ReadOnly,
    /// Its memory is full.
    Memory,
    /// It can't write to its disk.
    Disk,
    /// It still loads its data after a start.
    Loading,
    /// A script or a function blocks it.
    Busy,
    /// Fewer replicas than `min-replicas-to-write` are connected to it.
    Replicas,
    /// The sentinels have no primary of this name.
    SentinelName,
    /// The server that the sentinels name is no primary.
    NotPrimary,
    /// It belongs to no cluster.
    NotCluster,
    /// It is a node of a cluster, but was configured as a single server.
    Cluster,
    /// Some slots of the cluster are not served by any node.
    Slots,
    /// It runs no scripts.
    Scripts,
    /// Its data does not follow the protocol of such a store.
    Protocol,
    /// Its response was larger than any valid one.
    TooLarge,
    /// It answered with another error.
    Error,
}

impl OutageCause {
    /// The word for it in `guard.health()`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::ConnectionRefused => "refused",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::CertificateName => "certificate-name",
            Self::PasswordMissing => "password-missing",
            Self::PasswordWrong => "password-wrong",
            Self::Permission(_) => "permission",
            Self::Database => "database",
            Self::Connections => "connections",
            Self::ReadOnly => "read-only",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Loading => "loading",
            Self::Busy => "busy",
            Self::Replicas => "replicas",
            Self::SentinelName => "sentinel-name",
            Self::NotPrimary => "not-primary",
            Self::NotCluster => "not-cluster",
            Self::Cluster => "cluster",
            Self::Slots => "slots",
            Self::Scripts => "scripts",
            Self::Protocol => "protocol",
            Self::TooLarge => "too-large",
            Self::Error => "error",
        }
    }

    /// The cause of a connection error.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        if let Some(inner) = error.get_ref() {
            if let Some(fault) = inner.downcast_ref::<Self>() {
                return *fault;
            }
            if let Some(error) = inner.downcast_ref::<rustls::Error>() {
                return Self::of_tls(error);
            }
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::InvalidData => Self::Protocol,
            _ => Self::Network,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        match error {
            rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                Self::CertificateName
            }
            rustls::Error::InvalidCertificate(_) => Self::Certificate,
            _ => Self::Tls,
        }
    }

    /// Whether the server sent no response at all.
    #[must_use]
    pub(crate) const fn is_unreachable(self) -> bool {
        matches!(self, Self::Name | Self::ConnectionRefused | Self::Network | Self::Timeout)
    }

    /// The cause to report once this one follows `known`. A broken connection is often the effect
    /// of an earlier cause, so it does not replace that.
    #[must_use]
    pub(crate) const fn after(self, known: Option<Self>) -> Self {
        match known {
            Some(known) if matches!(self, Self::Network) => known,
            _ => self,
        }
    }
}

impl std::error::Error for OutageCause {}

impl fmt::Display for OutageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its name can't be resolved",
            Self::ConnectionRefused => "the connection is refused; nothing listens there",
            Self::Network => "it can't be reached, or the connection broke",
            Self::Timeout => "it does not answer in time",
            Self::Tls => "the TLS handshake fails; is it a port for TLS, and does it want a certificate?",
            Self::Certificate => "its certificate is not accepted; `tls.ca` names another authority",
            Self::CertificateName => "its certificate is for another name than the one in `store`",
            Self::PasswordMissing => "it wants a password",
            Self::PasswordWrong => "it does not accept the user or the password",
            Self::Permission(Some(command)) => {
                return write!(f, "the user may not run {command}, or not with these keys");
            }
            Self::Permission(None) => "the user lacks a permission",
            Self::Database => "it has no database of that number",
            Self::Connections => "it takes no more connections (`maxclients`)",
            Self::ReadOnly => "it takes no writes; it is a replica",
            Self::Memory => "its memory is full",
            Self::Disk => "it can't write to its disk, and so takes no writes",
            Self::Loading => "it is still reading its data",
            Self::Busy => "a script holds it up",
            Self::Replicas => "it has fewer replicas than its `min-replicas-to-write`",
            Self::SentinelName => "the sentinels know no primary of that name",
            Self::NotPrimary => "the server that the sentinels name is no primary",
            Self::NotCluster => "the servers in `cluster` are no cluster; give one server as `url`",
            Self::Cluster => "it is a node of a cluster; give the nodes as `cluster`",
            Self::Slots => "nobody serves some slots of the cluster",
            Self::Scripts => "it runs no scripts (EVAL)",
            Self::Protocol => "its answers are not of the protocol; is it another kind of server, or a port for TLS?",
            Self::TooLarge => "it sends more than an answer may have",
            Self::Error => "it answers with an error",
        })
    }
}

impl From<OutageCause> for io::Error {
    fn from(fault: OutageCause) -> Self {
        Self::other(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_fails_has_a_cause() {
        for (error, fault) in [
            (io::ErrorKind::ConnectionRefused.into(), OutageCause::ConnectionRefused),
            (io::ErrorKind::ConnectionReset.into(), OutageCause::Network),
            (io::ErrorKind::TimedOut.into(), OutageCause::Timeout),
            (OutageCause::Name.into(), OutageCause::Name),
            (
                io::Error::other(rustls::Error::InvalidCertificate(
                    rustls::CertificateError::UnknownIssuer,
                )),
                OutageCause::Certificate,
            ),
            (
                io::Error::other(rustls::Error::InvalidCertificate(
                    rustls::CertificateError::NotValidForName,
                )),
                OutageCause::CertificateName,
            ),
            (io::Error::other(rustls::Error::DecryptError), OutageCause::Tls),
        ] {
            assert_eq!(OutageCause::of_io(&error), fault, "{error}");
        }
    }

    #[test]
    fn that_the_connection_is_over_hides_no_better_cause() {
        let (end, full) = (OutageCause::Network, OutageCause::Memory);
        assert_eq!(end.after(Some(full)), full);
        assert_eq!(end.after(None), end);
        assert_eq!(full.after(Some(OutageCause::Timeout)), full);
    }
}
