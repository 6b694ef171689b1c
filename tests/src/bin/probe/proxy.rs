//! A proxy as it stands in a pod: asks the kernel for each connection where it was going, like any that was
//! written for redirects of netfilter. And clients that know what it should have been told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use exeat_tests::probe::Originals;
use nix::sys::socket::{getsockopt, sockopt};
use socket2::SockRef;

const TIMEOUT: Duration = Duration::from_secs(10);
/// One in so many connections is reset.
const RESET_EVERY: u32 = 4;

/// Takes connections on the loopback of both families until its input ends. Sends each on to where it was
/// going, or, if it is only to `tell`, answers with that. Prints one line for each.
pub(crate) fn serve(port: u16, tell: bool) -> anyhow::Result<()> {
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let listener = socket2::Socket::new(
            socket2::Domain::for_address(SocketAddr::new(ip, port)),
            socket2::Type::STREAM,
            None,
        )?;
        listener.set_reuse_address(true)?;
        listener.bind(&SocketAddr::new(ip, port).into())?;
        listener.listen(4096)?;
        let listener = TcpListener::from(listener);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || take(&stream, tell));
            }
        });
    }
    println!("ready");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// Takes connections on every address until its input ends, and answers with the address it was reached at.
pub(crate) fn name_itself(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> Result<()> {
                let local = stream.local_addr()?;
                let local = SocketAddr::new(local.ip().to_canonical(), local.port());
                writeln!(&mut &stream, "{local}")?;
                stream.shutdown(Shutdown::Both)
            });
        }
    });
    println!("ready");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn take(stream: &TcpStream, tell: bool) -> Result<()> {
    let original = original(stream);
    let word = original.as_ref().map_or_else(|_| "none".to_owned(), SocketAddr::to_string);
    if tell {
        writeln!(&mut &*stream, "{word}")?;
        return stream.shutdown(Shutdown::Both);
    }
    println!("{word}");
    let onward = TcpStream::connect_timeout(&original?, TIMEOUT)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // How either side ends is for its client to tell.
            let _ended = std::io::copy(&mut &*stream, &mut &onward);
            onward.shutdown(Shutdown::Write)
        });
        std::io::copy(&mut &onward, &mut &*stream)?;
        stream.shutdown(Shutdown::Write)
    })
}

/// What the connection was dialled as.
fn original(stream: &TcpStream) -> Result<SocketAddr> {
    if stream.local_addr()?.is_ipv4() {
        let found = getsockopt(stream, sockopt::OriginalDst)?;
        let ip = Ipv4Addr::from(u32::from_be(found.sin_addr.s_addr));
        Ok(SocketAddr::new(ip.into(), u16::from_be(found.sin_port)))
    } else {
        let found = getsockopt(stream, sockopt::Ip6tOriginalDst)?;
        let ip = Ipv6Addr::from(found.sin6_addr.s6_addr);
        Ok(SocketAddr::new(ip.into(), u16::from_be(found.sin6_port)))
    }
}

/// `clients` at a time dial `connections` of these in turn and compare what a telling proxy says.
pub(crate) fn compare(dialled: &[SocketAddr], clients: u32, connections: u32) -> Originals {
    let next = AtomicU32::new(0);
    let total = Mutex::new((Originals::default(), BTreeMap::<u16, u32>::new()));
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let (mut own, mut ports) = (Originals::default(), BTreeMap::<u16, u32>::new());
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(to) = dialled.get(number as usize % dialled.len()) else { break };
                    if number >= connections {
                        break;
                    }
                    match dial(*to, number.is_multiple_of(RESET_EVERY)) {
                        Ok((port, told)) => {
                            *ports.entry(port).or_default() += 1;
                            own.note(*to, told.as_deref());
                        }
                        Err(error) => own.fail(&format!("{to}: {error}")),
                    }
                }
                let mut total = total.lock().expect("no client panics");
                total.0.add(&own);
                for (port, uses) in ports {
                    *total.1.entry(port).or_default() += uses;
                }
            });
        }
    });
    let (mut all, ports) = total.into_inner().expect("no client panics");
    all.source_ports = ports.len();
    all
}

/// Local port, and what the proxy said unless the connection was reset before.
fn dial(to: SocketAddr, reset: bool) -> Result<(u16, Option<String>)> {
    let stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let port = stream.local_addr()?.port();
    if stream.peer_addr()? != to {
        return Err(Error::other("getpeername shows another end"));
    }
    if reset {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        return Ok((port, None));
    }
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    // The proxy closes first, so that its end keeps the pair of ports for a while and not this one.
    let _rest = reader.read(&mut [0; 8])?;
    Ok((port, Some(line.trim_end().to_owned())))
}
