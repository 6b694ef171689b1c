//! What a connection and a round trip cost: with nothing in the way, and with what may be put there.

pub(crate) mod client;
pub(crate) mod server;
mod stage;
mod ways;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use self::client::Order;
use self::stage::{GRANTED, Stage};
use self::ways::Setting;
use crate::machine;
use crate::study::{Goal, Measure, Round, Study};

/// Operations of which the median is a round's figure.
const CONNECTIONS: u32 = 1_000;
const ROUND_TRIPS: u32 = 2_000;
/// Through a proxy everything takes longer.
const LESS_THROUGH_PROXY: u32 = 2;

const NOTHING: usize = 0;
const NOTHING_AGAIN: usize = 1;
const ALLOWED: usize = 2;
const NFTABLES: usize = 3;
const REDIRECTED: usize = 4;
const IPTABLES: usize = 5;
const ROWS: [&str; 6] = [
    "nothing",
    "nothing again",
    "exeat, allowed",
    "nftables set",
    "exeat, to the pod's Envoy",
    "iptables REDIRECT, to the same",
];
/// Which rows are measured in which setting. The order is rotated from round to round.
const SETTINGS: [(Setting, &[usize]); 5] = [
    (Setting::Nothing, &[NOTHING]),
    (Setting::Nftables, &[NFTABLES]),
    (Setting::Exeat, &[ALLOWED, REDIRECTED]),
    (Setting::Nothing, &[NOTHING_AGAIN]),
    (Setting::Iptables, &[IPTABLES]),
];

/// The registry, and the set, have so many entries beside the one that counts.
const ENTRIES: u16 = 1_000;

/// Measures for about so long; the last round is finished.
pub(crate) fn measure(time: Duration) -> Result<Study> {
    let began = Instant::now();
    let core = *machine::cores()?.last().context("this process may use no core")?;
    machine::keep_to(core, 0)?;
    machine::go_first()?;
    let mut stage = Stage::new()?;
    let mut study = study(core);
    study.fill((began, time), |number| round(&mut stage, number))?;
    Ok(study)
}

fn study(core: usize) -> Study {
    let measure = |name| Measure { name, unit: "µs", is_rate: false };
    let measures = vec![measure("connect, 64 bytes, close"), measure("round trip of 64 bytes")];
    let title = "What a connection costs, from a pod over veth and a route to a server";
    let mut study = Study::new("connect", title, &ROWS, measures);
    for measure in 0..2 {
        let goal = |row, beside, at_most| Goal { row, beside, measure, at_most };
        study.goals.push(goal(ALLOWED, NOTHING, 1.05));
        study.goals.push(goal(REDIRECTED, IPTABLES, 0.93));
    }
    study.remarks = vec![
        format!("All processes are kept to core {core}, and go before what else runs here."),
        format!(
            "exeat has a registry of {ENTRIES} names, and the granted address was learned from DNS; it is \
             detached\nwhile the others are measured. The nftables set, of addresses and ports, has as many \
             elements; a rule\nbefore it passes what conntrack knows."
        ),
        "Each row was held, before and after, to an address that is not granted: refused, and nothing \
         arrived\nthere; with nothing in the way it was reached."
            .to_owned(),
    ];
    study
}

fn round(stage: &mut Stage, number: usize) -> Result<Round> {
    let mut figures = Round::new();
    let mut settings = SETTINGS;
    settings.rotate_left(number % SETTINGS.len());
    for (setting, rows) in settings {
        stage.enter(setting)?;
        let mut rows = rows.to_vec();
        let first = number % rows.len();
        rows.rotate_left(first);
        for row in rows {
            let name = ROWS.get(row).copied().unwrap_or_default();
            let is_proxied = matches!(row, REDIRECTED | IPTABLES);
            let [connection, round_trip] = cell(stage, setting, is_proxied).context(name)?;
            figures.insert((row, 0), connection);
            figures.insert((row, 1), round_trip);
        }
        stage.leave(setting)?;
    }
    Ok(figures)
}

/// One row of one round, in microseconds.
fn cell(stage: &mut Stage, setting: Setting, is_proxied: bool) -> Result<[f64; 2]> {
    let is_held = setting != Setting::Nothing;
    stage.check(is_proxied, is_held).context("before")?;
    let less = if is_proxied { LESS_THROUGH_PROXY } else { 1 };
    let orders = [
        Order::Connect { to: GRANTED, count: CONNECTIONS / less },
        Order::RoundTrip { to: GRANTED, count: ROUND_TRIPS / less },
    ];
    let mut figures = [0.0; 2];
    for (figure, order) in figures.iter_mut().zip(&orders) {
        let nanoseconds: u32 = stage.client(is_proxied).ask(order)?;
        *figure = f64::from(nanoseconds) / 1_000.0;
    }
    stage.check(is_proxied, is_held).context("after")?;
    Ok(figures)
}
