//! `completions/` against the definition of the command line.

use std::path::Path;

use copera_upload::generate::{FILES, generate};

/// Set to any value, this test writes the files instead of comparing them.
const WRITE: &str = "COPERA_UPLOAD_WRITE_COMPLETIONS";

#[test]
fn completions_and_man_page_say_what_the_command_line_does() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    for (name, what) in FILES {
        let mut made = Vec::new();
        generate(what, &mut made).unwrap();
        let path = dir.join(name);
        if std::env::var_os(WRITE).is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, &made).unwrap();
        }
        // A checkout on Windows may have made the line ends its own.
        let there = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
        assert!(
            there == String::from_utf8(made).unwrap(),
            "completions/{name} is not what the command line makes of it; write it anew with\n    \
             {WRITE}=1 cargo test --test it generate"
        );
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), FILES.len(), "completions/ has a file too many");
}
