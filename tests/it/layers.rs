//! The layers of the code: a module imports only lower layers, and files do not import each other in a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

/// The modules of `src` from the top layer to the bottom. Modules of one layer do not import each other.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["run"],
    &["login", "setup"],
    &["signals", "settings", "progress", "output"],
    &["engine", "config"],
    &["file_context"],
    &["drive", "storage", "tls"],
    &["cli", "environment", "dial", "spool"],
    &["event", "limits", "proxy", "source"],
    &["plan", "outcome", "circuit_breaker", "disk", "http"],
    &["error", "etag", "limited", "options"],
    &["checksum", "format", "item", "platform", "retry", "secret", "units"],
    &["mutex"],
];

type Module = Vec<String>;

/// Finds `use` declarations and paths in expressions, outside comments, tests and strings.
struct Source {
    module: Module,
    file: PathBuf,
    /// The modules that this module imports.
    imports: BTreeSet<Module>,
}

fn files(folder: &Path, module: &[String], found: &mut Vec<(Module, PathBuf)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            files(&path, &[module, &[name]].concat(), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !name.ends_with("tests") {
            match name.as_str() {
                "lib" => {}
                "mod" => found.push((module.to_vec(), path)),
                _ => found.push(([module, &[name]].concat(), path)),
            }
        }
    }
}

/// The source without comments, strings and tests.
fn code(text: &str) -> String {
    let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
    let noise = Regex::new(r#"(?m)//.*$|"(?:[^"\\]|\\.|\\\n)*""#).unwrap();
    noise.replace_all(&text[..tests], "").into_owned()
}

/// The paths of a use tree. `a::{b, c::{d, e}}` has three.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        return paths.push(format!("{prefix}{tree}"));
    };
    let prefix = format!("{prefix}{head}");
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start) = (0, 0);
    for (at, character) in inner.char_indices().chain([(inner.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, inner[start..at].trim(), paths);
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let uses = Regex::new(r"(?s)\buse ((?:crate|super|self)::[^;]*);").unwrap();
    for found in uses.captures_iter(code) {
        expand("", &found[1].split_whitespace().collect::<String>(), &mut paths);
    }
    let inline = Regex::new(r"\b(?:crate|super|self)(?:::\w+)+").unwrap();
    let rest = uses.replace_all(code, "");
    paths.extend(inline.find_iter(&rest).map(|found| found.as_str().to_owned()));
    paths
}

fn read() -> Vec<Source> {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut found);
    let modules: BTreeSet<Module> = found.iter().map(|(module, _)| module.clone()).collect();
    let source = |(module, file): (Module, PathBuf)| {
        let code = code(&std::fs::read_to_string(&file).unwrap());
        let mut imports = BTreeSet::new();
        for path in paths(&code) {
            let mut full = module.clone();
            for step in path.split("::") {
                match step {
                    "crate" => full.clear(),
                    "super" => drop(full.pop()),
                    "self" => {}
                    step => full.push(step.to_owned()),
                }
            }
            while !modules.contains(&full) && full.pop().is_some() {}
            if !full.is_empty() && full != module {
                imports.insert(full);
            }
        }
        Source { module, file, imports }
    };
    found.into_iter().map(source).collect()
}

#[test]
fn a_module_imports_only_lower_layers() {
    let row = |module: &str| LAYERS.iter().position(|row| row.contains(&module));
    let mut wrong = Vec::new();
    for Source { module, file, imports } in read() {
        let own = row(&module[0]);
        if own.is_none() {
            wrong.push(format!("{}: no layer has the module {}", file.display(), module[0]));
        }
        for import in imports.iter().filter(|import| import[0] != module[0]) {
            if row(&import[0]) <= own {
                wrong.push(format!("{} imports {}", module.join("::"), import.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let imports: BTreeMap<Module, BTreeSet<Module>> =
        read().into_iter().map(|source| (source.module, source.imports)).collect();
    let reaches = |from: &Module, to: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            if module == to {
                return true;
            }
            if seen.insert(module) {
                next.extend(imports.get(module).into_iter().flatten());
            }
        }
        false
    };
    let mut circles = Vec::new();
    for (module, imported) in &imports {
        for import in imported.iter().filter(|import| reaches(import, module)) {
            circles.push(format!("{} -> {}", module.join("::"), import.join("::")));
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn all_forms_of_imports_are_found() {
    let code = code(
        "//! use crate::comment;\nuse crate::{a::B, c::{self, d::E as F}};\npub use self::g::*;\n\
         fn f() { super::h::i(\"crate::string\") }\n#[cfg(test)]\nmod tests { use crate::test; }",
    );
    let mut found = paths(&code);
    found.sort();
    assert_eq!(found, ["crate::a::B", "crate::c::d::EasF", "crate::c::self", "self::g::*", "super::h::i"]);
}
