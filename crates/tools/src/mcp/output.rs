//! What a call to an MCP tool becomes for the model: text within a limit; pictures and other bytes as a note.
use crate::mcp::text::{clean, head_and_tail};
use crate::tool::Output;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};

/// Longest result, bytes: head and tail are kept.
const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Longest name or address in a note, bytes.
const NOTE_BYTES_MAX: usize = 512;

/// Stands for content of a later version of the protocol.
const NOT_KNOWN: &str = "[content of a kind that is not known here]";

/// The result as the model is told it.
pub(super) fn output(result: &CallToolResult) -> Output {
    let mut parts: Vec<String> = result.content.iter().map(block).collect();
    // The same data is usually given as text too; only where it is not, is the structure itself what there is to read.
    let has_text = result.content.iter().any(|b| matches!(b, ContentBlock::Text(t) if !t.text.trim().is_empty()));
    if let Some(value) = result.structured_content.as_ref().filter(|_| !has_text) {
        parts.push(value.to_string());
    }
    // One limit before cleaning, so that a huge result is not copied whole, and the same again for what is shown.
    let text = head_and_tail(parts.join("\n"), RESULT_BYTES_MAX);
    let text = clean(&text, RESULT_BYTES_MAX + NOTE_BYTES_MAX);
    match result.is_error {
        Some(true) if text.trim().is_empty() => Output::error("The tool failed and did not say why."),
        Some(true) => Output::error(text),
        Some(false) | None if text.trim().is_empty() => Output::ok("The tool ended without a text."),
        Some(false) | None => Output::ok(text),
    }
}

fn block(block: &ContentBlock) -> String {
    let note = |text: &str| clean(text, NOTE_BYTES_MAX);
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => format!("[an image, {}, {} bytes: not shown]", note(&image.mime_type), bytes(&image.data)),
        ContentBlock::Audio(audio) => format!("[a sound, {}, {} bytes: not shown]", note(&audio.mime_type), bytes(&audio.data)),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("[{}]\n{text}", note(uri)),
            ResourceContents::BlobResourceContents { uri, blob, mime_type, .. } => {
                let kind = mime_type.as_deref().unwrap_or("bytes");
                format!("[{}: {}, {} bytes: not shown]", note(uri), note(kind), bytes(blob))
            }
            _ => NOT_KNOWN.into(),
        },
        ContentBlock::ResourceLink(link) => format!("[link: {} {}]", note(&link.name), note(&link.uri)),
        _ => NOT_KNOWN.into(),
    }
}

/// How many bytes a base64 text stands for.
fn bytes(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_content() {
        let png = "iVBORw0KGgo=";
        let result = CallToolResult::success(vec![
            ContentBlock::text("one\u{0}\u{1b}[2J"),
            ContentBlock::image(png, "image/png"),
            ContentBlock::embedded_text("file:///a", "inside"),
        ]);
        let shown = output(&result);
        assert_eq!(shown.text, "one[2J\n[an image, image/png, 8 bytes: not shown]\n[file:///a]\ninside");
        assert!(!shown.is_error);
        let mut bare = CallToolResult::default();
        bare.structured_content = Some(json!({"n": 1}));
        assert_eq!(output(&bare).text, "{\"n\":1}");
        assert_eq!(output(&CallToolResult::error(vec![])), Output::error("The tool failed and did not say why."));
    }

    #[test]
    fn a_huge_result_keeps_head_and_tail() {
        let shown = output(&CallToolResult::success(vec![ContentBlock::text(format!("HEAD{}TAIL", "x".repeat(5_000_000)))]));
        assert!(shown.text.len() <= RESULT_BYTES_MAX + NOTE_BYTES_MAX && shown.text.starts_with("HEAD") && shown.text.ends_with("TAIL"));
    }
}
