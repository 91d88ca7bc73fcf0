//! The files that earlier runs of this command have finished, and whether their items are still in the drive.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::state::{FinishedFile, RunRecord};
use crate::drive::Drive;
use crate::error::Error;
use crate::file_context::FileContext;
use crate::item::Node;
use crate::mutex::lock;

/// The IDs in a folder, as listed.
type Listing = Arc<OnceCell<HashSet<String>>>;

/// The finished files of earlier runs.
pub(super) struct FinishedFiles {
    pub(super) record: Arc<RunRecord>,
    /// Their folders, each listed once.
    listings: Mutex<HashMap<Option<String>, Listing>>,
    /// The user has been told that the disk accepts no more entries.
    warned: AtomicBool,
}

impl FinishedFiles {
    pub(super) fn new(record: Arc<RunRecord>) -> Self {
        Self { record, listings: Mutex::default(), warned: AtomicBool::new(false) }
    }

    /// Whether an item is still in the drive. It may have been moved.
    pub(super) async fn is_there(
        &self,
        drive: &Drive,
        file: &FileContext,
        entry: &FinishedFile,
        id: &str,
    ) -> Result<bool, Error> {
        let listing = {
            let mut listings = lock(&self.listings);
            Arc::clone(listings.entry(entry.parent.clone()).or_default())
        };
        let list = || ids_in(drive, file, entry.parent.as_deref());
        if listing.get_or_try_init(list).await?.contains(id) {
            return Ok(true);
        }
        match drive.item(file, id).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds a file. If the disk rejects it, there is one warning. Blocks on the disk.
    pub(super) fn add(&self, file: &FileContext, finished: &FinishedFile) {
        if let Err(error) = self.record.add(finished)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            file.warn(&format!(
                "finished files cannot be recorded ({error}); after an interruption they are uploaded again"
            ));
        }
    }
}

/// The IDs in a folder, as listed. Empty if there is no such folder.
pub(super) async fn ids_in(
    drive: &Drive,
    file: &FileContext,
    parent: Option<&str>,
) -> Result<HashSet<String>, Error> {
    match drive.folder(file, parent).await {
        Ok(tree) => Ok(tree.root.iter().filter_map(|raw| Node::read(raw).id().map(str::to_owned)).collect()),
        Err(error) if error.is_missing() => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}
