//! A server that records every request and sends the same response to each. For requests that should not happen, and
//! for responses that a drive would never send.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub struct MockServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl MockServer {
    /// Sends these bytes and closes.
    pub fn responding(response: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (record, response) = (Arc::clone(&requests), response.into());
        // This thread ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection without a request counts too.
                let _ = talk(stream, &response, &record);
            }
        });
        Self { address, requests }
    }

    /// Sends an empty response with status 200.
    pub fn new() -> Self {
        Self::responding("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    /// URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn talk(mut stream: TcpStream, response: &[u8], requests: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut block = [0; 16 * 1024];
    while !is_whole(&request) {
        match stream.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(read) => request.extend_from_slice(&block[..read]),
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    stream.write_all(response)?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// Whether a request is complete, by its Content-Length.
fn is_whole(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    request.len() >= head + 4 + length
}
