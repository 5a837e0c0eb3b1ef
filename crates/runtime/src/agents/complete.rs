//! From what a file says to a whole definition: what is left out comes from the built-in type; tools are checked against what exists.
use super::load::{Problem, Severity};
use super::read::Draft;
use super::words::instead;
use super::yaml::At;
use super::{Definition, Definitions, Known, MODEL_ALIASES, Source, TOOLS, TYPES, capability_tools, mcp_server};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A built-in definition. Its tools are known by construction.
pub(super) fn built_in(draft: Draft, known: &Known) -> Definition {
    let capabilities: Vec<String> = draft.capabilities.into_iter().flatten().map(|c| c.value).collect();
    let own_tools: BTreeSet<String> = draft.tools.into_iter().flatten().map(|t| t.value).collect();
    let named: BTreeSet<String> = own_tools.iter().cloned().chain(brought(&capabilities)).collect();
    let missing = |tool: &String| Some((tool.clone(), why_not(tool, known)?));
    Definition {
        name: draft.name.expect("a built-in file has a name").value,
        kind: draft.kind.expect("a built-in file has a type").value,
        description: draft.description.unwrap_or_default(),
        prompt: draft.prompt.unwrap_or_default(),
        model: None,
        unavailable: named.iter().filter_map(missing).collect(),
        named_tools: named,
        own_tools,
        capabilities,
        mcp_servers: BTreeSet::new(),
        denied_tools: BTreeSet::new(),
        skills: vec![],
        max_turns: None,
        memory_bytes: None,
        timeout_s: None,
        color: None,
        source: Source::BuiltIn,
    }
}

fn brought(capabilities: &[String]) -> impl Iterator<Item = String> {
    capabilities.iter().flat_map(|c| capability_tools(c)).map(|t| (*t).to_owned())
}

/// Why a tool that exists cannot be used now; `None` if it can, or if nobody knows it.
fn why_not(tool: &str, known: &Known) -> Option<String> {
    if known.tools.contains(tool) {
        return None;
    }
    let shipped = TOOLS.contains(&tool).then(|| "it is not available here; `maos health` says why".to_owned());
    known.documented.get(tool).cloned().or(shipped)
}

/// Completes a person's definition. `None` when it names what does not exist; the problems say what.
pub(super) fn custom(
    draft: Draft,
    source: Source,
    file: &Path,
    known: &Known,
    base: &Definitions,
    out: &mut Vec<Problem>,
) -> Option<Definition> {
    let before = out.len();
    let lenient = matches!(source, Source::Imported(_));
    let mut tell = |severity, line, message| out.push(Problem { severity, file: file.to_owned(), line, message });
    let (name, kind) = (draft.name?, draft.kind?);
    let Some(base) = TYPES.contains(&kind.value.as_str()).then(|| base.get(&kind.value)).flatten() else {
        tell(Severity::Error, kind.line, format!("there is no agent type '{}'{}", kind.value, instead(&kind.value, &TYPES)));
        return None;
    };
    let stated: Option<Vec<String>> = draft.capabilities.map(|c| c.into_iter().map(|c| c.value).collect());
    let mut named: BTreeSet<String> = match (&draft.tools, &stated) {
        // A list of tools without capabilities is the whole list: inherited capabilities are then words only.
        (Some(_), None) => BTreeSet::new(),
        (Some(_), Some(own)) => brought(own).collect(),
        (None, Some(own)) => brought(own).chain(base.own_tools.iter().cloned()).collect(),
        (None, None) => base.named_tools.clone(),
    };
    let mut unavailable: BTreeMap<String, String> = named.iter().filter_map(|t| Some((t.clone(), why_not(t, known)?))).collect();
    let mut mcp_servers = BTreeSet::new();
    let severity = if lenient { Severity::Warning } else { Severity::Error };
    for At { value: server, line } in draft.mcp_servers {
        if known.mcp_servers.contains(&server) {
            mcp_servers.insert(server);
        } else {
            let servers: Vec<&str> = known.mcp_servers.iter().map(String::as_str).collect();
            tell(severity, line, format!("there is no MCP server '{server}' in mcp.json{}", instead(&server, &servers)));
        }
    }
    for At { value: tool, line } in draft.tools.into_iter().flatten().chain(draft.specialized) {
        if known.tools.contains(&tool) || mcp_server(&tool).is_some_and(|s| known.mcp_servers.contains(s)) {
            named.insert(tool);
        } else if let Some(why) = why_not(&tool, known) {
            tell(Severity::Warning, line, format!("the tool '{tool}' is not offered: {why}"));
            unavailable.insert(tool.clone(), why);
            named.insert(tool);
        } else {
            let all: Vec<&str> = known.tools.iter().chain(known.documented.keys()).map(String::as_str).collect();
            tell(severity, line, format!("there is no tool '{tool}'{}", instead(&tool, &all)));
        }
    }
    let denied_tools: BTreeSet<String> = draft.denied.into_iter().map(|t| t.value).collect();
    named.retain(|t| !denied_tools.contains(t));
    unavailable.retain(|t, _| named.contains(t));
    if out[before..].iter().any(|p| p.severity == Severity::Error) {
        return None;
    }
    let prompt = draft.prompt.unwrap_or_else(|| inherited(base, &name.value, draft.description.as_deref(), stated.as_deref()));
    Some(Definition {
        prompt,
        description: draft.description.unwrap_or_else(|| base.description.clone()),
        capabilities: stated.unwrap_or_else(|| base.capabilities.clone()),
        model: draft.model.and_then(|m| model(&m)),
        name: name.value,
        kind: kind.value,
        own_tools: named.clone(),
        named_tools: named,
        unavailable,
        mcp_servers,
        denied_tools,
        skills: draft.skills,
        max_turns: draft.max_turns,
        memory_bytes: draft.memory_bytes,
        timeout_s: draft.timeout_s,
        color: draft.color,
        source,
    })
}

/// The prompt of the type, and what the definition adds to it.
fn inherited(base: &Definition, name: &str, description: Option<&str>, capabilities: Option<&[String]>) -> String {
    let mut prompt = base.prompt.clone();
    if !prompt.ends_with('\n') {
        prompt.push('\n');
    }
    prompt.push_str(&format!("You are the specialist '{name}'."));
    description.iter().for_each(|text| prompt.push_str(&format!(" {text}")));
    capabilities.iter().filter(|c| !c.is_empty()).for_each(|c| prompt.push_str(&format!(" Your fields: {}.", c.join(", "))));
    prompt.push('\n');
    prompt
}

/// A model's full name; `inherit` is the configured one.
fn model(text: &str) -> Option<String> {
    match text {
        "inherit" => None,
        short => Some(MODEL_ALIASES.iter().find(|(alias, _)| *alias == short).map_or(short, |(_, name)| name).to_owned()),
    }
}
