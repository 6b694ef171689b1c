//! The TCP sockets of a workload, read from procfs (proc(5), `/proc/PID/net/tcp`).

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use procfs::{
    ProcError, ProcResult,
    net::{TcpNetEntry, TcpState},
    process::{FDTarget, Process},
};

/// What is open and what waits, with IPv4 in its plain form.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sockets {
    pub connections: BTreeSet<Connection>,
    pub listening: BTreeSet<SocketAddr>,
}

/// One connection on which something may still be sent, if only an acknowledgement.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Connection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// One side has closed it.
    pub is_closing: bool,
}

impl Sockets {
    /// Whether somebody waits for connections to this address and port.
    pub fn is_listening(&self, local: SocketAddr) -> bool {
        let at = |address: IpAddr| self.listening.contains(&SocketAddr::new(address, local.port()));
        // A listener on `::` takes IPv4 too, unless it asked not to; procfs does not say.
        at(local.ip())
            || at(Ipv6Addr::UNSPECIFIED.into())
            || (local.is_ipv4() && at(Ipv4Addr::UNSPECIFIED.into()))
    }

    /// Adds the tables of the process's namespace, or only what it holds itself.
    fn add_all(&mut self, process: &Process, only_its_own: bool) -> ProcResult<()> {
        let held = only_its_own.then(|| held_by(process)).transpose()?;
        let is_its = |entry: &TcpNetEntry| held.as_ref().is_none_or(|it| it.contains(&entry.inode));
        let v6 = match process.tcp6() {
            // A kernel without IPv6 has no such table.
            Err(ProcError::NotFound(_)) => Vec::new(),
            table => table?,
        };
        process.tcp()?.iter().chain(&v6).filter(|it| is_its(it)).for_each(|it| self.add(it));
        Ok(())
    }

    fn add(&mut self, entry: &TcpNetEntry) {
        let is_closing = match entry.state {
            TcpState::Listen => {
                self.listening.insert(plain(entry.local_address));
                return;
            }
            TcpState::Established => false,
            TcpState::CloseWait
            | TcpState::Closing
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::LastAck => true,
            // Not open yet: the packet that opens it is judged. Or over.
            TcpState::SynSent
            | TcpState::SynRecv
            | TcpState::NewSynRecv
            | TcpState::TimeWait
            | TcpState::Close => return,
        };
        let (local, remote) = (plain(entry.local_address), plain(entry.remote_address));
        self.connections.insert(Connection { local, remote, is_closing });
    }
}

/// Reads the sockets of the processes in a cgroup and below it. No processes, no sockets.
///
/// A workload's own network namespace is read whole: what is in it is the workload's, whoever opened
/// it. In the namespace of the agent it has only what its processes hold. Namespaces are told
/// apart by the inode of their table, which needs no power over the processes.
pub fn read(cgroup: &Path) -> io::Result<Sockets> {
    let own = namespace_of("self")?;
    let mut sockets = Sockets::default();
    let mut seen = BTreeSet::new();
    for pid in processes(cgroup)? {
        let Ok(namespace) = namespace_of(&pid.to_string()) else {
            // It has ended.
            continue;
        };
        if seen.contains(&namespace) {
            continue;
        }
        match Process::new(pid).and_then(|process| sockets.add_all(&process, namespace == own)) {
            Ok(()) if namespace == own => {}
            Ok(()) => {
                seen.insert(namespace);
            }
            // It ended meanwhile, and another process shows what is left of its namespace.
            Err(_) if namespace_of(&pid.to_string()).is_err() => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(sockets)
}

/// Identifies the network namespace of a process: the table has an inode number of its own in each.
fn namespace_of(process: &str) -> io::Result<u64> {
    fs::metadata(format!("/proc/{process}/net/tcp")).map(|metadata| metadata.ino())
}

/// Inode numbers of the sockets a process holds.
fn held_by(process: &Process) -> ProcResult<BTreeSet<u64>> {
    let inode =
        |target: FDTarget| if let FDTarget::Socket(inode) = target { Some(inode) } else { None };
    // A descriptor that was closed meanwhile is none.
    Ok(process.fd()?.flatten().filter_map(|descriptor| inode(descriptor.target)).collect())
}

/// Process ids in a cgroup and below it. One of another pid namespace reads as 0.
fn processes(cgroup: &Path) -> io::Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![cgroup.to_owned()];
    while let Some(folder) = folders.pop() {
        // A threaded group lists no processes (cgroups(7)): the group above it does.
        let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        let pids = listed.lines().filter_map(|line| line.parse::<i32>().ok());
        found.extend(pids.filter(|pid| *pid > 0));
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, TcpStream},
        path::Path,
    };

    use super::{Sockets, read};

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    #[test]
    fn a_listener_on_any_address_takes_connections_to_each() {
        let listening = |on: &str, local: &str| {
            let sockets = Sockets { listening: [at(on)].into(), ..Sockets::default() };
            sockets.is_listening(at(local))
        };
        assert!(listening("10.9.0.2:80", "10.9.0.2:80") && listening("0.0.0.0:80", "10.9.0.2:80"));
        assert!(listening("[::]:80", "10.9.0.2:80") && listening("[::]:80", "[fd00::1]:80"));
        assert!(!listening("0.0.0.0:80", "[fd00::1]:80") && !listening("[::]:81", "[fd00::1]:80"));
        assert!(!listening("10.9.0.3:80", "10.9.0.2:80"));
    }

    /// This process stands for one in the namespace of the agent.
    #[test]
    fn in_the_agents_own_namespace_only_what_its_processes_hold_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |pid: u32| {
            std::fs::write(folder.path().join("cgroup.procs"), format!("0\n{pid}\n"))
                .expect("write");
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let server = listener.local_addr().expect("an address");
        let client = TcpStream::connect(server).expect("connect");
        let (accepted, _) = listener.accept().expect("accept");
        write(std::process::id());
        let sockets = read(folder.path()).expect("read");
        assert!(sockets.is_listening(server));
        for (stream, remote) in [(&client, server), (&accepted, client.local_addr().expect("one"))]
        {
            let local = stream.local_addr().expect("an address");
            let found = sockets.connections.iter().find(|it| it.local == local);
            assert_eq!(found.map(|it| (it.remote, it.is_closing)), Some((remote, false)));
        }
        // The twin: another process of the same namespace, which holds none of them.
        let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("start");
        write(other.id());
        let sockets = read(folder.path());
        other.kill().and_then(|()| other.wait()).expect("end");
        assert!(!sockets.expect("read").is_listening(server));
    }

    #[test]
    fn a_cgroup_without_processes_has_no_sockets() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path()).expect("read"), Sockets::default());
        assert!(read(Path::new("/nowhere/at/all")).is_err());
    }
}
