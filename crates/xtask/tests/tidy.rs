//! Documents tell the truth and house rules hold: each rule is a test that reads the tree.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Rust files below a folder.
fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn all_rust_files() -> Vec<(String, String)> {
    let mut out = vec![];
    rust_files(&root().join("crates"), &mut out);
    rust_files(&root().join("bench"), &mut out);
    assert!(out.len() > 50, "the tree was found");
    let name = |p: &Path| p.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    out.iter().map(|p| (name(p), fs::read_to_string(p).unwrap())).collect()
}

fn check(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Dependencies on our own crates, from the manifests.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let manifests =
        fs::read_dir(root().join("crates")).unwrap().map(|e| e.unwrap().path().join("Cargo.toml")).chain([root().join("bench/Cargo.toml")]);
    let mut out = BTreeMap::new();
    for path in manifests.filter(|p| p.exists()) {
        let text = fs::read_to_string(&path).unwrap();
        let name = text.lines().find_map(|l| l.strip_prefix("name = \"")).unwrap().trim_end_matches('"').to_owned();
        let deps = text.split("\n[dependencies]\n").nth(1).unwrap_or("").split("\n[").next().unwrap();
        let ours = deps.lines().filter(|l| l.starts_with("maos-")).map(|l| l.split(['.', ' ', '=']).next().unwrap().to_owned()).collect();
        out.insert(name, ours);
    }
    out
}

#[test]
fn the_table_of_rooms_in_architecture_md_is_true() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut table: BTreeMap<String, Option<BTreeSet<String>>> = BTreeMap::new();
    for line in page.lines().filter(|l| l.starts_with("| maos") || l.starts_with("| xtask")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let imports = match cells[3] {
            "anything" => None,
            text => Some(text.split(", ").filter(|c| *c != "-").map(str::to_owned).collect()),
        };
        table.insert(cells[1].to_owned(), imports);
    }
    let mut broken = vec![];
    for (name, deps) in edges() {
        match table.remove(&name) {
            None => broken.push(format!("{name} is not in the table")),
            Some(Some(stated)) if stated != deps => broken.push(format!("{name}: the table says {stated:?}, Cargo.toml says {deps:?}")),
            Some(_) => {}
        }
    }
    broken.extend(table.into_keys().map(|name| format!("{name} is in the table but not in the tree")));
    check("ARCHITECTURE.md §3 and the manifests agree", broken);
}

#[test]
fn every_file_says_what_it_is() {
    check("a file opens with //!", all_rust_files().into_iter().filter(|(_, t)| !t.starts_with("//!")).map(|(n, _)| n).collect());
}

#[test]
fn tests_do_not_wait_by_the_clock() {
    let in_tests = |n: &str| n.contains("/tests/") || n.ends_with("_test.rs") || n.ends_with("/tests.rs");
    let waits = ["thread::sleep(", "time::sleep("];
    let broken = all_rust_files().into_iter().filter(|(n, _)| in_tests(n) && !n.ends_with("tidy.rs"));
    check("wait for the event instead", broken.filter(|(_, t)| waits.iter().any(|w| t.contains(w))).map(|(n, _)| n).collect());
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    let marks = [
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["FIX", "ME"].concat(),
        ["#[ign", "ore"].concat(),
        ["allow(dead", "_code"].concat(),
    ];
    let broken = all_rust_files().into_iter().filter(|(_, t)| marks.iter().any(|m| t.contains(m)));
    check("finish it or leave it out", broken.map(|(n, _)| n).collect());
}

#[test]
fn the_engine_is_pure() {
    let banned = ["SystemTime", "Instant::now", "std::fs", "std::env", "std::net", "std::process", "std::thread", "HashMap", "rand::"];
    let mut broken = vec![];
    for (name, text) in all_rust_files().into_iter().filter(|(n, _)| n.starts_with("crates/engine/src")) {
        broken.extend(banned.iter().filter(|b| text.contains(**b)).map(|b| format!("{name} uses {b}")));
    }
    assert!(edges()["maos-engine"].is_empty());
    check("no I/O, clock, randomness or unordered maps in the rules", broken);
}

#[test]
fn commands_go_through_the_api() {
    let broken = all_rust_files().into_iter().filter(|(n, _)| n.starts_with("crates/cli/src/task"));
    check(
        "task commands know the client only",
        broken.filter(|(_, t)| t.contains("maos_store") || t.contains("maos_runtime")).map(|(n, _)| n).collect(),
    );
}
