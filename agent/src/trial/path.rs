//! The way of one flow through the numbered steps of the decision, a sentence each.

use exeat_common::reason::Reason;
use serde::Serialize;

use super::{Attempt, Outcome, Verdict};

/// One step of [`exeat_common::decide::decide`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Step {
    /// 1 to 5.
    pub number: u8,
    pub state: State,
    pub sentence: String,
}

/// What a step did with the flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It went on to the next step.
    Passed,
    Decided,
    /// An earlier step had decided.
    NotReached,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Decided => "decided",
            Self::NotReached => "not reached",
        }
    }
}

/// All five steps in order.
pub fn path(attempt: &Attempt, outcome: &Outcome) -> Vec<Step> {
    (1..=5)
        .map(|number| {
            let state = match number.cmp(&outcome.step) {
                std::cmp::Ordering::Less => State::Passed,
                std::cmp::Ordering::Equal => State::Decided,
                std::cmp::Ordering::Greater => State::NotReached,
            };
            let sentence = match state {
                State::Passed => passed(number, attempt, outcome),
                State::Decided => decided(number, outcome),
                State::NotReached => asks(number).to_owned(),
            };
            Step { number, state, sentence }
        })
        .collect()
}

/// What a step looks at.
fn asks(number: u8) -> &'static str {
    match number {
        1 => "is the workload known, and is it or the destination exempt?",
        2 => "is it DNS to a trusted resolver, or inside the cluster and left alone?",
        3 => "which declared prefix or learned name matches best?",
        4 => "what does its rule say?",
        _ => "nothing matched: what does the mode say?",
    }
}

fn passed(number: u8, attempt: &Attempt, outcome: &Outcome) -> String {
    let Attempt { ip, port, protocol, .. } = attempt;
    match (number, &outcome.subject) {
        (1, _) => "the workload is known and not exempt, and this is not loopback".to_owned(),
        (2, _) => "not DNS to a trusted resolver, and not left alone as cluster traffic".to_owned(),
        (3, Some(subject)) if outcome.step == 4 => {
            format!("{subject} is the most specific match that declares {port}/{protocol}")
        }
        (3, Some(subject)) if outcome.decision.reason == Reason::NameExpired => {
            format!("{subject} matched, but the DNS answer has expired")
        }
        (3, Some(subject)) => format!("{subject} matches, but does not declare {port}/{protocol}"),
        (3, None) => format!(
            "no declared prefix holds {ip}, and no DNS answer ties a name to it that may be used"
        ),
        _ => "no rule to follow".to_owned(),
    }
}

fn decided(number: u8, outcome: &Outcome) -> String {
    let by = outcome.entry.as_ref().map_or_else(|| "the rule".to_owned(), ToString::to_string);
    match (number, outcome.verdict) {
        (4, Verdict::Allow) if outcome.rewrite.is_some() => {
            format!("{by} allows it, to its endpoints")
        }
        (4, Verdict::Allow) => format!("{by} allows it"),
        (4, Verdict::RedirectSidecar) => format!("{by} allows it, through the pod's sidecar"),
        (4, Verdict::RedirectGateway) => format!("{by} allows it, through a gateway"),
        (4, Verdict::Deny) => format!("{by} declares it, and it is denied: {}", outcome.sentence),
        (5, Verdict::RedirectGateway) => {
            "not declared, so it goes through the gateway that a Sidecar names for such flows"
                .to_owned()
        }
        (5, Verdict::Deny) => format!("REGISTRY_ONLY, so it is denied: {}", outcome.sentence),
        _ => outcome.sentence.clone(),
    }
}
