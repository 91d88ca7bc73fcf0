use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::error::Error;
use crate::item::Item;
use crate::outcome::{Done, Origin};

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails each write in one way.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn outcome(result: Result<Done, Error>) -> Outcome {
    Outcome {
        path: "a.pdf".into(),
        result,
        bytes: 10,
        sent_bytes: 12,
        resumed_bytes: 3,
        kept_bytes: 0,
        retries: 2,
        elapsed: Duration::from_micros(1_234_567),
        is_folder: false,
    }
}

fn uploaded(json: &str) -> Outcome {
    let item = Item::new(RawValue::from_string(json.to_owned()).unwrap()).unwrap();
    outcome(Ok(Done { item, origin: Origin::Uploaded, verified: None }))
}

const ODD: &str = r#"{ "_id":"66b",
  "size": 1.0E+2, "big":12345678901234567890123, "name":"a \"{b}\", \\", "x":[ ], "y" : {},
  "tags":["a",  null ], "a":1,"a":2, "e":"é\u00e9" }"#;

fn print(mode: OutputMode, terminal: bool, outcome: &Outcome) -> String {
    let paper = Paper::default();
    Output::new(mode, None, terminal, paper.clone()).result(outcome).unwrap();
    paper.text()
}

#[test]
fn an_item_comes_out_as_it_came_in_but_for_white_space() {
    assert_eq!(
        print(OutputMode::Json, false, &uploaded(ODD)),
        r#"{"_id":"66b","size":1.0E+2,"big":12345678901234567890123,"name":"a \"{b}\", \\","x":[],"y":{},"tags":["a",null],"a":1,"a":2,"e":"é\u00e9"}
"#
    );
    assert_eq!(
        print(OutputMode::Json, true, &uploaded(ODD)),
        r#"{
  "_id": "66b",
  "size": 1.0E+2,
  "big": 12345678901234567890123,
  "name": "a \"{b}\", \\",
  "x": [],
  "y": {},
  "tags": [
    "a",
    null
  ],
  "a": 1,
  "a": 2,
  "e": "é\u00e9"
}
"#
    );
}

#[test]
fn a_terminal_gets_no_control_characters_and_a_pipe_gets_every_byte() {
    let item = uploaded("{\"_id\":\"\u{202e}1\",\"name\":\"\u{9b}31m\u{7f}\"}");
    assert_eq!(
        print(OutputMode::Json, true, &item),
        "{\n  \"_id\": \"\\u202e1\",\n  \"name\": \"\\u009b31m\\u007f\"\n}\n"
    );
    assert_eq!(
        print(OutputMode::Json, false, &item),
        "{\"_id\":\"\u{202e}1\",\"name\":\"\u{9b}31m\u{7f}\"}\n"
    );
    assert_eq!(print(OutputMode::Id, true, &item), "\\u{202e}1\n");
}

#[test]
fn each_mode_prints_its_own() {
    let item = uploaded(r#"{"_id":"66b"}"#);
    assert_eq!(print(OutputMode::Id, false, &item), "66b\n");
    assert_eq!(print(OutputMode::None, false, &item), "");
    let failed = outcome(Err(Error::usage("no")));
    assert_eq!(print(OutputMode::Json, false, &failed), "");
    assert_eq!(print(OutputMode::Id, false, &failed), "");
    let paper = Paper::default();
    Output::new(OutputMode::None, None, false, paper.clone()).dry_run_line(r#"{"path":"a"}"#).unwrap();
    assert_eq!(paper.text(), "{\"path\":\"a\"}\n");
}

#[test]
fn a_reader_that_went_away_is_no_error_and_a_full_disk_is_one_once() {
    let item = uploaded(r#"{"_id":"66b"}"#);
    let closed = Output::new(OutputMode::Id, None, false, Broken(io::ErrorKind::BrokenPipe));
    assert!(closed.result(&item).is_ok() && closed.result(&item).is_ok());
    let full = Output::new(OutputMode::Id, None, false, Broken(io::ErrorKind::StorageFull));
    assert_eq!(full.result(&item).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(full.result(&item).is_ok());
}

#[test]
fn a_report_row_tells_everything_in_one_line() {
    assert_eq!(
        report_row(&uploaded("{\n \"_id\": \"66b\", \"n\": 1.0 }")).unwrap(),
        r#"{"path":"a.pdf","status":"uploaded","item":{"_id":"66b","n":1.0},"bytes":10,"sent_bytes":12,"resumed_bytes":3,"retries":2,"seconds":1.234}"#
    );
    assert_eq!(
        report_row(&outcome(Err(Error::usage_hint("no", "yes")))).unwrap(),
        r#"{"path":"a.pdf","status":"failed","error":{"code":"usage","message":"no","hint":"yes","exit_code":2},"bytes":10,"sent_bytes":12,"resumed_bytes":3,"retries":2,"seconds":1.234}"#
    );
}
