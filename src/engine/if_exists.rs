//! `--if-exists`: looks for an existing file before uploading.

use super::context::Context;
use super::directory::{Directory, FoundFile};
use super::object_attempts::object_info;
use super::state::TargetLock;
use crate::error::{Code, Error};
use crate::file_context::FileContext;
use crate::item::Item;
use crate::options::IfExists;
use crate::plan::Job;
use crate::source::Source;

/// Looks for a file with the job's name. Returns the item to use instead of uploading, if any. Without `source`
/// (standard input that has not been read), only `--if-exists fail` can be decided.
pub(super) async fn find(
    context: &Context,
    file: &FileContext,
    job: &Job,
    directory: &Directory,
    lock: &TargetLock,
    source: Option<&Source>,
) -> Result<Option<Item>, Error> {
    if context.options.if_exists == IfExists::Upload {
        return Ok(None);
    }
    // An item that this run created or used for another file does not count. If the same file is given twice it does, and
    // may be newer than the listing.
    let same_file = job.duplicate.as_ref().is_some_and(|duplicate| duplicate.same_file);
    let is_stale = |snapshot| same_file || lock.is_stale(snapshot);
    // An item that `--verify` found to be wrong has the name, but is not the file.
    let is_wrong = |found: &FoundFile| {
        context.options.if_exists != IfExists::Fail && context.ledger.is_wrong(found.item.id())
    };
    let is_candidate =
        |found: &FoundFile| (same_file || !context.is_used_item(found.item.id())) && !is_wrong(found);
    // The newest file may not be listed.
    let listed_suffice = |listed: &[FoundFile]| {
        context.options.if_exists != IfExists::Newer && listed.iter().any(is_candidate)
    };
    let (mut found, is_all) =
        context.folders.files(file, directory, &job.name, is_stale, listed_suffice).await?;
    if let Some(wrong) = found.iter().find(|found| is_wrong(found)) {
        file.warn(&format!(
            "item {} has this name, but an earlier run found that its content is wrong: delete that item",
            wrong.item.id()
        ));
    }
    found.retain(is_candidate);
    if !is_all && (found.is_empty() || context.options.if_exists == IfExists::Newer) {
        // An upload could create a second item, which the user wants to avoid.
        return Err(Error::with_hint(
            Code::Conflict,
            format!(
                "cannot tell whether a file named `{}` already exists: the service does not list the whole folder",
                job.name
            ),
            "--if-exists upload sends it all the same; a folder of fewer than 500 items can be listed whole",
        ));
    }
    let wanted = source.map(Source::size);
    let best = match context.options.if_exists {
        IfExists::Newer => found.iter().max_by_key(|found| found.created_ms),
        _ => found.iter().find(|found| found.size == wanted).or(found.first()),
    };
    let Some(best) = best else { return Ok(None) };
    if context.options.if_exists == IfExists::Fail {
        return Err(Error::with_hint(
            Code::Conflict,
            format!("a file named `{}` already exists (id {})", job.name, best.item.id()),
            "--if-exists skip accepts one of the same size; --if-exists upload creates another",
        ));
    }
    let Some(source) = source else { return Ok(None) };
    let size = match best.size {
        Some(size) => size,
        // The listing has no size. An upload could create a second item.
        None => object_info(context, file, best.item.id()).await?.size,
    };
    let why = if size != source.size() {
        "a file with this name and another size exists"
    } else if context.options.if_exists == IfExists::Newer && is_newer(context, source, best) {
        "it was modified after the newest file with this name was created"
    } else {
        return Ok(Some(best.item.clone()));
    };
    file.note(&format!("{why}: uploading"));
    Ok(None)
}

/// Whether the file was modified after the item was created. If the item has no creation time, it counts as modified, so
/// that no update is lost.
fn is_newer(context: &Context, source: &Source, found: &FoundFile) -> bool {
    let modified = i64::try_from(source.identity().mtime.div_euclid(1_000_000)).unwrap_or(i64::MAX);
    found.created_ms.is_none_or(|created| context.options.drive.to_service_clock(modified) > created)
}
