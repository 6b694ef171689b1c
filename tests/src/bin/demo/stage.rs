//! One attempt at a time: made in a pod, compared with what the receiver saw, explained by
//! the agent's flow log.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use exeat_tests::flows::{About, FlowLog};
use exeat_tests::node::{Pod, STRANGER_RESOLVER};
use exeat_tests::pod_client::Kind;
use exeat_tests::probe::Reached;
use exeat_tests::world::World;

use crate::table::{Expected, Outcome, Table};

/// "At once", for an answer that no server has to give.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long to wait for a flow record about what has just happened.
const RECORD_WITHIN: Duration = Duration::from_secs(1);

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) table: Table,
    /// None while the agent is dead.
    pub(crate) flows: Option<FlowLog>,
}

/// The transport of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Tcp,
    Udp,
}

impl Stage {
    /// Resolves `name`, connects to what comes back, and expects to get through.
    pub(crate) fn reach(&mut self, pod: &Pod, name: &str, kind: Kind, port: u16) -> Result<()> {
        self.reach_via(pod, name, kind, port, Via::Tcp)
    }

    pub(crate) fn reach_via(
        &mut self,
        pod: &Pod,
        name: &str,
        kind: Kind,
        port: u16,
        via: Via,
    ) -> Result<()> {
        let family = if kind == Kind::Aaaa { " over IPv6" } else { "" };
        let what = format!("{name} port {port}{}{family}", transport(via));
        let resolved = pod.resolve(name, kind)?;
        let outcome = match resolved.addresses.first() {
            None => Outcome {
                got: format!("no address: {}", resolved.rcode),
                as_expected: false,
                reason: self.reason(pod, About::Name(name), 0),
            },
            Some(address) => {
                self.attempt(pod, SocketAddr::new(*address, port), via, Expected::Reached)?
            }
        };
        self.row(pod, &what, Expected::Reached, &outcome);
        Ok(())
    }

    /// The same with the real curl, which resolves through libc.
    pub(crate) fn reach_with_curl(&mut self, pod: &Pod, url: &str, port: u16) -> Result<()> {
        let before = self.served(port);
        let output = pod.tool("curl", &["-sSk", "-4", "--max-time", "5", url])?;
        let arrived = self.served(port) - before;
        let got = if output.status.success() {
            format!("page read, {arrived} connection arrived")
        } else {
            String::from_utf8_lossy(&output.stderr).trim().to_owned()
        };
        let as_expected = output.status.success() && arrived == 1;
        let outcome = Outcome { got, as_expected, reason: String::new() };
        self.row(pod, &format!("curl {url}"), Expected::Reached, &outcome);
        Ok(())
    }

    /// Connects to an address, expecting it to be open or refused.
    pub(crate) fn address(
        &mut self,
        pod: &Pod,
        what: &str,
        destination: SocketAddr,
        via: Via,
        expected: Expected,
    ) -> Result<()> {
        let outcome = self.attempt(pod, destination, via, expected)?;
        self.row(pod, what, expected, &outcome);
        Ok(())
    }

    /// Asks for a name that must not exist for this pod.
    pub(crate) fn no_such_name(&mut self, pod: &Pod, what: &str, name: &str) -> Result<()> {
        let mark = self.mark();
        let asked = self.world.dns.asked(name);
        let resolved = pod.resolve(name, Kind::A)?;
        let arrived = self.world.dns.asked(name) - asked;
        let at_once = u128::from(resolved.micros) < AT_ONCE.as_micros();
        let outcome = Outcome {
            got: format!("{} in {}, {}", resolved.rcode, ms(resolved.micros), seen(arrived)),
            as_expected: resolved.is_nxdomain() && arrived == 0 && at_once,
            reason: self.reason(pod, About::Name(name), mark),
        };
        self.row(pod, what, Expected::NxDomain, &outcome);
        Ok(())
    }

    /// Asks the resolver nobody declared.
    pub(crate) fn ask_stranger(&mut self, pod: &Pod, name: &str) -> Result<()> {
        let mark = self.mark();
        let server = SocketAddr::new(STRANGER_RESOLVER, 53);
        let before = self.world.tap.packets(STRANGER_RESOLVER)?;
        let options = ["--timeout-ms", "1000"];
        let resolved = pod.resolve_at(server, name, Kind::A, &options)?;
        let arrived = self.world.tap.packets(STRANGER_RESOLVER)? - before;
        let outcome = Outcome {
            got: format!("{} in {}, {}", resolved.rcode, ms(resolved.micros), seen(arrived)),
            as_expected: resolved.addresses.is_empty() && arrived == 0,
            reason: self.reason(pod, About::Address(server.ip(), server.port()), mark),
        };
        let what = format!("{name} at {STRANGER_RESOLVER}, untrusted");
        self.row(pod, &what, Expected::Refused, &outcome);
        Ok(())
    }

    fn attempt(
        &self,
        pod: &Pod,
        destination: SocketAddr,
        via: Via,
        expected: Expected,
    ) -> Result<Outcome> {
        let mark = self.mark();
        let before = self.world.tap.packets_to(destination)?;
        let reached = match via {
            Via::Tcp => pod.connect(destination.ip(), destination.port())?,
            Via::Udp => pod.udp(destination.ip(), destination.port())?,
        };
        let arrived = self.world.tap.packets_to(destination)? - before;
        let as_expected = match expected {
            Expected::Reached => reached.is_ok() && arrived > 0,
            Expected::Refused | Expected::NxDomain => !reached.is_ok() && arrived == 0,
        };
        let reason = if reached.is_ok() {
            String::new()
        } else {
            self.reason(pod, About::Address(destination.ip(), destination.port()), mark)
        };
        Ok(Outcome { got: words(&reached, arrived), as_expected, reason })
    }

    fn served(&self, port: u16) -> u64 {
        self.world.http.arrivals().at_port(port)
    }

    fn row(&mut self, pod: &Pod, what: &str, expected: Expected, outcome: &Outcome) {
        let who = format!("{}/{}", pod.namespace, pod.name);
        self.table.row(&who, what, expected, outcome);
    }

    fn mark(&self) -> usize {
        self.flows.as_ref().map_or(0, FlowLog::mark)
    }

    fn reason(&self, pod: &Pod, about: About<'_>, mark: usize) -> String {
        let record =
            self.flows.as_ref().and_then(|flows| flows.denial(pod, about, mark, RECORD_WITHIN));
        record.map_or_else(|| "-".to_owned(), |record| record.reason)
    }
}

fn transport(via: Via) -> &'static str {
    match via {
        Via::Tcp => "",
        Via::Udp => "/udp",
    }
}

fn words(reached: &Reached, arrived: u64) -> String {
    let result = if reached.is_ok() { "answered" } else { &reached.result };
    format!("{result} in {}, {}", ms(reached.micros), seen(arrived))
}

fn seen(arrived: u64) -> String {
    match arrived {
        0 => "nothing arrived".to_owned(),
        1 => "1 packet arrived".to_owned(),
        more => format!("{more} packets arrived"),
    }
}

fn ms(micros: u64) -> String {
    let tenths = micros.div_ceil(100);
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

/// Parses an address of the script.
pub(crate) fn ip(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| format!("address {text}"))
}

/// The address a pod learns for a name. Not a row of the table.
pub(crate) fn known_address(pod: &Pod, name: &str, port: u16) -> Result<SocketAddr> {
    let address = pod.address_of(name, Kind::A).context("prepare a row")?;
    Ok(SocketAddr::new(address, port))
}
