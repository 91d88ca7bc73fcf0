//! Small proxies on loopback that forward or refuse requests.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How a proxy treats clients.
#[derive(Clone, Default)]
pub struct Rules {
    /// The required value of `Proxy-Authorization`, as `Basic …`. Otherwise, the response is 407.
    pub credentials: Option<&'static str>,
    /// Refuses requests with this status, beginning with the nth.
    pub response: Option<(usize, &'static str)>,
    /// Uses TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Uses SOCKS 5, with optional credentials and this reply (0 is success).
    pub socks: Option<(Option<(&'static str, &'static str)>, u8)>,
}

/// A proxy.
pub struct Proxy {
    pub port: u16,
    /// The target of each request.
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Proxy {
    pub fn new(rules: Rules) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (rules, told) = (rules.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    let _ = match rules.tls.clone() {
                        Some(tls) => {
                            let client = tokio_rustls::TlsAcceptor::from(tls).accept(client).await?;
                            serve(client, &rules, &told).await
                        }
                        None => serve(client, &rules, &told).await,
                    };
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Self { port, asked, _runtime: runtime }
    }

    /// The URL of the proxy with this part before host and port, such as `http://user:password@`.
    pub fn url(&self, before: &str) -> String {
        format!("{before}127.0.0.1:{}", self.port)
    }

    /// Number of requests.
    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Distinct targets.
    pub fn targets(&self) -> Vec<String> {
        let mut targets = self.asked.lock().unwrap().clone();
        targets.sort();
        targets.dedup();
        targets
    }
}

async fn serve<S>(mut client: S, rules: &Rules, told: &Mutex<Vec<String>>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if rules.socks.is_some() {
        return socks(client, rules, told).await;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let (method, place) = head.split_once(' ').unwrap();
    let place = place.split(' ').next().unwrap().to_owned();
    let nth = {
        let mut told = told.lock().unwrap();
        told.push(place.clone());
        told.len()
    };
    let allowed = rules.credentials.is_none_or(|wanted| {
        head.lines()
            .any(|line| line.to_lowercase().starts_with("proxy-authorization:") && line.ends_with(wanted))
    });
    let refusal = match &rules.response {
        Some((from, response)) if nth >= *from => Some(*response),
        _ => (!allowed).then_some("407 Proxy Authentication Required"),
    };
    if let Some(status) = refusal {
        let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return client.write_all(response.as_bytes()).await;
    }
    let mut server;
    if method == "CONNECT" {
        server = TcpStream::connect(&place).await?;
        // Squid responded with this version for years.
        client.write_all(b"HTTP/1.0 200 Connection established\r\n\r\n").await?;
    } else {
        // One request per connection. The client sees `Connection: close` from the server.
        let authority = place.trim_start_matches("http://").split('/').next().unwrap();
        server = TcpStream::connect(authority).await?;
        let path = place.trim_start_matches("http://").trim_start_matches(authority);
        let head = head.replacen(&place, path, 1).replacen("\r\n", "\r\nConnection: close\r\n", 1);
        server.write_all(head.as_bytes()).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// SOCKS 5 (RFC 1928 and 1929), only CONNECT.
async fn socks<S>(mut client: S, rules: &Rules, told: &Mutex<Vec<String>>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (wanted, reply) = rules.socks.unwrap();
    assert_eq!(client.read_u8().await?, 5);
    let mut methods = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut methods).await?;
    let method = if wanted.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        told.lock().unwrap().push("no method".to_owned());
        return client.write_all(&[5, 0xff]).await;
    }
    client.write_all(&[5, method]).await?;
    if let Some((user, password)) = wanted {
        assert_eq!(client.read_u8().await?, 1);
        let mut given = Vec::new();
        for _ in 0..2 {
            let mut text = vec![0; client.read_u8().await?.into()];
            client.read_exact(&mut text).await?;
            given.push(String::from_utf8(text).unwrap());
        }
        let right = given == [user, password];
        client.write_all(&[1, u8::from(!right)]).await?;
        if !right {
            told.lock().unwrap().push("wrong password".to_owned());
            return Ok(());
        }
    }
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let host = match head[3] {
        1 => std::net::Ipv4Addr::from(client.read_u32().await?).to_string(),
        3 => {
            let mut name = vec![0; client.read_u8().await?.into()];
            client.read_exact(&mut name).await?;
            String::from_utf8(name).unwrap()
        }
        _ => std::net::Ipv6Addr::from(client.read_u128().await?).to_string(),
    };
    let port = client.read_u16().await?;
    told.lock().unwrap().push(format!("{host}:{port}"));
    client.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if reply != 0 {
        return Ok(());
    }
    let mut server = TcpStream::connect((host.as_str(), port)).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}
