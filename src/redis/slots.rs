//! Finds the node of a key in a cluster: hash slots, their owners, and redirects of nodes that no
//! longer own a slot. See
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.

use redis::{Arg, Cmd, Value};

const SLOTS: u16 = 16_384;
/// A cluster has a thousand nodes at most, by its specification.
const MAX_NODES: usize = 1_000;
/// The numbers that are tried to find one in a slot of a node: nodes own hundreds of slots or more.
const MAX_TAG: u32 = 200_000;

/// The address of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The owners of the slots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SlotMap {
    /// The primaries, in order.
    pub(super) nodes: Vec<Address>,
    /// First slot, last slot and index of the primary, in order.
    ranges: Vec<(u16, u16, usize)>,
}

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS` of the node at `host`. `None` if it names no primary,
    /// more than a cluster can have, or two for one slot.
    pub(super) fn read(answer: &Value, host: &str) -> Option<Self> {
        let Value::Array(items) = answer else { return None };
        let mut owners = Vec::with_capacity(items.len());
        for item in items {
            let Value::Array(item) = item else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = item.as_slice()
            else {
                return None;
            };
            let slot = |number: &i64| u16::try_from(*number).ok().filter(|slot| *slot < SLOTS);
            let (first, last) = (slot(first)?, slot(last)?);
            // The answer has `?` for a node without a known address.
            if let Some(address) = address_of(primary, host) {
                owners.push((first, last, address));
            }
        }
        let mut nodes: Vec<Address> =
            owners.iter().map(|(_, _, address)| address.clone()).collect();
        nodes.sort();
        nodes.dedup();
        if nodes.len() > MAX_NODES {
            return None;
        }
        let place = |address: &Address| nodes.binary_search(address).ok();
        let mut ranges: Vec<_> = owners
            .iter()
            .filter_map(|(first, last, address)| Some((*first, *last, place(address)?)))
            .collect();
        ranges.sort_unstable();
        let is_split = ranges.is_sorted_by(|(_, last, _), (first, _, _)| last < first)
            && ranges.iter().all(|(first, last, _)| first <= last);
        (!nodes.is_empty() && is_split).then_some(Self { nodes, ranges })
    }

    /// Whether a node is one of the primaries.
    pub(super) fn has(&self, node: &Address) -> bool {
        self.nodes.binary_search(node).is_ok()
    }

    /// The index of the node that owns a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        let behind = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, node) = self.ranges.get(behind.checked_sub(1)?)?;
        (*last >= slot).then_some(*node)
    }

    /// Whether each slot has a node.
    pub(super) fn is_whole(&self) -> bool {
        let mut next = 0;
        for (first, last, _) in &self.ranges {
            if *first > next {
                return false;
            }
            next = next.max(last.saturating_add(1));
        }
        next >= SLOTS
    }

    /// A hash tag in a slot of a node: the same in all processes.
    pub(super) fn tag(&self, node: usize) -> Option<String> {
        let tags = (0..MAX_TAG).map(|number| number.to_string());
        tags.into_iter().find(|tag| self.owner(slot_of(tag.as_bytes())) == Some(node))
    }
}

/// The host and port of a node in `CLUSTER SLOTS`. An empty host is that of the answering node.
fn address_of(node: &[Value], host: &str) -> Option<Address> {
    let [name, Value::Int(port), ..] = node else { return None };
    let name = match name {
        Value::BulkString(name) => std::str::from_utf8(name).ok()?,
        Value::SimpleString(name) => name,
        Value::Nil => "",
        _ => return None,
    };
    let name = match name {
        "?" => return None,
        "" | "0.0.0.0" | "::" => host,
        name => name,
    };
    Some(Address { host: name.to_owned(), port: u16::try_from(*port).ok()? })
}

/// The slot of a key: of the text in its first pair of braces, if not empty.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

/// The slot of the first key of a command, for the commands of this package.
pub(super) fn slot_of_command(command: &Cmd) -> Option<u16> {
    let text = |place: usize| match command.args_iter().nth(place) {
        Some(Arg::Simple(bytes)) => Some(bytes),
        _ => None,
    };
    let key = match text(0)? {
        b"EVAL" | b"EVALSHA" => text(3),
        b"XREAD" => {
            let streams = command
                .args_iter()
                .position(|arg| matches!(arg, Arg::Simple(bytes) if bytes == b"STREAMS"))?;
            text(streams + 1)
        }
        _ => text(1),
    };
    key.map(slot_of)
}

/// A redirect of a command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Redirect {
    /// The slot has moved to this node.
    Moved(Address),
    /// The slot is moving, and this key is already on this node.
    Ask(Address),
    /// The keys of the command are on two nodes for a moment: retry later.
    Later,
}

impl Redirect {
    /// Reads a redirect from a reply of the node at `host`; `None` for any other reply.
    pub(super) fn read(answer: &Value, host: &str) -> Option<Self> {
        let Value::ServerError(error) = answer else { return None };
        let address = || {
            let (name, port) = error.details()?.split_whitespace().nth(1)?.rsplit_once(':')?;
            let name = if name.is_empty() { host } else { name };
            Some(Address { host: name.to_owned(), port: port.parse().ok()? })
        };
        match error.code() {
            "MOVED" => address().map(Self::Moved),
            "ASK" => address().map(Self::Ask),
            "TRYAGAIN" => Some(Self::Later),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        let node = |host: &str, port| Value::Array(vec![bulk(host), Value::Int(port), bulk("id")]);
        let (primary, replica) = (node(host, port), node("replica", port + 1));
        Value::Array(vec![Value::Int(first), Value::Int(last), primary, replica])
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
    }

    #[test]
    fn each_slot_has_the_node_that_says_so_and_the_others_have_none() {
        let answer = Value::Array(vec![
            range(5461, 10_922, "b", 2),
            range(0, 5000, "", 1),
            range(10_923, 16_383, "?", 3),
            range(5001, 5460, "b", 2),
        ]);
        let map = SlotMap::read(&answer, "seed").unwrap();
        let owner = |slot| map.owner(slot).map(|node| map.nodes[node].host.as_str());
        assert_eq!(
            [0, 5000, 5001, 10_922].map(owner),
            [Some("seed"), Some("seed"), Some("b"), Some("b")]
        );
        assert_eq!([10_923, 16_383].map(owner), [None, None]);
        for node in 0..map.nodes.len() {
            let tag = map.tag(node).unwrap();
            assert_eq!(map.owner(slot_of(format!("live:{{{tag}}}").as_bytes())), Some(node));
        }
    }

    #[test]
    fn a_map_that_no_cluster_can_have_is_refused() {
        let read = |ranges: Vec<Value>| SlotMap::read(&Value::Array(ranges), "seed").is_some();
        let each = |count: i64| (0..count).map(|i| range(i, i, "a", i + 1)).collect::<Vec<_>>();
        assert!(read(each(1_000)));
        assert!(!read(each(1_001)), "more nodes than a cluster has");
        assert!(!read(vec![range(0, 100, "a", 1), range(100, 200, "b", 2)]), "two for one slot");
        assert!(!read(vec![range(100, 0, "a", 1)]), "a range that ends before it begins");
    }

    #[test]
    fn the_key_of_a_command_is_found() {
        let slot = |parts: &[&str]| {
            let mut command = Cmd::new();
            for part in parts {
                command.arg(part);
            }
            slot_of_command(&command)
        };
        let wanted = Some(slot_of(b"k"));
        assert_eq!(slot(&["EVAL", "return 1", "1", "k", "a"]), wanted);
        assert_eq!(slot(&["EVALSHA", "abc", "2", "k", "l"]), wanted);
        assert_eq!(slot(&["XREAD", "COUNT", "5", "BLOCK", "1", "STREAMS", "k", "0"]), wanted);
        assert_eq!(slot(&["SET", "k", "v"]), wanted);
        assert_eq!(slot(&["TIME"]), None);
    }

    #[test]
    fn a_node_that_has_a_slot_no_more_says_where_it_is() {
        let read = |text: &str| {
            let error = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
            Redirect::read(&error, "me")
        };
        let address = |host: &str, port| Address { host: host.into(), port };
        assert_eq!(
            read("MOVED 3999 127.0.0.1:6381"),
            Some(Redirect::Moved(address("127.0.0.1", 6381)))
        );
        assert_eq!(read("MOVED 3999 :6381"), Some(Redirect::Moved(address("me", 6381))));
        assert_eq!(read("ASK 3999 ::1:6381"), Some(Redirect::Ask(address("::1", 6381))));
        assert_eq!(read("TRYAGAIN Multiple keys request"), Some(Redirect::Later));
        for text in
            ["MOVED", "MOVED 1", "MOVED 1 a", "MOVED 1 a:b", "ERR no", "CLUSTERDOWN Hash slot"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(
            first: i64, last: i64, host in ".{0,9}", port: i64, slot: u16,
        ) {
            let map = SlotMap::read(&Value::Array(vec![range(first, last, &host, port)]), "seed");
            let owner = map.and_then(|map| map.owner(slot));
            prop_assert!(owner.is_none_or(|node| node == 0));
        }
    }
}
