//! TLS: trusted and untrusted servers.

use std::path::PathBuf;

use local_drive::{Action, Fault, Op, Options};

use crate::support::{MIB, World};

/// A drive with `https`, and a file with its CA certificate.
fn world() -> (World, PathBuf) {
    let world = World::with(Options { tls: true, ..Options::default() });
    let ca = world.file_of("ca.pem", world.drive.ca_pem().unwrap());
    (world, ca)
}

#[test]
fn a_ca_given_with_cacert_is_trusted_by_the_api_and_by_storage() {
    let (world, ca) = world();
    let file = world.file("f", 11 * MIB);
    let ran = world.run(&["--cacert".as_ref(), ca.as_os_str(), file.as_os_str()]);
    world.assert_stored(&ran.ok().id(), &file);
}

#[test]
fn a_ca_in_ssl_cert_file_is_trusted() {
    let (mut world, ca) = world();
    let file = world.file("f", 11 * MIB);
    world.set("SSL_CERT_FILE", ca.as_os_str());
    let ran = world.run(&[&file]);
    world.assert_stored(&ran.ok().id(), &file);
}

#[test]
fn an_unknown_ca_is_refused_at_once_with_a_hint() {
    let (world, _) = world();
    let file = world.file("f", 1000);
    world.run(&[&file]).fails(7).says("--cacert");
    assert!(world.drive.items().is_empty());
    assert!(world.drive.record().requests.is_empty(), "a request was sent to an untrusted server");
}

#[test]
fn a_reset_tls_connection_is_replaced() {
    let (world, ca) = world();
    let file = world.file("f", 11 * MIB);
    world.drive.fault(Fault::new(Op::PutPart, Action::ResetAfter(MIB)).part(2).times(1));
    let ran = world.run(&["--cacert".as_ref(), ca.as_os_str(), file.as_os_str()]);
    world.assert_stored(&ran.ok().id(), &file);
}

#[cfg(target_os = "linux")]
#[test]
fn an_unreadable_ssl_cert_file_is_an_error_that_names_it() {
    let (mut world, _) = world();
    let file = world.file("f", 1000);
    world.set("SSL_CERT_FILE", "/not/there.pem");
    world.run(&[&file]).fails(2).says("SSL_CERT_FILE /not/there.pem cannot be read");
}

#[test]
fn an_expired_certificate_hints_at_the_clock() {
    for days in [-100, 100] {
        let world = World::with(Options { tls: true, certificate_shifted_days: days, ..Options::default() });
        let ca = world.file_of("ca.pem", world.drive.ca_pem().unwrap());
        let file = world.file("f", 1000);
        let ran = world.run(&["--cacert".as_ref(), ca.as_os_str(), file.as_os_str()]);
        ran.fails(7).says("no trusted connection").says("hint: look at this computer's clock");
        assert!(world.drive.record().requests.is_empty());
    }
}
