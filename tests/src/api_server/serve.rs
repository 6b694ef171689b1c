//! HTTP over TLS on a socket: who may ask what, and which part of the double answers.

use std::{convert::Infallible, sync::Arc};

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{
    Shared,
    kinds::Kind,
    list::{list, shown},
    request::{Path, Query, Target},
    status::Status,
    watch::Watch,
    write,
};

type Body = BoxBody<Bytes, Infallible>;

/// Serves until `stop`, or until nobody holds its other end.
pub(super) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        while connections.try_join_next().is_some() {}
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(shared, request).await) }
            });
            // Who breaks off is of no concern.
            let _result =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.is_ok();
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let result = match try_answer(&shared, request).await {
        Ok(response) => return response,
        Err(status) => status,
    };
    response(result.code, &result.json())
}

fn response(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn try_answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let header = |name| request.headers().get(name).and_then(|it| it.to_str().ok());
    let token = header(AUTHORIZATION).and_then(|it| it.strip_prefix("Bearer "));
    let denied = shared.settings().denied_to(token.unwrap_or_default())?;
    let is_metadata = header(ACCEPT).is_some_and(|it| it.contains("as=PartialObjectMetadata"));
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let path = Path::parse(request.uri().path()).ok_or_else(Status::no_such_path)?;
    let Path::Objects(target) = path else {
        return discovery(shared, &path).map(|value| response(200, &value));
    };
    let kind = shared.store().kinds.find(&target.drawer, &target.version).cloned();
    let kind = kind.ok_or_else(Status::no_such_path)?;
    let is_watch = request.method() == Method::GET && query.is_set("watch");
    let verb = verb(request.method(), &target, is_watch);
    if denied.contains(&target.drawer.1) {
        return Err(Status::forbidden(verb, &target.drawer.1, &target.drawer.0));
    }
    if is_watch {
        let watch = Watch::begin(shared, &target, &kind, &query, is_metadata)?;
        let frames = watch.lines().map(|line| Ok::<_, Infallible>(Frame::data(line)));
        let mut response = response(200, &Value::Null);
        *response.body_mut() = BoxBody::new(StreamBody::new(frames));
        return Ok(response);
    }
    if request.method() == Method::GET {
        let value = get(shared, &target, &kind, &query, is_metadata)?;
        return Ok(response(200, &value));
    }
    let method = request.method().clone();
    let body = request.into_body().collect().await;
    let body = body.map_err(|error| Status::bad_request(&error.to_string()))?.to_bytes();
    let value = change(shared, &method, &target, &kind, &body)?;
    Ok(response(if method == Method::POST { 201 } else { 200 }, &value))
}

fn verb(method: &Method, target: &Target, is_watch: bool) -> &'static str {
    match (method.as_str(), &target.name) {
        ("GET", _) if is_watch => "watch",
        ("GET", Some(_)) => "get",
        ("GET", None) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        _ => "delete",
    }
}

fn discovery(shared: &Shared, path: &Path) -> Result<Value, Status> {
    match path {
        Path::Version => Ok(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64",
        })),
        Path::CoreVersions => {
            Ok(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}))
        }
        Path::Groups => Ok(shared.store().kinds.groups()),
        Path::Kinds(group, version) => {
            shared.store().kinds.resources(group, version).ok_or_else(Status::no_such_path)
        }
        Path::Objects(_) => Err(Status::no_such_path()),
    }
}

fn get(
    shared: &Shared,
    target: &Target,
    kind: &Kind,
    query: &Query,
    is_metadata: bool,
) -> Result<Value, Status> {
    let store = shared.store();
    let Some(name) = &target.name else {
        return list(&store, target, kind, query, is_metadata);
    };
    let object = store.object(&write::place(target, kind, name)?).cloned();
    let object =
        object.ok_or_else(|| Status::not_found(&format!("{} \"{name}\"", target.drawer.1)))?;
    Ok(shown(object, target, kind, is_metadata, false))
}

fn change(
    shared: &Shared,
    method: &Method,
    target: &Target,
    kind: &Kind,
    body: &[u8],
) -> Result<Value, Status> {
    let object: Value = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).map_err(|error| Status::bad_request(&error.to_string()))?
    };
    let object = {
        let mut store = shared.store();
        match method.as_str() {
            "POST" => write::create(&mut store, target, kind, object),
            "PUT" => write::replace(&mut store, target, kind, &object),
            "PATCH" => write::patch(&mut store, target, kind, &object),
            "DELETE" => write::delete(&mut store, target, kind),
            _ => Err(Status::no_such_path()),
        }
    };
    shared.tell();
    object.map(|object| shown(object, target, kind, false, false))
}

/// A certificate for this machine alone, and the authority that signed it, in PEM.
pub(super) fn certificate() -> Result<(TlsAcceptor, String)> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).context("make a certificate")?;
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::Pkcs8(
        certified.signing_key.serialize_der().into(),
    );
    let config = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .context("a TLS configuration")?;
    Ok((TlsAcceptor::from(Arc::new(config)), certified.cert.pem()))
}
