//! What a server of Redis says of itself with an error, as a [`StoreFault`].

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, Value};

use crate::store::fault::StoreFault;

/// The commands that a store needs. One that a server names is named only where it is among them.
#[rustfmt::skip]
const COMMANDS: [&str; 28] = [
    "ASKING", "CLUSTER", "DEL", "EVAL", "EVALSHA", "GET", "HMGET", "PEXPIRE", "PTTL", "ROLE",
    "SCRIPT", "SELECT", "SENTINEL", "SET", "TIME", "WAIT", "XADD", "XDEL", "XRANGE", "XREAD",
    "ZADD", "ZCARD", "ZCOUNT", "ZRANGEBYSCORE", "ZREM", "ZREMRANGEBYSCORE", "ZREVRANGEBYSCORE",
    "ZSCORE",
];

/// What an error says of the server.
pub(crate) fn fault_of(error: &RedisError) -> StoreFault {
    if let Some(error) = io_error(error) {
        return StoreFault::of_io(error);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => StoreFault::PasswordWrong,
        ErrorKind::MasterNameNotFoundBySentinel => StoreFault::SentinelName,
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => StoreFault::Protocol,
        ErrorKind::ClusterConnectionNotFound => StoreFault::Slots,
        // It is how the crate says that a database was refused.
        ErrorKind::Server(redis::ServerErrorKind::ResponseError)
            if error.to_string().contains("switch database") =>
        {
            StoreFault::Database
        }
        _ => error.code().map_or(StoreFault::Network, |code| said(code, error.detail())),
    }
}

/// What an answer says of the server that is none; `None` for an answer.
pub(super) fn fault_in(value: &Value) -> Option<StoreFault> {
    match value {
        Value::ServerError(error) => Some(said(error.code(), error.details())),
        _ => None,
    }
}

/// The first fault among answers; that there is none, and yet no answer of the right form, is a
/// fault of the protocol.
pub(super) fn first_fault(values: &[Value]) -> StoreFault {
    values.iter().find_map(fault_in).unwrap_or(StoreFault::Protocol)
}

fn io_error(error: &RedisError) -> Option<&io::Error> {
    let source = error.source()?;
    let source = source.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    source.downcast_ref()
}

fn said(code: &str, detail: Option<&str>) -> StoreFault {
    let detail = detail.unwrap_or_default();
    match code {
        // In protected mode (`DENIED`) it wants one of everybody from elsewhere.
        "NOAUTH" | "DENIED" => StoreFault::PasswordMissing,
        "WRONGPASS" => StoreFault::PasswordWrong,
        "NOPERM" => StoreFault::Permission(command_in(detail)),
        "READONLY" | "MASTERDOWN" => StoreFault::ReadOnly,
        "OOM" => StoreFault::Memory,
        "MISCONF" => StoreFault::Disk,
        "LOADING" => StoreFault::Loading,
        "BUSY" => StoreFault::Busy,
        "NOREPLICAS" => StoreFault::Replicas,
        "CLUSTERDOWN" => StoreFault::Slots,
        "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT" => StoreFault::Cluster,
        "ERR" if detail.contains("cluster support disabled") => StoreFault::NotCluster,
        "ERR" if detail.contains("max number of clients") => StoreFault::Connections,
        "ERR" if detail.starts_with("unknown command") => match command_in(detail) {
            Some("EVAL" | "EVALSHA" | "SCRIPT") => StoreFault::Scripts,
            Some("CLUSTER") => StoreFault::NotCluster,
            _ => StoreFault::Protocol,
        },
        _ => StoreFault::Error,
    }
}

/// The command that stands in quotes in a server's text, where it is one of ours.
fn command_in(text: &str) -> Option<&'static str> {
    let name = text.split(['\'', '`']).nth(1)?;
    // A subcommand stands behind a bar.
    let name = name.split('|').next()?;
    COMMANDS.into_iter().find(|command| command.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_has_a_cause() {
        for (code, detail, fault) in [
            ("NOAUTH", "Authentication required.", StoreFault::PasswordMissing),
            ("WRONGPASS", "invalid username-password pair", StoreFault::PasswordWrong),
            (
                "NOPERM",
                "User app has no permissions to run the 'evalsha' command",
                StoreFault::Permission(Some("EVALSHA")),
            ),
            (
                "NOPERM",
                "this user has no permissions to run the 'script|load' command",
                StoreFault::Permission(Some("SCRIPT")),
            ),
            ("NOPERM", "No permissions to access a key", StoreFault::Permission(None)),
            ("READONLY", "You can't write against a read only replica.", StoreFault::ReadOnly),
            ("OOM", "command not allowed", StoreFault::Memory),
            ("MISCONF", "Redis is configured to save RDB snapshots", StoreFault::Disk),
            ("LOADING", "Redis is loading the dataset in memory", StoreFault::Loading),
            ("BUSY", "Redis is busy running a script", StoreFault::Busy),
            ("NOREPLICAS", "Not enough good replicas to write.", StoreFault::Replicas),
            ("CLUSTERDOWN", "Hash slot not served", StoreFault::Slots),
            ("MOVED", "3999 127.0.0.1:6381", StoreFault::Cluster),
            ("ERR", "This instance has cluster support disabled", StoreFault::NotCluster),
            ("ERR", "max number of clients reached", StoreFault::Connections),
            ("ERR", "unknown command 'EVAL', with args beginning with: ", StoreFault::Scripts),
            ("ERR", "unknown command `EVALSHA`", StoreFault::Scripts),
            ("ERR", "unknown command 'XYZ'", StoreFault::Protocol),
            ("SECRET", "hunter2", StoreFault::Error),
        ] {
            assert_eq!(said(code, Some(detail)), fault, "{code} {detail}");
        }
    }

    #[test]
    fn a_command_that_a_server_makes_up_is_not_repeated() {
        let fault = said("NOPERM", Some("no permissions to run the 'hunter2' command"));
        assert_eq!(fault, StoreFault::Permission(None));
        assert_eq!(fault.to_string(), "the user lacks a permission");
    }

    #[test]
    fn an_error_of_a_connection_keeps_its_cause() {
        let error = RedisError::from(io::Error::from(StoreFault::Name));
        assert_eq!(fault_of(&error), StoreFault::Name);
        let error = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(fault_of(&error), StoreFault::ConnectionRefused);
    }
}
