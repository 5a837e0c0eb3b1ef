//! Reading requests strictly: query parameters, path ids and JSON bodies, each fault named by parameter or JSON pointer.
use axum::extract::{FromRequest, FromRequestParts, Path, Query as AxumQuery, Request};
use axum::http::{HeaderMap, header, request::Parts};
use maos_api::limits::{BODY_BYTES_MAX, BODY_DEPTH_MAX};
use maos_api::query::Query;
use maos_api::{FieldError, Problem, ProblemCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::reply::Fault;

/// Query parameters. Unknown names and bad values are refused.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params<Q>(pub Q);

impl<S: Send + Sync, Q: Query> FromRequestParts<S> for Params<Q> {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let pairs = AxumQuery::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|_| {
            Fault::new(ProblemCode::UnknownParameter, "The query string cannot be read; write name=value&name=value, percent-encoded.")
        })?;
        Ok(Self(Q::from_pairs(&pairs.0)?))
    }
}

/// An id in the path. What is not UTF-8 names nothing.
#[derive(Debug, Clone)]
pub(crate) struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Fault::new(ProblemCode::NotFound, "The path cannot be read."))?;
        Ok(Self(id))
    }
}

/// A body whose fields can be diagnosed one by one.
pub(crate) trait Body: DeserializeOwned {
    /// The smallest valid body: each field of a request is tried on top of it.
    fn smallest() -> Map<String, Value>;
}

impl Body for maos_api::TaskSubmit {
    fn smallest() -> Map<String, Value> {
        Map::from_iter([("description".to_owned(), Value::from("x"))])
    }
}

impl Body for maos_api::TaskPatch {
    fn smallest() -> Map<String, Value> {
        Map::new()
    }
}

impl Body for maos_api::agents::AgentSpawn {
    fn smallest() -> Map<String, Value> {
        Map::from_iter([("type".to_owned(), Value::from("coder"))])
    }
}

impl Body for maos_api::people::TaskInput {
    fn smallest() -> Map<String, Value> {
        Map::new()
    }
}

impl Body for maos_api::system::ConfigPut {
    fn smallest() -> Map<String, Value> {
        Map::from_iter([("value".to_owned(), Value::Null)])
    }
}

/// A JSON body.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: Body> FromRequest<S> for JsonBody<T> {
    type Rejection = Fault;
    async fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        json_content(request.headers())?;
        let bytes = read_body(request).await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// For writes that need no body: empty, or an empty JSON object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Fault;
    async fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        let declared = request.headers().contains_key(header::CONTENT_TYPE);
        if declared {
            json_content(request.headers())?;
        }
        let bytes = read_body(request).await?;
        if bytes.is_empty() {
            return Ok(Self);
        }
        if !declared {
            return Err(Fault::new(ProblemCode::UnsupportedMediaType, "The body has no Content-Type."));
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(map)) => match map.keys().next() {
                None => Ok(Self),
                Some(key) => {
                    Err(Problem::validation(vec![FieldError::field(pointer(key), "unknown", "no such field; this request takes none")])
                        .into())
                }
            },
            Ok(_) => Err(Problem::validation(vec![FieldError::field("", "invalid", "expected an empty body or {}")]).into()),
            Err(e) => Err(malformed(&e)),
        }
    }
}

fn json_content(headers: &HeaderMap) -> Result<(), Fault> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut parts = given.split(';').map(str::trim);
    let json = parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|p| {
        let p = p.to_ascii_lowercase();
        p.is_empty() || !p.starts_with("charset=") || p.trim_start_matches("charset=").trim_matches('"') == "utf-8"
    });
    if json && utf8 {
        return Ok(());
    }
    let shown = if given.is_empty() { "no Content-Type".to_owned() } else { format!("'{}'", given.chars().take(100).collect::<String>()) };
    Err(Fault::new(ProblemCode::UnsupportedMediaType, format!("The body is declared as {shown}; it must be application/json (UTF-8).")))
}

/// The whole body, at most [`BODY_BYTES_MAX`].
pub(crate) async fn read_body(request: Request) -> Result<bytes::Bytes, Fault> {
    let too_large = || Fault::new(ProblemCode::PayloadTooLarge, format!("The body is larger than {} KiB.", BODY_BYTES_MAX / 1024));
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|n| n > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|e| {
        let limit = std::error::Error::source(&e).is_some_and(|s| s.to_string().contains("length limit"));
        if limit { too_large() } else { Fault::new(ProblemCode::MalformedJson, "The body broke off.") }
    })
}

/// Reads a JSON body; every wrong field is named, not only the first.
pub(crate) fn parse<T: Body>(bytes: &[u8]) -> Result<T, Fault> {
    if let Some(at) = too_deep(bytes) {
        return Err(Fault::new(
            ProblemCode::MalformedJson,
            format!("The JSON is nested more than {BODY_DEPTH_MAX} levels deep at byte {at}."),
        ));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|e| malformed(&e))?;
    let Value::Object(map) = value else {
        return Err(Problem::validation(vec![FieldError::field("", "invalid", "expected a JSON object")]).into());
    };
    match serde_json::from_value::<T>(Value::Object(map.clone())) {
        Ok(body) => Ok(body),
        Err(whole) => Err(Problem::validation(diagnose::<T>(&map, &whole)).into()),
    }
}

fn malformed(e: &serde_json::Error) -> Fault {
    Fault::new(ProblemCode::MalformedJson, format!("The body is not JSON: {e}."))
}

/// Which fields are wrong: each is tried alone on top of the smallest valid body.
fn diagnose<T: Body>(map: &Map<String, Value>, whole: &serde_json::Error) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let attempt = |key: &str, value: Value| {
        let mut body = T::smallest();
        body.insert(key.to_owned(), value);
        serde_json::from_value::<T>(Value::Object(body)).err()
    };
    for (key, value) in map {
        let Some(e) = attempt(key, value.clone()) else {
            continue;
        };
        let text = e.to_string();
        if text.starts_with("unknown field") {
            errors.push(FieldError::field(
                pointer(key),
                "unknown",
                format!("no such field; {}", text.split_once(", ").map_or("", |(_, allowed)| allowed)),
            ));
            continue;
        }
        let inner = match value {
            Value::Array(items) => {
                items.iter().enumerate().find_map(|(i, v)| Some((i.to_string(), attempt(key, Value::Array(vec![v.clone()]))?)))
            }
            Value::Object(fields) => {
                fields.iter().find_map(|(k, v)| Some((k.clone(), attempt(key, Value::Object(Map::from_iter([(k.clone(), v.clone())])))?)))
            }
            _ => None,
        };
        match inner {
            Some((at, e)) => errors.push(FieldError::field(format!("{}{}", pointer(key), pointer(&at)), "invalid", sentence(&e))),
            None => errors.push(FieldError::field(pointer(key), "invalid", sentence(&e))),
        }
    }
    for key in T::smallest().keys().filter(|k| !map.contains_key(*k)) {
        errors.push(FieldError::field(pointer(key), "required", "is required"));
    }
    if errors.is_empty() {
        errors.push(FieldError::field("", "invalid", sentence(whole)));
    }
    errors
}

/// serde's message without the position, which is meaningless here.
fn sentence(e: &serde_json::Error) -> String {
    let text = e.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// One step of a JSON pointer (RFC 6901).
fn pointer(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Where the nesting passes the limit. Looks at brackets only, so it is safe before parsing.
fn too_deep(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, b) in bytes.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > BODY_DEPTH_MAX {
                    return Some(at);
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use maos_api::{TaskPatch, TaskSubmit};

    fn faults<T: Body + std::fmt::Debug>(text: &str) -> Vec<(String, String)> {
        let problem = parse::<T>(text.as_bytes()).unwrap_err().0;
        problem.errors.into_iter().map(|e| (e.pointer.unwrap(), e.code)).collect()
    }

    #[test]
    fn every_wrong_field_is_named() {
        let got = faults::<TaskSubmit>(r#"{"description": 5, "max_agents": -1, "nope": 1, "depends_on": ["a", 3], "labels": {"a/b": 1}}"#);
        let want = [
            ("/depends_on/1", "invalid"),
            ("/description", "invalid"),
            ("/labels/a~1b", "invalid"),
            ("/max_agents", "invalid"),
            ("/nope", "unknown"),
        ];
        assert_eq!(got, want.map(|(p, c)| (p.to_owned(), c.to_owned())));
        assert_eq!(faults::<TaskSubmit>("{}"), [("/description".to_owned(), "required".to_owned())]);
        assert_eq!(faults::<TaskSubmit>("[]"), [(String::new(), "invalid".to_owned())]);
        assert_eq!(faults::<TaskPatch>(r#"{"timeout": "x"}"#), [("/timeout".to_owned(), "invalid".to_owned())]);
    }

    #[test]
    fn a_patch_tells_null_from_absent() {
        let patch: TaskPatch = parse(br#"{"timeout": null, "max_cost": "2.5"}"#).unwrap();
        assert_eq!((patch.timeout, patch.max_agents), (Some(None), None));
        assert_eq!(patch.max_cost.flatten().unwrap().to_string(), "2.500000");
        assert_eq!(parse::<TaskPatch>(b"{\"timeout\":\"1h\"}").unwrap().timeout, Some(Some(3600)));
    }

    #[test]
    fn malformed_and_too_deep() {
        let deep = format!("{{\"description\":{}{}}}", "[".repeat(64), "]".repeat(64));
        for text in ["", "{", "{\"description\":\"x\"}x", "nul", &deep, "\u{feff}{}"] {
            assert_eq!(parse::<TaskSubmit>(text.as_bytes()).unwrap_err().0.code, ProblemCode::MalformedJson, "{text}");
        }
        let brackets_in_text = format!("{{\"description\":\"{}\\\"\"}}", "[".repeat(100));
        assert!(parse::<TaskSubmit>(brackets_in_text.as_bytes()).is_ok());
    }
}
