//! After the agent, and what it says of them.

use exeat_tests::pod_client::Kind;

use crate::{DENIED, in_pod, ip, scene, workloads};

#[test]
fn it_outlives_the_agent_and_goes_with_cleanup() {
    let mut scene = scene("cg-dead");
    let [web, ledger] = workloads(&scene).map(Clone::clone);
    scene.kill_agent().unwrap();
    for (pod, name) in [(&web, "n1.many.example.com"), (&ledger, "n2.many.example.com")] {
        scene.assert_name_reaches(pod, name, Kind::A, 80);
        scene.assert_refused(pod, ip(DENIED[0]), 80);
    }
    scene.start_agent().unwrap();
    for pod in [&web, &ledger] {
        scene.assert_name_reaches(pod, "www.example.com", Kind::Aaaa, 80);
        assert_eq!(pod.resolve("www.example.org", Kind::A).unwrap().rcode, "EPERM");
    }
    scene.agent.take().unwrap().stop().unwrap();
    scene.files.clean_up(&scene.world.node).unwrap();
    assert_eq!(scene.files.pinned().len(), 0);
    for pod in [&web, &ledger] {
        scene.assert_name_reaches(pod, "www.example.org", Kind::A, 80);
        let raw = "attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 17))";
        assert_eq!(in_pod(pod, raw), "OK");
    }
}

#[test]
fn status_says_which_layers_hold_and_what_gets_past() {
    let scene = scene("cg-status");
    let status = scene.agent().status(&scene.world.node).unwrap();
    let list = status["workloads"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    for workload in list {
        assert_eq!(workload["socket"], "enforced", "{workload}");
        assert_eq!(workload["cgroup"], "enforced", "{workload}");
        assert_eq!(workload["wire"], "-", "{workload}");
        assert!(workload["notHeld"].to_string().contains("AF_PACKET"), "{workload}");
    }
}
