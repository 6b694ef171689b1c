//! What the agent has to say about a registry object: one code, one place, one sentence.

use std::fmt;

use serde::{Serialize, Serializer};

/// Kind, namespace and name: who an object is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ObjectRef {
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// One finding about one object.
///
/// Serializes as `{"code","severity","kind","namespace","name","path","message"}`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Report {
    pub code: Code,
    pub severity: Severity,
    #[serde(flatten)]
    pub object: ObjectRef,
    /// Where in the object, for example `spec.ports[0].number`; empty for the object as a whole.
    pub path: String,
    pub message: String,
}

impl Report {
    pub fn new(
        code: Code,
        object: &ObjectRef,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: code.severity(),
            object: object.clone(),
            path: path.into(),
            message: message.into(),
        }
    }
}

/// How much a report matters. The first letter of the code says it too.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// `E-`: the object is ignored whole.
    Error,
    /// `U-`: understood, but it cannot be enforced here; the flows it concerns are denied.
    Unsupported,
    /// `W-`: it works, with a caveat.
    Warning,
    /// `I-`: good to know.
    Info,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Unsupported => "unsupported",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $severity:ident $text:literal;)+) => {
        /// The codes of reports. They are part of the product: metrics and tools name them.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)+
                }
            }
        }
    };
}

codes! {
    // Any object.
    /// Not a Kubernetes object: `apiVersion`, `kind` or `metadata.name` is missing or malformed.
    Object = Error "E-OBJECT";
    /// A field has the wrong type.
    FieldType = Error "E-FIELD-TYPE";
    /// A known kind in a version that is not.
    ApiVersion = Error "E-API-VERSION";
    /// A second object of the same kind, namespace and name.
    Duplicate = Error "E-DUPLICATE";
    // ServiceEntry.
    HostsEmpty = Error "E-HOSTS-EMPTY";
    HostFullWildcard = Error "E-HOST-FULL-WILDCARD";
    HostSyntax = Error "E-HOST-SYNTAX";
    AddressSyntax = Error "E-ADDR-SYNTAX";
    AddressCidrResolution = Error "E-ADDR-CIDR-RESOLUTION";
    PortRange = Error "E-PORT-RANGE";
    PortName = Error "E-PORT-NAME";
    PortNameDuplicate = Error "E-PORT-NAME-DUP";
    PortNumberDuplicate = Error "E-PORT-NUMBER-DUP";
    PortProtocol = Error "E-PORT-PROTOCOL";
    TargetPortRange = Error "E-TARGETPORT-RANGE";
    /// More items than the field may hold.
    TooMany = Error "E-TOO-MANY";
    NoneEndpoints = Error "E-NONE-ENDPOINTS";
    StaticFqdn = Error "E-STATIC-FQDN";
    DnsHostWildcard = Error "E-DNS-HOST-WILDCARD";
    DnsEndpoint = Error "E-DNS-ENDPOINT";
    DnsRoundRobinEndpoints = Error "E-DNSRR-ENDPOINTS";
    DynamicHostExact = Error "E-DYN-HOST-EXACT";
    DynamicAddresses = Error "E-DYN-ADDRESSES";
    DynamicEndpoints = Error "E-DYN-ENDPOINTS";
    DynamicProtocol = Error "E-DYN-PROTOCOL";
    DynamicWaypoint = Error "E-DYN-WAYPOINT";
    Resolution = Error "E-RESOLUTION";
    Location = Error "E-LOCATION";
    EndpointPortUnknown = Error "E-ENDPOINT-PORT-UNKNOWN";
    EndpointPort = Error "E-ENDPOINT-PORT";
    EndpointAddress = Error "E-ENDPOINT-ADDRESS";
    EndpointLabel = Error "E-ENDPOINT-LABEL";
    UdsPath = Error "E-UDS-PATH";
    UdsPorts = Error "E-UDS-PORTS";
    SelectorAndEndpoints = Error "E-SELECTOR-AND-ENDPOINTS";
    SelectorSyntax = Error "E-SELECTOR-SYNTAX";
    MultiHostTcp = Error "E-MULTIHOST-TCP";
    ExportTo = Error "E-EXPORTTO";
    // The other kinds of Istio.
    SidecarEmpty = Error "E-SIDECAR-EMPTY";
    SidecarHost = Error "E-SIDECAR-HOST";
    SidecarListeners = Error "E-SIDECAR-LISTENERS";
    SidecarPolicy = Error "E-SIDECAR-POLICY";
    VirtualServiceEmpty = Error "E-VS-EMPTY";
    VirtualServiceHost = Error "E-VS-HOST";
    VirtualServiceSni = Error "E-VS-SNI";
    VirtualServiceRoute = Error "E-VS-ROUTE";
    /// Names a gateway by something that is no name.
    VirtualServiceGateway = Error "E-VS-GATEWAY";
    Gateway = Error "E-GATEWAY";
    DestinationRule = Error "E-DR";
    Mesh = Error "E-MESH";
    /// Of a flow: its route leads to a service that does not exist.
    RouteDestinationUnknown = Error "E-ROUTE-DEST-UNKNOWN";
    // Gloo, ASM, Kubernetes.
    GlooHostsXorAddresses = Error "E-GLOO-HOSTS-XOR-ADDRESSES";
    GlooTargetPort = Error "E-GLOO-TARGETPORT";
    GlooGatewayRoute = Error "E-GLOO-GATEWAY-ROUTE";
    /// The mode of `clientsideTls` is none of Gloo's.
    GlooTls = Error "E-GLOO-TLS";
    EndpointPortName = Error "E-ENDPOINT-PORT-NAME";
    Workspace = Error "E-WORKSPACE";
    AsmSpec = Error "E-ASM-SPEC";
    ExternalNameLoop = Error "E-EXTNAME-LOOP";
    Service = Error "E-SERVICE";
    // What is understood but not enforced.
    /// A kind of registry object that this version does not read yet.
    Kind = Unsupported "U-KIND";
    HostPartialWildcard = Unsupported "U-HOST-PARTIAL-WILDCARD";
    /// The flow would need another destination than the one dialled: endpoints, a `targetPort`
    /// of its own, or a virtual address.
    Redirect = Unsupported "U-REDIRECT";
    Uds = Unsupported "U-UDS";
    Waypoint = Unsupported "U-WAYPOINT";
    /// A proxy would have to begin TLS.
    TlsOrigination = Unsupported "U-TLS-ORIGINATION";
    /// A proxy would have to speak HTTP CONNECT.
    Tunnel = Unsupported "U-TUNNEL";
    /// The egress gateway takes mutual TLS only.
    GatewayMtls = Unsupported "U-GATEWAY-MTLS";
    /// The route depends on what is inside the flow.
    L7Route = Unsupported "U-L7-ROUTE";
    SidecarListener = Unsupported "U-SIDECAR-LISTENER";
    DynamicDnsVip = Unsupported "U-DYNAMIC-DNS-VIP";
    SliceFqdn = Unsupported "U-SLICE-FQDN";
    /// The name does not fit a kernel table, or a table is full.
    TableFull = Unsupported "U-TABLE-FULL";
    // What works, with a caveat.
    FieldUnknown = Warning "W-FIELD-UNKNOWN";
    HostTldWildcard = Warning "W-HOST-TLD-WILDCARD";
    TcpWithoutAddress = Warning "W-TCP-NO-ADDRESS";
    /// Several hosts behind the same addresses, on ports that go by address.
    MultiHostAddress = Warning "W-MULTIHOST-ADDRESS";
    SelectorEmpty = Warning "W-SELECTOR-EMPTY";
    SelectorIgnored = Warning "W-SELECTOR-IGNORED";
    EndpointNetwork = Warning "W-ENDPOINT-NETWORK";
    /// The name of an endpoint leads to an internal address.
    EndpointGuarded = Warning "W-ENDPOINT-GUARDED";
    NoPorts = Warning "W-NO-PORTS";
    NoUpstream = Warning "W-NO-UPSTREAM";
    /// A TLS route for a part of a host closes the rest of it.
    NoRoute = Warning "W-NO-ROUTE";
    SniNotChecked = Warning "W-SNI-NOT-CHECKED";
    SanNotVerified = Warning "W-SAN-NOT-VERIFIED";
    NotMerged = Warning "W-NOT-MERGED";
    ExternalNameNoPorts = Warning "W-EXTNAME-NO-PORTS";
    GatewayUnknown = Warning "W-GATEWAY-UNKNOWN";
    GatewayBlind = Warning "W-GATEWAY-BLIND";
    GlooWildcardNoEndpoint = Warning "W-GLOO-WILDCARD-NO-ENDPOINT";
    SidecarAmbiguous = Warning "W-SIDECAR-AMBIGUOUS";
    SidecarDuplicate = Warning "W-SIDECAR-DUPLICATE";
    ModeDynamicForwardProxy = Warning "W-MODE-DFP";
    /// The label `exeat.dev/mode` holds something else.
    ModeLabel = Warning "W-MODE-LABEL";
    PodExclusion = Warning "W-POD-EXCLUSION";
    /// A port that is neither TCP nor UDP.
    PortTransport = Warning "W-PORT-TRANSPORT";
    ProtocolConflict = Warning "W-PROTOCOL-CONFLICT";
    VipConflict = Warning "W-VIP-CONFLICT";
    /// The object was valid when it was read before and is invalid now: the version read before
    /// stays in force.
    KeptLastValid = Warning "W-KEPT-LAST-VALID";
    // Good to know.
    /// A kind that declares no destinations and is of no concern here.
    KindForeign = Info "I-KIND-FOREIGN";
    Shadowed = Info "I-SHADOWED";
    /// Its host is a Kubernetes Service's, which alone says how it is reached.
    Decorator = Info "I-DECORATOR";
    /// Settings that only a proxy has a use for.
    Ignored = Info "I-IGNORED";
}

impl Code {
    /// Whether an object with such a report is ignored whole. A route that leads nowhere breaks
    /// flows, and stands itself.
    pub fn refuses(self) -> bool {
        self.severity() == Severity::Error && self != Self::RouteDestinationUnknown
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, ObjectRef, Report, Severity};

    #[test]
    fn reports_have_the_promised_shape() {
        let object =
            ObjectRef { kind: "ServiceEntry".into(), namespace: "shop".into(), name: "api".into() };
        let report = Report::new(Code::HostsEmpty, &object, "spec.hosts", "no host");
        assert_eq!(
            serde_json::to_string(&report).expect("plain data"),
            r#"{"code":"E-HOSTS-EMPTY","severity":"error","kind":"ServiceEntry","namespace":"shop","name":"api","path":"spec.hosts","message":"no host"}"#
        );
        assert_eq!(object.to_string(), "ServiceEntry/shop/api");
    }

    #[test]
    fn codes_are_unique_and_begin_with_their_severity() {
        for (index, code) in Code::ALL.iter().enumerate() {
            let letter = match code.severity() {
                Severity::Error => "E-",
                Severity::Unsupported => "U-",
                Severity::Warning => "W-",
                Severity::Info => "I-",
            };
            assert!(code.as_str().starts_with(letter), "{code}");
            assert!(
                Code::ALL[index + 1..].iter().all(|other| other.as_str() != code.as_str()),
                "{code}"
            );
        }
    }
}
