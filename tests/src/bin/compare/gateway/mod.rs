//! TLS by server name through `exeat gateway`, Envoy and `HAProxy`: connections a second, one long stream,
//! and how long the slowest wait for their first byte.

pub(crate) mod client;
mod contenders;
pub(crate) mod server;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use self::client::Order;
use self::contenders::Contender;
use self::server::STREAM_BYTES;
use self::stage::{SHORT, STREAM, Stage};
use crate::machine;
use crate::study::{Goal, Measure, Round, Study};

/// Connections that are open at a time, and all of them.
const PARALLEL: u32 = 16;
const CONNECTIONS: u32 = 2_000;
/// Connections one after the other, of which one in a hundred may take longer than the figure.
const WAITS: u32 = 500;

const HAPROXY: usize = 0;
const EXEAT: usize = 2;
const ENVOY: usize = 3;
const ROWS: [(&str, Contender); 5] = [
    ("HAProxy", Contender::HaProxy),
    ("HAProxy again", Contender::HaProxy),
    ("exeat gateway", Contender::Exeat),
    ("Envoy", Contender::Envoy),
    ("no gateway", Contender::None),
];
const RATE: usize = 0;
const CPU: usize = 1;
const THROUGHPUT: usize = 2;
const SLOWEST: usize = 3;
/// Not slower than `HAProxy` by more, and no slower than Envoy.
const BESIDE: [(usize, f64); 2] = [(HAPROXY, 1.25), (ENVOY, 1.0)];

/// Measures for about so long; the last round is finished.
pub(crate) fn measure(time: Duration) -> Result<Study> {
    let began = Instant::now();
    let cores = machine::cores()?;
    let (first, last) = cores.first().zip(cores.last()).context("this process may use no core")?;
    machine::keep_to(*first, 0)?;
    machine::go_first()?;
    let mut stage = Stage::new(*last)?;
    let mut study = study(*first, *last);
    study.fill((began, time), |number| round(&mut stage, number))?;
    Ok(study)
}

fn study(first: usize, last: usize) -> Study {
    let rate = |name, unit| Measure { name, unit, is_rate: true };
    let time = |name| Measure { name, unit: "µs", is_rate: false };
    let measures = vec![
        rate("short connections", "1/s"),
        time("CPU of the gateway for one of them"),
        rate("one long stream", "MB/s"),
        time("connect to first byte, p99"),
    ];
    let title = "TLS carried by server name, from a pod through a gateway in another to a server";
    let mut study = Study::new("gateway", title, &ROWS.map(|it| it.0), measures);
    for measure in [RATE, THROUGHPUT, SLOWEST] {
        for (beside, at_most) in BESIDE {
            study.goals.push(Goal { row: EXEAT, beside, measure, at_most });
        }
    }
    study.remarks = vec![
        format!(
            "The gateways have core {last} for themselves, one thread each for what they carry; client and \
             server\nshare core {first}. All go before what else runs here."
        ),
        format!(
            "A connection is a ClientHello and an answer that carries no TLS, so that no time goes into \
             ciphers.\nShort ones: {PARALLEL} at a time. The stream: {} MiB. Nobody writes an access log. \
             exeat resolves names\n(they are remembered) and checks a registry of 1000; the others have two \
             names with fixed addresses.",
            STREAM_BYTES >> 20
        ),
        "Each was held, before and after, to a name that is not granted: refused, and nothing arrived; \
         without\na gateway it was reached."
            .to_owned(),
    ];
    study
}

fn round(stage: &mut Stage, number: usize) -> Result<Round> {
    let mut figures = Round::new();
    let mut order: Vec<_> = ROWS.iter().enumerate().collect();
    // The two halves of the baseline shall not follow each other.
    order.swap(1, 3);
    let first = number % order.len();
    order.rotate_left(first);
    for (row, (name, contender)) in order {
        cell(stage, *contender, row, &mut figures).context(*name)?;
    }
    Ok(figures)
}

fn cell(stage: &mut Stage, contender: Contender, row: usize, figures: &mut Round) -> Result<()> {
    stage.check(contender).context("before")?;
    let [short, stream] = [SHORT, STREAM].map(|end| stage.way(contender, end));
    let cpu_before = stage.cpu_time(contender)?;
    let order = Order::Short { to: short.clone(), count: CONNECTIONS, parallel: PARALLEL };
    let rate: f64 = stage.client.ask(&order)?;
    figures.insert((row, RATE), rate);
    if let (Some(before), Some(after)) = (cpu_before, stage.cpu_time(contender)?) {
        let each = after.saturating_sub(before) / CONNECTIONS;
        figures.insert((row, CPU), each.as_secs_f64() * 1e6);
    }
    let throughput: f64 = stage.client.ask(&Order::Stream { to: stream })?;
    figures.insert((row, THROUGHPUT), throughput);
    let slowest: f64 = stage.client.ask(&Order::Wait { to: short, count: WAITS })?;
    figures.insert((row, SLOWEST), slowest);
    stage.check(contender).context("after")
}
