//! Connections: outage, idle timeout, counts.

use std::io::Read as _;
use std::time::Duration;

use local_drive::{Action, Fault, Op, Options};
use reqwest::Method;

use crate::support::{CAP, bench, plain};

#[test]
fn outage_resets_connections_and_ends_on_the_same_ports() {
    let bench = plain();
    let started = bench.start("a", 5, 1);
    let (url, storage) = (bench.drive.api_url(), bench.drive.storage_addr());
    bench.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 10 }));
    let head = bench.put_head(&started.urls[0], "Content-Length: 100\r\n");
    let mut socket = bench.raw_open(&head, &[1; 10]).unwrap();
    bench.drive.wait_until(CAP, |record| record.bytes_received_on_storage() == 10).unwrap();
    bench.drive.stop_listening().unwrap();
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // The first request may fail on a pooled connection, with another error.
    let refused = |ask: &dyn Fn() -> bool| ask() || ask();
    assert!(refused(&|| bench.try_api(Method::GET, "/drive/tree", None).err().unwrap().is_connect()));
    assert!(refused(&|| bench.try_put(&started.urls[0], b"x").err().unwrap().is_connect()));

    bench.drive.listen_again().unwrap();
    assert_eq!((bench.drive.api_url(), bench.drive.storage_addr()), (url, storage));
    assert_eq!(bench.put(&started.urls[0], b"hello").status, 200);
    assert_eq!(bench.drive.record().parts_in_flight(), 0);
}

#[test]
fn idle_connection_is_closed() {
    let bench = bench(Options { idle_timeout: Duration::from_millis(100), ..Options::default() });
    let started = bench.start("a", 5, 1);
    let head = bench.put_head(&started.urls[0], "Content-Length: 5\r\n");
    // `raw` reads until the server closes. The request does not ask for that.
    let response = bench.raw(&head, b"hello").unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(!response.contains("408"), "{response}");
    bench.drive.wait_until(CAP, |record| record.connections_open_on_storage() == 0).unwrap();
}

#[test]
fn record_counts_connections_and_parts_in_flight_and_has_headers() {
    let bench = plain();
    let started = bench.start("a", 10, 2);
    let fault = bench.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody));
    std::thread::scope(|scope| {
        for url in &started.urls {
            let bench = &bench;
            scope.spawn(move || assert_eq!(bench.put(url, b"hello").status, 200));
        }
        bench.drive.wait_until(CAP, |record| record.stored_count() == 2).unwrap();
        bench.drive.clear_fault(fault);
    });
    let record = bench.drive.record();
    assert_eq!((record.max_parts_in_flight(), record.parts_in_flight()), (2, 0));
    assert_eq!((record.connections_accepted_on_storage(), record.bytes_received_on_storage()), (2, 10));
    let puts = record.puts_of_part(started.upload_id(), 2);
    assert_eq!((puts.len(), puts[0].status), (1, Some(200)));
    assert_eq!(puts[0].headers["content-length"], "5");
    assert!(!puts[0].path.contains('?'), "a secret is in the record: {}", puts[0].path);
    assert_eq!(record.requests_of(Op::Start).next().unwrap().json.as_ref().unwrap()["fileName"], "a");
}

#[test]
fn wait_that_times_out_is_an_error() {
    let bench = plain();
    assert!(bench.drive.wait_until(Duration::from_millis(10), |record| record.count(Op::Any) > 0).is_err());
}
