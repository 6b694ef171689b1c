//! Answers that are no objects: the `Status` of an API server.

use serde_json::{Value, json};

/// Why a request failed.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: &str) -> Self {
        Self { code, reason, message: message.to_owned() }
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(super) fn forbidden(verb: &str, plural: &str, group: &str) -> Self {
        let message = format!(
            "{plural} is forbidden: User \"test\" cannot {verb} resource \"{plural}\" in API group \"{group}\" at the cluster scope"
        );
        Self::new(403, "Forbidden", &message)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(404, "NotFound", &format!("{what} not found"))
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn exists(what: &str) -> Self {
        Self::new(409, "AlreadyExists", &format!("{what} already exists"))
    }

    pub(super) fn conflict(what: &str) -> Self {
        let message = format!(
            "{what}: the object has been modified; please apply your changes to the latest version"
        );
        Self::new(409, "Conflict", &message)
    }

    pub(super) fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", &format!("too old resource version: {asked} ({oldest})"))
    }

    pub(super) fn continue_expired() -> Self {
        let message =
            "The provided continue parameter is too old to display a consistent list result.";
        Self::new(410, "Expired", message)
    }

    pub(super) fn invalid(message: &str) -> Self {
        Self::new(422, "Invalid", message)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}
