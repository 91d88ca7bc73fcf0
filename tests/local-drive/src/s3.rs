//! The embedded S3 server: s3s does the protocol and checks signatures, [`Store`] keeps the parts.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use rusty_s3::Credentials;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag,
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListPartsInput, ListPartsOutput,
    Part, PutObjectInput, PutObjectOutput, ServerSideEncryption, StreamingBlob, UploadPartInput,
    UploadPartOutput,
};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::part::PartWriter;
use crate::record::Recorder;
use crate::store::{MAX_PARTS, Refusal, Store};

struct Server {
    store: Arc<Store>,
    recorder: Arc<Recorder>,
}

/// Creates the service.
pub(crate) fn service(store: Arc<Store>, recorder: Arc<Recorder>, credentials: &Credentials) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Server { store, recorder });
    builder.set_auth(SimpleAuth::from_single(credentials.key(), credentials.secret()));
    builder.build()
}

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        let with = |code, message: String| S3Error::with_message(code, message);
        match refusal {
            Refusal::NoSuchUpload => with(
                S3ErrorCode::NoSuchUpload,
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                 aborted or completed."
                    .into(),
            ),
            Refusal::NoSuchBucket => {
                with(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist".into())
            }
            Refusal::NoSuchKey => with(S3ErrorCode::NoSuchKey, "The specified key does not exist.".into()),
            Refusal::MalformedXml => with(
                S3ErrorCode::MalformedXML,
                "The XML you provided was not well-formed or did not validate against our published schema".into(),
            ),
            Refusal::InvalidPart => with(
                S3ErrorCode::InvalidPart,
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the \
                 specified entity tag may not match the part's entity tag."
                    .into(),
            ),
            Refusal::InvalidPartOrder => with(
                S3ErrorCode::InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number.".into(),
            ),
            Refusal::EntityTooSmall { .. } => with(
                S3ErrorCode::EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size".into(),
            ),
            Refusal::Internal(error) => with(S3ErrorCode::InternalError, error),
        }
    }
}

#[async_trait::async_trait]
impl S3 for Server {
    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let upload_id = self.store.create(&input.key);
        let output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload_id),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    /// Other programs use this for small files in benchmarks. The drive never does.
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let mut part = self.store.begin_object(&input.key)?;
        receive(&mut part, input.body).await?;
        let object = part.finish_object()?;
        let output = PutObjectOutput { e_tag: Some(ETag::Strong(object.etag)), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let number = u32::try_from(input.part_number).ok().filter(|number| (1..=MAX_PARTS).contains(number));
        let number = number.ok_or_else(|| s3_error!(InvalidArgument, "Part number must be 1 to 10000"))?;
        let mut part = self.store.begin_part(&input.upload_id, &input.key, number)?;
        receive(&mut part, input.body).await?;
        let promised = input.content_length.and_then(|length| u64::try_from(length).ok());
        if promised.is_some_and(|promised| promised != part.size()) {
            return Err(s3_error!(IncompleteBody, "The body is shorter than its Content-Length"));
        }
        let part = part.finish()?;
        let output = UploadPartOutput {
            e_tag: Some(ETag::Strong(part.etag.clone())),
            server_side_encryption: encryption(self.store.is_encrypted()),
            ..Default::default()
        };
        self.recorder.stored(&input.upload_id, part);
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let parts = input.multipart_upload.and_then(|list| list.parts).unwrap_or_default();
        let parts: Option<Vec<(u32, String)>> = parts
            .into_iter()
            .map(|part| Some((u32::try_from(part.part_number?).ok()?, part.e_tag?.into_value())))
            .collect();
        let parts = parts.ok_or(Refusal::MalformedXml)?;
        let object = self.store.complete(&input.upload_id, &input.key, &parts)?;
        let output = CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(object.etag)),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.store.abort(&request.input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let parts = self.store.list(&input.upload_id, &input.key)?;
        let part = |part: crate::record::StoredPart| Part {
            part_number: i32::try_from(part.number).ok(),
            size: i64::try_from(part.size).ok(),
            e_tag: Some(ETag::Strong(part.etag)),
            ..Default::default()
        };
        let output = ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(false),
            parts: Some(parts.into_iter().map(part).collect()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.store.object(&request.input.key)?;
        let output = HeadObjectOutput {
            content_length: i64::try_from(object.size).ok(),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(SystemTime::now().into()),
            server_side_encryption: encryption(object.encrypted),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    /// Discarded bytes are returned as zeros.
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let object = self.store.object(&input.key)?;
        let range = match input.range {
            Some(range) => range
                .check(object.size)
                .ok()
                // s3s accepts a suffix range of an empty object.
                .filter(|range| !range.is_empty())
                .ok_or_else(|| s3_error!(InvalidRange, "The requested range is not satisfiable"))?,
            None => 0..object.size,
        };
        let content_range = input
            .range
            .map(|_| format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), object.size));
        let length = range.end - range.start;
        let body = match object.files() {
            Some(files) => StreamingBlob::wrap(read(files, range.start, length)),
            None => StreamingBlob::wrap(zeros(length)),
        };
        let output = GetObjectOutput {
            body: Some(body),
            content_length: i64::try_from(length).ok(),
            content_range,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(SystemTime::now().into()),
            server_side_encryption: encryption(object.encrypted),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

/// The hot path. s3s passes on the chunks of hyper, so nothing is copied between socket and hash.
async fn receive(part: &mut PartWriter<'_>, body: Option<StreamingBlob>) -> S3Result<()> {
    let Some(mut body) = body else { return Ok(()) };
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
        part.write(&chunk)?;
    }
    Ok(())
}

/// The header of objects whose ETag is not an MD5.
fn encryption(encrypted: bool) -> Option<ServerSideEncryption> {
    encrypted.then(|| ServerSideEncryption::from_static(ServerSideEncryption::AWS_KMS))
}

fn zeros(length: u64) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync {
    const CHUNK: u64 = 64 * 1024;
    let chunks = (0..length.div_ceil(CHUNK)).map(move |index| {
        let left = (length - index * CHUNK).min(CHUNK);
        Ok(Bytes::from_static(&[0; CHUNK as usize]).slice(..usize::try_from(left).unwrap_or(0)))
    });
    stream::iter(chunks)
}

/// Reads `length` bytes of the concatenated files, starting at `skip`.
pub(crate) fn read(
    files: Vec<(PathBuf, u64)>,
    mut skip: u64,
    mut length: u64,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync {
    let mut spans = Vec::new();
    for (path, size) in files {
        let take = size.saturating_sub(skip).min(length);
        if take > 0 {
            spans.push((path, skip, take));
        }
        skip = skip.saturating_sub(size);
        length -= take;
    }
    stream::iter(spans).flat_map(|(path, skip, take)| {
        stream::try_unfold((None, path, skip, take), |(file, path, skip, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let mut file = match file {
                Some(file) => file,
                None => {
                    let mut file = tokio::fs::File::open(&path).await?;
                    file.seek(SeekFrom::Start(skip)).await?;
                    file
                }
            };
            let mut chunk = vec![0; usize::try_from(left.min(256 * 1024)).unwrap_or(256 * 1024)];
            let read = file.read(&mut chunk).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            chunk.truncate(read);
            Ok(Some((Bytes::from(chunk), (Some(file), path, skip, left - read as u64))))
        })
    })
}
