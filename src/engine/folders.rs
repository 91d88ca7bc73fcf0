//! Finds or creates the folders of files, each once and when the first file needs it. Independent folders are handled in
//! parallel.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::create::{CreateError, Created, Creation, create, look_twice};
use super::directory::{Contents, Directory, FoundFile, FoundFolder};
use super::keyed_mutex::KeyedMutex;
use super::state::{Peers, Snapshot};
use crate::disk::on_disk;
use crate::drive::wire::{NewFolder, Tree};
use crate::drive::{Drive, RetryObserver};
use crate::error::{Call, Code, Error, Failure, Kind};
use crate::event::{Event, Reporter};
use crate::file_context::GlobalObserver;
use crate::item::{Item, Node};
use crate::mutex::lock;
use crate::plan::{Folder, Parent};
use crate::retry::RetryPolicy;

/// Unused folders to remember. A full one takes about 200 KiB.
const RECENT: usize = 32;

/// All folders of a run.
pub(super) struct Folders {
    drive: Arc<Drive>,
    peers: Arc<Peers>,
    policy: RetryPolicy,
    reporter: Arc<dyn Reporter>,
    /// Whether to remember the files in them too.
    with_files: bool,
    /// The target folders given by the user.
    given: Mutex<HashMap<Option<String>, Arc<Directory>>>,
    /// The folders used last. The walk continues in them, so their listings should not be requested again.
    recent: Mutex<VecDeque<Arc<Directory>>>,
    /// Locks a name in a folder while it is looked up or created.
    creating: KeyedMutex<(Option<String>, String)>,
}

impl Folders {
    /// Knows no folder yet.
    pub(super) fn new(
        drive: Arc<Drive>,
        peers: Arc<Peers>,
        policy: RetryPolicy,
        reporter: Arc<dyn Reporter>,
        with_files: bool,
    ) -> Self {
        Self {
            drive,
            peers,
            policy,
            reporter,
            with_files,
            given: Mutex::default(),
            recent: Mutex::default(),
            creating: KeyedMutex::default(),
        }
    }

    /// Returns the folder, creating it if necessary.
    /// Fails with [`Error::Folder`] if it or one of its parents does not exist and cannot be created.
    pub(super) async fn find(&self, parent: &Parent) -> Result<Arc<Directory>, Error> {
        let (mut missing, mut at) = (Vec::new(), parent);
        let given = loop {
            match at {
                Parent::Existing(id) => break id,
                Parent::New(folder) => {
                    missing.push(folder);
                    at = &folder.parent;
                }
            }
        };
        let mut directory = self.given(given);
        while let Some(folder) = missing.pop() {
            directory = self
                .subfolder(&directory, folder)
                .await
                .map_err(|error| Error::Folder { path: folder.shown.clone(), error })?;
        }
        Ok(directory)
    }

    /// The folder, if it has been found or created before.
    pub(super) async fn known(&self, parent: &Parent) -> Option<Arc<Directory>> {
        match parent {
            Parent::Existing(id) => Some(self.given(id)),
            Parent::New(folder) => {
                let above = Box::pin(self.known(&folder.parent)).await?;
                above.child(&folder.name, |id| self.warn_ambiguous(folder, id)).await?.ok()
            }
        }
    }

    fn warn_ambiguous(&self, folder: &Folder, id: &str) {
        let message = &format!("several folders are named `{}`; using the oldest (id {id})", folder.name);
        self.reporter.event(&Event::Warning { path: Some(&folder.shown), message });
    }

    fn given(&self, id: &Option<String>) -> Arc<Directory> {
        let mut given = lock(&self.given);
        let directory = given
            .entry(id.clone())
            .or_insert_with(|| Directory::new(id.clone(), None, self.with_files, None));
        Arc::clone(directory)
    }

    async fn subfolder(
        &self,
        directory: &Arc<Directory>,
        folder: &Folder,
    ) -> Result<Arc<Directory>, Arc<Error>> {
        let warn = |id: &str| self.warn_ambiguous(folder, id);
        if let Some(known) = directory.child(&folder.name, warn).await {
            return known;
        }
        let _guard = self.creating.lock((directory.id.clone(), folder.name.clone())).await;
        let observer = GlobalObserver(&*self.reporter);
        let read = |contents: &mut Contents| (contents.truncated, contents.snapshot);
        let (truncated, snapshot) =
            directory.contents(&self.drive, &self.peers, &observer, |_| false, read).await?;
        if let Some(known) = directory.child(&folder.name, warn).await {
            return known;
        }
        if let Some(warning) = &folder.warning {
            self.reporter.event(&Event::Warning { path: Some(&folder.shown), message: warning });
        }
        // Other runs on this machine may be about to create it too.
        let parent = directory.id.as_deref();
        let target = self.peers.target(Kind::Folder, parent, &folder.name);
        let mut target_lock = self.peers.lock_folder(target, &folder.shown, &*self.reporter).await?;
        let child = NewChild { folders: self, observer, parent, name: &folder.name };
        let found = match (target_lock.is_stale(snapshot), truncated) {
            (true, _) => child.find().await,
            (false, true) => child.search().await,
            (false, false) => Ok(None),
        };
        let result = match found {
            Ok(Some(found)) => {
                if found.is_ambiguous {
                    warn(&found.id);
                }
                Ok((found.id, None))
            }
            Ok(None) => {
                target_lock.note_may_create();
                child.create().await.map(|(id, made)| (id, made.then_some(target_lock.snapshot)))
            }
            Err(error) => Err(error),
        };
        // Dropping the target_lock writes to the disk.
        on_disk(move || drop(target_lock)).await?;
        let child = directory.note_child(&folder.name, result).await?;
        let mut recent = lock(&self.recent);
        recent.push_back(Arc::clone(&child));
        if recent.len() > RECENT {
            recent.pop_front();
        }
        Ok(child)
    }

    /// Checks that a folder can be listed.
    pub(super) async fn check(
        &self,
        observer: &dyn RetryObserver,
        directory: &Directory,
    ) -> Result<(), Error> {
        directory.contents(&self.drive, &self.peers, observer, |_| false, |_| ()).await.map_err(Error::Shared)
    }

    /// Returns the files of this name, and whether these are all. A listing that `is_stale` is requested again. If the folder
    /// is longer than the listing, the rest is searched unless `listed_suffice`.
    pub(super) async fn files(
        &self,
        observer: &dyn RetryObserver,
        directory: &Directory,
        name: &str,
        is_stale: impl FnOnce(Snapshot) -> bool,
        listed_suffice: impl FnOnce(&[FoundFile]) -> bool,
    ) -> Result<(Vec<FoundFile>, bool), Error> {
        let select = |contents: &mut Contents| (contents.files_named(name).to_vec(), contents.truncated);
        let (mut found, truncated) = directory
            .contents(&self.drive, &self.peers, observer, is_stale, select)
            .await
            .map_err(Error::Shared)?;
        if !truncated || listed_suffice(&found) {
            return Ok((found, true));
        }
        let hits = self.drive.search(observer, name).await?;
        for raw in &hits.hits {
            let node = Node::read(raw);
            let is_it = !node.is_folder() && node.is_named(name) && node.parent() == directory.id.as_deref();
            if is_it && !found.iter().any(|known| node.id() == Some(known.item.id())) {
                found.extend(FoundFile::read(raw, &node));
            }
        }
        Ok((found, hits.complete))
    }
}

/// The name and parent of a folder to create.
struct NewChild<'a> {
    folders: &'a Folders,
    observer: GlobalObserver<'a>,
    parent: Option<&'a str>,
    name: &'a str,
}

impl Creation for NewChild<'_> {
    const CALL: Call = Call::Folder;
    type Found = FoundFolder;

    async fn attempt(&self, _unclear: bool) -> Result<Result<Item, Failure>, Error> {
        let request = NewFolder { name: self.name, parent_id: self.parent };
        Ok(self.folders.drive.create_folder(&request).await)
    }

    async fn reconcile(&self, _: &Failure) -> Result<Option<FoundFolder>, Error> {
        look_twice(|| self.find()).await
    }

    fn may_exist(&self, failure: &Failure) -> bool {
        failure.status() == Some(409)
    }
}

impl NewChild<'_> {
    /// Creates the folder. `true` if this call created it.
    async fn create(&self) -> Result<(String, bool), Error> {
        let Folders { drive, policy, .. } = self.folders;
        let permit = drive.breaker(Call::Folder).acquire().await;
        let permit = permit.map_err(|failure| Error::CircuitOpen { failure })?;
        match create(self, drive, permit, *policy, &self.observer, false).await {
            Ok(Created::New(item)) => {
                self.folders.reporter.event(&Event::FolderCreated);
                Ok((item.id().to_owned(), true))
            }
            Ok(Created::Found(found)) => Ok((found.id, false)),
            Err(CreateError::Failed { failure, tries, .. }) => {
                Err(Error::Call { call: Call::Folder, failure, tries })
            }
            Err(CreateError::Error(error)) => Err(error),
        }
    }

    async fn find(&self) -> Result<Option<FoundFolder>, Error> {
        let Tree { root, truncated } = self.folders.drive.folder(&self.observer, self.parent).await?;
        let nodes: Vec<Node> = root.iter().map(|raw| Node::read(raw)).collect();
        let found = FoundFolder::oldest_named(nodes.iter(), self.name);
        if found.is_none() && truncated { self.search().await } else { Ok(found) }
    }

    /// Searches for it. Needed if the folder is longer than the listing.
    async fn search(&self) -> Result<Option<FoundFolder>, Error> {
        let hits = self.folders.drive.search(&self.observer, self.name).await?;
        let nodes: Vec<Node> = hits.hits.iter().map(|raw| Node::read(raw)).collect();
        let here = nodes.iter().filter(|node| node.parent() == self.parent);
        let found = FoundFolder::oldest_named(here, self.name);
        if found.is_none() && !hits.complete {
            // It may be among those that are not listed, and must not be created twice.
            return Err(Error::with_hint(
                Code::Refused,
                format!(
                    "cannot tell whether a folder named `{}` already exists: the service does not list the whole folder",
                    self.name
                ),
                "upload into that folder itself, by its id with --parent",
            ));
        }
        Ok(found)
    }
}
