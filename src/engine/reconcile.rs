//! Finds the item that an unclear finalize may have created, and proves that it is ours.
//!
//! A candidate is in the folder, has the name and the size, and was created since the upload was started, by the
//! service's clock. That does not suffice: another file of that name and size may have been uploaded meanwhile. So
//! storage is asked for one byte of the candidate's object, which shows its size and multipart ETag. An item that another
//! upload from this machine created, or may have created, is not ours. An item that an earlier run of this upload recorded
//! as created is ours, whatever its object says.
//!
//! Everything uncertain is [`Error::Unsettled`]. Claiming another's item would report an upload that never happened.
//! Sending finalize again while ours exists would create a second item. So an object whose ETag proves nothing (KMS,
//! customer keys, copied by the service) is neither claimed nor ignored.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::create::look_twice;
use super::object_attempts::object_info;
use super::session::{FileUpload, Session, etag_of_parts};
use super::state::{Creator, Creators, JournalStore, Recorded};
use crate::disk::on_disk;
use crate::error::{Error, chain};
use crate::etag::multipart_etag;
use crate::event::Phase;
use crate::item::{Item, Node};
use crate::plan::Parts;
use crate::storage::ObjectInfo;

/// An item that may be ours, according to a listing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    created_ms: Option<i64>,
    id: String,
    /// An earlier run of this upload recorded it as created.
    recorded: bool,
}

/// What an object's size and ETag say about its content.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Ours,
    Other,
    /// The reason why they say nothing.
    Unknown(&'static str),
}

impl FileUpload {
    /// Looks for the item of a session that may have been finalized. Looks twice, because a call that timed out may still be
    /// running.
    /// Fails with [`Error::Unsettled`] if it is unclear whether there is one.
    pub(super) async fn reconcile(&self, session: &Session) -> Result<Option<Item>, Error> {
        self.file.phase(Phase::Settle);
        look_twice(|| self.look_for_item(session)).await.map_err(|error| match error {
            Error::Unsettled { .. } => error,
            error => Error::Unsettled { what: chain(&error) },
        })
    }

    async fn look_for_item(&self, session: &Session) -> Result<Option<Item>, Error> {
        let candidates = self.candidates(session).await?;
        if candidates.is_empty() {
            return Ok(None);
        }
        if let Some(ours) = candidates.iter().find(|candidate| candidate.recorded) {
            return self.claim(session, &ours.id).await.map(Some);
        }
        let etag = self.multipart_etag(session).await?;
        let (mut ours, mut newest, mut unknown) = (Vec::new(), 0, None);
        for Candidate { id, created_ms, .. } in candidates {
            match (self.content_of(session, &id, &etag).await?, created_ms) {
                (Content::Other, _) => {
                    self.file.note(&format!("item {id} has this name and size, but different content"));
                }
                (Content::Ours, Some(at)) => {
                    newest = newest.max(at);
                    ours.push(id);
                }
                (Content::Ours, None) => {
                    unknown = Some(format!("the service does not say when item {id} was created"));
                }
                (Content::Unknown(why), _) => {
                    unknown = Some(format!("item {id} may be it, but its content cannot be compared: {why}"));
                }
            }
        }
        let claimants = 1 + self.count_rivals(session, newest, etag).await?;
        match (ours.as_slice(), unknown) {
            ([], None) => Ok(None),
            ([], Some(what)) => Err(Error::Unsettled { what }),
            ([id, ..], _) if ours.len() == claimants => self.claim(session, id).await.map(Some),
            (ours, _) if ours.len() < claimants => Err(Error::Unsettled {
                what: format!(
                    "an item with this content exists ({}), but it may be another upload's",
                    ours.join(", ")
                ),
            }),
            (ours, _) => Err(Error::Unsettled {
                what: format!("several items have this name and content: {}", ours.join(", ")),
            }),
        }
    }

    async fn claim(&self, session: &Session, id: &str) -> Result<Item, Error> {
        let item = self.context.options.drive.item(&*self.file, id).await?;
        let (context, claimed, upload) =
            (Arc::clone(&self.context), id.to_owned(), session.started.upload.clone());
        let claimed = on_disk(move || context.ledger.claim(&claimed, &upload)).await;
        if claimed? {
            return Ok(item);
        }
        Err(Error::Unsettled { what: format!("another run has just claimed item {id}") })
    }

    /// In order of creation.
    async fn candidates(&self, session: &Session) -> Result<BTreeSet<Candidate>, Error> {
        let Self { context, file, job, .. } = self;
        let (shared, upload) = (Arc::clone(context), session.started.upload.clone());
        let creators = on_disk(move || shared.ledger.read(&upload)).await?;
        let tree = context.options.drive.folder(&**file, self.parent()).await?;
        let mut found = BTreeSet::new();
        for raw in &tree.root {
            found.extend(self.candidate(session, &Node::read(raw), &creators)?);
        }
        if !tree.truncated {
            return Ok(found);
        }
        let hits = context.options.drive.search(&**file, &job.name).await?;
        let nodes = hits.hits.iter().map(|raw| Node::read(raw));
        for node in nodes.filter(|node| node.parent() == self.parent()) {
            found.extend(self.candidate(session, &node, &creators)?);
        }
        if found.is_empty() && !hits.complete {
            let what = "the service lists neither all of the folder nor all that the search finds".to_owned();
            return Err(Error::Unsettled { what });
        }
        Ok(found)
    }

    /// `None` if it is certainly not ours.
    fn candidate(
        &self,
        session: &Session,
        node: &Node,
        creators: &Creators,
    ) -> Result<Option<Candidate>, Error> {
        // `Date` has whole seconds.
        let since = session.started.started_at.saturating_mul(1000);
        let created_ms = node.created_ms();
        let other = node.is_folder()
            || node.size().is_some_and(|size| size != self.source.size())
            // An item without a name makes the listing incomplete, and the search decides.
            || !node.is_named(&self.job.name)
            || created_ms.is_some_and(|at| at < since)
            || node.id().is_some_and(|id| self.context.is_used_item(id) || creators.creator_of(id) == Creator::Other);
        if other {
            return Ok(None);
        }
        let Some(id) = node.id() else {
            let what = "the folder has an item of this name whose id cannot be read".to_owned();
            return Err(Error::Unsettled { what });
        };
        Ok(Some(Candidate {
            created_ms,
            id: id.to_owned(),
            recorded: creators.creator_of(id) == Creator::ThisUpload,
        }))
    }

    /// Compares an item's object with the file. With `--verify`, an object whose ETag proves nothing is downloaded.
    async fn content_of(&self, session: &Session, id: &str, etag: &str) -> Result<Content, Error> {
        match object_info(&self.context, &self.file, id).await {
            Ok(info) => match classify(&info, self.source.size(), etag) {
                Content::Unknown(_) if self.context.options.verify.is_some() => {
                    let digests = self.download(session.parts, id).await?;
                    let is_ours = multipart_etag(digests.into_iter()) == etag;
                    Ok(if is_ours { Content::Ours } else { Content::Other })
                }
                content => Ok(content),
            },
            // It may have been deleted since it was listed. The next run sees whether it is still listed.
            Err(error) if error.is_missing() => {
                Ok(Content::Unknown("the service lists it but does not find it"))
            }
            Err(error) => Err(error),
        }
    }

    /// Counts other interrupted uploads from this machine that may own one of the candidates, the newest of which was
    /// created at `newest`. `etag` is ours.
    async fn count_rivals(&self, session: &Session, newest: i64, etag: String) -> Result<usize, Error> {
        let (name, size, upload) =
            (self.job.name.clone(), self.source.size(), session.started.upload.clone());
        let (parent, context) = (self.parent().map(str::to_owned), Arc::clone(&self.context));
        on_disk(move || {
            let uploads = context.options.journals.iter().flat_map(JournalStore::unsettled_uploads);
            let rivals = uploads.filter(|recorded| {
                let Recorded { key, started, .. } = recorded;
                (&key.api, &key.parent, &key.name) == (&context.options.api, &parent, &name)
                    && started.identity.size == size
                    && started.upload != upload
                    && started.started_at.saturating_mul(1000) <= newest
                    && etag_of(recorded).is_none_or(|theirs| theirs == etag)
            });
            rivals.count()
        })
        .await
    }
}

/// The ETag of an object made of a record's parts, if all their checksums are on record.
fn etag_of(Recorded { started, parts: finished, .. }: &Recorded) -> Option<String> {
    etag_of_parts(Parts::plan(started.identity.size, Some(started.part_size)).ok()?, finished)
}

/// Compares an object with a file of `size` bytes. `expected` is the ETag that its parts would give.
fn classify(info: &ObjectInfo, size: u64, expected: &str) -> Content {
    if info.size != size {
        return Content::Other;
    }
    if size == 0 {
        return Content::Ours;
    }
    if info.encrypted {
        return Content::Unknown("it is encrypted, so its ETag is no checksum");
    }
    let Some(etag) = &info.etag else { return Content::Unknown("it has no ETag") };
    let etag = etag.to_ascii_lowercase();
    if etag == expected {
        return Content::Ours;
    }
    // With the same number of parts it is the same kind of checksum. Otherwise the service may have made a copy.
    let kind = |etag: &str| etag.split_once('-').map(|(md5, count)| (md5.len(), count.to_owned()));
    let is_md5 = etag.bytes().take_while(u8::is_ascii_hexdigit).count() == 32;
    if is_md5 && kind(&etag) == kind(expected) {
        return Content::Other;
    }
    Content::Unknown("its ETag has another form than that of an upload of these parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "62109206880d38a4010a98e11243924a-2";

    fn info(size: u64, etag: &str) -> ObjectInfo {
        ObjectInfo { size, etag: Some(etag.to_owned()), encrypted: false }
    }

    #[test]
    fn an_object_is_ours_if_its_size_and_multipart_etag_match() {
        assert_eq!(classify(&info(7, OURS), 7, OURS), Content::Ours);
        assert_eq!(classify(&info(7, &OURS.to_uppercase()), 7, OURS), Content::Ours);
        assert_eq!(classify(&info(8, OURS), 7, OURS), Content::Other);
        assert_eq!(classify(&info(7, "00000000000000000000000000000000-2"), 7, OURS), Content::Other);
    }

    #[test]
    fn an_etag_of_another_kind_proves_nothing() {
        for etag in [
            "00000000000000000000000000000000-3",
            "00000000000000000000000000000000",
            "0000000000000000000000000000000g-2",
            "0-2",
            "-2",
            "",
        ] {
            let content = classify(&info(7, etag), 7, OURS);
            assert!(matches!(content, Content::Unknown(_)), "{etag}: {content:?}");
        }
        let none = ObjectInfo { etag: None, ..info(7, "") };
        let encrypted = ObjectInfo { encrypted: true, ..info(7, OURS) };
        for (info, expected) in [(&none, OURS), (&encrypted, OURS), (&info(7, OURS), "")] {
            assert!(matches!(classify(info, 7, expected), Content::Unknown(_)), "{info:?}");
        }
    }

    #[test]
    fn empty_objects_are_equal_whatever_their_etags() {
        let empty = ObjectInfo { size: 0, etag: None, encrypted: false };
        assert_eq!(classify(&empty, 0, ""), Content::Ours);
        assert_eq!(classify(&info(1, OURS), 0, OURS), Content::Other);
        assert_eq!(classify(&empty, 7, OURS), Content::Other);
    }
}
