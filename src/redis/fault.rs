//! Maps the errors of a Redis server to an [`OutageCause`].

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, Value};

use crate::store::fault::OutageCause;

/// The commands that a store needs. An operator warning names a command only if it is among them.
#[rustfmt::skip]
const COMMANDS: [&str; 28] = [
    "ASKING", "CLUSTER", "DEL", "EVAL", "EVALSHA", "GET", "HMGET", "PEXPIRE", "PTTL", "ROLE",
    "SCRIPT", "SELECT", "SENTINEL", "SET", "TIME", "WAIT", "XADD", "XDEL", "XRANGE", "XREAD",
    "ZADD", "ZCARD", "ZCOUNT", "ZRANGEBYSCORE", "ZREM", "ZREMRANGEBYSCORE", "ZREVRANGEBYSCORE",
    "ZSCORE",
];

/// The cause that an error indicates.
pub(crate) fn fault_of(error: &RedisError) -> OutageCause {
    if let Some(error) = io_error(error) {
        return OutageCause::of_io(error);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => OutageCause::PasswordWrong,
        ErrorKind::MasterNameNotFoundBySentinel => OutageCause::SentinelName,
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => OutageCause::Protocol,
        ErrorKind::ClusterConnectionNotFound => OutageCause::Slots,
        // The crate's error for a refused database.
        ErrorKind::Server(redis::ServerErrorKind::ResponseError)
            if error.to_string().contains("switch database") =>
        {
            OutageCause::Database
        }
        _ => error.code().map_or(OutageCause::Network, |code| said(code, error.detail())),
    }
}

/// The cause that an error reply indicates; `None` for any other reply.
pub(super) fn fault_in(value: &Value) -> Option<OutageCause> {
    match value {
        Value::ServerError(error) => Some(said(error.code(), error.details())),
        _ => None,
    }
}

/// The first fault among replies. No fault and yet no valid reply is a fault of the protocol.
pub(super) fn first_fault(values: &[Value]) -> OutageCause {
    values.iter().find_map(fault_in).unwrap_or(OutageCause::Protocol)
}

fn io_error(error: &RedisError) -> Option<&io::Error> {
    let source = error.source()?;
    let source = source.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    source.downcast_ref()
}

fn said(code: &str, detail: Option<&str>) -> OutageCause {
    let detail = detail.unwrap_or_default();
    match code {
        // In protected mode (`DENIED`) it requires a password from remote clients.
        "NOAUTH" | "DENIED" => OutageCause::PasswordMissing,
        "WRONGPASS" => OutageCause::PasswordWrong,
        "NOPERM" => OutageCause::Permission(command_in(detail)),
        "READONLY" | "MASTERDOWN" => OutageCause::ReadOnly,
        "OOM" => OutageCause::Memory,
        "MISCONF" => OutageCause::Disk,
        "LOADING" => OutageCause::Loading,
        "BUSY" => OutageCause::Busy,
        "NOREPLICAS" => OutageCause::Replicas,
        "CLUSTERDOWN" => OutageCause::Slots,
        "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT" => OutageCause::Cluster,
        "ERR" if detail.contains("cluster support disabled") => OutageCause::NotCluster,
        "ERR" if detail.contains("max number of clients") => OutageCause::Connections,
        "ERR" if detail.starts_with("unknown command") => match command_in(detail) {
            Some("EVAL" | "EVALSHA" | "SCRIPT") => OutageCause::Scripts,
            Some("CLUSTER") => OutageCause::NotCluster,
            _ => OutageCause::Protocol,
        },
        _ => OutageCause::Error,
    }
}

/// The quoted command in a server's text, if a store needs it.
fn command_in(text: &str) -> Option<&'static str> {
    let name = text.split(['\'', '`']).nth(1)?;
    // A subcommand follows a bar.
    let name = name.split('|').next()?;
    COMMANDS.into_iter().find(|command| command.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_has_a_cause() {
        for (code, detail, fault) in [
            ("NOAUTH", "Authentication required.", OutageCause::PasswordMissing),
            ("WRONGPASS", "invalid username-password pair", OutageCause::PasswordWrong),
            (
                "NOPERM",
                "User app has no permissions to run the 'evalsha' command",
                OutageCause::Permission(Some("EVALSHA")),
            ),
            (
                "NOPERM",
                "this user has no permissions to run the 'script|load' command",
                OutageCause::Permission(Some("SCRIPT")),
            ),
            ("NOPERM", "No permissions to access a key", OutageCause::Permission(None)),
            ("READONLY", "You can't write against a read only replica.", OutageCause::ReadOnly),
            ("OOM", "command not allowed", OutageCause::Memory),
            ("MISCONF", "Redis is configured to save RDB snapshots", OutageCause::Disk),
            ("LOADING", "Redis is loading the dataset in memory", OutageCause::Loading),
            ("BUSY", "Redis is busy running a script", OutageCause::Busy),
            ("NOREPLICAS", "Not enough good replicas to write.", OutageCause::Replicas),
            ("CLUSTERDOWN", "Hash slot not served", OutageCause::Slots),
            ("MOVED", "3999 127.0.0.1:6381", OutageCause::Cluster),
            ("ERR", "This instance has cluster support disabled", OutageCause::NotCluster),
            ("ERR", "max number of clients reached", OutageCause::Connections),
            ("ERR", "unknown command 'EVAL', with args beginning with: ", OutageCause::Scripts),
            ("ERR", "unknown command `EVALSHA`", OutageCause::Scripts),
            ("ERR", "unknown command 'XYZ'", OutageCause::Protocol),
            ("SECRET", "hunter2", OutageCause::Error),
        ] {
            assert_eq!(said(code, Some(detail)), fault, "{code} {detail}");
        }
    }

    #[test]
    fn a_command_that_a_server_makes_up_is_not_repeated() {
        let fault = said("NOPERM", Some("no permissions to run the 'hunter2' command"));
        assert_eq!(fault, OutageCause::Permission(None));
        assert_eq!(fault.to_string(), "the user lacks a permission");
    }

    #[test]
    fn an_error_of_a_connection_keeps_its_cause() {
        let error = RedisError::from(io::Error::from(OutageCause::Name));
        assert_eq!(fault_of(&error), OutageCause::Name);
        let error = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(fault_of(&error), OutageCause::ConnectionRefused);
    }
}
