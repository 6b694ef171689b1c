//! What became of a flow, in words: verdict, reason, and what decided. Decides nothing itself.

use std::{collections::BTreeSet, net::SocketAddr};

use exeat_common::{
    decide::Decision,
    id::{PolicyId, SubjectId},
    reason::{self, Reason},
};
use serde::{Deserialize, Serialize};

use super::{Attempt, Trial};
use crate::{
    policy::{
        directory::Grant,
        target::{Target, TargetKind},
    },
    registry::report::{Code, ObjectRef, Severity},
};

/// What happens to a flow.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Allow,
    Deny,
    /// To the proxy in the pod.
    RedirectSidecar,
    /// To an egress gateway.
    RedirectGateway,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::RedirectSidecar => "redirect-sidecar",
            Self::RedirectGateway => "redirect-gateway",
        }
    }
}

/// The verdict about one flow, and what it rests on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The code of the report that explains a denial (`U-TLS-ORIGINATION`), else the label of the
    /// kernel's reason (`not-registered`).
    pub reason: String,
    pub sentence: String,
    /// The step of [`exeat_common::decide::decide`] that decided: 1 to 5.
    pub step: u8,
    /// The pattern or prefix that matched.
    pub subject: Option<String>,
    /// What declared it.
    pub entry: Option<ObjectRef>,
    /// Every destination that the flow may get; none if it is the one that was dialled.
    pub rewrite: Option<BTreeSet<SocketAddr>>,
    /// Host and port of the gateway's service.
    pub via: Option<String>,
    /// What was decided in the kernel's words.
    #[serde(skip)]
    pub(super) decision: Decided,
}

/// The part of an outcome that later questions need.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Decided {
    /// As `decide` made it.
    pub(super) made: Decision,
    pub(super) reason: Reason,
    pub(super) subject: SubjectId,
    /// What became of each lookup.
    pub(super) heard: Vec<Reason>,
}

impl Outcome {
    /// The decision of the wire layer, where nothing can be redirected.
    pub fn on_the_wire(&self) -> Decision {
        self.decision.made.without_redirect()
    }

    /// What became of each lookup of the attempt, in their order.
    pub fn heard(&self) -> &[Reason] {
        &self.decision.heard
    }

    /// Whether a question of the workload was refused, so that it was told no address at all.
    pub fn is_name_refused(&self) -> bool {
        self.decision.heard.contains(&Reason::NameNotGranted)
    }
}

/// What an outcome is made from, beside the decision.
pub(super) struct Context<'a> {
    pub(super) trial: &'a Trial,
    pub(super) policy: Option<PolicyId>,
    pub(super) attempt: &'a Attempt,
}

impl Context<'_> {
    pub(super) fn outcome(&self, decision: &Decision, heard: Vec<Reason>) -> Outcome {
        let grant = self.grant(decision.subject);
        let target = (decision.verdict == reason::Verdict::Redirect)
            .then(|| self.trial.image.targets.get(&decision.target))
            .flatten();
        let verdict = match (decision.verdict, target.map(|target| &target.kind)) {
            (reason::Verdict::Allow, _)
            | (reason::Verdict::Redirect, Some(TargetKind::Endpoints)) => Verdict::Allow,
            (reason::Verdict::Redirect, Some(TargetKind::Sidecar)) => Verdict::RedirectSidecar,
            (reason::Verdict::Redirect, Some(TargetKind::Gateway { .. })) => {
                Verdict::RedirectGateway
            }
            // A redirect to a target that is not there goes nowhere.
            (reason::Verdict::Deny, _)
            | (reason::Verdict::Redirect, None | Some(TargetKind::Answer)) => Verdict::Deny,
        };
        let is_lost = decision.verdict == reason::Verdict::Redirect && target.is_none();
        let reason = if is_lost { Reason::NoRedirect } else { decision.reason };
        let step = step(decision);
        let denied = grant.as_ref().filter(|_| verdict == Verdict::Deny && step == 4);
        let (label, sentence) = self.why(reason, denied);
        Outcome {
            verdict,
            reason: label,
            sentence,
            step,
            subject: self.subject(decision.subject),
            entry: grant.map(|grant| ObjectRef::clone(&grant.entry)),
            rewrite: target.and_then(|target| self.rewrite(target)),
            via: target.and_then(via),
            decision: Decided { made: *decision, reason, subject: decision.subject, heard },
        }
    }

    fn subject(&self, subject: SubjectId) -> Option<String> {
        if subject == SubjectId::ANYWHERE {
            return Some("any address".to_owned());
        }
        self.trial.directory.subject(subject)
    }

    fn grant(&self, subject: SubjectId) -> Option<Grant> {
        let Attempt { port, protocol, .. } = self.attempt;
        self.trial.directory.grant(self.policy?, subject, *port, protocol.number())
    }

    /// The code of a denial and what was reported with it, else the kernel's own words.
    fn why(&self, reason: Reason, denied: Option<&Grant>) -> (String, String) {
        let explains =
            |code: &Code| matches!(code.severity(), Severity::Error | Severity::Unsupported);
        let Some((grant, code)) =
            denied.and_then(|grant| Some((grant, grant.denied().filter(explains)?)))
        else {
            return (reason.as_str().to_owned(), reason.sentence().to_owned());
        };
        let mut reports = self.trial.reports.iter();
        let sentence = reports
            .find(|report| report.code == code && report.object == *grant.entry)
            .map_or_else(|| reason.sentence().to_owned(), |report| report.message.clone());
        (code.as_str().to_owned(), sentence)
    }

    /// Where the flow goes, unless it is where it was dialled.
    fn rewrite(&self, target: &Target) -> Option<BTreeSet<SocketAddr>> {
        let dialled = self.attempt.ip.to_canonical();
        let destinations: BTreeSet<SocketAddr> = target
            .backends
            .iter()
            .map(|it| SocketAddr::new(it.address.map_or(dialled, |ip| ip.to_canonical()), it.port))
            .collect();
        let is_unchanged =
            destinations.iter().all(|it| *it == SocketAddr::new(dialled, self.attempt.port));
        (!is_unchanged).then_some(destinations)
    }
}

fn via(target: &Target) -> Option<String> {
    match &target.kind {
        TargetKind::Gateway { host, port } => Some(format!("{host}:{port}")),
        TargetKind::Sidecar | TargetKind::Endpoints | TargetKind::Answer => None,
    }
}

/// Which of its numbered steps decided.
fn step(decision: &Decision) -> u8 {
    let reason = decision.reason;
    if matches!(reason, Reason::UnknownWorkload | Reason::Loopback | Reason::Exempt) {
        1
    } else if matches!(reason, Reason::TrustedResolver | Reason::ClusterInternal) {
        2
    } else if matches!(
        reason,
        Reason::NotRegistered | Reason::PortNotDeclared | Reason::NameExpired | Reason::AllowAny
    ) {
        // Nothing declared it: what happens then depends on the mode.
        5
    } else {
        // A rule was found, and its action decided.
        4
    }
}
