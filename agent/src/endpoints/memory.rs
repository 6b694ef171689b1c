//! Addresses of endpoints on disk, so that an agent that is started while the resolvers are silent
//! goes on with what the one before knew. The tables in the kernel say where flows go, but not by
//! which name.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::Known;
use crate::registry::host::HostPattern;

/// More than that was not written by an agent.
const FILE_BYTES: u64 = 4 << 20;

/// A file beside the agent's socket.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
}

impl Memory {
    pub fn beside(socket: &Path) -> Self {
        Self { path: memory_path(socket) }
    }

    /// What the agent before knew; nothing if there was none.
    pub fn read(&self) -> Known {
        match self.parse() {
            Ok(known) => known,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::new(),
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "what was known of endpoints is lost: their names are asked anew");
                Known::new()
            }
        }
    }

    fn parse(&self) -> io::Result<Known> {
        if fs::metadata(&self.path)?.len() > FILE_BYTES {
            return Err(io::Error::other("the file is too long"));
        }
        let names: BTreeMap<String, Vec<IpAddr>> = serde_json::from_slice(&fs::read(&self.path)?)?;
        let exact = |(name, mut addresses): (String, Vec<IpAddr>)| {
            addresses.sort_unstable();
            addresses.dedup();
            let name = HostPattern::parse(&name).ok().filter(|it| !it.is_wildcard())?;
            Some((name, addresses)).filter(|(_, addresses)| !addresses.is_empty())
        };
        Ok(names.into_iter().filter_map(exact).collect())
    }

    /// Writes it as a whole or not at all. Where it fails, the next agent has to ask.
    pub fn write(&mut self, known: &Known) {
        if let Err(error) = self.replace(known) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "what is known of endpoints is not written down");
        }
    }

    fn replace(&self, known: &Known) -> io::Result<()> {
        let names: BTreeMap<String, &Vec<IpAddr>> =
            known.iter().map(|(name, addresses)| (name.to_string(), addresses)).collect();
        let fresh = self.path.with_extension("new");
        let mut file: File = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec(&names)?)?;
        fs::rename(&fresh, &self.path)
    }
}

/// The file that belongs to `socket`.
pub fn memory_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".endpoints");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Known, Memory, memory_path};
    use crate::registry::host::HostPattern;

    fn known(names: &[(&str, &[&str])]) -> Known {
        let page = |(name, addresses): &(&str, &[&str])| {
            let addresses = addresses.iter().map(|it| it.parse().expect("an address"));
            (HostPattern::parse(name).expect("a name"), addresses.collect())
        };
        names.iter().map(page).collect()
    }

    #[test]
    fn the_next_agent_reads_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("exeat.sock");
        let mut memory = Memory::beside(&socket);
        assert_eq!(memory.read(), Known::new(), "there was none before");
        let addressed = known(&[("a.example.com", &["192.0.2.1", "2001:db8::1"])]);
        let all =
            known(&[("a.example.com", &["192.0.2.1", "2001:db8::1"]), ("b.example.com", &[])]);
        memory.write(&all);
        assert_eq!(Memory::beside(&socket).read(), addressed, "what has no address is asked anew");
    }

    #[test]
    fn what_is_no_such_file_is_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("exeat.sock");
        for text in ["", "[]", "{\"a.example.com\": 3}", "{\"a.example.com\": [\"x\"]}"] {
            fs::write(memory_path(&socket), text).expect("written");
            assert_eq!(Memory::beside(&socket).read(), Known::new(), "{text}");
        }
        fs::write(memory_path(&socket), "{\"*.example.com\": [\"192.0.2.1\"]}").expect("written");
        assert_eq!(Memory::beside(&socket).read(), Known::new(), "a pattern has no addresses");
    }
}
