//! What the fuzzer starts from: conversations in the form of scripts, written by hickory-proto, in `fuzz/corpus/dns`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use hickory_proto::rr::{Name, RData, rdata};

use crate::{
    a, answer,
    oracle::{ask, hear, over_tcp, play},
    query, query_of, with_edns,
    writer::{SHORT, Writer},
};

/// Makes the test write the files anew.
const WRITE: &str = "EXEAT_WRITE_SEEDS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/dns")
}

fn cname(target: &str) -> RData {
    RData::CNAME(rdata::CNAME(Name::from_ascii(target).expect("a name")))
}

/// An answer about HTTPS with both kinds of hints.
fn service(name: &str) -> Vec<u8> {
    let mut writer = Writer::typed(name, 65);
    writer.record((name, SHORT), 65, 60, |it| {
        it.raw(&[0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2', 0, 4, 0, 4, 192, 0, 2, 1, 0, 6, 0, 16]);
        it.raw(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    });
    writer.finish()
}

/// File names, and what is in them.
fn seeds() -> BTreeMap<&'static str, Vec<u8>> {
    const SITE: &str = "www.example.com";
    let site = ask(&query(SITE));
    let one = answer(SITE, &[(SITE, a("192.0.2.1"), 60)]);
    let chain = answer(
        SITE,
        &[
            (SITE, cname("edge.cdn.example"), 60),
            ("edge.cdn.example", cname("n1.edge.cdn.example"), 60),
            ("n1.edge.cdn.example", a("192.0.2.1"), 60),
            ("n1.edge.cdn.example", a("2001:db8::1"), 60),
            ("other.example", a("192.0.2.66"), 60),
        ],
    );
    let names: Vec<_> = (0..70).map(|last| format!("198.51.100.{last}")).collect();
    let many: Vec<_> = names.iter().map(|address| (SITE, a(address), 60)).collect();
    let guarded = ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "192.0.2.7"];
    let guarded: Vec<_> = guarded.iter().map(|address| (SITE, a(address), 60)).collect();
    let wild = "a.b.Wild.EXAMPLE";
    let upwards = [
        ("n1.edge.cdn.example", a("192.0.2.1"), 60),
        ("edge.cdn.example", cname("n1.edge.cdn.example"), 60),
        (SITE, cname("edge.cdn.example"), 60),
    ];
    let completed = "www.example.com.shop.svc.cluster.local";
    let search = [(completed, cname(SITE), 60), (SITE, a("192.0.2.1"), 60)];
    let text = RData::TXT(rdata::TXT::new(vec!["some text".to_owned()]));
    let mixed = [(SITE, text, 60), (SITE, a("2001:db8::5"), u32::MAX)];
    BTreeMap::from([
        ("one-address", [&site[..], &hear(&one)].concat()),
        ("twice", [&site[..], &hear(&one), &hear(&one)].concat()),
        ("over-tcp", [over_tcp(site.clone()), over_tcp(hear(&one))].concat()),
        ("other-transport", [&over_tcp(site.clone())[..], &hear(&one)].concat()),
        ("aliases", [&site[..], &hear(&chain)].concat()),
        ("upwards", [&site[..], &hear(&answer(SITE, &upwards))].concat()),
        ("search-list", [ask(&query(completed)), hear(&answer(completed, &search))].concat()),
        ("service", [ask(&query_of(SITE, 65)), hear(&service(SITE))].concat()),
        ("many", [&site[..], &hear(&answer(SITE, &many))].concat()),
        ("guarded", [&site[..], &hear(&answer(SITE, &guarded))].concat()),
        ("mixed", [&site[..], &hear(&answer(SITE, &mixed))].concat()),
        ("nothing", [&site[..], &hear(&answer(SITE, &[]))].concat()),
        (
            "wildcard",
            [ask(&query(wild)), hear(&answer(wild, &[(wild, a("192.0.2.9"), 0)]))].concat(),
        ),
        ("edns", ask(&with_edns(query(wild), 4096, &[0, 10, 0, 2, 1, 2]))),
        ("refused", ask(&query("www.example.org"))),
        ("internal", ask(&query("web.shop.svc.cluster.local"))),
        ("longest", ask(&query(&[vec!["a"; 120].join("."), "wild.example".to_owned()].join(".")))),
    ])
}

/// The seeds are what they should be, and the parser agrees with hickory on them, and on whatever
/// else was put beside them because it once did not.
#[test]
fn every_seed_agrees() {
    let seeds = seeds();
    if env::var_os(WRITE).is_some() {
        fs::create_dir_all(folder()).expect("a folder");
        for (name, script) in &seeds {
            fs::write(folder().join(name), script).expect("a seed");
        }
    }
    for (name, script) in &seeds {
        let written = fs::read(folder().join(name)).unwrap_or_default();
        assert_eq!(written, *script, "{name} is old: set {WRITE} and run this test again");
    }
    let mut played = 0;
    for entry in fs::read_dir(folder()).expect("the folder of seeds") {
        play(&fs::read(entry.expect("an entry").path()).expect("a script"));
        played += 1;
    }
    assert!(played >= seeds.len());
}
