use super::*;
use crate::config::settings::{Mode, Unverifiable};
use crate::decide::Action;
use std::path::Path;
use std::time::Duration;

fn load_text(text: &str) -> Result<settings::Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hashgate.yaml");
    std::fs::write(&file, text).unwrap();
    load(&file)
}

fn problems(text: &str) -> Vec<String> {
    load_text(text).err().map(|error| error.problems.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

const LEAST: &str = "listen: { address: '127.0.0.1:0' }\norigin: { endpoint: 'http://127.0.0.1:9001' }\nlists: [ { name: sample, source: sample.sha256 } ]\n";

#[test]
fn three_keys_are_enough() {
    let settings = load_text(LEAST).unwrap();
    assert_eq!(settings.policy.on_match, Action::Reject);
    assert_eq!(settings.multipart.unverifiable, Unverifiable::Refuse);
    assert_eq!(settings.authentication.mode, Mode::PassThrough);
    assert_eq!((settings.origin.host.as_str(), settings.origin.port, settings.origin.tls), ("127.0.0.1", 9001, false));
    assert!(settings.admin.is_none());
    assert!(settings.state_dir.ends_with("state") && settings.lists[0].source.to_string().ends_with("sample.sha256"));
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let text = "
listen: { address: here, tls: { certificate: c.pem } }
origin: { endpoint: 'ftp://x', kind: minioo, credentials: { access_key: a } }
authentication: { mode: verify }
lists:
  - { name: 'a b', source: x, category: baseline, refresh: 5, shrink_max: 20 }
  - { source: 'http://x/y', kind: known-good, formt: text }
  - { name: c, source: 's3://bucket', signed_by: x, growth_max: half }
policy: { on_match: quarantine, on_unavailable: quarantine, rules: [ { list: other }, { action: reject, answer: accept } ] }
multipart: { unverifiable: readback }
limits: { idle_timeout: soon, drain: 0 }
admin: { address: '127.0.0.1:0', tokens: [ { name: a, role: boss, token_file: nowhere, expires: soon } ] }
quarantine: { bucket: q, recipients: [ age1x ], endpoint: 'ftp://x' }
webhooks: [ { url: 'http://example.test', events: [ all ] } ]
canary: {}
extra: 1
";
    let problems = problems(text);
    for expected in [
        "listen.address: `here` is no address",
        "listen.tls.key: is needed",
        "origin.endpoint: `ftp://x` is no address",
        "origin.kind: `minioo` is unknown",
        "origin.credentials.secret_key: is needed",
        "authentication.users: mode: verify needs",
        "lists[0].name: may hold",
        "lists[0].category: `baseline`",
        "lists[0].refresh: `5` is no duration",
        "lists[0].shrink_max: `20` is no share",
        "lists[1].name: is needed",
        "lists[1].source: what is listed must not travel in the clear",
        "lists[2].source: `s3://bucket` is not of the form",
        "lists[2].endpoint: is needed",
        "lists[2].credentials: are needed",
        "lists[2].signed_by: is no minisign public key",
        "lists[2].growth_max: `half` is no share",
        "lists[1].formt: is unknown; did you mean `format`?",
        "policy.rules[0].list: there is no list or service `other`",
        "policy.rules[0].action: is needed",
        "multipart.unverifiable: `readback`",
        "limits.idle_timeout: `soon`",
        "limits.drain: `0`",
        "policy.rules[1].answer: `accept` needs",
        "admin.tokens[0].role: `boss` is unknown",
        "admin.tokens[0].token_file:",
        "admin.tokens[0].expires: `soon` is no day",
        "quarantine.recipients: `age1x` is no age recipient",
        "quarantine.endpoint: `ftp://x` is no address",
        "webhooks[0].url: what is listed must not travel",
        "webhooks[0].events: `all` is unknown",
        "canary.bucket: is needed",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}\nnot in {problems:#?}");
    }
    assert_eq!(problems.len(), 32, "{problems:#?}");
}

#[test]
fn what_only_two_sections_get_wrong() {
    let text = LEAST.replace("9001'", "9001', host: endpoint")
        + "authentication: { mode: verify, users: [ { access_key: a, secret_key: s }, { access_key: a, secret_key: s, origin_credentials: { access_key: b, secret_key: t } } ] }";
    let problems = problems(&text);
    assert!(problems.iter().any(|p| p.starts_with("origin.host: `endpoint` changes")), "{problems:?}");
    assert!(
        problems.iter().any(|p| p.starts_with("authentication.users[1].access_key: is given to two")),
        "{problems:?}"
    );
}

#[test]
fn quarantine_takes_what_it_does_not_say_from_the_origin() {
    let rule = "policy: { rules: [ { action: quarantine } ] }\n";
    assert!(problems(&(LEAST.to_owned() + rule))[0].starts_with("policy.rules[0].action: `quarantine` needs a"));
    let recipient = "age1qq9rxm50cn6kxw3mcu9xxt6tpuyqd5pt9unusqad8wasyj6t8p6qqq0r99";
    let kept = format!("quarantine: {{ bucket: q, recipients: [ {recipient} ] }}\n");
    let problem = &problems(&(LEAST.to_owned() + rule + &kept))[0];
    assert!(problem.starts_with("quarantine.credentials: are needed"), "{problem}");
    let own = "9001', region: r, credentials: { access_key: a, secret_key: s }";
    let quarantine = load_text(&(LEAST.replace("9001'", own) + rule + &kept)).unwrap().quarantine.unwrap();
    assert_eq!((quarantine.store.port, quarantine.credentials.access_key.as_str()), (9001, "a"));
    assert_eq!(quarantine.retention, Duration::from_secs(365 * 86_400));
}

/// What would never be counted as a hit cannot be said by a list.
#[test]
fn the_gates_own_category_is_its_own() {
    let text = LEAST.replace("source: sample.sha256", "source: sample.sha256, category: 'hashgate:canary'");
    assert!(problems(&text)[0].starts_with("lists[0].category: `hashgate:` is for"), "{:?}", problems(&text));
}

#[test]
fn unknown_keys_and_bad_yaml_are_errors() {
    assert_eq!(problems(&(LEAST.to_owned() + "extra: 1\n")), ["extra: is unknown"]);
    assert!(problems("listen: [\n")[0].contains("not valid YAML"));
    assert!(problems(&(LEAST.to_owned() + "listen: { address: '127.0.0.1:1' }\n"))[0].contains("not valid YAML"));
}

#[test]
fn secrets_come_from_files_and_the_environment_and_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "hidden\n").unwrap();
    let file = dir.path().join("hashgate.yaml");
    std::fs::write(
        &file,
        LEAST.replace(
            "9001'",
            "9001', region: '${CARGO_PKG_NAME}-$${x}', credentials: { access_key: a, secret_key_file: secret }",
        ),
    )
    .unwrap();
    set_mode(&secret, 0o644);
    let error = load(&file).err().unwrap().to_string();
    assert!(error.starts_with("origin.credentials.secret_key_file:") && error.contains("chmod o-rwx"), "{error}");
    set_mode(&secret, 0o640);
    let settings = load(&file).unwrap();
    let credentials = settings.origin.credentials.clone().unwrap();
    assert_eq!(credentials.secret_key.expose(), "hidden");
    assert_eq!(settings.origin.region.as_deref(), Some("hashgate-${x}"));
    assert!(!format!("{settings:?}").contains("hidden"));
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The example is what a new user starts from: it loads as it is, and again with everything optional in it.
#[test]
fn the_example_loads_with_and_without_its_optional_parts() {
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.yaml")).unwrap();
    let settings = load_text(&example).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.limits.idle_timeout, Duration::from_secs(25));
    let dir = tempfile::tempdir().unwrap();
    let all = example.replace("#: ", "").replace("/etc/hashgate", dir.path().to_str().unwrap());
    for name in ["admin.token", "secret.key", "desk.token", "officer-1.token", "officer-2.token"] {
        std::fs::write(dir.path().join(name), name).unwrap();
        set_mode(&dir.path().join(name), 0o600);
    }
    let settings = load_text(&all).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.authentication.mode, Mode::Verify);
    // Every key that the loader knows is in the example.
    for key in ["plain_chunked", "signature_v2", "max_age", "refusals_per_minute", "origin_credentials", "ca_file"] {
        assert!(example.contains(&format!("{key}:")), "{key} is not in the example");
    }
}
