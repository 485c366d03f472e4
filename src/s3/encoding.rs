//! The encodings that readers of an object undo by themselves, by their names in `Content-Encoding`.

/// How a payload is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 9110, section 8.4.1.2: zlib, or, as some send it, without its frame.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The encodings that a value of `Content-Encoding` names, in the order in which they were applied. Other names are
    /// left out: nobody undoes them.
    pub fn named(value: &str) -> impl Iterator<Item = Encoding> + '_ {
        value.split(',').filter_map(|name| match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Encoding::Gzip),
            "deflate" => Some(Encoding::Deflate),
            "br" => Some(Encoding::Brotli),
            "zstd" => Some(Encoding::Zstd),
            _ => None,
        })
    }

    /// Whether a payload begins with bytes that tell it.
    pub fn is_recognised(self) -> bool {
        matches!(self, Encoding::Gzip | Encoding::Zstd)
    }
}
