//! Retries GETs of an item's object, with a new download URL for each attempt.

use super::context::Context;
use super::urls;
use crate::dial::TransferError;
use crate::error::{Error, RetryClass};
use crate::file_context::FileContext;
use crate::retry::RetryBudget;
use crate::secret::SignedUrl;
use crate::storage::ObjectInfo;

/// Attempts with download URLs that have expired when they are issued.
const MAX_EXPIRED: u32 = 3;

/// The attempts at one object.
pub(super) struct ObjectAttempts<'a> {
    context: &'a Context,
    file: &'a FileContext,
    id: &'a str,
    budget: RetryBudget,
    /// Failures without progress.
    tries: u32,
    expired: u32,
}

impl<'a> ObjectAttempts<'a> {
    pub(super) fn new(context: &'a Context, file: &'a FileContext, id: &'a str) -> Self {
        Self { context, file, id, budget: RetryBudget::new(context.options.policy), tries: 0, expired: 0 }
    }

    /// A URL for the next attempt.
    /// Fails with errors of the call, and [`Error::urls`].
    pub(super) async fn url(&self) -> Result<SignedUrl, Error> {
        let url = self.context.options.drive.download_url(self.file, self.id).await?;
        urls::check(url.expose(), self.context.options.allow_http).map_err(|what| Error::urls(&what))?;
        Ok(url)
    }

    /// Waits for the next attempt. `progressed`: the failed one has transferred bytes.
    /// Fails with [`Error::Object`] if there must not be another attempt.
    pub(super) async fn wait_after(&mut self, error: TransferError, progressed: bool) -> Result<(), Error> {
        let failure = match error {
            TransferError::Failure(failure) => failure,
            TransferError::Error(error) => return Err(error),
        };
        if progressed {
            self.budget.reset();
            (self.tries, self.expired) = (0, 0);
        }
        self.tries += 1;
        let wait = match failure.class_of_part() {
            RetryClass::Expired if self.expired < MAX_EXPIRED => {
                self.expired += 1;
                self.budget.next_backoff(None)
            }
            RetryClass::Transient => self.budget.next_backoff(failure.retry_after()),
            _ => None,
        };
        let tries = self.tries;
        let Some(wait) = wait else { return Err(Error::Object { failure, tries }) };
        self.file.retry_object(tries, &failure, wait);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Asks storage about an item's object.
/// Fails with errors of the call for the download URL, and [`Error::Object`].
pub(super) async fn object_info(
    context: &Context,
    file: &FileContext,
    id: &str,
) -> Result<ObjectInfo, Error> {
    let mut attempts = ObjectAttempts::new(context, file, id);
    loop {
        let url = attempts.url().await?;
        match context.options.storage.object_info(&url).await {
            Ok(info) => return Ok(info),
            Err(error) => attempts.wait_after(error, false).await?,
        }
    }
}
