//! The mapping by example, and a check that no head and no reply makes it panic.

use super::*;
use crate::access::{Access, Change};
use ::http::request::Parts;
use ::http::{Request, Response};
use proptest::prelude::*;
use synod_types::limits::{KEY_BYTES_MAX, TTL_MS_MAX, VALUE_BYTES_MAX};
use synod_types::*;

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn plan(method: &str, target: &str, headers: &[(&str, &str)]) -> KeyPlan {
    match route(&head(method, target, headers), &Access::default(), true) {
        Route::Key(plan) => plan,
        other => panic!("{method} {target}: {other:?}"),
    }
}

fn refused(method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
    match route(&head(method, target, headers), &Access::default(), true) {
        Route::Done(response) => {
            let code = code(&response);
            (response.status().as_u16(), code)
        }
        other => panic!("{method} {target}: {other:?}"),
    }
}

fn code(response: &Response<Vec<u8>>) -> String {
    let text = str::from_utf8(response.body()).expect("text");
    text.split('"').nth(5).unwrap_or_default().to_owned()
}

fn op(plan: &KeyPlan) -> Op {
    plan.command(Shared::default(), Shared::new(b"v".to_vec())).op
}

fn condition(headers: &[(&str, &str)]) -> Condition {
    match op(&plan("PUT", "/v1/kv/k", headers)) {
        Op::Set { condition, .. } => condition,
        other => panic!("{other:?}"),
    }
}

fn expiry(query: &str) -> Expiry {
    match op(&plan("PUT", &format!("/v1/kv/k?{query}"), &[])) {
        Op::Set { expiry, .. } => expiry,
        other => panic!("{other:?}"),
    }
}

const AT: Version = Version { slot: Slot::new(17), position: 3 };

#[test]
fn keys_are_whatever_bytes_the_path_encodes() {
    for (target, key) in [
        ("/v1/kv/a", &b"a"[..]),
        ("/v1/kv/a/b//c", b"a/b//c"),
        ("/v1/kv/%00%ff%2F%25", b"\x00\xff/%"),
        ("/v1/kv/a+b", b"a+b"),
        ("/v1/kv/..%2f", b"../"),
    ] {
        assert_eq!(plan("GET", target, &[]).key(), key, "{target}");
    }
    let longest = format!("/v1/kv/{}", "k".repeat(KEY_BYTES_MAX));
    assert_eq!(plan("GET", &longest, &[]).key().len(), KEY_BYTES_MAX);
    assert_eq!(refused("GET", &format!("{longest}k"), &[]), (400, "key_too_long".into()));
    for target in ["/v1/kv/", "/v1/kv/%", "/v1/kv/%2", "/v1/kv/%zz", "/v1/kv/%+1"] {
        assert_eq!(refused("GET", target, &[]), (400, "bad_key".into()), "{target}");
    }
}

#[test]
fn conditions_and_expiries_are_read_from_headers_and_query() {
    assert_eq!(condition(&[]), Condition::Always);
    assert_eq!(condition(&[("If-None-Match", "*")]), Condition::IfAbsent);
    assert_eq!(condition(&[("If-Match", "*")]), Condition::IfPresent);
    assert_eq!(condition(&[("If-Match", "\"17-3\"")]), Condition::IfVersion(AT));
    let delete = plan("DELETE", "/v1/kv/k", &[("If-Match", "\"17-3\"")]);
    assert_eq!(op(&delete), Op::DeleteIfVersion(AT));
    for tag in
        ["17-3", "\"017-3\"", "\"17\"", "\"17-3", "W/\"17-3\"", "\"17-3\", \"18-0\"", "\"1-4294967296\""]
    {
        assert_eq!(refused("PUT", "/v1/kv/k", &[("If-Match", tag)]).1, "bad_condition", "{tag}");
    }
    assert_eq!(expiry(""), Expiry::None);
    assert_eq!(expiry("ttl=10"), Expiry::After(10_000));
    assert_eq!(expiry("ttl=10s"), Expiry::After(10_000));
    assert_eq!(expiry("ttl=500ms"), Expiry::After(500));
    assert_eq!(expiry("ttl=2h"), Expiry::After(7_200_000));
    assert_eq!(expiry("ttl=keep"), Expiry::Keep);
    for query in
        ["ttl=0", "ttl=", "ttl=-1", "ttl=1w", "ttl=99999999999999999999", "ttl=18446744073709551615d"]
    {
        assert_eq!(refused("PUT", &format!("/v1/kv/k?{query}"), &[]), (400, "bad_ttl".into()), "{query}");
    }
    for (method, query) in
        [("PUT", "tll=1"), ("PUT", "ttl=1&ttl=2"), ("GET", "ttl=1"), ("PUT", "consistency=quorum")]
    {
        assert_eq!(refused(method, &format!("/v1/kv/k?{query}"), &[]).1, "bad_query", "{method} {query}");
    }
    assert_eq!(plan("GET", "/v1/kv/k?consistency=quorum", &[]).consistency(), Consistency::Quorum);
    assert_eq!(plan("HEAD", "/v1/kv/k", &[]).consistency(), Consistency::Linearizable);
}

/// Every number of a request at 0, -1, its largest value and one past it.
#[test]
fn numbers_at_their_ends_are_taken_or_refused() {
    let units = [("ms", 1), ("", 1000), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    for (unit, unit_ms) in units {
        let largest = TTL_MS_MAX / unit_ms;
        assert_eq!(expiry(&format!("ttl=1{unit}")), Expiry::After(unit_ms), "{unit}");
        assert_eq!(expiry(&format!("ttl={largest}{unit}")), Expiry::After(largest * unit_ms), "{unit}");
        let beyond = [(largest + 1).to_string(), u64::MAX.to_string(), format!("{}0", u64::MAX)];
        for bad in ["0", "-1", "+1", "00", ""].map(str::to_owned).into_iter().chain(beyond) {
            let target = format!("/v1/kv/k?ttl={bad}{unit}");
            assert_eq!(refused("PUT", &target, &[]), (400, "bad_ttl".into()), "{target}");
        }
    }
    for (tag, want) in [
        ("\"0-0\"", Some((0, 0))),
        ("\"18446744073709551615-4294967295\"", Some((u64::MAX, u32::MAX))),
        ("\"18446744073709551616-0\"", None),
        ("\"0-4294967296\"", None),
        ("\"-1-0\"", None),
        ("\"0--1\"", None),
    ] {
        let headers = [("If-Match", tag)];
        let Some((slot, position)) = want else {
            for method in ["PUT", "DELETE"] {
                assert_eq!(refused(method, "/v1/kv/k", &headers), (400, "bad_condition".into()), "{tag}");
            }
            continue;
        };
        // Versions that were never given out match nothing: 412.
        let version = Version { slot: Slot::new(slot), position };
        assert_eq!(condition(&headers), Condition::IfVersion(version));
        assert_eq!(op(&plan("DELETE", "/v1/kv/k", &headers)), Op::DeleteIfVersion(version));
    }
    // A text that is no length is refused before it gets here.
    for (length, fits) in
        [(0, true), (VALUE_BYTES_MAX as u64, true), (VALUE_BYTES_MAX as u64 + 1, false), (u64::MAX, false)]
    {
        let length = length.to_string();
        let route = route(&head("PUT", "/v1/kv/k", &[("Content-Length", &length)]), &Access::default(), true);
        assert_eq!(matches!(route, Route::Key(_)), fits, "{length}");
    }
}

#[test]
fn methods_paths_and_lengths_that_do_not_fit_are_refused() {
    assert_eq!(refused("POST", "/v1/kv/k", &[]), (405, "method_not_allowed".into()));
    assert_eq!(refused("PUT", "/metrics", &[]).0, 405);
    assert_eq!(refused("GET", "/v2", &[]), (404, "no_such_path".into()));
    let length = (VALUE_BYTES_MAX + 1).to_string();
    assert_eq!(refused("PUT", "/v1/kv/k", &[("Content-Length", &length)]), (413, "value_too_long".into()));
    assert_eq!(refused("OPTIONS", "*", &[]).0, 204);
    for (target, page) in [
        ("/", HttpPage::Status),
        ("/metrics", HttpPage::Metrics),
        ("/healthz", HttpPage::Health),
        ("/readyz", HttpPage::Ready),
    ] {
        assert!(
            matches!(route(&head("GET", target, &[]), &Access::default(), true), Route::Page(given) if given == page)
        );
    }
}

#[test]
fn a_password_guards_everything_but_the_probes() {
    let access = Access::new([&b"secret"[..], b"old:er"], true);
    let with = |target, headers: &[(&str, &str)]| route(&head("GET", target, headers), &access, false);
    for target in ["/", "/metrics", "/v1/kv/k"] {
        assert!(matches!(with(target, &[]), Route::Done(r) if r.status() == 401), "{target}");
        for wrong in [
            "Bearer wrong",
            "Bearer",
            "secret",
            "Basic secret",
            "Basic c2VjcmV0",             // secret
            "Basic YWRtaW46c2VjcmV0",     // admin:secret
            "Basic ZGVmYXVsdDpzZWNyZXRz", // default:secrets
            "Digest secret",
        ] {
            let refused = with(target, &[("Authorization", wrong)]);
            let Route::Done(response) = refused else { panic!("{target} {wrong}") };
            let offers: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
            assert_eq!(offers, ["Bearer realm=\"synod\"", "Basic realm=\"synod\""]);
            assert_eq!(response.status(), 401);
        }
        for right in [
            "Bearer secret",
            "bearer  secret ",
            "Bearer old:er",
            "Basic ZGVmYXVsdDpzZWNyZXQ=", // default:secret
            "basic OnNlY3JldA==",         // :secret
            "Basic ZGVmYXVsdDpvbGQ6ZXI=", // default:old:er
        ] {
            let right = with(target, &[("Authorization", right)]);
            assert!(!matches!(right, Route::Done(_)), "{target}");
        }
    }
    assert!(matches!(with("/healthz", &[]), Route::Page(HttpPage::Health)));
}

#[test]
fn without_a_password_other_machines_get_the_probes_only() {
    let access = Access::default();
    for target in ["/", "/metrics", "/v1/kv/k"] {
        let answer = |is_loopback| route(&head("GET", target, &[]), &access, is_loopback);
        assert!(matches!(answer(false), Route::Done(r) if r.status() == 403), "{target}");
        assert!(!matches!(answer(true), Route::Done(_)), "{target}");
    }
    for target in ["/healthz", "/readyz"] {
        assert!(matches!(route(&head("GET", target, &[]), &access, false), Route::Page(_)), "{target}");
    }
    access.change([Change::Protected(false)]);
    assert!(matches!(route(&head("GET", "/metrics", &[]), &access, false), Route::Page(_)));
}

#[test]
fn replies_become_responses() {
    let get = plan("GET", "/v1/kv/k", &[("If-None-Match", "\"1-0\", W/\"17-3\"")]);
    let put = plan("PUT", "/v1/kv/k", &[]);
    let create = plan("PUT", "/v1/kv/k", &[("If-None-Match", "*")]);
    let delete = plan("DELETE", "/v1/kv/k", &[]);
    let delete_if = plan("DELETE", "/v1/kv/k", &[("If-Match", "\"17-3\"")]);
    let value =
        |slot| Reply::Value { value: b"v".to_vec(), version: Version { slot: Slot::new(slot), position: 3 } };
    let done = Reply::Done { version: AT };
    for (plan, reply, status) in [
        (&get, value(18), 200),
        (&get, value(17), 304),
        (&get, Reply::Nil, 404),
        (&put, done.clone(), 204),
        (&create, done.clone(), 201),
        (&create, Reply::Skipped, 412),
        (&delete, Reply::Int(1), 204),
        (&delete, Reply::Int(0), 404),
        (&delete_if, Reply::Int(1), 204),
        (&delete_if, Reply::Int(0), 412),
        (&delete_if, Reply::Skipped, 412),
        (&put, Reply::Error(ErrorKind::Unknown), 504),
        (&put, Reply::Error(ErrorKind::NoLeader), 503),
        (&put, Reply::Error(ErrorKind::Busy), 503),
        (&put, Reply::Error(ErrorKind::NoSpace), 507),
        (&get, Reply::Int(7), 504),
    ] {
        let response = plan.respond(reply.clone());
        assert_eq!(response.status(), status, "{plan:?} {reply:?}");
        assert_eq!(response.headers().contains_key("retry-after"), matches!(status, 503 | 507));
    }
    assert_eq!(put.respond(done).headers()["etag"], "\"17-3\"");
    assert_eq!(code(&put.respond(Reply::Error(ErrorKind::Unknown))), "unknown");
}

#[test]
fn an_upload_never_holds_more_than_a_value() {
    let plan = plan("PUT", "/v1/kv/key", &[]);
    let mut upload = Upload::new(&plan, Some(u64::MAX));
    assert_eq!(upload.push(&vec![1; VALUE_BYTES_MAX]), Ok(()));
    assert_eq!(upload.push(&[1]), Err(Oversize));
    let (_, command) = upload.finish(&plan);
    assert_eq!(command.key.as_ref(), b"key");
    assert!(matches!(command.op, Op::Set { .. }) && command.operand.len() == VALUE_BYTES_MAX);
}

#[test]
fn expositions_escape_labels_and_sum_buckets_up() {
    let mut text = Exposition::new();
    text.gauge("up", "Whether.");
    text.sample(&[("name", &"a\"b\\c\n")], 1);
    text.histogram("took_seconds", "How long.");
    text.buckets(&[("core", &0)], [0.5, 1.0], &[1, 2, 3], 4.5);
    let want = "# HELP up Whether.\n# TYPE up gauge\nup{name=\"a\\\"b\\\\c\\n\"} 1\n\
        # HELP took_seconds How long.\n# TYPE took_seconds histogram\n\
        took_seconds_bucket{core=\"0\",le=\"0.5\"} 1\ntook_seconds_bucket{core=\"0\",le=\"1\"} 3\n\
        took_seconds_bucket{core=\"0\",le=\"+Inf\"} 6\ntook_seconds_sum{core=\"0\"} 4.5\n\
        took_seconds_count{core=\"0\"} 6\n";
    assert_eq!(text.finish(), want);
}

proptest! {
    #[test]
    fn no_head_makes_the_mapping_panic(
        method in "[A-Z]{1,8}|GET|PUT|DELETE",
        path in "/(v1/kv/)?[!-~]{0,40}",
        value in proptest::collection::vec(any::<u8>(), 0..20),
        name in proptest::sample::select(vec!["if-match", "if-none-match", "authorization", "content-length"]),
        password in proptest::option::of(Just(&b"secret"[..])),
    ) {
        let mut request = Request::builder().method(method.as_str()).uri(path);
        if let Ok(value) = ::http::HeaderValue::from_bytes(&value) {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(()) else { return Ok(()) };
        match route(&request.into_parts().0, &Access::new(password, true), true) {
            Route::Key(plan) => {
                prop_assert!(!plan.key().is_empty() && plan.key().len() <= KEY_BYTES_MAX);
                for reply in [Reply::Nil, Reply::Skipped, Reply::Int(0), Reply::Done { version: AT }] {
                    plan.respond(reply);
                }
            }
            Route::Page(_) => {}
            Route::Done(response) => prop_assert!(response.status().as_u16() >= 204),
        }
    }

    #[test]
    fn every_version_comes_back_from_its_tag(slot in any::<u64>(), position in any::<u32>()) {
        let version = Version { slot: Slot::new(slot), position };
        prop_assert_eq!(super::etag::parse(&super::etag::spell(version)), Some(version));
    }

    #[test]
    fn every_key_comes_back_from_its_path(key in proptest::collection::vec(any::<u8>(), 1..60)) {
        let path: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
        let plan = plan("GET", &format!("/v1/kv/{path}"), &[]);
        prop_assert_eq!(plan.key(), &key[..]);
    }
}
