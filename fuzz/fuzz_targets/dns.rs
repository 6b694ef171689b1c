//! Questions and answers in any order, through the parser that runs in the kernel: it never panics,
//! and what it lets through, refuses or learns is what hickory-proto reads in the same bytes.
#![no_main]

#[path = "../../common/tests/dns/exchange.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod exchange;
#[path = "../../common/tests/dns/oracle.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod oracle;
#[path = "../../common/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| oracle::play(script));
