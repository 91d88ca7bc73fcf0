//! A page of the documentation: headings, links, inline code and fenced blocks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Markdown file.
pub struct Page {
    /// Its path in the repository.
    pub name: String,
    /// The anchors of its headings, as GitHub generates them.
    pub anchors: Vec<String>,
    /// The targets of its links and images.
    pub links: Vec<Spot>,
    /// Inline code.
    pub code: Vec<Spot>,
    /// Inline code in the first column of tables.
    pub first_column: Vec<Spot>,
    /// Fenced blocks.
    pub blocks: Vec<Block>,
}

/// Text with its line.
pub struct Spot {
    pub line: usize,
    pub text: String,
}

/// How the tests treat a fenced block. It follows the language: `sh`, `sh exit: 4`, `sh ci`, `sh not-run: needs root`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Run it. The last command ends with this exit code.
    Run(i32),
    /// `.ci/run` runs it.
    Ci,
    /// A test cannot run it and checks only its syntax.
    NotRun,
}

/// A fenced block.
#[derive(Clone)]
pub struct Block {
    /// `README.md:42`
    pub place: String,
    pub language: String,
    pub mode: Mode,
    pub text: String,
}

/// All pages in the root and in `docs/`.
pub fn all() -> Vec<Page> {
    let mut paths: Vec<PathBuf> = ["", "docs"]
        .iter()
        .flat_map(|directory| std::fs::read_dir(root().join(directory)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap().replace("\r\n", "\n");
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let mut page = Self {
            name,
            anchors: Vec::new(),
            links: Vec::new(),
            code: Vec::new(),
            first_column: Vec::new(),
            blocks: Vec::new(),
        };
        page.parse(&text);
        page
    }

    fn parse(&mut self, text: &str) {
        let mut taken: HashMap<String, usize> = HashMap::new();
        let mut heading: Option<String> = None;
        let mut block: Option<Block> = None;
        let mut column = None;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = text[..range.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap());
                    let count = taken.entry(slug.clone()).or_default();
                    self.anchors.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
                    *count += 1;
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    self.links.push(Spot { line, text: dest_url.into_string() });
                }
                Event::Start(Tag::TableRow) => column = Some(0),
                Event::End(TagEnd::TableCell) => column = column.map(|column| column + 1),
                Event::End(TagEnd::TableRow) => column = None,
                Event::Start(Tag::CodeBlock(kind)) => {
                    let CodeBlockKind::Fenced(info) = kind else {
                        panic!("{}:{line}: an indented code block; fence it", self.name);
                    };
                    let place = format!("{}:{line}", self.name);
                    let (language, mode) = info.split_once(' ').unwrap_or((&info, ""));
                    let mode = parse_mode(mode).unwrap_or_else(|| panic!("{place}: unknown mode: {info}"));
                    block = Some(Block { place, language: language.to_owned(), mode, text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => self.blocks.extend(block.take()),
                Event::Text(text) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    if column == Some(0) {
                        self.first_column.push(Spot { line, text: code.to_string() });
                    }
                    self.code.push(Spot { line, text: code.into_string() });
                }
                _ => {}
            }
        }
    }
}

fn parse_mode(mode: &str) -> Option<Mode> {
    match mode.split_once(": ") {
        None if mode.is_empty() => Some(Mode::Run(0)),
        None if mode == "ci" => Some(Mode::Ci),
        Some(("exit", code)) => code.parse().ok().map(Mode::Run),
        Some(("not-run", reason)) if !reason.is_empty() => Some(Mode::NotRun),
        _ => None,
    }
}

/// The anchor of a heading on GitHub: lower case, without punctuation, hyphens for spaces.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            character => character.is_alphanumeric().then_some(character),
        })
        .collect()
}
