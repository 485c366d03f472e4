//! What is done about a payload, and why: pure.
//!
//! Nothing here reads a clock, a socket or a file. What was found goes in, a [`Verdict`] comes out, and with
//! [`Verdict::Forward`] the only [`Clear`] there is: without one nobody can release a hold.

use std::fmt;
use std::str::FromStr;

/// What the lists say about a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// On no list.
    Unlisted,
    /// On these; never empty.
    Listed(Vec<Label>),
    /// It could not be decided.
    Undecidable(Undecidable),
}

impl Finding {
    /// What is found of a payload that can be read in two ways: listed where either is, and otherwise undecided where
    /// either is.
    #[must_use]
    pub fn and(self, other: Finding) -> Finding {
        match (self, other) {
            (Finding::Listed(mut labels), Finding::Listed(more)) => {
                labels.extend(more);
                labels.sort();
                labels.dedup();
                Finding::Listed(labels)
            }
            (listed @ Finding::Listed(_), _) | (_, listed @ Finding::Listed(_)) => listed,
            (undecidable @ Finding::Undecidable(_), _) | (_, undecidable @ Finding::Undecidable(_)) => undecidable,
            (Finding::Unlisted, Finding::Unlisted) => Finding::Unlisted,
        }
    }
}

/// One (list, category) that a row belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The list's configured name.
    pub list: String,
    /// The category, `scheme:value`.
    pub category: String,
    /// Whether it came with a version of the list that nobody has accepted yet: then it is only observed.
    pub on_probation: bool,
    /// Which payload it is a label of.
    pub payload: Mark,
}

/// Tells one payload from another and says nothing else: a keyed digest. All zeros where it was not made yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub [u8; 16]);

impl fmt::Display for Mark {
    /// In hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Mark {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Mark, hex::FromHexError> {
        let mut mark = [0; 16];
        hex::decode_to_slice(text, &mut mark).map(|()| Mark(mark))
    }
}

/// Why a lookup gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecidable {
    /// A list was not read for longer than its `max_age`.
    ListTooOld,
    /// A reload brought an algorithm that was not computed while this payload streamed.
    DigestMissing,
    /// The answer stands on a page of an index that is damaged.
    ListDamaged,
    /// A service that has to be asked does not answer.
    ServiceAway,
}

/// What to do about what cannot be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnavailable {
    /// Refuse it, and ask the client to come again.
    Refuse,
    /// Let it pass, look it up again until it is decided, and remove it where it is listed. A waiver of the first promise.
    AllowAndRecheck,
}

/// What to do about a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Let it pass and count it. A waiver of the first promise, for trying a list.
    Observe,
    /// Refuse it.
    Reject,
}

/// The ordered rules; the first that fits wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Looked at in order, for each label of a match.
    pub rules: Vec<Rule>,
    /// Where no rule fits.
    pub on_match: Action,
    /// Where nobody can tell.
    pub on_unavailable: OnUnavailable,
}

/// One rule. Each pattern may hold `*`, which stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Of the list's name.
    pub list: String,
    /// Of the category.
    pub category: String,
    /// Of the bucket.
    pub bucket: String,
    /// Of the tenant; a caller without one fits only `*`.
    pub tenant: String,
    /// What to do.
    pub action: Action,
}

/// Where a payload is going and who sent it, as far as rules care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The bucket in every way in which the request can be read; the stricter reading counts.
    pub buckets: Vec<String>,
    /// The caller's tenant.
    pub tenant: Option<String>,
}

/// What is done.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Release the hold.
    Forward(Clear, Why),
    /// Abort, and refuse as policy.
    Reject(Why),
    /// Abort, and ask the client to come again: nobody knows yet.
    Defer(Undecidable),
}

/// Why a decided verdict is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// On no list.
    Unlisted,
    /// On these lists, with the action that the rules gave.
    Listed(Vec<Label>),
    /// Nobody knows; it is looked up again.
    Undecided(Undecidable),
}

/// The proof that a payload was decided to go on. Only [`verdict`] makes one, it is used up by releasing one hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Clear(());

/// Decides. A list that is unknown, old or unreadable is never the same as "not listed".
pub fn verdict(finding: Finding, subject: &Subject, policy: &Policy, on_unavailable: OnUnavailable) -> Verdict {
    match finding {
        Finding::Unlisted => Verdict::Forward(Clear(()), Why::Unlisted),
        Finding::Undecidable(why) => match on_unavailable {
            OnUnavailable::Refuse => Verdict::Defer(why),
            OnUnavailable::AllowAndRecheck => Verdict::Forward(Clear(()), Why::Undecided(why)),
        },
        Finding::Listed(labels) => match strictest(&labels, subject, policy) {
            Action::Reject => Verdict::Reject(Why::Listed(labels)),
            Action::Observe => Verdict::Forward(Clear(()), Why::Listed(labels)),
        },
    }
}

/// The strictest action over every reading of the bucket; within one reading the first rule that fits any label.
fn strictest(labels: &[Label], subject: &Subject, policy: &Policy) -> Action {
    let tenant = subject.tenant.as_deref();
    subject
        .buckets
        .iter()
        .map(|bucket| action_for(labels, bucket, tenant, policy))
        .max()
        // No bucket at all, such as a body sent to `/`: as if its name were empty.
        .unwrap_or_else(|| action_for(labels, "", tenant, policy))
}

fn action_for(labels: &[Label], bucket: &str, tenant: Option<&str>, policy: &Policy) -> Action {
    let mut accepted = labels.iter().filter(|label| !label.on_probation).peekable();
    if accepted.peek().is_none() {
        return Action::Observe;
    }
    let accepted: Vec<&Label> = accepted.collect();
    policy
        .rules
        .iter()
        .find(|rule| accepted.iter().any(|label| rule.fits(label, bucket, tenant)))
        .map_or(policy.on_match, |rule| rule.action)
}

impl Rule {
    fn fits(&self, label: &Label, bucket: &str, tenant: Option<&str>) -> bool {
        matches(&self.list, &label.list)
            && matches(&self.category, &label.category)
            && matches(&self.bucket, bucket)
            && matches(&self.tenant, tenant.unwrap_or(""))
            // A pattern such as `*-lab` must not fit a caller of whom nothing is known.
            && (tenant.is_some() || self.tenant == "*")
    }
}

/// Whether `text` fits `pattern`, in which each `*` stands for any run of characters. Linear in time but for the
/// restarts at the last `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut restart = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            restart = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, taken)) = restart {
            p = star + 1;
            t = taken + 1;
            restart = Some((star, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(list: &str, category: &str) -> Label {
        Label { list: list.into(), category: category.into(), on_probation: false, payload: Mark::default() }
    }

    fn rule(list: &str, category: &str, bucket: &str, tenant: &str, action: Action) -> Rule {
        Rule { list: list.into(), category: category.into(), bucket: bucket.into(), tenant: tenant.into(), action }
    }

    fn subject(buckets: &[&str], tenant: Option<&str>) -> Subject {
        Subject { buckets: buckets.iter().map(|b| b.to_string()).collect(), tenant: tenant.map(Into::into) }
    }

    /// The table: labels of the match, readings of the bucket, tenant, rules, `on_match` -> action.
    #[test]
    fn the_first_rule_that_fits_wins_and_the_stricter_reading_counts() {
        use Action::{Observe, Reject};
        let sample = || vec![label("sample", "house:baseline")];
        let two = || vec![label("sample", "house:baseline"), label("other", "icse:other")];
        let table = [
            ("no rule: on_match", sample(), vec!["b"], None, vec![], Reject, Reject),
            ("no rule: on_match, observe", sample(), vec!["b"], None, vec![], Observe, Observe),
            ("list fits", sample(), vec!["b"], None, vec![rule("sample", "*", "*", "*", Observe)], Reject, Observe),
            ("list does not fit", sample(), vec!["b"], None, vec![rule("x", "*", "*", "*", Observe)], Reject, Reject),
            ("category", sample(), vec!["b"], None, vec![rule("*", "house:*", "*", "*", Observe)], Reject, Observe),
            (
                "any label may fit",
                two(),
                vec!["b"],
                None,
                vec![rule("*", "icse:*", "*", "*", Observe)],
                Reject,
                Observe,
            ),
            (
                "order decides",
                two(),
                vec!["b"],
                None,
                vec![rule("sample", "*", "*", "*", Reject), rule("*", "*", "*", "*", Observe)],
                Reject,
                Reject,
            ),
            ("bucket", sample(), vec!["lab"], None, vec![rule("*", "*", "lab", "*", Observe)], Reject, Observe),
            ("other bucket", sample(), vec!["b"], None, vec![rule("*", "*", "lab", "*", Observe)], Reject, Reject),
            (
                "a bucket read two ways",
                sample(),
                vec!["lab", "b"],
                None,
                vec![rule("*", "*", "lab", "*", Observe)],
                Reject,
                Reject,
            ),
            ("no bucket", sample(), vec![], None, vec![rule("*", "*", "lab", "*", Observe)], Reject, Reject),
            ("tenant", sample(), vec!["b"], Some("acme"), vec![rule("*", "*", "*", "acme", Observe)], Reject, Observe),
            ("no tenant", sample(), vec!["b"], None, vec![rule("*", "*", "*", "acme", Observe)], Reject, Reject),
            ("no tenant, any", sample(), vec!["b"], None, vec![rule("*", "*", "*", "*", Observe)], Reject, Observe),
            ("no tenant, pattern", sample(), vec!["b"], None, vec![rule("*", "*", "*", "**", Observe)], Reject, Reject),
        ];
        for (name, labels, buckets, tenant, rules, on_match, expected) in table {
            let policy = Policy { rules, on_match, on_unavailable: OnUnavailable::Refuse };
            let subject = subject(&buckets, tenant);
            let verdict = verdict(Finding::Listed(labels.clone()), &subject, &policy, OnUnavailable::Refuse);
            match (expected, verdict) {
                (Reject, Verdict::Reject(Why::Listed(seen))) => assert_eq!(seen, labels, "{name}"),
                (Observe, Verdict::Forward(_, Why::Listed(seen))) => assert_eq!(seen, labels, "{name}"),
                (_, other) => panic!("{name}: expected {expected:?}, got {other:?}"),
            }
        }
    }

    /// A label on probation refuses nothing by itself, fits no rule, and takes nothing away from others.
    #[test]
    fn what_is_on_probation_is_observed() {
        let fresh = Label { on_probation: true, ..label("sample", "house:new") };
        let observe_new = vec![rule("*", "house:new", "*", "*", Action::Observe)];
        for (labels, rules, rejected) in [
            (vec![fresh.clone()], vec![], false),
            (vec![fresh.clone()], vec![rule("*", "*", "*", "*", Action::Reject)], false),
            (vec![label("other", "icse:baseline"), fresh.clone()], vec![], true),
            (vec![label("other", "icse:baseline"), fresh], observe_new, true),
        ] {
            let policy = Policy { rules, on_match: Action::Reject, on_unavailable: OnUnavailable::Refuse };
            let subject = subject(&["b"], None);
            let verdict = verdict(Finding::Listed(labels.clone()), &subject, &policy, OnUnavailable::Refuse);
            assert_eq!(matches!(verdict, Verdict::Reject(_)), rejected, "{labels:?}");
        }
    }

    #[test]
    fn unlisted_goes_on_and_undecidable_only_where_it_is_said_to() {
        use OnUnavailable::{AllowAndRecheck, Refuse};
        let rules = vec![rule("*", "*", "*", "*", Action::Observe)];
        let policy = Policy { rules, on_match: Action::Observe, on_unavailable: Refuse };
        let subject = subject(&["b"], None);
        for unavailable in [Refuse, AllowAndRecheck] {
            let verdict = verdict(Finding::Unlisted, &subject, &policy, unavailable);
            assert!(matches!(verdict, Verdict::Forward(_, Why::Unlisted)));
        }
        use Undecidable::{DigestMissing, ListDamaged, ListTooOld, ServiceAway};
        for why in [ListTooOld, DigestMissing, ListDamaged, ServiceAway] {
            let decide = |unavailable| verdict(Finding::Undecidable(why), &subject, &policy, unavailable);
            assert_eq!(decide(Refuse), Verdict::Defer(why));
            assert!(matches!(decide(AllowAndRecheck), Verdict::Forward(_, Why::Undecided(seen)) if seen == why));
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*a*", "bab", true),
            ("a*b*c", "a-b-b-c", true),
            ("logs-*", "logs", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
