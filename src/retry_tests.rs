use super::*;

fn status(status: u16, code: &str, message: &str) -> Failure {
    Failure::Status { status, code: Some(code.into()), message: Some(message.into()), retry_after: None }
}

#[test]
fn storage_failures_are_judged_by_their_xml_code_before_their_status() {
    use Verdict::{Expired, Gone, Refused, Transient};
    for (failure, verdict) in [
        (status(403, "AccessDenied", "Request has expired"), Expired),
        (status(400, "ExpiredToken", "The provided token has expired."), Expired),
        (status(403, "RequestTimeTooSkewed", ""), Expired),
        (
            status(403, "AccessDenied", "There were headers present in the request which were not signed"),
            Refused,
        ),
        (status(403, "SignatureDoesNotMatch", ""), Refused),
        (status(400, "RequestTimeout", ""), Transient),
        (status(503, "SlowDown", ""), Transient),
        (status(500, "InternalError", ""), Transient),
        (status(404, "NoSuchUpload", ""), Gone),
        (status(400, "EntityTooSmall", ""), Refused),
        (status(502, "", "<html>"), Transient),
        (status(418, "", ""), Refused),
        (Failure::transport(Transport::Lost, ""), Transient),
        (Failure::transport(Transport::Tls, ""), Refused),
        (Failure::Checksum { sent: String::new(), stored: String::new() }, Transient),
    ] {
        assert_eq!(failure.verdict_of_part(), verdict, "{failure:?}");
    }
}

#[test]
fn not_found_is_the_folder_at_start_and_the_upload_later() {
    let missing = status(404, "", "Not Found");
    assert_eq!(missing.verdict_of_call(Call::Start), Verdict::Refused);
    assert_eq!(missing.code_of_call(Call::Start), Code::NotFound);
    assert_eq!(missing.verdict_of_call(Call::SignUrls), Verdict::Gone);
}

#[test]
fn patience_ends_by_time_by_count_and_by_a_wish_that_is_too_long() {
    let minute = Policy { retry_for: Duration::from_secs(60), max_retries: None };
    assert_eq!(Patience::new(Policy { retry_for: Duration::ZERO, ..minute }).wait(None), None);
    assert_eq!(Patience::new(minute).wait(Some(Duration::from_secs(61))), None);
    assert!(Patience::new(minute).wait(Some(Duration::from_secs(2))) >= Some(Duration::from_secs(2)));

    let mut twice = Patience::new(Policy { max_retries: Some(2), ..minute });
    assert!(twice.wait(None).is_some() && twice.wait(None).is_some());
    assert_eq!(twice.wait(None), None);
    twice.renew();
    assert!(twice.wait(None).is_some());
}

#[test]
fn time_in_which_bytes_moved_is_not_held_against_a_part() {
    let policy = Policy { retry_for: Duration::from_millis(20), max_retries: None };
    let mut patience = Patience::new(policy);
    patience.since -= Duration::from_secs(3600);
    patience.excuse(Duration::from_secs(3600));
    assert!(patience.wait(None).is_some());
    patience.since -= Duration::from_secs(3600);
    patience.excuse(Duration::from_secs(1800));
    assert_eq!(patience.wait(None), None, "it stood still for half an hour");
}

proptest::proptest! {
    #[test]
    fn backoff_stays_under_its_cap(retries in 0u32..u32::MAX) {
        proptest::prop_assert!(full_jitter(retries) <= BACKOFF_CAP);
    }
}
