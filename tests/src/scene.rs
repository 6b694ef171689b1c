//! A [`World`] under a running agent, and the few statements most tests are made of. Each
//! checks the client's result and what arrived at the receiver.

#![expect(clippy::missing_panics_doc, reason = "an assertion is meant to panic")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::agent::{Agent, AgentFiles};
use crate::node::Pod;
use crate::pod_client::Kind;
use crate::probe::Reached;
use crate::registry::Entry;
use crate::wait;
use crate::world::World;

/// A change of the registry is in force after this.
pub const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// The agent ends first, the world last.
#[derive(Debug)]
pub struct Scene {
    pub agent: Option<Agent>,
    pub files: AgentFiles,
    pub world: World,
}

impl Scene {
    /// Makes the world and starts the agent with these entries.
    pub fn start(test: &str, entries: &[Entry]) -> Result<Self> {
        let mut scene = Self::prepare(test, entries)?;
        scene.start_agent()?;
        Ok(scene)
    }

    /// The same without starting the agent.
    pub fn prepare(test: &str, entries: &[Entry]) -> Result<Self> {
        Self::in_world(World::new(test)?, entries)
    }

    /// The same in a world of the test's choice.
    pub fn in_world(world: World, entries: &[Entry]) -> Result<Self> {
        let files = AgentFiles::new(&world.node)?;
        let scene = Self { agent: None, files, world };
        for entry in entries {
            scene.put(entry)?;
        }
        Ok(scene)
    }

    pub fn start_agent(&mut self) -> Result<()> {
        self.agent = Some(self.files.start(&self.world.node)?);
        Ok(())
    }

    pub fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("invariant: the test has started the agent")
    }

    /// `kill -9`.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.take().context("the agent is not running")?.kill()
    }

    pub fn put(&self, entry: &Entry) -> Result<()> {
        self.files.put(&entry.file(), &entry.manifest())
    }

    pub fn remove(&self, entry: &Entry) -> Result<()> {
        self.files.remove(&entry.file())
    }

    /// The TCP connection is made and reaches the server.
    #[track_caller]
    pub fn assert_reaches(&self, pod: &Pod, address: IpAddr, port: u16) {
        let server = SocketAddr::new(address.to_canonical(), port);
        let before = self.world.http.arrivals().at(server);
        let reached = pod.connect(address, port).unwrap_or_else(|error| panic!("{error:#}"));
        assert!(reached.is_ok(), "{} to {server} should be allowed: {reached:?}", pod.name);
        let arrived = self.world.http.arrivals().at(server) - before;
        assert_eq!(arrived, 1, "{} to {server}: connections at the server", pod.name);
    }

    /// The TCP connection is refused with EPERM, and not one packet comes out of the node.
    #[track_caller]
    pub fn assert_refused(&self, pod: &Pod, address: IpAddr, port: u16) {
        let to = SocketAddr::new(address.to_canonical(), port);
        self.assert_silent(to, "EPERM", || pod.connect(address, port));
    }

    /// The datagram comes back, and the server counted it.
    #[track_caller]
    pub fn assert_echoes(&self, address: IpAddr, port: u16, send: impl Fn() -> Result<Reached>) {
        let server = SocketAddr::new(address.to_canonical(), port);
        let before = self.world.echo.arrivals().at(server);
        let reached = send().unwrap_or_else(|error| panic!("{error:#}"));
        assert!(reached.is_ok(), "UDP to {server} should be allowed: {reached:?}");
        let arrived = self.world.echo.arrivals().at(server) - before;
        assert_eq!(arrived, 1, "UDP to {server}: datagrams at the server");
    }

    /// `attempt` ends with `result`, and not one packet for `to` comes out of the node.
    #[track_caller]
    pub fn assert_silent(
        &self,
        to: SocketAddr,
        result: &str,
        attempt: impl FnOnce() -> Result<Reached>,
    ) {
        let packets = || self.world.tap.packets_to(to).unwrap_or_else(|error| panic!("{error:#}"));
        let before = packets();
        let reached = attempt().unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(reached.result, result, "attempt to reach {to}: {reached:?}");
        assert_eq!(packets() - before, 0, "packets for {to} that left the node");
    }

    /// The name does not exist for the pod, at once, and the question never left the node.
    #[track_caller]
    pub fn assert_no_such_name(&self, pod: &Pod, name: &str) {
        for kind in [Kind::A, Kind::Aaaa] {
            let before = self.world.dns.asked(name);
            let resolved = pod.resolve(name, kind).unwrap_or_else(|error| panic!("{error:#}"));
            assert!(resolved.is_nxdomain(), "{name} {kind:?} for {}: {resolved:?}", pod.name);
            assert!(resolved.micros < 100_000, "{name} {kind:?} took long: {resolved:?}");
            let arrived = self.world.dns.asked(name) - before;
            assert_eq!(arrived, 0, "questions about {name} that left the node");
        }
    }

    /// Resolves the name and reaches what it resolves to.
    #[track_caller]
    pub fn assert_name_reaches(&self, pod: &Pod, name: &str, kind: Kind, port: u16) -> IpAddr {
        let address = pod.address_of(name, kind).unwrap_or_else(|error| panic!("{error:#}"));
        self.assert_reaches(pod, address, port);
        address
    }

    /// Waits until a change of the registry has opened the name to the pod.
    #[track_caller]
    pub fn wait_until_resolves(&self, pod: &Pod, name: &str) {
        let resolves = || pod.resolve(name, Kind::A).is_ok_and(|it| !it.addresses.is_empty());
        assert!(wait::holds(IN_FORCE_WITHIN, resolves), "{name} is still closed");
    }

    /// Waits until a change of the registry has closed the address to the pod.
    #[track_caller]
    pub fn wait_until_refused(&self, pod: &Pod, address: IpAddr, port: u16) {
        let refused = || pod.connect(address, port).is_ok_and(|it| it.result == "EPERM");
        assert!(wait::holds(IN_FORCE_WITHIN, refused), "{address} port {port} is still open");
    }
}
