//! One datagram of any bytes, and the first that comes back.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use exeat_tests::probe::Exchanged;

use crate::reach::{unspecified, word};

pub(crate) fn exchange(to: SocketAddr, bytes: &str, timeout: Duration) -> Result<Exchanged> {
    let pairs = (0..bytes.len() / 2).map(|at| bytes.get(2 * at..2 * at + 2).unwrap_or_default());
    let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16)).collect::<Result<Vec<_>, _>>();
    let bytes = bytes.context("hexadecimal digits")?;
    let outcome = (|| {
        let socket = UdpSocket::bind((unspecified(to), 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.send(&bytes)?;
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    })();
    Ok(match outcome {
        Ok(answer) => Exchanged { result: "OK".to_owned(), answer },
        Err(error) => Exchanged { result: word(&error), answer: Vec::new() },
    })
}
