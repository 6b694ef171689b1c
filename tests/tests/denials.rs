//! Promise 6 at the wire: what the socket layer does not see is denied at once as well, by a packet
//! to the sender and by nothing that leaves.
//!
//! Sockets here are of this process, in a pod's network namespace and outside of its cgroup.

#![cfg(test)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::Duration;

use etherparse::TcpHeader;
use exeat_common::limits::{REPLIES_PER_SECOND, RESETS_PER_FLOW};
use exeat_tests::flows::{About, FlowLog};
use exeat_tests::node::{Family, Pod, RESOLVER_V4};
use exeat_tests::packet::{Segment, prohibited, segment, segments};
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::traffic::{Capture, Captured};
use exeat_tests::wait;
use exeat_tests::world::ECHO_PORT;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    SockaddrLike, sendto, setsockopt, socket,
};
use nix::time::{ClockId, clock_gettime};

/// No test waits so long unless it fails.
const DEADLINE: Duration = Duration::from_secs(20);
const BOTH: [Family; 2] = [Family::V4, Family::V6];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Declared, and with a server on every port of [`exeat_tests::world`].
fn declared(family: Family) -> IpAddr {
    ip(match family {
        Family::V4 => "203.0.113.10",
        Family::V6 => "2001:db8::10",
    })
}

fn undeclared(family: Family) -> IpAddr {
    ip(match family {
        Family::V4 => "203.0.113.99",
        Family::V6 => "2001:db8::99",
    })
}

fn scene(test: &str) -> Scene {
    Scene::start(test, &[entry()]).expect("a scene")
}

fn entry() -> Entry {
    Entry::new("shop", "site", "site.example.com")
        .address("203.0.113.10")
        .address("2001:db8::10")
        .port(80, "TCP")
        .port(ECHO_PORT, "UDP")
}

/// Runs in the network namespace of the pod, and outside of its cgroup.
fn inside<T: Send>(pod: &Pod, work: impl FnOnce() -> T + Send) -> T {
    pod.netns.run(work).expect("a thread in the pod's namespace")
}

fn connect(pod: &Pod, to: SocketAddr) -> std::io::Result<TcpStream> {
    inside(pod, || TcpStream::connect_timeout(&to, DEADLINE))
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> Option<Errno> {
    result.expect_err("an error").raw_os_error().map(Errno::from_raw)
}

#[test]
fn a_connection_is_refused_by_the_first_packet_that_comes_back() {
    let scene = scene("refused");
    let web = &scene.world.web;
    for family in BOTH {
        let open = connect(web, SocketAddr::new(declared(family), 80));
        assert!(open.is_ok(), "the twin: {open:?}");
        let to = SocketAddr::new(undeclared(family), 80);
        let before = scene.world.tap.packets(to.ip()).expect("a count");
        let capture = Capture::start(&web.netns).expect("a capture");
        assert_eq!(errno(connect(web, to)), Some(Errno::ECONNREFUSED), "{to}");
        let resets = capture.wait_for(DEADLINE, |it| segment(it).filter(|it| it.from == to));
        let [reset] = &resets[..] else { panic!("{resets:?}") };
        assert!(reset.is_bare_reset && !reset.outgoing, "{reset:?}");
        assert_eq!(reset.to.ip(), web.ip(family));
        // It was not the retransmission that was answered.
        let sent = segments(&capture).into_iter().filter(|it| it.outgoing && it.to == to);
        let sent: Vec<Segment> = sent.collect();
        assert!(matches!(&sent[..], [Segment { is_syn: true, .. }]), "{sent:?}");
        assert_eq!(scene.world.tap.packets(to.ip()).expect("a count"), before, "left the node");
    }
}

/// What a datagram socket is told: EHOSTUNREACH over IPv4, EACCES over IPv6, for that is what Linux
/// makes of "administratively prohibited" (`icmp_err_convert`, `icmpv6_err_convert`).
const fn told(family: Family) -> Errno {
    match family {
        Family::V4 => Errno::EHOSTUNREACH,
        Family::V6 => Errno::EACCES,
    }
}

fn datagram_socket(pod: &Pod, family: Family) -> UdpSocket {
    let socket = inside(pod, || UdpSocket::bind((pod.ip(family), 0))).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket
}

/// Waits until the socket has an error to tell.
fn wait_for_error(socket: &impl AsFd) {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    let timeout = PollTimeout::try_from(DEADLINE).expect("a timeout");
    assert_eq!(poll(&mut polled, timeout), Ok(1), "no error came");
    assert_eq!(polled[0].revents(), Some(PollFlags::POLLERR));
}

#[test]
fn a_datagram_socket_is_told_with_its_next_call() {
    let scene = scene("datagram");
    let web = &scene.world.web;
    for family in BOTH {
        let twin = datagram_socket(web, family);
        twin.connect(SocketAddr::new(declared(family), ECHO_PORT)).expect("connects");
        twin.send(b"exeat").expect("sends");
        assert_eq!(twin.recv(&mut [0; 64]).expect("the twin"), 5);

        let to = SocketAddr::new(undeclared(family), ECHO_PORT);
        let before = scene.world.tap.packets(to.ip()).expect("a count");
        let capture = Capture::start(&web.netns).expect("a capture");
        let socket = datagram_socket(web, family);
        socket.connect(to).expect("connects");
        assert_eq!(socket.send(b"exeat").expect("the first datagram sends"), 5);
        assert_eq!(errno(socket.recv(&mut [0; 64])), Some(told(family)), "recv {to}");
        socket.send(b"exeat").expect("the error was told");
        wait_for_error(&socket);
        assert_eq!(errno(socket.send(b"exeat")), Some(told(family)), "send {to}");

        // One that names the destination with each datagram is told if it asks to be.
        let socket = datagram_socket(web, family);
        match family {
            Family::V4 => setsockopt(&socket, Ipv4RecvErr, &true),
            Family::V6 => setsockopt(&socket, Ipv6RecvErr, &true),
        }
        .expect("an option");
        socket.send_to(b"exeat", to).expect("the first datagram sends");
        wait_for_error(&socket);
        assert_eq!(errno(socket.send_to(b"exeat", to)), Some(told(family)), "send_to {to}");

        let errors = || capture.packets().iter().filter_map(prohibited).collect::<Vec<_>>();
        assert!(wait::holds(DEADLINE, || errors().len() == 3), "{:?}", errors());
        assert_eq!(errors(), [to.ip(); 3], "from the address that was denied");
        assert_eq!(scene.world.tap.packets(to.ip()).expect("a count"), before, "left the node");
    }
}

#[test]
fn an_echo_request_is_answered_as_well() {
    let scene = scene("echo");
    let web = &scene.world.web;
    web.netns.sysctl("net/ipv4/ping_group_range", "0 0").expect("ping sockets for root");
    for family in BOTH {
        let ping = |address| {
            let socket = UdpSocket::from(inside(web, || ping_socket(family)));
            socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            socket.connect(SocketAddr::new(address, 0)).expect("connects");
            let echo = if family == Family::V4 { 8 } else { 128 };
            socket.send(&[echo, 0, 0, 0, 0, 0, 0, 1, b'x', b'y']).expect("the first echo sends");
            socket.recv(&mut [0; 64])
        };
        assert_eq!(ping(declared(family)).expect("the twin"), 10);
        let before = scene.world.tap.packets(undeclared(family)).expect("a count");
        assert_eq!(errno(ping(undeclared(family))), Some(told(family)));
        assert_eq!(scene.world.tap.packets(undeclared(family)).expect("a count"), before);
    }
}

fn ping_socket(family: Family) -> OwnedFd {
    let (family, protocol) = match family {
        Family::V4 => (AddressFamily::Inet, SockProtocol::Icmp),
        Family::V6 => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol).expect("a ping socket")
}

/// Sends TCP segments of its own making: with their checksums, which a pod's TCP leaves out.
struct Forger {
    socket: OwnedFd,
    pod: IpAddr,
}

impl Forger {
    fn new(pod: &Pod, family: Family) -> Self {
        let raw = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        let (kind, flags, protocol) = (SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp);
        let socket = inside(pod, || socket(raw, kind, flags, protocol)).expect("a raw socket");
        Self { socket, pod: pod.ip(family) }
    }

    fn send(&self, to: SocketAddr, from_port: u16, change: impl FnOnce(&mut TcpHeader)) {
        let mut header = TcpHeader::new(from_port, to.port(), SEQUENCE, 1000);
        header.acknowledgment_number = ACKNOWLEDGED;
        change(&mut header);
        let payload = if header.syn || header.rst { &b""[..] } else { b"payload" };
        header.checksum = match (self.pod, to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
            }
            mixed => panic!("{mixed:?}"),
        }
        .expect("short");
        let bytes = [&header.to_bytes()[..], payload].concat();
        let address: Box<dyn SockaddrLike> = match to {
            SocketAddr::V4(to) => Box::new(SockaddrIn::from(SocketAddrV4::new(*to.ip(), 0))),
            SocketAddr::V6(to) => Box::new(SockaddrIn6::from(SocketAddrV6::new(*to.ip(), 0, 0, 0))),
        };
        let sent = sendto(self.socket.as_raw_fd(), &bytes, &*address, MsgFlags::empty());
        assert_eq!(sent.expect("sends"), bytes.len());
    }
}

const SEQUENCE: u32 = 7000;
const ACKNOWLEDGED: u32 = 9000;

#[test]
fn a_segment_from_a_raw_socket_is_reset_and_a_reset_is_not() {
    let scene = scene("raw");
    let web = &scene.world.web;
    for family in BOTH {
        let to = SocketAddr::new(undeclared(family), 443);
        let before = scene.world.tap.packets(to.ip()).expect("a count");
        let capture = Capture::start(&web.netns).expect("a capture");
        let forger = Forger::new(web, family);
        forger.send(to, 1001, |it| (it.rst, it.ack) = (true, true));
        forger.send(to, 1002, |it| it.rst = true);
        forger.send(to, 1003, |it| (it.ack, it.psh) = (true, true));
        forger.send(to, 1004, |it| (it.syn, it.ack) = (true, true));
        forger.send(to, 1005, |it| it.fin = true);
        // The last: once this is answered, the others have been as well.
        forger.send(to, 1006, |it| it.syn = true);
        let is_last =
            |it: &Captured| segment(it).filter(|it| it.from == to && it.to.port() == 1006);
        assert_eq!(capture.wait_for(DEADLINE, is_last).len(), 1);
        let resets = segments(&capture).into_iter().filter(|it| !it.outgoing && it.from == to);
        let resets: Vec<Segment> = resets.collect();
        assert!(resets.iter().all(|it| it.is_bare_reset), "{resets:?}");
        let ports: Vec<u16> = resets.iter().map(|it| it.to.port()).collect();
        assert_eq!(ports, [1003, 1004, 1005, 1006]);
        assert_eq!(scene.world.tap.packets(to.ip()).expect("a count"), before, "left the node");
        // The twin: the same socket does reach what is declared.
        let declared = SocketAddr::new(declared(family), 80);
        let before = scene.world.tap.packets_to(declared).expect("a count");
        forger.send(declared, 1007, |it| it.syn = true);
        assert!(scene.world.tap.packets_to(declared).expect("a count") > before);
    }
}

/// Two connections of the pod and their ends on the internet: `going` will not be declared any more.
struct Connections {
    going: (TcpStream, TcpStream),
    staying: (TcpStream, TcpStream),
}

const GOING: u16 = 6000;
const STAYING: u16 = 6001;

impl Connections {
    fn open(scene: &Scene, address: IpAddr) -> Self {
        let open = |port| {
            let to = SocketAddr::new(address, port);
            let server = scene.world.node.internet().run(|| TcpListener::bind(to));
            let server = server.expect("a thread on the internet").expect("a server");
            let client = connect(&scene.world.web, to).expect("declared");
            let (remote, _) = server.accept().expect("a connection");
            for end in [&client, &remote] {
                end.set_read_timeout(Some(DEADLINE)).expect("a timeout");
                end.set_write_timeout(Some(DEADLINE)).expect("a timeout");
            }
            let mut both = (client, remote);
            exchange(&mut both);
            both
        };
        Self { going: open(GOING), staying: open(STAYING) }
    }
}

/// A byte each way.
fn exchange((client, remote): &mut (TcpStream, TcpStream)) {
    client.write_all(b"x").expect("open");
    remote.read_exact(&mut [0]).expect("open");
    remote.write_all(b"x").expect("open");
    client.read_exact(&mut [0]).expect("open");
}

/// Sends until the connection ends.
fn send_until_reset(stream: &mut TcpStream) -> ErrorKind {
    let ended = wait::until(DEADLINE, || stream.write_all(b"x").err());
    ended.expect("the connection goes on").kind()
}

/// Reads to the connection's end, and how that came.
fn read_to_reset(stream: &mut TcpStream) -> Option<ErrorKind> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(error.kind()),
        }
    }
}

#[test]
fn a_connection_that_is_not_allowed_any_more_ends_at_both_ends() {
    for family in BOTH {
        for pod_speaks in [true, false] {
            let going = Entry::new("shop", "going", "going.example.com");
            let staying = Entry::new("shop", "staying", "staying.example.com");
            let address = declared(family).to_string();
            let going = going.address(&address).port(GOING, "TCP");
            let staying = staying.address(&address).port(STAYING, "TCP");
            let scene = Scene::start("revoked", &[going.clone(), staying]).expect("a scene");
            let web = &scene.world.web;
            let mut open = Connections::open(&scene, declared(family));
            scene.remove(&going).expect("a file");
            scene.wait_until_refused(web, declared(family), GOING);

            let capture = Capture::start(scene.world.node.internet()).expect("a capture");
            let to = open.going.0.peer_addr().expect("an address");
            let (pod, remote) = (&mut open.going.0, &mut open.going.1);
            let reset = Some(ErrorKind::ConnectionReset);
            if pod_speaks {
                assert_eq!(Some(send_until_reset(pod)), reset, "the pod sends");
                assert_eq!(read_to_reset(remote), reset, "the far end reads");
            } else {
                assert_eq!(Some(send_until_reset(remote)), reset, "the far end sends");
                assert_eq!(read_to_reset(pod), reset, "the pod reads");
            }
            let resets = capture.wait_for(DEADLINE, |it| segment(it).filter(|it| it.to == to));
            assert!(resets.len() <= usize::from(RESETS_PER_FLOW), "{resets:?}");
            let all_bare = resets.iter().all(|it| it.is_bare_reset);
            assert!(!resets.is_empty() && all_bare, "{resets:?}");
            exchange(&mut open.staying);
        }
    }
}

/// Nothing was ever allowed there, so the far end is not even told.
#[test]
fn a_connection_older_than_the_agent_ends_for_the_pod_and_in_silence_for_the_rest() {
    let mut scene = Scene::prepare("older", &[entry()]).expect("a scene");
    let to = [Family::V4, Family::V6].map(|family| SocketAddr::new(undeclared(family), 6000));
    let mut open: Vec<(TcpStream, TcpStream)> = Vec::new();
    for to in to {
        let server = scene.world.node.internet().run(|| TcpListener::bind(to));
        let server = server.expect("a thread on the internet").expect("a server");
        let client = connect(&scene.world.web, to).expect("nothing is enforced yet");
        client.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        open.push((client, server.accept().expect("a connection").0));
    }
    open.iter_mut().for_each(exchange);
    scene.start_agent().expect("an agent");
    let large = vec![1; 1 << 18];
    for ((client, remote), to) in open.iter_mut().zip(to) {
        let before = scene.world.tap.packets_to(to).expect("a count");
        // Large segments: they are one frame of many pieces at the host side.
        let ended = wait::until(DEADLINE, || client.write_all(&large).err());
        assert_eq!(ended.expect("it goes on").kind(), ErrorKind::ConnectionReset, "{to}");
        assert_eq!(scene.world.tap.packets_to(to).expect("a count"), before, "left the node");
        remote.set_nonblocking(true).expect("a flag");
        let silent = remote.read(&mut [0]).expect_err("nothing came");
        assert_eq!(silent.kind(), ErrorKind::WouldBlock);
    }
}

/// The clock by which the kernel counts, in seconds.
fn second() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    u64::try_from(now.tv_sec()).expect("after boot")
}

#[test]
fn a_flood_gets_as_many_replies_as_the_limit_allows_and_takes_none_from_others() {
    let scene = scene("flood");
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    let to = SocketAddr::new(undeclared(Family::V4), ECHO_PORT);
    let before = scene.world.tap.packets(to.ip()).expect("a count");
    let capture = Capture::start(&web.netns).expect("a capture");
    let others = Capture::start(&ledger.netns).expect("a capture");
    let socket = datagram_socket(web, Family::V4);
    let began = second();
    let mut sent = 0;
    let limit = |until: u64| u64::from(REPLIES_PER_SECOND) * (until - began + 1);
    let mut connects = 0;
    // Until there are many more than may be answered, however slow this machine is.
    while sent < 3 * limit(second()) {
        for _ in 0..2000 {
            socket.send_to(b"flood", to).expect("sends");
            sent += 1;
        }
        assert_eq!(errno(connect(ledger, to)), Some(Errno::ECONNREFUSED), "from another pod");
        connects += 1;
        assert!(sent < 10_000_000, "this machine is too slow to flood");
    }
    // One more, which may wait for its turn: what was sent before it was answered by then.
    assert_eq!(errno(connect(web, to)), Some(Errno::ECONNREFUSED));
    let is_over = |it: &Captured| segment(it).filter(|it| it.from == to);
    assert_eq!(capture.wait_for(DEADLINE, is_over).len(), 1);
    let replies = capture.packets().iter().filter_map(prohibited).count() as u64;
    let limit = limit(second());
    assert!(replies > 0 && replies <= limit && limit < sent, "{replies} of {sent}, limit {limit}");
    let syn = |it: &Segment| it.outgoing && it.to == to;
    assert_eq!(segments(&others).into_iter().filter(syn).count(), connects, "one segment each");
    assert_eq!(scene.world.tap.packets(to.ip()).expect("a count"), before, "left the node");
}

#[test]
fn what_cannot_be_judged_is_listed_too() {
    let scene = scene("listed");
    let web = &scene.world.web;
    let log = FlowLog::follow(&scene.files, &scene.world.node).expect("the flow log");
    let mark = log.mark();
    // Garbage for the resolver.
    let resolver = SocketAddr::new(RESOLVER_V4, 53);
    datagram_socket(web, Family::V4).send_to(b"no question", resolver).expect("sends");
    let about = About::Address(RESOLVER_V4, 53);
    let record = log.denial(web, about, mark, DEADLINE).expect("a record");
    assert_eq!((record.layer.as_str(), record.reason.as_str()), ("dns", "dns-malformed"));
    // A datagram of several fragments, of which the later ones have no ports.
    let socket = datagram_socket(web, Family::V4);
    let to = SocketAddr::new(declared(Family::V4), ECHO_PORT);
    socket.send_to(&[0; 4000], to).expect("sends");
    let record = log.denial(web, About::Unreadable("fragment"), mark, DEADLINE);
    assert_eq!(record.expect("a record").layer, "wire");
}
