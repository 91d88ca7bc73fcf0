//! `--login`: a token is asked for, tried on the service, and saved for later runs.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{self, Drive};
use crate::cli::Cli;
use crate::config::{self, Absent, save, token};
use crate::engine::{Nobody, Stopper};
use crate::environment::Environment;
use crate::error::Error;
use crate::platform;
use crate::report::{self, Event, Reporter};
use crate::retry::Policy;
use crate::secret::Token;
use crate::settings::{self, Login};
use crate::{leave, signals, tls};

/// Where tokens are made: the public guide "Authentication" (university.copera.ai, developer guides).
const WHERE: &str = "Make a personal access token in Copera: Workspace Settings, Integrations, Personal Tokens. \
                     It needs the scope ACCESS_DRIVE.";
/// A person waits at the prompt: the five minutes of an upload would be too long.
const RETRY_FOR: Duration = Duration::from_secs(30);
/// No token is longer.
const TOKEN_MOST: u64 = 64 * 1024;

/// Asks, checks, saves and tells; gives the process's exit code. Nothing is saved unless all went well.
pub fn run(cli: &Cli, env: &Environment) -> u8 {
    let reporter = report::choose(&settings::display(cli));
    let mut warnings = Vec::new();
    let login = settings::login(cli, env, &mut warnings);
    for message in &warnings {
        reporter.event(&Event::Warning { path: None, message });
    }
    let done = login.and_then(|login| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Internal(format!("the runtime did not start: {error}")))?;
        let done = runtime.block_on(with_signals(&login, env, &reporter));
        // A prompt that nobody answers any more is not waited for.
        runtime.shutdown_background();
        done
    });
    let code = match done {
        Ok(()) => 0,
        Err(error) => {
            reporter.event(&Event::Error { path: None, error: &error });
            error.exit_code()
        }
    };
    reporter.clear();
    code
}

async fn with_signals(login: &Login, env: &Environment, reporter: &Arc<dyn Reporter>) -> Result<(), Error> {
    let stopper = Stopper::default();
    signals::listen(stopper.clone(), |signal| leave(signal.exit_code()));
    tokio::select! {
        error = stopper.stopped() => Err(error),
        done = log_in(login, env, reporter) => done,
    }
}

async fn log_in(login: &Login, env: &Environment, reporter: &Arc<dyn Reporter>) -> Result<(), Error> {
    let token = ask(reporter).await?;
    check(login, token.clone(), reporter).await?;
    let api_url = login.save_api_url.then_some(login.account.api_url.as_str());
    let replaced = save::save(&login.file, &save::Login { profile: &login.profile, token: &token, api_url })?;
    tell(login, env, replaced, &**reporter)
}

/// The token, typed or from a pipe.
async fn ask(reporter: &Arc<dyn Reporter>) -> Result<Token, Error> {
    let typed = std::io::stdin().is_terminal();
    let cannot = |error| Error::local("read the token", error);
    // Dropped when a signal ends the question: the terminal shows again what is typed.
    let _silence = if typed {
        reporter.event(&Event::Told { message: WHERE });
        reporter.clear();
        Some(platform::Silence::new().map_err(cannot)?)
    } else {
        None
    };
    let line = tokio::task::spawn_blocking(move || {
        if typed {
            return platform::read_unseen("Token (what you type is not shown): ");
        }
        let mut line = Vec::new();
        std::io::stdin().lock().take(TOKEN_MOST).read_until(b'\n', &mut line)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    });
    let line = line.await.map_err(|error| Error::Internal(format!("the question did not end: {error}")))?;
    let token = Token::new(&line.map_err(cannot)?);
    let wrong = |what: &str, hint| Err(Error::NoDriveToken { what: what.to_owned(), hint });
    if token.is_empty() {
        return wrong(
            "no token was given",
            "type it at the prompt, or pipe it in: copera-upload --login <FILE",
        );
    }
    if token.is_integration_key() {
        return wrong(
            "this is an integration key (cp_key_…): those reach boards and channels, and no drive",
            "make a personal token (cp_pat_…) with the scope ACCESS_DRIVE in Workspace Settings, Integrations, \
             Personal Tokens",
        );
    }
    if !token::fits_a_header(&token) {
        return wrong(
            "what was given has spaces, control characters or non-ASCII characters in it",
            "copy it anew: a personal access token is one word that begins with cp_pat_",
        );
    }
    Ok(token)
}

/// Lists the drive's root: the cheapest call that needs the drive's scope and changes nothing.
async fn check(login: &Login, token: Token, reporter: &Arc<dyn Reporter>) -> Result<(), Error> {
    let account = &login.account;
    let trusted = account.cacert.is_some() || account.api_url.starts_with("https:");
    let options = api::Options {
        url: account.api_url.clone(),
        token,
        tls: trusted.then(|| tls::config(account.cacert.as_deref(), &**reporter)).transpose()?,
        connect_timeout: login.connect_timeout,
        policy: Policy { retry_for: login.retry_for.unwrap_or(RETRY_FOR), max_retries: None },
    };
    let drive = Drive::new(options, Arc::clone(reporter))?;
    drive.folder(&Nobody(&**reporter), None).await.map(drop)
}

/// Says where the token is, and what may come before it.
fn tell(login: &Login, env: &Environment, replaced: bool, reporter: &dyn Reporter) -> Result<(), Error> {
    let (profile, file) = (&login.profile, login.file.display());
    let told = |message: &str| reporter.event(&Event::Told { message });
    let instead = if replaced { ", in the place of another one" } else { "" };
    told(&format!("The token works. It is saved in profile `{profile}` of {file}{instead}."));
    if login.save_api_url {
        told(&format!("The profile's API is {}.", login.account.api_url));
    }
    let only = login.only.as_deref();
    let saved = config::load(only, Some(profile), env, Absent::New)?;
    match token::find(env, &saved)? {
        Some(origin) if origin.place().is_none_or(|place| Path::new(&place.file.shown) != shown(login)) => {
            let first = origin.describe();
            let message = format!("{first} has a token that comes before the saved one");
            reporter.event(&Event::Warning { path: None, message: &message });
        }
        _ => {}
    }
    if saved.profile.token_command.is_some() {
        told("The profile's token_command is not asked any more: a token comes first.");
    }
    let usual = config::load(only, None, env, Absent::New)?.profile_name;
    if usual != *profile {
        told(&format!("It is used with --profile {profile}; without it, profile `{usual}` is."));
    }
    Ok(())
}

/// The file as configuration messages name it.
fn shown(login: &Login) -> &Path {
    login.only.as_deref().unwrap_or(&login.file)
}
