//! Response bodies of both servers.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, HeaderValue};

/// Any error. hyper closes the connection on an error in a body.
pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;
/// Any body.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, AnyError>;

/// A body of known bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that arrives in chunks.
pub(crate) fn streamed(stream: impl Stream<Item = Result<Bytes, AnyError>> + Send + 'static) -> AnyBody {
    StreamBody::new(stream.map(|item| item.map(Frame::data))).boxed_unsync()
}

/// The same response with a Content-Length larger than its body. hyper then closes the connection.
pub(crate) async fn truncated(response: Response<AnyBody>) -> Response<AnyBody> {
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len() + 100));
    // hyper asserts that a known length equals the header, so this is a stream.
    Response::from_parts(parts, streamed(stream::iter([Ok(bytes)])))
}

/// The same response with an endless body.
pub(crate) fn endless(response: Response<AnyBody>) -> Response<AnyBody> {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let blanks = Bytes::from_static(&[b' '; 16 * 1024]);
    Response::from_parts(parts, streamed(stream::repeat_with(move || Ok(blanks.clone()))))
}
