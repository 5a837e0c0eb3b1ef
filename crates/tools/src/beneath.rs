//! Opens files beneath a folder of the operator, component by component, never through a symbolic link.
//!
//! Invariant: the file that is opened lies beneath the root, whatever happens to names in the meantime.
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

/// Opens a regular file for reading. The root itself may be a link: the operator made it.
///
/// # Errors
/// `InvalidInput` for a path that leaves the root or is no file; otherwise the system's.
pub(crate) fn open(root: &Path, relative: &Path) -> io::Result<File> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    let mut at = File::open(root)?;
    let mut parts = relative.components().peekable();
    if parts.peek().is_none() {
        return refuse("the path is empty");
    }
    while let Some(part) = parts.next() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return refuse("the path leaves its folder"),
        };
        let kind = if parts.peek().is_some() { OFlag::O_DIRECTORY } else { OFlag::O_NONBLOCK };
        let next = openat(&at, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | kind, Mode::empty());
        at = File::from(next?);
    }
    if at.metadata()?.is_file() { Ok(at) } else { refuse("it is not a file") }
}

/// The text of a file beneath a root, at most `bytes_max` bytes of it, and whether there was more.
///
/// # Errors
/// As [`open`]; `InvalidData` if it is not text.
pub(crate) fn read_text(root: &Path, relative: &Path, bytes_max: usize) -> io::Result<(String, bool)> {
    let mut bytes = Vec::new();
    open(root, relative)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    let more = bytes.len() > bytes_max;
    bytes.truncate(bytes_max);
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // A cut in the middle of a character is no fault of the text.
        Err(e) if more && e.utf8_error().valid_up_to() + 4 > bytes_max => {
            let valid = e.utf8_error().valid_up_to();
            let mut bytes = e.into_bytes();
            bytes.truncate(valid);
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not text")),
    };
    if text.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not text"));
    }
    Ok((text, more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(dir.path().join("secret"), "s").unwrap();
        fs::write(root.join("sub/file"), "inside").unwrap();
        symlink(dir.path().join("secret"), root.join("link")).unwrap();
        symlink(dir.path(), root.join("sub/up")).unwrap();
        let read = |p: &str| read_text(&root, Path::new(p), 100);
        assert_eq!(read("./sub/file").unwrap(), ("inside".into(), false));
        let absolute = dir.path().join("secret");
        for path in ["../secret", "sub/../../secret", absolute.to_str().unwrap(), "link", "sub/up/secret", "sub", "", ".", "sub/none"] {
            assert!(read(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_limit_and_only_text() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("long"), "äöü").unwrap();
        fs::write(dir.path().join("bytes"), [0xff, 0, 1]).unwrap();
        fs::write(dir.path().join("nul"), "a\0b").unwrap();
        let read = |p: &str, max| read_text(dir.path(), Path::new(p), max);
        assert_eq!(read("long", 3).unwrap(), ("ä".into(), true));
        assert_eq!(read("long", 6).unwrap(), ("äöü".into(), false));
        assert!(read("bytes", 100).is_err() && read("nul", 100).is_err());
    }
}
