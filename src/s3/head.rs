//! The head of a request as the rules of S3 read it: raw path and query, and "effective" values, because stores take an
//! `x-amz-*` query parameter for the header of that name.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

/// The head of a request, borrowed and raw: nothing is decoded or normalised.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as sent, still percent-encoded, beginning with `/`.
    pub path: &'a str,
    /// The query as sent, without its `?`; empty where there is none.
    pub query: &'a str,
    /// The headers, names in lower case.
    pub headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    /// Reads the head out of a request's parts.
    pub fn of(parts: &'a http::request::Parts) -> Head<'a> {
        Head {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or(""),
            headers: &parts.headers,
        }
    }

    /// The first value of a header, as text; `None` where it is absent or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of `Content-Encoding` as one. Bytes that are not ASCII do not hide what stands beside them.
    pub fn content_encoding(&self) -> String {
        content_encoding(self.headers)
    }

    /// The decoded name-value pairs of the query, in order; see [`decode_query`].
    pub fn query_pairs(&self) -> impl Iterator<Item = (String, String)> + 'a {
        query_pairs(self.query)
    }

    /// The decoded value of a query parameter whose name is compared as it is; `Some("")` where it has no value.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// What stores take for the value of the header `name` (lower case): the header's own, else that of a query
    /// parameter of the same name in any case, for names that begin with `x-amz-`.
    pub fn effective(&self, name: &str) -> Option<String> {
        if let Some(value) = self.headers.get(name) {
            return Some(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        if !name.starts_with("x-amz-") {
            return None;
        }
        self.query_pairs().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }
}

/// All values of `Content-Encoding` in these headers as one.
pub fn content_encoding(headers: &HeaderMap) -> String {
    let values = headers.get_all(CONTENT_ENCODING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(",")
}

/// Splits a raw query at `&` and decodes each name and value. Empty pieces (`a&&b`) are left out.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        (decode_query(name), decode_query(value))
    })
}

/// Decodes a query name or value. A raw `+` is a blank, as MinIO, Ceph RGW and Garage read it. Bytes that are not UTF-8
/// become U+FFFD: no name that we act on contains it.
pub fn decode_query(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}
