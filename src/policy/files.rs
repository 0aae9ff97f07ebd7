//! Reads Rego text from the file system, once, when a policy is loaded.

use std::fs;
use std::path::Path;

use super::config::invalid_policy;
use crate::error::ConfigError;

const MAX_FILES: usize = 1_000;
const MAX_BYTES: u64 = 16 << 20;
const MAX_FOLDERS: usize = 16;

/// The `.rego` files at `root` as (path, text), sorted by path. `policy` is the option's path.
///
/// Hidden files and folders are skipped: editors and Kubernetes volumes put copies there.
pub(super) fn read(policy: &str, root: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let meta = fs::metadata(root).map_err(|error| unreadable(policy, root, &error))?;
    let mut found = Found { policy, modules: Vec::new(), bytes: 0 };
    if meta.is_dir() {
        found.folder(root, 0)?;
        if found.modules.is_empty() {
            let problem = format!("has no .rego file in {}", root.display());
            return Err(invalid_policy(policy, problem));
        }
    } else if is_rego(root) {
        found.file(root)?;
    } else {
        return Err(invalid_policy(policy, "names a file that does not end in .rego")
            .suggest("give a folder with .rego files, or one .rego file"));
    }
    found.modules.sort();
    Ok(found.modules)
}

struct Found<'a> {
    policy: &'a str,
    modules: Vec<(String, String)>,
    bytes: u64,
}

impl Found<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), ConfigError> {
        if depth > MAX_FOLDERS {
            let problem = format!("has more than {MAX_FOLDERS} folders inside one another");
            return Err(invalid_policy(self.policy, problem));
        }
        let entries =
            fs::read_dir(folder).map_err(|error| unreadable(self.policy, folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(self.policy, folder, &error))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(|error| unreadable(self.policy, &path, &error))?;
            let target = fs::metadata(&path);
            if kind.is_symlink() && target.as_ref().is_ok_and(fs::Metadata::is_dir) {
                // Following it might never end, and skipping it might skip a deny rule.
                let problem = format!("has a symbolic link to a folder: {}", path.display());
                return Err(
                    invalid_policy(self.policy, problem).suggest("put the folder itself there")
                );
            }
            if kind.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if is_rego(&path) {
                self.file(&path)?;
            } else if matches!(&*name, "data.json" | "data.yaml" | "data.yml") {
                let problem = format!("has data that would not be loaded: {}", path.display());
                return Err(invalid_policy(self.policy, problem).suggest(format!(
                    "move the file and give its content as {}.data",
                    self.policy
                )));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let meta = fs::metadata(path).map_err(|error| unreadable(self.policy, path, &error))?;
        self.bytes = self.bytes.saturating_add(meta.len());
        if self.modules.len() >= MAX_FILES || self.bytes > MAX_BYTES {
            let problem = format!("has more than {MAX_FILES} files or 16 mb of Rego");
            return Err(invalid_policy(self.policy, problem));
        }
        let text =
            fs::read_to_string(path).map_err(|error| unreadable(self.policy, path, &error))?;
        self.modules.push((path.display().to_string(), text));
        Ok(())
    }
}

fn is_rego(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rego")
}

fn unreadable(policy: &str, path: &Path, error: &std::io::Error) -> ConfigError {
    invalid_policy(policy, format!("can't be read: {}: {}", path.display(), error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn every_rego_file_of_a_folder_is_read_in_order() {
        let folder = folder(&[
            ("b.rego", "package b"),
            ("sub/a.rego", "package a"),
            ("README.md", "x"),
            (".git/c.rego", "package c"),
        ]);
        let read = read("policy", folder.path()).unwrap();
        let texts: Vec<&str> = read.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["package b", "package a"]);
    }

    #[test]
    fn data_beside_the_policies_is_refused_rather_than_ignored() {
        for name in ["data.json", "sub/data.yaml", "data.yml"] {
            let folder = folder(&[("a.rego", "package a"), (name, "{}")]);
            let error = read("policy", folder.path()).unwrap_err().to_string();
            assert!(error.contains("data.") && error.contains("policy.data"), "{error}");
        }
    }

    #[test]
    fn a_missing_or_empty_folder_is_an_error() {
        let folder = folder(&[("readme.md", "x")]);
        assert!(read("policy", folder.path()).is_err());
        assert!(read("policy", &folder.path().join("nothing")).is_err());
        assert!(read("policy", &folder.path().join("readme.md")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_linked_folder_is_refused_and_a_linked_file_is_read() {
        let elsewhere = folder(&[("x.rego", "package x")]);
        let folder = folder(&[("a.rego", "package a")]);
        std::os::unix::fs::symlink(elsewhere.path().join("x.rego"), folder.path().join("x.rego"))
            .unwrap();
        assert_eq!(read("policy", folder.path()).unwrap().len(), 2);
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("linked")).unwrap();
        assert!(read("policy", folder.path()).unwrap_err().to_string().contains("symbolic link"));
    }
}
