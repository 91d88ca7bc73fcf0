//! `--login`: ask for a token, check it against the service, save it in the configuration. Nothing is saved
//! before the service has taken the token, and nothing is asked for before it is known where it would be sent
//! and saved.

mod ask;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::Cli;
use crate::config::save::{Entry, Target};
use crate::config::token::{self, Origin};
use crate::config::{self, Config, DEFAULT_PROFILE, ForLogin, api_url};
use crate::dial::{Connector, Trust};
use crate::drive::{self, Drive};
use crate::engine::Stopper;
use crate::environment::{self, Environment};
use crate::error::Error;
use crate::event::{Event, Reporter};
use crate::file_context::GlobalObserver;
use crate::proxy::Proxies;
use crate::secret::Token;
use crate::settings::{self, api_url_of};
use crate::{signals, tls};

/// How long a service that cannot be reached is tried, unless `--retry-for` says so: somebody waits.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// What is going to be done, before anybody is asked.
struct Plan<'a> {
    cli: &'a Cli,
    env: &'a Environment,
    /// The one configuration file that counts, if one was named.
    only: Option<&'a Path>,
    config: Config,
    /// The file that is written.
    target: Target,
    /// The API that checks the token.
    api_url: String,
    /// Without it in the profile, the token would be sent to another API.
    saves_url: bool,
    /// The profile of a run that names none.
    usual: String,
    /// The profile becomes the default one.
    becomes_default: bool,
}

impl<'a> Plan<'a> {
    fn new(cli: &'a Cli, env: &'a Environment, reporter: &dyn Reporter) -> Result<Self, Error> {
        let asked = settings::not_empty(cli.profile.clone(), "--profile")?;
        let only = cli.config.as_deref().or_else(|| environment::set(&env.config).map(Path::new));
        let ForLogin { config, own, usual, is_first, file } =
            config::load_for_login(only, asked.as_deref(), env)?;
        let target = Target::new(file)?;
        let mut sources = settings::Sources::default();
        let (api_url, place) =
            api_url_of(cli.api_url.as_deref(), cli.allow_http, env, &config, &mut sources)?;
        if let Some(place) = place {
            // Whoever types a token does not see which file says where it goes.
            api_url::check_token_origin(&api_url, &place, None)?;
        }
        sources.0.iter().for_each(|message| reporter.event(&Event::Verbose { message }));
        // What the user's files say by themselves, in every directory and without any variable.
        let later = match own.profile.api_url().or(own.base_url.clone()) {
            Some(set) => api_url::normalize(&set.value, &set.location.to_string(), true)?,
            None => api_url::DEFAULT.to_owned(),
        };
        let becomes_default = is_first && config.profile_name != DEFAULT_PROFILE;
        let saves_url = later != api_url;
        Ok(Self { cli, env, only, config, target, api_url, saves_url, usual, becomes_default })
    }

    fn profile(&self) -> &str {
        &self.config.profile_name
    }

    fn drive(&self, token: &Token, reporter: &Arc<dyn Reporter>) -> Result<Drive, Error> {
        let cli = self.cli;
        let mut warnings = Vec::new();
        let proxies = Proxies::resolve(&self.env.proxies, &mut warnings);
        for message in &warnings {
            reporter.event(&Event::Warning { path: None, message });
        }
        let mut transfer = cli.transfer.clone();
        transfer.connect_timeout = transfer.connect_timeout.or(self.config.profile.transfer.connect_timeout);
        transfer.retry_for.get_or_insert(RETRY_FOR);
        let (cacert, told) = (cli.cacert.clone(), Arc::clone(reporter));
        let trust: Trust = Box::new(move || tls::config(cacert.as_deref(), &*told));
        let dialer = Arc::new(Connector::new(proxies?, transfer.connect_timeout(), trust));
        if cli.cacert.is_some() {
            dialer.tls()?;
        }
        let options = drive::Options {
            url: self.api_url.clone(),
            token: token.clone(),
            dialer,
            policy: transfer.retry_policy(),
            calls: 1,
        };
        Drive::new(options, Arc::clone(reporter))
    }

    /// Saves the token, and says where, and whatever may keep it from being used.
    fn save(&self, token: &Token, reporter: &dyn Reporter) -> Result<(), Error> {
        let profile = self.profile();
        let api_url = self.saves_url.then_some(self.api_url.as_str());
        let replaced =
            self.target.save(&Entry { profile, token, api_url, is_default: self.becomes_default })?;

        let say = |message: String| reporter.event(&Event::Login { message: &message, asks: false });
        let chosen = self.config.profile_from.as_deref().filter(|from| *from != "--profile");
        say(format!(
            "token saved in {} as that of profile `{profile}`{}{}",
            self.target.shown(),
            chosen.map(|from| format!(" ({from})")).unwrap_or_default(),
            if replaced { ", in place of the one that was there" } else { "" },
        ));
        if let Some(url) = api_url {
            say(format!("its api_url is {url} from now on, where the token was checked"));
        }
        if self.becomes_default {
            say(format!("`{profile}` is the default profile now"));
        } else if self.usual != profile {
            say(format!("use it with --profile {profile}"));
        }
        let config = config::load(self.only, Some(profile), self.env)?;
        let stronger = shadowed_by(token, &config, self.target.shown(), self.env);
        for message in config.warnings.iter().chain(&stronger) {
            reporter.event(&Event::Warning { path: None, message });
        }
        Ok(())
    }
}

/// What comes before a token that was saved in the file `shown`, or was used until now.
fn shadowed_by(token: &Token, config: &Config, shown: &str, env: &Environment) -> Vec<String> {
    let mut warnings = Vec::new();
    match token::find(env, config) {
        Ok(Some(Origin::Variable(name, other))) if other != *token => {
            warnings.push(format!(
                "{name} is set to another token and comes first; unset it to use the saved one"
            ));
        }
        Ok(Some(Origin::File(set))) if set.value != *token && set.location.file.shown != shown => {
            warnings
                .push(format!("{} sets another token, which comes first in this directory", set.location));
        }
        Err(error) => warnings.push(format!("{error}: before it is set right, nothing can be uploaded")),
        _ => {}
    }
    if let Some(command) = config.profile.token_command() {
        warnings.push(format!(
            "{} sets a token_command for this profile; it is not run while there is a saved token",
            command.location
        ));
    }
    warnings
}

/// Asks for a token, checks it and saves it. Returns the exit code.
///
/// # Errors
/// Whatever kept the token from being saved.
pub fn run(cli: &Cli, env: &Environment, reporter: &Arc<dyn Reporter>) -> Result<u8, Error> {
    let plan = Plan::new(cli, env, &**reporter)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Internal(format!("the runtime did not start: {error}")))?;
    let token = runtime.block_on(checked(&plan, reporter));
    // A look-up of a name that nobody answers cannot be stopped: it is not waited for.
    runtime.shutdown_background();
    plan.save(&token?, &**reporter)?;
    Ok(0)
}

/// A token that the service does not know is news of its own, and not a check that could not be made.
fn refused(error: Error) -> Error {
    match error {
        Error::Call { failure, .. } if failure.status() == Some(401) => Error::InvalidToken {
            what: format!("the service refuses this token: {failure}"),
            hint: "it is mistyped, incomplete or expired: copy it again, or make a new one",
        },
        error => error,
    }
}

/// A token that the service takes.
async fn checked(plan: &Plan<'_>, reporter: &Arc<dyn Reporter>) -> Result<Token, Error> {
    let stopper = Stopper::default();
    signals::listen(stopper.clone(), Arc::clone(reporter), || {});
    let not_saved = |error| Error::LoginFailed(Box::new(error));
    let token = tokio::select! {
        biased;
        error = stopper.stopped() => return Err(not_saved(error)),
        token = ask::token(&**reporter) => token?,
    };
    let message = &format!("checking the token with {}", plan.api_url);
    reporter.event(&Event::Login { message, asks: false });
    let drive = plan.drive(&token, reporter)?;
    let nobody = GlobalObserver(&**reporter);
    tokio::select! {
        biased;
        error = stopper.stopped() => Err(not_saved(error)),
        checked = drive.check(&nobody) => checked.map(|()| token).map_err(refused).map_err(not_saved),
    }
}
