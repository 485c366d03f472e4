//! The PROXY protocol, versions 1 and 2: who connected to the balancer before us.

use proxy_header::{Error, ParseConfig, ProxyHeader};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longest header that is taken; version 2 may carry extensions behind the addresses.
const HEADER_MAX: usize = 4 << 10;

/// A connection that does not begin with a header, though `listen.proxy_protocol` says that every one does.
#[derive(Debug)]
pub(super) struct NoHeader;

/// Reads the header. `None`: the balancer speaks for itself (a health check).
///
/// Byte by byte, once a connection: what follows the header belongs to TLS or HTTP and must stay in the socket.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, NoHeader> {
    let mut header = Vec::with_capacity(128);
    while header.len() < HEADER_MAX {
        header.push(stream.read_u8().await.map_err(|_| NoHeader)?);
        match ProxyHeader::parse(&header, ParseConfig::default()) {
            Ok((parsed, _)) => return Ok(parsed.proxied_address().map(|address| address.source)),
            Err(Error::BufferTooShort) => {}
            Err(_) => return Err(NoHeader),
        }
    }
    Err(NoHeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<Option<String>, ()> {
        let mut rest = bytes;
        let peer = read_header(&mut rest).await.map_err(|_| ())?;
        assert!(rest.starts_with(b"GET") || rest.is_empty(), "it took bytes that are not the header's");
        Ok(peer.map(|peer| peer.to_string()))
    }

    #[tokio::test]
    async fn both_versions_and_nothing_else() {
        let v1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 9000\r\nGET / HTTP/1.1\r\n";
        assert_eq!(read(v1).await, Ok(Some("192.0.2.7:4711".into())));
        let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\x23\x28".to_vec();
        v2.extend(b"GET / HTTP/1.1\r\n");
        assert_eq!(read(&v2).await, Ok(Some("192.0.2.7:4711".into())));
        assert_eq!(read(b"PROXY UNKNOWN\r\n").await, Ok(None));
        for bad in [&b"GET / HTTP/1.1\r\n"[..], b"PROXY TCP4 x", b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 9000", b""] {
            assert_eq!(read(bad).await, Err(()), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
