//! A cursor over a YAML document that takes typed keys and collects what is wrong, instead of stopping at the first.

use super::Problem;
use serde_yaml::{Mapping, Value};
use std::cell::RefCell;
use std::env;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The problems of one document, shared by its sections.
pub(super) type Problems = Rc<RefCell<Vec<Problem>>>;

/// One mapping of the document, with the keys that nobody asked for yet.
pub(super) struct Section {
    path: String,
    left: Mapping,
    known: Vec<&'static str>,
    problems: Problems,
    folder: PathBuf,
}

impl Section {
    /// The whole document. `folder` is what relative paths are relative to.
    pub(super) fn root(document: Value, folder: &Path, problems: Problems) -> Section {
        let section = Section {
            path: String::new(),
            left: Mapping::new(),
            known: Vec::new(),
            problems,
            folder: folder.to_owned(),
        };
        section.child(String::new(), document)
    }

    fn child(&self, path: String, value: Value) -> Section {
        let (problems, folder) = (self.problems.clone(), self.folder.clone());
        let mut section = Section { path, left: Mapping::new(), known: Vec::new(), problems, folder };
        match value {
            Value::Mapping(mapping) => section.left = mapping,
            Value::Null => {}
            _ => section.complain("", "expected a group of `key: value` lines"),
        }
        section
    }

    /// Notes a problem with `key`, or with the section itself where `key` is empty.
    pub(super) fn complain(&self, key: &str, message: impl Into<String>) {
        let path = match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        };
        self.problems.borrow_mut().push(Problem { path, message: message.into() });
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.left.shift_remove(key).filter(|value| !value.is_null())
    }

    /// A group below `key`; empty where it is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Section {
        self.optional_section(key).unwrap_or_else(|| self.child(self.path_of(key), Value::Null))
    }

    /// A group below `key`, where it is there.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Section> {
        let value = self.take(key)?;
        Some(self.child(self.path_of(key), value))
    }

    /// The groups of a list below `key`; `None` where it is absent.
    pub(super) fn sections(&mut self, key: &'static str) -> Option<Vec<Section>> {
        let path = self.path_of(key);
        match self.take(key)? {
            Value::Sequence(items) => Some(
                items.into_iter().enumerate().map(|(at, item)| self.child(format!("{path}[{at}]"), item)).collect(),
            ),
            _ => {
                self.complain(key, "expected a list");
                None
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A text, with `${NAME}` replaced from the environment.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let text = match self.take(key)? {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => {
                self.complain(key, "expected a text");
                return None;
            }
        };
        match expand(&text) {
            Ok(text) => Some(text),
            Err(message) => {
                self.complain(key, message);
                None
            }
        }
    }

    /// A text that has to be there.
    pub(super) fn required(&mut self, key: &'static str) -> Option<String> {
        let there = self.left.contains_key(key);
        let text = self.text(key).filter(|text| !text.is_empty());
        if text.is_none() && !there {
            self.complain(key, "is needed");
        }
        text
    }

    /// The texts of a list below `key`.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Sequence(items)) if items.iter().all(Value::is_string) => {
                items.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            Some(_) => {
                self.complain(key, "expected a list of texts");
                Vec::new()
            }
        }
    }

    /// A path, relative to the folder of the configuration.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.text(key)?;
        Some(self.folder.join(path))
    }

    /// A path that was read, relative to the folder of the configuration.
    pub(super) fn in_folder(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// A path that has to be there.
    pub(super) fn required_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.required(key)?;
        Some(self.folder.join(path))
    }

    /// Whether the key is there and was not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    /// A text that is left where it is; `None` also where it is no good.
    pub(super) fn peek(&self, key: &str) -> Option<String> {
        expand(self.left.get(key)?.as_str()?).ok()
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        match self.take(key) {
            None => default,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.complain(key, "expected true or false");
                default
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let choice = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.complain(key, format!("`{text}` is unknown; use one of: {choice}"));
        None
    }

    /// A duration such as `250ms`, `30s`, `5m`, `2h`, `365d`; more than nothing.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        let duration = parse_duration(&text);
        if duration.is_none() {
            self.complain(key, format!("`{text}` is no duration; write it like 250ms, 30s, 5m, 2h or 7d"));
        }
        duration
    }

    /// A number of bytes such as `64KiB`, `8MiB`, `1GiB` or plain; more than nothing.
    pub(super) fn size(&mut self, key: &'static str) -> Option<u64> {
        let text = self.text(key)?;
        let size = parse_size(&text);
        if size.is_none() {
            self.complain(key, format!("`{text}` is no size; write it like 65536, 64KiB, 8MiB or 1GiB"));
        }
        size
    }

    /// As [`Section::size`], but `0` is a size, too.
    pub(super) fn size_or_none(&mut self, key: &'static str) -> Option<u64> {
        if self.left.get(key).is_some_and(|value| value.as_u64() == Some(0)) {
            self.take(key);
            return Some(0);
        }
        self.size(key)
    }

    /// A whole number above zero.
    pub(super) fn number(&mut self, key: &'static str) -> Option<u32> {
        let text = self.text(key)?;
        let number = text.parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            self.complain(key, format!("`{text}` is no whole number above zero"));
        }
        number
    }

    /// Says that every key was asked for: what is left is unknown.
    pub(super) fn end(self) {
        for key in self.left.keys() {
            let key = key.as_str().unwrap_or("?");
            let near = self.known.iter().find(|known| is_near(known, key));
            let hint = near.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            self.complain(key, format!("is unknown{hint}"));
        }
    }
}

/// Replaces `${NAME}`; `$${` stands for `${`.
fn expand(text: &str) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            expanded.push_str(&rest[..at - 1]);
            expanded.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        expanded.push_str(&rest[..at]);
        let (name, behind) =
            rest[at + 2..].split_once('}').ok_or("`${` without its `}`; write `$${` for a plain one")?;
        expanded.push_str(&env::var(name).map_err(|_| format!("the environment has no variable {name}"))?);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok().filter(|number| *number > 0)?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok().filter(|number| *number > 0)?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Whether two keys are the same but for a letter or two, or for `-` and `_`.
fn is_near(known: &str, given: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let (known, given) = (plain(known), plain(given));
    let (a, b): (Vec<char>, Vec<char>) = (known.chars().collect(), given.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()] <= 2 && a.len() > 3
}
