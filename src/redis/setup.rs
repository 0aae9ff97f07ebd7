//! The setup of a server: warnings about a distant one, and about one that drops keys when its
//! memory is full.

use std::time::Duration;

use redis::Value;
use tokio::time::timeout;

use super::config::RedisConfig;
use super::connect::Link;
use crate::store::runtime::PROBE;

/// The values of `maxmemory-policy` that drop keys. `volatile-*` too: every key here has an end.
const EVICTING: [&str; 9] = [
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-lrm",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-lrm",
    "volatile-random",
    "volatile-ttl",
];

/// The warning about a server that is too far away for the time that a request waits for it.
pub(super) fn advice_on_distance(config: &RedisConfig, distance: Duration) -> Option<String> {
    let patience = config.patience(distance);
    // Answers take longer than the shortest round trip.
    if distance * 4 < patience * 3 {
        return None;
    }
    Some(format!(
        "is {} ms away (round trip), and a request waits {} ms for it: set its `timeout` to '{}ms', \
         or use a server that is nearer",
        distance.as_millis(),
        patience.as_millis(),
        (distance * 3).as_millis().min(5000)
    ))
}

/// The warning about a server that drops keys. `None` as well if the user may not run INFO.
pub(super) async fn advice_on_memory(link: &mut Link) -> Option<String> {
    if !matches!(link, Link::Single(_) | Link::Named(..)) {
        return None;
    }
    let mut command = redis::cmd("INFO");
    command.arg("memory");
    let Ok(Ok(Value::BulkString(info))) = timeout(PROBE, link.command(&command)).await else {
        return None;
    };
    let policy = evicting_policy(&String::from_utf8_lossy(&info))?;
    Some(format!(
        "may drop revocations, used proofs, sessions and counts when its memory is full \
         (`maxmemory-policy` is {policy}): set it to noeviction"
    ))
}

fn evicting_policy(info: &str) -> Option<&'static str> {
    let said = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?.trim();
    EVICTING.into_iter().find(|policy| *policy == said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(options: &serde_json::Value) -> RedisConfig {
        RedisConfig::parse("store.redis", options).unwrap()
    }

    #[test]
    fn a_distant_store_gets_three_round_trips_unless_its_timeout_was_given() {
        let url = "redis://127.0.0.1";
        let ms = Duration::from_millis;
        let (free, given) =
            (config(&json!(url)), config(&json!({ "url": url, "timeout": "40ms" })));
        for (distance, patience) in [(0, 25), (8, 25), (40, 120), (60, 180), (90, 250)] {
            assert_eq!(free.patience(ms(distance)), ms(patience));
            assert_eq!(given.patience(ms(distance)), ms(40));
        }
    }

    #[test]
    fn a_store_beyond_the_timeout_is_told_of_with_both_figures() {
        let far = config(&json!({ "url": "redis://127.0.0.1", "timeout": "25ms" }));
        assert_eq!(advice_on_distance(&far, Duration::from_millis(5)), None);
        let text = advice_on_distance(&far, Duration::from_millis(48)).unwrap();
        assert!(
            text.starts_with("is 48 ms away (round trip), and a request waits 25 ms"),
            "{text}"
        );
        assert!(text.contains("'144ms'"), "{text}");
    }

    #[test]
    fn only_policies_that_drop_keys_are_told_of() {
        let policy =
            |name: &str| evicting_policy(&format!("maxmemory:0\r\nmaxmemory_policy:{name}\r\n"));
        assert_eq!(policy("allkeys-lru"), Some("allkeys-lru"));
        assert_eq!(policy("volatile-ttl"), Some("volatile-ttl"));
        assert_eq!((policy("noeviction"), policy("hunter2")), (None, None));
    }
}
