//! `--if-exists`: what is in the folder already, before a file is sent there.

use super::Shared;
use super::directory::Directory;
use super::reconcile::object_info;
use crate::api::wire::Item;
use crate::error::{Error, Kind};
use crate::plan::Job;
use crate::settings::IfExists;
use crate::work::Work;

/// Looks whether a file of the job's name is there: the item that takes its place, or nothing, when it is to be
/// sent. `size` is `None` for standard input that was not read yet: then only `--if-exists fail` can be decided.
pub(super) async fn look(
    shared: &Shared,
    work: &Work,
    job: &Job,
    directory: &Directory,
    size: Option<u64>,
) -> Result<Option<Item>, Error> {
    if shared.if_exists == IfExists::Upload {
        return Ok(None);
    }
    let (found, certain) = shared.folders.file(work, directory, &job.name, size.unwrap_or(0)).await?;
    let Some(found) = found else {
        // To send it all the same could make a second one, which is what was asked to be avoided.
        return if certain {
            Ok(None)
        } else {
            Err(Error::Unlisted { kind: Kind::File, name: job.name.clone() })
        };
    };
    if shared.if_exists == IfExists::Fail {
        return Err(Error::Exists { name: job.name.clone(), id: found.item.id().to_owned() });
    }
    if size.is_none() {
        return Ok(None);
    }
    let there = match found.size {
        Some(there) => there,
        // The listing need not say. To send it without knowing could make a second item.
        None => object_info(shared, work, found.item.id()).await?.size,
    };
    if size == Some(there) {
        return Ok(Some(found.item));
    }
    work.note("there is one of that name and another size: uploading");
    Ok(None)
}
