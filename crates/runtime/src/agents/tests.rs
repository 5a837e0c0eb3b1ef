//! Definitions: the guide's example word for word, every refusal with its line, and sub-agent files with every field.
use super::*;
use std::path::Path;

const GUIDE: &str = r#"# ~/.maos/agents/custom_researcher.yml
name: "domain_researcher"
type: "researcher"
capabilities:
  - "scientific_literature"
  - "patent_research"  
  - "academic_databases"
parameters:
  max_memory: "2GB"
  timeout: 7200
  specialized_tools:
    - "pubmed_search"
    - "arxiv_search"
    - "patent_db_access"
"#;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn known() -> Known {
    Known { mcp_servers: ["github".to_owned(), "jira".to_owned()].into(), ..Known::shipped() }
}

/// Loads one file and gives the problems as `line: message`.
fn one(name: &str, text: &str) -> (Option<Definition>, Vec<String>) {
    let dir = folder(&[(name, text)]);
    let (definition, problems) = read_file(&dir.path().join(name), &known());
    (definition, problems.iter().map(|p| format!("{:?} {}: {}", p.severity, p.line, p.message)).collect())
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn the_built_in_definitions_are_valid_and_are_the_guides_five() {
    let defs = Definitions::built_in();
    assert_eq!(defs.all().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["analyst", "coder", "coordinator", "researcher", "tester"]);
    assert!(defs.all().all(|d| d.name == d.kind && !d.prompt.trim().is_empty() && !d.description.is_empty()));
    assert!(defs.all().all(|d| d.unavailable.is_empty() && !d.tools().is_empty() && d.source == Source::BuiltIn));
    let of = |name: &str| defs.get(name).unwrap().capabilities.join(", ");
    assert_eq!(of("researcher"), "web_search, data_analysis, synthesis");
    assert_eq!(of("coder"), "programming, testing, debugging");
    assert_eq!(of("analyst"), "data_analysis, visualization, statistics");
    assert_eq!(of("tester"), "test_generation, validation, qa");
    assert_eq!(of("coordinator"), "orchestration, consensus, planning");
    assert!(defs.get("coder").unwrap().allows("run_shell") && !defs.get("coordinator").unwrap().allows("run_shell"));
    let named = defs.all().flat_map(|d| d.named_tools.iter()).chain([]).all(|t| TOOLS.contains(&t.as_str()));
    let of_capabilities = CAPABILITY_TOOLS.iter().flat_map(|(_, tools)| *tools).all(|t| TOOLS.contains(t));
    assert!(named && of_capabilities, "every tool that is named exists");
}

#[test]
fn the_example_of_the_guide_works_word_for_word() {
    let dir = folder(&[("custom_researcher.yml", GUIDE)]);
    let (defs, problems) = Definitions::load(dir.path(), &known());
    let d = defs.get("domain_researcher").unwrap();
    assert_eq!((d.kind.as_str(), d.memory_bytes, d.timeout_s), ("researcher", Some(2_000_000_000), Some(7_200)));
    assert_eq!(d.capabilities, ["scientific_literature", "patent_research", "academic_databases"]);
    let wanted = ["arxiv_search", "list_files", "pubmed_search", "read_file", "search_files", "web_fetch", "web_search", "write_file"];
    assert_eq!(d.tools(), set(&wanted));
    assert!(d.named_tools.contains("patent_db_access") && !d.allows("patent_db_access"));
    assert!(d.unavailable["patent_db_access"].contains("~/.maos/tools/patent_db_access.yml"));
    let base = defs.get("researcher").unwrap();
    assert!(d.prompt.starts_with(&base.prompt) && d.prompt.contains("scientific_literature, patent_research"), "{}", d.prompt);
    assert_eq!(d.description, base.description);
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].severity, problems[0].line), (Severity::Warning, 14), "{}", problems[0]);
}

#[test]
fn with_its_configuration_the_documented_tool_is_offered() {
    let mut known = known();
    known.tools.insert("patent_db_access".into());
    let dir = folder(&[("a.yml", GUIDE)]);
    let (defs, problems) = Definitions::load(dir.path(), &known);
    assert!(defs.get("domain_researcher").unwrap().tools().contains("patent_db_access") && problems.is_empty());
}

#[test]
fn every_key_of_the_yaml_form() {
    let text = "name: reviewer\ntype: coder\ndescription: Reads code.\ncapabilities: [rust, sql]\nprompt: |\n  You review.\nmodel: opus\n\
                tools: [read_file, mcp__jira__find]\nmcp_servers: [github]\nmax_turns: 12\nparameters: {max_memory: 512MB, timeout: 2h}\n";
    let (d, problems) = one("r.yaml", text);
    let d = d.unwrap();
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!((d.prompt.as_str(), d.model.as_deref(), d.max_turns), ("You review.\n", Some("claude/claude-opus-5-5"), Some(12)));
    assert_eq!((d.memory_bytes, d.timeout_s), (Some(512_000_000), Some(7_200)));
    assert_eq!(d.tools(), set(&["read_file", "mcp__jira__find"]), "a list of tools is the list, not the type's");
    assert!(d.allows("mcp__github__any") && d.allows("mcp__jira__find") && !d.allows("mcp__jira__other") && !d.allows("write_file"));
    let (plain, _) = one("p.yml", "name: p\ntype: coder\n");
    let plain = plain.unwrap();
    assert_eq!(plain.named_tools, Definitions::built_in().get("coder").unwrap().named_tools);
    let (literal, _) = one("l.yml", "name: l\ntype: coder\nprompt: \"${HOME} {{x}} !include\"\n");
    assert_eq!(literal.unwrap().prompt, "${HOME} {{x}} !include", "nothing is interpolated");
}

#[test]
fn whatever_is_wrong_is_named_with_its_line_and_what_exists() {
    let cases: &[(&str, &str)] = &[
        (
            "name: x\ntype: coder\ncapabilites: [a]\n",
            "Error 3: unknown key `capabilites`; did you mean 'capabilities'? (there are: name, type,",
        ),
        (
            "name: x\ntype: coder\nparameters:\n  max_memmory: 1GB\n",
            "Error 4: unknown key `parameters.max_memmory`; did you mean 'max_memory'?",
        ),
        (
            "name: x\ntype: wizard\n",
            "Error 2: there is no agent type 'wizard' (there are: researcher, coder, analyst, tester, coordinator)",
        ),
        ("name: x\ntype: codr\n", "Error 2: there is no agent type 'codr'; did you mean 'coder'?"),
        (
            "name: x\ntype: coder\ntools:\n  - read_file\n  - write_fil\n",
            "Error 5: there is no tool 'write_fil'; did you mean 'write_file'?",
        ),
        ("name: x\ntype: coder\nparameters: {specialized_tools: [telepathy]}\n", "Error 3: there is no tool 'telepathy' (there are: "),
        ("name: x\ntype: coder\ntools: [mcp__nowhere__x]\n", "Error 3: there is no tool 'mcp__nowhere__x'"),
        ("name: x\ntype: coder\nmcp_servers: [githab]\n", "Error 3: there is no MCP server 'githab' in mcp.json; did you mean 'github'?"),
        ("name: My Agent\ntype: coder\n", "Error 1: `name: My Agent` is not a name"),
        ("type: coder\n", "Error 1: the key `name` is missing"),
        ("name: x\n", "Error 1: the key `type` is missing"),
        ("name: x\ntype: coder\nmax_turns: 0\n", "Error 3: `max_turns: 0` must be a whole number from 1 to 1000"),
        ("name: x\ntype: coder\nparameters:\n  max_memory: lots\n", "Error 4: `max_memory: lots` must be a size"),
        ("name: x\ntype: coder\nparameters:\n  max_memory: 1KB\n", "Error 4: `max_memory: 1KB` must be a size"),
        ("name: x\ntype: coder\nparameters:\n  timeout: soon\n", "Error 4: `timeout: soon` must be a duration"),
        ("name: x\ntype: coder\nparameters: 3\n", "Error 3: `parameters` takes keys"),
        ("name: x\ntype: coder\ntools: {a: b}\n", "Error 3: `tools` takes a list of names, not a mapping"),
        ("name: x\ntype: coder\nprompt:\n", "Error 3: `prompt` is empty"),
        ("name: [x]\ntype: coder\n", "Error 1: `name` takes a single text, not a list"),
        ("- x\n", "Error 1: expected keys like `name:`, found a list"),
        ("", "Error 1: the file is empty"),
        ("name: x\ntype: coder\n  bad: indent\n", "not valid YAML"),
        ("name: x\nname: y\ntype: coder\n", "not valid YAML"),
    ];
    for (text, expected) in cases {
        let (definition, problems) = one("x.yml", text);
        assert!(definition.is_none(), "{text}");
        assert!(problems.iter().any(|p| p.contains(expected)), "{text}\n{expected}\n{problems:?}");
    }
    let many = format!("name: x\ntype: coder\ncapabilities: [{}]\n", vec!["a"; 65].join(","));
    assert!(one("x.yml", &many).1[0].contains("at most 64"));
    let large = format!("name: x\ntype: coder\nprompt: {}\n", "a".repeat(FILE_BYTES_MAX));
    assert!(one("x.yml", &large).1[0].contains("larger than 256 KiB"));
    assert!(one("x.txt", "").1[0].contains("must end in .yml, .yaml or .md"));
}

#[test]
fn all_faults_of_a_file_are_told_at_once_and_other_files_load() {
    let dir = folder(&[
        ("bad.yml", "name: x\ntype: coder\ncolour: red\nmax_turns: many\n"),
        ("good.yml", "name: fine\ntype: tester\n"),
        (".hidden.yml", "nonsense"),
        ("notes.txt", "nonsense"),
    ]);
    let (defs, problems) = Definitions::load(dir.path(), &known());
    assert!(defs.get("fine").is_some() && defs.get("x").is_none());
    assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [3, 4]);
    assert!(problems[0].to_string().starts_with(&format!("{}:3: unknown key `colour`", dir.path().join("bad.yml").display())));
    let (defs, problems) = Definitions::load(Path::new("/nonexistent/agents"), &known());
    assert_eq!((defs.all().count(), problems.len()), (5, 0));
}

#[test]
fn a_persons_file_beats_an_imported_one_and_both_beat_the_built_in_one() {
    let md = "---\nname: coder\ndescription: Imported coder.\n---\nImported.\n";
    let dir = folder(&[("z.md", md)]);
    let (defs, _) = Definitions::load(dir.path(), &known());
    assert_eq!((defs.get("coder").unwrap().prompt.as_str(), defs.get("coder").unwrap().source.as_str()), ("Imported.\n", "imported"));
    for (mine, imported) in [("a.yml", "z.md"), ("z.yml", "a.md")] {
        let dir = folder(&[(mine, "name: coder\ntype: coder\nprompt: Mine.\n"), (imported, md)]);
        let (defs, problems) = Definitions::load(dir.path(), &known());
        let coder = defs.get("coder").unwrap();
        assert_eq!((coder.prompt.as_str(), coder.source.path().unwrap()), ("Mine.", dir.path().join(mine).as_path()));
        assert!(problems.is_empty(), "{problems:?}");
    }
    let twice = "name: twin\ntype: coder\n";
    let dir = folder(&[("a.yml", twice), ("b.yml", twice)]);
    let (defs, problems) = Definitions::load(dir.path(), &known());
    assert_eq!(defs.get("twin").unwrap().source.path().unwrap(), dir.path().join("a.yml"));
    assert!(problems[0].to_string().contains("b.yml:1: the name 'twin' is used by ") && problems[0].message.contains("a.yml"));
}

#[test]
fn what_cannot_be_used_now_is_told_and_not_offered() {
    let known = Known {
        tools: set(&["read_file"]),
        documented: [("web_search".to_owned(), "set tools.search".to_owned())].into(),
        ..Known::default()
    };
    let (defs, problems) = Definitions::load(Path::new("/nonexistent"), &known);
    let researcher = defs.get("researcher").unwrap();
    assert_eq!(researcher.tools(), set(&["read_file"]));
    assert_eq!(researcher.unavailable["web_search"], "set tools.search");
    assert!(researcher.unavailable["run_python"].contains("maos health") && problems.is_empty());
}

#[test]
fn the_schema_knows_every_key() {
    let schema = schema();
    let keys = |at: &serde_json::Value| at["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&schema), set(&read::KEYS));
    assert_eq!(keys(&schema["properties"]["parameters"]), set(&read::PARAMETERS));
    assert_eq!(schema["additionalProperties"], false);
}

/// Ten sub-agent files that between them have every field.
#[test]
fn sub_agent_files() {
    let (d, p) =
        one("1.md", "---\nname: code-reviewer\ndescription: Reviews code for quality.\n---\n\nYou are a reviewer.\n\n---\n\nBe exact.\n");
    let d = d.unwrap();
    assert_eq!(
        (d.name.as_str(), d.kind.as_str(), d.prompt.as_str()),
        ("code-reviewer", "tester", "You are a reviewer.\n\n---\n\nBe exact.\n")
    );
    assert!(p.is_empty() && d.named_tools == Definitions::built_in().get("tester").unwrap().named_tools && d.model.is_none());

    let (d, p) =
        one("2.md", "---\nname: reader\ndescription: x\ntools: Read, Grep, WebFetch\nmodel: haiku\nmaxTurns: 7\ncolor: blue\n---\nHi\n");
    let d = d.unwrap();
    assert_eq!(d.tools(), set(&["read_file", "list_files", "search_files", "web_fetch"]));
    assert_eq!((d.model.as_deref(), d.max_turns, d.color.as_deref()), (Some("claude/claude-haiku-5-5"), Some(7), Some("blue")));
    assert!(p.is_empty(), "{p:?}");

    let (d, p) = one(
        "3.md",
        "---\nname: writer\ndescription: x\ntools:\n  - Write\n  - Bash\n  - WebSearch\n  - mcp__github__create_issue\n  - mcp__jira\ndisallowedTools: Bash\n---\n",
    );
    let d = d.unwrap();
    assert_eq!(d.tools(), set(&["write_file", "edit_file", "web_search", "mcp__github__create_issue"]));
    assert!(d.allows("mcp__jira__x") && !d.allows("run_shell") && d.denied_tools == set(&["run_shell"]) && p.is_empty(), "{p:?}");
    assert!(d.prompt.contains("programmer"), "an empty body takes the type's prompt");

    let all_ignored = "---\nname: bold\ndescription: x\npermissionMode: bypassPermissions\nhooks:\n  PreToolUse:\n    - matcher: Bash\n      hooks: [{type: command, command: 'rm -rf /'}]\nmemory: user\nbackground: true\nisolation: worktree\n---\nGo\n";
    let (d, p) = one("4.md", all_ignored);
    assert_eq!(d.unwrap().named_tools, Definitions::built_in().get("coder").unwrap().named_tools);
    let keys =
        ["Warning 4: `permissionMode`", "Warning 5: `hooks`", "Warning 9: `memory`", "Warning 10: `background`", "Warning 11: `isolation`"];
    assert!(p.len() == 5 && p.iter().zip(keys).all(|(p, k)| p.starts_with(k)), "{p:?}");

    let (d, p) = one("5.md", "---\nname: odd\ndescription: x\ntools: Read, Telepathy, Bash(git log:*, git diff:*)\n---\nGo\n");
    assert_eq!(d.unwrap().tools(), set(&["read_file", "list_files", "search_files"]), "what is unknown or restricted is not granted");
    assert!(p.len() == 2 && p[0].starts_with("Warning 4: 'Telepathy' is not granted") && p[1].contains("restriction in brackets"), "{p:?}");

    let (d, p) = one(
        "6.md",
        "---\nname: typed\ndescription: x\nmaos-type: analyst\nskills: [pdf, charts]\nmcpServers:\n  - github\n  - jira:\n      command: npx\n      args: [-y, evil]\n---\nGo\n",
    );
    let d = d.unwrap();
    assert_eq!((d.kind.as_str(), d.skills.join(",")), ("analyst", "pdf,charts".to_owned()));
    assert!(d.mcp_servers == set(&["github", "jira"]) && p.is_empty(), "only names are taken: {p:?}");

    let (d, p) = one(
        "7.md",
        "---\nname: colon\ndescription: Use this when: <example>Context: a user asks</example>\ntools: Read\nmodel: inherit\n---\nGo\n",
    );
    let d = d.unwrap();
    assert_eq!((d.description.as_str(), d.model), ("Use this when: <example>Context: a user asks</example>", None));
    assert!(p.len() == 1 && p[0].contains("read line by line"), "{p:?}");

    let (d, p) = one(
        "8.md",
        "---\r\nname: dos\r\ndescription: >-\r\n  Researches markets\r\n  and competitors\r\nmodel: sonnet\r\nvibe: good\r\n---\r\nGo\r\n",
    );
    let d = d.unwrap();
    assert_eq!(
        (d.kind.as_str(), d.description.as_str(), d.model.as_deref()),
        ("researcher", "Researches markets and competitors", Some("claude/claude-sonnet-5-5"))
    );
    assert!(p.len() == 1 && p[0].starts_with("Warning 7: `vibe` is ignored"), "{p:?}");

    let (d, p) = one("9.md", "---\nname: Bad Name\ndescription: x\nmaxTurns: -1\nmaos-type: wizard\n---\nGo\n");
    assert!(d.is_none() && p[0].starts_with("Error 2: `name: Bad Name`") && p[1].starts_with("Error 4: `maxTurns: -1`"), "{p:?}");
    let (d, p) = one("9.md", "---\nname: ok\ndescription: x\nmaos-type: wizard\nmcpServers: nowhere\n---\nGo\n");
    assert!(d.is_none() && p.iter().any(|p| p.starts_with("Error 4: there is no agent type 'wizard'")), "{p:?}");

    let (d, p) = one("10.md", "name: none\ndescription: no front matter\n");
    assert!(d.is_none() && p[0].contains("no front matter"), "{p:?}");
    let (d, p) = one("10.md", "---\nname: half\n---\nGo\n");
    assert!(d.is_none() && p[0].contains("`description` is missing"), "{p:?}");
}

#[test]
fn a_deeply_nested_or_hostile_file_is_refused_and_does_no_harm() {
    let deep = format!("name: x\ntype: coder\nprompt: {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
    assert!(one("x.yml", &deep).0.is_none());
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    (1..12).for_each(|n| bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","))));
    assert!(one("x.yml", &bomb).0.is_none());
}

#[test]
fn the_page_about_agents_tells_the_truth() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/agents.md")).unwrap();
    for (capability, tools) in CAPABILITY_TOOLS.iter().filter(|(_, tools)| !tools.is_empty()) {
        let row =
            page.lines().find(|l| l.starts_with("| `") && l.contains(&format!("`{capability}`"))).unwrap_or_else(|| panic!("{capability}"));
        assert!(row.ends_with(&format!("| {} |", tools.join(", "))), "{row}");
    }
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let (definition, problems) = one("example.yml", example);
    assert_eq!((definition.unwrap().max_turns, problems.len()), (Some(30), 1), "{problems:?}");
}
