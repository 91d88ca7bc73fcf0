//! The way to a file's folder: each is found, or made, once, whoever asks for it first; folders that do not
//! depend on each other side by side.

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

/// Folders remembered though nobody works in them at the moment. A full one takes some 200 KiB.
const RECENT: usize = 32;

/// All folders of a run.
pub(super) struct Folders {
    drive: Arc<Drive>,
    peers: Arc<Peers>,
    policy: RetryPolicy,
    reporter: Arc<dyn Reporter>,
    /// Whether it matters which files are in them.
    with_files: bool,
    /// The targets: one, when a command line is behind it.
    given: Mutex<HashMap<Option<String>, Arc<Directory>>>,
    /// The last ones that were come to: the walk goes on into them, and what is known of them is not asked for
    /// again.
    recent: Mutex<VecDeque<Arc<Directory>>>,
    /// One at a time for each name in each folder.
    turns: KeyedMutex<(Option<String>, String)>,
}

impl Folders {
    /// None known yet.
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

    /// The folder at a place.
    ///
    /// # Errors
    /// [`Error::Folder`]: it, or one above it, is not there and could not be made.
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
        // Other runs on this machine may be about to make it too.
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
        // What other runs are told is written to the disk.
        on_disk(move || drop(taken)).await?;
        let child = directory.note_child(&folder.name, result).await?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(Arc::clone(&child));
        if recent.len() > RECENT {
            recent.pop_front();
        }
        Ok(child)
    }

    /// Whether a folder can be looked into at all.
    ///
    /// # Errors
    /// Those of the call.
    pub(super) async fn check(&self, caller: &dyn RetryObserver, directory: &Directory) -> Result<(), Error> {
        directory.contents(&self.drive, &self.peers, caller, |_| false, |_| ()).await.map_err(Error::Shared)
    }

    /// A file of this name in a folder, preferably of this size, out of those that come into question. `Ok(None)` is
    /// certain only if the `bool` is. A listing that `is_stale` is not relied on.
    ///
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

/// Where one folder is to be.
struct Spot<'a> {
    folders: &'a Folders,
    voice: GlobalObserver<'a>,
    parent: Option<&'a str>,
    name: &'a str,
}

impl Spot<'_> {
    /// Has the folder made; `true` if it was this call that made it.
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
                // Others got through meanwhile: it is only not this call's turn.
                patience.reset();
            }
            let failure = match CreateOutcome::of(Call::Folder, answer) {
                CreateOutcome::Created(item) => return Ok((item.id().to_owned(), true)),
                CreateOutcome::NotSent(failure) => failure,
                CreateOutcome::Rejected(failure) => {
                    // Somebody else may have been quicker.
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

    /// Looks for what a call without an answer may have made.
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

    /// Looks for it in a folder that is longer than the service lists.
    async fn search(&self) -> Result<Option<String>, Error> {
        let hits = self.folders.drive.search(&self.voice, self.name).await?;
        let nodes = hits.hits.iter().map(|raw| Node::read(raw));
        let found = nodes.filter(|node| node.parent() == self.parent).find_map(|node| self.is_it(&node));
        if found.is_none() && !hits.complete {
            // It may be among those that were not told of, and must not be made twice.
            return Err(Error::Unlisted { kind: Kind::Folder, name: self.name.to_owned() });
        }
        Ok(found)
    }

    fn is_it(&self, node: &Node) -> Option<String> {
        (node.is_folder() && node.is_called(self.name)).then(|| node.id().map(str::to_owned)).flatten()
    }
}
