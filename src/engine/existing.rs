//! `--if-exists`: what is in the folder already, before a file is sent there.

use super::context::Context;
use super::directory::Directory;
use super::peers::TargetLock;
use super::reconcile::object_info;
use crate::error::{Error, Kind};
use crate::file_context::FileContext;
use crate::item::Item;
use crate::options::IfExists;
use crate::plan::Job;

/// Looks whether a file of the job's name is there: the item that takes its place, or nothing, when it is to be
/// sent. `size` is `None` for standard input that was not read yet: then only `--if-exists fail` can be decided.
pub(super) async fn look(
    context: &Context,
    file: &FileContext,
    job: &Job,
    directory: &Directory,
    taken: &TargetLock,
    size: Option<u64>,
) -> Result<Option<Item>, Error> {
    if context.if_exists == IfExists::Upload {
        return Ok(None);
    }
    // What this run made, or found for another of its files, is not there already. For a file that is given twice it
    // is, and may be newer than the listing.
    let same_file = job.twin.as_ref().is_some_and(|twin| twin.same_file);
    let is_stale = |seen| same_file || taken.is_stale(seen);
    let is_candidate = |item: &Item| same_file || !context.is_made_here(item.id());
    let wanted = (job.name.as_str(), size.unwrap_or(0));
    let (found, certain) = context.folders.file(file, directory, wanted, is_stale, is_candidate).await?;
    let Some(found) = found else {
        // To send it all the same could make a second one, which is what was asked to be avoided.
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
    let there = match found.size {
        Some(there) => there,
        // The listing need not say. To send it without knowing could make a second item.
        None => object_info(context, file, found.item.id()).await?.size,
    };
    if size == Some(there) {
        return Ok(Some(found.item));
    }
    file.note("there is one of that name and another size: uploading");
    Ok(None)
}
