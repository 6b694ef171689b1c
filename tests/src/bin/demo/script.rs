//! What the demo tries, in order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use exeat_tests::agent::{Agent, AgentFiles};
use exeat_tests::flows::FlowLog;
use exeat_tests::pod_client::Kind;
use exeat_tests::wait;
use exeat_tests::world::{ECHO_PORT, World};

use crate::stage::{Stage, Via, ip, known_address};
use crate::table::Expected::{Reached, Refused};

/// The registry of the demo, as files which a reader finds in the source tree.
pub(crate) const REGISTRY: [(&str, &str); 7] = [
    ("bank-api.yaml", include_str!("../../../demo/registry/bank-api.yaml")),
    ("bank-status.yaml", include_str!("../../../demo/registry/bank-status.yaml")),
    ("shop-cdn.yaml", include_str!("../../../demo/registry/shop-cdn.yaml")),
    ("shop-clock.yaml", include_str!("../../../demo/registry/shop-clock.yaml")),
    ("shop-old.yaml", include_str!("../../../demo/registry/shop-old.yaml")),
    ("shop-warehouse.yaml", include_str!("../../../demo/registry/shop-warehouse.yaml")),
    ("shop-www.yaml", include_str!("../../../demo/registry/shop-www.yaml")),
];

/// A change of the registry is in force after this.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// What the resolver of the demo knows: every name, registered or not.
pub(crate) fn fill_dns(world: &World) -> Result<()> {
    for (name, v4, v6) in [
        ("www.example.com", "203.0.113.10", "2001:db8::10"),
        ("img.cdn.example.net", "203.0.113.20", "2001:db8::20"),
        ("new.cdn.example.net", "203.0.113.21", "2001:db8::21"),
        ("cdn.example.net", "203.0.113.22", "2001:db8::22"),
        ("clock.example.com", "203.0.113.30", "2001:db8::30"),
        ("old.example.com", "203.0.113.40", "2001:db8::40"),
        ("api.bank.example", "198.51.100.10", "2001:db8:1::10"),
        ("status.example.org", "198.51.100.20", "2001:db8:1::20"),
        ("www.example.org", "198.51.100.30", "2001:db8:1::30"),
    ] {
        world.dns.set(name, &[ip(v4)?, ip(v6)?], 300);
    }
    Ok(())
}

pub(crate) fn play(stage: &mut Stage, files: &AgentFiles, agent: Agent) -> Result<Agent> {
    by_name(stage)?;
    by_address(stage)?;
    across_pods(stage)?;
    entry_removed(stage, files)?;
    agent_killed(stage, files, agent)
}

fn by_name(stage: &mut Stage) -> Result<()> {
    let web = stage.world.web.clone();
    stage.reach_with_curl(&web, "http://www.example.com/", 80)?;
    stage.reach_with_curl(&web, "https://www.example.com/", 443)?;
    stage.reach(&web, "www.example.com", Kind::Aaaa, 80)?;
    stage.reach(&web, "img.cdn.example.net", Kind::A, 443)?;
    stage.no_such_name(&web, "cdn.example.net, apex of the wildcard", "cdn.example.net")?;
    stage.no_such_name(&web, "www.example.org, not registered", "www.example.org")?;
    stage.reach_via(&web, "clock.example.com", Kind::A, ECHO_PORT, Via::Udp)?;
    stage.reach_via(&web, "clock.example.com", Kind::Aaaa, ECHO_PORT, Via::Udp)?;
    stage.ask_stranger(&web, "www.example.com")
}

fn by_address(stage: &mut Stage) -> Result<()> {
    let web = stage.world.web.clone();
    let www = known_address(&web, "www.example.com", 8080)?;
    stage.address(&web, "www.example.com, wrong port 8080", www, Via::Tcp, Refused)?;
    let www = SocketAddr::new(www.ip(), ECHO_PORT);
    stage.address(&web, "www.example.com, UDP port 4000", www, Via::Udp, Refused)?;
    let warehouse = SocketAddr::new(ip("203.0.113.50")?, 5432);
    stage.address(&web, "203.0.113.50 port 5432, declared", warehouse, Via::Tcp, Reached)?;
    for bare in ["203.0.113.99", "2001:db8::99"] {
        let destination = SocketAddr::new(ip(bare)?, 443);
        let what = format!("{bare}, an address without a name");
        stage.address(&web, &what, destination, Via::Tcp, Refused)?;
    }
    Ok(())
}

fn across_pods(stage: &mut Stage) -> Result<()> {
    let (web, ledger) = (stage.world.web.clone(), stage.world.ledger.clone());
    stage.reach(&ledger, "api.bank.example", Kind::A, 443)?;
    stage.no_such_name(&web, "api.bank.example, exported to bank only", "api.bank.example")?;
    let api = SocketAddr::new(ip("198.51.100.10")?, 443);
    stage.address(&web, "the address of api.bank.example", api, Via::Tcp, Refused)?;
    stage.reach(&ledger, "status.example.org", Kind::A, 443)?;
    let status = SocketAddr::new(ip("198.51.100.20")?, 443);
    let what = "status.example.org as bank/ledger learned it";
    stage.address(&web, what, status, Via::Tcp, Refused)?;
    stage.reach(&web, "status.example.org", Kind::A, 443)
}

fn entry_removed(stage: &mut Stage, files: &AgentFiles) -> Result<()> {
    let web = stage.world.web.clone();
    stage.reach(&web, "old.example.com", Kind::A, 80)?;
    let old = known_address(&web, "old.example.com", 80)?;
    files.remove("shop-old.yaml")?;
    let start = Instant::now();
    let closed = wait::holds(IN_FORCE_WITHIN, || {
        web.connect(old.ip(), old.port()).is_ok_and(|reached| !reached.is_ok())
    });
    let took = start.elapsed().as_millis();
    stage.table.event(&if closed {
        format!("shop-old.yaml removed, in force after {took} ms")
    } else {
        "shop-old.yaml removed, and still the address is open".to_owned()
    });
    stage.address(&web, "old.example.com, its entry removed", old, Via::Tcp, Refused)?;
    stage.no_such_name(&web, "old.example.com asked again", "old.example.com")
}

fn agent_killed(stage: &mut Stage, files: &AgentFiles, agent: Agent) -> Result<Agent> {
    let web = stage.world.web.clone();
    agent.kill()?;
    stage.flows = None;
    stage.table.event("agent killed (-9)");
    stage.reach(&web, "new.cdn.example.net", Kind::A, 443)?;
    stage.no_such_name(&web, "www.example.org, agent dead", "www.example.org")?;
    let bare = SocketAddr::new(ip("203.0.113.99")?, 443);
    stage.address(&web, "203.0.113.99, agent dead", bare, Via::Tcp, Refused)?;
    let start = Instant::now();
    let agent = files.start(&stage.world.node)?;
    let took = start.elapsed().as_millis();
    stage.table.event(&format!("agent started again, ready after {took} ms"));
    stage.flows = Some(FlowLog::follow(files, &stage.world.node)?);
    let known = SocketAddr::new(ip("203.0.113.21")?, 443);
    let what = "new.cdn.example.net, learned meanwhile";
    stage.address(&web, what, known, Via::Tcp, Reached)?;
    stage.no_such_name(&web, "www.example.org, agent back", "www.example.org")?;
    if agent.http("/healthz")?.0 != 200 {
        bail!("the agent that took over is not healthy; its log:\n{}", files.log_text());
    }
    Ok(agent)
}
