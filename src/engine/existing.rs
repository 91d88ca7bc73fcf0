//! `--if-exists`: looks for an existing file before uploading.

use super::context::Context;
use super::directory::Directory;
use super::reconcile::object_info;
use super::state::TargetLock;
use crate::error::{Error, Kind};
use crate::file_context::FileContext;
use crate::item::Item;
use crate::options::IfExists;
use crate::plan::Job;

/// Looks for a file with the job's name. Returns the item to use instead of uploading, if any. Without `size` (standard
/// input that has not been read), only `--if-exists fail` can be decided.
pub(super) async fn find(
    context: &Context,
    file: &FileContext,
    job: &Job,
    directory: &Directory,
    lock: &TargetLock,
    size: Option<u64>,
) -> Result<Option<Item>, Error> {
    if context.if_exists == IfExists::Upload {
        return Ok(None);
    }
    // An item that this run created or used for another file does not count. For a file that is given twice it does,
    // and may be newer than the listing.
    let same_file = job.twin.as_ref().is_some_and(|twin| twin.same_file);
    let is_stale = |seen| same_file || lock.is_stale(seen);
    let is_candidate = |item: &Item| same_file || !context.is_made_here(item.id());
    let wanted = (job.name.as_str(), size.unwrap_or(0));
    let (found, certain) = context.folders.file(file, directory, wanted, is_stale, is_candidate).await?;
    let Some(found) = found else {
        // Uploading might create a second item, which the user wanted to avoid.
        return if certain {
            Ok(None)
        } else {
            Err(Error::Unlisted { kind: Kind::File, name: job.name.clone() })
        };
    };
    if context.if_exists == IfExists::Fail {
        return Err(Error::Exists { name: job.name.clone(), id: found.item.id().to_owned() });
    }
    if size.is_none() {
        return Ok(None);
    }
    let found_size = match found.size {
        Some(size) => size,
        // The listing does not tell. Uploading without knowing could create a second item.
        None => object_info(context, file, found.item.id()).await?.size,
    };
    if size == Some(found_size) {
        return Ok(Some(found.item));
    }
    file.note("a file with this name and another size exists: uploading");
    Ok(None)
}
