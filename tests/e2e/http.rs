//! HTTP on the client port: keys, conditions, limits, metrics and probes, with raw bytes and with curl.

use crate::cluster::Nodes;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// One connection.
struct Http(BufReader<TcpStream>);

#[derive(Debug)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Response {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    fn etag(&self) -> String {
        self.headers.get("etag").expect("an ETag").clone()
    }
    fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("errors are JSON");
        assert!(json["error"]["message"].is_string(), "{json}");
        json["error"]["code"].as_str().expect("a code").to_owned()
    }
}

impl Http {
    fn connect(target: &str) -> Self {
        let stream = TcpStream::connect(target).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("sent");
    }

    /// The next response; `head_only` if the request was HEAD.
    fn receive(&mut self, head_only: bool) -> Response {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().expect("a number");
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let len = headers.get("content-length").map_or(0, |len| len.parse().expect("a number"));
        let mut body = vec![0; if head_only { 0 } else { len }];
        self.0.read_exact(&mut body).expect("a body");
        Response { status, headers, body }
    }

    fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Response {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: synod\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(head.as_bytes());
        self.send(body);
        self.receive(method == "HEAD")
    }

    fn get(&mut self, target: &str) -> Response {
        self.ask("GET", target, "", b"")
    }
}

fn exchange(target: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(target).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream.write_all(bytes).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered and closed");
    answer
}

#[test]
fn keys_are_written_read_and_removed_on_condition() {
    let mut nodes = Nodes::start("http");
    let targets = nodes.targets();
    let (mut one, mut other) = (Http::connect(&targets[0]), Http::connect(&targets[1]));
    // Every byte a key can hold, percent-encoded; every other node finds the key.
    let binary: String = (0..=255_u8).map(|byte| format!("%{byte:02x}")).collect();
    for (number, key) in ["a", "a/b?", "%00%ff", &binary, &"k".repeat(KEY_BYTES_MAX)].into_iter().enumerate()
    {
        let path = format!("/v1/kv/{}", key.replace('?', "%3F"));
        let value = format!("value {number}");
        assert_eq!(one.get(&path).status, 404);
        let put = one.ask("PUT", &path, "", value.as_bytes());
        assert_eq!(put.status, 204, "{}", put.text());
        let got = other.get(&path);
        assert_eq!((got.status, got.text(), got.etag()), (200, value.clone(), put.etag()));
        let head = one.ask("HEAD", &path, "", b"");
        assert_eq!(head.headers["content-length"], value.len().to_string());
        assert_eq!(one.ask("GET", &format!("{path}?consistency=quorum"), "", b"").text(), value);
        assert_eq!(other.ask("DELETE", &path, "", b"").status, 204);
        assert_eq!(one.ask("DELETE", &path, "", b"").status, 404);
        assert_eq!(one.get(&path).code(), "no_such_key");
    }
    // Create only, then compare and set.
    let create = "If-None-Match: *\r\n";
    let first = one.ask("PUT", "/v1/kv/cas", create, b"1");
    assert_eq!(first.status, 201);
    assert_eq!(other.ask("PUT", "/v1/kv/cas", create, b"2").code(), "precondition_failed");
    let fits = format!("If-Match: {}\r\n", first.etag());
    let second = other.ask("PUT", "/v1/kv/cas", &fits, b"2");
    assert_eq!(second.status, 204);
    assert_ne!(second.etag(), first.etag());
    let conflict = one.ask("PUT", "/v1/kv/cas", &fits, b"3");
    assert_eq!((conflict.status, conflict.code().as_str()), (412, "precondition_failed"));
    assert_eq!(one.get("/v1/kv/cas").text(), "2");
    let seen = format!("If-None-Match: {}\r\n", second.etag());
    assert_eq!(one.ask("GET", "/v1/kv/cas", &seen, b"").status, 304);
    assert_eq!(one.ask("DELETE", "/v1/kv/cas", &fits, b"").status, 412);
    let now_fits = format!("If-Match: {}\r\n", second.etag());
    assert_eq!(one.ask("DELETE", "/v1/kv/cas", &now_fits, b"").status, 204);
    assert_eq!(one.ask("DELETE", "/v1/kv/cas", &now_fits, b"").status, 412);
    // A key that expires.
    assert_eq!(one.ask("PUT", "/v1/kv/brief?ttl=300ms", "", b"x").status, 204);
    let put_at = Instant::now();
    while other.get("/v1/kv/brief").status == 200 {
        assert!(put_at.elapsed() < Duration::from_secs(10), "the key does not expire");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Answers to bad requests.
    assert_eq!(one.get("/v1/kv/%zz").code(), "bad_key");
    assert_eq!(one.ask("PUT", "/v1/kv/k?ttl=soon", "", b"x").code(), "bad_ttl");
    let post = one.ask("POST", "/v1/kv/k", "", b"x");
    assert_eq!((post.status, post.headers["allow"].as_str()), (405, "GET, HEAD, PUT, DELETE, OPTIONS"));
    assert_eq!(one.get("/nothing").code(), "no_such_path");
    the_largest_value_fits_and_one_byte_more_does_not(&targets);
    bytes_on_one_connection(&targets[0]);
    with_curl(&targets[0]);
}

fn the_largest_value_fits_and_one_byte_more_does_not(targets: &[String]) {
    let value: Vec<u8> = (0..VALUE_BYTES_MAX).map(|at| (at * 31 % 251) as u8).collect();
    let mut http = Http::connect(&targets[0]);
    assert_eq!(http.ask("PUT", "/v1/kv/large", "", &value).status, 204);
    assert_eq!(Http::connect(&targets[2]).get("/v1/kv/large").body, value);
    let longer = [&value[..], b"!"].concat();
    let refused = http.ask("PUT", "/v1/kv/large", "", &longer);
    assert_eq!((refused.status, refused.code().as_str()), (413, "value_too_long"));
    // The same without an announced length.
    let mut http = Http::connect(&targets[0]);
    http.send(b"PUT /v1/kv/large HTTP/1.1\r\nHost: synod\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in longer.chunks(10_000) {
        http.send(format!("{:x}\r\n", piece.len()).as_bytes());
        http.send(piece);
        http.send(b"\r\n");
    }
    http.send(b"0\r\n\r\n");
    assert_eq!(http.receive(false).status, 413);
    assert_eq!(Http::connect(&targets[1]).get("/v1/kv/large").body, value);
}

fn bytes_on_one_connection(target: &str) {
    // Pipelined: answered in order, on one connection.
    let mut http = Http::connect(target);
    let mut bytes = Vec::new();
    for number in 0..50 {
        let body = format!("piped {number}");
        bytes.extend_from_slice(
            format!(
                "PUT /v1/kv/p{number} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        bytes.extend_from_slice(format!("GET /v1/kv/p{number} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    }
    http.send(&bytes);
    for number in 0..50 {
        assert_eq!(http.receive(false).status, 204);
        assert_eq!(http.receive(false).text(), format!("piped {number}"));
    }
    // Byte by byte.
    let mut http = Http::connect(target);
    for byte in b"GET /v1/kv/p7 HTTP/1.1\r\nHost: x\r\n\r\n" {
        http.send(&[*byte]);
    }
    assert_eq!(http.receive(false).text(), "piped 7");
    // Garbage after HTTP was recognised, a head without end, a body that breaks off.
    let garbage = exchange(target, b"GET / HTTP/1.1\r\n\x00\x01\xff garbage\r\n\r\n");
    assert!(garbage.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&garbage));
    let long = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &[b'a'; 100 << 10]].concat();
    let mut http = Http::connect(target);
    let _ = http.0.get_mut().write_all(&long); // the node may close at any byte
    let mut first = [0; 12];
    if http.0.read_exact(&mut first).is_ok() {
        assert_eq!(&first, b"HTTP/1.1 431");
    }
    let broken = exchange(target, b"PUT /v1/kv/broken HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
    assert!(broken.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&broken));
    assert_eq!(Http::connect(target).get("/v1/kv/broken").status, 404);
    // The same port still speaks RESP, even if a command's name is also an HTTP method.
    let inline = exchange(target, b"PING\r\nGET p7\r\nGET nothing\r\nDELETE x\r\n");
    assert!(
        inline.starts_with(b"+PONG\r\n$7\r\npiped 7\r\n$-1\r\n-ERR"),
        "{}",
        String::from_utf8_lossy(&inline)
    );
    let first = exchange(target, b"GET p7\r\nPING\r\n");
    assert_eq!(first, b"$7\r\npiped 7\r\n+PONG\r\n");
    let arrays = exchange(target, b"*2\r\n$3\r\nGET\r\n$2\r\np7\r\n");
    assert_eq!(arrays, b"$7\r\npiped 7\r\n");
}

fn with_curl(target: &str) {
    let curl = |arguments: &[&str]| Command::new("curl").args(["-sS", "-m", "20"]).args(arguments).output();
    let url = format!("http://{target}/v1/kv/from-curl");
    let Ok(put) = curl(&["-w", "%{http_code}", "-X", "PUT", "--data-binary", "hello", &url]) else {
        synod_tests::not_checked("curl is not installed here");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&put.stdout), "204", "{}", String::from_utf8_lossy(&put.stderr));
    assert_eq!(curl(&[&url]).expect("runs").stdout, b"hello");
    assert!(curl(&["-I", &url]).expect("runs").status.success());
}

/// Every sample line: name with labels, and value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

fn sum(of: &BTreeMap<String, f64>, start: &str) -> f64 {
    of.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, value)| value).sum()
}

/// The sum of a metric over all nodes, cores and groups.
pub fn metric(nodes: &mut Nodes, name: &str) -> f64 {
    nodes
        .targets()
        .iter()
        .map(|target| sum(&samples(&Http::connect(target).get("/metrics").text()), name))
        .sum()
}

#[test]
fn metrics_count_and_readiness_ends_with_the_majority() {
    let mut nodes = Nodes::start("http-probes");
    let targets = nodes.targets();
    let mut http = Http::connect(&targets[0]);
    let before = samples(&http.get("/metrics").text());
    for number in 0..40 {
        assert_eq!(http.ask("PUT", &format!("/v1/kv/m{number}"), "", b"x").status, 204);
        assert_eq!(http.get(&format!("/v1/kv/m{number}")).status, 200);
    }
    let page = http.get("/metrics");
    assert_eq!(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let after = samples(&page.text());
    let grown = |start| sum(&after, start) - sum(&before, start);
    assert!(grown("synod_requests_total") >= 80.0);
    assert!(grown("redis_commands_processed_total") >= 80.0);
    assert!(grown("redis_net_input_bytes_total") > 1000.0);
    assert!(grown("synod_stage_seconds_count") > 0.0);
    assert!(sum(&after, "redis_keyspace_hits_total") >= 1.0);
    assert!(after["redis_up"] == 1.0 && after["redis_connected_clients"] >= 1.0);
    assert!(after["redis_memory_used_bytes"] > 1e6);
    // A follower applies a chosen entry a heartbeat later.
    let asked = Instant::now();
    while sum(&samples(&http.get("/metrics").text()), "synod_keys_held") < 40.0 {
        assert!(asked.elapsed() < Duration::from_secs(10), "keys are not counted");
    }
    // The status page names the node and loads nothing from other hosts.
    let status = http.get("/");
    assert!(status.status == 200 && status.text().contains("Synod node"));
    assert!(!status.text().contains("http://") && !status.text().contains("https://"));
    assert_eq!(http.get("/healthz").text(), "ok\n");
    wait_for(&mut http, 200);
    nodes.get().kill(1).expect("killed");
    wait_for(&mut http, 200); // two of three go on, as soon as every group has a leader again
    nodes.get().kill(2).expect("killed");
    let down = wait_for(&mut http, 503);
    assert_eq!(down.code(), "not_ready");
    let json: serde_json::Value = serde_json::from_slice(&down.body).expect("JSON");
    assert!(!json["groups_without_leader"].as_array().expect("a list").is_empty(), "{json}");
    assert_eq!(http.get("/healthz").status, 200);
    let write = http.ask("PUT", "/v1/kv/m1", "", b"y");
    assert!([503, 504].contains(&write.status), "{write:?}");
    for node in [1, 2] {
        nodes.get().restart(node).expect("restarted");
    }
    wait_for(&mut http, 200);
    assert_eq!(http.ask("PUT", "/v1/kv/m1", "", b"z").status, 204);
}

fn wait_for(http: &mut Http, status: u16) -> Response {
    let begun = Instant::now();
    loop {
        let response = http.get("/readyz");
        if response.status == status {
            return response;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "/readyz stays: {response:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
