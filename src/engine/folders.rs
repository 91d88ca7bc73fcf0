//! Finds or creates the folders of files: each once, by whoever asks first. Independent folders are handled in
//! parallel.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;

use super::create_outcome::{CreateOutcome, LOOK_AGAIN};
use super::directory::{Contents, Directory, Found};
use super::keyed_lock::KeyedMutex;
use super::peers::{Peers, Snapshot};
use crate::disk::on_disk;
use crate::drive::wire::{NewFolder, Tree};
use crate::drive::{Drive, RetryObserver};
use crate::error::{Call, Error, Kind};
use crate::event::{Event, Reporter};
use crate::file_context::GlobalObserver;
use crate::item::{Item, Node};
use crate::plan::{Folder, Parent};
use crate::retry::{RetryBudget, RetryPolicy};

/// Unused folders to remember. A full one takes about 200 KiB.
const RECENT: usize = 32;

/// All folders of a run.
pub(super) struct Folders {
    drive: Arc<Drive>,
    peers: Arc<Peers>,
    policy: RetryPolicy,
    reporter: Arc<dyn Reporter>,
    /// Whether the files in them matter.
    with_files: bool,
    /// The target folders given by the user.
    given: Mutex<HashMap<Option<String>, Arc<Directory>>>,
    /// The most recently used folders. The walk continues in them, and their listings need not be requested again.
    recent: Mutex<VecDeque<Arc<Directory>>>,
    /// One at a time for each name in each folder.
    turns: KeyedMutex<(Option<String>, String)>,
}

impl Folders {
    /// No folder is known yet.
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
            turns: KeyedMutex::default(),
        }
    }

    /// Returns the folder, creating it if necessary.
    /// # Errors
    /// [`Error::Folder`] if it, or one above it, does not exist and cannot be created.
    pub(super) async fn find(&self, place: &Parent) -> Result<Arc<Directory>, Error> {
        let (mut way, mut at) = (Vec::new(), place);
        let given = loop {
            match at {
                Parent::Existing(id) => break id,
                Parent::New(folder) => {
                    way.push(folder);
                    at = &folder.above;
                }
            }
        };
        let mut directory = self.given(given);
        while let Some(folder) = way.pop() {
            directory = self
                .below(&directory, folder)
                .await
                .map_err(|error| Error::Folder { path: folder.shown.clone(), error })?;
        }
        Ok(directory)
    }

    fn given(&self, id: &Option<String>) -> Arc<Directory> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let directory =
            given.entry(id.clone()).or_insert_with(|| Directory::new(id.clone(), None, self.with_files));
        Arc::clone(directory)
    }

    async fn below(&self, directory: &Arc<Directory>, folder: &Folder) -> Result<Arc<Directory>, Arc<Error>> {
        if let Some(known) = directory.child(&folder.name).await {
            return known;
        }
        let _turn = self.turns.lock((directory.id.clone(), folder.name.clone())).await;
        let voice = GlobalObserver(&*self.reporter);
        let (truncated, seen) = directory
            .contents(
                &self.drive,
                &self.peers,
                &voice,
                |_| false,
                |contents| (contents.truncated, contents.seen),
            )
            .await?;
        if let Some(known) = directory.child(&folder.name).await {
            return known;
        }
        if let Some(warning) = &folder.warning {
            self.reporter.event(&Event::Warning { path: Some(&folder.shown), message: warning });
        }
        // Other runs on this machine may be about to create it too.
        let parent = directory.id.as_deref();
        let target = self.peers.target(Kind::Folder, parent, &folder.name);
        let mut taken = self.peers.lock_folder(&target, &folder.shown, &*self.reporter).await?;
        let place = Spot { folders: self, voice, parent, name: &folder.name };
        let found = match (taken.is_stale(seen), truncated) {
            (true, _) => place.look().await,
            (false, true) => place.search().await,
            (false, false) => Ok(None),
        };
        let result = match found {
            Ok(Some(id)) => Ok((id, None)),
            Ok(None) => {
                taken.begin();
                place.make().await.map(|(id, made)| (id, made.then_some(taken.seen)))
            }
            Err(error) => Err(error),
        };
        // Tells other runs, on disk.
        on_disk(move || drop(taken)).await?;
        let child = directory.note_child(&folder.name, result).await?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(Arc::clone(&child));
        if recent.len() > RECENT {
            recent.pop_front();
        }
        Ok(child)
    }

    /// Checks that a folder can be listed.
    /// # Errors
    /// Those of the call.
    pub(super) async fn check(&self, caller: &dyn RetryObserver, directory: &Directory) -> Result<(), Error> {
        directory.contents(&self.drive, &self.peers, caller, |_| false, |_| ()).await.map_err(Error::Shared)
    }

    /// Returns a file of this name, preferably with this size, among those that `is_candidate` accepts. `Ok(None)` is
    /// certain only if the `bool` is true. A listing that `is_stale` is requested again.
    /// # Errors
    /// Those of the calls.
    pub(super) async fn file(
        &self,
        caller: &dyn RetryObserver,
        directory: &Directory,
        (name, size): (&str, u64),
        is_stale: impl FnOnce(Snapshot) -> bool,
        is_candidate: impl Fn(&Item) -> bool,
    ) -> Result<(Option<Found>, bool), Error> {
        let look = |files: &[Found]| {
            let mut best = files.iter().filter(|file| is_candidate(&file.item));
            let first = best.clone().next();
            let best = best.find(|file| file.size == Some(size)).or(first);
            best.map(|file| Found { size: file.size, item: file.item.clone() })
        };
        let look_into = |contents: &mut Contents| (look(contents.files_called(name)), contents.truncated);
        let (found, truncated) = directory
            .contents(&self.drive, &self.peers, caller, is_stale, look_into)
            .await
            .map_err(Error::Shared)?;
        if found.is_some() || !truncated {
            return Ok((found, true));
        }
        let hits = self.drive.search(caller, name).await?;
        let here = |raw: &RawValue| {
            let node = Node::read(raw);
            let is_it = !node.is_folder() && node.is_called(name) && node.parent() == directory.id.as_deref();
            is_it.then(|| Found::read(raw, &node)).flatten()
        };
        let files: Vec<Found> = hits.hits.iter().filter_map(|raw| here(raw)).collect();
        let found = look(&files);
        let certain = found.is_some() || hits.complete;
        Ok((found, certain))
    }
}

/// The name and parent of a folder to create.
struct Spot<'a> {
    folders: &'a Folders,
    voice: GlobalObserver<'a>,
    parent: Option<&'a str>,
    name: &'a str,
}

impl Spot<'_> {
    /// Creates the folder. `true` if this call created it.
    async fn make(&self) -> Result<(String, bool), Error> {
        let drive = &self.folders.drive;
        let request = NewFolder { name: self.name, parent_id: self.parent };
        let policy = self.folders.policy;
        let turn = drive.breaker(Call::Folder).acquire().await;
        let turn = turn.map_err(|failure| Error::CircuitOpen { failure })?;
        let mut patience = RetryBudget::new(policy);
        loop {
            let others = drive.answered();
            let answer = drive.make_folder(&request).await;
            if matches!(&answer, Err(failure) if failure.status() == Some(429)) && drive.answered() > others {
                // Others succeeded meanwhile: this call only has to wait.
                patience.reset();
            }
            let failure = match CreateOutcome::of(Call::Folder, answer) {
                CreateOutcome::Created(item) => return Ok((item.id().to_owned(), true)),
                CreateOutcome::NotSent(failure) => failure,
                CreateOutcome::Rejected(failure) => {
                    // Another client may have created it.
                    let there = if failure.status() == Some(409) { self.settle().await? } else { None };
                    let tries = patience.attempts() + 1;
                    return there.map(|id| (id, false)).ok_or(Error::Call {
                        call: Call::Folder,
                        failure,
                        tries,
                    });
                }
                CreateOutcome::Unknown(failure) => match self.settle().await? {
                    Some(id) => return Ok((id, false)),
                    None => failure,
                },
            };
            let tries = patience.attempts() + 1;
            let Some(wait) = turn.next_backoff(&mut patience, &failure) else {
                return Err(Error::Call { call: Call::Folder, failure, tries });
            };
            self.voice.retry(Call::Folder, tries, &failure, wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// Looks for a folder that an unanswered call may have created.
    async fn settle(&self) -> Result<Option<String>, Error> {
        match self.look().await? {
            None => {
                tokio::time::sleep(LOOK_AGAIN).await;
                self.look().await
            }
            found => Ok(found),
        }
    }

    async fn look(&self) -> Result<Option<String>, Error> {
        let Tree { root, truncated } = self.folders.drive.folder(&self.voice, self.parent).await?;
        let found = root.iter().find_map(|raw| self.is_it(&Node::read(raw)));
        if found.is_none() && truncated { self.search().await } else { Ok(found) }
    }

    /// Searches for it, if the folder is longer than the service lists.
    async fn search(&self) -> Result<Option<String>, Error> {
        let hits = self.folders.drive.search(&self.voice, self.name).await?;
        let nodes = hits.hits.iter().map(|raw| Node::read(raw));
        let found = nodes.filter(|node| node.parent() == self.parent).find_map(|node| self.is_it(&node));
        if found.is_none() && !hits.complete {
            // It may be one of those not listed, and must not be created twice.
            return Err(Error::Unlisted { kind: Kind::Folder, name: self.name.to_owned() });
        }
        Ok(found)
    }

    fn is_it(&self, node: &Node) -> Option<String> {
        (node.is_folder() && node.is_called(self.name)).then(|| node.id().map(str::to_owned)).flatten()
    }
}
