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
    /// It is what the gate tests itself with. No list can say so: this is no label.
    Canary,
}

impl Finding {
    /// What is found of a payload that can be read in two ways: listed where either is, and otherwise undecided where
    /// either is.
    #[must_use]
    pub fn and(self, other: Finding) -> Finding {
        match (self, other) {
            (Finding::Canary, _) | (_, Finding::Canary) => Finding::Canary,
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
    /// Refuse it and keep it sealed, until somebody decides.
    Quarantine,
    /// Let it pass, look it up again until it is decided, and remove it where it is listed. A waiver of the first promise.
    AllowAndRecheck,
}

/// What to do about a match; the stricter is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Let it pass and count it. A waiver of the first promise, for trying a list.
    Observe,
    /// Refuse it.
    Reject,
    /// Refuse it, and keep it sealed as evidence.
    Quarantine,
}

/// What a client whose upload is refused is told; the stricter is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// That all went well; the object is not there afterwards.
    Accept,
    /// 403 AccessDenied.
    Refuse,
}

/// What holds at the moment of a decision, beside the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What to do where nobody can tell, for this kind of request.
    pub on_unavailable: OnUnavailable,
    /// The entry hits so much that it may be a mistake, and there is a quarantine: what would be rejected is kept as well,
    /// until somebody decides.
    pub flooding: bool,
    /// An operator has switched every match to `observe`.
    pub observe_all: bool,
    /// Two officers have released this very payload for this very place.
    pub permitted: bool,
}

impl Moment {
    /// Nothing special: what cannot be decided is refused.
    pub const ORDINARY: Moment =
        Moment { on_unavailable: OnUnavailable::Refuse, flooding: false, observe_all: false, permitted: false };
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
    /// What the client is told.
    pub answer: Reply,
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
    /// Abort, and answer so.
    Reject(Why, Reply),
    /// Abort, keep the payload as evidence, and answer so.
    Quarantine(Why, Reply),
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
    /// Nobody knows.
    Undecided(Undecidable),
    /// On these lists, and released by two officers for this place, once.
    Permitted(Vec<Label>),
    /// The gate tests itself.
    Canary,
}

/// The proof that a payload was decided to go on. Only [`verdict`] makes one, it is used up by releasing one hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Clear(());

/// Decides. A list that is unknown, old or unreadable is never the same as "not listed".
pub fn verdict(finding: Finding, subject: &Subject, policy: &Policy, moment: Moment) -> Verdict {
    match finding {
        // First of all: no rule, switch or permission lets it pass.
        Finding::Canary => Verdict::Reject(Why::Canary, Reply::Refuse),
        Finding::Unlisted => Verdict::Forward(Clear(()), Why::Unlisted),
        Finding::Undecidable(why) => match moment.on_unavailable {
            OnUnavailable::Refuse => Verdict::Defer(why),
            OnUnavailable::Quarantine => Verdict::Quarantine(Why::Undecided(why), Reply::Refuse),
            OnUnavailable::AllowAndRecheck => Verdict::Forward(Clear(()), Why::Undecided(why)),
        },
        Finding::Listed(labels) if moment.permitted => Verdict::Forward(Clear(()), Why::Permitted(labels)),
        Finding::Listed(labels) if moment.observe_all => Verdict::Forward(Clear(()), Why::Listed(labels)),
        Finding::Listed(labels) => match strictest(&labels, subject, policy) {
            (Action::Reject, _) if moment.flooding => Verdict::Quarantine(Why::Listed(labels), Reply::Refuse),
            (Action::Reject, answer) => Verdict::Reject(Why::Listed(labels), answer),
            (Action::Quarantine, answer) => Verdict::Quarantine(Why::Listed(labels), answer),
            (Action::Observe, _) => Verdict::Forward(Clear(()), Why::Listed(labels)),
        },
    }
}

impl Policy {
    /// Whether an upload to here could be quarantined, whatever it is: its payload has to be kept from its first byte on.
    pub fn may_quarantine(&self, subject: &Subject) -> bool {
        let tenant = subject.tenant.as_deref();
        let fits = |rule: &&Rule| {
            rule.action == Action::Quarantine
                && rule.fits_tenant(tenant)
                && subject.buckets.iter().any(|bucket| matches(&rule.bucket, bucket))
        };
        self.on_match == Action::Quarantine
            || self.on_unavailable == OnUnavailable::Quarantine
            || self.rules.iter().any(|rule| fits(&rule))
    }
}

impl Policy {
    /// The index of the rule that decides about a match, for the account of it: the one of the strictest reading.
    pub fn rule_for(&self, labels: &[Label], subject: &Subject) -> Option<usize> {
        let tenant = subject.tenant.as_deref();
        let of = |bucket: &String| {
            let fits = |rule: &Rule| labels.iter().any(|label| !label.on_probation && rule.fits(label, bucket, tenant));
            self.rules.iter().position(fits)
        };
        let action = |rule: &Option<usize>| rule.map_or(self.on_match, |rule| self.rules[rule].action);
        subject.buckets.iter().map(of).max_by_key(action).flatten()
    }

    /// Whether a rule tells clients that a refused upload went well.
    pub fn accepts(&self) -> bool {
        self.rules.iter().any(|rule| rule.answer == Reply::Accept)
    }
}

/// The strictest action and answer over every reading of the bucket; within one reading the first rule that fits any
/// label.
fn strictest(labels: &[Label], subject: &Subject, policy: &Policy) -> (Action, Reply) {
    let tenant = subject.tenant.as_deref();
    subject
        .buckets
        .iter()
        .map(|bucket| action_for(labels, bucket, tenant, policy))
        .reduce(|(action, answer), (other, other_answer)| (action.max(other), answer.max(other_answer)))
        // No bucket at all, such as a body sent to `/`: as if its name were empty.
        .unwrap_or_else(|| action_for(labels, "", tenant, policy))
}

fn action_for(labels: &[Label], bucket: &str, tenant: Option<&str>, policy: &Policy) -> (Action, Reply) {
    let mut accepted = labels.iter().filter(|label| !label.on_probation).peekable();
    if accepted.peek().is_none() {
        return (Action::Observe, Reply::Refuse);
    }
    let accepted: Vec<&Label> = accepted.collect();
    policy
        .rules
        .iter()
        .find(|rule| accepted.iter().any(|label| rule.fits(label, bucket, tenant)))
        .map_or((policy.on_match, Reply::Refuse), |rule| (rule.action, rule.answer))
}

impl Rule {
    fn fits(&self, label: &Label, bucket: &str, tenant: Option<&str>) -> bool {
        matches(&self.list, &label.list)
            && matches(&self.category, &label.category)
            && matches(&self.bucket, bucket)
            && self.fits_tenant(tenant)
    }

    fn fits_tenant(&self, tenant: Option<&str>) -> bool {
        // A pattern such as `*-lab` must not fit a caller of whom nothing is known.
        matches(&self.tenant, tenant.unwrap_or("")) && (tenant.is_some() || self.tenant == "*")
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
        Rule {
            list: list.into(),
            category: category.into(),
            bucket: bucket.into(),
            tenant: tenant.into(),
            action,
            answer: Reply::Refuse,
        }
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
            let verdict = verdict(Finding::Listed(labels.clone()), &subject, &policy, Moment::ORDINARY);
            match (expected, verdict) {
                (Reject, Verdict::Reject(Why::Listed(seen), Reply::Refuse)) => assert_eq!(seen, labels, "{name}"),
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
            let verdict = verdict(Finding::Listed(labels.clone()), &subject, &policy, Moment::ORDINARY);
            assert_eq!(matches!(verdict, Verdict::Reject(..)), rejected, "{labels:?}");
        }
    }

    #[test]
    fn unlisted_goes_on_and_undecidable_only_where_it_is_said_to() {
        use OnUnavailable::{AllowAndRecheck, Quarantine, Refuse};
        let rules = vec![rule("*", "*", "*", "*", Action::Observe)];
        let policy = Policy { rules, on_match: Action::Observe, on_unavailable: Refuse };
        let subject = subject(&["b"], None);
        let moment = |on_unavailable| Moment { on_unavailable, ..Moment::ORDINARY };
        for unavailable in [Refuse, Quarantine, AllowAndRecheck] {
            let verdict = verdict(Finding::Unlisted, &subject, &policy, moment(unavailable));
            assert!(matches!(verdict, Verdict::Forward(_, Why::Unlisted)));
        }
        use Undecidable::{DigestMissing, ListDamaged, ListTooOld, ServiceAway};
        for why in [ListTooOld, DigestMissing, ListDamaged, ServiceAway] {
            let decide = |unavailable| verdict(Finding::Undecidable(why), &subject, &policy, moment(unavailable));
            assert_eq!(decide(Refuse), Verdict::Defer(why));
            assert_eq!(decide(Quarantine), Verdict::Quarantine(Why::Undecided(why), Reply::Refuse));
            assert!(matches!(decide(AllowAndRecheck), Verdict::Forward(_, Why::Undecided(seen)) if seen == why));
        }
    }

    /// Evidence is kept where a rule says so, where an entry floods, and never where an operator or two officers let pass.
    #[test]
    fn what_is_kept_and_what_passes_at_special_moments() {
        let keep = Rule { answer: Reply::Accept, ..rule("*", "*", "kept", "*", Action::Quarantine) };
        let policy = Policy { rules: vec![keep], on_match: Action::Reject, on_unavailable: OnUnavailable::Refuse };
        let labels = vec![label("sample", "house:baseline")];
        let decide = |buckets: &[&str], moment| {
            verdict(Finding::Listed(labels.clone()), &subject(buckets, None), &policy, moment)
        };
        let (listed, ordinary) = (|| Why::Listed(labels.clone()), Moment::ORDINARY);
        let flooding = Moment { flooding: true, ..ordinary };
        assert_eq!(decide(&["kept"], ordinary), Verdict::Quarantine(listed(), Reply::Accept));
        assert_eq!(decide(&["b"], ordinary), Verdict::Reject(listed(), Reply::Refuse));
        assert_eq!(decide(&["b", "kept"], ordinary), Verdict::Quarantine(listed(), Reply::Refuse), "two readings");
        assert_eq!(decide(&["b"], flooding), Verdict::Quarantine(listed(), Reply::Refuse));
        for buckets in [["kept"], ["b"]] {
            let observed = decide(&buckets, Moment { observe_all: true, ..flooding });
            assert!(matches!(observed, Verdict::Forward(_, Why::Listed(_))));
            let permitted = decide(&buckets, Moment { permitted: true, ..flooding });
            assert!(matches!(permitted, Verdict::Forward(_, Why::Permitted(_))));
        }
        assert_eq!(policy.rule_for(&labels, &subject(&["b", "kept"], None)), Some(0));
        assert_eq!(policy.rule_for(&labels, &subject(&["b"], None)), None);
        assert!(policy.may_quarantine(&subject(&["kept"], None)));
        assert!(!policy.may_quarantine(&subject(&["b"], None)));
    }

    /// The canary is rejected, whatever else holds, and however else its payload can be read.
    #[test]
    fn the_canary_is_always_rejected() {
        let policy = Policy {
            rules: vec![rule("*", "*", "*", "*", Action::Observe)],
            on_match: Action::Observe,
            on_unavailable: OnUnavailable::AllowAndRecheck,
        };
        let moments = [false, true].map(|on| Moment {
            on_unavailable: OnUnavailable::AllowAndRecheck,
            flooding: on,
            observe_all: on,
            permitted: on,
        });
        let others = [
            Finding::Unlisted,
            Finding::Undecidable(Undecidable::ListTooOld),
            Finding::Listed(vec![label("sample", "house:baseline")]),
            Finding::Canary,
        ];
        for (other, moment) in others.into_iter().flat_map(|other| moments.map(|moment| (other.clone(), moment))) {
            for finding in [other.clone().and(Finding::Canary), Finding::Canary.and(other)] {
                let verdict = verdict(finding, &subject(&["b"], None), &policy, moment);
                assert_eq!(verdict, Verdict::Reject(Why::Canary, Reply::Refuse));
            }
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
