//! S3 errors in XML, with Amazon's texts.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::{AnyBody, full};

/// An S3 error.
#[derive(Clone, Debug)]
pub(crate) struct S3Error {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// More elements, in order.
    pub(crate) more: Vec<(&'static str, String)>,
}

impl S3Error {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        Self { status, code: code.to_owned(), message: message.to_owned(), more: Vec::new() }
    }

    pub(crate) fn with(mut self, element: &'static str, text: impl Into<String>) -> Self {
        self.more.push((element, text.into()));
        self
    }

    pub(crate) fn no_such_upload(upload_id: &str) -> Self {
        let message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have \
                       been aborted or completed.";
        Self::new(404, "NoSuchUpload", message).with("UploadId", upload_id)
    }

    pub(crate) fn request_timeout() -> Self {
        let message = "Your socket connection to the server was not read from or written to within the timeout \
                       period. Idle connections will be closed.";
        Self::new(400, "RequestTimeout", message)
    }

    pub(crate) fn into_response(self) -> Response<AnyBody> {
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>",
            escape(&self.code),
            escape(&self.message)
        );
        for (element, text) in &self.more {
            xml.push_str(&format!("<{element}>{}</{element}>", escape(text)));
        }
        xml.push_str(&format!(
            "<RequestId>{}</RequestId><HostId>{}</HostId></Error>",
            request_id(),
            host_id()
        ));
        let mut response = Response::new(full(Bytes::from(xml)));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response
    }
}

/// Adds the elements that Amazon always sends and s3s does not to an error of s3s.
pub(crate) fn completed(xml: &str) -> String {
    let mut more = String::new();
    if !xml.contains("<Message>") {
        let message = match element(xml, "Code").unwrap_or_default() {
            "SignatureDoesNotMatch" => {
                "The request signature we calculated does not match the signature you provided. Check your key and \
                 signing method."
            }
            "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
            "AccessDenied" => "Access Denied",
            _ => "The request was refused.",
        };
        more.push_str(&format!("<Message>{message}</Message>"));
    }
    more.push_str(&format!("<RequestId>{}</RequestId><HostId>{}</HostId></Error>", request_id(), host_id()));
    xml.replace("</Error>", &more)
}

/// The text of an element without attributes and children.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let start = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let rest = xml.get(start..)?;
    rest.get(..rest.find("</")?)
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A value for `x-amz-request-id`.
pub(crate) fn request_id() -> String {
    format!("{:016X}", fastrand::u64(..))
}

/// A value for `x-amz-id-2`.
pub(crate) fn host_id() -> String {
    let text: String = (0..72).map(|_| fastrand::alphanumeric()).collect();
    format!("{text}===")
}
