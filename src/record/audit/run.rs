//! What a process says of itself when it starts: a change of the configuration or of a key is seen there.

use crate::config::settings::Settings;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Debug;

/// The operation of a process's first line.
pub(super) const START: &str = "ChainStart";

/// One run of the gate.
#[derive(Clone, Debug)]
pub struct Run {
    pub(super) sections: Vec<(&'static str, String)>,
    pub(super) list_key: String,
}

impl Run {
    /// The run with these settings, and lists that are sealed with the key of this id.
    pub fn of(settings: &Settings, list_key: [u8; 16]) -> Run {
        // All of them are named, so that a new section cannot be forgotten here.
        let Settings {
            listen,
            admin,
            state_dir,
            origin,
            authentication,
            list_key: list_key_file,
            lists,
            services,
            policy,
            flood,
            encodings,
            snowball_inspected,
            multipart,
            copies,
            quarantine,
            audit,
            webhooks,
            canary,
            tenant_hits,
            limits,
            log,
        } = settings;
        let sections: [(&str, &dyn Debug); 19] = [
            ("listen", listen),
            ("admin", admin),
            ("state", state_dir),
            ("origin", origin),
            ("authentication", authentication),
            ("list_key", list_key_file),
            ("lists", lists),
            ("services", services),
            ("policy", &(policy, flood, tenant_hits)),
            ("encodings", encodings),
            ("snowball", snowball_inspected),
            ("multipart", multipart),
            ("copies", copies),
            ("quarantine", quarantine),
            ("audit", audit),
            ("webhooks", webhooks),
            ("canary", canary),
            ("limits", limits),
            ("log", log),
        ];
        // Secrets are masked in `Debug`: a new password is no change that can be seen, or guessed, here.
        let digest = |section: &dyn Debug| hex::encode(Sha256::digest(format!("{section:?}")));
        let sections = sections.into_iter().map(|(name, section)| (name, digest(section))).collect();
        Run { sections, list_key: hex::encode(list_key) }
    }

    /// The members of its line.
    pub(super) fn members(&self) -> Map<String, Value> {
        let sections: Vec<String> =
            self.sections.iter().map(|(name, digest)| format!("{name} {}", &digest[..16])).collect();
        let whole = self
            .sections
            .iter()
            .fold(Sha256::new(), |hash, (name, digest)| hash.chain_update(name).chain_update(digest));
        let members = json!({
            "version": env!("CARGO_PKG_VERSION"), "configuration": hex::encode(whole.finalize()), "sections": sections,
            "list_key": self.list_key,
        });
        members.as_object().cloned().unwrap_or_default()
    }
}

/// The lines about what is other than at the start before.
pub(super) fn changes(before: &Map<String, Value>, now: &Map<String, Value>) -> Vec<Map<String, Value>> {
    let mut lines = Vec::new();
    let differs = |name: &str| before.get(name) != now.get(name);
    let mut line = |line: Value| lines.extend(line.as_object().cloned());
    if differs("configuration") {
        let sections = |members: &Map<String, Value>| -> Vec<String> {
            let texts = members.get("sections").and_then(Value::as_array).into_iter().flatten();
            texts.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let (old, new) = (sections(before), sections(now));
        let name = |section: &String| section.split(' ').next().unwrap_or_default().to_owned();
        let changed: Vec<String> = new.iter().filter(|section| !old.contains(section)).map(name).collect();
        line(json!({
            "operation": "ConfigurationChanged", "sections": changed, "from": before.get("configuration"),
            "to": now.get("configuration"),
        }));
    }
    for (member, key) in [("key", "signing"), ("list_key", "list")] {
        if differs(member) {
            line(json!({
                "operation": "KeyChanged", "which": key, "from": before.get(member), "to": now.get(member),
            }));
        }
    }
    lines
}
