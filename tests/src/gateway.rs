//! Drives the real `exeat gateway`: in the network namespace of a pod of its own, in front of the
//! servers of a [`World`].

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::agent::{binary, fetch};
use crate::metrics::Metrics;
use crate::node::{Family, Pod, RESOLVER_V4};
use crate::registry::Entry;
use crate::wait;
use crate::world::World;

/// Ports of the gateway: plain HTTP, TLS for ports 443, 8443 and 7443, either.
pub const HTTP: u16 = 8080;
pub const TLS: u16 = 8443;
pub const TLS_TO_8443: u16 = 9443;
pub const TLS_TO_7443: u16 = 9444;
pub const AUTO: u16 = 15_443;
/// Namespace of the registry that the gateway has.
pub const NAMESPACE: &str = "istio-egress";

const METRICS: &str = "127.0.0.1:9469";
/// For the start, for an end, for a line of the log.
const WITHIN: Duration = Duration::from_secs(20);

/// A world with a gateway in it. The process ends before the world does.
#[derive(Debug)]
pub struct GatewayScene {
    process: Child,
    pub pod: Pod,
    dir: PathBuf,
    pub world: World,
}

/// What a curl was told.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub exit: Option<i32>,
    /// Bodies, and after each the line that `--write-out` gives.
    pub text: String,
    pub stderr: String,
}

impl GatewayScene {
    /// Starts a gateway with these entries and further lines of its section.
    pub fn start(test: &str, entries: &[Entry], section: &str) -> Result<Self> {
        Self::start_with(test, entries, section, "registry: {files: [REGISTRY], watch: true}")
    }

    /// The same, with a line of its own for the registry.
    pub fn start_with(
        test: &str,
        entries: &[Entry],
        section: &str,
        registry: &str,
    ) -> Result<Self> {
        let mut world = World::new(test)?;
        let pod = world.node.pod(NAMESPACE, "egress")?;
        let dir = world.node.run().dir().join("gateway");
        let folder = dir.join("registry.d");
        fs::create_dir_all(&folder)?;
        for entry in entries {
            fs::write(folder.join(entry.file()), entry.manifest())?;
        }
        let registry = registry.replace("REGISTRY", &folder.display().to_string());
        let mut listeners = String::new();
        for any in ["0.0.0.0", "[::]"] {
            write!(
                listeners,
                "  - {{address: \"{any}:{HTTP}\", protocol: http}}\n  \
                 - {{address: \"{any}:{TLS}\", protocol: tls}}\n  \
                 - {{address: \"{any}:{TLS_TO_8443}\", protocol: tls, port: 8443}}\n  \
                 - {{address: \"{any}:{TLS_TO_7443}\", protocol: tls, port: 7443}}\n  \
                 - {{address: \"{any}:{AUTO}\"}}\n"
            )?;
        }
        let log = dir.join("access.log");
        let config = format!(
            "{registry}\n\
             clusterCidrs: [10.96.0.0/12]\n\
             dns: {{resolvers: [\"{RESOLVER_V4}\"]}}\n\
             metrics: {{listen: \"{METRICS}\"}}\n\
             gateway:\n  namespace: {NAMESPACE}\n  accessLog: {log}\n{section}  \
             listeners:\n{listeners}",
            log = log.display(),
        );
        let path = dir.join("gateway.yaml");
        fs::write(&path, config)?;
        let words = fs::File::create(dir.join("gateway.log"))?;
        let mut command = pod.command(binary()?)?;
        command.args(["gateway", "--config"]).arg(&path).stdin(Stdio::null());
        command.stdout(words.try_clone()?).stderr(words);
        let process = command.spawn().context("start exeat gateway")?;
        let mut scene = Self { process, pod, dir, world };
        let mut ended = None;
        let is_ready = wait::holds(WITHIN, || {
            ended = scene.process.try_wait().unwrap_or(None);
            ended.is_some() || scene.page("/readyz").is_ok_and(|(status, _)| status == 200)
        });
        if ended.is_some() || !is_ready {
            bail!("the gateway is not ready; it said:\n{}", scene.words());
        }
        Ok(scene)
    }

    /// What the gateway's process wrote.
    pub fn words(&self) -> String {
        fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default()
    }

    pub fn put(&self, entry: &Entry) -> Result<()> {
        self.put_text(&entry.file(), &entry.manifest())
    }

    pub fn put_text(&self, file: &str, text: &str) -> Result<()> {
        let draft = self.dir.join("draft");
        fs::write(&draft, text)?;
        fs::rename(draft, self.dir.join("registry.d").join(file)).context("put a manifest")
    }

    pub fn remove(&self, entry: &Entry) -> Result<()> {
        fs::remove_file(self.dir.join("registry.d").join(entry.file())).context("remove a manifest")
    }

    pub fn address(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.pod.ip(family), port)
    }

    /// Runs curl in the pod `web`.
    pub fn curl(&self, args: &[&str]) -> Result<Fetched> {
        let mut command: Command = self.world.web.command("curl")?;
        command.args([
            "--silent",
            "--show-error",
            "--insecure",
            "--noproxy",
            "",
            "--max-time",
            "30",
        ]);
        let Output { status, stdout, stderr } =
            command.args(args).output().context("run curl (Debian package curl)")?;
        Ok(Fetched {
            exit: status.code(),
            text: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    /// The same, through a port of the gateway, whatever the URL says.
    pub fn curl_at(&self, gateway: SocketAddr, args: &[&str]) -> Result<Fetched> {
        let to = format!("::{gateway}");
        self.curl(&[&["--connect-to", &to], args].concat())
    }

    /// A connection of `pod` to the gateway, with time-outs that only a fault reaches.
    pub fn connect(&self, pod: &Pod, to: SocketAddr) -> Result<TcpStream> {
        let stream = pod.netns.run(|| TcpStream::connect_timeout(&to, WITHIN))??;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        Ok(stream)
    }

    /// Everything that comes before the end of a connection; an error if there is no end.
    pub fn rest(mut stream: TcpStream) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).context("read to the end of a connection")?;
        Ok(bytes)
    }

    /// Sends bytes and gives all that comes back.
    pub fn exchange(&self, to: SocketAddr, bytes: &[u8]) -> Result<String> {
        let mut stream = self.connect(&self.world.web, to)?;
        stream.write_all(bytes)?;
        Ok(String::from_utf8_lossy(&Self::rest(stream)?).into_owned())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?);
        kill(pid, signal).context("signal the gateway")
    }

    /// Waits for the process to end; whether it did so well.
    pub fn wait_for_end(&mut self) -> Result<bool> {
        let ended = wait::until(WITHIN, || self.process.try_wait().transpose()).transpose()?;
        Ok(ended.context("the gateway does not end")?.success())
    }

    /// Files and sockets that the process has open.
    pub fn open_files(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.process.id());
        Ok(fs::read_dir(folder).context("open files of the gateway")?.count())
    }

    /// A page of the gateway's own HTTP server.
    pub fn page(&self, page: &str) -> Result<(u16, String)> {
        let server = METRICS.parse()?;
        self.pod.netns.run(|| fetch(server, page))?
    }

    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.page("/metrics")?.1)
    }

    /// The lines of the access log that have these values, once there is one.
    pub fn logged(&self, wanted: &[(&str, &str)]) -> Result<Vec<serde_json::Value>> {
        let found = wait::until(WITHIN, || {
            let lines = self.log();
            let has = |line: &serde_json::Value| {
                wanted.iter().all(|(pointer, value)| {
                    line.pointer(pointer)
                        .is_some_and(|it| it.as_str().unwrap_or(&it.to_string()) == *value)
                })
            };
            let found: Vec<_> = lines.into_iter().filter(has).collect();
            (!found.is_empty()).then_some(found)
        });
        found.with_context(|| format!("no line with {wanted:?} in {:#?}", self.log()))
    }

    /// All whole lines of the access log.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.dir.join("access.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Connections that reached an HTTP server of the internet.
    pub fn arrived(&self, address: &str, port: u16) -> Result<u64> {
        let address: IpAddr = address.parse().context("an address")?;
        Ok(self.world.http.arrivals().at(SocketAddr::new(address, port)))
    }
}

impl Drop for GatewayScene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}\nits log: {:#?}", self.words(), self.log());
        }
        // It may have ended already.
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("exeat-tests: end the gateway: {error}");
        }
    }
}

/// The first bytes of a TLS client that asks for `name`.
pub fn client_hello(name: &str) -> Result<Vec<u8>> {
    let config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().context("a server name")?;
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}
