//! Marked places in text: `{name}`, and `{{` `}}` for the braces themselves. Nothing else has a meaning.
//!
//! Invariant: one pass. What a value contains is never looked at again, and is encoded for the place where it goes.
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text with marked places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(String),
}

impl Template {
    /// Reads a template; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![];
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err("a `}` has no `{` before it; write `}}` for the brace itself".to_owned());
            }
            let (name, after) = rest.split_once('}').ok_or("a `{` has no `}` after it; write `{{` for the brace itself")?;
            if !is_name(name) {
                return Err(format!("`{{{name}}}` is not a parameter: names are lower-case letters, digits and _, such as {{query}}"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Place(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The names in it.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.0.iter().filter_map(|p| if let Part::Place(name) = p { Some(name.as_str()) } else { None }).collect()
    }

    /// The text with every value as it is; `None` if one is missing.
    pub(super) fn fill(&self, values: &Map<String, Value>) -> Result<Option<String>, String> {
        self.filled(values, text_of)
    }

    /// The text with every value encoded for a URL; `None` if one is missing.
    fn fill_encoded(&self, values: &Map<String, Value>) -> Result<Option<String>, String> {
        self.filled(values, |name, value| text_of(name, value).map(|text| utf8_percent_encode(&text, ENCODED).to_string()))
    }

    fn filled(
        &self,
        values: &Map<String, Value>,
        as_text: impl Fn(&str, &Value) -> Result<String, String>,
    ) -> Result<Option<String>, String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Place(name) => match values.get(name) {
                    None | Some(Value::Null) => return Ok(None),
                    Some(value) => out.push_str(&as_text(name, value)?),
                },
            }
        }
        Ok(Some(out))
    }

    /// The name, if the template is one place and nothing else.
    fn only_place(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Place(name)] => Some(name),
            _ => None,
        }
    }
}

/// Whether text is the name of a parameter.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// A value in a text: strings, numbers, true and false; a list of these with commas.
fn text_of(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Array(items) => {
            let texts = items.iter().map(|item| if item.is_array() { Err(()) } else { text_of(name, item).map_err(|_| ()) });
            texts.collect::<Result<Vec<_>, ()>>().map(|all| all.join(",")).map_err(|()| format!("`{name}` must be a list of plain values"))
        }
        Value::Null | Value::Object(_) => Err(format!("`{name}` must be a plain value here: a text, a number, true or false")),
    }
}

/// A URL whose path and query have marked places; scheme, host and port are fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UrlTemplate {
    /// `https://host:port`.
    origin: String,
    host: String,
    segments: Vec<Template>,
    /// Query pairs in order: a key and its value.
    query: Vec<(String, Template)>,
}

impl UrlTemplate {
    /// Reads the address and the `query` map of a definition.
    pub(super) fn parse(url: &str, query: Vec<(String, Template)>) -> Result<Self, String> {
        let after_scheme = url.find("://").map(|at| at + 3).ok_or("the address must begin with https:// or http://")?;
        let path_at = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
        let (origin, rest) = url.split_at(path_at);
        if origin.contains(['{', '}']) {
            return Err(
                "a parameter may only stand in the path, the query or the body: scheme, host and port are the file's to say".to_owned()
            );
        }
        let target = maos_egress::Target::parse(origin).map_err(|refusal| refusal.to_string())?;
        if rest.contains('#') {
            return Err("an address with a `#` part cannot be asked for; leave it out".to_owned());
        }
        let (path, own_query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let segments: Vec<Template> = path.split('/').map(Template::parse).collect::<Result<_, _>>()?;
        // What is fixed must already be fit for a URL; what is filled in is encoded.
        let mut pairs = vec![];
        for pair in own_query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key.contains(['{', '}']) {
                return Err(format!("`{key}`: the name of a query parameter cannot be a parameter"));
            }
            pairs.push((decoded(key), Template::parse(&decoded(value))?));
        }
        pairs.extend(query);
        Ok(Self { origin: origin.to_owned(), host: target.host().to_owned(), segments, query: pairs })
    }

    /// Scheme, host and port as they are written.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The host that every call goes to.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The names in the path: these must always have a value.
    pub(super) fn path_names(&self) -> BTreeSet<&str> {
        self.segments.iter().flat_map(Template::names).collect()
    }

    /// All names.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.path_names().into_iter().chain(self.query.iter().flat_map(|(_, t)| t.names())).collect()
    }

    /// The address for these values. A query parameter whose value is missing is left out.
    pub(super) fn fill(&self, values: &Map<String, Value>) -> Result<url::Url, String> {
        let mut text = self.origin.clone();
        for segment in &self.segments {
            let filled = segment.fill_encoded(values)?.ok_or("a parameter of the path has no value")?;
            // A parser would climb out of the path at these.
            if !segment.names().is_empty() && matches!(filled.as_str(), "" | "." | "..") {
                return Err("a parameter of the path must not be empty, `.` or `..`".to_owned());
            }
            text.push('/');
            text.push_str(&filled);
        }
        let mut url = url::Url::parse(&text).map_err(|e| format!("the address cannot be built: {e}"))?;
        let mut pairs = vec![];
        for (key, template) in &self.query {
            if let Some(value) = template.fill(values)? {
                pairs.push((key, value));
            }
        }
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(url)
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// A JSON body with marked places in its texts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    /// As it is.
    Fixed(Value),
    /// A text with places; one that is a single place takes the value as it is, with its type.
    Text(Template),
    /// A list.
    List(Vec<Body>),
    /// An object.
    Object(Vec<(String, Body)>),
}

impl Body {
    /// Reads a body. Names of fields are fixed.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::Text(Template::parse(text)?),
            Value::Array(items) => Self::List(items.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                Self::Object(fields.iter().map(|(k, v)| Ok((k.clone(), Self::parse(v)?))).collect::<Result<_, String>>()?)
            }
            fixed => Self::Fixed(fixed.clone()),
        })
    }

    /// All names.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        match self {
            Self::Fixed(_) => BTreeSet::new(),
            Self::Text(template) => template.names(),
            Self::List(items) => items.iter().flat_map(Self::names).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, v)| v.names()).collect(),
        }
    }

    /// The body for these values; `None` where a value is missing, so that the field or item is left out.
    pub(super) fn fill(&self, values: &Map<String, Value>) -> Result<Option<Value>, String> {
        Ok(match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Text(template) => match template.only_place() {
                Some(name) => values.get(name).filter(|v| !v.is_null()).cloned(),
                None => template.fill(values)?.map(Value::String),
            },
            Self::List(items) => {
                let filled = items.iter().map(|item| item.fill(values)).collect::<Result<Vec<_>, _>>()?;
                Some(Value::Array(filled.into_iter().flatten().collect()))
            }
            Self::Object(fields) => {
                let mut out = Map::new();
                for (key, value) in fields {
                    if let Some(value) = value.fill(values)? {
                        out.insert(key.clone(), value);
                    }
                }
                Some(Value::Object(out))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Template, UrlTemplate};
    use serde_json::{Map, Value, json};

    fn values(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn url(template: &str, given: Value) -> Result<String, String> {
        UrlTemplate::parse(template, vec![]).and_then(|t| t.fill(&values(given))).map(|u| u.to_string())
    }

    #[test]
    fn a_value_stays_in_its_place() {
        for (value, encoded) in [
            ("plain", "plain"),
            ("a b", "a%20b"),
            ("a/b", "a%2Fb"),
            ("../../x", "..%2F..%2Fx"),
            ("?x=1&y#z", "%3Fx%3D1%26y%23z"),
            ("{q}", "%7Bq%7D"),
            ("{{q}}", "%7B%7Bq%7D%7D"),
            ("${HOME}", "%24%7BHOME%7D"),
            ("%2e%2e", "%252e%252e"),
            ("@evil.test", "%40evil.test"),
            ("\r\nHost: evil", "%0D%0AHost%3A%20evil"),
            ("http://evil.test/", "http%3A%2F%2Fevil.test%2F"),
            ("\\\\evil", "%5C%5Cevil"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(url("https://a.org/x/{q}/y", json!({"q": value})), Ok(format!("https://a.org/x/{encoded}/y")), "{value}");
            let asked = url("https://a.org/x?k={q}&l=1", json!({"q": value})).unwrap();
            let asked = url::Url::parse(&asked).unwrap();
            assert_eq!(asked.query_pairs().collect::<Vec<_>>(), [("k".into(), value.into()), ("l".into(), "1".into())], "{value}");
            assert_eq!((asked.host_str(), asked.path()), (Some("a.org"), "/x"));
        }
        for climbing in ["", ".", ".."] {
            assert!(url("https://a.org/x/{q}/y", json!({"q": climbing})).is_err(), "{climbing:?}");
        }
        assert_eq!(url("https://a.org/x/v{q}", json!({"q": "."})).unwrap(), "https://a.org/x/v.");
    }

    #[test]
    fn scheme_host_and_port_are_fixed() {
        for bad in [
            "{s}://a.org/",
            "https://{h}/",
            "https://a.{h}.org/",
            "https://a.org:{p}/",
            "https://{u}@a.org/",
            "https://a.org{x}",
            "a.org/x",
            "ftp://a.org/",
            "https://a.org/#{x}",
            "https://a.org/?{k}=v",
        ] {
            assert!(UrlTemplate::parse(bad, vec![]).is_err(), "{bad}");
        }
    }

    #[test]
    fn templates_are_a_closed_grammar() {
        for bad in ["{", "}", "{}", "{A}", "{a b}", "{a-b}", "{a", "a}", "{{a}", "{1a}", "{a|b}", "{a.b}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        for (text, expected) in [
            ("${a}", "$1"),
            ("{{{a}}}", "{1}"),
            ("{{a}}", "{a}"),
            ("{{7*7}}", "{7*7}"),
            ("<%= a %>", "<%= a %>"),
            ("{a}{a}", "11"),
            ("", ""),
        ] {
            assert_eq!(Template::parse(text).unwrap().fill(&values(json!({"a": 1}))), Ok(Some(expected.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_left_out() {
        assert_eq!(url("https://a.org/?a={a}&b={b}", json!({"b": [1, "x y", true]})).unwrap(), "https://a.org/?b=1%2Cx+y%2Ctrue");
        assert!(url("https://a.org/{a}", json!({})).is_err());
        assert!(url("https://a.org/?a={a}", json!({"a": {"x": 1}})).is_err());
        let body = Body::parse(&json!({"n": "{n}", "t": "no. {n}", "o": {"m": "{m}"}, "l": ["{m}", "{n}"], "f": 1})).unwrap();
        assert_eq!(body.fill(&values(json!({"n": 2}))).unwrap(), Some(json!({"n": 2, "t": "no. 2", "o": {}, "l": [2], "f": 1})));
        assert_eq!(body.fill(&values(json!({"n": "\"}{m}", "m": {"deep": [1]}}))).unwrap().unwrap()["n"], "\"}{m}");
    }
}
