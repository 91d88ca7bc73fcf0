//! Parses faults from the command line, such as `put-part:status=503:times=3`. `--help` has the syntax.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::fault::{Action, Fault, Op};

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(spec: &str) -> anyhow::Result<Self> {
        let (on, mut rest) = spec.split_once(':').context("a fault is OP:ACTION, e.g. finalize:lost")?;
        let mut fault = Self::new(op(on)?, Action::Reset);
        let mut action = None;
        let mut body = None;
        let mut retry_after = None;
        while !rest.is_empty() {
            // Their values may contain colons.
            let word = if rest.starts_with("redirect=") || rest.starts_with("body=") {
                std::mem::take(&mut rest)
            } else {
                let (word, after) = rest.split_once(':').unwrap_or((rest, ""));
                rest = after;
                word
            };
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number = || value.parse::<u64>().with_context(|| format!("{name} takes a number"));
            match name {
                "part" => fault.part = Some(u32::try_from(number()?)?),
                "skip" => fault.skip = number()?,
                "times" => fault.times = Some(number()?),
                "probability" => {
                    fault.probability = value.parse().context("probability takes 0.0 to 1.0")?;
                    ensure!((0.0..=1.0).contains(&fault.probability), "probability takes 0.0 to 1.0");
                }
                "body" => body = Some(value.to_owned()),
                "retry-after" => retry_after = Some(number()?.to_string()),
                _ => {
                    ensure!(action.is_none(), "{name}: a fault can have only one action");
                    action = Some(parse_action(name, value)?);
                }
            }
        }
        fault.action = action.context("a fault needs an action, e.g. reset, lost, status=503")?;
        if body.is_some() || retry_after.is_some() {
            let (Action::Status { headers, body: text, .. }
            | Action::StatusAfterWork { headers, body: text, .. }) = &mut fault.action
            else {
                bail!("body and retry-after require status or after-work");
            };
            *text = body.unwrap_or_default();
            headers.extend(retry_after.map(|seconds| ("retry-after".to_owned(), seconds)));
        }
        Ok(fault)
    }
}

fn op(name: &str) -> anyhow::Result<Op> {
    Ok(match name {
        "start" => Op::Start,
        "urls" => Op::Urls,
        "finalize" => Op::Finalize,
        "folders" => Op::Folders,
        "tree" => Op::Tree,
        "search" => Op::Search,
        "file" => Op::File,
        "download" => Op::Download,
        "workspace" => Op::Workspace,
        "put-part" => Op::PutPart,
        "get-object" => Op::GetObject,
        "any-api" => Op::AnyApi,
        "any" => Op::Any,
        _ => bail!("unknown operation {name}"),
    })
}

fn parse_action(name: &str, value: &str) -> anyhow::Result<Action> {
    let code = || match value.parse() {
        Ok(code @ 200..=599) => Ok(code),
        _ => bail!("{name} takes an HTTP status"),
    };
    Ok(match name {
        "status" => Action::status(code()?, ""),
        "after-work" => Action::StatusAfterWork { code: code()?, headers: Vec::new(), body: String::new() },
        "s3" => {
            let (status, code) = value.split_once('/').context("s3 takes STATUS/CODE, e.g. 503/SlowDown")?;
            let status = status.parse().context("s3 takes STATUS/CODE, e.g. 503/SlowDown")?;
            Action::S3Error { status, code: code.to_owned(), message: "Set by a fault.".to_owned() }
        }
        "delay" => Action::Delay(parse_duration(value)?),
        "reset" => Action::Reset,
        "reset-after" => Action::ResetAfter(parse_size(value)?),
        "lost" => Action::ResetAfterWork,
        "close" => Action::CloseAfterWork,
        "stall" => Action::Stall { after: if value.is_empty() { 0 } else { parse_size(value)? } },
        "hang" => Action::HangAfterBody,
        "slow" => Action::SlowRead { bytes_per_second: parse_size(value)? },
        "wrong-etag" => Action::WrongEtag,
        "corrupt" => Action::CorruptStored,
        "truncate" => Action::TruncateResponse,
        "endless" => Action::EndlessBody,
        "redirect" => Action::Redirect { to: value.to_owned() },
        "kms" => Action::Kms,
        "expired" => Action::ExpiredUrl,
        "no-such-upload" => Action::NoSuchUpload,
        _ => bail!("unknown condition or action {name}"),
    })
}

fn parse_duration(text: &str) -> anyhow::Result<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let number: f64 = number.parse().context("a duration is like 500ms or 2s")?;
    Duration::try_from_secs_f64(number * unit).context("a duration is like 500ms or 2s")
}

/// Parses a size in bytes such as `1048576`, `5MiB` or `20GB`.
pub fn parse_size(text: &str) -> anyhow::Result<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1));
    let number: u64 = number.trim().parse().with_context(|| format!("{text} is not a size such as 5MiB"))?;
    number.checked_mul(factor).with_context(|| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(spec: &str) -> Action {
        spec.parse::<Fault>().unwrap().action
    }

    #[test]
    fn conditions_and_action_may_be_in_any_order() {
        let fault: Fault = "put-part:part=2:reset-after=1MiB:times=3:skip=1:probability=0.5".parse().unwrap();
        assert_eq!((fault.on, fault.part, fault.skip, fault.times), (Op::PutPart, Some(2), 1, Some(3)));
        assert_eq!((fault.probability, fault.action), (0.5, Action::ResetAfter(1 << 20)));
    }

    #[test]
    fn values_of_actions_are_parsed() {
        assert_eq!(action("finalize:lost"), Action::ResetAfterWork);
        assert_eq!(action("tree:delay=1500ms"), Action::Delay(Duration::from_millis(1500)));
        assert_eq!(action("any:redirect=http://a:1/b"), Action::Redirect { to: "http://a:1/b".into() });
        let Action::Status { code, headers, body } = action("urls:status=429:retry-after=2:body=busy") else {
            panic!("not a status");
        };
        assert_eq!((code, body.as_str()), (429, "busy"));
        assert_eq!(headers, [("retry-after".to_owned(), "2".to_owned())]);
        let Action::StatusAfterWork { body, .. } =
            action(r#"finalize:after-work=400:body={"a":1,"times":2}"#)
        else {
            panic!("no answer");
        };
        assert_eq!(body, r#"{"a":1,"times":2}"#);
    }

    #[test]
    fn invalid_specs_are_refused() {
        let bad = ["finalize", "finalize:", "no:reset", "any:nothing", "any:status=9", "any:reset:lost"];
        for spec in
            bad.into_iter().chain(["any:reset:body=x", "any:reset:probability=2", "put-part:slow=fast"])
        {
            assert!(spec.parse::<Fault>().is_err(), "{spec}");
        }
    }
}
