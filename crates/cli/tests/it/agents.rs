//! Agent files and what else of agents, files and questions needs no server.
use crate::support::Maos;

const GUIDE: &str = "name: \"domain_researcher\"\ntype: \"researcher\"\ncapabilities:\n  - \"scientific_literature\"\n  - \"patent_research\"\n  - \
                     \"academic_databases\"\nparameters:\n  max_memory: \"2GB\"\n  timeout: 7200\n  specialized_tools:\n    - \"pubmed_search\"\n    - \
                     \"arxiv_search\"\n    - \"patent_db_access\"\n";

#[test]
fn importing_the_example_of_the_guide() {
    let maos = Maos::new();
    maos.write("in/custom.yml", GUIDE);
    let done = maos.run(&["agent", "import", "in/custom.yml", "--dry-run"]).expect(0);
    assert!(done.stdout.contains("name: domain_researcher   type: researcher   model: the configured one"), "{done}");
    assert!(done.stdout.contains("arxiv_search") && !done.stdout.contains("patent_db_access"), "{done}");
    assert!(done.stderr.contains("warning: in/custom.yml:13: the tool 'patent_db_access' is not offered"), "{done}");
    assert!(!maos.home().join("agents").exists(), "a dry run writes nothing");
    let done = maos.run(&["agent", "import", "in/custom.yml"]).expect(0);
    assert_eq!(done.stdout, "domain_researcher\n");
    assert_eq!(maos.read("agents/domain_researcher.yml"), GUIDE);
    maos.run(&["agent", "import", "in/custom.yml"]).expect(0);
    maos.write("tools/patent_db_access.yml", "name: patent_db_access\n");
    let done = maos.run(&["agent", "import", "in/custom.yml", "-o", "json"]).expect(0);
    let rows: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(rows[0]["tools"].as_array().unwrap().contains(&"patent_db_access".into()) && done.stderr.is_empty(), "{done}");
}

#[test]
fn importing_a_folder_takes_the_good_and_tells_the_bad() {
    let maos = Maos::new();
    maos.write("mcp.json", r#"{"mcpServers": {"github": {"command": "x"}}}"#);
    maos.write("in/a.md", "---\nname: code-reviewer\ndescription: Reviews code\ntools: Read, mcp__github\npermissionMode: bypassPermissions\n---\nYou review.\n");
    maos.write("in/b.yml", "name: x\ntype: wizard\n");
    maos.write("in/c.yml", "name: y\ntype: coder\nmax_turn: 3\n");
    maos.write("in/ignored.txt", "nothing");
    let done = maos.run(&["agent", "import", "in"]).expect(2);
    assert_eq!(done.stdout, "code-reviewer\n");
    assert!(done.stderr.contains("warning: in/a.md:5: `permissionMode` is ignored"), "{done}");
    assert!(done.stderr.contains("error: in/b.yml:2: there is no agent type 'wizard' (there are: researcher, coder"), "{done}");
    assert!(done.stderr.contains("error: in/c.yml:3: unknown key `max_turn`; did you mean 'max_turns'?"), "{done}");
    assert!(done.stderr.contains("error: 2 files were not imported"), "{done}");
    assert!(maos.read("agents/code-reviewer.md").starts_with("---\nname: code-reviewer"));
    let mut names: Vec<_> = std::fs::read_dir(maos.home().join("agents")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["code-reviewer.md"]);
}

#[test]
fn an_import_never_replaces_another_file_unasked() {
    let maos = Maos::new();
    maos.write("agents/twin.yml", "name: twin\ntype: coder\n");
    maos.write("in/twin.yml", "name: twin\ntype: tester\n");
    let done = maos.run(&["agent", "import", "in/twin.yml"]).expect(2);
    assert!(done.stderr.contains("twin.yml exists and is different") && done.stderr.contains("--force"), "{done}");
    assert!(maos.read("agents/twin.yml").contains("coder"));
    maos.run(&["agent", "import", "in/twin.yml", "--force"]).expect(0);
    assert!(maos.read("agents/twin.yml").contains("tester"));
    maos.write("agents/other.yml", "name: taken\ntype: coder\n");
    maos.write("in/taken.yml", "name: taken\ntype: tester\n");
    let done = maos.run(&["agent", "import", "in/taken.yml", "--force"]).expect(2);
    assert!(done.stderr.contains("the name 'taken' is used by") && done.stderr.contains("other.yml already"), "{done}");
    let done = maos.run(&["agent", "import", "absent.yml"]).expect(2);
    assert!(done.stderr.contains("absent.yml"), "{done}");
    maos.write("mcp.json", "{");
    let done = maos.run(&["agent", "import", "in/taken.yml"]).expect(2);
    assert!(done.stderr.contains("mcp.json is not JSON"), "{done}");
}

#[test]
fn the_schema_of_agent_files() {
    let schema: serde_json::Value = serde_json::from_str(&Maos::new().run(&["agent", "schema"]).expect(0).stdout).unwrap();
    assert_eq!(schema["properties"]["type"]["enum"][0], "researcher");
}

#[test]
fn output_is_a_format_or_a_folder() {
    let maos = Maos::new();
    let done = maos.run(&["version", "--output", "json"]).expect(0);
    assert!(done.stdout.starts_with('{'), "{done}");
    let done = maos.run(&["version", "--output=xml"]).expect(2);
    assert!(done.stderr.contains("invalid value 'xml' for '--output <FORMAT>'") && done.stderr.contains("jsonl"), "{done}");
    maos.run(&["version", "--output", "json", "-o", "yaml"]).expect(2);
    // For results it is a folder, so a word that is no format is fine; only the server is missing.
    maos.run(&["task", "results", "@last", "--output", "out"]).expect(7);
    maos.run(&["task", "results", "@last", "--output", "out", "--artifact", "x"]).expect(2);
}

#[test]
fn what_cannot_be_attached_is_told_before_anything_is_sent() {
    let maos = Maos::new();
    let submit = |path: &str, message: &str| {
        let done = maos.run(&["task", "submit", "x", "--attach", path]).expect(2);
        assert!(done.stderr.contains(message), "{done}");
    };
    submit("absent.csv", "cannot read absent.csv");
    submit("/dev/null", "/dev/null is neither a file nor a folder");
    maos.write("a/data.csv", "x");
    maos.write("data.csv", "y");
    let outside = format!("{}/a/data.csv", maos.home().display());
    let done = maos.run(&["task", "submit", "x", "--attach", "data.csv", "--attach", &outside]).expect(2);
    assert!(done.stderr.contains("would both be 'data.csv'"), "{done}");
    let large = std::fs::File::create(maos.home().join("large.bin")).unwrap();
    large.set_len(256 * 1024 * 1024 + 1).unwrap();
    submit("large.bin", "large.bin is too large to be attached");
    maos.run(&["task", "submit", "x", "--attach", "data.csv"]).expect(7);
}

#[test]
fn flags_that_exclude_each_other() {
    let maos = Maos::new();
    for words in [
        &["task", "input", "@last", "--answer", "x", "--approve"][..],
        &["task", "input", "@last", "--approve", "--deny"],
        &["task", "input", "@last", "--reason", "x"],
        &["task", "submit", "x", "--consensus-threshold", "0.5"],
        &["task", "submit", "x", "--require-consensus", "--consensus-threshold", "1.5"],
        &["agent", "spawn"],
        &["agent", "spawn", "coder", "--count", "0"],
        &["agent", "spawn", "coder", "--memory", "lots"],
        &["agent", "spawn", "coder", "--timeout", "soon"],
        &["agent", "list", "--status", "DONE"],
        &["agent", "terminate"],
    ] {
        let done = maos.run(words).expect(2);
        assert!(done.stderr.starts_with("error: "), "{done}");
    }
    for words in [
        &["agent", "list"][..],
        &["agent", "spawn", "coder"],
        &["agent", "kill", "coder_001"],
        &["agent", "types"],
        &["task", "input", "task_7k3v9q2m4x5t8w0z"],
    ] {
        maos.run(words).expect(7);
    }
}
