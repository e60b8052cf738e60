//! Where the watched folder is to be, and whether it is still the same one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which folder it is, whatever its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FolderIdentity {
    /// The device of its file system.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// Where the folder is to be, and which one.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) resolved: PathBuf,
    pub(super) identity: FolderIdentity,
}

impl Place {
    /// Why the folder is not the one that it was.
    pub(super) fn lost(&self) -> Option<String> {
        let resolved = match fs::canonicalize(&self.path) {
            Ok(resolved) => resolved,
            Err(error) => {
                return Some(format!(
                    "the watched folder {} cannot be found: {error}",
                    self.path.display()
                ));
            }
        };
        if resolved != self.resolved {
            return Some(format!(
                "the watched folder {} leads to {} now, and led to {}: a symbolic link was switched",
                self.path.display(),
                resolved.display(),
                self.resolved.display()
            ));
        }
        let identity = match fs::metadata(&resolved) {
            Ok(metadata) => identity_of(&metadata),
            Err(error) => {
                return Some(format!(
                    "the watched folder {} cannot be read: {error}",
                    resolved.display()
                ));
            }
        };
        if identity == self.identity {
            // Its names can be read, and what is under them (`.` as well) be looked at.
            let readable =
                fs::read_dir(&resolved).and_then(|mut entries| entries.next().transpose());
            let readable = readable.and_then(|_| fs::metadata(resolved.join("./.")));
            return readable.err().map(|error| {
                format!(
                    "the watched folder {} cannot be read: {error}; let its user read and enter it",
                    resolved.display()
                )
            });
        }
        let mounts = if identity.device == self.identity.device {
            "moved and made anew"
        } else {
            "unmounted or mounted over"
        };
        Some(format!(
            "the watched folder {} is another one than at the start ({mounts}; device {} inode {}, was device {} inode {})",
            resolved.display(),
            identity.device,
            identity.inode,
            self.identity.device,
            self.identity.inode
        ))
    }
}

pub(super) fn identity_of(metadata: &fs::Metadata) -> FolderIdentity {
    FolderIdentity { device: metadata.dev(), inode: metadata.ino() }
}
