//! What came of one attempt of the matrix, and what that says.

use serde::Serialize;

use super::Attempt;
use super::row::{Layer, Start, Version};

/// One try: what the caller saw, and how many of its frames the receiver did.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    pub result: String,
    pub arrived: u64,
}

/// The try that is allowed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TwinTried {
    Tried(Tried),
    /// There is none, for this reason.
    None(&'static str),
}

/// A line of the matrix.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub way: &'static str,
    pub version: Version,
    pub start: Start,
    /// What should have stopped it, and what did.
    pub expected: Layer,
    pub layer: Layer,
    pub forbidden: Tried,
    pub twin: TwinTried,
    pub without_exeat: Tried,
    pub verdict: Verdict,
}

/// What a line says. Anything but the first is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Held,
    /// Something arrived that should not have.
    Leak,
    /// The attempt does not work, with exeat or without, so it shows nothing.
    Dead,
    /// What is allowed does not come through.
    TwinFails,
    /// It is held, but not where it should be.
    OtherLayer,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Leak => "LEAK",
            Self::Dead => "SHOWS NOTHING",
            Self::TwinFails => "TWIN FAILS",
            Self::OtherLayer => "OTHER LAYER",
        }
    }
}

impl Finding {
    pub(super) fn new(attempt: &Attempt, open: Tried, forbidden: Tried, twin: TwinTried) -> Self {
        // Who starts outside the pod is seen by no hook of the socket layer.
        let expected = if attempt.start == Start::Outside { Layer::Wire } else { attempt.row.held };
        let layer = if forbidden.result == "EPERM" { Layer::Socket } else { Layer::Wire };
        let twin_works = match &twin {
            TwinTried::Tried(tried) => tried.result == "OK" && tried.arrived > 0,
            TwinTried::None(_) => true,
        };
        let verdict = if forbidden.arrived > 0 {
            Verdict::Leak
        } else if open.arrived == 0 || !is_of_the_network(&forbidden.result) {
            Verdict::Dead
        } else if !twin_works {
            Verdict::TwinFails
        } else if layer != expected {
            Verdict::OtherLayer
        } else {
            Verdict::Held
        };
        let (way, version, start) = (attempt.row.way, attempt.version, attempt.start);
        Self { way, version, start, expected, layer, forbidden, twin, without_exeat: open, verdict }
    }
}

/// Whether a denial may look like this to the caller. Anything else says that the attempt itself
/// went wrong.
fn is_of_the_network(result: &str) -> bool {
    const KNOWN: [&str; 9] = [
        "OK",
        "EPERM",
        "TIMEOUT",
        "EINPROGRESS",
        "ECONNREFUSED",
        "ECONNRESET",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EACCES",
    ];
    KNOWN.contains(&result)
}
