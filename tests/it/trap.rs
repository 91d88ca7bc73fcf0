//! A listener that nobody should talk to, or whose answers are no HTTP that a drive would give: it records every
//! request, body and all, and answers each with the same bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub struct Trap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Trap {
    /// Answers with these bytes and closes.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let (noting, answer) = (Arc::clone(&heard), answer.into());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Also what comes without a request counts as heard.
                let _ = talk(stream, &answer, &noting);
            }
        });
        Self { address, heard }
    }

    /// Answers with 200 and nothing.
    pub fn new() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests, as they came.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn talk(mut stream: TcpStream, answer: &[u8], heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
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
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    stream.write_all(answer)?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// Whether a request is there up to its body's end, as its Content-Length says.
fn is_whole(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    request.len() >= head + 4 + length
}
