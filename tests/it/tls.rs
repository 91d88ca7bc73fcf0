//! Through TLS: whom the program trusts, and what it says when it does not.

use std::path::PathBuf;

use local_drive::{Action, Fault, Op, Options};

use crate::support::{MIB, World};

/// A drive that speaks `https`, and the file with its CA's certificate.
fn world() -> (World, PathBuf) {
    let world = World::with(Options { tls: true, ..Options::default() });
    let ca = world.file_of("ca.pem", world.drive.ca_pem().unwrap());
    (world, ca)
}

#[test]
fn a_company_ca_given_with_cacert_is_trusted_by_the_api_and_by_storage() {
    let (world, ca) = world();
    let file = world.file("f", 11 * MIB);
    let ran = world.run(&["--cacert".as_ref(), ca.as_os_str(), file.as_os_str()]);
    world.assert_stored(&ran.ok().id(), &file);
}

#[test]
fn a_company_ca_in_ssl_cert_file_is_trusted() {
    let (mut world, ca) = world();
    let file = world.file("f", 11 * MIB);
    world.set("SSL_CERT_FILE", ca.as_os_str());
    let ran = world.run(&[&file]);
    world.assert_stored(&ran.ok().id(), &file);
}

#[test]
fn a_server_whose_ca_is_unknown_is_refused_at_once_and_the_hint_names_cacert() {
    let (world, _) = world();
    let file = world.file("f", 1000);
    world.run(&[&file]).fails(7).says("--cacert");
    assert!(world.drive.items().is_empty());
    assert!(world.drive.record().requests.is_empty(), "nothing is sent to whom nobody trusts");
}

#[test]
fn a_tls_connection_that_is_reset_in_a_part_is_made_again() {
    let (world, ca) = world();
    let file = world.file("f", 11 * MIB);
    world.drive.fault(Fault::new(Op::PutPart, Action::ResetAfter(MIB)).part(2).times(1));
    let ran = world.run(&["--cacert".as_ref(), ca.as_os_str(), file.as_os_str()]);
    world.assert_stored(&ran.ok().id(), &file);
}

#[cfg(target_os = "linux")]
#[test]
fn an_ssl_cert_file_that_cannot_be_read_is_an_error_that_names_it() {
    let (mut world, _) = world();
    let file = world.file("f", 1000);
    world.set("SSL_CERT_FILE", "/not/there.pem");
    world.run(&[&file]).fails(2).says("SSL_CERT_FILE /not/there.pem cannot be read");
}

#[test]
fn a_certificate_out_of_its_dates_is_refused_at_once_and_the_hint_is_to_look_at_the_clock() {
    for days in [-100, 100] {
        let world = World::with(Options { tls: true, certificate_shifted_days: days, ..Options::default() });
        let ca = world.file_of("ca.pem", world.drive.ca_pem().unwrap());
        let file = world.file("f", 1000);
        let ran = world.run(&["--cacert".as_ref(), ca.as_os_str(), file.as_os_str()]);
        ran.fails(7).says("no trusted connection").says("hint: look at this computer's clock");
        assert!(world.drive.record().requests.is_empty());
    }
}
