//! Downloading over HTTP, continued after a cut.
//!
//! The `.part` file only ever grows by bytes of the same file, so a cut costs nothing but the connection: within one pull it is
//! retried while bytes keep coming, and the next pull continues from there (`Range`). What a server sends is believed only as far as
//! its length agrees with the catalogue; the hash decides at the end.
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use crate::pull::{Progress, Step, check_space, write_error};
use crate::store::{CHUNK_BYTES, Store};
use crate::{LocalError, Model};

/// Time allowed for a connection to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a server in the middle of a download.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Cuts in a row without a single new byte before the source is given up.
const IDLE_CUTS_MAX: u32 = 4;
/// Pause before the second connection in a row that may bring nothing; doubled for each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// How one connection ended.
enum End {
    /// The body was read to its end.
    Complete,
    /// Broken off; worth another connection. The reason, for people.
    Cut(String),
}

/// Brings the model's `.part` file to full length.
pub(super) async fn fetch(store: &Store, model: &Model, url: &str, progress: &dyn Progress) -> Result<(), LocalError> {
    let part = store.part(model);
    let client = client(url)?;
    let mut idle_cuts = 0;
    loop {
        let have = tokio::fs::metadata(&part).await.map_or(0, |meta| meta.len());
        if have == model.bytes {
            return Ok(());
        }
        if have > model.bytes {
            remove(&part).await?;
            continue;
        }
        check_space(store.dir(), model.bytes - have)?;
        let end = connection(&client, model, url, &part, have, progress).await?;
        let now = tokio::fs::metadata(&part).await.map_or(0, |meta| meta.len());
        idle_cuts = if now > have { 0 } else { idle_cuts + 1 };
        let reason = match end {
            End::Complete if now >= model.bytes => continue,
            End::Complete => format!("the server sent {now} of {} bytes", model.bytes),
            End::Cut(reason) => reason,
        };
        if idle_cuts >= IDLE_CUTS_MAX {
            return Err(unreachable(url, &format!("{reason} (given up after {IDLE_CUTS_MAX} attempts; what came so far is kept)")));
        }
        progress.step(Step::Note(&format!("{url}: {reason}; continuing at byte {now}")));
        // The first retry is immediate: most cuts are a single lost connection.
        if idle_cuts > 0 {
            tokio::time::sleep(PAUSE_FIRST * (1 << (idle_cuts - 1))).await;
        }
    }
}

fn client(url: &str) -> Result<Client, LocalError> {
    // An `Err` means that a provider is installed already, which is all that is needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("maos/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_MAX)
        // A compressed body would not be the bytes that a range counts.
        .no_gzip()
        .build()
        .map_err(|e| unreachable(url, &chain(&e)))
}

/// One request, from byte `have` on.
async fn connection(client: &Client, model: &Model, url: &str, part: &Path, have: u64, progress: &dyn Progress) -> Result<End, LocalError> {
    let mut request = client.get(url);
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let response = match request.send().await {
        Ok(response) => response,
        // No connection at all, and nothing to continue: the caller has other sources to try.
        Err(error) if have == 0 && (error.is_connect() || error.is_builder()) => {
            return Err(unreachable(url, &chain(&error)));
        }
        Err(error) => return Ok(End::Cut(chain(&error))),
    };
    let status = response.status();
    match status {
        StatusCode::OK => {
            check_length(model, url, response.content_length())?;
            let file = File::create(part).await.map_err(|e| LocalError::io("create", part, &e))?;
            receive(response, model, file, part, 0, progress).await
        }
        StatusCode::PARTIAL_CONTENT => {
            let (start, total) = content_range(&response);
            check_length(model, url, total)?;
            if start != Some(have) {
                remove(part).await?;
                return Ok(End::Cut("the server sent another range than was asked for".to_owned()));
            }
            let file = OpenOptions::new().append(true).open(part).await.map_err(|e| LocalError::io("write", part, &e))?;
            receive(response, model, file, part, have, progress).await
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            remove(part).await?;
            Ok(End::Cut("the server could not continue the download; starting over".to_owned()))
        }
        // With nothing to continue, another source may do better at once.
        _ if have > 0 && (status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()) => {
            Ok(End::Cut(format!("the server answered {status}")))
        }
        _ => Err(unreachable(url, &format!("the server answered {status}"))),
    }
}

/// Writes the body behind the `have` bytes that are there. Never writes past the catalogue's size.
async fn receive(
    response: Response,
    model: &Model,
    file: File,
    part: &Path,
    have: u64,
    progress: &dyn Progress,
) -> Result<End, LocalError> {
    let (mut file, mut done, mut told) = (BufWriter::with_capacity(CHUNK_BYTES, file), have, have);
    let mut body = response.bytes_stream();
    let end = loop {
        match body.next().await {
            None => break End::Complete,
            Some(Err(error)) => break End::Cut(chain(&error)),
            Some(Ok(bytes)) => {
                if done + bytes.len() as u64 > model.bytes {
                    remove(part).await?;
                    return Err(wrong_size(model, response_origin(model), format!("more than {} bytes", model.bytes)));
                }
                file.write_all(&bytes).await.map_err(|e| write_error(part, model.bytes - done, &e))?;
                done += bytes.len() as u64;
                if done - told >= CHUNK_BYTES as u64 {
                    told = done;
                    progress.step(Step::Fetched { done, total: model.bytes });
                }
            }
        }
    };
    file.flush().await.map_err(|e| write_error(part, model.bytes - done, &e))?;
    progress.step(Step::Fetched { done, total: model.bytes });
    Ok(end)
}

fn response_origin(model: &Model) -> String {
    format!("the download of {}", model.file)
}

fn check_length(model: &Model, url: &str, length: Option<u64>) -> Result<(), LocalError> {
    match length {
        Some(bytes) if bytes != model.bytes => Err(wrong_size(model, url.to_owned(), format!("{bytes} bytes"))),
        Some(_) | None => Ok(()),
    }
}

fn wrong_size(model: &Model, origin: String, found: String) -> LocalError {
    LocalError::WrongContents { name: model.name.clone(), origin, what: "size", expected: format!("{} bytes", model.bytes), found }
}

/// Start and total of `Content-Range: bytes 5-9/10`.
fn content_range(response: &Response) -> (Option<u64>, Option<u64>) {
    let text = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let range = text.trim().strip_prefix("bytes ").unwrap_or("");
    let (span, total) = range.split_once('/').unwrap_or((range, ""));
    (span.split_once('-').and_then(|(start, _)| start.parse().ok()), total.parse().ok())
}

async fn remove(path: &Path) -> Result<(), LocalError> {
    match tokio::fs::remove_file(path).await {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LocalError::io("remove", path, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn unreachable(url: &str, reason: &str) -> LocalError {
    LocalError::Unreachable { origin: url.to_owned(), reason: reason.to_owned() }
}

/// An error with its causes: reqwest's outermost text alone never says what went wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
