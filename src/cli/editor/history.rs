//! The history file: where it is, and that nobody else may read it.
//!
//! What is typed may be secret, so the file belongs to its owner alone. A file that cannot be used
//! costs the history and nothing else. Several programs may append at the same time.

use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustyline::history::{FileHistory, History};

/// Where lines are kept for the next time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryFile {
    path: Option<PathBuf>,
}

/// The file: what the variable names (nothing if it is empty), else the user's state folder.
#[must_use]
pub fn path(
    variable: Option<OsString>,
    state_home: Option<OsString>,
    home: Option<OsString>,
) -> Option<PathBuf> {
    if let Some(path) = variable {
        return (!path.is_empty()).then(|| path.into());
    }
    // The convention: a relative path in the variable counts as none.
    let absolute =
        |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute(state_home).or_else(|| Some(absolute(home)?.join(".local/state")))?;
    Some(folder.join("pbkv").join("history"))
}

impl HistoryFile {
    /// None keeps nothing.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> HistoryFile {
        HistoryFile { path }
    }

    /// Takes in what was kept. Tells what is wrong, if anything.
    #[must_use]
    pub fn load(&self, history: &mut FileHistory) -> Option<String> {
        let path = self.path.as_ref()?;
        let loaded = prepare(path)
            .map_err(|error| error.to_string())
            .and_then(|()| history.load(path).map_err(|error| error.to_string()));
        loaded.err().map(|error| complaint(path, &error))
    }

    /// Keeps the newest entries. Tells what is wrong, if anything.
    #[must_use]
    pub fn append(&self, history: &mut FileHistory) -> Option<String> {
        let path = self.path.as_ref()?;
        history.append(path).err().map(|error| complaint(path, &error.to_string()))
    }
}

fn complaint(path: &Path, error: &str) -> String {
    format!("history is not kept: {}: {error}; PBKV_HISTORY names another file", path.display())
}

/// Makes an empty file if there is none, and keeps others from reading it.
fn prepare(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    let mut permissions = metadata.permissions();
    if metadata.is_file() && permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(text: &str) -> Option<OsString> {
        Some(text.into())
    }

    #[test]
    fn the_variable_comes_first_and_an_empty_one_means_none() {
        assert_eq!(path(os("h"), os("/state"), os("/home/x")), Some("h".into()));
        assert_eq!(path(os(""), os("/state"), os("/home/x")), None);
        assert_eq!(path(None, os("/state"), os("/home/x")), Some("/state/pbkv/history".into()));
        let at_home = Some("/home/x/.local/state/pbkv/history".into());
        assert_eq!(path(None, None, os("/home/x")), at_home);
        assert_eq!(path(None, os("relative"), os("/home/x")), at_home);
        assert_eq!(path(None, None, None), None);
    }

    #[test]
    fn entries_are_kept_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/pbkv/history");
        let file = HistoryFile::new(Some(path.clone()));
        let mut history = FileHistory::new();
        assert_eq!(file.load(&mut history), None);
        history.add("put a 'two\nlines'").unwrap();
        assert_eq!(file.append(&mut history), None);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let mut again = FileHistory::new();
        assert_eq!(file.load(&mut again), None);
        assert_eq!(again.iter().collect::<Vec<_>>(), ["put a 'two\nlines'"]);
    }

    #[test]
    fn a_file_that_others_could_read_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        std::fs::write(&path, "get a\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let mut history = FileHistory::new();
        assert_eq!(HistoryFile::new(Some(path.clone())).load(&mut history), None);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(history.len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let told = HistoryFile::new(Some(folder.path().into())).load(&mut FileHistory::new());
        let told = told.unwrap();
        assert!(
            told.starts_with("history is not kept: /") && told.contains("PBKV_HISTORY"),
            "{told}"
        );
        assert_eq!(HistoryFile::new(None).load(&mut FileHistory::new()), None);
    }
}
