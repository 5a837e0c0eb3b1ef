//! Puts the commit and the compiler's version into the binary. A development build names no commit, so that committing does not relink it.
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=MAOS_BUILD_COMMIT");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release {
        println!("cargo:rerun-if-changed=../../.git/HEAD");
    }
    let commit = std::env::var("MAOS_BUILD_COMMIT")
        .ok()
        .or_else(|| if release { output("git", &["rev-parse", "--short=10", "HEAD"]) } else { None });
    let date = if release { output("git", &["show", "-s", "--format=%cs", "HEAD"]) } else { None };
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    let rustc = rustc.as_deref().and_then(|text| text.split_whitespace().nth(1)).unwrap_or("unknown").to_owned();
    println!("cargo:rustc-env=MAOS_COMMIT={}", commit.unwrap_or_else(|| "development".to_owned()));
    println!("cargo:rustc-env=MAOS_COMMIT_DATE={}", date.unwrap_or_default());
    println!("cargo:rustc-env=MAOS_RUSTC={rustc}");
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
