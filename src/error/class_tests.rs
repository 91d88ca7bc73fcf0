use super::*;

fn status(status: u16, code: &str, message: &str) -> Failure {
    Failure::Status { status, code: Some(code.into()), message: Some(message.into()), retry_after: None }
}

/// Every status with a meaning of its own: class and exit code for a call, and for a part.
#[test]
fn each_status_has_its_class_and_exit_code() {
    use RetryClass::{Gone, Refused, Transient};
    for (code, call, call_exit, part, part_exit) in [
        (204, Refused, 1, Refused, 1),
        (301, Refused, 1, Refused, 1),
        (302, Refused, 1, Refused, 1),
        (307, Refused, 1, Refused, 1),
        (308, Refused, 1, Refused, 1),
        (400, Refused, 1, Refused, 1),
        (401, Refused, 4, Refused, 1),
        (402, Refused, 1, Refused, 1),
        (403, Refused, 4, Refused, 1),
        (404, Refused, 3, Refused, 1),
        (405, Refused, 1, Refused, 1),
        (406, Refused, 1, Refused, 1),
        (407, Refused, 1, Refused, 1),
        (408, Transient, 7, Transient, 7),
        (409, Refused, 5, Refused, 1),
        (410, Refused, 1, Refused, 1),
        (411, Refused, 1, Refused, 1),
        (413, Refused, 1, Refused, 1),
        (414, Refused, 1, Refused, 1),
        (415, Refused, 1, Refused, 1),
        (417, Refused, 1, Refused, 1),
        (421, Refused, 1, Refused, 1),
        (422, Refused, 1, Refused, 1),
        (425, Transient, 7, Transient, 7),
        (426, Refused, 1, Refused, 1),
        (428, Refused, 1, Refused, 1),
        (429, Transient, 6, Transient, 6),
        (431, Refused, 1, Refused, 1),
        (451, Refused, 1, Refused, 1),
        (500, Transient, 7, Transient, 7),
        (501, Refused, 1, Refused, 1),
        (502, Transient, 7, Transient, 7),
        (503, Transient, 7, Transient, 7),
        (504, Transient, 7, Transient, 7),
        (505, Refused, 1, Refused, 1),
        (507, Refused, 1, Refused, 1),
        (508, Refused, 1, Refused, 1),
        (510, Refused, 1, Refused, 1),
        (511, Refused, 1, Refused, 1),
        (520, Transient, 7, Transient, 7),
        (599, Transient, 7, Transient, 7),
    ] {
        let failure = status(code, "", "");
        assert_eq!(failure.class_of_call(Call::Start), call, "{code}");
        assert_eq!(failure.code_of_call(Call::Start).exit_code(), call_exit, "{code}");
        assert_eq!(failure.class_of_part(), part, "{code}");
        assert_eq!(failure.code_of_part().exit_code(), part_exit, "{code}");
        let of_upload = if matches!(code, 404 | 410) { Gone } else { call };
        for call in [Call::SignUrls, Call::Finalize] {
            assert_eq!(failure.class_of_call(call), of_upload, "{code}");
        }
    }
}

#[test]
fn each_transport_failure_has_its_class_and_exit_code() {
    use RetryClass::{Refused, Transient};
    for (kind, class, exit, for_all) in [
        // Includes DNS errors: an unreachable resolver and an unknown name look the same.
        (Transport::Connect, Transient, 7, false),
        (Transport::Stalled, Transient, 7, false),
        (Transport::ResponseTimeout, Transient, 7, false),
        (Transport::Timeout, Transient, 7, false),
        (Transport::Disconnected, Transient, 7, false),
        (Transport::Garbled, Transient, 7, false),
        (Transport::Tls, Refused, 7, true),
        (Transport::CertificateDates, Refused, 7, true),
        (Transport::ProxyAuth, Refused, 1, true),
        (Transport::ProxyRefused, Refused, 1, true),
    ] {
        let failure = Failure::transport(kind, "");
        assert_eq!(failure.class_of_part(), class, "{kind:?}");
        assert_eq!(failure.class_of_call(Call::Finalize), class, "{kind:?}");
        assert_eq!(failure.code_of_part().exit_code(), exit, "{kind:?}");
        assert_eq!(failure.code_of_call(Call::Start).exit_code(), exit, "{kind:?}");
        assert_eq!(failure.holds_for_all(), for_all, "{kind:?}");
    }
}

#[test]
fn the_xml_code_comes_before_the_status() {
    use RetryClass::{Expired, Gone, Refused, Transient};
    for (failure, class) in [
        (status(403, "AccessDenied", "Request has expired"), Expired),
        (status(403, "AccessDenied", "Access Denied"), Refused),
        (
            status(403, "AccessDenied", "There were headers present in the request which were not signed"),
            Refused,
        ),
        (status(403, "AllAccessDisabled", ""), Refused),
        (status(403, "AccountProblem", ""), Refused),
        (status(403, "InvalidAccessKeyId", ""), Refused),
        (status(403, "InvalidObjectState", ""), Refused),
        (status(403, "NotSignedUp", ""), Refused),
        (status(403, "QuotaExceeded", ""), Refused),
        (status(403, "RequestTimeTooSkewed", ""), Expired),
        (status(403, "SignatureDoesNotMatch", ""), Refused),
        (status(400, "AuthorizationQueryParametersError", ""), Refused),
        (status(400, "BadDigest", ""), Transient),
        (status(400, "EntityTooLarge", ""), Refused),
        (status(400, "EntityTooSmall", ""), Refused),
        (status(400, "ExpiredToken", "The provided token has expired."), Expired),
        (status(400, "IncompleteBody", ""), Transient),
        (status(400, "InvalidArgument", ""), Refused),
        (status(400, "InvalidPart", ""), Refused),
        (status(400, "InvalidToken", ""), Refused),
        (status(400, "KMS.DisabledException", ""), Refused),
        (status(400, "RequestTimeout", ""), Transient),
        (status(400, "TokenRefreshRequired", ""), Expired),
        (status(400, "Throttling", ""), Transient),
        (status(301, "PermanentRedirect", ""), Refused),
        (status(307, "TemporaryRedirect", ""), Refused),
        (status(404, "NoSuchBucket", ""), Refused),
        (status(404, "NoSuchKey", ""), Refused),
        (status(404, "NoSuchUpload", ""), Gone),
        (status(405, "MethodNotAllowed", ""), Refused),
        (status(409, "OperationAborted", ""), Transient),
        (status(411, "MissingContentLength", ""), Refused),
        (status(412, "PreconditionFailed", ""), Refused),
        (status(413, "EntityTooLarge", ""), Refused),
        (status(500, "InternalError", ""), Transient),
        (status(501, "NotImplemented", ""), Refused),
        (status(502, "", "<html>"), Transient),
        (status(503, "ServiceUnavailable", ""), Transient),
        (status(503, "SlowDown", ""), Transient),
        (status(507, "XMinioStorageFull", ""), Refused),
        (Failure::WebPage, Refused),
        (Failure::Malformed { detail: String::new() }, Refused),
        (Failure::Checksum { sent: String::new(), stored: String::new() }, Transient),
    ] {
        assert_eq!(failure.class_of_part(), class, "{failure:?}");
    }
}

#[test]
fn not_found_is_the_folder_at_start_and_the_upload_later() {
    let missing = status(404, "", "Not Found");
    assert_eq!(missing.class_of_call(Call::Start), RetryClass::Refused);
    assert_eq!(missing.code_of_call(Call::Start), Code::NotFound);
    assert_eq!(missing.class_of_call(Call::SignUrls), RetryClass::Gone);
}
