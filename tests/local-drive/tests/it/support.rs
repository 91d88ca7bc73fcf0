//! A synchronous client for the tests.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use local_drive::{LocalDrive, Options};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The smallest part that S3 accepts before the last one.
pub(crate) const MIB5: usize = 5 * 1024 * 1024;

/// Timeout of waits. Longer than anything here takes.
pub(crate) const CAP: Duration = Duration::from_secs(30);

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    /// The code of an S3 error.
    pub(crate) fn code(&self) -> &str {
        let start = self.text.find("<Code>").map_or(0, |at| at + 6);
        self.text[start..].split('<').next().unwrap()
    }

    pub(crate) fn etag(&self) -> &str {
        self.headers["etag"].to_str().unwrap()
    }
}

pub(crate) struct Bench {
    pub(crate) drive: LocalDrive,
    pub(crate) runtime: Runtime,
    pub(crate) http: Client,
}

/// A started upload with its URLs.
pub(crate) struct Started {
    pub(crate) ids: Value,
    pub(crate) urls: Vec<String>,
}

impl Started {
    pub(crate) fn upload_id(&self) -> &str {
        self.ids["uploadId"].as_str().unwrap()
    }
}

pub(crate) fn bench(options: Options) -> Bench {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let http = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    Bench { drive: LocalDrive::start(options).unwrap(), runtime, http }
}

pub(crate) fn plain() -> Bench {
    bench(Options::default())
}

impl Bench {
    pub(crate) fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
        self.runtime.block_on(async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok(Reply { status, headers, text: response.text().await? })
        })
    }

    pub(crate) fn try_api(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::Result<Reply> {
        let url = format!("{}{path}", self.drive.api_url());
        let mut request = self.http.request(method, url).bearer_auth(self.drive.token());
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.send(request)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let reply = self.try_api(Method::POST, path, Some(body)).unwrap();
        (reply.status, serde_json::from_str(&reply.text).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let reply = self.try_api(Method::GET, path, None).unwrap();
        (reply.status, serde_json::from_str(&reply.text).unwrap())
    }

    pub(crate) fn start(&self, name: &str, size: usize, parts: usize) -> Started {
        let body = json!({ "fileName": name, "fileSize": size, "mimeType": "text/plain" });
        let (status, ids) = self.post("/drive/files/upload/multipart/start", &body);
        assert_eq!(status, 201, "{ids}");
        let urls = self.urls(&ids, parts);
        Started { ids, urls }
    }

    pub(crate) fn urls(&self, ids: &Value, parts: usize) -> Vec<String> {
        let mut body = ids.clone();
        body["parts"] = json!(parts);
        let (status, reply) = self.post("/drive/files/upload/multipart/presigned-urls", &body);
        assert_eq!(status, 201, "{reply}");
        let list = reply["parts"].as_array().unwrap();
        list.iter().map(|part| part["signedUrl"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn try_put(&self, url: &str, bytes: &[u8]) -> reqwest::Result<Reply> {
        self.send(self.http.put(url).body(bytes.to_vec()))
    }

    pub(crate) fn put(&self, url: &str, bytes: &[u8]) -> Reply {
        self.try_put(url, bytes).unwrap()
    }

    pub(crate) fn finalize_body(started: &Started, etags: &[String]) -> Value {
        let mut body = started.ids.clone();
        let parts = etags.iter().enumerate();
        body["parts"] = parts.map(|(index, etag)| json!({ "partNumber": index + 1, "eTag": etag })).collect();
        body
    }

    pub(crate) fn finalize(&self, started: &Started, etags: &[String]) -> (u16, Value) {
        self.post("/drive/files/upload/multipart/finalize", &Self::finalize_body(started, etags))
    }

    /// Uploads a file of these parts. Returns the item.
    pub(crate) fn upload(&self, name: &str, parts: &[&[u8]]) -> Value {
        let size = parts.iter().map(|part| part.len()).sum();
        let started = self.start(name, size, parts.len());
        let etags: Vec<String> =
            started.urls.iter().zip(parts).map(|(url, part)| self.put(url, part).etag().to_owned()).collect();
        let (status, item) = self.finalize(&started, &etags);
        assert_eq!(status, 201, "{item}");
        item
    }

    /// Sends raw bytes to the storage and reads until it closes the connection. A reset is an error.
    pub(crate) fn raw(&self, request: &str, body: &[u8]) -> std::io::Result<String> {
        let mut socket = self.raw_open(request, body)?;
        let mut text = Vec::new();
        socket.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) fn raw_open(&self, request: &str, body: &[u8]) -> std::io::Result<TcpStream> {
        let mut socket = TcpStream::connect(self.drive.storage_addr())?;
        socket.set_read_timeout(Some(CAP))?;
        socket.write_all(request.as_bytes())?;
        socket.write_all(body)?;
        Ok(socket)
    }

    /// The head of a PUT with additional header lines.
    pub(crate) fn put_head(&self, url: &str, more: &str) -> String {
        let url = reqwest::Url::parse(url).unwrap();
        let host = self.drive.storage_addr();
        format!("PUT {}?{} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n", url.path(), url.query().unwrap())
    }
}

/// Two parts of an object.
pub(crate) fn two_parts() -> (Vec<u8>, Vec<u8>) {
    let first: Vec<u8> = (0..MIB5).map(|index| u8::try_from(index % 101).unwrap()).collect();
    (first, b"the end".to_vec())
}
