//! A page as text: what a person would read, in a few marks of Markdown, without menus, scripts and decoration.
//!
//! Invariant: one pass over the tokens, so time and memory grow with the page and no faster; the page is never executed or laid out. If a
//! page has a main part (`main`, `article`) of some length, only that is given.
use html5gum::emitters::default::DefaultEmitter;
use html5gum::{EndTag, HtmlString, StartTag, Token, Tokenizer};
use std::collections::BTreeMap;
use url::Url;

/// Elements whose content is never text for a reader.
const NEVER: [&str; 13] =
    ["script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas", "select", "textarea", "button", "dialog"];
/// Elements around the text: left out unless almost nothing else is there.
const AROUND: [&str; 4] = ["nav", "footer", "aside", "form"];
/// Elements that hold the main part.
const MAIN: [&str; 2] = ["main", "article"];
/// Shorter than this, a part is not believed to be the whole text of a page, bytes.
const MIN_PART_BYTES: usize = 200;
/// Longest title that is kept, characters.
const MAX_TITLE_CHARS: usize = 300;
/// Longest address of a link that is shown, bytes.
const MAX_LINK_BYTES: usize = 300;

/// The title, if there is one, and the text. Links are made whole from the address of the page, where it is known.
pub(crate) fn readable(html: &str, base: Option<&Url>) -> (Option<String>, String) {
    let mut writer = Writer { base: base.cloned(), ..Writer::default() };
    let mut emitter = DefaultEmitter::default();
    // Scripts, styles and titles are read as text up to their end tag, as browsers do.
    emitter.naively_switch_states(true);
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => writer.open(&tag),
            Token::EndTag(tag) => writer.close(&tag),
            Token::String(text) => writer.text(&String::from_utf8_lossy(&text)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    writer.finish()
}

/// Text under construction: blank space is folded, blocks are kept apart.
#[derive(Debug, Default)]
struct Text {
    out: String,
    /// Line ends that are due before the next text.
    breaks: usize,
    space: bool,
}

impl Text {
    fn push(&mut self, text: &str, verbatim: bool) {
        if verbatim {
            if !text.is_empty() {
                self.settle();
                self.out.push_str(text);
            }
            return;
        }
        for c in text.chars() {
            if c.is_whitespace() {
                self.space = true;
            } else {
                self.settle();
                self.out.push(c);
            }
        }
    }

    fn settle(&mut self) {
        if self.breaks > 0 {
            if !self.out.is_empty() {
                let there = self.out.len() - self.out.trim_end_matches('\n').len();
                self.out.extend(std::iter::repeat_n('\n', self.breaks.saturating_sub(there)));
            }
        } else if self.space && !self.out.is_empty() && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
        self.breaks = 0;
        self.space = false;
    }

    fn line_end(&mut self, lines: usize) {
        self.breaks = self.breaks.max(lines);
    }

    fn mark(&mut self, mark: &str) {
        self.settle();
        self.out.push_str(mark);
    }

    fn done(self) -> String {
        self.out.trim().to_owned()
    }
}

#[derive(Debug, Default)]
struct Writer {
    title: Option<String>,
    in_title: bool,
    /// Everything but what is never text.
    whole: Text,
    /// Without what is around the text.
    body: Text,
    /// What is in main parts.
    main: Text,
    /// How deep in elements that are never text, those around, the main ones; by the name that opened it.
    never: Option<(String, usize)>,
    around: Option<(String, usize)>,
    in_main: Option<(String, usize)>,
    verbatim: usize,
    lists: Vec<Option<usize>>,
    /// Addresses of open links; `None` for those not worth showing.
    links: Vec<Option<String>>,
    /// What relative links begin at.
    base: Option<Url>,
}

/// The attributes of a tag.
type Attributes = BTreeMap<HtmlString, html5gum::Spanned<HtmlString, ()>>;

/// Counts how deep in elements of one name we are, from the first of a set on.
fn enter(state: &mut Option<(String, usize)>, name: &str, of: &[&str]) {
    match state {
        Some((open, depth)) if open == name => *depth += 1,
        None if of.contains(&name) => *state = Some((name.to_owned(), 1)),
        _ => {}
    }
}

fn leave(state: &mut Option<(String, usize)>, name: &str) {
    if let Some((open, depth)) = state
        && open == name
    {
        *depth -= 1;
        if *depth == 0 {
            *state = None;
        }
    }
}

fn attribute<'t>(attributes: &'t Attributes, name: &[u8]) -> Option<&'t [u8]> {
    attributes.get(name).map(|value| value.as_slice())
}

impl Writer {
    /// The texts that what comes now belongs to.
    fn each(&mut self, act: impl Fn(&mut Text)) {
        act(&mut self.whole);
        if self.around.is_none() {
            act(&mut self.body);
            if self.in_main.is_some() {
                act(&mut self.main);
            }
        }
    }

    fn open(&mut self, tag: &StartTag<()>) {
        let name = String::from_utf8_lossy(&tag.name).into_owned();
        let hidden = is_hidden(&tag.attributes);
        if !tag.self_closing || !matches!(name.as_str(), "svg" | "math") {
            enter(&mut self.never, &name, &NEVER);
            if hidden && self.never.is_none() && !is_void(&name) {
                self.never = Some((name.clone(), 1));
            }
        }
        if self.never.is_some() {
            return;
        }
        if AROUND.contains(&name.as_str()) {
            self.each(|t| t.line_end(2));
        }
        enter(&mut self.around, &name, &AROUND);
        enter(&mut self.in_main, &name, &MAIN);
        match name.as_str() {
            "title" => self.in_title = self.title.is_none(),
            "br" => self.each(|t| t.line_end(1)),
            "tr" => self.each(|t| t.line_end(1)),
            "td" | "th" => self.each(|t| {
                if t.breaks == 0 && !t.out.is_empty() && !t.out.ends_with('\n') {
                    t.mark(" | ");
                }
            }),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.each(|t| {
                    t.line_end(2);
                    t.mark(&format!("{} ", "#".repeat(level)));
                });
            }
            "li" => self.item(),
            "a" => self.links.push(attribute(&tag.attributes, b"href").and_then(|href| shown_link(href, self.base.as_ref()))),
            "base" => {
                let href = attribute(&tag.attributes, b"href").and_then(|href| std::str::from_utf8(href).ok());
                if let Some(Ok(base)) = self.base.as_ref().zip(href).map(|(base, href)| base.join(href)) {
                    self.base = Some(base);
                }
            }
            "img" => {
                let alt =
                    attribute(&tag.attributes, b"alt").map(|a| String::from_utf8_lossy(a).trim().to_owned()).filter(|a| !a.is_empty());
                if let Some(alt) = alt {
                    self.each(|t| t.push(&format!("[image: {alt}]"), false));
                }
            }
            _ if is_block(&name) => self.each(|t| t.line_end(2)),
            _ => {}
        }
        match name.as_str() {
            "pre" => self.verbatim += 1,
            "ul" => self.lists.push(None),
            "ol" => self.lists.push(Some(0)),
            _ => {}
        }
    }

    fn item(&mut self) {
        let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(8));
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{indent}{number}. ")
            }
            _ => format!("{indent}- "),
        };
        self.each(|t| {
            t.breaks = 0;
            t.line_end(1);
            t.mark(&mark);
        });
    }

    fn close(&mut self, tag: &EndTag<()>) {
        let name = String::from_utf8_lossy(&tag.name).into_owned();
        if self.never.is_some() {
            leave(&mut self.never, &name);
            return;
        }
        match name.as_str() {
            "title" => self.in_title = false,
            "a" => {
                if let Some(Some(link)) = self.links.pop() {
                    self.each(|t| t.out.push_str(&format!(" ({link})")));
                }
            }
            "pre" => self.verbatim = self.verbatim.saturating_sub(1),
            "ul" | "ol" => {
                self.lists.pop();
            }
            "tr" | "li" => self.each(|t| t.line_end(1)),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.each(|t| t.line_end(2)),
            _ => {}
        }
        if is_block(&name) {
            self.each(|t| t.line_end(2));
        }
        leave(&mut self.around, &name);
        leave(&mut self.in_main, &name);
        if AROUND.contains(&name.as_str()) {
            self.each(|t| t.line_end(2));
        }
    }

    fn text(&mut self, text: &str) {
        if self.never.is_some() {
            return;
        }
        if self.in_title {
            let folded: Vec<&str> = text.split_whitespace().collect();
            let title = self.title.get_or_insert_default();
            title.push_str(&folded.join(" "));
            return;
        }
        let verbatim = self.verbatim > 0;
        self.each(|t| t.push(text, verbatim));
    }

    fn finish(self) -> (Option<String>, String) {
        let title = self.title.map(|t| t.chars().take(MAX_TITLE_CHARS).collect::<String>()).filter(|t| !t.is_empty());
        let parts = [self.main.done(), self.body.done()];
        let text = parts.into_iter().find(|p| p.len() >= MIN_PART_BYTES).unwrap_or_else(|| self.whole.done());
        (title, text)
    }
}

/// Whether an element says that readers do not see it. Style sheets are not read, so this finds only what is written at the element.
fn is_hidden(attributes: &Attributes) -> bool {
    let style: String = attribute(attributes, b"style").map(String::from_utf8_lossy).unwrap_or_default().split_whitespace().collect();
    let style = style.to_ascii_lowercase();
    attribute(attributes, b"hidden").is_some()
        || attribute(attributes, b"aria-hidden") == Some(b"true")
        || style.contains("display:none")
        || style.contains("visibility:hidden")
}

/// Elements that begin a new paragraph.
fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "blockquote"
            | "body"
            | "caption"
            | "dd"
            | "details"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "header"
            | "hr"
            | "main"
            | "ol"
            | "p"
            | "pre"
            | "section"
            | "summary"
            | "table"
            | "tbody"
            | "thead"
            | "ul"
    )
}

/// Elements without content: hiding one hides nothing after it.
fn is_void(name: &str) -> bool {
    matches!(name, "area" | "base" | "br" | "col" | "embed" | "hr" | "img" | "input" | "link" | "meta" | "source" | "track" | "wbr")
}

/// A link as it is shown: web addresses and relative ones (made whole if there is a base), not those within the page.
fn shown_link(href: &[u8], base: Option<&Url>) -> Option<String> {
    let href = std::str::from_utf8(href).ok()?.trim();
    let scheme = href.split_once(':').map(|(scheme, _)| scheme).filter(|s| !s.contains(['/', '?', '#']));
    let plain = scheme.is_none_or(|s| s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("https"));
    let sound = !href.is_empty() && href.len() <= MAX_LINK_BYTES && !href.starts_with('#') && !href.chars().any(char::is_whitespace);
    let whole = || base.and_then(|base| base.join(href).ok()).map_or_else(|| href.to_owned(), String::from);
    (plain && sound).then(whole).filter(|link| link.len() <= MAX_LINK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::readable;

    fn text(html: &str) -> String {
        readable(html, None).1
    }

    #[test]
    fn a_page_becomes_readable() {
        let html = r#"<!doctype html><html><head><title> A &amp; B
            </title><style>p { color: red }</style><script>if (a < b) document.write("<p>no</p>")</script></head>
            <body><nav><a href="/">Home</a></nav><h1>Cloud&nbsp;costs</h1><p>First   <b>bold</b> text,
            see <a href="https://example.org/x">this</a> and <a href="javascript:alert(1)">that</a>.</p>
            <ul><li>one<li>two<ul><li>deep</li></ul></li></ul><ol><li>a</li><li>b</li></ol>
            <table><tr><th>Name</th><th>Cost</th></tr><tr><td>x</td><td>1</td></tr></table>
            <pre>  keep
   this</pre><img src=x alt="A chart"><!-- a comment --><p hidden>secret</p><div style="color: red; Display : none"><p>secret</p></div><footer>legal</footer></body></html>"#;
        let (title, text) = readable(html, None);
        assert_eq!(title.as_deref(), Some("A & B"));
        let expected = "# Cloud\u{a0}costs\n\nFirst bold text, see this (https://example.org/x) and that.\n- one\n- two\n  - deep\n1. a\n2. b\n\nName | Cost\nx | 1\n\n  keep\n   this\n\n[image: A chart]\n\nlegal";
        // Short pages keep what is around the text; white space inside is folded.
        assert_eq!(text.replace("(/)", "").replace("Home \n\n", ""), expected.replace('\u{a0}', " "), "{text}");
    }

    #[test]
    fn the_main_part_is_enough_if_there_is_one() {
        let long = "words ".repeat(60);
        let page = format!(
            "<body><nav>menu</nav><div>teaser</div><main><h2>Title</h2><p>{long}</p><aside>advert</aside></main><footer>legal</footer>"
        );
        let got = text(&page);
        assert!(
            got.starts_with("## Title\n\nwords") && !got.contains("menu") && !got.contains("teaser") && !got.contains("advert"),
            "{got}"
        );
        let page = format!("<body><nav>menu</nav><div>{long}</div><footer>legal</footer>");
        let got = text(&page);
        assert!(got.starts_with("words") && !got.contains("menu") && !got.contains("legal"));
        assert!(text(&format!("<nav>never closed <p>{long}")).contains("words"), "an element left open hides nothing for good");
    }

    #[test]
    fn links_are_whole_where_the_address_of_the_page_is_known() {
        let base = "https://example.org/docs/a.html?x=1".parse().unwrap();
        let page = r#"<a href="b.html">b</a> <a href="/c?d=e">c</a> <a href="//other.org/f">f</a> <a href="http://g.org">g</a>"#;
        let expected = "b (https://example.org/docs/b.html) c (https://example.org/c?d=e) f (https://other.org/f) g (http://g.org/)";
        assert_eq!(readable(page, Some(&base)).1, expected);
        let moved = readable(r#"<base href="/new/"><a href="b.html">b</a>"#, Some(&base)).1;
        assert_eq!(moved, "b (https://example.org/new/b.html)");
    }

    #[test]
    fn broken_pages_end() {
        for bad in [
            "",
            "<",
            "<p",
            "<p><",
            "</p></p></li></ul></a>",
            "<a href=x",
            "&#xffffffff; &bogus; &",
            "<script>never ends",
            "<title>never ends",
            "<!--",
            "<![CDATA[x]]>",
            "<pre></pre></pre>x",
            "\0\u{feff}",
            "<h9>x</h9>",
        ] {
            let _any_text_will_do = text(bad);
        }
        let deep = format!("{}x{}", "<div><ul><li>".repeat(50_000), "</div>".repeat(10));
        assert!(text(&deep).ends_with('x'));
        assert_eq!(text("<a>b</a"), "b");
    }

    #[test]
    fn entities_do_not_become_tags() {
        assert_eq!(text("&lt;script&gt;alert(1)&lt;/script&gt;"), "<script>alert(1)</script>");
    }
}
