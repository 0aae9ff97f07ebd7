//! External test suites, in the folder that `KEEPSTONE_VECTORS` names.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::json::Limits;
use crate::payload::PayloadConfig;
use crate::schema::Schema;

fn folder(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("KEEPSTONE_VECTORS")?).join(name))
}

fn files(folder: &PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// The parser's result for each file of `JSONTestSuite` that leaves the decision to the parser, and
/// for each valid file that it refuses: one name and code a line.
const DECIDED: &str = include_str!("json-suite.txt");

#[test]
fn the_json_test_suite_is_read_as_it_says() {
    let Some(folder) = folder("json-parsing") else { return };
    let mut counts = [0; 3];
    let mut wrong = Vec::new();
    let mut decided = Vec::new();
    for file in files(&folder) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&file).unwrap();
        let read = Limits::default().with_document(&bytes, None, |_| ());
        let code = read.err().map_or("accepted", |refusal| refusal.code);
        match name.as_bytes()[0] {
            b'n' => {
                counts[0] += 1;
                if code == "accepted" {
                    wrong.push(name);
                }
            }
            b'y' => {
                counts[1] += 1;
                if code != "accepted" {
                    decided.push(format!("{name} {code}"));
                }
            }
            _ => {
                counts[2] += 1;
                decided.push(format!("{name} {code}"));
            }
        }
    }
    assert_eq!(counts, [188, 95, 35], "n_, y_ and i_ files");
    assert!(wrong.is_empty(), "accepted, but no JSON: {wrong:?}");
    let expected: Vec<&str> = DECIDED.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(decided, expected, "{}", decided.join("\n"));
}

/// The results of one draft: the suite's expectation against the core's result.
#[derive(Debug, Default)]
struct Figures {
    right: usize,
    wrong: Vec<String>,
    /// Instances that the parser refuses before the schema is applied.
    unclean: Vec<(&'static str, String)>,
}

impl Figures {
    fn run(&mut self, file: &PathBuf, draft: &str, registry: &Map<String, Value>, formats: bool) {
        let config =
            *PayloadConfig::parse("payload", Some(&serde_json::json!({ "operators": "allow" })))
                .unwrap()
                .limits();
        let groups: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        for group in groups.as_array().unwrap() {
            let schema = Schema::conformance(&group["schema"], draft, registry, formats);
            for test in group["tests"].as_array().unwrap() {
                let bytes = test["data"].to_string();
                let name = format!("{draft} {}: {}", group["description"], test["description"]);
                let verdict =
                    schema.as_ref().map(|schema| schema.validate(bytes.as_bytes(), &config));
                match verdict {
                    Ok(Err(refusal)) if refusal.status == 400 => {
                        self.unclean.push((refusal.code, name));
                    }
                    Ok(verdict) if verdict.is_ok() == test["valid"] => self.right += 1,
                    Ok(_) => self.wrong.push(name),
                    Err(error) => self.wrong.push(format!("{name}: {error}")),
                }
            }
        }
    }

    fn text(&self) -> String {
        let all = self.right + self.wrong.len() + self.unclean.len();
        format!("{} of {all}, {} refused before the schema", self.right, self.unclean.len())
    }
}

fn registry_of(folder: &std::path::Path, dir: &str) -> Map<String, Value> {
    let remotes = folder.join("remotes");
    let mut registry = Map::new();
    for file in files(&remotes) {
        let name = file.strip_prefix(&remotes).unwrap().to_str().unwrap();
        // A folder holds the schemas of its draft; the others are for all drafts.
        let of_other = name.starts_with("draft") || name.starts_with("v1/");
        if name.starts_with(&format!("{dir}/")) || !of_other {
            let document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            registry.insert(format!("http://localhost:1234/{name}"), document);
        }
    }
    registry
}

const DRAFTS: [(&str, &str); 5] = [
    ("4", "draft4"),
    ("6", "draft6"),
    ("7", "draft7"),
    ("2019-09", "draft2019-09"),
    ("2020-12", "draft2020-12"),
];

#[test]
fn the_json_schema_test_suite_is_judged_as_it_says() {
    let Some(folder) = folder("json-schema") else { return };
    for (draft, dir) in DRAFTS {
        let registry = registry_of(&folder, dir);
        let mut required = Figures::default();
        let mut optional = Figures::default();
        let mut formats = Figures::default();
        for file in files(&folder.join(dir)) {
            let name = file.strip_prefix(folder.join(dir)).unwrap().to_str().unwrap().to_owned();
            match name.strip_prefix("optional/") {
                None => required.run(&file, draft, &registry, false),
                Some(name) if name.starts_with("format/") => {
                    formats.run(&file, draft, &registry, true);
                }
                Some(_) => optional.run(&file, draft, &registry, false),
            }
        }
        println!(
            "{dir}: required {}; optional {}; formats {}",
            required.text(),
            optional.text(),
            formats.text()
        );
        // A `__proto__` key, a NUL, an integer of 2^53.
        for (code, name) in &required.unclean {
            assert!(
                matches!(*code, "forbidden_key" | "forbidden_character" | "unsafe_number"),
                "{code} {name}"
            );
        }
        assert!(required.unclean.len() <= 8, "{:#?}", required.unclean);
        let wrong = &required.wrong;
        assert!(wrong.is_empty(), "{dir}: {} wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}
