//! Taking over a file that is already on this machine. It is copied, not linked: a later change of the original must not reach the
//! store. The original is only read.
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::pull::{Progress, Step, blocking, check_space, write_error};
use crate::store::{CHUNK_BYTES, Store};
use crate::{LocalError, Model};

/// Copies `from` to the model's `.part` file.
pub(super) async fn fetch(store: &Store, model: &Model, from: &Path, progress: &dyn Progress) -> Result<(), LocalError> {
    let bytes = std::fs::metadata(from).map_err(|e| LocalError::io("read", from, &e))?.len();
    if bytes != model.bytes {
        return Err(LocalError::WrongContents {
            name: model.name.clone(),
            origin: from.display().to_string(),
            what: "size",
            expected: format!("{} bytes", model.bytes),
            found: format!("{bytes} bytes"),
        });
    }
    check_space(store.dir(), bytes)?;
    let (from, to) = (from.to_path_buf(), store.part(model));
    blocking(move |tick| copy(&from, &to, bytes, tick), |done| progress.step(Step::Fetched { done, total: bytes })).await
}

fn copy(from: &Path, to: &Path, bytes: u64, tick: &mut dyn FnMut(u64)) -> Result<(), LocalError> {
    let mut source = File::open(from).map_err(|e| LocalError::io("read", from, &e))?;
    let mut target = File::create(to).map_err(|e| LocalError::io("create", to, &e))?;
    let (mut buffer, mut done) = (vec![0; CHUNK_BYTES], 0);
    loop {
        let n = source.read(&mut buffer).map_err(|e| LocalError::io("read", from, &e))?;
        if n == 0 {
            return Ok(());
        }
        target.write_all(&buffer[..n]).map_err(|e| write_error(to, bytes.saturating_sub(done), &e))?;
        done += n as u64;
        tick(done);
    }
}
