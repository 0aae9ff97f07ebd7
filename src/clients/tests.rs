use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ClientsConfig, Entry, ListAction, ListMatch, ListedClient, Lists};
use crate::error::ConfigCode;
use crate::limit::user_key;
use crate::net::{Cidr, Ipv6Prefix};

fn config(value: &Value) -> ClientsConfig {
    ClientsConfig::parse("clients", Some(value), Ipv6Prefix::default()).unwrap()
}

fn who(text: &str) -> ListedClient {
    ListedClient::Network(Cidr::parse(text).unwrap())
}

fn entry(standing: ListAction, until_us: u64) -> Entry {
    Entry { standing, until_us, reason: Arc::from("why") }
}

fn listed(lists: &Lists, config: &ClientsConfig, address: &str) -> &'static str {
    match lists.client(config, address.parse::<IpAddr>().unwrap(), 100) {
        ListMatch::No => "no",
        ListMatch::Allowed => "allowed",
        ListMatch::Blocked(_) => "blocked",
    }
}

#[test]
fn the_longest_network_decides_and_of_two_alike_what_was_said_at_run_time() {
    let config = config(&json!({
        "allow": ["10.0.0.0/8", "2001:db8::/32"], "block": ["203.0.113.0/24", "10.9.0.0/16"],
    }));
    let lists = Lists::default();
    let ask = |address| listed(&lists, &config, address);
    assert_eq!(
        ["10.1.2.3", "10.9.0.1", "203.0.113.7", "2001:db8:5::1", "192.0.2.1"].map(ask),
        ["allowed", "blocked", "blocked", "allowed", "no"]
    );
    for (network, standing) in [
        ("203.0.113.7", ListAction::Allowed),
        ("10.1.2.3", ListAction::Blocked),
        ("10.9.0.0/16", ListAction::Allowed),
        ("192.0.0.0/8", ListAction::Blocked),
        ("10.0.0.0/7", ListAction::Blocked),
    ] {
        lists.put(who(network), entry(standing, 200), 100).unwrap();
    }
    assert_eq!(
        ["203.0.113.7", "203.0.113.8", "10.1.2.3", "10.1.2.4"].map(ask),
        ["allowed", "blocked", "blocked", "allowed"]
    );
    assert_eq!(
        ["10.9.0.1", "192.0.2.1", "11.0.0.1", "9.0.0.1"].map(ask),
        ["allowed", "blocked", "blocked", "no"]
    );
    lists.remove(who("10.1.2.3"));
    lists.remove(who("192.0.0.0/8"));
    assert_eq!(["10.1.2.3", "192.0.2.1"].map(ask), ["allowed", "no"]);
}

#[test]
fn an_address_stands_for_its_client_and_ipv4_in_a_coat_is_ipv4() {
    let lists = Lists::default();
    let none = ClientsConfig::default();
    for address in ["2001:db8:0:1::1", "::ffff:203.0.113.7", "64:ff9b:1::203.0.113.7"] {
        lists.put(who(address), entry(ListAction::Blocked, 200), 100).unwrap();
    }
    let ask = |address| listed(&lists, &none, address);
    assert_eq!(["2001:db8:0:ff::2", "2001:db8:0:100::1"].map(ask), ["blocked", "no"]);
    assert_eq!(
        ["203.0.113.7", "64:ff9b::203.0.113.7", "203.0.113.8"].map(ask),
        ["blocked", "blocked", "no"]
    );
    assert_eq!(["64:ff9b:1::203.0.113.7", "64:ff9b:1::203.0.113.8"].map(ask), ["blocked", "no"]);
    lists.put(who("::ffff:198.51.100.0/120"), entry(ListAction::Blocked, 200), 100).unwrap();
    assert_eq!(["198.51.100.9", "198.51.101.9"].map(ask), ["blocked", "no"]);
    assert_eq!(Cidr::parse("::ffff:198.51.100.0/90"), None);
}

#[test]
fn an_entry_that_is_over_says_nothing_and_a_shorter_network_speaks_instead() {
    let lists = Lists::default();
    let none = ClientsConfig::default();
    lists.put(who("10.0.0.0/8"), entry(ListAction::Blocked, 200), 1).unwrap();
    lists.put(who("10.1.2.3"), entry(ListAction::Allowed, 100), 1).unwrap();
    assert_eq!(listed(&lists, &none, "10.1.2.3"), "blocked");
}

#[test]
fn users_are_listed_whatever_their_address() {
    let lists = Lists::default();
    lists.put(ListedClient::User(user_key("eve")), entry(ListAction::Blocked, 200), 100).unwrap();
    assert_eq!(lists.user(|| user_key("eve"), 100), ListMatch::Blocked("why".into()));
    assert_eq!(lists.user(|| user_key("ada"), 100), ListMatch::No);
    assert_eq!(lists.user(|| user_key("eve"), 200), ListMatch::No);
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_path() {
    use ConfigCode::{ConflictingOptions, InvalidOption, UnknownOption};
    for (value, path, code) in [
        (json!({ "alow": [] }), "clients.alow", UnknownOption),
        (json!({ "allow": ["0.0.0.0/0"] }), "clients.allow[0]", InvalidOption),
        (json!({ "block": ["::/0"] }), "clients.block[0]", InvalidOption),
        (json!({ "block": ["hunter2"] }), "clients.block[0]", InvalidOption),
        (json!({ "block": ["10.0.0.0/33"] }), "clients.block[0]", InvalidOption),
        (json!({ "block": "10.0.0.0/8" }), "clients.block", InvalidOption),
        (json!({ "block": ["10.0.0.1", "10.0.0.1/32"] }), "clients.block[1]", InvalidOption),
        (
            json!({ "allow": ["10.0.0.0/8"], "block": ["10.2.0.0/8"] }),
            "clients.block[0]",
            ConflictingOptions,
        ),
        (json!([]), "clients", InvalidOption),
    ] {
        let error =
            ClientsConfig::parse("clients", Some(&value), Ipv6Prefix::default()).unwrap_err();
        assert_eq!((error.path(), error.code()), (path, code), "{value}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[test]
fn a_full_list_makes_room_of_what_is_over_and_then_refuses() {
    let lists = Lists::default();
    let network = |i: u32| ListedClient::Network(Cidr::of(IpAddr::V4(i.into())));
    for i in 0..100_000 {
        lists.put(network(i), entry(ListAction::Blocked, if i < 10 { 5 } else { 200 }), 1).unwrap();
    }
    assert!(lists.put(network(100_000), entry(ListAction::Blocked, 200), 1).is_err());
    assert!(lists.put(network(100_000), entry(ListAction::Blocked, 200), 5).is_ok());
}

proptest! {
    #[test]
    fn any_text_is_a_network_or_none(text in ".*") {
        let _ = Cidr::parse(&text);
    }

    #[test]
    fn an_address_lies_in_each_of_its_networks_and_in_no_other(bits: u32, length in 1u8..=32, flip in 0u32..32) {
        let address = IpAddr::V4(bits.into());
        let network = Cidr::parse(&format!("{address}/{length}")).unwrap();
        let lists = Lists::default();
        lists.put(ListedClient::Network(network), entry(ListAction::Blocked, 200), 1).unwrap();
        let other = IpAddr::V4((bits ^ (1 << (31 - flip))).into());
        let none = ClientsConfig::default();
        prop_assert!(matches!(lists.client(&none, address, 1), ListMatch::Blocked(_)));
        let inside = flip >= u32::from(length);
        prop_assert_eq!(matches!(lists.client(&none, other, 1), ListMatch::Blocked(_)), inside);
    }
}
