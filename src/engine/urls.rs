//! The signed URLs of one upload: compact in memory, checked, renewed before they expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::drive::wire::{Upload, parse_urls};
use crate::drive::{Drive, SignedParts};
use crate::error::{Call, Error};
use crate::event::Phase;
use crate::file_context::FileContext;
use crate::secret::SignedUrl;

/// URLs are renewed when this fraction of their lifetime is left, but at most [`MAX_RENEWAL_AHEAD`] in advance. S3 checks the
/// lifetime when a request starts, so there has to be time to connect.
const RENEWAL_FRACTION: u32 = 3;
/// See [`RENEWAL_FRACTION`].
const MAX_RENEWAL_AHEAD: Duration = Duration::from_secs(60);
/// After this many renewals in a row, the service is expected to issue only expired URLs.
const MAX_EXPIRED: u32 = 4;

/// The URLs of all parts of an upload. All parts wait for the same renewal.
pub struct Urls {
    drive: Arc<Drive>,
    upload: Upload,
    count: u32,
    /// Allow plain HTTP to other machines.
    allow_http: bool,
    state: tokio::sync::Mutex<State>,
    /// Consecutive responses whose URLs storage called expired before any part succeeded. Outside the lock, which is held
    /// during a renewal, so that a finished part need not wait.
    expired_in_a_row: AtomicU32,
}

#[derive(Default)]
struct State {
    set: Option<SignedSet>,
    generation: u64,
}

/// The URLs of one response.
struct SignedSet {
    urls: Packed,
    renew_at: Option<Instant>,
    /// Storage called them expired. It does so for each part in flight.
    expired: bool,
}

impl State {
    /// Marks the URLs of this response as expired. Returns whether this is the first report.
    fn mark_expired(&mut self, generation: u64) -> bool {
        let current = self.set.as_mut().filter(|set| self.generation == generation && !set.expired);
        current.map(|set| set.expired = true).is_some()
    }
}

/// A part's URL, and the response that it is from.
pub struct Signed {
    pub url: SignedUrl,
    /// For [`Urls::report_expired`].
    pub generation: u64,
}

impl Urls {
    /// For an upload of `count` parts. Requests nothing yet.
    pub fn new(drive: Arc<Drive>, upload: Upload, count: u32, allow_http: bool) -> Self {
        Self {
            drive,
            upload,
            count,
            allow_http,
            state: tokio::sync::Mutex::default(),
            expired_in_a_row: AtomicU32::new(0),
        }
    }

    /// A part's URL with some lifetime left.
    /// Fails with errors of the call; [`Error::urls`] if the response is incomplete, or if new URLs have expired every
    /// time.
    pub async fn get(&self, file: &FileContext, part: u32) -> Result<Signed, Error> {
        let mut state = self.state.lock().await;
        let is_stale = |set: &SignedSet| set.expired || set.renew_at.is_some_and(|at| at <= Instant::now());
        let stale = state.set.as_ref().is_none_or(is_stale);
        if stale {
            let expired_in_a_row = self.expired_in_a_row.load(Ordering::Relaxed);
            if expired_in_a_row >= MAX_EXPIRED {
                return Err(Error::urls(&format!(
                    "they had expired when they were issued, {MAX_EXPIRED} times in a row; is the service's clock right?"
                )));
            }
            if state.set.is_some() {
                file.note("the signed URLs have expired or are about to: requesting new ones");
            } else {
                file.phase(Phase::Sign);
            }
            if expired_in_a_row > 1 {
                // If the service's clock is slightly off, waiting helps.
                tokio::time::sleep(Duration::from_millis(250) * (1 << expired_in_a_row)).await;
            }
            let answer = self.drive.sign_urls(file, &self.upload, self.count).await?;
            state.set = Some(self.read(answer)?);
            state.generation += 1;
        }
        let set = state.set.as_ref().ok_or_else(|| Error::Internal("no signed URLs".to_owned()))?;
        Ok(Signed { url: set.urls.get(part), generation: state.generation })
    }

    /// Storage calls URLs of this response expired. The first report causes a renewal.
    pub async fn report_expired(&self, generation: u64) {
        if self.state.lock().await.mark_expired(generation) {
            self.expired_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A part succeeded: the URLs are valid.
    pub fn record_success(&self) {
        self.expired_in_a_row.store(0, Ordering::Relaxed);
    }

    fn read(&self, SignedParts { body, at }: SignedParts) -> Result<SignedSet, Error> {
        let urls =
            parse_urls(&body, self.count).map_err(|what| self.drive.malformed(Call::SignUrls, &what))?;
        for url in &urls {
            check(url, self.allow_http).map_err(|what| Error::urls(&what))?;
        }
        // The earliest expiry counts if they differ. If it has passed by the service's own clock, the clocks disagree,
        // and storage decides.
        let life = urls.iter().filter_map(|url| life_left(url, at)).min().filter(|life| !life.is_zero());
        Ok(SignedSet {
            renew_at: life.map(|life| {
                Instant::now() + life.saturating_sub(MAX_RENEWAL_AHEAD.min(life / RENEWAL_FRACTION))
            }),
            urls: Packed::new(urls.iter().map(AsRef::as_ref)),
            expired: false,
        })
    }
}

/// Checks that a part may be sent to this URL; with `allow_http`, also to another machine over plain HTTP. The URL is a
/// secret, so an error names at most its host.
pub(super) fn check(url: &str, allow_http: bool) -> Result<(), String> {
    let uri: hyper::Uri = url.parse().map_err(|error| format!("one is no URL ({error})"))?;
    let host = uri.host().unwrap_or_default();
    crate::http::check_host(host).map_err(|what| format!("one is no URL ({what})"))?;
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if allow_http || crate::http::is_loopback(host) => Ok(()),
        Some("http") => Err(format!(
            "one goes to {host} over plain http, where anyone on the network can read the file; --allow-http allows it"
        )),
        _ => Err("one is neither https nor http".to_owned()),
    }
}

/// The remaining lifetime of a URL by the service's clock, from `X-Amz-Date` and `X-Amz-Expires`. The clock has whole
/// seconds, so one is subtracted. `None` if the URL does not contain them.
fn life_left(url: &str, now: i64) -> Option<Duration> {
    let value = |name: &str| {
        let query = url.split_once('?')?.1;
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case(name)))
    };
    let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", value("X-Amz-Date")?.1).ok()?;
    let signed = jiff::tz::Offset::UTC.to_timestamp(signed).ok()?.as_second();
    let lives: i64 = value("X-Amz-Expires")?.1.parse().ok()?;
    // S3 allows a week at most. Anything longer is invalid and could overflow.
    let left = signed.saturating_add(lives).saturating_sub(now).saturating_sub(1).clamp(0, 7 * 86_400);
    u64::try_from(left).ok().map(Duration::from_secs)
}

/// Many URLs that differ in a few characters. Their common prefix and suffix are stored once: 10,000 URLs take 1 MB
/// instead of 5 to 15.
struct Packed {
    head: String,
    tail: String,
    middles: String,
    ends: Vec<u32>,
}

impl Packed {
    fn new<'a>(urls: impl Iterator<Item = &'a str> + Clone) -> Self {
        let first = urls.clone().next().unwrap_or_default();
        let (mut head, mut tail) = (first.len(), first.len());
        for url in urls.clone() {
            head = common(first.bytes(), url.bytes(), head);
            tail = common(first.bytes().rev(), url.bytes().rev(), tail);
        }
        // Not within a character, and without overlap in the shortest URL.
        while !first.is_char_boundary(head) {
            head -= 1;
        }
        let shortest = urls.clone().map(str::len).min().unwrap_or(0);
        tail = tail.min(shortest - head);
        while !first.is_char_boundary(first.len() - tail) {
            tail -= 1;
        }
        let mut packed = Self {
            head: first[..head].to_owned(),
            tail: first[first.len() - tail..].to_owned(),
            middles: String::new(),
            ends: Vec::new(),
        };
        for url in urls {
            packed.middles.push_str(&url[head..url.len() - tail]);
            packed.ends.push(u32::try_from(packed.middles.len()).unwrap_or(u32::MAX));
        }
        packed
    }

    /// The URL of a part, by its number from 1.
    fn get(&self, part: u32) -> SignedUrl {
        let at = part as usize - 1;
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        SignedUrl::new(format!("{}{}{}", self.head, &self.middles[from..self.ends[at] as usize], self.tail))
    }
}

fn common(one: impl Iterator<Item = u8>, other: impl Iterator<Item = u8>, most: usize) -> usize {
    one.zip(other).take(most).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_urls_lifetime_is_counted_by_the_services_clock() {
        let url = "https://h/k?X-Amz-Date=20250403T171506Z&X-Amz-Expires=3600&x-id=UploadPart";
        assert_eq!(life_left(url, 1_743_700_506), Some(Duration::from_secs(3599)));
        assert_eq!(life_left(url, 1_743_700_506 + 4000), Some(Duration::ZERO));
        assert_eq!(life_left("https://h/k?X-Amz-Date=20250403T171506Z", 0), None);
        assert_eq!(life_left("https://h/k", 0), None);
    }

    #[test]
    fn urls_of_one_response_expire_once() {
        let set = SignedSet { urls: Packed::new(std::iter::once("u")), renew_at: None, expired: false };
        let mut state = State { set: Some(set), generation: 2 };
        assert!(!state.mark_expired(1), "the report is about the previous response");
        assert_eq!((0..8).filter(|_| state.mark_expired(2)).count(), 1);
    }

    #[test]
    fn parts_go_over_plain_http_only_to_this_machine_or_when_allowed() {
        assert!(check("http://127.0.0.1:9000/b/k?x=1", false).is_ok());
        assert!(check("http://[::1]:9000/b", false).is_ok());
        assert!(check("http://192.168.0.9/b?secret", false).is_err_and(|what| !what.contains("secret")));
        assert!(check("http://192.168.0.9/b", true).is_ok());
        assert!(check("ftp://h/b", false).is_err());
        assert!(check("no url", false).is_err());
    }

    #[test]
    fn ten_thousand_urls_take_about_a_megabyte() {
        let filler = "c".repeat(900);
        let urls: Vec<String> = (1..=10_000)
            .map(|n| format!("https://b.s3.amazonaws.com/k?X-Amz-Security-Token={filler}&X-Amz-Signature={n:064x}&X-Amz-SignedHeaders=host&partNumber={n}&uploadId=u&x-id=UploadPart"))
            .collect();
        let packed = Packed::new(urls.iter().map(String::as_str));
        assert!(packed.middles.len() < 1_200_000, "{}", packed.middles.len());
        for n in [1, 2, 9_999, 10_000] {
            assert_eq!(packed.get(n).expose(), urls[n as usize - 1]);
        }
    }

    proptest::proptest! {
        #[test]
        fn packing_gives_every_url_back(urls in proptest::collection::vec("[aé]{0,3}\\PC{0,6}[aé]{0,3}", 1..8)) {
            let packed = Packed::new(urls.iter().map(String::as_str));
            for (at, url) in urls.iter().enumerate() {
                let got = packed.get(at as u32 + 1);
                proptest::prop_assert_eq!(got.expose(), url.as_str());
            }
        }
    }
}
