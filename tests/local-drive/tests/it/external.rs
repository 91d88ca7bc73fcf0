//! Checks of an external S3 server when the drive starts.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use local_drive::{ExternalS3, LocalDrive, Options, S3};

/// A server with scripted responses, one per connection. It records method and path of each request.
struct Scripted {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

fn scripted(responses: &[(u16, &str)]) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (told, responses) =
        (Arc::clone(&lines), responses.iter().map(|(status, xml)| (*status, (*xml).to_owned())));
    let responses: Vec<_> = responses.collect();
    thread::spawn(move || {
        for (status, xml) in responses {
            let (mut socket, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let line = head.split_once('?').map_or(head.as_str(), |(line, _)| line).to_owned();
            told.lock().unwrap().push(line);
            let length = xml.len();
            let response =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{xml}");
            socket.write_all(response.as_bytes()).unwrap();
        }
    });
    Scripted { address, lines }
}

const BEGUN: &str = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
const NO_BUCKET: &str = "<Error><Code>NoSuchBucket</Code><Message>Not there</Message></Error>";

fn start(address: SocketAddr) -> anyhow::Result<LocalDrive> {
    let external = ExternalS3 {
        endpoint: format!("http://{address}"),
        bucket: "some-bucket".into(),
        access_key: "key".into(),
        secret_key: "secret".into(),
        region: "us-east-1".into(),
    };
    LocalDrive::start(Options { s3: S3::External(external), ..Options::default() })
}

fn refusal(address: SocketAddr) -> String {
    format!("{:#}", start(address).err().unwrap())
}

#[test]
fn missing_bucket_is_created() {
    let server = scripted(&[(404, NO_BUCKET), (200, ""), (200, BEGUN), (204, "")]);
    start(server.address).unwrap();
    let lines = server.lines.lock().unwrap();
    let probe = "/some-bucket/local-drive-probe";
    let expected = [
        format!("POST {probe}"),
        "PUT /some-bucket/".into(),
        format!("POST {probe}"),
        format!("DELETE {probe}"),
    ];
    assert_eq!(*lines, expected);
}

#[test]
fn existing_bucket_is_only_probed() {
    let server = scripted(&[(200, BEGUN), (204, "")]);
    start(server.address).unwrap();
    assert_eq!(server.lines.lock().unwrap().len(), 2);
}

#[test]
fn start_fails_with_the_reason_if_the_server_is_unusable() {
    let denied = "<Error><Code>InvalidAccessKeyId</Code><Message>No such key</Message></Error>";
    let told = refusal(scripted(&[(403, denied)]).address);
    assert!(told.starts_with("cannot use the bucket some-bucket at http://127.0.0.1:"), "{told}");
    assert!(told.ends_with("403 InvalidAccessKeyId: No such key"), "{told}");

    let denied = "<Error><Code>AccessDenied</Code></Error>";
    let told = refusal(scripted(&[(404, NO_BUCKET), (403, denied)]).address);
    assert!(told.contains("cannot create it") && told.contains("AccessDenied"), "{told}");

    let told = refusal(scripted(&[(200, "<html>Welcome</html>")]).address);
    assert!(told.contains("upload ID"), "{told}");

    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = refusal(gone);
    assert!(told.contains("refused") && !told.contains("X-Amz"), "{told}");
}
