//! Files over the runtime: what comes in is received piece by piece, what goes out is read from the workspace.
use async_trait::async_trait;
use futures_util::StreamExt;
use maos_api::files::{Artifact, Upload};
use maos_api::{Problem, ProblemCode};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::problems::problem;
use super::{Wire, convert};
use crate::backend::{ByteStream, Content, Files, Reply};

/// MIME types by ending.
const MEDIA_TYPES: [(&str, &str); 20] = [
    ("csv", "text/csv"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("md", "text/markdown"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("py", "text/x-python"),
    ("rs", "text/x-rust"),
    ("svg", "image/svg+xml"),
    ("toml", "application/toml"),
    ("tsv", "text/plain"),
    ("txt", "text/plain"),
    ("webp", "image/webp"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
];

fn media_type(name: &str) -> &'static str {
    let ending = name.rsplit('/').next().and_then(|last| last.rsplit_once('.')).map_or_else(String::new, |(_, e)| e.to_ascii_lowercase());
    MEDIA_TYPES.iter().find(|(known, _)| *known == ending).map_or("application/octet-stream", |(_, kind)| kind)
}

fn artifact(file: maos_runtime::Artifact) -> Artifact {
    Artifact { media_type: media_type(&file.name).into(), name: file.name, bytes: file.bytes, modified: file.modified.map(convert::time) }
}

#[async_trait]
impl Files for Wire {
    async fn upload(&self, mut content: ByteStream) -> Reply<Upload> {
        let mut incoming = self.runtime.receive().map_err(problem)?;
        while let Some(piece) = content.next().await {
            let piece =
                piece.map_err(|_| Box::new(Problem::new(ProblemCode::MalformedJson, "The file broke off; nothing of it is kept.")))?;
            incoming = blocking(move || incoming.write(&piece).map(|()| incoming)).await?;
        }
        let kept = blocking(move || incoming.end()).await?;
        Ok(Upload { object: "file".into(), file_id: kept.file_id, bytes: kept.bytes })
    }

    async fn artifacts(&self, task: &str) -> Reply<Vec<Artifact>> {
        let files = self.runtime.artifacts(task).await.map_err(problem)?;
        // What a person gave and nobody changed is not what the task made.
        Ok(files.into_iter().filter(|f| !f.attached).map(artifact).collect())
    }

    async fn artifact(&self, task: &str, name: &str) -> Reply<Content> {
        let (file, about) = self.runtime.artifact(task, name).await.map_err(problem)?;
        // A file that grows meanwhile is sent as it was when it was opened.
        let body = ReaderStream::new(tokio::fs::File::from_std(file).take(about.bytes)).boxed();
        Ok(Content { artifact: artifact(about), body })
    }
}

/// Work on files, off the threads that answer requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> maos_runtime::Result<T> + Send + 'static) -> Reply<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Box::new(Problem::new(ProblemCode::Internal, format!("work on a file failed: {e}"))))?.map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn types_by_ending() {
        assert_eq!(
            [media_type("out/Plot.PNG"), media_type("a.b/c"), media_type(".csv"), media_type("x.html")],
            ["image/png", "application/octet-stream", "text/csv", "text/html"]
        );
    }
}
