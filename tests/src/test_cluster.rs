//! A cluster for tests, behind a gate: the double, or the API server that `EXEAT_TEST_KUBECONFIG`
//! leads to. Everything a test makes in it is in a namespace of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use exeat_agent::{
    config::kubernetes::{Access, ConfigMapName, Kubernetes},
    flows::FlowLog,
    kubernetes::{
        client::Cluster,
        health::Health,
        join::join,
        sources::{Parts, Sources},
        teller::Teller,
    },
    registry::file::Snapshot,
    workloads::pod::Pods,
};
use k8s_openapi::api::{
    authentication::v1::TokenRequest, core::v1::ServiceAccount, events::v1::Event,
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::ApiResource,
};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::api_server::{ADMIN, ApiServer, gate::Gate};

/// Names the kubeconfig of a real API server. The suite makes and removes namespaces, definitions
/// and roles there.
pub const REAL: &str = "EXEAT_TEST_KUBECONFIG";
/// Token of whoever may not do everything, with the double.
const LIMITED: &str = "limited-token";
/// All that the agent reads, by group.
const READ: [(&str, &[&str]); 7] = [
    ("", &["pods", "services", "namespaces", "configmaps"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    (
        "networking.istio.io",
        &[
            "destinationrules",
            "gateways",
            "serviceentries",
            "sidecars",
            "virtualservices",
            "workloadentries",
        ],
    ),
    ("networking.gloo.solo.io", &["externalendpoints", "externalservices", "routetables"]),
    ("admin.gloo.solo.io", &["workspaces", "workspacesettings"]),
    ("istio.alibabacloud.com", &["asmegresstrafficpolicies"]),
];
/// How long anything may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// A cluster, and what of it belongs to one test.
#[derive(Debug)]
pub struct TestCluster {
    /// None: the API server is real.
    pub double: Option<ApiServer>,
    pub gate: Gate,
    /// Everything the test makes with a namespace is in this one.
    pub namespace: String,
    /// The node that the agent is on.
    pub node: String,
    admin: AdminClient,
    kubeconfig: PathBuf,
    _folder: Folder,
    tasks: JoinSet<()>,
    _gate_stop: oneshot::Sender<()>,
}

/// Holds the files of one test, and goes with it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing is to be done about one that cannot be removed.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Goes past the gate.
struct AdminClient(Client);

impl std::fmt::Debug for AdminClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AdminClient")
    }
}

/// What the agent's sources publish.
#[derive(Debug)]
pub struct Followed {
    pub pods: watch::Receiver<Arc<Pods>>,
    pub registry: watch::Receiver<Arc<Snapshot>>,
    pub health: Health,
    /// What is denied is told to the cluster.
    pub flows: FlowLog,
    pub stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl TestCluster {
    /// Starts a cluster that has nothing but the test's namespace, or finds the real one.
    pub async fn start(test: &str) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let namespace = format!("exeat-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&namespace);
        std::fs::create_dir_all(&folder)?;
        let guard = Folder(folder.clone());
        let real = std::env::var_os(REAL);
        let (double, file) = if let Some(path) = real {
            (None, Kubeconfig::read_from(path).context(REAL)?)
        } else {
            let double = ApiServer::start(&mut tasks).await?;
            let authority = folder.join("authority.pem");
            std::fs::write(&authority, &double.authority)?;
            let user = json!({
                "clusters": [{"name": "c", "cluster": {
                    "server": format!("https://{}", double.address),
                    "certificate-authority": authority,
                }}],
                "users": [{"name": "u", "user": {"token": ADMIN}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            });
            (Some(double), Kubeconfig::from_yaml(&user.to_string())?)
        };
        let (gate_stop, gate_stopped) = oneshot::channel();
        let (server, name) = server(&file).context("a kubeconfig with a server")?;
        let gate = Gate::start(server, gate_stopped, &mut tasks).await?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(file.clone(), &options).await?;
        let admin = AdminClient(Client::try_from(config)?);
        let kubeconfig = folder.join("kubeconfig");
        let gated = gated(file, &gate, &name);
        std::fs::write(&kubeconfig, serde_json::to_string(&gated)?)?;
        let node = format!("node-{namespace}");
        let cluster = Self {
            double,
            gate,
            namespace,
            node,
            admin,
            kubeconfig,
            tasks,
            _gate_stop: gate_stop,
            _folder: guard,
        };
        let namespace = cluster.namespace.clone();
        cluster
            .put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
            .await?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}});
        cluster.put(&account).await?;
        Ok(cluster)
    }

    /// The file by which the agent reaches it, through the gate.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// How the agent reaches it: through the gate.
    fn config(&self, kubeconfig: &Path) -> Kubernetes {
        Kubernetes {
            access: Access::Kubeconfig(kubeconfig.to_owned()),
            node: Some(self.node.clone()),
            mesh_config_map: Some(ConfigMapName {
                namespace: self.namespace.clone(),
                name: "istio".to_owned(),
            }),
            pods: false,
            veths: true,
            events: true,
        }
    }

    /// Starts the agent's sources, with what `files` say.
    pub async fn follow(&self, files: Snapshot) -> Result<Followed> {
        self.follow_with(files, &self.kubeconfig).await
    }

    /// Starts the agent's sources as somebody else: [`TestCluster::limited`].
    pub async fn follow_as(&self, kubeconfig: &Path) -> Result<Followed> {
        self.follow_with(Snapshot::default(), kubeconfig).await
    }

    /// Somebody who may read everything `but` what is of these plurals. Asked for again, the same
    /// one is given other permissions.
    pub async fn limited(&self, but: &[&str]) -> Result<PathBuf> {
        let token = if let Some(double) = &self.double {
            double.admit(LIMITED, but);
            LIMITED.to_owned()
        } else {
            self.limited_account(but).await?
        };
        let mut file = Kubeconfig::read_from(&self.kubeconfig)?;
        for user in &mut file.auth_infos {
            let token = serde_json::from_value(json!({"token": token}))?;
            user.auth_info = Some(token);
        }
        let path = self.kubeconfig.with_file_name("limited");
        std::fs::write(&path, serde_json::to_string(&file)?)?;
        Ok(path)
    }

    /// A service account with a role of its own.
    async fn limited_account(&self, but: &[&str]) -> Result<String> {
        let name = self.role();
        let namespace = self.namespace.as_str();
        let rules = READ.iter().map(|(group, plurals)| {
            let plurals: Vec<_> = plurals.iter().filter(|it| !but.contains(it)).collect();
            json!({"apiGroups": [group], "resources": plurals, "verbs": ["get", "list", "watch"]})
        });
        let rbac = "rbac.authorization.k8s.io";
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "limited", "namespace": namespace}});
        let role = json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules.collect::<Vec<_>>()});
        let binding = json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "limited", "namespace": namespace}],
        });
        for object in [&account, &role, &binding] {
            self.put(object).await?;
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.0.clone(), namespace);
        let request = TokenRequest::default();
        let made =
            accounts.create_token_request("limited", &PostParams::default(), &request).await?;
        Ok(made.status.context("a token")?.token)
    }

    /// The role of [`TestCluster::limited`], which has no namespace.
    fn role(&self) -> String {
        format!("{}-limited", self.namespace)
    }

    async fn follow_with(&self, files: Snapshot, kubeconfig: &Path) -> Result<Followed> {
        let health = Health::default();
        let (pods, pods_out) = watch::channel(Arc::default());
        let (declare, declared) = watch::channel(None);
        let (files, by_files) = watch::channel(Arc::new(files));
        let (output, registry) = watch::channel(Arc::default());
        let stop = CancellationToken::new();
        let cluster = Cluster::connect(&self.config(kubeconfig)).await?;
        let flows = FlowLog::default();
        let teller = Teller {
            cluster: cluster.clone(),
            declared: declared.clone(),
            pods: pods_out.clone(),
            flows: flows.clone(),
        };
        let parts = Parts { cluster, health: health.clone(), pods, declared: declare };
        let mut tasks = JoinSet::new();
        tasks.spawn(teller.run(stop.clone()));
        tasks.spawn(Sources::new(parts).run(stop.clone()));
        let token = stop.clone();
        tasks.spawn(async move {
            join(by_files, declared, output, token).await.expect("no panic");
            drop(files);
        });
        Ok(Followed { pods: pods_out, registry, health, flows, stop, tasks })
    }

    /// Makes an object, or merges into the one that is there.
    pub async fn put(&self, object: &Value) -> Result<DynamicObject> {
        let api = self.api(object);
        let new: DynamicObject = serde_json::from_value(object.clone())?;
        let name = new.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &new).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            result => return result.with_context(|| format!("create {object}")),
        }
        let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(object)).await;
        let patched = patched.with_context(|| format!("patch {object}"))?;
        ensure!(patched.metadata.deletion_timestamp.is_none(), "{name} is still being deleted");
        Ok(patched)
    }

    /// Merges into the status of an object, which clients cannot write with the rest.
    pub async fn put_status(&self, object: &Value) -> Result<()> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let patch = Patch::Merge(object);
        self.api(object).patch_status(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Deletes an object at once. One that is not there is fine.
    pub async fn remove(&self, object: &Value) -> Result<()> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        match self.api(object).delete(name, &now).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop).with_context(|| format!("delete {object}")),
        }
    }

    /// The Events about an object of the test, once there are any.
    pub async fn events(&self, name: &str) -> Result<Vec<Event>> {
        let api: Api<Event> = Api::namespaced(self.admin.0.clone(), &self.namespace);
        let is_about = |event: &Event| {
            event.regarding.as_ref().is_some_and(|it| it.name.as_deref() == Some(name))
        };
        let told = async {
            loop {
                let all = api.list(&ListParams::default()).await?.items;
                let about: Vec<Event> = all.into_iter().filter(is_about).collect();
                if !about.is_empty() {
                    return Ok(about);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, told).await.context("no event in time")?
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural(&kind),
            api_version: api_version.clone(),
            kind,
        };
        let client = self.admin.0.clone();
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }

    /// Removes what is left of the test.
    pub async fn finish(mut self) -> Result<()> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.remove(&namespace).await?;
        if self.double.is_none() {
            for kind in ["ClusterRole", "ClusterRoleBinding"] {
                let version = "rbac.authorization.k8s.io/v1";
                let role =
                    json!({"apiVersion": version, "kind": kind, "metadata": {"name": self.role()}});
                self.remove(&role).await?;
            }
        }
        self.tasks.shutdown().await;
        Ok(())
    }
}

impl Followed {
    /// Waits for a registry.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub async fn registry(&mut self, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let change = self.registry.wait_for(|snapshot| wanted(snapshot));
        let found = timeout(DEADLINE, change).await;
        let found = found.map(|found| Arc::clone(&found.expect("the task runs")));
        found.unwrap_or_else(|_| panic!("the registry did not come: {:#?}", self.health.sources()))
    }

    /// Waits for the pods of the node.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub async fn pods(&mut self, wanted: impl Fn(&Pods) -> bool) -> Arc<Pods> {
        let change = self.pods.wait_for(|pods| wanted(pods));
        let found = timeout(DEADLINE, change).await;
        let found = found.map(|found| Arc::clone(&found.expect("the task runs")));
        found.unwrap_or_else(|_| panic!("the pods did not come: {:#?}", self.health.sources()))
    }

    /// Waits for a state of the sources.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub async fn health(&self, wanted: impl Fn(&Health) -> bool) {
        let holds = async {
            while !wanted(&self.health) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let is_in_time = timeout(DEADLINE, holds).await.is_ok();
        assert!(is_in_time, "the sources did not become it: {:#?}", self.health.sources());
    }

    /// Ends the sources.
    ///
    /// # Panics
    ///
    /// If one of their tasks did.
    pub async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic");
        }
    }
}

/// Host and port of the server, and the name its certificate has.
fn server(file: &Kubeconfig) -> Option<(String, String)> {
    let current = file.current_context.as_deref()?;
    let context = file.contexts.iter().find(|it| it.name == current)?.context.as_ref()?;
    let cluster = file.clusters.iter().find(|it| it.name == context.cluster)?;
    let server = cluster.cluster.as_ref()?.server.as_deref()?;
    let server = server.strip_prefix("https://")?.trim_end_matches('/');
    let (host, _) = server.rsplit_once(':').unwrap_or((server, ""));
    let address = if server.contains(':') { server.to_owned() } else { format!("{server}:443") };
    Some((address, host.trim_matches(['[', ']']).to_owned()))
}

/// The same file, but for the way: all clusters are behind the gate.
fn gated(mut file: Kubeconfig, gate: &Gate, name: &str) -> Kubeconfig {
    for cluster in file.clusters.iter_mut().filter_map(|it| it.cluster.as_mut()) {
        cluster.server = Some(format!("https://{}", gate.address));
        cluster.tls_server_name = Some(name.to_owned());
    }
    file
}

/// How a kind is called in paths.
pub fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        _ if kind.ends_with("settings") => kind,
        Some(stem) if !kind.ends_with("ay") => format!("{stem}ies"),
        _ => format!("{kind}s"),
    }
}
