//! What an operator's command needs of a configuration. It reads nothing else of it: the other tokens and keys are files
//! that this user must not be able to read.

use super::load::{self, parse_endpoint};
use super::read::Section;
use super::settings::{Limits, Operator, Origin, Quarantine};
use super::{ConfigError, evidence};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where the gate's API is, and who asks.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The gate's `admin.address`, as it can be reached on this machine.
    pub address: SocketAddr,
    /// The operator.
    pub operator: Operator,
    /// For when no gate runs.
    pub state_dir: PathBuf,
    /// Whether clients reach the gate by TLS.
    pub is_tls: bool,
}

/// Where cases are kept, and where their objects were meant to go.
#[derive(Clone, Debug)]
pub struct Vault {
    /// The store behind the gate.
    pub origin: Origin,
    /// The bucket of the cases.
    pub quarantine: Quarantine,
    /// Times and sizes.
    pub limits: Limits,
}

/// Reads what a command needs that talks to the gate: `admin.address`, `state.dir`, and of `admin.tokens` the one with
/// this name, or the first one whose file this user can read.
///
/// # Errors
/// Every problem with those.
pub fn desk(path: &Path, name: Option<&str>) -> Result<Desk, ConfigError> {
    load::read(path, |mut root, folder| {
        let state_dir = root.section("state").path("dir").unwrap_or_else(|| folder.join("state"));
        let is_tls = root.section("listen").has("tls");
        let mut admin = root.section("admin");
        let address = load::address(&mut admin);
        let operator = chosen(&mut admin, name);
        Some(Desk { address: reachable(address?), operator: operator?, state_dir, is_tls })
    })
}

fn chosen(admin: &mut Section, name: Option<&str>) -> Option<Operator> {
    let mut readable = admin.sections("tokens").unwrap_or_default().into_iter().filter(|token| match name {
        Some(name) => token.peek("name").as_deref() == Some(name),
        None => token.peek("token_file").is_some_and(|file| File::open(token.in_folder(&file)).is_ok()),
    });
    match (readable.next(), name) {
        (Some(token), _) => evidence::operator(token, &[]),
        (None, Some(name)) => {
            admin.complain("tokens", format!("has no operator `{name}`"));
            None
        }
        (None, None) => {
            admin.complain("tokens", "has no operator whose token_file this user can read");
            None
        }
    }
}

/// Who listens everywhere is reached here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Reads what a command needs that opens cases: `origin`, `quarantine` and `limits`.
///
/// # Errors
/// Every problem with those.
pub fn vault(path: &Path) -> Result<Vault, ConfigError> {
    load::read(path, |mut root, _| {
        let origin = load::origin(root.section("origin"));
        let limits = load::limits(root.section("limits"));
        let Some(quarantine) = root.optional_section("quarantine") else {
            root.complain("quarantine", "is needed: where the cases are");
            return None;
        };
        let origin = origin?;
        let quarantine = evidence::quarantine(quarantine, Some(&origin))?;
        Some(Vault { origin, quarantine, limits })
    })
}

impl Origin {
    /// The same at another address; `None` where that is none.
    pub fn at(&self, endpoint: &str) -> Option<Origin> {
        let load::Endpoint { tls, authority, host, port } = parse_endpoint(endpoint)?;
        Some(Origin { tls, authority, host, port, ..self.clone() })
    }
}
