//! Through a proxy: the API and storage alike, by the variables that curl goes by.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use local_drive::Options;

use crate::support::{MIB, World};

/// A proxy on loopback that connects whom it is asked to, or refuses.
struct Proxy {
    port: u16,
    /// The request lines of the tunnels that it was asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that wants these credentials (as `Basic …`), or answers with 407.
    fn wanting(credentials: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let told = Arc::clone(&told);
                std::thread::spawn(move || drop(serve(client.unwrap(), credentials, &told)));
            }
        });
        Self { port, asked }
    }

    fn url(&self, user: &str) -> String {
        format!("http://{user}127.0.0.1:{}", self.port)
    }

    /// The different places that it was asked for.
    fn places(&self) -> Vec<String> {
        let mut places = self.asked.lock().unwrap().clone();
        places.sort();
        places.dedup();
        places
    }
}

fn serve(client: TcpStream, credentials: Option<&str>, told: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let head: Vec<String> =
        lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let place = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    told.lock().unwrap().push(place.clone());
    let allowed = credentials.is_none_or(|wanted| {
        head.iter()
            .any(|line| line.to_lowercase().starts_with("proxy-authorization:") && line.ends_with(wanted))
    });
    if !allowed {
        return (&client)
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    }
    let server = TcpStream::connect(place)?;
    (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut down) = ((client.try_clone()?, server.try_clone()?), (server, client));
    let upward = std::thread::spawn(move || {
        let _ = std::io::copy(&mut up.0, &mut up.1);
        up.1.shutdown(std::net::Shutdown::Write)
    });
    let _ = std::io::copy(&mut down.0, &mut down.1);
    let _ = down.1.shutdown(std::net::Shutdown::Write);
    let _ = upward.join();
    Ok(())
}

fn world() -> World {
    let mut world = World::with(Options { tls: true, ..Options::default() });
    let ca = world.file_of("ca.pem", world.drive.ca_pem().unwrap());
    world.set("SSL_CERT_FILE", ca);
    world
}

#[test]
fn the_api_and_storage_are_reached_through_the_proxy_that_a_variable_names() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let (mut world, proxy) = (world(), Proxy::wanting(None));
        world.set(variable, proxy.url(""));
        let file = world.file("f", 11 * MIB);
        let ran = world.run(&[&file]);
        world.assert_stored(&ran.ok().id(), &file);
        assert_eq!(proxy.places().len(), 2, "{variable}: {:?}", proxy.places());
    }
}

#[test]
fn hosts_in_no_proxy_are_reached_directly() {
    let (mut world, proxy) = (world(), Proxy::wanting(None));
    world.set("HTTPS_PROXY", proxy.url(""));
    world.set("NO_PROXY", "example.com,127.0.0.1");
    let file = world.file("f", 1000);
    world.run(&[&file]).ok();
    assert!(proxy.places().is_empty());
}

#[test]
fn a_proxy_gets_the_password_in_its_url_and_nobody_reads_it() {
    // user:sesame
    let (mut world, proxy) = (world(), Proxy::wanting(Some("Basic dXNlcjpzZXNhbWU=")));
    world.set("HTTPS_PROXY", proxy.url("user:sesame@"));
    let file = world.file("f", 1000);
    world.run(&["-vv".as_ref(), file.as_os_str()]).ok().says_nothing_of("sesame");

    world.set("HTTPS_PROXY", proxy.url("user:wrong-sesame@"));
    let ran = world.run(&["-vv".as_ref(), "--retry-for".as_ref(), "0".as_ref(), file.as_os_str()]);
    ran.fails(7).says("at the proxy that HTTPS_PROXY").says_nothing_of("sesame");
}

#[test]
fn a_proxy_that_is_not_there_is_named_as_such() {
    let mut world = world();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.set("HTTPS_PROXY", format!("http://{free}"));
    let file = world.file("f", 1000);
    let ran = world.run(&["--retry-for".as_ref(), "0".as_ref(), file.as_os_str()]);
    ran.fails(7).says("at the proxy that HTTPS_PROXY");
}
