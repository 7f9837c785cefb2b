//! Key files: reading them, refusing those that others can read, and secrets that were just drawn.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use crate::protocol::seal::{Keyring, KeysError, Role, SECRET_BYTES, Seal};

/// A key file cannot be used. Shows no secret.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("{path}: cannot be read: {cause}; `client keygen > {path}` makes a key file")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("{path}: mode {mode:03o} lets others read or change the keys; chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The permissions it has.
        mode: u32,
    },
    /// Its text is not that of a key file.
    #[error("{path}: {cause}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: KeysError,
    },
}

/// More than any key file has.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Reads a key file.
///
/// # Errors
/// When it cannot be read, is not its owner's alone, or holds something else than keys.
pub fn load(path: &Path) -> Result<Keyring, KeyFileError> {
    let unreadable = |cause| KeyFileError::Unreadable { path: path.to_owned(), cause };
    let file = File::open(path).map_err(unreadable)?;
    // Of what was opened, and not of what bears the name now.
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Keyring::parse(&text).map_err(|cause| KeyFileError::Malformed { path: path.to_owned(), cause })
}

/// Random bytes of the system, fit for secrets.
///
/// # Errors
/// When the system has none.
pub fn draw_secret() -> Result<[u8; SECRET_BYTES], io::Error> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(secret)
}

/// What seals and opens for a process in this role.
///
/// # Errors
/// When the system has no random numbers.
pub fn seal(keyring: Keyring, role: Role) -> Result<Seal, io::Error> {
    Ok(Seal::new(keyring, role, &draw_secret()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::protocol::seal::{KeyKind, key_line};

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let line = key_line(KeyKind::Cluster, &draw_secret().unwrap());
        std::fs::write(&path, &line).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = load(&path).unwrap_err().to_string();
            let remedy = format!("chmod 600 {}", path.display());
            assert!(error.contains(&remedy) && error.contains(&format!("{mode:o}")), "{error}");
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert!(load(&path).unwrap().has(KeyKind::Cluster));
        }
    }

    #[test]
    fn a_missing_or_malformed_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("client keygen") && error.contains("key"), "{error}");
        std::fs::write(&path, "what is this").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains("line 1"), "{error}");
    }

    #[test]
    fn no_secret_is_drawn_twice() {
        assert_ne!(draw_secret().unwrap(), draw_secret().unwrap());
    }
}
