//! Paths and the requests that fit them.

use proptest::prelude::*;

use super::relation::{Relation, relation};
use super::split::{Split, split};
use super::{Found, Route, Router, Segment, Template};
use crate::error::faults::Faults;

/// A router with these paths, each with one method, `METHOD /path`.
fn router(operations: &[&str]) -> Router {
    let mut routes: Vec<Route> = Vec::new();
    for (number, text) in operations.iter().enumerate() {
        let (method, path) = text.split_once(' ').unwrap();
        let template = Template::parse(&format!("/paths/{number}"), "", path).unwrap();
        let operations = vec![(method.to_owned(), Some(number))];
        routes.push(Route { template, pointer: format!("/paths/{number}"), operations });
    }
    let faults = Faults::default();
    let built = Router::build(&routes, &faults);
    faults.finish().unwrap();
    built
}

/// The number of the operation of a request with its values, or why there is none. The segments
/// are decoded from `target` by their only encoded character, `%2D`.
fn found(router: &Router, method: &str, target: &str) -> String {
    let raw: Vec<&str> = target.split('/').skip(1).collect();
    let decoded: Vec<String> = raw.iter().map(|segment| segment.replace("%2D", "-")).collect();
    let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
    match router.find(method, &segments, &raw, false, "") {
        Found::Operation { operation, names, values } => {
            let values = names.iter().zip(values).map(|(name, value)| format!(" {name}={value}"));
            format!("{operation}{}", values.collect::<String>())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_segment_with_several_parameters_is_matched_where_it_can_be_split_in_one_way() {
    let router = router(&[
        "GET /days/{from}-{to}",
        "GET /repos/{owner}:{repo}.{format}",
        "GET /compare/{base}...{head}",
        "GET /v{major}.{minor}/x",
        "GET /files/{name}.json",
        "GET /encoded/{from}%2D{to}",
    ]);
    for (target, wanted) in [
        ("/encoded/3%2D4", "5 from=3 to=4"),
        ("/encoded/3%2D4%2D5", "Unclear"),
        ("/encoded/3-4%2D5", "Unclear"),
        ("/encoded/3-4", "Unclear"),
        ("/days/3-4", "0 from=3 to=4"),
        ("/days/3-4-5", "Unclear"),
        ("/days/3--4", "Unclear"),
        ("/days/-4", "Nothing"),
        ("/days/3-", "Nothing"),
        ("/days/-", "Nothing"),
        ("/days/34", "Nothing"),
        // A router that decodes first splits it elsewhere than one that does not.
        ("/days/3%2D4-5", "Unclear"),
        ("/days/3%2D4", "Unclear"),
        ("/repos/a:b.json", "1 owner=a repo=b format=json"),
        ("/repos/a.b:c.json", "1 owner=a.b repo=c format=json"),
        ("/repos/a:b.c.json", "Unclear"),
        ("/repos/a:b:c.json", "Unclear"),
        ("/compare/main...next", "2 base=main head=next"),
        ("/compare/main....next", "Unclear"),
        ("/compare/main..next", "Nothing"),
        ("/v1.2/x", "3 major=1 minor=2"),
        ("/V1.2/x", "3 major=1 minor=2"),
        ("/v1.2.3/x", "Unclear"),
        ("/files/a.json", "4 name=a"),
        ("/files/a.b.json", "4 name=a.b"),
    ] {
        assert_eq!(found(&router, "GET", target), wanted, "{target}");
    }
}

#[test]
fn more_text_around_the_parameters_comes_first_and_what_crosses_is_refused() {
    let router = router(&[
        "GET /{a}-{b}",
        "GET /{a}-x-{b}",
        "GET /{a}",
        "GET /x-y",
        "POST /{a}-{b}",
        "POST /{a}:{b}",
    ]);
    for (request, wanted) in [
        ("GET /x-y", "3"),
        ("GET /1-2", "0 a=1 b=2"),
        ("GET /1-x-2", "1 a=1 b=2"),
        ("GET /12", "2 a=12"),
        ("GET /1-2-3", "Unclear"),
        ("POST /1-2", "4 a=1 b=2"),
        ("POST /1:2", "5 a=1 b=2"),
        ("POST /1-2:3", "Crossing"),
    ] {
        let (method, target) = request.split_once(' ').unwrap();
        assert_eq!(found(&router, method, target), wanted, "{request}");
    }
}

#[test]
fn the_longest_path_that_can_be_written_is_split_in_time_linear_in_its_length() {
    let texts: Vec<String> = std::iter::repeat_n("-".to_owned(), 200).collect();
    let text = "-a".repeat(199) + "-";
    let Split::Values(values) = split(&text, &texts) else { panic!("there is one way") };
    assert_eq!(values, vec!["a"; 199]);
    assert_eq!(split(&"-a".repeat(8000), &texts), Split::None);
}

/// The number of ways to split `text`, by trying all.
fn ways(text: &str, texts: &[String]) -> usize {
    let Some((first, rest)) = texts.split_first() else { return 0 };
    let Some(behind) = text.strip_prefix(first.as_str()) else { return 0 };
    if rest.is_empty() {
        return usize::from(behind.is_empty());
    }
    (1..=behind.len()).filter_map(|at| behind.get(at..)).map(|text| ways(text, rest)).sum()
}

/// The texts around one to three parameters.
fn mixed() -> impl Strategy<Value = Segment> {
    let between = prop::collection::vec("[ab:]{1,2}", 0..3);
    ("[ab:]{0,2}", between, "[ab:]{0,2}").prop_map(|(first, between, last)| {
        let texts: Vec<String> = [vec![first], between, vec![last]].concat();
        if texts.iter().all(String::is_empty) { Segment::Any } else { Segment::Mixed(texts) }
    })
}

fn any_segment() -> impl Strategy<Value = Segment> {
    prop_oneof![mixed(), "[ab:]{1,3}".prop_map(Segment::Literal)]
}

/// Whether a segment fits a text in any way.
fn takes(segment: &Segment, text: &str) -> bool {
    match segment {
        Segment::Any => true,
        Segment::Literal(own) => own == text,
        Segment::Mixed(texts) => ways(text, texts) > 0,
    }
}

proptest! {
    /// One way gives its values, and two ways are no values.
    #[test]
    fn a_text_is_split_in_the_only_way_there_is(segment in mixed(), text in "[ab:\u{e9}]{0,7}") {
        if let Segment::Mixed(texts) = &segment {
            let found = split(&text, texts);
            let count = if text.is_ascii() { ways(&text, texts) } else { usize::MAX };
            match &found {
                Split::None => prop_assert!(count == 0 || count == usize::MAX),
                Split::Several => prop_assert!(count > 1),
                Split::Values(values) => {
                    prop_assert!(count == 1 || count == usize::MAX);
                    let mut whole = String::new();
                    for (i, around) in texts.iter().enumerate() {
                        whole += around;
                        whole += values.get(i).copied().unwrap_or_default();
                    }
                    prop_assert_eq!(&whole, &text);
                    prop_assert!(values.iter().all(|value| !value.is_empty()));
                }
            }
        }
    }

    /// No text contradicts the relation of two segments, and their order does not matter.
    #[test]
    fn relations_hold_for_every_text(
        first in any_segment(),
        second in any_segment(),
        texts in prop::collection::vec("[ab:]{1,8}", 60),
    ) {
        let found = relation(&first, &second);
        let back = match found {
            Relation::First => Relation::Second,
            Relation::Second => Relation::First,
            other => other,
        };
        prop_assert_eq!(relation(&second, &first), back);
        for text in &texts {
            let (a, b) = (takes(&first, text), takes(&second, text));
            match found {
                Relation::Apart => prop_assert!(!(a && b)),
                Relation::Same => prop_assert_eq!(a, b),
                Relation::First => prop_assert!(!a || b),
                Relation::Second => prop_assert!(!b || a),
                Relation::Cross => {}
            }
        }
    }
}

/// Whether a path matches a template, one segment at a time.
fn fits(template: &Template, segments: &[String]) -> bool {
    template.segments.len() == segments.len()
        && template.segments.iter().zip(segments).all(|(wanted, segment)| match wanted {
            Segment::Any => true,
            Segment::Literal(text) => *text == segment.to_ascii_lowercase(),
            Segment::Mixed(texts) => ways(&segment.to_ascii_lowercase(), texts) > 0,
        })
}

/// The rank of a template's literalness, from the left.
fn literalness(template: &Template) -> Vec<usize> {
    let rank = |segment: &Segment| match segment {
        Segment::Literal(_) => 0,
        Segment::Mixed(texts) => 1000 - texts.iter().map(String::len).sum::<usize>(),
        Segment::Any => 2000,
    };
    template.segments.iter().map(rank).collect()
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("ab".to_owned()),
        Just("{x}".to_owned()),
        Just("a{x}".to_owned()),
        Just("{x}b".to_owned()),
        Just("{x}:b".to_owned()),
        Just("{x}:{y}".to_owned()),
        Just("a{x}b{y}".to_owned()),
    ]
}

fn path() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(segment(), 0..4)
}

proptest! {
    /// The tree finds the same as a comparison with each template: the most literal one that has
    /// the method.
    #[test]
    fn the_tree_agrees_with_a_naive_search(
        paths in prop::collection::vec((path(), 0..3_usize), 1..12),
        requests in prop::collection::vec(prop::collection::vec("[abAB:]{1,5}", 0..4), 1..30),
    ) {
        let methods = ["GET", "POST", "HEAD"];
        let mut routes: Vec<Route> = Vec::new();
        for (operation, (segments, method)) in paths.iter().enumerate() {
            // Names must differ within a path.
            let named: Vec<String> =
                segments.iter().enumerate().map(|(i, s)| s.replace("{x}", &format!("{{p{i}}}")).replace("{y}", &format!("{{q{i}}}"))).collect();
            let template = Template::parse("/paths/x", "", &format!("/{}", named.join("/"))).unwrap();
            let entry = (methods[*method].to_owned(), Some(operation));
            let known = routes.iter().position(|route| route.template.segments == template.segments);
            match known {
                Some(at) if routes[at].operations.iter().all(|(own, _)| *own != entry.0) => {
                    routes[at].operations.push(entry);
                }
                Some(_) => {}
                None => {
                    routes.push(Route { template, pointer: format!("/paths/{operation}"), operations: vec![entry] });
                }
            }
        }
        let faults = Faults::default();
        let router = Router::build(&routes, &faults);
        prop_assert!(faults.finish().is_ok());
        for segments in &requests {
            let asked: Vec<&str> = segments.iter().map(String::as_str).collect();
            for method in methods {
                let fitting: Vec<&Route> = routes.iter().filter(|route| fits(&route.template, segments)).collect();
                let of = |route: &&Route| {
                    let find = |name: &str| route.operations.iter().find(|(own, _)| own == name).map(|(_, n)| *n);
                    find(method).or_else(|| if method == "HEAD" { find("GET") } else { None })
                };
                let naive = fitting
                    .iter()
                    .filter(|route| of(route).is_some())
                    .min_by_key(|route| literalness(&route.template));
                match router.find(method, &asked, &asked, false, "") {
                    Found::Operation { operation, names, values } => {
                        prop_assert_eq!(Some(Some(operation)), naive.and_then(of));
                        prop_assert_eq!(names.len(), values.len());
                    }
                    Found::OtherMethods(_) => {
                        prop_assert!(naive.is_none() && !fitting.is_empty());
                    }
                    Found::Nothing => prop_assert!(fitting.is_empty()),
                    Found::LeftOut => prop_assert!(false, "no operation is left out"),
                    // Only if there are two of which neither is as literal as the other everywhere.
                    Found::Crossing => {
                        let able: Vec<_> = fitting.iter().filter(|route| of(route).is_some()).collect();
                        let beats = |a: &Route, b: &Route| {
                            std::iter::zip(literalness(&a.template), literalness(&b.template)).all(|(a, b)| a <= b)
                        };
                        let best = able.iter().any(|a| able.iter().all(|b| beats(a, b)));
                        let has_affixes = able.iter().any(|route| {
                            route.template.segments.iter().any(|it| matches!(it, Segment::Mixed(_)))
                        });
                        prop_assert!(!best || has_affixes);
                    }
                    // Only if a segment can be split in two ways, or another path matches, too, and
                    // letters differ in case.
                    Found::Unclear => {
                        let able: Vec<_> = fitting.iter().filter(|route| of(route).is_some()).collect();
                        let has_two_ways = able.iter().any(|route| {
                            route.template.segments.iter().zip(segments).any(|(wanted, segment)| match wanted {
                                Segment::Mixed(texts) => ways(&segment.to_ascii_lowercase(), texts) > 1,
                                _ => false,
                            })
                        });
                        prop_assert!(has_two_ways || able.len() > 1);
                        prop_assert!(has_two_ways || segments.concat().contains(|c: char| c.is_ascii_uppercase() || "b:".contains(c)));
                    }
                }
            }
        }
    }
}
