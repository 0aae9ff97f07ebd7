//! The suites of others, where `KEEPSTONE_VECTORS` names the folder that holds them.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::payload::config::PayloadConfig;
use crate::payload::schema::Schema;

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

/// What the parser makes of the files of `JSONTestSuite` that are ours to decide, and of the valid ones that it refuses:
/// name and code a line.
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
        let read = PayloadConfig::default().with_document(&bytes, None, |_| ());
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

#[test]
fn the_json_schema_test_suite_is_judged_as_it_says() {
    let Some(folder) = folder("json-schema") else { return };
    let remotes = folder.join("remotes");
    let config =
        PayloadConfig::parse("payload", Some(&serde_json::json!({ "operators": "allow" })))
            .unwrap();
    let mut wrong = Vec::new();
    let mut right = 0;
    let mut unclean = Vec::new();
    for (draft, dir) in [("7", "draft7"), ("2019-09", "draft2019-09"), ("2020-12", "draft2020-12")]
    {
        let mut registry = Map::new();
        for file in files(&remotes) {
            let name = file.strip_prefix(&remotes).unwrap().to_str().unwrap();
            // A folder holds what is written in its draft; the rest is for all of them.
            let of_other = name.starts_with("draft") || name.starts_with("v1/");
            if name.starts_with(&format!("{dir}/")) || !of_other {
                let document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
                registry.insert(format!("http://localhost:1234/{name}"), document);
            }
        }
        for file in fs::read_dir(folder.join(dir)).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_dir() {
                continue;
            }
            let groups: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            for group in groups.as_array().unwrap() {
                let schema = Schema::conformance(&group["schema"], draft, &registry, false);
                for test in group["tests"].as_array().unwrap() {
                    let bytes = test["data"].to_string();
                    let name = format!("{dir} {}: {}", group["description"], test["description"]);
                    let verdict =
                        schema.as_ref().map(|schema| schema.validate(bytes.as_bytes(), &config));
                    match verdict {
                        Ok(Err(refusal)) if refusal.status == 400 => {
                            unclean.push((refusal.code, name));
                        }
                        Ok(verdict) if verdict.is_ok() == test["valid"] => right += 1,
                        Ok(_) => wrong.push(name),
                        Err(error) => wrong.push(format!("{name}: {error}")),
                    }
                }
            }
        }
    }
    // Instances that we refuse before any schema is asked: a `__proto__` key, a NUL, an integer of 2^53.
    for (code, name) in &unclean {
        assert!(
            matches!(*code, "forbidden_key" | "forbidden_character" | "unsafe_number"),
            "{code} {name}"
        );
    }
    assert_eq!(unclean.len(), 3 * 8, "eight in each draft: {unclean:#?}");
    println!("{right} right, {} refused before the schema", unclean.len());
    assert!(wrong.is_empty(), "{right} right, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
