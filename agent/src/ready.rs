//! Readiness: ready only while every known workload is enforced, and otherwise what is missing.

use crate::reconcile::{State, WorkloadState};

/// What is missing, one sentence each; nothing means ready.
pub fn missing(state: &State) -> Vec<String> {
    if !state.is_synced {
        return vec!["the tables are not in the kernel yet".to_owned()];
    }
    let mut missing: Vec<String> = state.problem.iter().cloned().collect();
    // Pods come all the time. One that has only just come is denied rather than not enforced, unless
    // something failed.
    let is_missing = |workload: &&WorkloadState| {
        !workload.is_enforced() && (!workload.is_settling || workload.label() == "failed")
    };
    for workload in state.workloads.iter().filter(is_missing) {
        for problem in workload.problems() {
            missing.push(format!("workload {}: {problem}", workload.key));
        }
    }
    for attachment in &state.attachments {
        if let Err(why) = &attachment.result
            && !missing.iter().any(|line| line.ends_with(why.as_str()))
        {
            missing.push(why.clone());
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::missing;
    use crate::{
        reconcile::{Hold, State, WorkloadState},
        workloads::WorkloadKey,
    };

    fn workload(wire: Hold) -> WorkloadState {
        WorkloadState {
            key: WorkloadKey { namespace: "shop".into(), name: "web".into() },
            id: None,
            policy: None,
            socket: Hold::Enforced,
            wire,
            cgroup: Hold::Unwanted,
            not_held: Vec::new(),
            is_settling: false,
            is_exempt: false,
        }
    }

    #[test]
    fn deny_is_the_default() {
        assert_eq!(missing(&State::default()).len(), 1);
    }

    #[test]
    fn one_layer_is_not_enough() {
        let state =
            |wire| State { is_synced: true, workloads: vec![workload(wire)], ..State::default() };
        assert!(missing(&state(Hold::Enforced)).is_empty());
        assert!(missing(&state(Hold::Unwanted)).is_empty());
        let why = "the interface v is not there".to_owned();
        let settling =
            WorkloadState { is_settling: true, ..workload(Hold::Absent { why: why.clone() }) };
        let young = State { is_synced: true, workloads: vec![settling], ..State::default() };
        assert!(missing(&young).is_empty(), "a pod that is only coming");
        let lines = missing(&state(Hold::Absent { why }));
        assert_eq!(lines, ["workload shop/web: the interface v is not there"]);
    }
}
