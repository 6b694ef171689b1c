//! Sockets that are refused, and what is sent through those which are not.

use std::net::SocketAddr;

use exeat_tests::world::ECHO_PORT;

use crate::{DENIED, PRELUDE, Waiting, in_pod, ip, prepare, python, scene, workloads};

#[test]
fn sockets_of_other_types_are_refused() {
    let scene = scene("cg-types");
    let make = |kind: &str| format!("attempt(lambda: socket.socket({kind}))");
    for pod in workloads(&scene) {
        for family in ["socket.AF_INET", "socket.AF_INET6"] {
            for kind in
                ["socket.SOCK_RAW, 17", "socket.SOCK_RAW, 255", "socket.SOCK_RAW, 1", "2, 136"]
            {
                assert_eq!(in_pod(pod, &make(&format!("{family}, {kind}"))), "EPERM", "{kind}");
            }
            for kind in ["socket.SOCK_STREAM", "socket.SOCK_DGRAM"] {
                assert_eq!(in_pod(pod, &make(&format!("{family}, {kind}"))), "OK", "{kind}");
            }
        }
        // What cannot be seen here, and is said to be so.
        assert_eq!(in_pod(pod, &make("socket.AF_PACKET, socket.SOCK_RAW")), "OK");
    }
    // The twin: outside of the cgroup the same socket is made, and what it sends arrives.
    let to = SocketAddr::new(ip(DENIED[0]), ECHO_PORT);
    let before = scene.world.tap.packets_to(to).unwrap();
    let command = scene.world.node.command("python3".as_ref()).unwrap();
    let script = format!(
        "attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 17)\
         .sendto(udp({ECHO_PORT}), ('{}', 0)))",
        DENIED[0]
    );
    assert_eq!(python(command, &script), "OK");
    assert_eq!(scene.world.tap.packets_to(to).unwrap() - before, 1);
}

/// Made before anything was enforced, so only its packets can be judged.
#[test]
fn a_raw_socket_that_was_there_before_is_held_packet_by_packet() {
    let mut scene = prepare("cg-raw");
    let send = |to: &str, family: &str| {
        format!(
            "raw = socket.socket(socket.{family}, socket.SOCK_RAW, 17)\nprint('made', flush=True)\n\
             input()\nattempt(lambda: raw.sendto(udp({ECHO_PORT}), ('{to}', 0)))"
        )
    };
    let attempts: Vec<(&str, &str, u64, &str)> = vec![
        ("203.0.113.99", "AF_INET", 0, "EPERM"),
        ("2001:db8::99", "AF_INET6", 0, "EPERM"),
        ("203.0.113.10", "AF_INET", 1, "OK"),
        ("2001:db8::10", "AF_INET6", 1, "OK"),
    ];
    let mut waiting = Vec::new();
    for (to, family, arrives, word) in attempts {
        let mut script = Waiting::start(&scene.world.web, &send(to, family));
        assert_eq!(script.word(), "made");
        waiting.push((script, to, arrives, word));
    }
    scene.start_agent().unwrap();
    for (mut script, to, arrives, word) in waiting {
        let to = SocketAddr::new(ip(to), ECHO_PORT);
        let before = scene.world.tap.packets_to(to).unwrap();
        assert_eq!(script.go_on(), word, "{to}");
        assert_eq!(scene.world.tap.packets_to(to).unwrap() - before, arrives, "{to}");
    }
}

/// The call names an address that is granted, and so does the route: it is the route that is refused.
#[test]
fn a_source_route_is_refused() {
    let scene = scene("cg-route");
    let to = SocketAddr::new(ip("203.0.113.10"), ECHO_PORT);
    let send = |options: &str| {
        format!(
            "flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             flow.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, {options})\n\
             attempt(lambda: flow.sendto(b'exeat', ('{}', {ECHO_PORT})))",
            to.ip()
        )
    };
    for pod in workloads(&scene) {
        for (options, word, arrives) in [
            ("b'\\1\\x83\\7\\4' + socket.inet_aton('203.0.113.10')", "EPERM", 0),
            ("b'\\1\\1\\1\\1'", "OK", 1),
        ] {
            let before = scene.world.tap.packets_to(to).unwrap();
            assert_eq!(in_pod(pod, &send(options)), word, "{options}");
            assert_eq!(scene.world.tap.packets_to(to).unwrap() - before, arrives, "{options}");
        }
    }
}

#[test]
fn a_ping_goes_where_something_is_granted() {
    let scene = scene("cg-ping");
    for pod in workloads(&scene) {
        pod.netns.sysctl("net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let ping = |to: &str| {
            format!(
                "ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)\nping.settimeout(3)\n\
                 def act():\n    ping.sendto(struct.pack('!BBHHH', 8, 0, 0, 7, 1), ('{to}', 0))\n    ping.recv(64)\n\
                 attempt(act)"
            )
        };
        assert_eq!(in_pod(pod, &ping("203.0.113.10")), "OK");
        let before = scene.world.tap.packets(ip(DENIED[0])).unwrap();
        assert_eq!(in_pod(pod, &ping(DENIED[0])), "EPERM");
        assert_eq!(scene.world.tap.packets(ip(DENIED[0])).unwrap(), before);
    }
}

/// In a namespace of its own making a workload is every host there is, its resolver too.
#[test]
fn a_workload_has_no_sockets_in_a_namespace_that_it_made() {
    let scene = scene("cg-netns");
    let script = format!("{PRELUDE}attempt(lambda: socket.socket())");
    for pod in workloads(&scene) {
        for (option, word) in [("--net", "EPERM"), ("--mount", "OK")] {
            let output = pod.tool("unshare", &[option, "python3", "-c", &script]).unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), word, "{output:?}");
        }
    }
}
