//! `--login`: asks for a token, checks it with the service and saves it in the configuration. Where the token is sent and
//! saved is decided before the user is asked. Only a token that the service accepts is saved.

mod prompt;

use std::sync::Arc;
use std::time::Duration;

use crate::cli::Cli;
use crate::config::api_url::{self, ApiUrl};
use crate::config::save::{Entry, Target};
use crate::config::token::{self, Origin};
use crate::config::{self, Config, DEFAULT_PROFILE, LoginConfig};
use crate::drive::{self, Drive};
use crate::engine::Stopper;
use crate::environment::Environment;
use crate::error::{Code, Error};
use crate::event::{Event, Reporter};
use crate::file_context::GlobalObserver;
use crate::proxy::Proxies;
use crate::secret::Token;
use crate::{limits, signals, tls};

/// How long to retry without `--retry-for`. The user is waiting.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// Asks for a token, checks it and saves it.
/// The error is the reason why no token was saved. The exit code is 2 if it is not an [`Error`].
pub fn run(cli: &Cli, env: &Environment, reporter: &Arc<dyn Reporter>) -> anyhow::Result<()> {
    let login = Login::new(cli, env, reporter)?;
    let runtime = limits::runtime()?;
    let token = runtime.block_on(login.ask_and_check());
    // Does not wait for name lookups without an answer, which cannot be cancelled.
    runtime.shutdown_background();
    login.save(&token?)
}

/// A login, as decided before the user is asked.
struct Login<'a> {
    cli: &'a Cli,
    env: &'a Environment,
    reporter: &'a Arc<dyn Reporter>,
    config: Config,
    /// Where to save.
    target: Target,
    /// The API that checks the token.
    api_url: String,
    /// Whether the profile has to set `api_url`, because it would otherwise use another API.
    saves_url: bool,
    /// The profile that is used if none is chosen.
    usual_profile: String,
    /// Whether the profile becomes the default.
    becomes_default: bool,
}

impl<'a> Login<'a> {
    fn new(cli: &'a Cli, env: &'a Environment, reporter: &'a Arc<dyn Reporter>) -> anyhow::Result<Self> {
        let LoginConfig { config, user_config, usual_profile, is_first_profile, file } =
            config::load_for_login(cli.config.as_deref(), cli.profile.as_deref(), env)?;
        let target = Target::new(file)?;
        let api_url = ApiUrl::resolve(cli.api_url.as_deref(), cli.allow_http, env, &config)?;
        // The user does not see which file decides where the token goes.
        api_url.check_token_origin(None)?;
        if let Some(from) = &api_url.from {
            reporter.event(&Event::Verbose { message: &format!("api_url from {from}") });
        }
        // In other directories, without variables.
        let later_url = match user_config.profile.api_url().or(user_config.base_url) {
            Some(set) => api_url::normalize(&set.value, &set.location.to_string(), true)?,
            None => api_url::DEFAULT.to_owned(),
        };
        Ok(Self {
            becomes_default: is_first_profile && config.profile_name != DEFAULT_PROFILE,
            saves_url: later_url != api_url.url,
            api_url: api_url.url,
            cli,
            env,
            reporter,
            config,
            target,
            usual_profile,
        })
    }

    /// Returns a token that the service accepts.
    async fn ask_and_check(&self) -> Result<Token, Error> {
        let stopper = Stopper::default();
        signals::listen(stopper.clone(), Arc::clone(self.reporter));
        let not_saved = |error| Error::LoginFailed(Box::new(error));
        let token = tokio::select! {
            biased;
            error = stopper.stopped() => return Err(not_saved(error)),
            token = prompt::ask(&**self.reporter) => token?,
        };
        self.say(&format!("checking the token with {}", self.api_url));
        let drive = self.drive(&token)?;
        let observer = GlobalObserver(&**self.reporter);
        tokio::select! {
            biased;
            error = stopper.stopped() => Err(not_saved(error)),
            checked = drive.check(&observer) => match checked {
                Ok(()) => Ok(token),
                Err(error) => Err(not_saved(rejected(error))),
            },
        }
    }

    fn drive(&self, token: &Token) -> Result<Drive, Error> {
        let mut warnings = Vec::new();
        let proxies = Proxies::resolve(&self.env.proxies, &mut warnings);
        self.warn(&warnings);
        let mut transfer = self.cli.transfer.clone();
        transfer.connect_timeout = transfer.connect_timeout.or(self.config.profile.transfer.connect_timeout);
        transfer.retry_for.get_or_insert(RETRY_FOR);
        let (cacert, timeout) = (self.cli.cacert.clone(), transfer.connect_timeout());
        let options = drive::Options {
            url: self.api_url.clone(),
            token: token.clone(),
            connector: tls::connector(proxies?, cacert, timeout, self.reporter)?,
            policy: transfer.retry_policy(),
            calls: 1,
        };
        Drive::new(options, Arc::clone(self.reporter))
    }

    /// Saves the token. Reports where, and warns about values that take precedence over it.
    fn save(&self, token: &Token) -> anyhow::Result<()> {
        let profile = self.config.profile_name.as_str();
        let api_url = self.saves_url.then_some(self.api_url.as_str());
        let replaced =
            self.target.save(&Entry { profile, token, api_url, is_default: self.becomes_default })?;

        let chosen_by = self.config.profile_from.as_deref().filter(|from| *from != "--profile");
        self.say(&format!(
            "token saved in {} for profile `{profile}`{}{}",
            self.target.shown(),
            chosen_by.map(|from| format!(" ({from})")).unwrap_or_default(),
            if replaced { ", in place of another one" } else { "" },
        ));
        if let Some(url) = api_url {
            self.say(&format!("saved {url}, which checked the token, as the api_url of the profile"));
        }
        if self.becomes_default {
            self.say(&format!("`{profile}` is the default profile now"));
        } else if self.usual_profile != profile {
            self.say(&format!("use it with --profile {profile}"));
        }
        let config = config::load(self.cli.config.as_deref(), Some(profile), self.env)?;
        self.warn(&config.warnings);
        self.warn(&shadowed_by(token, &config, self.target.shown(), self.env));
        Ok(())
    }

    fn say(&self, message: &str) {
        self.reporter.event(&Event::Login { message, is_prompt: false });
    }

    fn warn(&self, messages: &[String]) {
        for message in messages {
            self.reporter.event(&Event::Warning { path: None, message });
        }
    }
}

/// Warnings about what takes precedence over a token that was saved in the file `shown`, and about an unused command.
fn shadowed_by(token: &Token, config: &Config, shown: &str, env: &Environment) -> Vec<String> {
    let mut warnings = Vec::new();
    match token::find(env, config) {
        Ok(Some(Origin::Variable(name, other))) if other != *token => {
            warnings.push(format!(
                "{name} is set to another token and takes precedence; unset it to use the saved one"
            ));
        }
        Ok(Some(Origin::File(set))) if set.value != *token && set.location.file.shown != shown => {
            warnings.push(format!(
                "{} sets another token, which takes precedence in this directory",
                set.location
            ));
        }
        Err(error) => warnings.push(format!("{error}: nothing can be uploaded until this is fixed")),
        _ => {}
    }
    if let Some(command) = config.profile.token_command() {
        warnings.push(format!(
            "{} sets a token_command for this profile; it is not used while a token is saved",
            command.location
        ));
    }
    warnings
}

/// Distinguishes an unknown token from a check that failed for other reasons.
fn rejected(error: Error) -> Error {
    match error {
        Error::Call { failure, .. } if failure.status() == Some(401) => Error::with_hint(
            Code::Auth,
            format!("the service refuses this token: {failure}"),
            "it is mistyped, incomplete or expired: copy it again, or make a new one",
        ),
        error => error,
    }
}
