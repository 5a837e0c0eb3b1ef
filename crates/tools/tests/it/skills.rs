//! Skills: what is a skill and what is not, and that opening one reads nothing else.
use crate::mcp::a_call;
use maos_engine::event::Repeat;
use maos_engine::taint::Taint;
use maos_tools::skills::Skills;
use maos_tools::{Output, Tool};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn skill(dir: &Path, name: &str, description: &str) {
    write(dir, &format!("{name}/SKILL.md"), &format!("---\nname: {name}\ndescription: {description}\n---\n\n# How to {name}\n"));
}

async fn open(tool: &Arc<dyn Tool>, args: Value) -> Output {
    match tool.check(&args) {
        Err(why) => Output::error(why),
        Ok(()) => {
            let dir = tempfile::tempdir().unwrap();
            tool.run(a_call(dir.path(), args, Duration::from_secs(60))).await
        }
    }
}

#[tokio::test]
async fn skills_are_listed_and_opened_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, shared) = (dir.path().join("ours"), dir.path().join("shared"));
    skill(&ours, "pdf-forms", "Fills in PDF forms.\n  Use it for forms.");
    skill(&shared, "review", "Reviews code.");
    skill(&shared, "pdf-forms", "Another one.");
    write(&ours, "pdf-forms/references/fields.md", "the fields");
    write(&ours, ".hidden/SKILL.md", "not looked at");
    let (skills, problems) = Skills::load(&[ours.clone(), shared, dir.path().join("missing")]);
    assert_eq!(skills.prompt_lines(), "- pdf-forms: Fills in PDF forms. Use it for forms.\n- review: Reviews code.\n");
    assert_eq!(problems.len(), 1);
    assert!(!problems[0].is_error && problems[0].text.contains("that one is used"), "{problems:?}");
    let tool = Arc::new(skills).tool().unwrap();
    let nature = tool.nature();
    assert_eq!((nature.repeat, nature.brings, nature.writes), (Repeat::Safe, Taint::NONE, false));
    assert_eq!(tool.outward(&json!({"name": "review"})), None);
    let body = open(&tool, json!({"name": "pdf-forms"})).await;
    assert_eq!(body.text, "# How to pdf-forms\n\n\nOther files of this skill (open one with its name): references/fields.md");
    assert_eq!(open(&tool, json!({"name": "pdf-forms", "file": "references/fields.md"})).await.text, "the fields");
    for wrong in
        [json!({"name": "nope"}), json!({}), json!({"name": 1}), json!({"name": "review", "file": 1}), json!({"name": "review", "x": 1})]
    {
        assert!(open(&tool, wrong.clone()).await.is_error, "{wrong}");
    }
    assert!(Arc::new(Skills::default()).tool().is_none());
}

#[tokio::test]
async fn nothing_outside_a_skill_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("skills");
    skill(&root, "one", "One.");
    write(dir.path(), "secret", "canary");
    std::os::unix::fs::symlink(dir.path().join("secret"), root.join("one/link")).unwrap();
    std::os::unix::fs::symlink(dir.path(), root.join("one/up")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("secret"), root.join("one/real.md")).unwrap();
    write(&root, "one/binary", "a\0b");
    // A folder that is a link is the operator's doing; what is in it is held to it.
    let elsewhere = dir.path().join("elsewhere");
    skill(&elsewhere, "two", "Two.");
    std::os::unix::fs::symlink(elsewhere.join("two"), root.join("two")).unwrap();
    let (skills, problems) = Skills::load(&[root]);
    assert!(problems.is_empty(), "{problems:?}");
    let tool = Arc::new(skills).tool().unwrap();
    assert!(open(&tool, json!({"name": "two"})).await.text.starts_with("# How to two"));
    let absolute = dir.path().join("secret");
    for file in ["link", "up/secret", "../../secret", "real.md", absolute.to_str().unwrap(), "", ".", "binary", "../one/SKILL.md", "nope"] {
        let opened = open(&tool, json!({"name": "one", "file": file})).await;
        assert!(opened.is_error && !opened.text.contains("canary"), "{file}: {opened:?}");
    }
    let listed = open(&tool, json!({"name": "one"})).await.text;
    assert!(listed.contains("binary") && !listed.contains("link") && !listed.contains("secret"), "{listed}");
}

#[tokio::test]
async fn a_large_file_keeps_head_and_tail() {
    let dir = tempfile::tempdir().unwrap();
    skill(dir.path(), "big", "Big.");
    write(dir.path(), "big/data.txt", &format!("HEAD{}TAIL", "x".repeat(100_000)));
    let tool = Arc::new(Skills::load(&[dir.path().to_owned()]).0).tool().unwrap();
    let shown = open(&tool, json!({"name": "big", "file": "data.txt"})).await.text;
    assert!(shown.starts_with("HEAD") && shown.ends_with("TAIL") && shown.len() < 66 * 1024);
}

#[test]
fn what_is_no_skill_says_why() {
    let long = "x".repeat(1025);
    let cases = [
        ("a", "no front matter", "must begin with a line '---'"),
        ("a", "---\nname: a\ndescription: d\n", "must begin with a line '---'"),
        ("a", "---\nname: [\n---\n", "front matter"),
        ("a", "---\ndescription: d\n---\n", "name: '' must have 1 to 64"),
        ("a", "---\nname: b\ndescription: d\n---\n", "must be the name of its folder"),
        ("A", "---\nname: A\ndescription: d\n---\n", "'A' must have"),
        ("a--b", "---\nname: a--b\ndescription: d\n---\n", "'a--b' must have"),
        ("-a", "---\nname: -a\ndescription: d\n---\n", "'-a' must have"),
        ("a", "---\nname: a\n---\n", "description: must be a text of 1 to 1024"),
        ("a", &format!("---\nname: a\ndescription: {long}\n---\n"), "description: must be a text of 1 to 1024"),
        ("a", "---\nname: a\ndescription: 7\n---\n", "description: must be a text"),
        ("a", "---\nname: a\ndescription: d\nlicense: 1\n---\n", "license: must be a text"),
        ("a", "---\nname: a\ndescription: d\nmetadata: x\n---\n", "metadata: must be a mapping"),
        ("a", "---\nname: a\ndescription: d\ncompatibility: ''\n---\n", "compatibility: must be"),
    ];
    for (folder, text, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &format!("{folder}/SKILL.md"), text);
        let (skills, problems) = Skills::load(&[dir.path().to_owned()]);
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(skills.all().len(), 0, "{text}");
        assert!(problems[0].is_error && shown.iter().any(|p| p.contains(expected)), "{text}: {shown:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(Skills::load(&[PathBuf::from(dir.path())]).1[0].text.contains("cannot be read"));
}

#[test]
fn a_skill_grants_no_tools() {
    let dir = tempfile::tempdir().unwrap();
    let text = "---\r\nname: a\r\ndescription: d\r\nlicense: MIT\r\ncompatibility: any\r\nmetadata: {version: 1}\r\nallowed-tools: Bash\r\nextra: 1\r\n---\r\nbody";
    write(dir.path(), "a/SKILL.md", text);
    let (skills, problems) = Skills::load(&[dir.path().to_owned()]);
    assert_eq!(skills.all().len(), 1, "{problems:?}");
    let all: Vec<(String, bool)> = problems.into_iter().map(|p| (p.at, p.is_error)).collect();
    assert_eq!(all, [("extra".to_owned(), false), ("allowed-tools".to_owned(), false)]);
}
