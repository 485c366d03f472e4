//! `hashgate hash`

use super::Exit;
use crate::digest::{Algorithm, Algorithms, Digests, Hashing};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read, Write as _, stdin, stdout};
use std::path::{Path, PathBuf};

pub(super) fn run(files: &[PathBuf], json: bool) -> anyhow::Result<Exit> {
    let mut out = stdout().lock();
    let mut exit = Exit::Done;
    for file in files {
        let digests = match digest_file(file) {
            Ok(digests) => digests,
            Err(error) => {
                eprintln!("hashgate: {}: {error}", file.display());
                exit = Exit::Failed;
                continue;
            }
        };
        if json {
            let mut line = json!({ "file": file.display().to_string(), "size": digests.length });
            for digest in digests.iter() {
                line[digest.algorithm().tag().to_lowercase()] = json!(digest.to_hex());
            }
            writeln!(out, "{line}")?;
        } else {
            for digest in digests.iter() {
                writeln!(out, "{} ({}) = {}", digest.algorithm().tag(), file.display(), digest.to_hex())?;
            }
        }
    }
    Ok(exit)
}

/// The digests of a file, or of standard input where it is `-`.
pub(super) fn digest_file(file: &Path) -> io::Result<Digests> {
    if file == Path::new("-") { digest(stdin().lock()) } else { digest(File::open(file)?) }
}

fn digest(mut source: impl Read) -> io::Result<Digests> {
    let mut hashing = Hashing::new(Algorithms::NONE.with(Algorithm::Md5).with(Algorithm::Sha1));
    let mut buffer = vec![0; 256 << 10];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hashing.finish()),
            read => hashing.update(&buffer[..read]),
        }
    }
}
